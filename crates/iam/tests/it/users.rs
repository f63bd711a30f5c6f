use crate::{ALLOW_S3, fixture, text, texts};

#[tokio::test]
async fn a_user_is_made_found_changed_and_deleted() {
    let at = fixture().await;
    let made = at.ok("CreateUser", &[("UserName", "Ann"), ("Path", "/team/")]).await;
    assert_eq!(text(&made, "Arn"), "arn:aws:iam::123456789012:user/team/Ann");
    assert!(text(&made, "UserId").starts_with("AIDA"));
    let again = at.refused("CreateUser", &[("UserName", "ann")]).await;
    assert_eq!(again, (409, "EntityAlreadyExists".into(), "User with name ann already exists.".into()));
    at.ok("UpdateUser", &[("UserName", "Ann"), ("NewUserName", "Bea"), ("NewPath", "/")]).await;
    let missing = at.refused("GetUser", &[("UserName", "Ann")]).await;
    assert_eq!(missing, (404, "NoSuchEntity".into(), "The user with name Ann cannot be found.".into()));
    assert_eq!(text(&at.ok("GetUser", &[("UserName", "Bea")]).await, "Arn"), "arn:aws:iam::123456789012:user/Bea");
    at.ok("DeleteUser", &[("UserName", "Bea")]).await;
    assert_eq!(texts(&at.ok("ListUsers", &[]).await, "UserName"), Vec::<String>::new());
}

#[tokio::test]
async fn lists_come_in_pages_and_by_path() {
    let at = fixture().await;
    for name in ["e", "a", "D", "c", "b"] {
        at.ok("CreateUser", &[("UserName", name), ("Path", if name == "c" { "/x/" } else { "/" })]).await;
    }
    let (mut seen, mut marker) = (Vec::new(), String::new());
    loop {
        let mut input = vec![("MaxItems", "2")];
        if !marker.is_empty() {
            input.push(("Marker", marker.as_str()));
        }
        let body = at.ok("ListUsers", &input).await;
        seen.extend(texts(&body, "UserName"));
        if text(&body, "IsTruncated") == "false" {
            break;
        }
        marker = text(&body, "Marker");
    }
    assert_eq!(seen, ["a", "b", "c", "D", "e"]);
    assert_eq!(texts(&at.ok("ListUsers", &[("PathPrefix", "/x/")]).await, "UserName"), ["c"]);
    assert_eq!(at.refused("ListUsers", &[("Marker", "!")]).await.1, "ValidationError");
}

#[tokio::test]
async fn what_hangs_on_a_user_keeps_it_from_being_deleted() {
    let at = fixture().await;
    let who = ("UserName", "u");
    at.ok("CreateUser", &[who]).await;
    at.ok("PutUserPolicy", &[who, ("PolicyName", "p"), ("PolicyDocument", ALLOW_S3)]).await;
    let message = at.refused("DeleteUser", &[who]).await;
    assert_eq!(message, (409, "DeleteConflict".into(), "Cannot delete entity, must delete policies first.".into()));
    at.ok("DeleteUserPolicy", &[who, ("PolicyName", "p")]).await;
    let key = text(&at.ok("CreateAccessKey", &[who]).await, "AccessKeyId");
    assert_eq!(at.refused("DeleteUser", &[who]).await.1, "DeleteConflict");
    at.ok("DeleteAccessKey", &[who, ("AccessKeyId", &key)]).await;
    at.ok("DeleteUser", &[who]).await;
}

#[tokio::test]
async fn tags_and_boundaries_of_users() {
    let at = fixture().await;
    let who = ("UserName", "u");
    at.ok("CreateUser", &[who, ("Tags.member.1.Key", "team"), ("Tags.member.1.Value", "red")]).await;
    at.ok("TagUser", &[who, ("Tags.member.1.Key", "Team"), ("Tags.member.1.Value", "blue")]).await;
    let tags = at.ok("ListUserTags", &[who]).await;
    assert_eq!((texts(&tags, "Key"), texts(&tags, "Value")), (vec!["Team".to_owned()], vec!["blue".to_owned()]));
    at.ok("UntagUser", &[who, ("TagKeys.member.1", "team")]).await;
    assert!(texts(&at.ok("ListUserTags", &[who]).await, "Key").is_empty());
    let reserved = at.refused("TagUser", &[who, ("Tags.member.1.Key", "aws:x"), ("Tags.member.1.Value", "")]).await;
    assert_eq!(reserved.1, "InvalidInput");

    let boundary = ("PermissionsBoundary", "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess");
    at.ok("PutUserPermissionsBoundary", &[who, boundary]).await;
    assert_eq!(text(&at.ok("GetUser", &[who]).await, "PermissionsBoundaryArn"), boundary.1);
    at.ok("DeleteUserPermissionsBoundary", &[who]).await;
    assert_eq!(text(&at.ok("GetUser", &[who]).await, "PermissionsBoundaryArn"), "");
    let unknown =
        at.refused("PutUserPermissionsBoundary", &[who, ("PermissionsBoundary", "arn:aws:iam::aws:policy/No")]).await;
    assert_eq!(unknown.1, "NoSuchEntity");
}

#[tokio::test]
async fn inline_and_attached_policies_of_users() {
    let at = fixture().await;
    let who = ("UserName", "u");
    let arn = ("PolicyArn", "arn:aws:iam::aws:policy/AmazonSQSFullAccess");
    at.ok("CreateUser", &[who]).await;
    at.ok("PutUserPolicy", &[who, ("PolicyName", "p"), ("PolicyDocument", ALLOW_S3)]).await;
    assert_eq!(texts(&at.ok("ListUserPolicies", &[who]).await, "member"), ["p"]);
    let document = text(&at.ok("GetUserPolicy", &[who, ("PolicyName", "p")]).await, "PolicyDocument");
    assert!(document.starts_with("%7B%22Version%22"), "{document}");
    at.ok("AttachUserPolicy", &[who, arn]).await;
    assert_eq!(text(&at.ok("ListAttachedUserPolicies", &[who]).await, "PolicyName"), "AmazonSQSFullAccess");
    at.ok("DetachUserPolicy", &[who, arn]).await;
    assert_eq!(at.refused("DetachUserPolicy", &[who, arn]).await.1, "NoSuchEntity");
    let bad = at.refused("PutUserPolicy", &[who, ("PolicyName", "p"), ("PolicyDocument", "{")]).await;
    assert_eq!((bad.0, bad.1.as_str()), (400, "MalformedPolicyDocument"));
}

#[tokio::test]
async fn i1_a_policy_about_a_path_holds_although_inputs_name_no_path() {
    let at = fixture().await;
    at.ok("CreateUser", &[("UserName", "Chief"), ("Path", "/admins/")]).await;
    let (_, bob) = at.user("Bob").await;
    let document = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},
        {"Effect":"Deny","Action":"*","Resource":"arn:aws:iam::*:user/admins/*"}]}"#;
    at.ok("PutUserPolicy", &[("UserName", "Bob"), ("PolicyName", "p"), ("PolicyDocument", document)]).await;
    for (name, allowed) in [("Chief", false), ("Bob", true), ("admins/Next", false)] {
        let about = crate::asked("iam:DeleteUser", &format!("arn:aws:iam::123456789012:user/{name}"));
        let outcome = at.may_with(&bob, &about).await;
        assert_eq!(outcome.is_ok(), allowed, "{name}: {outcome:?}");
    }
}
