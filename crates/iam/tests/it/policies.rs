use crate::{ACCOUNT, ALLOW_ALL, ALLOW_S3, cx, fixture, root, text, texts};

const ARN: (&str, &str) = ("PolicyArn", "arn:aws:iam::123456789012:policy/p");

#[tokio::test]
async fn versions_come_go_and_take_effect() {
    let at = fixture().await;
    let (_, ann) = at.user("ann").await;
    let made = at.ok("CreatePolicy", &[("PolicyName", "p"), ("PolicyDocument", ALLOW_S3)]).await;
    assert_eq!((text(&made, "Arn").as_str(), text(&made, "DefaultVersionId").as_str()), (ARN.1, "v1"));
    at.ok("AttachUserPolicy", &[("UserName", "ann"), ARN]).await;
    assert!(at.may(&ann, "s3:PutObject").await.is_err());
    let second = at.ok("CreatePolicyVersion", &[ARN, ("PolicyDocument", ALLOW_ALL), ("SetAsDefault", "true")]).await;
    assert_eq!(text(&second, "VersionId"), "v2");
    assert_eq!(at.may(&ann, "s3:PutObject").await, Ok(()));
    at.ok("SetDefaultPolicyVersion", &[ARN, ("VersionId", "v1")]).await;
    assert!(at.may(&ann, "s3:PutObject").await.is_err());
    assert_eq!(texts(&at.ok("ListPolicyVersions", &[ARN]).await, "VersionId"), ["v2", "v1"]);
    let document = text(&at.ok("GetPolicyVersion", &[ARN, ("VersionId", "v2")]).await, "Document");
    assert!(document.contains("%22Action%22%3A%22%2A%22"), "{document}");
    assert_eq!(at.refused("DeletePolicyVersion", &[ARN, ("VersionId", "v1")]).await.1, "DeleteConflict");
    assert_eq!(at.refused("DeletePolicy", &[ARN]).await.2, "Cannot delete a policy attached to entities.");
    let entities = at.ok("ListEntitiesForPolicy", &[ARN]).await;
    assert_eq!((texts(&entities, "UserName"), texts(&entities, "RoleName")), (vec!["ann".to_owned()], Vec::new()));
    assert_eq!(text(&at.ok("GetPolicy", &[ARN]).await, "AttachmentCount"), "1");
    at.ok("DetachUserPolicy", &[("UserName", "ann"), ARN]).await;
    assert_eq!(at.refused("DeletePolicy", &[ARN]).await.1, "DeleteConflict");
    at.ok("DeletePolicyVersion", &[ARN, ("VersionId", "v2")]).await;
    at.ok("DeletePolicy", &[ARN]).await;
    let gone = at.refused("GetPolicy", &[ARN]).await;
    assert_eq!((gone.0, gone.1.as_str()), (404, "NoSuchEntity"));
}

#[tokio::test]
async fn five_versions_and_no_more() {
    let at = fixture().await;
    at.ok("CreatePolicy", &[("PolicyName", "p"), ("PolicyDocument", ALLOW_S3)]).await;
    for _ in 0..4 {
        at.ok("CreatePolicyVersion", &[ARN, ("PolicyDocument", ALLOW_S3)]).await;
    }
    let sixth = at.refused("CreatePolicyVersion", &[ARN, ("PolicyDocument", ALLOW_S3)]).await;
    assert_eq!((sixth.0, sixth.1.as_str()), (409, "LimitExceeded"));
}

#[tokio::test]
async fn lists_tags_and_duplicates() {
    let at = fixture().await;
    at.ok("CreatePolicy", &[("PolicyName", "p"), ("PolicyDocument", ALLOW_S3)]).await;
    let again = at.refused("CreatePolicy", &[("PolicyName", "P"), ("PolicyDocument", ALLOW_S3)]).await;
    assert_eq!(again.2, "A policy called P already exists. Duplicate names are not allowed.");
    assert_eq!(texts(&at.ok("ListPolicies", &[("Scope", "Local")]).await, "PolicyName"), ["p"]);
    let aws = texts(&at.ok("ListPolicies", &[("Scope", "AWS")]).await, "PolicyName");
    assert!(aws.contains(&"AdministratorAccess".to_owned()) && !aws.contains(&"p".to_owned()), "{aws:?}");
    at.ok("TagPolicy", &[ARN, ("Tags.member.1.Key", "k"), ("Tags.member.1.Value", "v")]).await;
    assert_eq!(texts(&at.ok("ListPolicyTags", &[ARN]).await, "Key"), ["k"]);
    at.ok("UntagPolicy", &[ARN, ("TagKeys.member.1", "k")]).await;
    assert!(texts(&at.ok("ListPolicyTags", &[ARN]).await, "Key").is_empty());
}

/// Also what an older program made and deleted, which entered no names.
#[tokio::test]
async fn names_of_policies_are_taken_once_on_all_paths_until_they_are_free() {
    let at = fixture().await;
    let create = async |name: &str, path: &str| {
        let input = [("PolicyName", name), ("Path", path), ("PolicyDocument", ALLOW_S3)];
        at.call_as(cx(root()), "CreatePolicy", &input).await.0
    };
    let clear = async |key: kv::key::Element, rest: &[&str]| {
        let words = rest.iter().map(|word| (*word).into());
        let key = kv::key::pack(&["iam".into(), key, ACCOUNT.into()].into_iter().chain(words).collect::<Vec<_>>());
        let cleared = at.kv.transact(|tx| {
            let key = key.clone();
            async move {
                assert!(tx.get(&key).await?.is_some(), "there is such a key");
                tx.clear(key);
                Ok::<_, kv::Error>(())
            }
        });
        cleared.await.expect("the store serves");
    };
    assert_eq!((create("p", "/").await, create("P", "/team/").await, create("q", "/team/").await), (200, 409, 200));
    // As an older program leaves them: nothing is entered.
    clear(13_u64.into(), &["p"]).await;
    clear(13_u64.into(), &["q"]).await;
    clear(14_u64.into(), &[]).await;
    assert_eq!((create("Q", "/").await, create("p", "/other/").await, create("r", "/").await), (409, 409, 200));
    // As an older program deletes one.
    clear(2_u64.into(), &[&format!("arn:aws:iam::{ACCOUNT}:policy/r")]).await;
    assert_eq!((create("R", "/").await, create("r", "/").await), (200, 409));
    at.ok("DeletePolicy", &[("PolicyArn", &format!("arn:aws:iam::{ACCOUNT}:policy/R"))]).await;
    assert_eq!((create("r", "/").await, create("R", "/").await), (200, 409));
    // As an older program makes one after this one was there.
    clear(13_u64.into(), &["r"]).await;
    assert_eq!(create("r", "/").await, 409, "it is not overwritten");
}

#[tokio::test]
async fn every_policy_of_the_aws_table_compiles_and_can_be_read() {
    let at = fixture().await;
    let arns = texts(&at.ok("ListPolicies", &[("Scope", "AWS")]).await, "Arn");
    assert!(arns.len() >= 20);
    for arn in arns {
        let body = at.ok("GetPolicyVersion", &[("PolicyArn", &arn), ("VersionId", "v1")]).await;
        let document = wire::uri::percent_decode(&text(&body, "Document")).expect("encoded").into_owned();
        iam::policy::Policy::parse(&document, iam::policy::Kind::Identity).unwrap_or_else(|bad| panic!("{arn}: {bad}"));
    }
}
