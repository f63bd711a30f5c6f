//! The tables: one line for each operation → handler, IAM action, resource of the input.
//!
//! A line only knows the name of a user, group or role; `Iam::authorize` puts in the path that the store has for it.

use model::{iam as m, sts as s};
use wire::service::Table;
use wire::{ConditionKeys, Cx, Permission, Resource, Service};

use crate::ops::{
    access_keys, account, attachments, details, groups, inline, issuers, policies, profiles, roles, simulate, sts,
    tags, users, web_identity,
};
use crate::state::Iam;

/// Actions that nobody needs a permission for.
pub(crate) const NEED_NO_PERMISSION: &[&str] = &["sts:GetCallerIdentity", "sts:GetSessionToken"];
/// Actions that the handler itself decides and records: with the role's trust policy beside the caller's own.
pub(crate) const DECIDED_BY_HANDLERS: &[&str] = &["sts:AssumeRole"];

/// Both services over `iam`, for the gateway.
pub fn services(iam: Iam) -> Vec<Service> {
    let table = Service::table(&m::SERVICE, iam.clone());
    let table = access_key_lines(user_lines(group_lines(role_lines(table))));
    let table = inline_lines(attachment_lines(tag_lines(policy_lines(table))));
    let table = issuer_lines(profile_lines(account_lines(table)));
    vec![condition_keys(table).build(), sts_table(iam).build()]
}

fn entity(cx: &Cx, kind: &str, name: &str) -> Resource {
    Resource::arn(format!("arn:aws:iam::{}:{kind}/{name}", cx.account))
}

/// What is about to be made, with the path that the input asks for.
fn made(cx: &Cx, kind: &str, path: Option<&str>, name: &str) -> Resource {
    entity(cx, kind, &format!("{}{name}", path.unwrap_or("/").trim_start_matches('/')))
}

fn user_lines(table: Table<Iam>) -> Table<Iam> {
    table
        .op::<m::CreateUser, _, _>(users::create, "iam:CreateUser", |cx, i| {
            made(cx, "user", i.path.as_deref(), &i.user_name)
        })
        .op::<m::GetUser, _, _>(users::get, "iam:GetUser", |cx, i| {
            entity(cx, "user", i.user_name.as_deref().unwrap_or("*"))
        })
        .op::<m::ListUsers, _, _>(users::list, "iam:ListUsers", |_, _| Resource::any())
        .op::<m::UpdateUser, _, _>(users::update, "iam:UpdateUser", |cx, i| entity(cx, "user", &i.user_name))
        .op::<m::DeleteUser, _, _>(users::delete, "iam:DeleteUser", |cx, i| entity(cx, "user", &i.user_name))
}

fn attachment_lines(table: Table<Iam>) -> Table<Iam> {
    table
        .op::<m::AttachUserPolicy, _, _>(attachments::attach_user, "iam:AttachUserPolicy", |cx, i| {
            entity(cx, "user", &i.user_name)
        })
        .op::<m::DetachUserPolicy, _, _>(attachments::detach_user, "iam:DetachUserPolicy", |cx, i| {
            entity(cx, "user", &i.user_name)
        })
        .op::<m::ListAttachedUserPolicies, _, _>(attachments::of_user, "iam:ListAttachedUserPolicies", |cx, i| {
            entity(cx, "user", &i.user_name)
        })
        .op::<m::AttachGroupPolicy, _, _>(attachments::attach_group, "iam:AttachGroupPolicy", |cx, i| {
            entity(cx, "group", &i.group_name)
        })
        .op::<m::DetachGroupPolicy, _, _>(attachments::detach_group, "iam:DetachGroupPolicy", |cx, i| {
            entity(cx, "group", &i.group_name)
        })
        .op::<m::ListAttachedGroupPolicies, _, _>(attachments::of_group, "iam:ListAttachedGroupPolicies", |cx, i| {
            entity(cx, "group", &i.group_name)
        })
        .op::<m::AttachRolePolicy, _, _>(attachments::attach_role, "iam:AttachRolePolicy", |cx, i| {
            entity(cx, "role", &i.role_name)
        })
        .op::<m::DetachRolePolicy, _, _>(attachments::detach_role, "iam:DetachRolePolicy", |cx, i| {
            entity(cx, "role", &i.role_name)
        })
        .op::<m::ListAttachedRolePolicies, _, _>(attachments::of_role, "iam:ListAttachedRolePolicies", |cx, i| {
            entity(cx, "role", &i.role_name)
        })
}

fn inline_lines(table: Table<Iam>) -> Table<Iam> {
    table
        .op::<m::PutUserPolicy, _, _>(inline::put_user, "iam:PutUserPolicy", |cx, i| entity(cx, "user", &i.user_name))
        .op::<m::GetUserPolicy, _, _>(inline::get_user, "iam:GetUserPolicy", |cx, i| entity(cx, "user", &i.user_name))
        .op::<m::DeleteUserPolicy, _, _>(inline::delete_user, "iam:DeleteUserPolicy", |cx, i| {
            entity(cx, "user", &i.user_name)
        })
        .op::<m::ListUserPolicies, _, _>(inline::of_user, "iam:ListUserPolicies", |cx, i| {
            entity(cx, "user", &i.user_name)
        })
        .op::<m::PutGroupPolicy, _, _>(inline::put_group, "iam:PutGroupPolicy", |cx, i| {
            entity(cx, "group", &i.group_name)
        })
        .op::<m::GetGroupPolicy, _, _>(inline::get_group, "iam:GetGroupPolicy", |cx, i| {
            entity(cx, "group", &i.group_name)
        })
        .op::<m::DeleteGroupPolicy, _, _>(inline::delete_group, "iam:DeleteGroupPolicy", |cx, i| {
            entity(cx, "group", &i.group_name)
        })
        .op::<m::ListGroupPolicies, _, _>(inline::of_group, "iam:ListGroupPolicies", |cx, i| {
            entity(cx, "group", &i.group_name)
        })
        .op::<m::PutRolePolicy, _, _>(inline::put_role, "iam:PutRolePolicy", |cx, i| entity(cx, "role", &i.role_name))
        .op::<m::GetRolePolicy, _, _>(inline::get_role, "iam:GetRolePolicy", |cx, i| entity(cx, "role", &i.role_name))
        .op::<m::DeleteRolePolicy, _, _>(inline::delete_role, "iam:DeleteRolePolicy", |cx, i| {
            entity(cx, "role", &i.role_name)
        })
        .op::<m::ListRolePolicies, _, _>(inline::of_role, "iam:ListRolePolicies", |cx, i| {
            entity(cx, "role", &i.role_name)
        })
}

fn tag_lines(table: Table<Iam>) -> Table<Iam> {
    table
        .op::<m::TagUser, _, _>(tags::tag_user, "iam:TagUser", |cx, i| entity(cx, "user", &i.user_name))
        .op::<m::UntagUser, _, _>(tags::untag_user, "iam:UntagUser", |cx, i| entity(cx, "user", &i.user_name))
        .op::<m::ListUserTags, _, _>(tags::of_user, "iam:ListUserTags", |cx, i| entity(cx, "user", &i.user_name))
        .op::<m::PutUserPermissionsBoundary, _, _>(tags::bound_user, "iam:PutUserPermissionsBoundary", |cx, i| {
            entity(cx, "user", &i.user_name)
        })
        .op::<m::DeleteUserPermissionsBoundary, _, _>(
            tags::unbound_user,
            "iam:DeleteUserPermissionsBoundary",
            |cx, i| entity(cx, "user", &i.user_name),
        )
        .op::<m::TagRole, _, _>(tags::tag_role, "iam:TagRole", |cx, i| entity(cx, "role", &i.role_name))
        .op::<m::UntagRole, _, _>(tags::untag_role, "iam:UntagRole", |cx, i| entity(cx, "role", &i.role_name))
        .op::<m::ListRoleTags, _, _>(tags::of_role, "iam:ListRoleTags", |cx, i| entity(cx, "role", &i.role_name))
        .op::<m::PutRolePermissionsBoundary, _, _>(tags::bound_role, "iam:PutRolePermissionsBoundary", |cx, i| {
            entity(cx, "role", &i.role_name)
        })
        .op::<m::DeleteRolePermissionsBoundary, _, _>(
            tags::unbound_role,
            "iam:DeleteRolePermissionsBoundary",
            |cx, i| entity(cx, "role", &i.role_name),
        )
}

fn group_lines(table: Table<Iam>) -> Table<Iam> {
    table
        .op::<m::CreateGroup, _, _>(groups::create, "iam:CreateGroup", |cx, i| {
            made(cx, "group", i.path.as_deref(), &i.group_name)
        })
        .op::<m::GetGroup, _, _>(groups::get, "iam:GetGroup", |cx, i| entity(cx, "group", &i.group_name))
        .op::<m::ListGroups, _, _>(groups::list, "iam:ListGroups", |_, _| Resource::any())
        .op::<m::UpdateGroup, _, _>(groups::update, "iam:UpdateGroup", |cx, i| entity(cx, "group", &i.group_name))
        .op::<m::DeleteGroup, _, _>(groups::delete, "iam:DeleteGroup", |cx, i| entity(cx, "group", &i.group_name))
        .op::<m::AddUserToGroup, _, _>(groups::add_user, "iam:AddUserToGroup", |cx, i| {
            entity(cx, "group", &i.group_name)
        })
        .op::<m::RemoveUserFromGroup, _, _>(groups::remove_user, "iam:RemoveUserFromGroup", |cx, i| {
            entity(cx, "group", &i.group_name)
        })
        .op::<m::ListGroupsForUser, _, _>(groups::of_user, "iam:ListGroupsForUser", |cx, i| {
            entity(cx, "user", &i.user_name)
        })
}

fn role_lines(table: Table<Iam>) -> Table<Iam> {
    table
        .op::<m::CreateRole, _, _>(roles::create, "iam:CreateRole", |cx, i| {
            made(cx, "role", i.path.as_deref(), &i.role_name)
        })
        .op::<m::GetRole, _, _>(roles::get, "iam:GetRole", |cx, i| entity(cx, "role", &i.role_name))
        .op::<m::ListRoles, _, _>(roles::list, "iam:ListRoles", |_, _| Resource::any())
        .op::<m::UpdateRole, _, _>(roles::update, "iam:UpdateRole", |cx, i| entity(cx, "role", &i.role_name))
        .op::<m::DeleteRole, _, _>(roles::delete, "iam:DeleteRole", |cx, i| entity(cx, "role", &i.role_name))
        .op::<m::UpdateRoleDescription, _, _>(roles::update_description, "iam:UpdateRoleDescription", |cx, i| {
            entity(cx, "role", &i.role_name)
        })
        .op::<m::UpdateAssumeRolePolicy, _, _>(roles::update_trust, "iam:UpdateAssumeRolePolicy", |cx, i| {
            entity(cx, "role", &i.role_name)
        })
        .op::<m::CreateServiceLinkedRole, _, _>(roles::create_linked, "iam:CreateServiceLinkedRole", |cx, i| {
            entity(cx, "role", &format!("aws-service-role/{}/*", i.aws_service_name))
        })
        .op::<m::DeleteServiceLinkedRole, _, _>(roles::delete_linked, "iam:DeleteServiceLinkedRole", |cx, i| {
            entity(cx, "role", &i.role_name)
        })
        .op::<m::GetServiceLinkedRoleDeletionStatus, _, _>(
            roles::deletion_status,
            "iam:GetServiceLinkedRoleDeletionStatus",
            |_, _| Resource::any(),
        )
}

fn policy_lines(table: Table<Iam>) -> Table<Iam> {
    table
        .op::<m::CreatePolicy, _, _>(policies::create, "iam:CreatePolicy", |cx, i| {
            made(cx, "policy", i.path.as_deref(), &i.policy_name)
        })
        .op::<m::ListPolicies, _, _>(policies::list, "iam:ListPolicies", |_, _| Resource::any())
        .op::<m::GetPolicy, _, _>(policies::get, "iam:GetPolicy", |_, i| Resource::arn(i.policy_arn.as_str()))
        .op::<m::DeletePolicy, _, _>(policies::delete, "iam:DeletePolicy", |_, i| Resource::arn(i.policy_arn.as_str()))
        .op::<m::CreatePolicyVersion, _, _>(policies::create_version, "iam:CreatePolicyVersion", |_, i| {
            Resource::arn(i.policy_arn.as_str())
        })
        .op::<m::GetPolicyVersion, _, _>(policies::get_version, "iam:GetPolicyVersion", |_, i| {
            Resource::arn(i.policy_arn.as_str())
        })
        .op::<m::DeletePolicyVersion, _, _>(policies::delete_version, "iam:DeletePolicyVersion", |_, i| {
            Resource::arn(i.policy_arn.as_str())
        })
        .op::<m::ListPolicyVersions, _, _>(policies::versions, "iam:ListPolicyVersions", |_, i| {
            Resource::arn(i.policy_arn.as_str())
        })
        .op::<m::SetDefaultPolicyVersion, _, _>(policies::set_default, "iam:SetDefaultPolicyVersion", |_, i| {
            Resource::arn(i.policy_arn.as_str())
        })
        .op::<m::TagPolicy, _, _>(policies::tag, "iam:TagPolicy", |_, i| Resource::arn(i.policy_arn.as_str()))
        .op::<m::UntagPolicy, _, _>(policies::untag, "iam:UntagPolicy", |_, i| Resource::arn(i.policy_arn.as_str()))
        .op::<m::ListPolicyTags, _, _>(policies::tags, "iam:ListPolicyTags", |_, i| {
            Resource::arn(i.policy_arn.as_str())
        })
        .op::<m::ListEntitiesForPolicy, _, _>(policies::entities, "iam:ListEntitiesForPolicy", |_, i| {
            Resource::arn(i.policy_arn.as_str())
        })
}

fn access_key_lines(table: Table<Iam>) -> Table<Iam> {
    table
        .op::<m::CreateAccessKey, _, _>(access_keys::create, "iam:CreateAccessKey", |cx, i| {
            entity(cx, "user", i.user_name.as_deref().unwrap_or("*"))
        })
        .op::<m::UpdateAccessKey, _, _>(access_keys::update, "iam:UpdateAccessKey", |cx, i| {
            entity(cx, "user", i.user_name.as_deref().unwrap_or("*"))
        })
        .op::<m::DeleteAccessKey, _, _>(access_keys::delete, "iam:DeleteAccessKey", |cx, i| {
            entity(cx, "user", i.user_name.as_deref().unwrap_or("*"))
        })
        .op::<m::ListAccessKeys, _, _>(access_keys::list, "iam:ListAccessKeys", |cx, i| {
            entity(cx, "user", i.user_name.as_deref().unwrap_or("*"))
        })
        .op::<m::GetAccessKeyLastUsed, _, _>(access_keys::last_used, "iam:GetAccessKeyLastUsed", |_, _| Resource::any())
}

fn profile_lines(table: Table<Iam>) -> Table<Iam> {
    table
        .op::<m::CreateInstanceProfile, _, _>(profiles::create, "iam:CreateInstanceProfile", |cx, i| {
            made(cx, "instance-profile", i.path.as_deref(), &i.instance_profile_name)
        })
        .op::<m::GetInstanceProfile, _, _>(profiles::get, "iam:GetInstanceProfile", |cx, i| {
            entity(cx, "instance-profile", &i.instance_profile_name)
        })
        .op::<m::DeleteInstanceProfile, _, _>(profiles::delete, "iam:DeleteInstanceProfile", |cx, i| {
            entity(cx, "instance-profile", &i.instance_profile_name)
        })
        .op::<m::AddRoleToInstanceProfile, _, _>(profiles::add_role, "iam:AddRoleToInstanceProfile", |cx, i| {
            entity(cx, "instance-profile", &i.instance_profile_name)
        })
        .op::<m::RemoveRoleFromInstanceProfile, _, _>(
            profiles::remove_role,
            "iam:RemoveRoleFromInstanceProfile",
            |cx, i| entity(cx, "instance-profile", &i.instance_profile_name),
        )
        .op::<m::ListInstanceProfiles, _, _>(profiles::list, "iam:ListInstanceProfiles", |_, _| Resource::any())
        .op::<m::ListInstanceProfilesForRole, _, _>(profiles::of_role, "iam:ListInstanceProfilesForRole", |cx, i| {
            entity(cx, "role", &i.role_name)
        })
}

fn issuer_lines(table: Table<Iam>) -> Table<Iam> {
    table
        .op::<m::CreateOpenIDConnectProvider, _, _>(issuers::create, "iam:CreateOpenIDConnectProvider", |cx, i| {
            let url = i.url.split_once("://").map_or(i.url.as_str(), |(_, rest)| rest);
            entity(cx, "oidc-provider", url.trim_end_matches('/'))
        })
        .op::<m::GetOpenIDConnectProvider, _, _>(issuers::get, "iam:GetOpenIDConnectProvider", |_, i| {
            Resource::arn(i.open_id_connect_provider_arn.as_str())
        })
        .op::<m::ListOpenIDConnectProviders, _, _>(issuers::list, "iam:ListOpenIDConnectProviders", |_, _| {
            Resource::any()
        })
        .op::<m::DeleteOpenIDConnectProvider, _, _>(issuers::delete, "iam:DeleteOpenIDConnectProvider", |_, i| {
            Resource::arn(i.open_id_connect_provider_arn.as_str())
        })
        .op::<m::UpdateOpenIDConnectProviderThumbprint, _, _>(
            issuers::set_thumbprints,
            "iam:UpdateOpenIDConnectProviderThumbprint",
            |_, i| Resource::arn(i.open_id_connect_provider_arn.as_str()),
        )
        .op::<m::AddClientIDToOpenIDConnectProvider, _, _>(
            issuers::add_client,
            "iam:AddClientIDToOpenIDConnectProvider",
            |_, i| Resource::arn(i.open_id_connect_provider_arn.as_str()),
        )
        .op::<m::RemoveClientIDFromOpenIDConnectProvider, _, _>(
            issuers::remove_client,
            "iam:RemoveClientIDFromOpenIDConnectProvider",
            |_, i| Resource::arn(i.open_id_connect_provider_arn.as_str()),
        )
}

/// Tags that a request gives.
fn tags(tags: Option<&[m::Tag]>) -> ConditionKeys {
    let pairs = tags.unwrap_or_default().iter().map(|tag| (tag.key.as_str(), tag.value.as_str()));
    ConditionKeys::new().with_request_tags(pairs)
}

/// Keys of tags that a request takes away.
fn tag_keys(keys: &[String]) -> ConditionKeys {
    ConditionKeys::new().with_all("aws:TagKeys", keys.iter().cloned())
}

fn policy_arn(arn: &str) -> ConditionKeys {
    ConditionKeys::new().with("iam:PolicyARN", arn)
}

fn boundary(arn: &str) -> ConditionKeys {
    ConditionKeys::new().with("iam:PermissionsBoundary", arn)
}

/// The condition keys of IAM's own requests (service authorization reference, "Condition keys for AWS IAM").
fn condition_keys(table: Table<Iam>) -> Table<Iam> {
    table
        .keys::<m::CreateUser>(|_, i| {
            tags(i.tags.as_deref()).with_some("iam:PermissionsBoundary", i.permissions_boundary.as_deref())
        })
        .keys::<m::CreateRole>(|_, i| {
            tags(i.tags.as_deref()).with_some("iam:PermissionsBoundary", i.permissions_boundary.as_deref())
        })
        .keys::<m::CreatePolicy>(|_, i| tags(i.tags.as_deref()))
        .keys::<m::CreateInstanceProfile>(|_, i| tags(i.tags.as_deref()))
        .keys::<m::CreateOpenIDConnectProvider>(|_, i| tags(i.tags.as_deref()))
        .keys::<m::TagUser>(|_, i| tags(Some(&i.tags)))
        .keys::<m::TagRole>(|_, i| tags(Some(&i.tags)))
        .keys::<m::TagPolicy>(|_, i| tags(Some(&i.tags)))
        .keys::<m::UntagUser>(|_, i| tag_keys(&i.tag_keys))
        .keys::<m::UntagRole>(|_, i| tag_keys(&i.tag_keys))
        .keys::<m::UntagPolicy>(|_, i| tag_keys(&i.tag_keys))
        .keys::<m::AttachUserPolicy>(|_, i| policy_arn(&i.policy_arn))
        .keys::<m::DetachUserPolicy>(|_, i| policy_arn(&i.policy_arn))
        .keys::<m::AttachGroupPolicy>(|_, i| policy_arn(&i.policy_arn))
        .keys::<m::DetachGroupPolicy>(|_, i| policy_arn(&i.policy_arn))
        .keys::<m::AttachRolePolicy>(|_, i| policy_arn(&i.policy_arn))
        .keys::<m::DetachRolePolicy>(|_, i| policy_arn(&i.policy_arn))
        .keys::<m::PutUserPermissionsBoundary>(|_, i| boundary(&i.permissions_boundary))
        .keys::<m::PutRolePermissionsBoundary>(|_, i| boundary(&i.permissions_boundary))
        .keys::<m::CreateServiceLinkedRole>(|_, i| {
            ConditionKeys::new().with("iam:AWSServiceName", i.aws_service_name.as_str())
        })
        .also::<m::AddRoleToInstanceProfile>(|cx, i| {
            let role = format!("arn:aws:iam::{}:role/{}", cx.account, i.role_name);
            vec![Permission::pass_role(&role, "ec2.amazonaws.com")]
        })
}

fn account_lines(table: Table<Iam>) -> Table<Iam> {
    table
        .op::<m::GetAccountAuthorizationDetails, _, _>(details::get, "iam:GetAccountAuthorizationDetails", |_, _| {
            Resource::any()
        })
        .op::<m::GetAccountSummary, _, _>(account::summary, "iam:GetAccountSummary", |_, _| Resource::any())
        .op::<m::SimulateCustomPolicy, _, _>(simulate::custom, "iam:SimulateCustomPolicy", |_, _| Resource::any())
        .op::<m::SimulatePrincipalPolicy, _, _>(simulate::principal, "iam:SimulatePrincipalPolicy", |_, i| {
            Resource::arn(i.policy_source_arn.as_str())
        })
}

fn sts_table(iam: Iam) -> Table<Iam> {
    Service::table(&s::SERVICE, iam)
        .op::<s::AssumeRole, _, _>(sts::assume_role, "sts:AssumeRole", |_, i| Resource::arn(i.role_arn.as_str()))
        .op::<s::GetCallerIdentity, _, _>(sts::caller, "sts:GetCallerIdentity", |_, _| Resource::any())
        .op::<s::GetSessionToken, _, _>(sts::session_token, "sts:GetSessionToken", |_, _| Resource::any())
        .op::<s::GetFederationToken, _, _>(sts::federation_token, "sts:GetFederationToken", |cx, i| {
            Resource::arn(format!("arn:aws:sts::{}:federated-user/{}", cx.account, i.name))
        })
        .op::<s::AssumeRoleWithWebIdentity, _, _>(web_identity::assume_role, "sts:AssumeRoleWithWebIdentity", |_, i| {
            Resource::arn(i.role_arn.as_str())
        })
        .op::<s::DecodeAuthorizationMessage, _, _>(web_identity::decode, "sts:DecodeAuthorizationMessage", |_, _| {
            Resource::any()
        })
        .op::<s::GetAccessKeyInfo, _, _>(sts::key_info, "sts:GetAccessKeyInfo", |_, _| Resource::any())
}
