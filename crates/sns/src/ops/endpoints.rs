//! Endpoints of platform applications: the devices that would be pushed to.

use std::collections::BTreeMap;

use model::sns as m;
use wire::Cx;

use crate::arn::ApplicationName;
use crate::keys::{self, Key, PlatformEndpoint};
use crate::limits::{DEVICE_TOKEN_BYTES_MAX, USER_DATA_BYTES_MAX};
use crate::ops::applications;
use crate::{Sns, SnsError};

const NAMES: [&str; 3] = ["CustomUserData", "Enabled", "Token"];

fn check(attributes: &BTreeMap<String, String>) -> Result<(), SnsError> {
    if let Some(name) = attributes.keys().find(|name| !NAMES.contains(&name.as_str())) {
        return Err(SnsError::invalid(format!("Attributes Reason: Invalid attribute name: {name}")));
    }
    if attributes.get("Token").is_some_and(|token| token.is_empty() || token.len() > DEVICE_TOKEN_BYTES_MAX) {
        return Err(SnsError::invalid(format!(
            "Token Reason: must be 1 to {DEVICE_TOKEN_BYTES_MAX} bytes long in UTF-8 encoding"
        )));
    }
    if attributes.get("CustomUserData").is_some_and(|data| data.len() > USER_DATA_BYTES_MAX) {
        return Err(SnsError::invalid(
            "Attributes Reason: Invalid value for attribute: CustomUserData: must be at most 2048 bytes long in UTF-8 \
             encoding",
        ));
    }
    Ok(())
}

pub(crate) async fn create(
    sns: Sns,
    _: Cx,
    input: m::CreatePlatformEndpointInput,
) -> Result<m::CreatePlatformEndpointOutput, SnsError> {
    let name = &ApplicationName::of("PlatformApplicationArn", &input.platform_application_arn)?;
    let mut attributes = input.attributes.unwrap_or_default();
    if let Some(data) = input.custom_user_data {
        attributes.entry("CustomUserData".to_owned()).or_insert(data);
    }
    let token = &input.token;
    attributes.entry("Enabled".to_owned()).or_insert_with(|| "true".to_owned());
    attributes.insert("Token".to_owned(), token.clone());
    check(&attributes)?;
    let (made, fresh) = (&PlatformEndpoint { attributes }, &sys::id::uuid(&sns.0.rng));
    let id = sns.0.kv.transact(|tx| async move {
        applications::find(&tx, name).await?;
        let index = Key::DeviceToken(name.clone(), token.clone());
        if let Some(id) = keys::get::<String>(&tx, &index).await? {
            let found = keys::get::<PlatformEndpoint>(&tx, &Key::PlatformEndpoint(name.clone(), id.clone())).await?;
            return if found.as_ref() == Some(made) { Ok(id) } else { Err(taken(name, &id)) };
        }
        keys::set(&tx, &index, fresh);
        keys::put(&tx, &Key::PlatformEndpoint(name.clone(), fresh.clone()), made)?;
        Ok(fresh.clone())
    });
    Ok(m::CreatePlatformEndpointOutput { endpoint_arn: Some(name.endpoint_arn(&id.await?)) })
}

/// A device has one endpoint in an application.
fn taken(name: &ApplicationName, id: &str) -> SnsError {
    SnsError::invalid(format!(
        "Token Reason: Endpoint {} already exists with the same Token, but different attributes.",
        name.endpoint_arn(id)
    ))
}

async fn find(tx: &kv::Txn, name: &ApplicationName, id: &str) -> Result<PlatformEndpoint, SnsError> {
    let key = Key::PlatformEndpoint(name.clone(), id.to_owned());
    keys::get(tx, &key).await?.ok_or(SnsError::NotFound("Endpoint"))
}

/// For who subscribes one.
///
/// # Errors
/// `InvalidParameter` in AWS's words, which lack a space.
pub(crate) async fn check_exists(sns: &Sns, arn: &str) -> Result<(), SnsError> {
    let (name, id) = ApplicationName::of_endpoint("Endpoint", arn)?;
    let key = Key::PlatformEndpoint(name, id);
    let found = sns.0.kv.read(|tx| async move { keys::get::<PlatformEndpoint>(&tx, &key).await }).await?;
    let missing = || SnsError::invalid(format!("Endpoint Reason: Endpoint does not exist for endpoint arn{arn}"));
    found.map(drop).ok_or_else(missing)
}

fn clear_token(tx: &kv::Txn, name: &ApplicationName, endpoint: &PlatformEndpoint) {
    if let Some(token) = endpoint.attributes.get("Token") {
        tx.clear(Key::DeviceToken(name.clone(), token.clone()).pack());
    }
}

pub(crate) async fn delete(
    sns: Sns,
    _: Cx,
    input: m::DeleteEndpointInput,
) -> Result<m::DeleteEndpointOutput, SnsError> {
    let (name, id) = &ApplicationName::of_endpoint("EndpointArn", &input.endpoint_arn)?;
    sns.0
        .kv
        .transact(|tx| async move {
            match find(&tx, name, id).await {
                Ok(gone) => clear_token(&tx, name, &gone),
                // Deleting what is not there is fine (API reference, DeleteEndpoint).
                Err(SnsError::NotFound(_)) => return Ok(()),
                Err(error) => return Err(error),
            }
            tx.clear(Key::PlatformEndpoint(name.clone(), id.clone()).pack());
            Ok(())
        })
        .await?;
    Ok(m::DeleteEndpointOutput {})
}

pub(crate) async fn list(
    sns: Sns,
    _: Cx,
    input: m::ListEndpointsByPlatformApplicationInput,
) -> Result<m::ListEndpointsByPlatformApplicationOutput, SnsError> {
    let name = &ApplicationName::of("PlatformApplicationArn", &input.platform_application_arn)?;
    sns.0.kv.read(|tx| async move { applications::find(&tx, name).await }).await?;
    let [range, _] = keys::platform_endpoints(name);
    let page = sns.page(range, input.next_token.as_deref(), |key, value| match key {
        Key::PlatformEndpoint(of, id) => {
            let PlatformEndpoint { attributes } = keys::decode(value)?;
            Ok(m::Endpoint { attributes: Some(attributes), endpoint_arn: Some(of.endpoint_arn(&id)) })
        }
        _ => Err(SnsError::InternalError("a key in the range of endpoints is none".to_owned())),
    });
    let page = page.await?;
    Ok(m::ListEndpointsByPlatformApplicationOutput { next_token: page.next, endpoints: Some(page.items) })
}

pub(crate) async fn get(
    sns: Sns,
    _: Cx,
    input: m::GetEndpointAttributesInput,
) -> Result<m::GetEndpointAttributesOutput, SnsError> {
    let (name, id) = &ApplicationName::of_endpoint("EndpointArn", &input.endpoint_arn)?;
    let found = sns.0.kv.read(|tx| async move { find(&tx, name, id).await }).await?;
    Ok(m::GetEndpointAttributesOutput { attributes: Some(found.attributes) })
}

pub(crate) async fn set(
    sns: Sns,
    _: Cx,
    input: m::SetEndpointAttributesInput,
) -> Result<m::SetEndpointAttributesOutput, SnsError> {
    let (name, id) = &ApplicationName::of_endpoint("EndpointArn", &input.endpoint_arn)?;
    check(&input.attributes)?;
    let given = &input.attributes;
    sns.0
        .kv
        .transact(|tx| async move {
            let mut found = find(&tx, name, id).await?;
            clear_token(&tx, name, &found);
            found.attributes.extend(given.clone());
            if let Some(token) = found.attributes.get("Token") {
                let index = Key::DeviceToken(name.clone(), token.clone());
                if let Some(other) = keys::get::<String>(&tx, &index).await? {
                    return Err(taken(name, &other));
                }
                keys::set(&tx, &index, id);
            }
            keys::put(&tx, &Key::PlatformEndpoint(name.clone(), id.clone()), &found)
        })
        .await?;
    Ok(m::SetEndpointAttributesOutput {})
}
