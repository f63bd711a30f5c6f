//! OpenID Connect issuers ("providers" in AWS's words): whose tokens an account takes.

use std::collections::BTreeSet;

use kv::Txn;
use model::iam as m;
use sys::Timestamp;
use wire::Cx;

use super::{tag_list, tag_map};
use crate::error::IamError;
use crate::keys::{self, Issuer};
use crate::limits::{ISSUER_CLIENT_IDS_MAX, ISSUER_THUMBPRINTS_MAX, ISSUERS_MAX};
use crate::state::Iam;

/// The URL behind an ARN, without its scheme.
fn url_of(arn: &str) -> &str {
    arn.split_once(":oidc-provider/").map_or("", |(_, url)| url)
}

async fn find(tx: &Txn, account: &str, arn: &str) -> Result<Issuer, IamError> {
    let found = keys::get::<Issuer>(tx, &keys::issuer(account, url_of(arn))).await?;
    let missing = || IamError::NoSuchEntity(format!("OpenIDConnect Provider not found for arn {arn}"));
    found.filter(|found| found.arn() == arn).ok_or_else(missing)
}

/// `https://…`; `http://` only to this machine, where nobody else can listen.
fn host_and_path(url: &str) -> Result<&str, IamError> {
    let local = |rest: &&str| {
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        matches!(host, "localhost" | "127.0.0.1")
    };
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://").filter(local));
    let rest =
        rest.map(|rest| rest.trim_end_matches('/')).filter(|rest| !rest.is_empty() && !rest.contains(['?', '#']));
    rest.ok_or_else(|| IamError::InvalidInput("Invalid Open ID Connect Provider URL".to_owned()))
}

impl Iam {
    async fn edit_issuer(
        &self,
        account: &str,
        arn: &str,
        edit: impl Fn(&mut Issuer) -> Result<(), IamError> + Send + Sync,
    ) -> Result<(), IamError> {
        let edit = &edit;
        self.change(move |tx| async move {
            let mut found = find(&tx, account, arn).await?;
            edit(&mut found)?;
            keys::set(&tx, keys::issuer(account, &found.url), &found);
            Ok(())
        })
        .await
    }

    /// The issuer with this URL (without its scheme) that the account trusts.
    pub(crate) async fn issuer(&self, account: &str, url: &str) -> Result<Option<Issuer>, IamError> {
        let key = keys::issuer(account, url);
        Ok(self.0.kv.read(|tx| async move { keys::get::<Issuer>(&tx, &key).await }).await?)
    }
}

pub(crate) async fn create(
    iam: Iam,
    cx: Cx,
    input: m::CreateOpenIDConnectProviderInput,
) -> Result<m::CreateOpenIDConnectProviderOutput, IamError> {
    let made = Issuer {
        account: cx.account.to_string(),
        url: host_and_path(&input.url)?.to_owned(),
        client_ids: input.client_id_list.unwrap_or_default().into_iter().collect::<BTreeSet<_>>(),
        thumbprints: input.thumbprint_list.unwrap_or_default(),
        tags: tag_map(input.tags)?,
        created_us: iam.now_us(),
    };
    if made.client_ids.len() > ISSUER_CLIENT_IDS_MAX {
        return Err(IamError::quota("ClientIdsPerOpenIdConnectProvider", ISSUER_CLIENT_IDS_MAX));
    }
    check_thumbprints(&made.thumbprints)?;
    let new = &made;
    iam.change(move |tx| async move {
        let key = keys::issuer(&new.account, &new.url);
        if tx.get(&key).await?.is_some() {
            return Err(IamError::EntityAlreadyExists(format!("Provider with url {} already exists.", new.url)));
        }
        if keys::list::<Issuer>(&tx, &keys::issuers(&new.account)).await?.len() >= ISSUERS_MAX {
            return Err(IamError::quota("OpenIdConnectProvidersPerAccount", ISSUERS_MAX));
        }
        keys::set(&tx, key, new);
        Ok(())
    })
    .await?;
    Ok(m::CreateOpenIDConnectProviderOutput {
        open_id_connect_provider_arn: Some(made.arn()),
        tags: tag_list(&made.tags),
    })
}

pub(crate) async fn get(
    iam: Iam,
    cx: Cx,
    input: m::GetOpenIDConnectProviderInput,
) -> Result<m::GetOpenIDConnectProviderOutput, IamError> {
    let (account, arn) = (cx.account.as_str(), input.open_id_connect_provider_arn.as_str());
    let found = iam.0.kv.read(|tx| async move { find(&tx, account, arn).await }).await?;
    Ok(m::GetOpenIDConnectProviderOutput {
        client_id_list: Some(found.client_ids.into_iter().collect()),
        create_date: Some(Timestamp::from_unix_us(found.created_us)),
        tags: tag_list(&found.tags),
        thumbprint_list: Some(found.thumbprints),
        url: Some(found.url),
    })
}

pub(crate) async fn list(
    iam: Iam,
    cx: Cx,
    _: m::ListOpenIDConnectProvidersInput,
) -> Result<m::ListOpenIDConnectProvidersOutput, IamError> {
    let range = keys::issuers(cx.account.as_str());
    let found = iam.0.kv.read(|tx| async move { keys::list::<Issuer>(&tx, &range).await }).await?;
    let entries = found.iter().map(|one| m::OpenIDConnectProviderListEntry { arn: Some(one.arn()) });
    Ok(m::ListOpenIDConnectProvidersOutput { open_id_connect_provider_list: Some(entries.collect()) })
}

pub(crate) async fn delete(
    iam: Iam,
    cx: Cx,
    input: m::DeleteOpenIDConnectProviderInput,
) -> Result<m::DeleteOpenIDConnectProviderOutput, IamError> {
    let (account, arn) = (cx.account.as_str(), input.open_id_connect_provider_arn.as_str());
    iam.change(move |tx| async move {
        let found = find(&tx, account, arn).await?;
        tx.clear(keys::issuer(account, &found.url));
        Ok(())
    })
    .await?;
    Ok(m::DeleteOpenIDConnectProviderOutput {})
}

fn check_thumbprints(given: &[String]) -> Result<(), IamError> {
    match given.len() > ISSUER_THUMBPRINTS_MAX {
        true => Err(IamError::InvalidInput("Thumbprint list must contain fewer than 5 entries.".to_owned())),
        false => Ok(()),
    }
}

pub(crate) async fn set_thumbprints(
    iam: Iam,
    cx: Cx,
    input: m::UpdateOpenIDConnectProviderThumbprintInput,
) -> Result<m::UpdateOpenIDConnectProviderThumbprintOutput, IamError> {
    iam.edit_issuer(cx.account.as_str(), &input.open_id_connect_provider_arn, |found| {
        check_thumbprints(&input.thumbprint_list)?;
        found.thumbprints.clone_from(&input.thumbprint_list);
        Ok(())
    })
    .await?;
    Ok(m::UpdateOpenIDConnectProviderThumbprintOutput {})
}

pub(crate) async fn add_client(
    iam: Iam,
    cx: Cx,
    input: m::AddClientIDToOpenIDConnectProviderInput,
) -> Result<m::AddClientIDToOpenIDConnectProviderOutput, IamError> {
    iam.edit_issuer(cx.account.as_str(), &input.open_id_connect_provider_arn, |found| {
        found.client_ids.insert(input.client_id.clone());
        match found.client_ids.len() > ISSUER_CLIENT_IDS_MAX {
            true => Err(IamError::quota("ClientIdsPerOpenIdConnectProvider", ISSUER_CLIENT_IDS_MAX)),
            false => Ok(()),
        }
    })
    .await?;
    Ok(m::AddClientIDToOpenIDConnectProviderOutput {})
}

pub(crate) async fn remove_client(
    iam: Iam,
    cx: Cx,
    input: m::RemoveClientIDFromOpenIDConnectProviderInput,
) -> Result<m::RemoveClientIDFromOpenIDConnectProviderOutput, IamError> {
    // As on AWS, an id that is not there is no error.
    iam.edit_issuer(cx.account.as_str(), &input.open_id_connect_provider_arn, |found| {
        found.client_ids.remove(&input.client_id);
        Ok(())
    })
    .await?;
    Ok(m::RemoveClientIDFromOpenIDConnectProviderOutput {})
}
