use crate::{account, cx, fixture, texts};

#[tokio::test]
async fn the_summary_counts() {
    let at = fixture().await;
    at.ok("CreateUser", &[("UserName", "u")]).await;
    let body = at.ok("GetAccountSummary", &[]).await;
    let numbers: Vec<_> = texts(&body, "key").into_iter().zip(texts(&body, "value")).collect();
    for (name, number) in [("Users", "1"), ("Groups", "0"), ("Roles", "0"), ("VersionsPerPolicyQuota", "5")] {
        assert!(numbers.contains(&(name.to_owned(), number.to_owned())), "{name}: {numbers:?}");
    }
}

#[tokio::test]
async fn accounts_are_separate() {
    let at = fixture().await;
    at.ok("CreateUser", &[("UserName", "u")]).await;
    let other = cx(wire::Principal::Root { account: account("999999999999") });
    let (status, _) = at.call_as(other.clone(), "GetUser", &[("UserName", "u")]).await;
    assert_eq!(status, 404);
    let (_, list) = at.call_as(other, "ListUsers", &[]).await;
    assert!(texts(&list, "UserName").is_empty());
}
