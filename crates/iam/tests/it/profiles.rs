use crate::{LAMBDA_TRUST, fixture, text, texts};

#[tokio::test]
async fn an_instance_profile_holds_one_role() {
    let at = fixture().await;
    let (profile, role) = (("InstanceProfileName", "ip"), ("RoleName", "r"));
    at.ok("CreateRole", &[role, ("AssumeRolePolicyDocument", LAMBDA_TRUST)]).await;
    let made = at.ok("CreateInstanceProfile", &[profile]).await;
    assert_eq!(text(&made, "Arn"), "arn:aws:iam::123456789012:instance-profile/ip");
    assert_eq!(at.refused("CreateInstanceProfile", &[profile]).await.1, "EntityAlreadyExists");
    at.ok("AddRoleToInstanceProfile", &[profile, role]).await;
    assert_eq!(at.refused("AddRoleToInstanceProfile", &[profile, role]).await.1, "LimitExceeded");
    assert_eq!(texts(&at.ok("GetInstanceProfile", &[profile]).await, "RoleName"), ["r"]);
    assert_eq!(texts(&at.ok("ListInstanceProfiles", &[]).await, "InstanceProfileName"), ["ip"]);
    assert_eq!(texts(&at.ok("ListInstanceProfilesForRole", &[role]).await, "InstanceProfileName"), ["ip"]);
    assert_eq!(at.refused("DeleteRole", &[role]).await.1, "DeleteConflict");
    assert_eq!(at.refused("DeleteInstanceProfile", &[profile]).await.1, "DeleteConflict");
    at.ok("RemoveRoleFromInstanceProfile", &[profile, role]).await;
    at.ok("DeleteInstanceProfile", &[profile]).await;
    assert_eq!(at.refused("GetInstanceProfile", &[profile]).await.2, "Instance Profile ip cannot be found.");
}
