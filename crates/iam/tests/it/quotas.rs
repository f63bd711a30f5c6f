//! How much an account may have, and what becomes of lists when it has all of that.

use std::collections::BTreeSet;

use bytes::Bytes;
use wire::Principal;

use crate::{ACCOUNT, ALLOW_S3, Fixture, LAMBDA_TRUST, account, cx, fixture, text, texts};

fn full(quota: &str, number: usize) -> (u16, String, String) {
    (409, "LimitExceeded".to_owned(), format!("Cannot exceed quota for {quota}: {number}"))
}

/// Says that the account has so many users (1), groups (2), roles (3), policies (4) or profiles (5); `None`: that nobody has
/// counted yet.
async fn set_number(at: &Fixture, what: u64, number: Option<usize>) {
    let key = kv::key::pack(&["iam".into(), 12_u64.into(), ACCOUNT.into(), what.into()]);
    let value = number.map(|number| Bytes::from(format!(r#"{{"format":1,"record":{number}}}"#)));
    let put = at.kv.transact(|tx| {
        let (key, value) = (key.clone(), value.clone());
        async move {
            match value {
                Some(value) => tx.set(key, value),
                None => tx.clear(key),
            }
            Ok::<_, kv::Error>(())
        }
    });
    put.await.expect("the store serves");
}

#[tokio::test]
async fn an_account_has_at_most_300_groups() {
    let at = fixture().await;
    for number in 0..300 {
        at.ok("CreateGroup", &[("GroupName", &format!("g{number}"))]).await;
    }
    assert_eq!(at.refused("CreateGroup", &[("GroupName", "g")]).await, full("GroupsPerAccount", 300));
    assert_eq!(at.refused("CreateGroup", &[("GroupName", "g1")]).await.1, "EntityAlreadyExists");
    let other = cx(Principal::Root { account: account("999999999999") });
    assert_eq!(at.call_as(other, "CreateGroup", &[("GroupName", "g")]).await.0, 200, "each account has its own");
    at.ok("UpdateGroup", &[("GroupName", "g1"), ("NewGroupName", "renamed")]).await;
    at.ok("DeleteGroup", &[("GroupName", "renamed")]).await;
    at.refused("DeleteGroup", &[("GroupName", "renamed")]).await;
    at.ok("CreateGroup", &[("GroupName", "g")]).await;
    assert_eq!(at.refused("CreateGroup", &[("GroupName", "h")]).await, full("GroupsPerAccount", 300));
    // A store of an older program has no count.
    set_number(&at, 2, None).await;
    assert_eq!(at.refused("CreateGroup", &[("GroupName", "h")]).await, full("GroupsPerAccount", 300));
    set_number(&at, 2, None).await;
    at.ok("DeleteGroup", &[("GroupName", "g")]).await;
    let body = at.ok("GetAccountSummary", &[]).await;
    let numbers: Vec<_> = texts(&body, "key").into_iter().zip(texts(&body, "value")).collect();
    for (name, number) in [("Groups", "299"), ("GroupsQuota", "300"), ("UsersQuota", "5000"), ("Users", "0")] {
        assert!(numbers.contains(&(name.to_owned(), number.to_owned())), "{name}: {numbers:?}");
    }
}

/// Their counts stand far too high: the account is locked out of none of them, and the counts are right afterwards.
#[tokio::test]
async fn users_roles_policies_and_profiles_have_quotas_that_heal() {
    let at = fixture().await;
    let policy = |name: &str| format!("arn:aws:iam::{ACCOUNT}:policy/{name}");
    let trust = ("AssumeRolePolicyDocument", LAMBDA_TRUST);
    let document = ("PolicyDocument", ALLOW_S3);
    for (what, quota, max, [create, delete], extra) in [
        (1, "Users", 5_000, ["CreateUser UserName", "DeleteUser UserName"], None),
        (3, "Roles", 1_000, ["CreateRole RoleName", "DeleteRole RoleName"], Some(trust)),
        (4, "Policies", 1_500, ["CreatePolicy PolicyName", "DeletePolicy PolicyArn"], Some(document)),
        (
            5,
            "InstanceProfiles",
            1_000,
            ["CreateInstanceProfile InstanceProfileName", "DeleteInstanceProfile InstanceProfileName"],
            None,
        ),
    ] {
        let make = |name: &'static str| {
            let (operation, parameter) = create.split_once(' ').expect("two words");
            let input: Vec<_> = [(parameter, name)].into_iter().chain(extra).collect();
            (operation, input)
        };
        let number = async || {
            let body = at.ok("GetAccountSummary", &[]).await;
            let found = texts(&body, "key").into_iter().zip(texts(&body, "value")).find(|(name, _)| name == quota);
            found.expect("it is counted").1
        };
        set_number(&at, what, Some(max - 1)).await;
        let (operation, input) = make("a");
        at.ok(operation, &input).await;
        assert_eq!(number().await, max.to_string(), "{quota}");
        let (operation, input) = make("b");
        at.ok(operation, &input).await;
        assert_eq!(number().await, "2", "{quota}");
        let (gone, parameter) = delete.split_once(' ').expect("two words");
        let name = if parameter == "PolicyArn" { policy("a") } else { "a".to_owned() };
        at.ok(gone, &[(parameter, &name)]).await;
        assert_eq!(number().await, "1", "{quota}");
    }
}

#[tokio::test]
async fn what_the_store_does_not_take_is_a_limit_that_was_exceeded() {
    let at = fixture().await;
    at.ok("CreateUser", &[("UserName", "u")]).await;
    // White space counts for no quota.
    let long = ALLOW_S3.replacen('{', &format!("{{{}", " ".repeat(110_000)), 1);
    let put = [("UserName", "u"), ("PolicyName", "p"), ("PolicyDocument", long.as_str())];
    let (status, code, message) = at.refused("PutUserPolicy", &put).await;
    assert_eq!((status, code.as_str()), (409, "LimitExceeded"), "{message}");
    assert_eq!(texts(&at.ok("ListUserPolicies", &[("UserName", "u")]).await, "member"), Vec::<String>::new());
    let made = at.refused("CreatePolicy", &[("PolicyName", "p"), ("PolicyDocument", &long)]).await;
    assert_eq!(made.1, "LimitExceeded");
}

/// All of a list's items, over its pages, and how many pages there were.
async fn all_of(at: &Fixture, operation: &str, item: &str) -> (Vec<String>, usize) {
    let (mut items, mut marker, mut pages) = (Vec::new(), None::<String>, 0);
    loop {
        let input: Vec<(&str, &str)> =
            [("MaxItems", "1000")].into_iter().chain(marker.as_deref().map(|marker| ("Marker", marker))).collect();
        let body = at.ok(operation, &input).await;
        // Of what was encoded three bytes are one.
        assert!(body.len() < 4 << 20, "{operation} answers with {} bytes", body.len());
        items.extend(texts(&body, item));
        pages += 1;
        if text(&body, "IsTruncated") == "false" {
            return (items, pages);
        }
        marker = Some(text(&body, "Marker"));
    }
}

/// Records of the largest size, more together than one read of the store may give.
#[tokio::test]
async fn lists_of_an_account_with_records_of_the_largest_size() {
    let at = fixture().await;
    let padded = |document: &str| document.replacen('{', &format!("{{{}", " ".repeat(98_000)), 1);
    let (trust, document) = (padded(LAMBDA_TRUST), padded(ALLOW_S3));
    let numbered = |letter: char| (0..105).map(move |number| format!("{letter}{number:03}"));
    for name in numbered('r') {
        at.ok("CreateRole", &[("RoleName", &name), ("AssumeRolePolicyDocument", &trust)]).await;
    }
    for name in numbered('u') {
        at.ok("CreateUser", &[("UserName", &name)]).await;
        at.ok("PutUserPolicy", &[("UserName", &name), ("PolicyName", "p"), ("PolicyDocument", &document)]).await;
    }
    for name in numbered('p') {
        at.ok("CreatePolicy", &[("PolicyName", &name), ("PolicyDocument", &document)]).await;
    }
    let names = |letter| numbered(letter).collect::<Vec<_>>();
    let (roles, pages) = all_of(&at, "ListRoles", "RoleName").await;
    assert!(roles == names('r') && pages > 5, "{pages} pages");
    assert_eq!(all_of(&at, "ListUsers", "UserName").await, (names('u'), 1), "lists show no inline policies");
    let (policies, _) = all_of(&at, "ListPolicies", "PolicyName").await;
    assert_eq!(policies.iter().filter(|name| name.starts_with('p')).count(), 105);
    at.ok("GetPolicy", &[("PolicyArn", &format!("arn:aws:iam::{ACCOUNT}:policy/p000"))]).await;
    let (named, pages) = all_of(&at, "GetAccountAuthorizationDetails", "Arn").await;
    assert_eq!(named.iter().collect::<BTreeSet<_>>().len(), 3 * 105);
    assert!(named.len() == 3 * 105 && pages > 15, "{pages} pages");
}
