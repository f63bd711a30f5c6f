//! Inline policies of users, groups and roles.

use model::iam as m;
use wire::Cx;

use super::{Page, check_document, check_unlinked, counted, encoded, page};
use crate::error::IamError;
use crate::keys::IdentityKind;
use crate::keys::IdentityKind::{Group, Role, User};
use crate::limits::{GROUP_INLINE_CHARS_MAX, ROLE_INLINE_CHARS_MAX, USER_INLINE_CHARS_MAX};
use crate::policy::Kind;
use crate::state::Iam;

fn missing(kind: IdentityKind, name: &str) -> IamError {
    IamError::missing(&format!("{} policy", kind.word()), name)
}

async fn set(
    iam: &Iam,
    cx: &Cx,
    (kind, owner): (IdentityKind, &str),
    name: &str,
    document: &str,
) -> Result<(), IamError> {
    check_document(document, Kind::Identity)?;
    let max = match kind {
        User => USER_INLINE_CHARS_MAX,
        Group => GROUP_INLINE_CHARS_MAX,
        Role => ROLE_INLINE_CHARS_MAX,
    };
    iam.edit(cx.account.as_str(), kind, owner, |found| {
        check_unlinked(found)?;
        found.inline.insert(name.to_owned(), document.to_owned());
        if found.inline.values().map(|text| counted(text)).sum::<usize>() > max {
            let message = format!("Maximum policy size of {max} bytes exceeded for {} {owner}", kind.word());
            return Err(IamError::LimitExceeded(message));
        }
        Ok(())
    })
    .await
}

async fn document(iam: &Iam, cx: &Cx, kind: IdentityKind, owner: &str, name: &str) -> Result<String, IamError> {
    let found = iam.one(cx.account.as_str(), kind, owner).await?;
    found.inline.get(name).map(|text| encoded(text)).ok_or_else(|| missing(kind, name))
}

async fn remove(iam: &Iam, cx: &Cx, kind: IdentityKind, owner: &str, name: &str) -> Result<(), IamError> {
    iam.edit(cx.account.as_str(), kind, owner, |found| {
        check_unlinked(found)?;
        found.inline.remove(name).map(drop).ok_or_else(|| missing(kind, name))
    })
    .await
}

async fn names(
    iam: &Iam,
    cx: &Cx,
    (kind, owner): (IdentityKind, &str),
    (marker, max): (Option<&str>, Option<i32>),
) -> Result<Page<String>, IamError> {
    let found = iam.one(cx.account.as_str(), kind, owner).await?;
    page(found.inline.into_keys().collect(), marker, max, Clone::clone)
}

pub(crate) async fn put_user(
    iam: Iam,
    cx: Cx,
    input: m::PutUserPolicyInput,
) -> Result<m::PutUserPolicyOutput, IamError> {
    set(&iam, &cx, (User, &input.user_name), &input.policy_name, &input.policy_document).await?;
    Ok(m::PutUserPolicyOutput {})
}

pub(crate) async fn get_user(
    iam: Iam,
    cx: Cx,
    input: m::GetUserPolicyInput,
) -> Result<m::GetUserPolicyOutput, IamError> {
    let policy_document = document(&iam, &cx, User, &input.user_name, &input.policy_name).await?;
    let (policy_name, user_name) = (input.policy_name, input.user_name);
    Ok(m::GetUserPolicyOutput { policy_document, policy_name, user_name })
}

pub(crate) async fn delete_user(
    iam: Iam,
    cx: Cx,
    input: m::DeleteUserPolicyInput,
) -> Result<m::DeleteUserPolicyOutput, IamError> {
    remove(&iam, &cx, User, &input.user_name, &input.policy_name).await?;
    Ok(m::DeleteUserPolicyOutput {})
}

pub(crate) async fn of_user(
    iam: Iam,
    cx: Cx,
    input: m::ListUserPoliciesInput,
) -> Result<m::ListUserPoliciesOutput, IamError> {
    let part = (input.marker.as_deref(), input.max_items);
    let Page { items, is_truncated, marker } = names(&iam, &cx, (User, &input.user_name), part).await?;
    Ok(m::ListUserPoliciesOutput { is_truncated, marker, policy_names: items })
}

pub(crate) async fn put_group(
    iam: Iam,
    cx: Cx,
    input: m::PutGroupPolicyInput,
) -> Result<m::PutGroupPolicyOutput, IamError> {
    set(&iam, &cx, (Group, &input.group_name), &input.policy_name, &input.policy_document).await?;
    Ok(m::PutGroupPolicyOutput {})
}

pub(crate) async fn get_group(
    iam: Iam,
    cx: Cx,
    input: m::GetGroupPolicyInput,
) -> Result<m::GetGroupPolicyOutput, IamError> {
    let policy_document = document(&iam, &cx, Group, &input.group_name, &input.policy_name).await?;
    let (policy_name, group_name) = (input.policy_name, input.group_name);
    Ok(m::GetGroupPolicyOutput { policy_document, policy_name, group_name })
}

pub(crate) async fn delete_group(
    iam: Iam,
    cx: Cx,
    input: m::DeleteGroupPolicyInput,
) -> Result<m::DeleteGroupPolicyOutput, IamError> {
    remove(&iam, &cx, Group, &input.group_name, &input.policy_name).await?;
    Ok(m::DeleteGroupPolicyOutput {})
}

pub(crate) async fn of_group(
    iam: Iam,
    cx: Cx,
    input: m::ListGroupPoliciesInput,
) -> Result<m::ListGroupPoliciesOutput, IamError> {
    let part = (input.marker.as_deref(), input.max_items);
    let Page { items, is_truncated, marker } = names(&iam, &cx, (Group, &input.group_name), part).await?;
    Ok(m::ListGroupPoliciesOutput { is_truncated, marker, policy_names: items })
}

pub(crate) async fn put_role(
    iam: Iam,
    cx: Cx,
    input: m::PutRolePolicyInput,
) -> Result<m::PutRolePolicyOutput, IamError> {
    set(&iam, &cx, (Role, &input.role_name), &input.policy_name, &input.policy_document).await?;
    Ok(m::PutRolePolicyOutput {})
}

pub(crate) async fn get_role(
    iam: Iam,
    cx: Cx,
    input: m::GetRolePolicyInput,
) -> Result<m::GetRolePolicyOutput, IamError> {
    let policy_document = document(&iam, &cx, Role, &input.role_name, &input.policy_name).await?;
    let (policy_name, role_name) = (input.policy_name, input.role_name);
    Ok(m::GetRolePolicyOutput { policy_document, policy_name, role_name })
}

pub(crate) async fn delete_role(
    iam: Iam,
    cx: Cx,
    input: m::DeleteRolePolicyInput,
) -> Result<m::DeleteRolePolicyOutput, IamError> {
    remove(&iam, &cx, Role, &input.role_name, &input.policy_name).await?;
    Ok(m::DeleteRolePolicyOutput {})
}

pub(crate) async fn of_role(
    iam: Iam,
    cx: Cx,
    input: m::ListRolePoliciesInput,
) -> Result<m::ListRolePoliciesOutput, IamError> {
    let part = (input.marker.as_deref(), input.max_items);
    let Page { items, is_truncated, marker } = names(&iam, &cx, (Role, &input.role_name), part).await?;
    Ok(m::ListRolePoliciesOutput { is_truncated, marker, policy_names: items })
}
