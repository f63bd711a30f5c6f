//! Groups and who is in them.

use model::iam as m;
use wire::Cx;

use super::{by_name, check_bare, check_path, find, group, is_below, page, put, user};
use crate::error::IamError;
use crate::keys::{self, Identity, IdentityKind};
use crate::limits::GROUPS_PER_USER_MAX;
use crate::quotas::{self, Counted};
use crate::state::Iam;

const GROUP: IdentityKind = IdentityKind::Group;
const USER: IdentityKind = IdentityKind::User;

pub(crate) async fn create(iam: Iam, cx: Cx, input: m::CreateGroupInput) -> Result<m::CreateGroupOutput, IamError> {
    check_path(GROUP, input.path.as_deref())?;
    let made = iam.fresh(cx.account.as_str(), GROUP, &input.group_name, input.path);
    iam.create(&made).await?;
    Ok(m::CreateGroupOutput { group: group(&made) })
}

pub(crate) async fn get(iam: Iam, cx: Cx, input: m::GetGroupInput) -> Result<m::GetGroupOutput, IamError> {
    let found = iam.one(cx.account.as_str(), GROUP, &input.group_name).await?;
    let is_member = |one: &Identity| one.groups.contains(&found.name);
    let members = iam.all(cx.account.as_str(), USER, is_member).await?;
    let page = iam.whole(page(members, input.marker.as_deref(), input.max_items, by_name)?).await?;
    let users = page.items.iter().map(user).collect();
    Ok(m::GetGroupOutput { group: group(&found), is_truncated: page.is_truncated, marker: page.marker, users })
}

pub(crate) async fn list(iam: Iam, cx: Cx, input: m::ListGroupsInput) -> Result<m::ListGroupsOutput, IamError> {
    let wanted = |one: &Identity| is_below(&one.path, input.path_prefix.as_deref());
    let all = iam.all(cx.account.as_str(), GROUP, wanted).await?;
    let page = page(all, input.marker.as_deref(), input.max_items, by_name)?;
    let groups = page.items.iter().map(group).collect();
    Ok(m::ListGroupsOutput { groups, is_truncated: page.is_truncated, marker: page.marker })
}

pub(crate) async fn of_user(
    iam: Iam,
    cx: Cx,
    input: m::ListGroupsForUserInput,
) -> Result<m::ListGroupsForUserOutput, IamError> {
    let member = iam.one(cx.account.as_str(), USER, &input.user_name).await?;
    let all = iam.all(cx.account.as_str(), GROUP, |found| member.groups.contains(&found.name)).await?;
    let page = page(all, input.marker.as_deref(), input.max_items, by_name)?;
    let groups = page.items.iter().map(group).collect();
    Ok(m::ListGroupsForUserOutput { groups, is_truncated: page.is_truncated, marker: page.marker })
}

async fn members(tx: &kv::Txn, account: &str, name: &str) -> Result<Vec<Identity>, IamError> {
    let pick = |user: Identity| user.groups.contains(name).then_some(user);
    Ok(keys::pick(tx, &keys::identities(account, USER), pick).await?)
}

pub(crate) async fn update(iam: Iam, cx: Cx, input: m::UpdateGroupInput) -> Result<m::UpdateGroupOutput, IamError> {
    check_path(GROUP, input.new_path.as_deref())?;
    let (account, input) = (cx.account.as_str(), &input);
    iam.change(move |tx| async move {
        let mut changed = find(&tx, account, GROUP, &input.group_name).await?;
        if let Some(path) = &input.new_path {
            changed.path.clone_from(path);
        }
        if let Some(name) = &input.new_group_name {
            let (old, new) = (keys::identity(account, GROUP, &changed.name), keys::identity(account, GROUP, name));
            if new != old && tx.get(&new).await?.is_some() {
                return Err(IamError::exists("Group", name));
            }
            for mut member in members(&tx, account, &changed.name).await? {
                member.groups.remove(&changed.name);
                member.groups.insert(name.clone());
                put(&tx, &member);
            }
            tx.clear(&old);
            changed.name.clone_from(name);
        }
        put(&tx, &changed);
        Ok(())
    })
    .await?;
    Ok(m::UpdateGroupOutput {})
}

pub(crate) async fn delete(iam: Iam, cx: Cx, input: m::DeleteGroupInput) -> Result<m::DeleteGroupOutput, IamError> {
    let (account, name) = (cx.account.as_str(), input.group_name.as_str());
    iam.change(move |tx| async move {
        check_bare(&find(&tx, account, GROUP, name).await?)?;
        if !members(&tx, account, name).await?.is_empty() {
            let message = "Cannot delete entity, must remove users from group first.";
            return Err(IamError::DeleteConflict(message.to_owned()));
        }
        quotas::remove(&tx, account, Counted::Groups).await?;
        tx.clear(keys::identity(account, GROUP, name));
        Ok(())
    })
    .await?;
    Ok(m::DeleteGroupOutput {})
}

pub(crate) async fn add_user(
    iam: Iam,
    cx: Cx,
    input: m::AddUserToGroupInput,
) -> Result<m::AddUserToGroupOutput, IamError> {
    let (account, input) = (cx.account.as_str(), &input);
    iam.change(move |tx| async move {
        let group = find(&tx, account, GROUP, &input.group_name).await?;
        let mut member = find(&tx, account, USER, &input.user_name).await?;
        member.groups.insert(group.name);
        if member.groups.len() > GROUPS_PER_USER_MAX {
            return Err(IamError::quota("GroupsPerUser", GROUPS_PER_USER_MAX));
        }
        put(&tx, &member);
        Ok(())
    })
    .await?;
    Ok(m::AddUserToGroupOutput {})
}

pub(crate) async fn remove_user(
    iam: Iam,
    cx: Cx,
    input: m::RemoveUserFromGroupInput,
) -> Result<m::RemoveUserFromGroupOutput, IamError> {
    let (account, input) = (cx.account.as_str(), &input);
    iam.change(move |tx| async move {
        let group = find(&tx, account, GROUP, &input.group_name).await?;
        let mut member = find(&tx, account, USER, &input.user_name).await?;
        member.groups.remove(&group.name);
        put(&tx, &member);
        Ok(())
    })
    .await?;
    Ok(m::RemoveUserFromGroupOutput {})
}
