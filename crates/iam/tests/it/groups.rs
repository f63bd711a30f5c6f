use crate::{ALLOW_S3, fixture, text, texts};

#[tokio::test]
async fn members_of_a_group_have_its_policies() {
    let at = fixture().await;
    let (_, ann) = at.user("ann").await;
    let group = ("GroupName", "g");
    let made = at.ok("CreateGroup", &[group, ("Path", "/x/")]).await;
    assert_eq!(text(&made, "Arn"), "arn:aws:iam::123456789012:group/x/g");
    at.ok("PutGroupPolicy", &[group, ("PolicyName", "p"), ("PolicyDocument", ALLOW_S3)]).await;
    assert!(at.may(&ann, "s3:GetObject").await.is_err());
    at.ok("AddUserToGroup", &[group, ("UserName", "ann")]).await;
    assert_eq!(at.may(&ann, "s3:GetObject").await, Ok(()));
    assert_eq!(texts(&at.ok("GetGroup", &[group]).await, "UserName"), ["ann"]);
    assert_eq!(texts(&at.ok("ListGroupsForUser", &[("UserName", "ann")]).await, "GroupName"), ["g"]);

    let renamed = ("GroupName", "h");
    at.ok("UpdateGroup", &[group, ("NewGroupName", "h")]).await;
    assert_eq!(at.may(&ann, "s3:GetObject").await, Ok(()));
    assert_eq!(texts(&at.ok("ListGroups", &[]).await, "GroupName"), ["h"]);
    at.ok("DeleteGroupPolicy", &[renamed, ("PolicyName", "p")]).await;
    assert_eq!(at.refused("DeleteGroup", &[renamed]).await.1, "DeleteConflict");
    at.ok("RemoveUserFromGroup", &[renamed, ("UserName", "ann")]).await;
    at.ok("DeleteGroup", &[renamed]).await;
    let gone = at.refused("GetGroup", &[renamed]).await;
    assert_eq!(gone.2, "The group with name h cannot be found.");
}

#[tokio::test]
async fn policies_of_groups() {
    let at = fixture().await;
    let group = ("GroupName", "g");
    let arn = ("PolicyArn", "arn:aws:iam::aws:policy/AdministratorAccess");
    at.ok("CreateGroup", &[group]).await;
    at.ok("PutGroupPolicy", &[group, ("PolicyName", "p"), ("PolicyDocument", ALLOW_S3)]).await;
    assert_eq!(text(&at.ok("GetGroupPolicy", &[group, ("PolicyName", "p")]).await, "GroupName"), "g");
    assert_eq!(texts(&at.ok("ListGroupPolicies", &[group]).await, "member"), ["p"]);
    at.ok("AttachGroupPolicy", &[group, arn]).await;
    assert_eq!(text(&at.ok("ListAttachedGroupPolicies", &[group]).await, "PolicyArn"), arn.1);
    at.ok("DetachGroupPolicy", &[group, arn]).await;
    assert_eq!(text(&at.ok("ListAttachedGroupPolicies", &[group]).await, "PolicyArn"), "");
}
