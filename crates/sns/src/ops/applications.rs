//! Platform applications: stored; nothing is pushed to any device.

use std::collections::BTreeMap;

use model::sns as m;
use wire::Cx;

use crate::arn::ApplicationName;
use crate::keys::{self, Application, Key};
use crate::{Sns, SnsError};

const PLATFORMS: [&str; 9] =
    ["ADM", "APNS", "APNS_SANDBOX", "APNS_VOIP", "APNS_VOIP_SANDBOX", "BAIDU", "GCM", "MPNS", "WNS"];
/// Never shown again.
const SECRETS: [&str; 2] = ["PlatformCredential", "PlatformPrincipal"];
const NAMES: [&str; 11] = [
    "PlatformCredential",
    "PlatformPrincipal",
    "EventEndpointCreated",
    "EventEndpointDeleted",
    "EventEndpointUpdated",
    "EventDeliveryFailure",
    "SuccessFeedbackRoleArn",
    "FailureFeedbackRoleArn",
    "SuccessFeedbackSampleRate",
    "ApplePlatformTeamID",
    "ApplePlatformBundleID",
];

fn check_name(name: &str) -> Result<(), SnsError> {
    let letters = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let reason = match name {
        "" => "cannot be empty",
        name if name.len() > 256 => "must be at most 256 characters long",
        name if !name.bytes().all(letters) => {
            "must contain only characters 'a'-'z', 'A'-'Z', '0'-'9', '_', '-', and '.'"
        }
        _ => return Ok(()),
    };
    Err(SnsError::invalid(format!("{name} Reason: {reason}")))
}

fn check_attributes(attributes: &BTreeMap<String, String>) -> Result<(), SnsError> {
    match attributes.keys().find(|name| !NAMES.contains(&name.as_str()) && *name != "Enabled") {
        Some(name) => Err(SnsError::invalid(format!("Attributes Reason: Invalid attribute name: {name}"))),
        None => Ok(()),
    }
}

pub(crate) async fn create(
    sns: Sns,
    cx: Cx,
    input: m::CreatePlatformApplicationInput,
) -> Result<m::CreatePlatformApplicationOutput, SnsError> {
    check_name(&input.name)?;
    if !PLATFORMS.contains(&input.platform.as_str()) {
        return Err(SnsError::invalid(format!("Platform Reason: {} is not supported", input.platform)));
    }
    check_attributes(&input.attributes)?;
    let [credential, principal] = SECRETS.map(|name| input.attributes.contains_key(name));
    let without = |one: &str, other: &str| {
        Err(SnsError::invalid(format!("Attributes Reason: {one} attribute provided without {other}")))
    };
    // Google's platform needs no principal.
    match (credential, principal) {
        (true, false) if input.platform != "GCM" => return without("PlatformCredential", "PlatformPrincipal"),
        (false, true) => return without("PlatformPrincipal", "PlatformCredential"),
        _ => {}
    }
    let name = ApplicationName {
        account: cx.account.as_str().to_owned(),
        region: cx.region.clone(),
        platform: input.platform,
        name: input.name,
    };
    let mut attributes = input.attributes;
    attributes.entry("Enabled".to_owned()).or_insert_with(|| "true".to_owned());
    let (key, made) = (&Key::Application(name.clone()), &Application { attributes });
    sns.0.kv.transact(|tx| async move { keys::put(&tx, key, made) }).await?;
    Ok(m::CreatePlatformApplicationOutput { platform_application_arn: Some(name.arn()) })
}

pub(crate) async fn delete(
    sns: Sns,
    _: Cx,
    input: m::DeletePlatformApplicationInput,
) -> Result<m::DeletePlatformApplicationOutput, SnsError> {
    let name = ApplicationName::of("PlatformApplicationArn", &input.platform_application_arn)?;
    sns.delete_application(&name).await?;
    Ok(m::DeletePlatformApplicationOutput {})
}

fn shown(application: Application) -> BTreeMap<String, String> {
    application.attributes.into_iter().filter(|(name, _)| !SECRETS.contains(&name.as_str())).collect()
}

pub(crate) async fn list(
    sns: Sns,
    cx: Cx,
    input: m::ListPlatformApplicationsInput,
) -> Result<m::ListPlatformApplicationsOutput, SnsError> {
    let range = keys::applications(cx.account.as_str(), &cx.region);
    let page = sns.page(range, input.next_token.as_deref(), |key, value| match key {
        Key::Application(name) => Ok(m::PlatformApplication {
            attributes: Some(shown(keys::decode(value)?)),
            platform_application_arn: Some(name.arn()),
        }),
        _ => Err(SnsError::InternalError("a key in the range of applications is none".to_owned())),
    });
    let page = page.await?;
    Ok(m::ListPlatformApplicationsOutput { next_token: page.next, platform_applications: Some(page.items) })
}

/// The application `name`.
pub(crate) async fn find(tx: &kv::Txn, name: &ApplicationName) -> Result<Application, SnsError> {
    keys::get(tx, &Key::Application(name.clone())).await?.ok_or(SnsError::NotFound("PlatformApplication"))
}

pub(crate) async fn get(
    sns: Sns,
    _: Cx,
    input: m::GetPlatformApplicationAttributesInput,
) -> Result<m::GetPlatformApplicationAttributesOutput, SnsError> {
    let name = &ApplicationName::of("PlatformApplicationArn", &input.platform_application_arn)?;
    let found = sns.0.kv.read(|tx| async move { find(&tx, name).await }).await?;
    Ok(m::GetPlatformApplicationAttributesOutput { attributes: Some(shown(found)) })
}

pub(crate) async fn set(
    sns: Sns,
    _: Cx,
    input: m::SetPlatformApplicationAttributesInput,
) -> Result<m::SetPlatformApplicationAttributesOutput, SnsError> {
    let name = &ApplicationName::of("PlatformApplicationArn", &input.platform_application_arn)?;
    check_attributes(&input.attributes)?;
    let given = &input.attributes;
    sns.0
        .kv
        .transact(|tx| async move {
            let mut found = find(&tx, name).await?;
            found.attributes.extend(given.clone());
            keys::put(&tx, &Key::Application(name.clone()), &found)
        })
        .await?;
    Ok(m::SetPlatformApplicationAttributesOutput {})
}
