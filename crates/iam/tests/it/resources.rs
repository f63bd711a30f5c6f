//! Policies of resources, other accounts, and what the platform does by itself.

use std::sync::Arc;

use wire::{AccountId, Act, Asked, ConditionKeys, Principal, ResourceFacts};

use crate::{ALLOW_ALL, LAMBDA_TRUST, asked, fixture};

const QUEUE: &str = "arn:aws:sqs:us-east-1:123456789012:q";
const FOREIGN_QUEUE: &str = "arn:aws:sqs:us-east-1:999999999999:q";

fn document(effect: &str, principal: &str, resource: &str, condition: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"{effect}","Principal":{principal},
           "Action":"sqs:SendMessage","Resource":"{resource}","Condition":{condition}}}]}}"#
    )
}

fn with_policy(text: &str) -> ResourceFacts {
    ResourceFacts { policy: Some(Arc::from(text)), ..ResourceFacts::default() }
}

fn about(resource: &str, text: &str) -> Asked {
    Asked { facts: with_policy(text), ..asked("sqs:SendMessage", resource) }
}

#[tokio::test]
async fn i2_a_resource_policy_suffices_within_an_account_and_denies_even_the_root() {
    let at = fixture().await;
    let (_, bob) = at.user("Bob").await;
    let root = Principal::Root { account: AccountId::parse("123456789012").expect("12 digits") };
    let who = r#"{"AWS":"arn:aws:iam::123456789012:user/Bob"}"#;
    assert!(at.may_with(&bob, &asked("sqs:SendMessage", QUEUE)).await.is_err());
    assert_eq!(at.may_with(&bob, &about(QUEUE, &document("Allow", who, QUEUE, "{}"))).await, Ok(()));
    let deny = about(QUEUE, &document("Deny", r#""*""#, QUEUE, "{}"));
    let refusal = at.may_with(&root, &deny).await.expect_err("denied");
    assert!(refusal.ends_with("with an explicit deny in a resource-based policy"), "{refusal}");
}

#[tokio::test]
async fn i3_another_accounts_resource_needs_both_sides() {
    let at = fixture().await;
    let (_, bob) = at.user("Bob").await;
    let grant = about(FOREIGN_QUEUE, &document("Allow", r#"{"AWS":"123456789012"}"#, FOREIGN_QUEUE, "{}"));
    assert!(at.may_with(&bob, &grant).await.is_err(), "the owner's side alone");
    let own = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    at.ok("PutUserPolicy", &[("UserName", "Bob"), ("PolicyName", "p"), ("PolicyDocument", own)]).await;
    let refusal =
        at.may_with(&bob, &asked("sqs:SendMessage", FOREIGN_QUEUE)).await.expect_err("the caller's side alone");
    assert!(refusal.contains("no resource-based policy allows"), "{refusal}");
    assert_eq!(at.may_with(&bob, &grant).await, Ok(()));
    // A bucket's ARN names no account: its service knows whose it is.
    let foreign = Some(AccountId::parse("999999999999").expect("12 digits"));
    let bucket = asked("s3:GetObject", "arn:aws:s3:::bucket/key");
    assert_eq!(at.may_with(&bob, &bucket).await, Ok(()));
    let facts = ResourceFacts { owner: foreign, ..ResourceFacts::default() };
    assert!(at.may_with(&bob, &Asked { facts, ..bucket }).await.is_err());
}

#[tokio::test]
async fn i4_strangers_have_what_a_policy_grants_to_everyone() {
    let at = fixture().await;
    let stranger = Principal::Anonymous;
    assert!(at.may_with(&stranger, &asked("sqs:SendMessage", QUEUE)).await.is_err());
    let users_only = document("Allow", r#"{"AWS":"123456789012"}"#, QUEUE, "{}");
    assert!(at.may_with(&stranger, &about(QUEUE, &users_only)).await.is_err());
    let local = document("Allow", r#""*""#, QUEUE, r#"{"StringEquals":{"aws:ResourceTag/open":"yes"}}"#);
    let mut open = about(QUEUE, &local);
    assert!(at.may_with(&stranger, &open).await.is_err(), "the tag is missing");
    open.facts.tags.push(("open".to_owned(), "yes".to_owned()));
    assert_eq!(at.may_with(&stranger, &open).await, Ok(()));
}

#[tokio::test]
async fn i6_a_service_acts_only_for_the_source_that_the_policy_names() {
    let at = fixture().await;
    let account = AccountId::parse("123456789012").expect("12 digits");
    let condition =
        r#"{"ArnLike":{"aws:SourceArn":"arn:aws:s3:::mine"},"StringEquals":{"aws:SourceAccount":"123456789012"}}"#;
    let text = document("Allow", r#"{"Service":"s3.amazonaws.com"}"#, QUEUE, condition);
    let send = |service: &str, bucket: &str, owner: &AccountId| {
        Act::on_behalf_of(service, "sqs:SendMessage", QUEUE, "us-east-1", bucket, owner)
    };
    let (iam, facts) = (&at.iam, &with_policy(&text));
    let may = |act: Act| async move { iam.may_act(&act, facts).await.map_err(|error| error.message) };
    assert_eq!(may(send("s3.amazonaws.com", "arn:aws:s3:::mine", &account)).await, Ok(()));
    for act in [
        send("sns.amazonaws.com", "arn:aws:s3:::mine", &account),
        send("s3.amazonaws.com", "arn:aws:s3:::other", &account),
        send("s3.amazonaws.com", "arn:aws:s3:::mine", &AccountId::parse("999999999999").expect("12 digits")),
        Act { keys: ConditionKeys::new(), ..send("s3.amazonaws.com", "", &account) },
    ] {
        assert!(may(act.clone()).await.is_err(), "{act:?}");
    }
    let act = send("s3.amazonaws.com", "arn:aws:s3:::mine", &account);
    assert!(at.iam.may_act(&act, &ResourceFacts::default()).await.is_err(), "without a policy");
}

#[tokio::test]
async fn i8_the_platform_has_no_more_rights_than_the_role_it_acts_for() {
    let at = fixture().await;
    at.ok("CreateRole", &[("RoleName", "Poller"), ("AssumeRolePolicyDocument", LAMBDA_TRUST)]).await;
    let role = "arn:aws:iam::123456789012:role/Poller";
    let receive = Act::as_role(role, "sqs:ReceiveMessage", QUEUE, "us-east-1");
    let iam = &at.iam;
    let may = |act: Act| async move { iam.may_act(&act, &ResourceFacts::default()).await.is_ok() };
    assert!(!may(receive.clone()).await);
    let own =
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sqs:ReceiveMessage","Resource":"*"}]}"#;
    at.ok("PutRolePolicy", &[("RoleName", "Poller"), ("PolicyName", "p"), ("PolicyDocument", own)]).await;
    assert!(may(receive).await);
    assert!(!may(Act::as_role(role, "sqs:DeleteMessage", QUEUE, "us-east-1")).await);
    assert!(!may(Act::as_role("arn:aws:iam::123456789012:role/None", "sqs:ReceiveMessage", QUEUE, "us-east-1")).await);
}

/// AWS's `AWSRevokeOlderSessions` and a role kept to direct calls: what the platform does with the role's rights is done by a
/// session of now, which is nobody's on whose behalf a service calls on.
#[tokio::test]
async fn i8_the_platform_acts_in_a_session_of_the_role_that_is_new() {
    let at = fixture().await;
    at.advance(3_600);
    at.ok("CreateRole", &[("RoleName", "Writer"), ("AssumeRolePolicyDocument", LAMBDA_TRUST)]).await;
    at.ok("PutRolePolicy", &[("RoleName", "Writer"), ("PolicyName", "all"), ("PolicyDocument", ALLOW_ALL)]).await;
    let role = "arn:aws:iam::123456789012:role/Writer";
    let (object, key) = ("arn:aws:s3:::bkt/k", "arn:aws:kms:us-east-1:123456789012:key/one");
    let both = async || {
        let act = Act::as_role(role, "s3:PutObject", object, "us-east-1");
        let platform = at.iam.may_act(&act, &ResourceFacts::default()).await.is_ok();
        let principal = at.iam.role_principal(role).await.expect("the store answers").expect("there is such a role");
        (platform, at.may_with(&principal, &asked("kms:GenerateDataKey", key)).await.is_ok())
    };
    assert_eq!(both().await, (true, true));
    for (condition, expected) in [
        // Sessions from before this moment are revoked; then also those of the next hour.
        (r#"{"DateLessThan":{"aws:TokenIssueTime":"2023-11-14T23:13:20Z"}}"#, (true, true)),
        (r#"{"DateLessThan":{"aws:TokenIssueTime":"2023-11-15T00:13:20Z"}}"#, (false, false)),
        (r#"{"Null":{"aws:TokenIssueTime":"true"}}"#, (true, true)),
        (r#"{"Bool":{"aws:ViaAWSService":"true"}}"#, (true, true)),
        (r#"{"Bool":{"aws:ViaAWSService":"false"}}"#, (false, false)),
    ] {
        let deny = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Deny","Action":"*","Resource":"*","Condition":{condition}}}]}}"#
        );
        let input = [("RoleName", "Writer"), ("PolicyName", "AWSRevokeOlderSessions"), ("PolicyDocument", &deny)];
        at.ok("PutRolePolicy", &input).await;
        assert_eq!(both().await, expected, "{condition}");
    }
}
