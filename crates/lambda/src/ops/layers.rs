//! PublishLayerVersion, GetLayerVersion, GetLayerVersionByArn, ListLayers, ListLayerVersions, DeleteLayerVersion.

use kv::{RangeOptions, Txn};
use model::lambda as m;
use wire::{Arn, Cx, Resource};

use super::configuration::code_sha256;
use super::functions::account_for;
use super::settings::refuse_unserved;
use crate::code_source::CodeObject;
use crate::error::LambdaError;
use crate::keys::{self, Key, LayerRecord, LayerUse, Place, PolicyRecord, VersionCounter};
use crate::limits::{FUNCTION_LAYERS_MAX, LIST_LAYERS_PAGE_MAX};
use crate::pages;
use crate::qualifier::Qualifier;
use crate::state::{Lambda, last_modified};

/// A layer of the caller's account and region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LayerName(String);

impl LayerName {
    /// Reads a name or the ARN of a layer; the model has checked the pattern.
    ///
    /// # Errors
    /// `AccessDeniedException` for another partition's, account's or region's layer: nothing opens one across accounts
    /// yet.
    pub(crate) fn parse(cx: &Cx, given: &str) -> Result<Self, LambdaError> {
        if !given.starts_with("arn:") {
            return Ok(Self(given.to_owned()));
        }
        let own = Arn::parse(given).filter(|arn| arn.region == cx.region && arn.account == cx.account.as_str());
        match own.as_ref().and_then(|arn| arn.resource.split(':').nth(1)) {
            Some(name) => Ok(Self(name.to_owned())),
            None => Err(LambdaError::AccessDeniedException(format!(
                "The layer {given} belongs to another account or region, and no policy opens it to {}",
                cx.account
            ))),
        }
    }

    pub(crate) fn place<'a>(&'a self, cx: &'a Cx) -> Place<'a> {
        Place { account: cx.account.as_str(), region: &cx.region, name: &self.0 }
    }

    pub(crate) fn arn(&self, cx: &Cx) -> String {
        format!("arn:aws:lambda:{}:{}:layer:{}", cx.region, cx.account, self.0)
    }

    pub(crate) fn version_arn(&self, cx: &Cx, version: u64) -> String {
        format!("{}:{version}", self.arn(cx))
    }
}

/// The resource column: the ARN of a layer, as this crate writes it. What is none of the caller's is refused afterwards.
pub(crate) fn layer_resource(cx: &Cx, given: &str) -> Resource {
    Resource::arn(LayerName::parse(cx, given).map_or_else(|_| given.to_owned(), |name| name.arn(cx)))
}

/// The resource column: the ARN of a layer version from its ARN.
pub(crate) fn layer_arn_resource(cx: &Cx, given: &str) -> Resource {
    let named = split_arn(given).and_then(|(layer, version)| Some((LayerName::parse(cx, layer).ok()?, version)));
    Resource::arn(named.map_or_else(|| given.to_owned(), |(name, version)| name.version_arn(cx, version)))
}

/// The resource column: the ARN of a layer version.
pub(crate) fn layer_version_resource(cx: &Cx, given: &str, version: i64) -> Resource {
    let layer = layer_resource(cx, given).0.concat();
    Resource::arn(format!("{layer}:{version}"))
}

/// Splits the ARN of a layer version. A number that is written differently than AWS writes it names no version: policies
/// compare ARNs as text.
pub(crate) fn split_arn(arn: &str) -> Option<(&str, u64)> {
    let (layer, version) = arn.rsplit_once(':')?;
    match Qualifier::of(Some(version)) {
        Qualifier::Number(number) => Some((layer, number)),
        Qualifier::Latest | Qualifier::Alias(_) => None,
    }
}

/// A version's number as the client gave it.
pub(crate) fn number(given: i64) -> Result<u64, LambdaError> {
    match u64::try_from(given) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(LambdaError::invalid("Layer Version Cannot be less than 1.")),
    }
}

/// The layer version's record.
///
/// # Errors
/// `ResourceNotFoundException` when there is none.
pub(crate) async fn existing(tx: &Txn, place: Place<'_>, version: u64) -> Result<LayerRecord, LambdaError> {
    let found = keys::get(tx, &Key::Layer(place, version)).await?;
    let absent = "The resource you requested does not exist.";
    found.ok_or_else(|| LambdaError::ResourceNotFoundException(absent.to_owned()))
}

/// The layers that a function asks for, in its order.
///
/// # Errors
/// `InvalidParameterValueException` when one is not there, or when there are too many or two versions of one.
pub(crate) async fn layers_in_use(lambda: &Lambda, cx: &Cx, arns: &[String]) -> Result<Vec<LayerUse>, LambdaError> {
    if arns.len() > FUNCTION_LAYERS_MAX {
        return Err(LambdaError::invalid(format!("A function takes at most {FUNCTION_LAYERS_MAX} layers.")));
    }
    let mut used: Vec<LayerUse> = Vec::with_capacity(arns.len());
    for arn in arns {
        let absent = || LambdaError::invalid(format!("Layer version {arn} does not exist."));
        let (layer, version) = split_arn(arn).ok_or_else(absent)?;
        let name = LayerName::parse(cx, layer)?;
        let layer = name.arn(cx);
        let same = |other: &&LayerUse| split_arn(&other.arn).is_some_and(|(known, _)| known == layer);
        if let Some(other) = used.iter().find(same) {
            return Err(LambdaError::invalid(format!(
                "Two different versions of the same layer are not allowed to be referenced in the same function. {arn} \
                 and {} are the versions of the same layer.",
                other.arn
            )));
        }
        let place = name.place(cx);
        let found = lambda.kv.read(|tx| async move { keys::get(&tx, &Key::Layer(place, version)).await }).await?;
        let LayerRecord { code, .. } = found.ok_or_else(absent)?;
        used.push(LayerUse { arn: name.version_arn(cx, version), code });
    }
    Ok(used)
}

pub(crate) async fn publish(
    lambda: Lambda,
    cx: Cx,
    input: m::PublishLayerVersionInput,
) -> Result<m::PublishLayerVersionOutput, LambdaError> {
    let name = LayerName::parse(&cx, &input.layer_name)?;
    let content = input.content;
    refuse_unserved(&[("Content.S3ObjectStorageMode", content.s3_object_storage_mode.is_some())])?;
    let object = CodeObject::of_layer(&content);
    let package = lambda.package(&cx, content.zip_file, object, "PublishLayerVersion").await?;
    let texts = |one: &str| one.to_owned();
    let record = LayerRecord {
        code: lambda.store(&cx, package, 0).await?,
        description: input.description.unwrap_or_default(),
        license: input.license_info,
        runtimes: input.compatible_runtimes.iter().flatten().map(|one| texts(one.as_str())).collect(),
        architectures: input.compatible_architectures.iter().flatten().map(|one| texts(one.as_str())).collect(),
        created_ms: lambda.now_ms(),
        policy: PolicyRecord::default(),
    };
    let version = lambda
        .kv
        .transact(|tx| {
            let (lambda, cx, name, record) = (&lambda, &cx, &name, &record);
            async move {
                let place = name.place(cx);
                let counter: VersionCounter = keys::get(&tx, &Key::LayerCounter(place)).await?.unwrap_or_default();
                let version = counter.last + 1;
                account_for(&tx, lambda, cx, |usage| usage.code_bytes += record.code.length).await?;
                keys::set(&tx, &Key::LayerCounter(place), &VersionCounter { last: version });
                keys::set(&tx, &Key::Layer(place, version), record);
                Ok::<_, LambdaError>(version)
            }
        })
        .await?;
    let shown = shown(&lambda, &cx, &name, version, record);
    Ok(m::PublishLayerVersionOutput {
        compatible_architectures: shown.compatible_architectures,
        compatible_runtimes: shown.compatible_runtimes,
        content: shown.content,
        created_date: shown.created_date,
        description: shown.description,
        layer_arn: shown.layer_arn,
        layer_version_arn: shown.layer_version_arn,
        license_info: shown.license_info,
        version: shown.version,
    })
}

fn list<T: std::str::FromStr>(texts: &[String]) -> Option<Vec<T>> {
    let known: Vec<T> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    (!known.is_empty()).then_some(known)
}

fn shown(lambda: &Lambda, cx: &Cx, name: &LayerName, version: u64, record: LayerRecord) -> m::GetLayerVersionResponse {
    m::GetLayerVersionResponse {
        compatible_architectures: list(&record.architectures),
        compatible_runtimes: list(&record.runtimes),
        content: Some(m::LayerVersionContentOutput {
            code_sha256: Some(code_sha256(&record.code)),
            code_size: i64::try_from(record.code.length).ok(),
            location: Some(lambda.package_link(cx, &record.code)),
            ..m::LayerVersionContentOutput::default()
        }),
        created_date: Some(last_modified(record.created_ms)),
        description: Some(record.description),
        layer_arn: Some(name.arn(cx)),
        layer_version_arn: Some(name.version_arn(cx, version)),
        license_info: record.license,
        version: i64::try_from(version).ok(),
    }
}

fn item(cx: &Cx, name: &LayerName, version: u64, record: LayerRecord) -> m::LayerVersionsListItem {
    m::LayerVersionsListItem {
        compatible_architectures: list(&record.architectures),
        compatible_runtimes: list(&record.runtimes),
        created_date: Some(last_modified(record.created_ms)),
        // Lists leave an absent one out, the other answers show it as empty.
        description: Some(record.description).filter(|description| !description.is_empty()),
        layer_version_arn: Some(name.version_arn(cx, version)),
        license_info: record.license,
        version: i64::try_from(version).ok(),
    }
}

async fn found(lambda: &Lambda, cx: &Cx, layer: &str, version: u64) -> Result<m::GetLayerVersionResponse, LambdaError> {
    let name = LayerName::parse(cx, layer)?;
    let place = name.place(cx);
    let record = lambda.kv.read(|tx| async move { existing(&tx, place, version).await }).await?;
    Ok(shown(lambda, cx, &name, version, record))
}

pub(crate) async fn get(
    lambda: Lambda,
    cx: Cx,
    input: m::GetLayerVersionInput,
) -> Result<m::GetLayerVersionOutput, LambdaError> {
    found(&lambda, &cx, &input.layer_name, number(input.version_number)?).await
}

pub(crate) async fn get_by_arn(
    lambda: Lambda,
    cx: Cx,
    input: m::GetLayerVersionByArnInput,
) -> Result<m::GetLayerVersionByArnOutput, LambdaError> {
    match split_arn(&input.arn) {
        Some((layer, version)) => found(&lambda, &cx, layer, version).await,
        None => Err(LambdaError::ResourceNotFoundException("The resource you requested does not exist.".to_owned())),
    }
}

/// Whether a layer version says that it is for what a listing asks about. One that says nothing is for everything.
fn is_compatible(record: &LayerRecord, runtime: Option<m::Runtime>, architecture: Option<m::Architecture>) -> bool {
    let fits = |said: &[String], asked: Option<&str>| asked.is_none_or(|asked| said.iter().any(|one| one == asked));
    let any_architecture = record.architectures.is_empty();
    fits(&record.runtimes, runtime.map(m::Runtime::as_str))
        && (any_architecture || fits(&record.architectures, architecture.map(m::Architecture::as_str)))
}

/// The newest version of a layer that a listing asks for.
async fn newest(
    tx: &Txn,
    place: Place<'_>,
    input: &m::ListLayersInput,
) -> Result<Option<(u64, LayerRecord)>, LambdaError> {
    let versions = keys::layer_versions_of(place);
    let (mut end, mut at_once) = (versions.end, 1);
    loop {
        let options = RangeOptions { limit: at_once, reverse: true, ..RangeOptions::default() };
        let page = tx.range(&versions.begin, &end, options).await?;
        for (key, value) in &page {
            let record: LayerRecord = keys::decode(value)?;
            if is_compatible(&record, input.compatible_runtime, input.compatible_architecture) {
                return Ok(Some((keys::last_number(key)?, record)));
            }
        }
        match page.last() {
            // Mostly the last version fits; where it does not, many may have to be looked at.
            Some((last, _)) if page.len() == at_once => (end, at_once) = (last.clone(), pages::AT_ONCE),
            _ => return Ok(None),
        }
    }
}

pub(crate) async fn list_layers(
    lambda: Lambda,
    cx: Cx,
    input: m::ListLayersInput,
) -> Result<m::ListLayersOutput, LambdaError> {
    let limit = pages::limit(input.max_items, LIST_LAYERS_PAGE_MAX);
    let (cx, input) = (&cx, &input);
    lambda
        .kv
        .read(|tx| async move {
            let range = keys::layers_of(cx.account.as_str(), &cx.region);
            let page = pages::read::<VersionCounter>(&tx, &range, input.marker.as_deref(), limit).await?;
            let mut layers = Vec::new();
            for (key, _) in page.records {
                let name = LayerName(keys::last_text(&key)?);
                if let Some((version, record)) = newest(&tx, name.place(cx), input).await? {
                    layers.push(m::LayersListItem {
                        latest_matching_version: Some(item(cx, &name, version, record)),
                        layer_arn: Some(name.arn(cx)),
                        layer_name: Some(name.0),
                    });
                }
            }
            Ok(m::ListLayersOutput { layers: Some(layers), next_marker: page.next })
        })
        .await
}

/// Versions of one layer, newest first. Numbers fall, so the marker is the number behind which the next page begins.
pub(crate) async fn list_versions(
    lambda: Lambda,
    cx: Cx,
    input: m::ListLayerVersionsInput,
) -> Result<m::ListLayerVersionsOutput, LambdaError> {
    let name = LayerName::parse(&cx, &input.layer_name)?;
    let limit = pages::limit(input.max_items, LIST_LAYERS_PAGE_MAX);
    let range = keys::layer_versions_of(name.place(&cx));
    let end = match &input.marker {
        Some(marker) => {
            let invalid =
                || LambdaError::invalid(format!("The marker {marker:?} is not one that this operation gave."));
            Key::Layer(name.place(&cx), marker.parse().map_err(|_| invalid())?).pack()
        }
        None => range.end.clone(),
    };
    let options = RangeOptions { limit: limit + 1, reverse: true, snapshot: false };
    let (begin, end) = (&range.begin, &end);
    let mut pairs = lambda.kv.read(|tx| async move { tx.range(begin, end, options).await }).await?;
    let more = pairs.len() > limit;
    pairs.truncate(limit);
    let mut layer_versions = Vec::new();
    let mut last = None;
    for (key, value) in pairs {
        let (version, record) = (keys::last_number(&key)?, keys::decode::<LayerRecord>(&value)?);
        last = Some(version);
        if is_compatible(&record, input.compatible_runtime, input.compatible_architecture) {
            layer_versions.push(item(&cx, &name, version, record));
        }
    }
    let next_marker = last.filter(|_| more).map(|version| version.to_string());
    Ok(m::ListLayerVersionsOutput { layer_versions: Some(layer_versions), next_marker })
}

/// A version that is not there is deleted already. Functions that use it keep what they have.
pub(crate) async fn delete(
    lambda: Lambda,
    cx: Cx,
    input: m::DeleteLayerVersionInput,
) -> Result<m::DeleteLayerVersionOutput, LambdaError> {
    let name = LayerName::parse(&cx, &input.layer_name)?;
    let version = number(input.version_number)?;
    lambda
        .kv
        .transact(|tx| {
            let (lambda, cx, name) = (&lambda, &cx, &name);
            async move {
                let key = Key::Layer(name.place(cx), version);
                if let Some(LayerRecord { code, .. }) = keys::get(&tx, &key).await? {
                    account_for(&tx, lambda, cx, |usage| {
                        usage.code_bytes = usage.code_bytes.saturating_sub(code.length);
                    })
                    .await?;
                    tx.clear(key.pack());
                }
                Ok::<_, LambdaError>(())
            }
        })
        .await?;
    Ok(m::DeleteLayerVersionOutput::default())
}
