//! Managed policies attached to users, groups and roles.

use model::iam as m;
use wire::Cx;

use super::{Page, check_attachable, check_unlinked, find, page, put};
use crate::error::IamError;
use crate::keys::IdentityKind;
use crate::keys::IdentityKind::{Group, Role, User};
use crate::limits::ATTACHED_POLICIES_MAX;
use crate::state::Iam;

async fn attach(iam: &Iam, cx: &Cx, kind: IdentityKind, name: &str, arn: &str) -> Result<(), IamError> {
    let account = cx.account.as_str();
    iam.change(move |tx| async move {
        let mut found = find(&tx, account, kind, name).await?;
        check_unlinked(&found)?;
        check_attachable(&tx, account, arn).await?;
        found.attached.insert(arn.to_owned());
        if found.attached.len() > ATTACHED_POLICIES_MAX {
            return Err(IamError::quota(&format!("PoliciesPer{}", kind.title()), ATTACHED_POLICIES_MAX));
        }
        put(&tx, &found);
        Ok(())
    })
    .await
}

async fn detach(iam: &Iam, cx: &Cx, kind: IdentityKind, name: &str, arn: &str) -> Result<(), IamError> {
    iam.edit(cx.account.as_str(), kind, name, |found| {
        check_unlinked(found)?;
        match found.attached.remove(arn) {
            true => Ok(()),
            false => Err(IamError::NoSuchEntity(format!("Policy {arn} was not found."))),
        }
    })
    .await
}

/// What an attachment is called: its ARN and the last word of it.
pub(super) fn attached_policy(arn: &str) -> m::AttachedPolicy {
    let name = arn.rsplit('/').next().map(str::to_owned);
    m::AttachedPolicy { policy_arn: Some(arn.to_owned()), policy_name: name }
}

async fn attached(
    iam: &Iam,
    cx: &Cx,
    (kind, name): (IdentityKind, &str),
    prefix: Option<&str>,
    (marker, max): (Option<&str>, Option<i32>),
) -> Result<Page<m::AttachedPolicy>, IamError> {
    let found = iam.one(cx.account.as_str(), kind, name).await?;
    let path = |arn: &str| arn.find(":policy/").is_some_and(|at| arn[at + 7..].starts_with(prefix.unwrap_or("/")));
    let all = found.attached.iter().filter(|arn| path(arn)).map(|arn| attached_policy(arn)).collect();
    page(all, marker, max, |one: &m::AttachedPolicy| one.policy_arn.clone().unwrap_or_default())
}

pub(crate) async fn attach_user(
    iam: Iam,
    cx: Cx,
    input: m::AttachUserPolicyInput,
) -> Result<m::AttachUserPolicyOutput, IamError> {
    attach(&iam, &cx, User, &input.user_name, &input.policy_arn).await?;
    Ok(m::AttachUserPolicyOutput {})
}

pub(crate) async fn detach_user(
    iam: Iam,
    cx: Cx,
    input: m::DetachUserPolicyInput,
) -> Result<m::DetachUserPolicyOutput, IamError> {
    detach(&iam, &cx, User, &input.user_name, &input.policy_arn).await?;
    Ok(m::DetachUserPolicyOutput {})
}

pub(crate) async fn of_user(
    iam: Iam,
    cx: Cx,
    input: m::ListAttachedUserPoliciesInput,
) -> Result<m::ListAttachedUserPoliciesOutput, IamError> {
    let (prefix, part) = (input.path_prefix.as_deref(), (input.marker.as_deref(), input.max_items));
    let Page { items, is_truncated, marker } = attached(&iam, &cx, (User, &input.user_name), prefix, part).await?;
    Ok(m::ListAttachedUserPoliciesOutput { attached_policies: Some(items), is_truncated, marker })
}

pub(crate) async fn attach_group(
    iam: Iam,
    cx: Cx,
    input: m::AttachGroupPolicyInput,
) -> Result<m::AttachGroupPolicyOutput, IamError> {
    attach(&iam, &cx, Group, &input.group_name, &input.policy_arn).await?;
    Ok(m::AttachGroupPolicyOutput {})
}

pub(crate) async fn detach_group(
    iam: Iam,
    cx: Cx,
    input: m::DetachGroupPolicyInput,
) -> Result<m::DetachGroupPolicyOutput, IamError> {
    detach(&iam, &cx, Group, &input.group_name, &input.policy_arn).await?;
    Ok(m::DetachGroupPolicyOutput {})
}

pub(crate) async fn of_group(
    iam: Iam,
    cx: Cx,
    input: m::ListAttachedGroupPoliciesInput,
) -> Result<m::ListAttachedGroupPoliciesOutput, IamError> {
    let (prefix, part) = (input.path_prefix.as_deref(), (input.marker.as_deref(), input.max_items));
    let Page { items, is_truncated, marker } = attached(&iam, &cx, (Group, &input.group_name), prefix, part).await?;
    Ok(m::ListAttachedGroupPoliciesOutput { attached_policies: Some(items), is_truncated, marker })
}

pub(crate) async fn attach_role(
    iam: Iam,
    cx: Cx,
    input: m::AttachRolePolicyInput,
) -> Result<m::AttachRolePolicyOutput, IamError> {
    attach(&iam, &cx, Role, &input.role_name, &input.policy_arn).await?;
    Ok(m::AttachRolePolicyOutput {})
}

pub(crate) async fn detach_role(
    iam: Iam,
    cx: Cx,
    input: m::DetachRolePolicyInput,
) -> Result<m::DetachRolePolicyOutput, IamError> {
    detach(&iam, &cx, Role, &input.role_name, &input.policy_arn).await?;
    Ok(m::DetachRolePolicyOutput {})
}

pub(crate) async fn of_role(
    iam: Iam,
    cx: Cx,
    input: m::ListAttachedRolePoliciesInput,
) -> Result<m::ListAttachedRolePoliciesOutput, IamError> {
    let (prefix, part) = (input.path_prefix.as_deref(), (input.marker.as_deref(), input.max_items));
    let Page { items, is_truncated, marker } = attached(&iam, &cx, (Role, &input.role_name), prefix, part).await?;
    Ok(m::ListAttachedRolePoliciesOutput { attached_policies: Some(items), is_truncated, marker })
}
