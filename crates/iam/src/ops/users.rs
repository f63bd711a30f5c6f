//! Users.

use model::iam as m;
use wire::{Cx, Principal};

use super::access_keys::keys_of;
use super::{by_name, check_bare, check_path, find, is_below, page, put, tag_map, user};
use crate::error::IamError;
use crate::keys::{self, AccessKeyRecord, Identity, IdentityKind};
use crate::quotas::{self, Counted};
use crate::state::Iam;

const USER: IdentityKind = IdentityKind::User;

pub(crate) async fn create(iam: Iam, cx: Cx, input: m::CreateUserInput) -> Result<m::CreateUserOutput, IamError> {
    check_path(USER, input.path.as_deref())?;
    let mut made = iam.fresh(cx.account.as_str(), USER, &input.user_name, input.path);
    made.tags = tag_map(input.tags)?;
    made.boundary = input.permissions_boundary;
    iam.create(&made).await?;
    Ok(m::CreateUserOutput { user: Some(user(&made)) })
}

/// Without a name: the caller.
pub(crate) async fn get(iam: Iam, cx: Cx, input: m::GetUserInput) -> Result<m::GetUserOutput, IamError> {
    let name = match (input.user_name, &cx.principal) {
        (Some(name), _) => name,
        (None, Principal::User { name, .. }) => name.clone(),
        (None, Principal::Root { account }) => {
            let root = m::User {
                arn: cx.principal.arn(),
                create_date: sys::Timestamp::from_unix_us(0),
                password_last_used: None,
                path: "/".to_owned(),
                permissions_boundary: None,
                tags: None,
                user_id: account.to_string(),
                user_name: "root".to_owned(),
            };
            return Ok(m::GetUserOutput { user: root });
        }
        (None, _) => return Err(no_user()),
    };
    Ok(m::GetUserOutput { user: user(&iam.one(cx.account.as_str(), USER, &name).await?) })
}

pub(crate) fn no_user() -> IamError {
    IamError::ValidationError("Must specify userName when calling with non-User credentials".to_owned())
}

pub(crate) async fn list(iam: Iam, cx: Cx, input: m::ListUsersInput) -> Result<m::ListUsersOutput, IamError> {
    let wanted = |one: &Identity| is_below(&one.path, input.path_prefix.as_deref());
    let all = iam.all(cx.account.as_str(), USER, wanted).await?;
    let page = page(all, input.marker.as_deref(), input.max_items, by_name)?;
    // As on AWS, lists show neither tags nor boundaries.
    let users = page.items.iter().map(|one| m::User { tags: None, permissions_boundary: None, ..user(one) });
    Ok(m::ListUsersOutput { is_truncated: page.is_truncated, marker: page.marker, users: users.collect() })
}

pub(crate) async fn update(iam: Iam, cx: Cx, input: m::UpdateUserInput) -> Result<m::UpdateUserOutput, IamError> {
    check_path(USER, input.new_path.as_deref())?;
    let (account, input) = (cx.account.as_str(), &input);
    iam.change(move |tx| async move {
        let mut changed = find(&tx, account, USER, &input.user_name).await?;
        if let Some(path) = &input.new_path {
            changed.path.clone_from(path);
        }
        if let Some(name) = &input.new_user_name {
            let new = keys::identity(account, USER, name);
            let old = keys::identity(account, USER, &input.user_name);
            if new != old && tx.get(&new).await?.is_some() {
                return Err(IamError::exists("User", name));
            }
            tx.clear(&old);
            changed.name.clone_from(name);
            for (id, record) in keys_of(&tx, &changed.id).await? {
                keys::set(&tx, keys::access_key(&id), &AccessKeyRecord { user: name.clone(), ..record });
            }
        }
        put(&tx, &changed);
        Ok(())
    })
    .await?;
    Ok(m::UpdateUserOutput {})
}

pub(crate) async fn delete(iam: Iam, cx: Cx, input: m::DeleteUserInput) -> Result<m::DeleteUserOutput, IamError> {
    let (account, name) = (cx.account.as_str(), input.user_name.as_str());
    iam.change(move |tx| async move {
        let gone = find(&tx, account, USER, name).await?;
        check_bare(&gone)?;
        if !keys_of(&tx, &gone.id).await?.is_empty() {
            return Err(IamError::DeleteConflict("Cannot delete entity, must delete access keys first.".to_owned()));
        }
        quotas::remove(&tx, account, Counted::Users).await?;
        tx.clear(keys::identity(account, USER, name));
        Ok(())
    })
    .await?;
    Ok(m::DeleteUserOutput {})
}
