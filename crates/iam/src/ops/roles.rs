//! Roles, service-linked roles too.

use model::iam as m;
use wire::Cx;

use super::{
    by_name, check_bare, check_document, check_path, check_unlinked, counted, find, is_below, page, role, tag_map,
};
use crate::error::IamError;
use crate::keys::{self, Identity, IdentityKind, LINKED_PATH, Profile, RoleFacts};
use crate::limits::{SESSION_S_DEFAULT, TRUST_POLICY_CHARS_MAX};
use crate::policy::Kind;
use crate::quotas::{self, Counted};
use crate::state::Iam;

const ROLE: IdentityKind = IdentityKind::Role;

fn check_trust(text: &str) -> Result<(), IamError> {
    check_document(text, Kind::Trust)?;
    match counted(text) > TRUST_POLICY_CHARS_MAX {
        true => Err(IamError::quota("ACLSizePerRole", TRUST_POLICY_CHARS_MAX)),
        false => Ok(()),
    }
}

pub(crate) async fn create(iam: Iam, cx: Cx, input: m::CreateRoleInput) -> Result<m::CreateRoleOutput, IamError> {
    check_trust(&input.assume_role_policy_document)?;
    check_path(ROLE, input.path.as_deref())?;
    let mut made = iam.fresh(cx.account.as_str(), ROLE, &input.role_name, input.path);
    made.tags = tag_map(input.tags)?;
    made.boundary = input.permissions_boundary;
    made.role = Some(RoleFacts {
        trust: input.assume_role_policy_document,
        description: input.description,
        max_session_s: input.max_session_duration.unwrap_or(SESSION_S_DEFAULT),
    });
    iam.create(&made).await?;
    Ok(m::CreateRoleOutput { role: role(&made) })
}

pub(crate) async fn get(iam: Iam, cx: Cx, input: m::GetRoleInput) -> Result<m::GetRoleOutput, IamError> {
    Ok(m::GetRoleOutput { role: role(&iam.one(cx.account.as_str(), ROLE, &input.role_name).await?) })
}

pub(crate) async fn list(iam: Iam, cx: Cx, input: m::ListRolesInput) -> Result<m::ListRolesOutput, IamError> {
    let wanted = |one: &Identity| is_below(&one.path, input.path_prefix.as_deref());
    let all = iam.all(cx.account.as_str(), ROLE, wanted).await?;
    // With their trust policies, which may be long.
    let page = iam.whole(page(all, input.marker.as_deref(), input.max_items, by_name)?).await?;
    // As on AWS, lists show neither tags nor boundaries.
    let roles = page.items.iter().map(|one| m::Role { tags: None, permissions_boundary: None, ..role(one) });
    Ok(m::ListRolesOutput { is_truncated: page.is_truncated, marker: page.marker, roles: roles.collect() })
}

pub(crate) async fn update(iam: Iam, cx: Cx, input: m::UpdateRoleInput) -> Result<m::UpdateRoleOutput, IamError> {
    iam.edit(cx.account.as_str(), ROLE, &input.role_name, |changed| {
        // Of a service-linked role only the description may be edited (user guide, "Edit a service-linked role").
        if input.max_session_duration.is_some() {
            check_unlinked(changed)?;
        }
        let facts = changed.role.get_or_insert_default();
        if let Some(description) = &input.description {
            facts.description = Some(description.clone());
        }
        facts.max_session_s = input.max_session_duration.unwrap_or(facts.max_session_s);
        Ok(())
    })
    .await?;
    Ok(m::UpdateRoleOutput {})
}

pub(crate) async fn update_description(
    iam: Iam,
    cx: Cx,
    input: m::UpdateRoleDescriptionInput,
) -> Result<m::UpdateRoleDescriptionOutput, IamError> {
    let changed = iam.edit(cx.account.as_str(), ROLE, &input.role_name, |changed| {
        changed.role.get_or_insert_default().description = Some(input.description.clone());
        Ok(role(changed))
    });
    Ok(m::UpdateRoleDescriptionOutput { role: Some(changed.await?) })
}

pub(crate) async fn update_trust(
    iam: Iam,
    cx: Cx,
    input: m::UpdateAssumeRolePolicyInput,
) -> Result<m::UpdateAssumeRolePolicyOutput, IamError> {
    check_trust(&input.policy_document)?;
    iam.edit(cx.account.as_str(), ROLE, &input.role_name, |changed| {
        check_unlinked(changed)?;
        changed.role.get_or_insert_default().trust.clone_from(&input.policy_document);
        Ok(())
    })
    .await?;
    Ok(m::UpdateAssumeRolePolicyOutput {})
}

async fn remove(iam: &Iam, account: &str, name: &str, linked: bool) -> Result<(), IamError> {
    iam.change(move |tx| async move {
        let gone = find(&tx, account, ROLE, name).await?;
        if !linked {
            check_unlinked(&gone)?;
            check_bare(&gone)?;
        } else if !gone.is_linked() {
            return Err(IamError::NoSuchEntity(format!("The service-linked role {name} cannot be found.")));
        }
        let profiles = keys::list::<Profile>(&tx, &keys::profiles(account)).await?;
        if profiles.iter().any(|profile| profile.role.as_deref() == Some(name)) {
            let message = "Cannot delete entity, must remove roles from instance profile first.";
            return Err(IamError::DeleteConflict(message.to_owned()));
        }
        quotas::remove(&tx, account, Counted::Roles).await?;
        tx.clear(keys::identity(account, ROLE, name));
        Ok(())
    })
    .await
}

pub(crate) async fn delete(iam: Iam, cx: Cx, input: m::DeleteRoleInput) -> Result<m::DeleteRoleOutput, IamError> {
    remove(&iam, cx.account.as_str(), &input.role_name, false).await?;
    Ok(m::DeleteRoleOutput {})
}

/// The part of a service-linked role's name that stands for the service: `AWSServiceRoleForX`.
pub(crate) async fn create_linked(
    iam: Iam,
    cx: Cx,
    input: m::CreateServiceLinkedRoleInput,
) -> Result<m::CreateServiceLinkedRoleOutput, IamError> {
    let service = input.aws_service_name;
    let Some(label) = service.strip_suffix(".amazonaws.com").filter(|label| !label.is_empty()) else {
        return Err(IamError::InvalidInput(format!("Service name {service} is not valid.")));
    };
    let words = label.split(['.', '-']).map(|word| {
        let mut letters = word.chars();
        letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect::<String>()
    });
    let suffix = input.custom_suffix.map_or_else(String::new, |suffix| format!("_{suffix}"));
    let name = format!("AWSServiceRoleFor{}{suffix}", words.collect::<String>());
    let mut made = iam.fresh(cx.account.as_str(), ROLE, &name, Some(format!("{LINKED_PATH}{service}/")));
    let statement =
        serde_json::json!({ "Effect": "Allow", "Principal": { "Service": service }, "Action": "sts:AssumeRole" });
    let trust = serde_json::json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
    made.role = Some(RoleFacts { trust, description: input.description, max_session_s: SESSION_S_DEFAULT });
    iam.create(&made).await.map_err(|error| match error {
        IamError::EntityAlreadyExists(_) => IamError::InvalidInput(format!(
            "Service role name {name} has been taken in this account, please try a different suffix."
        )),
        other => other,
    })?;
    Ok(m::CreateServiceLinkedRoleOutput { role: Some(role(&made)) })
}

/// Done at once; the task id only names what was done.
pub(crate) async fn delete_linked(
    iam: Iam,
    cx: Cx,
    input: m::DeleteServiceLinkedRoleInput,
) -> Result<m::DeleteServiceLinkedRoleOutput, IamError> {
    let gone = iam.one(cx.account.as_str(), ROLE, &input.role_name).await?;
    remove(&iam, cx.account.as_str(), &input.role_name, true).await?;
    let deletion_task_id = format!("task{}{}/{}", gone.path, gone.name, sys::id::uuid(&iam.0.rng));
    Ok(m::DeleteServiceLinkedRoleOutput { deletion_task_id })
}

pub(crate) async fn deletion_status(
    iam: Iam,
    cx: Cx,
    input: m::GetServiceLinkedRoleDeletionStatusInput,
) -> Result<m::GetServiceLinkedRoleDeletionStatusOutput, IamError> {
    let id = input.deletion_task_id;
    let unknown = || IamError::NoSuchEntity(format!("The deletion task {id} cannot be found."));
    let mut parts = id.strip_prefix("task/aws-service-role/").ok_or_else(unknown)?.split('/');
    let name = parts.nth(1).ok_or_else(unknown)?;
    let is_there = iam.identity(cx.account.as_str(), ROLE, name).await?.is_some();
    let status = if is_there { m::DeletionTaskStatusType::Failed } else { m::DeletionTaskStatusType::Succeeded };
    Ok(m::GetServiceLinkedRoleDeletionStatusOutput { reason: None, status })
}
