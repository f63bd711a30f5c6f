//! What was decided: recorded, explained, decoded, replayed. And what binds whole accounts.

use std::collections::BTreeMap;

use iam::{Asking, Decisions, Extras, Iam};
use sys::Rng;
use wire::{Asked, ConditionKeys, Cx, Principal, ResourceFacts};

use crate::{ACCOUNT, ALLOW_ALL, ALLOW_S3, Fixture, account, asked, cx, fixture, text, texts};

struct Recorded {
    at: Fixture,
    decisions: Decisions,
    _folder: tempfile::TempDir,
}

async fn recorded() -> Recorded {
    let mut at = fixture().await;
    let folder = tempfile::tempdir().expect("a folder");
    let decisions = Decisions::open(folder.path(), at.clock.clone()).expect("writable");
    let extras = Extras { decisions: Some(decisions.clone()), ..Extras::default() };
    at.iam = Iam::open_with(at.kv.clone(), at.clock.clone(), Rng::seeded(3), extras).await.expect("opens");
    at.services = iam::services(at.iam.clone());
    Recorded { at, decisions, _folder: folder }
}

fn in_request(principal: &Principal, id: &str) -> Cx {
    Cx { request_id: id.to_owned(), ..cx(principal.clone()) }
}

#[tokio::test]
async fn decisions_are_recorded_explained_and_decoded() {
    let Recorded { at, decisions, _folder: folder } = recorded().await;
    let (_, bob) = at.user("Bob").await;
    let allow = |name: &'static str| [("UserName", "Bob"), ("PolicyName", "p"), ("PolicyDocument", name)];
    at.ok("PutUserPolicy", &allow(ALLOW_S3)).await;
    let get = asked("s3:GetObject", "arn:aws:s3:::b/k");
    let put = Asked {
        keys: ConditionKeys::new().with("s3:x-amz-acl", "private"),
        ..asked("s3:PutObject", "arn:aws:s3:::b/k")
    };
    at.iam.authorize(&in_request(&bob, "id-1"), std::slice::from_ref(&get)).await.expect("allowed");
    let error = at.iam.authorize(&in_request(&bob, "id-2"), &[get, put]).await.expect_err("denied");
    assert!(error.message.contains("s3:PutObject"), "{error}");

    let found = decisions.read(|record| record.request_id == "id-2").await.expect("readable");
    let [record] = found.as_slice() else { panic!("{found:?}") };
    assert!(!record.is_allowed());
    assert_eq!(record.asker.arn, bob.arn());
    assert_eq!(record.answers[0].by.as_deref(), Some("identity-based policy p statement 0"));
    assert!(record.answers[1].keys.contains(&("s3:x-amz-acl".into(), vec!["private".to_owned()])));
    let why = at.iam.explain(&record.asker, &record.answers[1], &ResourceFacts::default()).await.expect("answers");
    assert!(why.starts_with("denied") && why.contains("is about other actions"), "{why}");

    let (_, encoded) =
        error.headers.iter().find(|(name, _)| *name == "x-tinderbox-authorization-message").expect("sent");
    let decoded = text(&at.ok("DecodeAuthorizationMessage", &[("EncodedMessage", encoded)]).await, "DecodedMessage");
    let decoded: serde_json::Value = serde_json::from_str(&decoded).expect("JSON");
    assert_eq!(decoded["allowed"], false);
    assert_eq!(decoded["context"]["action"], "s3:PutObject");
    let mut forged = encoded.clone();
    forged.insert(3, 'x');
    let refused = at.refused("DecodeAuthorizationMessage", &[("EncodedMessage", &forged)]).await;
    assert_eq!(refused.1, "InvalidAuthorizationMessageException");
    let other = cx(Principal::Root { account: account("999999999999") });
    let (status, _) = at.call_as(other, "DecodeAuthorizationMessage", &[("EncodedMessage", encoded)]).await;
    assert_eq!(status, 400, "another account's decision");
    // A record that cannot be read says nothing about the message.
    std::fs::create_dir(folder.path().join("decisions.old.jsonl")).expect("nothing stands there yet");
    let (status, body) =
        at.call_as(cx(crate::root()), "DecodeAuthorizationMessage", &[("EncodedMessage", encoded)]).await;
    assert_eq!((status, text(&body, "Code").as_str()), (500, "ServiceFailure"), "{body}");
}

#[tokio::test]
async fn a_thousand_denials_are_one_and_in_permissive_mode_a_count() {
    let Recorded { at, decisions, _folder } = recorded().await;
    let (_, bob) = at.user("Bob").await;
    at.ok("PutUserPolicy", &[("UserName", "Bob"), ("PolicyName", "p"), ("PolicyDocument", ALLOW_S3)]).await;
    let many: Vec<Asked> = (0..1_000)
        .map(|n| asked(if n < 2 { "s3:GetObject" } else { "s3:DeleteObject" }, &format!("arn:aws:s3:::b/{n}")))
        .collect();
    let mut messages = Vec::new();
    for (id, enforced) in [("id-1", true), ("id-2", false)] {
        let cx = in_request(&bob, id);
        messages
            .push(at.iam.rule(Asking { cx: &cx, objection: None, enforced }, &many).await.expect_err("denied").message);
    }
    assert!(messages[0].contains("b/2") && messages[0] == messages[1], "{messages:?}");
    let enforced = decisions.of_request("id-1").await.expect("readable").pop().expect("recorded");
    assert_eq!((enforced.answers.len(), enforced.left_out), (3, 0), "nothing is asked after the first denial");
    assert!(enforced.was_refused() && enforced.answers[2].denial.is_some());
    let permissive = decisions.of_request("id-2").await.expect("readable").pop().expect("recorded");
    assert_eq!((permissive.answers.len(), permissive.left_out), (64, 936));
    assert!(!permissive.is_allowed() && !permissive.was_refused());
}

#[tokio::test]
async fn the_record_says_what_happened_and_of_which_arn() {
    let Recorded { at, decisions, _folder } = recorded().await;
    let (_, bob) = at.user("Bob").await;
    let role = "arn:aws:iam::123456789012:role/team/r";
    let trust = crate::trust_of(&bob.arn());
    at.ok("CreateRole", &[("RoleName", "r"), ("Path", "/team/"), ("AssumeRolePolicyDocument", &trust)]).await;
    let assume = async |id: &str, arn: &str| {
        // As the gateway does: the pipeline's question first, then the operation.
        let asked = asked("sts:AssumeRole", arn);
        at.iam.authorize(&in_request(&bob, id), std::slice::from_ref(&asked)).await.expect("the handler decides");
        let input = [("RoleArn", arn), ("RoleSessionName", "session")];
        at.call_as(in_request(&bob, id), "AssumeRole", &input).await.0
    };
    assert_eq!(assume("id-1", role).await, 200);
    assert_eq!(assume("id-2", "arn:aws:iam::123456789012:role/team/absent").await, 403);
    at.ok("UpdateAssumeRolePolicy", &[("RoleName", "r"), ("PolicyDocument", crate::LAMBDA_TRUST)]).await;
    assert_eq!(assume("id-3", role).await, 403);
    for (id, is_allowed) in [("id-1", true), ("id-2", false), ("id-3", false)] {
        let found = decisions.of_request(id).await.expect("readable");
        let [record] = found.as_slice() else { panic!("{id}: {found:?}") };
        assert_eq!((record.is_allowed(), record.asker.arn.as_str()), (is_allowed, &*bob.arn()), "{id}");
        assert_eq!((&*record.answers[0].action, record.answers.len()), ("sts:AssumeRole", 1));
    }
    // The table's line knows no path; what was decided on has one.
    at.iam
        .authorize(&in_request(&bob, "id-4"), &[asked("iam:GetRole", "arn:aws:iam::123456789012:role/r")])
        .await
        .expect_err("denied");
    let record = decisions.of_request("id-4").await.expect("readable").pop().expect("recorded");
    assert_eq!(record.answers[0].resource, role);
    assert!(record.answers[0].denial.as_ref().is_some_and(|message| message.contains(role)), "{record:?}");
}

#[tokio::test]
async fn a_changed_policy_is_tried_on_recorded_traffic() {
    let Recorded { at, decisions, _folder } = recorded().await;
    let (_, bob) = at.user("Bob").await;
    at.ok("PutUserPolicy", &[("UserName", "Bob"), ("PolicyName", "p"), ("PolicyDocument", ALLOW_ALL)]).await;
    for (id, action) in [("id-1", "s3:GetObject"), ("id-2", "s3:PutObject")] {
        at.iam.authorize(&in_request(&bob, id), &[asked(action, "arn:aws:s3:::b/k")]).await.expect("allowed");
    }
    let records = decisions.read(|_| true).await.expect("readable");
    let mut changes = Vec::new();
    for record in &records {
        changes.extend(at.iam.replay(record, ALLOW_S3, &[ResourceFacts::default()]).await.expect("answers"));
    }
    let [change] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!((change.request_id.as_str(), change.action.as_str(), change.breaks), ("id-2", "s3:PutObject", true));
    assert!(at.iam.replay(&records[0], "{", &[]).await.is_err(), "no policy at all");
    let policy = iam::suggest(&records).expect("something was asked");
    let policy = policy.to_string();
    for record in &records {
        assert!(at.iam.replay(record, &policy, &[ResourceFacts::default()]).await.expect("answers").is_empty());
    }
}

#[tokio::test]
async fn accounts_have_root_keys_of_their_own_and_service_control_policies_bind_them() {
    let Recorded { at, .. } = recorded().await;
    let own = account(ACCOUNT);
    let made = at.iam.create_account(&own, Some(account("222222222222")), "tenant").await.expect("made");
    assert!(!format!("{made:?}").contains(&made.secret_access_key));
    assert!(at.iam.create_account(&own, Some(made.id.clone()), "again").await.is_err());
    assert!(at.iam.create_account(&own, Some(own.clone()), "own").await.is_err());
    let drawn = at.iam.create_account(&own, None, "").await.expect("made").id;
    assert_ne!(drawn, made.id);

    let found = at.iam.credential(&made.access_key_id, None).await.expect("answers").expect("known");
    assert_eq!(found.principal, Principal::Root { account: made.id.clone() });
    let key_info = at.ok("GetAccessKeyInfo", &[("AccessKeyId", &made.access_key_id)]).await;
    assert_eq!(text(&key_info, "Account"), "222222222222");
    let tenant = found.principal;
    let queue = asked("sqs:SendMessage", "arn:aws:sqs:us-east-1:222222222222:q");
    assert_eq!(at.may_with(&tenant, &queue).await, Ok(()));
    assert!(at.may_with(&tenant, &asked("sqs:SendMessage", "arn:aws:sqs:us-east-1:123456789012:q")).await.is_err());

    let only_s3 = BTreeMap::from([("only-s3".to_owned(), ALLOW_S3.to_owned())]);
    at.iam.set_service_control(&own, &made.id, only_s3).await.expect("bound");
    let refusal = at.may_with(&tenant, &queue).await.expect_err("also the root user is bound");
    assert!(refusal.contains("no service control policy allows"), "{refusal}");
    let shown = at.iam.accounts().await.expect("answers");
    assert_eq!(
        shown.iter().find(|one| one.id == "222222222222").expect("listed").service_control_policies,
        ["only-s3"]
    );
    at.iam.set_service_control(&own, &made.id, BTreeMap::new()).await.expect("freed");
    assert_eq!(at.may_with(&tenant, &queue).await, Ok(()));
    let broken = BTreeMap::from([("x".to_owned(), "{".to_owned())]);
    assert!(at.iam.set_service_control(&own, &made.id, broken).await.is_err());
    assert!(at.iam.set_service_control(&own, &account("333333333333"), BTreeMap::new()).await.is_err());
}

#[tokio::test]
async fn a_root_key_that_was_lost_is_replaced_and_the_old_one_refused() {
    let at = fixture().await;
    let own = account(ACCOUNT);
    let made = at.iam.create_account(&own, Some(account("222222222222")), "tenant").await.expect("made");
    let holder = async |id: &str| at.iam.credential(id, None).await.expect("answers");
    assert!(holder(&made.access_key_id).await.is_some());
    let next = at.iam.rotate_root_key(&made.id).await.expect("rotated");
    assert!(holder(&made.access_key_id).await.is_none());
    let found = holder(&next.access_key_id).await.expect("known");
    assert_eq!(found.principal, Principal::Root { account: made.id.clone() });
    assert_eq!(found.credential.secret.expose(), next.secret_access_key);
    let shown = at.iam.accounts().await.expect("answers");
    assert_eq!(shown[0].root_access_key_id.as_deref(), Some(&*next.access_key_id));
    at.iam.set_service_control(&own, &own, BTreeMap::new()).await.expect("recorded");
    for other in [&own, &account("333333333333")] {
        assert!(matches!(at.iam.rotate_root_key(other).await, Err(iam::IamError::NoSuchEntity(_))));
    }
}

#[tokio::test]
async fn the_use_of_a_key_is_shown() {
    let at = fixture().await;
    let (id, _) = at.user("Bob").await;
    at.iam.note_use(&id, "us-east-1", "s3").await.expect("noted");
    at.iam.note_use(&id, "us-east-1", "sqs").await.expect("too soon to count");
    let used = at.ok("GetAccessKeyLastUsed", &[("AccessKeyId", &id)]).await;
    assert_eq!(text(&used, "ServiceName"), "s3");
    at.advance(61);
    at.iam.note_use(&id, "us-east-1", "sqs").await.expect("noted");
    let used = at.ok("GetAccessKeyLastUsed", &[("AccessKeyId", &id)]).await;
    assert_eq!(text(&used, "ServiceName"), "sqs");
}

#[tokio::test]
async fn the_authorization_details_are_all_there_page_by_page() {
    let at = fixture().await;
    at.ok("CreateUser", &[("UserName", "u")]).await;
    at.ok("PutUserPolicy", &[("UserName", "u"), ("PolicyName", "in"), ("PolicyDocument", ALLOW_S3)]).await;
    at.ok("CreateGroup", &[("GroupName", "g")]).await;
    at.ok("AddUserToGroup", &[("UserName", "u"), ("GroupName", "g")]).await;
    at.ok("CreateRole", &[("RoleName", "r"), ("AssumeRolePolicyDocument", crate::LAMBDA_TRUST)]).await;
    let made = at.ok("CreatePolicy", &[("PolicyName", "own"), ("PolicyDocument", ALLOW_ALL)]).await;
    at.ok("AttachRolePolicy", &[("RoleName", "r"), ("PolicyArn", &text(&made, "Arn"))]).await;
    let aws = "arn:aws:iam::aws:policy/AmazonSQSFullAccess";
    at.ok("AttachUserPolicy", &[("UserName", "u"), ("PolicyArn", aws)]).await;
    let all = at.ok("GetAccountAuthorizationDetails", &[]).await;
    for (name, expected) in [
        ("UserName", vec!["u"]),
        ("GroupList", vec!["<member>g</member>"]),
        ("RoleName", vec!["r"]),
        ("GroupName", vec!["g"]),
        ("AttachmentCount", vec!["1", "1"]),
    ] {
        assert_eq!(texts(&all, name), expected, "{name}: {all}");
    }
    assert!(all.contains(aws) && all.contains("%22Version%22"), "{all}");
    let roles = at.ok("GetAccountAuthorizationDetails", &[("Filter.member.1", "Role")]).await;
    assert!(roles.contains("RoleName") && !roles.contains("<UserName>"), "{roles}");
    let (mut marker, mut pages) = (String::new(), 0);
    loop {
        let mut input = vec![("MaxItems", "2")];
        if !marker.is_empty() {
            input.push(("Marker", marker.as_str()));
        }
        let page = at.ok("GetAccountAuthorizationDetails", &input).await;
        pages += 1;
        let next = text(&page, "Marker");
        if next.is_empty() {
            break;
        }
        marker = next;
    }
    assert_eq!(pages, 3, "five entries, two on a page");
}

#[tokio::test]
async fn policies_about_tags_and_attachments_bind_iams_own_requests() {
    let at = fixture().await;
    let service = at.services.iter().find(|service| service.shape.name == "iam").expect("served");
    let keys = |operation: &str, form: &str| {
        let request = http::Request::post("/").header("content-type", "application/x-www-form-urlencoded").body(());
        let (parts, ()) = request.expect("well-formed").into_parts();
        let line = service.line(operation).expect("served");
        let body = bytes::Bytes::from(format!("Action={operation}&Version=2010-05-08&{form}"));
        let input = service.decode(line, wire::shape::Protocol::AwsQuery, &parts, &body).expect("valid");
        let permissions = line.permissions(&cx(crate::root()), &input);
        permissions.into_iter().map(|one| (one.resources.0.join(","), one.keys)).collect::<Vec<_>>()
    };
    let policy = "arn:aws:iam::aws:policy/ReadOnlyAccess";
    assert_eq!(
        keys("AttachUserPolicy", &format!("UserName=u&PolicyArn={policy}"))[0].1,
        ConditionKeys::new().with("iam:PolicyARN", policy)
    );
    let made = keys(
        "CreateRole",
        &format!(
            "RoleName=r&AssumeRolePolicyDocument=%7B%7D&PermissionsBoundary={policy}&Tags.member.1.Key=team&Tags.member.1.Value=a"
        ),
    );
    let expected = ConditionKeys::new().with("aws:RequestTag/team", "a").with_all("aws:TagKeys", ["team".to_owned()]);
    assert_eq!(made[0].1, expected.with("iam:PermissionsBoundary", policy));
    assert_eq!(
        keys("UntagUser", "UserName=u&TagKeys.member.1=team")[0].1,
        ConditionKeys::new().with_all("aws:TagKeys", ["team".to_owned()])
    );
    let profile = keys("CreateInstanceProfile", "InstanceProfileName=ip&Path=%2Fapp%2F");
    assert_eq!(profile[0].0, "arn:aws:iam::123456789012:instance-profile/app/ip");
    let passed = keys("AddRoleToInstanceProfile", "InstanceProfileName=ip&RoleName=r");
    assert_eq!(
        passed[1],
        (
            "arn:aws:iam::123456789012:role/r".to_owned(),
            ConditionKeys::new().with("iam:PassedToService", "ec2.amazonaws.com")
        )
    );
}
