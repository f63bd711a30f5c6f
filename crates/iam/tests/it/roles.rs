use std::collections::BTreeMap;

use crate::{ACCOUNT, ALLOW_ALL, ALLOW_S3, LAMBDA_TRUST, account, fixture, text, texts};

const ROLE: (&str, &str) = ("RoleName", "r");
const TRUST: (&str, &str) = ("AssumeRolePolicyDocument", LAMBDA_TRUST);

#[tokio::test]
async fn a_role_is_made_found_changed_and_deleted() {
    let at = fixture().await;
    let made = at.ok("CreateRole", &[ROLE, TRUST, ("Path", "/service-role/"), ("Description", "d")]).await;
    assert_eq!(text(&made, "Arn"), "arn:aws:iam::123456789012:role/service-role/r");
    assert_eq!(text(&made, "MaxSessionDuration"), "3600");
    assert!(text(&made, "RoleId").starts_with("AROA"));
    at.ok("UpdateRole", &[ROLE, ("MaxSessionDuration", "7200")]).await;
    assert_eq!(text(&at.ok("UpdateRoleDescription", &[ROLE, ("Description", "e")]).await, "Description"), "e");
    let found = at.ok("GetRole", &[ROLE]).await;
    assert_eq!((text(&found, "MaxSessionDuration").as_str(), text(&found, "Description").as_str()), ("7200", "e"));
    assert_eq!(texts(&at.ok("ListRoles", &[("PathPrefix", "/service-role/")]).await, "RoleName"), ["r"]);
    at.ok("DeleteRole", &[ROLE]).await;
    let gone = at.refused("GetRole", &[ROLE]).await;
    assert_eq!(gone, (404, "NoSuchEntity".into(), "The role with name r cannot be found.".into()));
}

#[tokio::test]
async fn a_trust_policy_must_be_one() {
    let at = fixture().await;
    let bad = at.refused("CreateRole", &[ROLE, ("AssumeRolePolicyDocument", ALLOW_S3)]).await;
    assert_eq!((bad.0, bad.1.as_str()), (400, "MalformedPolicyDocument"));
    at.ok("CreateRole", &[ROLE, TRUST]).await;
    assert_eq!(at.refused("UpdateAssumeRolePolicy", &[ROLE, ("PolicyDocument", "[]")]).await.1, bad.1);
    at.ok("UpdateAssumeRolePolicy", &[ROLE, ("PolicyDocument", LAMBDA_TRUST)]).await;
}

#[tokio::test]
async fn policies_tags_and_boundary_of_roles() {
    let at = fixture().await;
    at.ok("CreateRole", &[ROLE, TRUST]).await;
    at.ok("PutRolePolicy", &[ROLE, ("PolicyName", "p"), ("PolicyDocument", ALLOW_S3)]).await;
    assert_eq!(text(&at.ok("GetRolePolicy", &[ROLE, ("PolicyName", "p")]).await, "PolicyName"), "p");
    assert_eq!(texts(&at.ok("ListRolePolicies", &[ROLE]).await, "member"), ["p"]);
    let missing = at.refused("GetRolePolicy", &[ROLE, ("PolicyName", "q")]).await;
    assert_eq!(missing.2, "The role policy with name q cannot be found.");
    at.ok("DeleteRolePolicy", &[ROLE, ("PolicyName", "p")]).await;
    let arn = ("PolicyArn", "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole");
    at.ok("AttachRolePolicy", &[ROLE, arn]).await;
    assert_eq!(text(&at.ok("ListAttachedRolePolicies", &[ROLE]).await, "PolicyName"), "AWSLambdaBasicExecutionRole");
    assert_eq!(at.refused("DeleteRole", &[ROLE]).await.2, "Cannot delete entity, must detach all policies first.");
    at.ok("DetachRolePolicy", &[ROLE, arn]).await;
    at.ok("TagRole", &[ROLE, ("Tags.member.1.Key", "k"), ("Tags.member.1.Value", "v")]).await;
    assert_eq!(texts(&at.ok("ListRoleTags", &[ROLE]).await, "Value"), ["v"]);
    at.ok("UntagRole", &[ROLE, ("TagKeys.member.1", "k")]).await;
    let boundary = ("PermissionsBoundary", "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess");
    at.ok("PutRolePermissionsBoundary", &[ROLE, boundary]).await;
    assert_eq!(text(&at.ok("GetRole", &[ROLE]).await, "PermissionsBoundaryArn"), boundary.1);
    at.ok("DeleteRolePermissionsBoundary", &[ROLE]).await;
    at.ok("DeleteRole", &[ROLE]).await;
}

#[tokio::test]
async fn service_linked_roles_belong_to_their_service() {
    let at = fixture().await;
    let made = at.ok("CreateServiceLinkedRole", &[("AWSServiceName", "autoscaling.amazonaws.com")]).await;
    let name = text(&made, "RoleName");
    assert_eq!(
        text(&made, "Arn"),
        format!("arn:aws:iam::123456789012:role/aws-service-role/autoscaling.amazonaws.com/{name}")
    );
    assert_eq!(at.refused("DeleteRole", &[("RoleName", &name)]).await.1, "UnmodifiableEntity");
    let task = text(&at.ok("DeleteServiceLinkedRole", &[("RoleName", &name)]).await, "DeletionTaskId");
    let status = at.ok("GetServiceLinkedRoleDeletionStatus", &[("DeletionTaskId", &task)]).await;
    assert_eq!(text(&status, "Status"), "SUCCEEDED");
}

#[tokio::test]
async fn only_its_service_says_what_a_service_linked_role_may_do() {
    let at = fixture().await;
    let made = at.ok("CreateServiceLinkedRole", &[("AWSServiceName", "lambda.amazonaws.com")]).await;
    let (name, arn) = (text(&made, "RoleName"), text(&made, "Arn"));
    let role = ("RoleName", name.as_str());
    let aws = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
    at.ok("CreateInstanceProfile", &[("InstanceProfileName", "i")]).await;
    for (operation, input) in [
        ("AttachRolePolicy", vec![role, ("PolicyArn", aws)]),
        ("DetachRolePolicy", vec![role, ("PolicyArn", aws)]),
        ("PutRolePolicy", vec![role, ("PolicyName", "p"), ("PolicyDocument", ALLOW_ALL)]),
        ("DeleteRolePolicy", vec![role, ("PolicyName", "p")]),
        ("PutRolePermissionsBoundary", vec![role, ("PermissionsBoundary", aws)]),
        ("DeleteRolePermissionsBoundary", vec![role]),
        ("UpdateAssumeRolePolicy", vec![role, ("PolicyDocument", LAMBDA_TRUST)]),
        ("UpdateRole", vec![role, ("MaxSessionDuration", "7200")]),
        ("AddRoleToInstanceProfile", vec![role, ("InstanceProfileName", "i")]),
    ] {
        let (status, code, _) = at.refused(operation, &input).await;
        assert_eq!((status, code.as_str()), (400, "UnmodifiableEntity"), "{operation}");
    }
    at.ok("UpdateRoleDescription", &[role, ("Description", "d")]).await;
    at.ok("TagRole", &[role, ("Tags.member.1.Key", "k"), ("Tags.member.1.Value", "v")]).await;
    let passed = at.iam.service_may_assume(&arn, "lambda.amazonaws.com", None).await.expect("answers");
    assert_eq!(passed, Some(false), "code of customers never runs above the organisation");
}

#[tokio::test]
async fn the_path_of_service_linked_roles_frees_nobody_from_the_organisation() {
    let at = fixture().await;
    let (_, ann) = at.user("ann").await;
    at.ok("PutUserPolicy", &[("UserName", "ann"), ("PolicyName", "p"), ("PolicyDocument", ALLOW_ALL)]).await;
    at.ok("CreateGroup", &[("GroupName", "g")]).await;
    let path = "/aws-service-role/x.amazonaws.com/";
    for (operation, input) in [
        ("CreateUser", [("UserName", "bob"), ("Path", path)]),
        ("UpdateUser", [("UserName", "ann"), ("NewPath", path)]),
        ("CreateGroup", [("GroupName", "h"), ("Path", path)]),
        ("UpdateGroup", [("GroupName", "g"), ("NewPath", path)]),
    ] {
        let (status, code, _) = at.refused(operation, &input).await;
        assert_eq!((status, code.as_str()), (400, "InvalidInput"), "{operation}");
    }
    let (status, code, _) = at.refused("CreateRole", &[ROLE, TRUST, ("Path", path)]).await;
    assert_eq!((status, code.as_str()), (400, "InvalidInput"));
    let only_s3 = BTreeMap::from([("only-s3".to_owned(), ALLOW_S3.to_owned())]);
    let own = account(ACCOUNT);
    at.iam.set_service_control(&own, &own, only_s3).await.expect("bound");
    let refusal = at.may(&ann, "s3:PutObject").await.expect_err("bound");
    assert!(refusal.contains("no service control policy allows"), "{refusal}");
}

#[tokio::test]
async fn a_service_may_assume_what_the_trust_policy_says() {
    let at = fixture().await;
    at.ok("CreateRole", &[ROLE, TRUST]).await;
    let arn = "arn:aws:iam::123456789012:role/r";
    let ask = |service| at.iam.service_may_assume(arn, service, None);
    assert_eq!(ask("lambda.amazonaws.com").await.expect("answers"), Some(true));
    assert_eq!(ask("sqs.amazonaws.com").await.expect("answers"), Some(false));
    assert_eq!(at.iam.service_may_assume(&format!("{arn}x"), "x", None).await.expect("answers"), None);
}
