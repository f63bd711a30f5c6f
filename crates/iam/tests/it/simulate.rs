use crate::{ALLOW_S3, cx, fixture, refusal, root, text, texts};

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

#[tokio::test]
async fn a_simulation_is_no_way_to_keep_the_server_busy() {
    let at = fixture().await;
    let numbered = |name: &str, count: usize, value: &str| -> Vec<(String, String)> {
        (1..=count).map(|n| (format!("{name}.member.{n}"), value.replace('#', &n.to_string()))).collect()
    };
    let tried = async |parts: &[Vec<(String, String)>]| {
        let input: Vec<(&str, &str)> = parts.iter().flatten().map(|(name, value)| (&**name, &**value)).collect();
        at.call_as(cx(root()), "SimulateCustomPolicy", &input).await
    };
    let one = || numbered("PolicyInputList", 1, ALLOW_S3);
    let actions = |count| numbered("ActionNames", count, "s3:Get#");
    let resources = |count| numbered("ResourceArns", count, "arn:aws:s3:::b/#");
    let context = |count| -> Vec<(String, String)> {
        let names = (1..=count).map(|n| (format!("ContextEntries.member.{n}.ContextKeyName"), format!("my:key{n}")));
        names.collect()
    };
    let (status, body) = tried(&[one(), actions(20), resources(50), context(100)]).await;
    assert_eq!((status, texts(&body, "EvalDecision").len()), (200, 1_000), "{body}");
    for (too_much, what) in [
        ([one(), actions(21), resources(48), context(0)], "pairs"),
        ([numbered("PolicyInputList", 11, ALLOW_S3), actions(1), resources(1), context(0)], "policies"),
        ([one(), actions(1), resources(1), context(101)], "context entries"),
    ] {
        let (status, code, message) = refusal(tried(&too_much).await);
        assert_eq!((status, code.as_str()), (400, "InvalidInput"));
        assert!(message.contains(what), "{message}");
    }
}
