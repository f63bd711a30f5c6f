//! Instance profiles: tools make them beside roles. Nothing runs under one.

use std::collections::BTreeMap;

use model::iam as m;
use sys::Timestamp;
use wire::Cx;

use super::{Filling, Page, check_unlinked, find, is_below, page, role};
use crate::error::IamError;
use crate::keys::{self, Identity, IdentityKind, Profile};
use crate::quotas::{self, Counted};
use crate::session::unique_id;
use crate::state::Iam;

async fn profile(tx: &kv::Txn, account: &str, name: &str) -> Result<Profile, IamError> {
    let found = keys::get::<Profile>(tx, &keys::profile(account, name)).await?;
    let missing = || IamError::NoSuchEntity(format!("Instance Profile {name} cannot be found."));
    found.filter(|found| found.name == name).ok_or_else(missing)
}

/// A profile as answers carry it, with the role that it holds.
fn shown_with(profile: &Profile, held: Option<m::Role>) -> m::InstanceProfile {
    m::InstanceProfile {
        arn: profile.arn(),
        create_date: Timestamp::from_unix_us(profile.created_us),
        instance_profile_id: profile.id.clone(),
        instance_profile_name: profile.name.clone(),
        path: profile.path.clone(),
        roles: held.into_iter().collect(),
        tags: None,
    }
}

async fn shown(iam: &Iam, profile: &Profile) -> Result<m::InstanceProfile, IamError> {
    let held = match &profile.role {
        Some(name) => iam.identity(&profile.account, IdentityKind::Role, name).await?,
        None => None,
    };
    Ok(shown_with(profile, held.as_ref().map(role)))
}

impl Iam {
    /// A page of profiles, each with its role, whose trust policy may be long.
    async fn shown(
        &self,
        found: Vec<Profile>,
        marker: Option<&str>,
        max: Option<i32>,
    ) -> Result<Page<m::InstanceProfile>, IamError> {
        let mut filling = Filling::new(page(found, marker, max, |one| one.name.to_ascii_lowercase())?);
        while let Some(one) = filling.next() {
            let profile = shown(self, &one).await?;
            let documents = profile.roles.iter().filter_map(|role| role.assume_role_policy_document.as_ref());
            let bytes = documents.map(String::len).sum();
            filling.push(profile, bytes);
        }
        Ok(filling.end(|one| one.instance_profile_name.to_ascii_lowercase()))
    }
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
        quotas::add(&tx, &new.account, Counted::Profiles).await?;
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
        quotas::remove(&tx, account, Counted::Profiles).await?;
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
    found.retain(|profile| is_below(&profile.path, input.path_prefix.as_deref()));
    let page = iam.shown(found, input.marker.as_deref(), input.max_items).await?;
    let instance_profiles = page.items;
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
    let page = iam.shown(found, input.marker.as_deref(), input.max_items).await?;
    let instance_profiles = page.items;
    Ok(m::ListInstanceProfilesForRoleOutput { instance_profiles, is_truncated: page.is_truncated, marker: page.marker })
}

/// The account's profiles by the role that they hold, whose document stands beside them, not in each.
pub(crate) async fn by_role(iam: &Iam, account: &str) -> Result<BTreeMap<String, Vec<Profile>>, IamError> {
    let range = keys::profiles(account);
    let mut all: BTreeMap<String, Vec<Profile>> = BTreeMap::new();
    for one in iam.0.kv.read(|tx| async move { keys::list::<Profile>(&tx, &range).await }).await? {
        if let Some(role) = one.role.clone() {
            all.entry(role).or_default().push(one);
        }
    }
    Ok(all)
}

/// The profiles that hold a role as its details carry them.
pub(crate) fn holding(profiles: &[Profile], held: &Identity) -> Vec<m::InstanceProfile> {
    let held = || m::Role { assume_role_policy_document: None, ..role(held) };
    profiles.iter().map(|one| shown_with(one, Some(held()))).collect()
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
