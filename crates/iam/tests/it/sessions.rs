use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use iam::{Extras, Iam};
use sha2::Sha256;
use sys::Rng;
use wire::Principal;

use crate::{ALLOW_ALL, ALLOW_S3, Fixture, LAMBDA_TRUST, cx, fixture, refusal, root, text, trust_of};

const ROLE: &str = "arn:aws:iam::123456789012:role/r";
const ASSUME: [(&str, &str); 2] = [("RoleArn", ROLE), ("RoleSessionName", "ses")];

/// A role that may do everything and trusts `who`.
async fn role(at: &Fixture, who: &str) {
    at.ok("CreateRole", &[("RoleName", "r"), ("AssumeRolePolicyDocument", &trust_of(who))]).await;
    at.ok("PutRolePolicy", &[("RoleName", "r"), ("PolicyName", "p"), ("PolicyDocument", ALLOW_ALL)]).await;
}

async fn assume(at: &Fixture, who: &Principal, extra: &[(&str, &str)]) -> (u16, String) {
    at.call_as(cx(who.clone()), "AssumeRole", &[&ASSUME, extra].concat()).await
}

#[tokio::test]
async fn a_trusted_user_becomes_the_role_until_the_keys_expire() {
    let at = fixture().await;
    let (_, ann) = at.user("ann").await;
    role(&at, &ann.arn()).await;
    let (status, body) = assume(&at, &ann, &[]).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(text(&body, "Arn"), "arn:aws:sts::123456789012:assumed-role/r/ses");
    assert!(text(&body, "AccessKeyId").starts_with("ASIA"));
    let holder = at.holder(&body).await.expect("the keys are valid");
    assert_eq!(at.may(&holder, "s3:PutObject").await, Ok(()));
    let (_, me) = at.call_as(cx(holder), "GetCallerIdentity", &[]).await;
    assert_eq!(text(&me, "Arn"), "arn:aws:sts::123456789012:assumed-role/r/ses");
    at.advance(3_599);
    assert!(at.holder(&body).await.is_some());
    at.advance(1);
    assert!(at.holder(&body).await.is_none(), "3,600 s are over");
}

#[tokio::test]
async fn whom_the_trust_policy_does_not_name_is_refused() {
    let at = fixture().await;
    let (_, ann) = at.user("ann").await;
    let (_, bob) = at.user("bob").await;
    role(&at, &ann.arn()).await;
    let (status, code, message) = refusal(assume(&at, &bob, &[]).await);
    assert_eq!((status, code.as_str()), (403, "AccessDenied"));
    let words = "User: arn:aws:iam::123456789012:user/bob is not authorized to perform: sts:AssumeRole on resource: \
                 arn:aws:iam::123456789012:role/r";
    assert_eq!(message, words);
    assert_eq!(refusal(assume(&at, &root(), &[]).await).2, "Roles may not be assumed by root accounts.");
    at.ok("DeleteRolePolicy", &[("RoleName", "r"), ("PolicyName", "p")]).await;
    at.ok("DeleteRole", &[("RoleName", "r")]).await;
    assert_eq!(refusal(assume(&at, &bob, &[]).await).2, words, "a role that does not exist looks the same");
}

#[tokio::test]
async fn the_external_id_must_be_the_agreed_one() {
    let at = fixture().await;
    let (_, ann) = at.user("ann").await;
    let trust = trust_of(&ann.arn())
        .replace(r#""Action":"#, r#""Condition":{"StringEquals":{"sts:ExternalId":"agreed"}},"Action":"#);
    at.ok("CreateRole", &[("RoleName", "r"), ("AssumeRolePolicyDocument", &trust)]).await;
    assert_eq!(assume(&at, &ann, &[]).await.0, 403);
    assert_eq!(assume(&at, &ann, &[("ExternalId", "other")]).await.0, 403);
    assert_eq!(assume(&at, &ann, &[("ExternalId", "agreed")]).await.0, 200);
}

#[tokio::test]
async fn i4_session_policies_intersect() {
    let at = fixture().await;
    let (_, ann) = at.user("ann").await;
    role(&at, &ann.arn()).await;
    let (_, body) = assume(&at, &ann, &[("Policy", ALLOW_S3)]).await;
    let holder = at.holder(&body).await.expect("valid");
    assert_eq!(at.may(&holder, "s3:GetObject").await, Ok(()));
    let denied = at.may(&holder, "s3:PutObject").await.expect_err("outside of the session policy");
    assert!(denied.ends_with("because no session policy allows the s3:PutObject action"), "{denied}");
    let arn = ("PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess");
    let (_, body) = assume(&at, &ann, &[arn]).await;
    let holder = at.holder(&body).await.expect("valid");
    assert_eq!(at.may(&holder, "s3:GetObject").await, Ok(()));
    assert!(at.may(&holder, "s3:PutObject").await.is_err());
    let (_, code, _) = refusal(assume(&at, &ann, &[("Policy", "{}")]).await);
    assert_eq!(code, "MalformedPolicyDocument");
}

#[tokio::test]
async fn durations_are_bounded_by_the_role_and_by_chaining() {
    let at = fixture().await;
    let (_, ann) = at.user("ann").await;
    role(&at, "123456789012").await;
    at.ok("PutUserPolicy", &[("UserName", "ann"), ("PolicyName", "p"), ("PolicyDocument", ALLOW_ALL)]).await;
    let long = [("DurationSeconds", "7200")];
    assert_eq!(refusal(assume(&at, &ann, &long).await).1, "ValidationError");
    at.ok("UpdateRole", &[("RoleName", "r"), ("MaxSessionDuration", "7200")]).await;
    let (status, body) = assume(&at, &ann, &long).await;
    assert_eq!(status, 200, "{body}");
    let chained = at.holder(&body).await.expect("valid");
    assert_eq!(refusal(assume(&at, &chained, &long).await).1, "ValidationError");
    assert_eq!(assume(&at, &chained, &[]).await.0, 200);
}

#[tokio::test]
async fn session_tags_and_source_identity_pass_through_the_chain() {
    let at = fixture().await;
    let (_, ann) = at.user("ann").await;
    role(&at, "123456789012").await;
    at.ok("PutUserPolicy", &[("UserName", "ann"), ("PolicyName", "p"), ("PolicyDocument", ALLOW_ALL)]).await;
    let tags = [
        ("Tags.member.1.Key", "team"),
        ("Tags.member.1.Value", "red"),
        ("TransitiveTagKeys.member.1", "team"),
        ("SourceIdentity", "ann"),
    ];
    let (status, body) = assume(&at, &ann, &tags).await;
    assert_eq!(status, 200, "{body}");
    let first = at.holder(&body).await.expect("valid");
    let (_, body) = assume(&at, &first, &[]).await;
    let second = at.holder(&body).await.expect("valid");
    let session = second.session().expect("a role session");
    assert_eq!(session.tags, [("team".to_owned(), "red".to_owned())]);
    assert_eq!(session.source_identity.as_deref(), Some("ann"));
}

#[tokio::test]
async fn a_tag_that_is_passed_on_cannot_be_rewritten_further_down_the_chain() {
    let at = fixture().await;
    let (_, ann) = at.user("ann").await;
    role(&at, "123456789012").await;
    at.ok("PutUserPolicy", &[("UserName", "ann"), ("PolicyName", "p"), ("PolicyDocument", ALLOW_ALL)]).await;
    let tag = |key, value| [("Tags.member.1.Key", key), ("Tags.member.1.Value", value)];
    let passed = ("TransitiveTagKeys.member.1", "TEAM");
    let (status, body) = assume(&at, &ann, &[&tag("team", "red")[..], &[passed]].concat()).await;
    assert_eq!(status, 200, "{body}");
    let first = at.holder(&body).await.expect("valid");
    for key in ["team", "Team"] {
        let (status, code, message) = refusal(assume(&at, &first, &tag(key, "blue")).await);
        assert_eq!((status, code.as_str()), (400, "InvalidParameterValue"), "{key}");
        assert!(message.contains("conflicts with a transitive tag key from the calling session"), "{message}");
    }
    let (status, body) = assume(&at, &first, &tag("other", "x")).await;
    assert_eq!(status, 200, "{body}");
    let second = at.holder(&body).await.expect("valid");
    let tags = &second.session().expect("a role session").tags;
    assert!(tags.contains(&("team".to_owned(), "red".to_owned())), "passed on under any spelling: {tags:?}");

    let (_, code, message) = refusal(assume(&at, &ann, &[passed]).await);
    assert_eq!(code, "InvalidParameterValue", "{message}");
    let many: Vec<_> = (0..50).map(|n| (format!("Tags.member.{}.Key", n + 1), format!("k{n}"))).collect();
    let values: Vec<_> = (0..50).map(|n| (format!("Tags.member.{}.Value", n + 1), "v".to_owned())).collect();
    let many: Vec<_> = many.iter().chain(&values).map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(assume(&at, &ann, &many).await.0, 200);
    let (_, code, _) = refusal(assume(&at, &first, &many).await);
    assert_eq!(code, "InvalidParameterValue", "51 with the one that is passed on");
}

#[tokio::test]
async fn a_sessions_tag_hides_the_roles_own_under_any_spelling() {
    let at = fixture().await;
    let (_, ann) = at.user("ann").await;
    role(&at, &ann.arn()).await;
    at.ok("TagRole", &[("RoleName", "r"), ("Tags.member.1.Key", "Team"), ("Tags.member.1.Value", "red")]).await;
    let tags = [("Tags.member.1.Key", "team"), ("Tags.member.1.Value", "blue")];
    let (status, body) = assume(&at, &ann, &tags).await;
    assert_eq!(status, 200, "{body}");
    let holder = at.holder(&body).await.expect("valid");
    let set = at.iam.policies_of(&holder).await.expect("answers");
    assert_eq!(set.tags, [("team".to_owned(), "blue".to_owned())]);
}

#[tokio::test]
async fn the_size_of_a_session_policy_counts_white_space() {
    let at = fixture().await;
    let (_, ann) = at.user("ann").await;
    role(&at, &ann.arn()).await;
    let fits = format!("{ALLOW_S3}{}", " ".repeat(2_048 - ALLOW_S3.len()));
    assert_eq!(assume(&at, &ann, &[("Policy", &fits)]).await.0, 200);
    let (_, code, _) = refusal(assume(&at, &ann, &[("Policy", &format!("{fits} "))]).await);
    assert_eq!(code, "PackedPolicyTooLarge");
}

#[tokio::test]
async fn i8_keys_of_a_deleted_role_fail_also_when_it_is_made_again() {
    let at = fixture().await;
    let (_, ann) = at.user("ann").await;
    role(&at, &ann.arn()).await;
    let (_, body) = assume(&at, &ann, &[]).await;
    assert!(at.holder(&body).await.is_some());
    at.ok("DeleteRolePolicy", &[("RoleName", "r"), ("PolicyName", "p")]).await;
    at.ok("DeleteRole", &[("RoleName", "r")]).await;
    assert!(at.holder(&body).await.is_none());
    role(&at, &ann.arn()).await;
    assert!(at.holder(&body).await.is_none(), "the new role is another one");
}

#[tokio::test]
async fn i8_a_function_holds_keys_of_exactly_its_role() {
    let at = fixture().await;
    at.ok("CreateRole", &[("RoleName", "r"), ("AssumeRolePolicyDocument", LAMBDA_TRUST)]).await;
    at.ok("PutRolePolicy", &[("RoleName", "r"), ("PolicyName", "p"), ("PolicyDocument", ALLOW_S3)]).await;
    let function = "arn:aws:lambda:us-east-1:123456789012:function:f";
    let keys = at.iam.issue_function_session(ROLE, function, "env-1").await.expect("answers").expect("the role exists");
    let token = keys.credential.session_token.as_ref().expect("temporary").expose().to_owned();
    let found = at.iam.credential(&keys.access_key_id, Some(&token)).await.expect("answers").expect("valid");
    assert_eq!(found.credential.secret.expose(), keys.credential.secret.expose());
    assert_eq!(found.expires, Some(keys.expires));
    let Principal::AssumedRole { source_function, .. } = &found.principal else { panic!("{:?}", found.principal) };
    assert_eq!(source_function.as_deref(), Some(function));
    assert_eq!(at.may(&found.principal, "s3:GetObject").await, Ok(()));
    let denied = at.may(&found.principal, "s3:PutObject").await.expect_err("not in the role's policy");
    let words = "User: arn:aws:sts::123456789012:assumed-role/r/f is not authorized to perform: s3:PutObject on \
                 resource: arn:aws:s3:::bucket/key because no identity-based policy allows the s3:PutObject action";
    assert_eq!(denied, words);
    at.ok("DeleteRolePolicy", &[("RoleName", "r"), ("PolicyName", "p")]).await;
    assert!(at.may(&found.principal, "s3:GetObject").await.is_err(), "a removed policy is gone at once");
    let none = at.iam.issue_function_session("arn:aws:iam::123456789012:role/none", function, "e").await;
    assert!(none.expect("answers").is_none());
}

#[tokio::test]
async fn a_token_opens_only_with_its_own_key_and_unchanged() {
    let at = fixture().await;
    let (key, ann) = at.user("ann").await;
    let (_, body) = at.call_as(cx(ann), "GetSessionToken", &[("DurationSeconds", "900")]).await;
    let (id, token) = (text(&body, "AccessKeyId"), text(&body, "SessionToken"));
    assert!(at.holder(&body).await.is_some());
    let is_known = async |id: &str, token: Option<&str>| at.iam.credential(id, token).await.expect("answers").is_some();
    assert!(!is_known(&id, None).await);
    assert!(!is_known(&key, Some(&token)).await);
    for place in (0..token.len()).step_by(7) {
        let mut bytes = token.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        assert!(!is_known(&id, Some(&String::from_utf8(bytes).expect("ASCII"))).await, "byte {place}");
    }
    at.advance(900);
    assert!(!is_known(&id, Some(&token)).await);
}

#[tokio::test]
async fn a_federated_user_has_what_its_maker_and_its_policy_allow() {
    let at = fixture().await;
    let (_, ann) = at.user("ann").await;
    at.ok("PutUserPolicy", &[("UserName", "ann"), ("PolicyName", "p"), ("PolicyDocument", ALLOW_ALL)]).await;
    let (_, body) = at.call_as(cx(ann.clone()), "GetFederationToken", &[("Name", "guest"), ("Policy", ALLOW_S3)]).await;
    assert_eq!(text(&body, "Arn"), "arn:aws:sts::123456789012:federated-user/guest");
    let guest = at.holder(&body).await.expect("valid");
    assert_eq!(at.may(&guest, "s3:GetObject").await, Ok(()));
    assert!(at.may(&guest, "s3:PutObject").await.is_err());
    let (_, body) = at.call_as(cx(ann), "GetFederationToken", &[("Name", "guest")]).await;
    let guest = at.holder(&body).await.expect("valid");
    assert!(at.may(&guest, "s3:GetObject").await.is_err(), "without a session policy: nothing");
    assert_eq!(refusal(at.call_as(cx(guest), "GetSessionToken", &[]).await).1, "AccessDenied");
}

#[tokio::test]
async fn a_key_id_names_its_account() {
    let at = fixture().await;
    let (id, _) = at.user("ann").await;
    assert_eq!(text(&at.ok("GetAccessKeyInfo", &[("AccessKeyId", &id)]).await, "Account"), "123456789012");
    assert_eq!(at.refused("GetAccessKeyInfo", &[("AccessKeyId", "AKIA1111111111111111")]).await.1, "ValidationError");
}

#[tokio::test]
async fn a_federated_session_does_not_pass_to_a_later_user_of_the_same_name() {
    let at = fixture().await;
    let (id, ann) = at.user("ann").await;
    let (_, body) = at.call_as(cx(ann), "GetFederationToken", &[("Name", "guest"), ("Policy", ALLOW_S3)]).await;
    assert!(at.holder(&body).await.is_some());
    at.ok("DeleteAccessKey", &[("UserName", "ann"), ("AccessKeyId", &id)]).await;
    at.ok("DeleteUser", &[("UserName", "ann")]).await;
    assert!(at.holder(&body).await.is_none());
    at.advance(1);
    at.ok("CreateUser", &[("UserName", "ann")]).await;
    assert!(at.holder(&body).await.is_none());
}

#[tokio::test]
async fn a_federated_session_does_not_pass_to_an_older_user_who_takes_the_name() {
    let at = fixture().await;
    at.user("older").await;
    at.advance(1);
    let (_, ann) = at.user("ann").await;
    let (_, body) = at.call_as(cx(ann), "GetFederationToken", &[("Name", "guest"), ("Policy", ALLOW_S3)]).await;
    assert!(at.holder(&body).await.is_some());
    at.ok("UpdateUser", &[("UserName", "ann"), ("NewUserName", "bea")]).await;
    at.ok("UpdateUser", &[("UserName", "older"), ("NewUserName", "ann")]).await;
    assert!(at.holder(&body).await.is_none());
}

#[tokio::test]
async fn i8_another_node_over_the_same_store_hears_of_a_change() {
    let at = fixture().await;
    let other = iam::Iam::open(at.kv.clone(), at.clock.clone(), sys::Rng::seeded(9)).await.expect("opens");
    at.ok("CreateRole", &[("RoleName", "r"), ("AssumeRolePolicyDocument", LAMBDA_TRUST)]).await;
    let function = "arn:aws:lambda:us-east-1:123456789012:function:f";
    let keys = at.iam.issue_function_session(ROLE, function, "env-1").await.expect("answers").expect("the role exists");
    let token = keys.credential.session_token.as_ref().expect("temporary").expose().to_owned();
    let is_known = async || other.credential(&keys.access_key_id, Some(&token)).await.expect("answers").is_some();
    tokio::task::yield_now().await;
    assert!(is_known().await, "both nodes share the secret behind the keys");
    assert!(is_known().await, "from the cache");
    at.ok("DeleteRole", &[("RoleName", "r")]).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!is_known().await);
}

/// The same store, served by a server that lets everybody do everything.
async fn permissive(of: &Fixture) -> Fixture {
    let extras = Extras { permissive: true, ..Extras::default() };
    let iam = Iam::open_with(of.kv.clone(), of.clock.clone(), Rng::seeded(5), extras).await.expect("opens");
    Fixture { kv: of.kv.clone(), clock: of.clock.clone(), services: iam::services(iam.clone()), iam }
}

#[tokio::test]
async fn in_permissive_mode_everybody_assumes_every_role_and_acts_in_its_account() {
    let enforced = fixture().await;
    let at = permissive(&enforced).await;
    let assume = async |at: &Fixture, arn: &str| {
        at.call_as(cx(root()), "AssumeRole", &[("RoleArn", arn), ("RoleSessionName", "ses")]).await
    };
    for (arn, shown) in [
        ("arn:aws:iam::111111111111:role/nobodys", "arn:aws:sts::111111111111:assumed-role/nobodys/ses"),
        ("arn:aws:iam::222222222222:role/of/a/team/nobodys", "arn:aws:sts::222222222222:assumed-role/nobodys/ses"),
    ] {
        let (status, body) = assume(&at, arn).await;
        assert_eq!((status, text(&body, "Arn").as_str()), (200, shown), "{body}");
        let holder = at.holder(&body).await.expect("the keys are good");
        assert_eq!((holder.arn().as_str(), holder.account().map(|id| id.as_str())), (shown, shown.get(13..25)));
        assert!(at.may(&holder, "s3:PutObject").await.is_err(), "nothing speaks for it: enforcement would deny");
        assert!(enforced.holder(&body).await.is_none(), "where policies are enforced such keys are none");
        at.advance(3_600);
        assert!(at.holder(&body).await.is_none(), "they end");
    }
    let (_, ann) = at.user("ann").await;
    role(&at, &ann.arn()).await;
    let (status, body) = assume(&at, ROLE).await;
    assert_eq!(status, 200, "{body}");
    let holder = at.holder(&body).await.expect("the keys are good");
    assert_eq!(at.may(&holder, "s3:PutObject").await, Ok(()), "a role that is there has its policies");
    assert!(
        enforced.holder(&body).await.is_none(),
        "what nobody was asked about opens nothing where policies are enforced"
    );
    for arn in [
        "arn:aws:iam::111111111111:user/u",
        "arn:aws:iam::111111111111:rolefoo/x",
        "arn:aws:iam::111111111111:roles/of/x",
        "arn:aws:iam::111111111111:role",
        "arn:aws:iam::1:role/nobodys",
        "arn:aws:sqs::111111111111:role/r",
    ] {
        assert_eq!(assume(&at, arn).await.0, 403, "{arn}");
    }
    assert_eq!(assume(&enforced, "arn:aws:iam::111111111111:role/nobodys").await.0, 403);
}

/// The same session as an older program sealed it, which did not say whether permissive mode made it.
async fn unmarked(at: &Fixture, token: &str) -> String {
    let packed = kv::key::pack(&["iam".into(), 5_u64.into()]);
    let master = at.kv.read(|tx| {
        let key = packed.clone();
        async move { tx.get(key).await }
    });
    let master: serde_json::Value =
        serde_json::from_slice(&master.await.expect("the store answers").expect("there is one")).expect("JSON");
    let (payload, _) = token.split_once('.').expect("claims and a seal");
    let mut claims: serde_json::Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64")).expect("JSON");
    assert!(claims.as_object_mut().expect("an object").remove("permissive").is_some());
    let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
    let secret = master["record"]["secret"].as_str().expect("text");
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key");
    mac.update(format!("token\0{payload}").as_bytes());
    format!("{payload}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn keys_of_an_older_program_which_does_not_say_who_was_asked_are_none_under_enforcement() {
    let enforced = fixture().await;
    let open = permissive(&enforced).await;
    let (_, ann) = enforced.user("ann").await;
    role(&enforced, &ann.arn()).await;
    let (_, body) = assume(&enforced, &ann, &[]).await;
    let (id, token) = (text(&body, "AccessKeyId"), text(&body, "SessionToken"));
    let old = unmarked(&enforced, &token).await;
    let is_good =
        async |at: &Fixture, token: &str| at.iam.credential(&id, Some(token)).await.expect("answers").is_some();
    assert!(is_good(&enforced, &token).await);
    assert!(!is_good(&enforced, &old).await, "permissive mode may have made them");
    assert!(is_good(&open, &old).await, "there nobody is asked");
}
