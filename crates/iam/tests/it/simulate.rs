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
    let values = |count, value: &str| -> Vec<(String, String)> {
        let values = numbered("ContextEntries.member.1.ContextKeyValues", count, value);
        [context(1), values].concat()
    };
    // Two billion steps are two megabytes of policies, each byte compared with 1,024 others.
    let long = |count: usize, spaces: usize| {
        let padded = ALLOW_S3.replacen('{', &format!("{{{}", " ".repeat(spaces)), 1);
        numbered("PolicyInputList", count, &padded)
    };
    let arn = |length: usize| numbered("ResourceArns", 1, &format!("arn:aws:s3:::{}", "r".repeat(length - 13)));
    let (status, body) = tried(&[one(), actions(20), resources(50), context(100)]).await;
    assert_eq!((status, texts(&body, "EvalDecision").len()), (200, 1_000), "{body}");
    for within in [
        [one(), actions(1), arn(2_048), values(100, "v")],
        [one(), actions(1), resources(1), values(1, &"v".repeat(2_048))],
        [long(10, 131_000 - ALLOW_S3.len()), actions(1), arn(1_600), context(0)],
    ] {
        let (status, body) = tried(&within).await;
        assert_eq!((status, texts(&body, "EvalDecision").len()), (200, 1), "{body}");
    }
    for (too_much, what) in [
        ([one(), actions(21), resources(48), context(0)], "pairs"),
        ([numbered("PolicyInputList", 11, ALLOW_S3), actions(1), resources(1), context(0)], "policies"),
        ([one(), actions(1), resources(1), context(101)], "context entries"),
        ([one(), actions(1), resources(1), values(101, "v")], "values of a context entry"),
        ([one(), actions(1), resources(1), values(1, &"v".repeat(2_049))], "bytes of a context value"),
        ([long(10, 131_000 - ALLOW_S3.len()), actions(1), arn(1_700), context(0)], "steps"),
        ([long(10, 131_000 - ALLOW_S3.len()), actions(1), resources(1), values(1, &"v".repeat(1_700))], "steps"),
        // What is compared with nothing is work too.
        ([long(10, 131_000 - ALLOW_S3.len()), actions(20), resources(1), values(100, "")], "steps"),
    ] {
        let (status, code, message) = refusal(tried(&too_much).await);
        assert_eq!((status, code.as_str()), (400, "InvalidInput"));
        assert!(message.contains(what), "{message}");
    }
}

/// What the principal has counts like what is given.
#[tokio::test]
async fn a_simulation_of_a_full_role_is_bounded_too() {
    let at = fixture().await;
    at.ok("CreateUser", &[("UserName", "u")]).await;
    let padded = ALLOW_S3.replacen('{', &format!("{{{}", " ".repeat(80_000)), 1);
    at.ok("PutUserPolicy", &[("UserName", "u"), ("PolicyName", "p"), ("PolicyDocument", &padded)]).await;
    let who = ("PolicySourceArn".to_owned(), "arn:aws:iam::123456789012:user/u".to_owned());
    let action = format!("s3:{}", "a".repeat(125));
    let resource = ("ResourceArns.member.1".to_owned(), format!("arn:aws:s3:::{}", "r".repeat(887)));
    let tried = async |count: usize| {
        let actions = (1..=count).map(|n| (format!("ActionNames.member.{n}"), action.clone()));
        let input: Vec<(String, String)> = [who.clone(), resource.clone()].into_iter().chain(actions).collect();
        let input: Vec<(&str, &str)> = input.iter().map(|(name, value)| (&**name, &**value)).collect();
        at.call_as(cx(root()), "SimulatePrincipalPolicy", &input).await
    };
    let (status, body) = tried(26).await;
    assert_eq!((status, texts(&body, "EvalDecision").len()), (200, 26), "{body}");
    let (status, code, message) = refusal(tried(27).await);
    assert!((status, code.as_str()) == (400, "InvalidInput") && message.contains("steps"), "{message}");
}
