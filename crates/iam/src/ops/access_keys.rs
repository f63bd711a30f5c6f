//! Long-term access keys of users.

use model::iam as m;
use sys::Timestamp;
use wire::{Cx, Principal};

use super::{find, page};
use crate::error::IamError;
use crate::keys::{self, AccessKeyRecord, IdentityKind, LastUsed};
use crate::limits::ACCESS_KEYS_MAX;
use crate::session::{access_key_id, secret_access_key};
use crate::state::Iam;

/// Whose keys: the named user's or the caller's.
fn owner(cx: &Cx, name: Option<String>) -> Result<String, IamError> {
    match (name, &cx.principal) {
        (Some(name), _) => Ok(name),
        (None, Principal::User { name, .. }) => Ok(name.clone()),
        (None, _) => Err(super::users::no_user()),
    }
}

fn missing(id: &str) -> IamError {
    IamError::NoSuchEntity(format!("The Access Key with id {id} cannot be found."))
}

fn status(active: bool) -> m::StatusType {
    if active { m::StatusType::Active } else { m::StatusType::Inactive }
}

fn last_text(key: &[u8]) -> Result<Option<String>, kv::Error> {
    Ok(kv::key::unpack(key)?.pop().and_then(|last| match last {
        kv::key::Element::Text(id) => Some(id),
        _ => None,
    }))
}

/// All keys of one user, with their ids.
pub(super) async fn keys_of(tx: &kv::Txn, user_id: &str) -> Result<Vec<(String, AccessKeyRecord)>, IamError> {
    let range = keys::access_keys_of(user_id);
    let mut found = Vec::new();
    for (key, _) in tx.range(&range.begin, &range.end, kv::RangeOptions::default()).await? {
        let Some(id) = last_text(&key)? else { continue };
        let record = keys::get::<AccessKeyRecord>(tx, &keys::access_key(&id)).await?;
        found.extend(record.map(|record| (id, record)));
    }
    Ok(found)
}

/// Access keys entered in one transaction.
const ENTERED_AT_ONCE: usize = 500;

/// Enters every access key with its user, once in the life of a store: older programs did not.
///
/// # Errors
/// The store's.
pub(crate) async fn enter_all(kv: &kv::Kv) -> Result<(), kv::Error> {
    if kv.read(|tx| async move { tx.get(keys::access_keys_entered()).await }).await?.is_some() {
        return Ok(());
    }
    let range = keys::access_keys();
    let mut begin = range.begin.clone();
    loop {
        let (from, end) = (&begin, &range.end);
        let last = kv.transact(|tx| async move {
            let options = kv::RangeOptions { limit: ENTERED_AT_ONCE, ..kv::RangeOptions::default() };
            let page = tx.range(from, end, options).await?;
            for (key, value) in &page {
                let record: AccessKeyRecord = keys::decode(value)?;
                if let Some(id) = last_text(key)?.filter(|_| !record.root) {
                    keys::set(&tx, keys::access_key_of(&record.user_id, &id), &());
                }
            }
            if page.len() < ENTERED_AT_ONCE {
                keys::set(&tx, keys::access_keys_entered(), &());
                return Ok::<_, kv::Error>(None);
            }
            Ok(page.last().map(|(key, _)| key.clone()))
        });
        let Some(last) = last.await? else { return Ok(()) };
        begin = [&last[..], &[0]].concat().into();
    }
}

/// The one answer that shows the secret.
pub(crate) async fn create(
    iam: Iam,
    cx: Cx,
    input: m::CreateAccessKeyInput,
) -> Result<m::CreateAccessKeyOutput, IamError> {
    let (account, name) = (cx.account.as_str(), owner(&cx, input.user_name)?);
    let id = access_key_id("AKIA", &cx.account, &iam.0.rng);
    let (secret, created_us) = (secret_access_key(&iam.0.rng), iam.now_us());
    let (user, given, made) = (&name, &id, &secret);
    iam.change(move |tx| async move {
        let owner = find(&tx, account, IdentityKind::User, user).await?;
        if keys_of(&tx, &owner.id).await?.len() >= ACCESS_KEYS_MAX {
            return Err(IamError::quota("AccessKeysPerUser", ACCESS_KEYS_MAX));
        }
        let record = AccessKeyRecord {
            account: account.to_owned(),
            user: owner.name,
            user_id: owner.id.clone(),
            secret: made.clone(),
            active: true,
            created_us,
            root: false,
        };
        keys::set(&tx, keys::access_key(given), &record);
        keys::set(&tx, keys::access_key_of(&owner.id, given), &());
        Ok(())
    })
    .await?;
    let access_key = m::AccessKey {
        access_key_id: id,
        create_date: Some(Timestamp::from_unix_us(created_us)),
        secret_access_key: secret,
        status: m::StatusType::Active,
        user_name: name,
    };
    Ok(m::CreateAccessKeyOutput { access_key })
}

/// Changes or removes a key of the user.
async fn change(iam: &Iam, cx: &Cx, name: &str, id: &str, active: Option<bool>) -> Result<(), IamError> {
    let account = cx.account.as_str();
    iam.change(move |tx| async move {
        let owner = find(&tx, account, IdentityKind::User, name).await?;
        let key = keys::access_key(id);
        let record = keys::get::<AccessKeyRecord>(&tx, &key).await?.filter(|record| record.user_id == owner.id);
        let mut record = record.ok_or_else(|| missing(id))?;
        match active {
            Some(active) => {
                record.active = active;
                keys::set(&tx, key, &record);
            }
            None => {
                tx.clear(&key);
                tx.clear(keys::access_key_of(&owner.id, id));
                tx.clear(keys::last_used(id));
            }
        }
        Ok(())
    })
    .await
}

pub(crate) async fn update(
    iam: Iam,
    cx: Cx,
    input: m::UpdateAccessKeyInput,
) -> Result<m::UpdateAccessKeyOutput, IamError> {
    let name = owner(&cx, input.user_name)?;
    let active = input.status == m::StatusType::Active;
    change(&iam, &cx, &name, &input.access_key_id, Some(active)).await?;
    Ok(m::UpdateAccessKeyOutput {})
}

pub(crate) async fn delete(
    iam: Iam,
    cx: Cx,
    input: m::DeleteAccessKeyInput,
) -> Result<m::DeleteAccessKeyOutput, IamError> {
    let name = owner(&cx, input.user_name)?;
    change(&iam, &cx, &name, &input.access_key_id, None).await?;
    Ok(m::DeleteAccessKeyOutput {})
}

pub(crate) async fn list(iam: Iam, cx: Cx, input: m::ListAccessKeysInput) -> Result<m::ListAccessKeysOutput, IamError> {
    let owner = iam.one(cx.account.as_str(), IdentityKind::User, &owner(&cx, input.user_name)?).await?;
    let id = owner.id.as_str();
    let all = iam.0.kv.read(|tx| async move { keys_of(&tx, id).await }).await?;
    let page = page(all, input.marker.as_deref(), input.max_items, |(id, _)| id.clone())?;
    let shown = page.items.into_iter().map(|(id, record)| m::AccessKeyMetadata {
        access_key_id: Some(id),
        create_date: Some(Timestamp::from_unix_us(record.created_us)),
        status: Some(status(record.active)),
        user_name: Some(owner.name.clone()),
    });
    let access_key_metadata = shown.collect();
    Ok(m::ListAccessKeysOutput { access_key_metadata, is_truncated: page.is_truncated, marker: page.marker })
}

pub(crate) async fn last_used(
    iam: Iam,
    cx: Cx,
    input: m::GetAccessKeyLastUsedInput,
) -> Result<m::GetAccessKeyLastUsedOutput, IamError> {
    let id = input.access_key_id.as_str();
    let read = iam.0.kv.read(|tx| async move {
        let record = keys::get::<AccessKeyRecord>(&tx, &keys::access_key(id)).await?;
        let used = keys::get::<LastUsed>(&tx, &keys::last_used(id)).await?;
        Ok::<_, IamError>((record, used))
    });
    let (record, used) = read.await?;
    let record = record.filter(|record| record.account == cx.account.as_str()).ok_or_else(|| missing(id))?;
    let none = || "N/A".to_owned();
    let shown = m::AccessKeyLastUsed {
        last_used_date: used.as_ref().map(|used| Timestamp::from_unix_us(used.at_us)),
        region: used.as_ref().map_or_else(none, |used| used.region.clone()),
        service_name: used.map_or_else(none, |used| used.service),
    };
    Ok(m::GetAccessKeyLastUsedOutput { access_key_last_used: Some(shown), user_name: Some(record.user) })
}
