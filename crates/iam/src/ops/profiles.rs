//! Instance profiles: tools make them beside roles. Nothing runs under one.

use model::iam as m;
use sys::Timestamp;
use wire::Cx;

use super::{check_unlinked, find, page, role};
use crate::error::IamError;
use crate::keys::{self, IdentityKind, Profile};
use crate::session::unique_id;
use crate::state::Iam;

async fn profile(tx: &kv::Txn, account: &str, name: &str) -> Result<Profile, IamError> {
    let found = keys::get::<Profile>(tx, &keys::profile(account, name)).await?;
    let missing = || IamError::NoSuchEntity(format!("Instance Profile {name} cannot be found."));
    found.filter(|found| found.name == name).ok_or_else(missing)
}

async fn shown(iam: &Iam, profile: &Profile) -> Result<m::InstanceProfile, IamError> {
    let held = match &profile.role {
        Some(name) => iam.identity(&profile.account, IdentityKind::Role, name).await?,
        None => None,
    };
    Ok(m::InstanceProfile {
        arn: profile.arn(),
        create_date: Timestamp::from_unix_us(profile.created_us),
        instance_profile_id: profile.id.clone(),
        instance_profile_name: profile.name.clone(),
        path: profile.path.clone(),
        roles: held.iter().map(role).collect(),
        tags: None,
    })
}

pub(crate) async fn create(
    iam: Iam,
    cx: Cx,
    input: m::CreateInstanceProfileInput,
) -> Result<m::CreateInstanceProfileOutput, IamError> {
    if input.tags.is_some_and(|tags| !tags.is_empty()) {
        return Err(IamError::InvalidInput("Tinderbox keeps no tags on instance profiles.".to_owned()));
    }
    let made = Profile {
        account: cx.account.to_string(),
        path: input.path.unwrap_or_else(|| "/".to_owned()),
        name: input.instance_profile_name,
        id: unique_id("AIPA", &iam.0.rng),
        created_us: iam.now_us(),
        role: None,
    };
    let new = &made;
    iam.change(move |tx| async move {
        let key = keys::profile(&new.account, &new.name);
        if tx.get(&key).await?.is_some() {
            return Err(IamError::EntityAlreadyExists(format!("Instance Profile {} already exists.", new.name)));
        }
        keys::set(&tx, key, new);
        Ok(())
    })
    .await?;
    Ok(m::CreateInstanceProfileOutput { instance_profile: shown(&iam, &made).await? })
}

pub(crate) async fn get(
    iam: Iam,
    cx: Cx,
    input: m::GetInstanceProfileInput,
) -> Result<m::GetInstanceProfileOutput, IamError> {
    let (account, name) = (cx.account.as_str(), input.instance_profile_name.as_str());
    let found = iam.0.kv.read(|tx| async move { profile(&tx, account, name).await }).await?;
    Ok(m::GetInstanceProfileOutput { instance_profile: shown(&iam, &found).await? })
}

pub(crate) async fn delete(
    iam: Iam,
    cx: Cx,
    input: m::DeleteInstanceProfileInput,
) -> Result<m::DeleteInstanceProfileOutput, IamError> {
    let (account, name) = (cx.account.as_str(), input.instance_profile_name.as_str());
    iam.change(move |tx| async move {
        if profile(&tx, account, name).await?.role.is_some() {
            let message = "Cannot delete entity, must remove roles from instance profile first.";
            return Err(IamError::DeleteConflict(message.to_owned()));
        }
        tx.clear(keys::profile(account, name));
        Ok(())
    })
    .await?;
    Ok(m::DeleteInstanceProfileOutput {})
}

async fn all(iam: &Iam, cx: &Cx) -> Result<Vec<Profile>, IamError> {
    let range = keys::profiles(cx.account.as_str());
    Ok(iam.0.kv.read(|tx| async move { keys::list::<Profile>(&tx, &range).await }).await?)
}

pub(crate) async fn list(
    iam: Iam,
    cx: Cx,
    input: m::ListInstanceProfilesInput,
) -> Result<m::ListInstanceProfilesOutput, IamError> {
    let mut found = all(&iam, &cx).await?;
    found.retain(|profile| profile.path.starts_with(input.path_prefix.as_deref().unwrap_or("/")));
    let page = page(found, input.marker.as_deref(), input.max_items, |one| one.name.to_ascii_lowercase())?;
    let mut instance_profiles = Vec::new();
    for one in &page.items {
        instance_profiles.push(shown(&iam, one).await?);
    }
    Ok(m::ListInstanceProfilesOutput { instance_profiles, is_truncated: page.is_truncated, marker: page.marker })
}

pub(crate) async fn of_role(
    iam: Iam,
    cx: Cx,
    input: m::ListInstanceProfilesForRoleInput,
) -> Result<m::ListInstanceProfilesForRoleOutput, IamError> {
    let role = iam.one(cx.account.as_str(), IdentityKind::Role, &input.role_name).await?;
    let mut found = all(&iam, &cx).await?;
    found.retain(|profile| profile.role.as_ref() == Some(&role.name));
    let page = page(found, input.marker.as_deref(), input.max_items, |one| one.name.to_ascii_lowercase())?;
    let mut instance_profiles = Vec::new();
    for one in &page.items {
        instance_profiles.push(shown(&iam, one).await?);
    }
    Ok(m::ListInstanceProfilesForRoleOutput { instance_profiles, is_truncated: page.is_truncated, marker: page.marker })
}

/// The profiles that hold a role, as answers carry them.
pub(crate) async fn holding(iam: &Iam, account: &str, role: &str) -> Result<Vec<m::InstanceProfile>, IamError> {
    let range = keys::profiles(account);
    let mut found = iam.0.kv.read(|tx| async move { keys::list::<Profile>(&tx, &range).await }).await?;
    found.retain(|profile| profile.role.as_deref() == Some(role));
    let mut holding = Vec::new();
    for one in &found {
        holding.push(shown(iam, one).await?);
    }
    Ok(holding)
}

pub(crate) async fn add_role(
    iam: Iam,
    cx: Cx,
    input: m::AddRoleToInstanceProfileInput,
) -> Result<m::AddRoleToInstanceProfileOutput, IamError> {
    let (account, input) = (cx.account.as_str(), &input);
    iam.change(move |tx| async move {
        let mut changed = profile(&tx, account, &input.instance_profile_name).await?;
        let role = find(&tx, account, IdentityKind::Role, &input.role_name).await?;
        check_unlinked(&role)?;
        if changed.role.is_some() {
            return Err(IamError::quota("InstanceSessionsPerInstanceProfile", 1));
        }
        changed.role = Some(role.name);
        keys::set(&tx, keys::profile(account, &changed.name), &changed);
        Ok(())
    })
    .await?;
    Ok(m::AddRoleToInstanceProfileOutput {})
}

pub(crate) async fn remove_role(
    iam: Iam,
    cx: Cx,
    input: m::RemoveRoleFromInstanceProfileInput,
) -> Result<m::RemoveRoleFromInstanceProfileOutput, IamError> {
    let (account, input) = (cx.account.as_str(), &input);
    iam.change(move |tx| async move {
        let mut changed = profile(&tx, account, &input.instance_profile_name).await?;
        if changed.role.as_ref() != Some(&input.role_name) {
            return Err(IamError::missing("role", &input.role_name));
        }
        changed.role = None;
        keys::set(&tx, keys::profile(account, &changed.name), &changed);
        Ok(())
    })
    .await?;
    Ok(m::RemoveRoleFromInstanceProfileOutput {})
}
