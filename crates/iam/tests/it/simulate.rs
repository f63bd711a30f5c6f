use crate::{ALLOW_S3, fixture, text, texts};

#[tokio::test]
async fn policies_are_tried_without_calling() {
    let at = fixture().await;
    let actions = [("ActionNames.member.1", "s3:GetObject"), ("ActionNames.member.2", "s3:PutObject")];
    let custom = [&actions[..], &[("PolicyInputList.member.1", ALLOW_S3)]].concat();
    let body = at.ok("SimulateCustomPolicy", &custom).await;
    assert_eq!(texts(&body, "EvalDecision"), ["allowed", "implicitDeny"]);
    assert_eq!(text(&body, "SourcePolicyId"), "PolicyInputList.1");

    at.ok("CreateUser", &[("UserName", "u")]).await;
    at.ok("PutUserPolicy", &[("UserName", "u"), ("PolicyName", "p"), ("PolicyDocument", ALLOW_S3)]).await;
    let who = ("PolicySourceArn", "arn:aws:iam::123456789012:user/u");
    let deny = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"s3:Get*","Resource":"*"}]}"#;
    let body = at.ok("SimulatePrincipalPolicy", &[&actions[..], &[who]].concat()).await;
    assert_eq!(texts(&body, "EvalDecision"), ["allowed", "implicitDeny"]);
    let denied =
        at.ok("SimulatePrincipalPolicy", &[&actions[..], &[who, ("PolicyInputList.member.1", deny)]].concat()).await;
    assert_eq!(texts(&denied, "EvalDecision"), ["explicitDeny", "implicitDeny"]);
    let nobody =
        at.refused("SimulatePrincipalPolicy", &[actions[0], ("PolicySourceArn", &format!("{}x", who.1))]).await;
    assert_eq!(nobody.1, "NoSuchEntity");
}
