//! CreateAlias, GetAlias, UpdateAlias, DeleteAlias, ListAliases.

use std::collections::BTreeMap;

use kv::Txn;
use model::lambda as m;
use wire::Cx;

use super::functions::record;
use crate::LATEST;
use crate::error::LambdaError;
use crate::keys::{self, AliasRecord, Key};
use crate::limits::LIST_FUNCTIONS_PAGE_MAX;
use crate::name::FunctionName;
use crate::pages;
use crate::qualifier::version_record;
use crate::state::Lambda;

fn shown(cx: &Cx, name: &FunctionName, alias: &str, record: AliasRecord) -> m::AliasConfiguration {
    let weights = Some(record.weights).filter(|weights| !weights.is_empty());
    m::AliasConfiguration {
        alias_arn: Some(name.at(alias).qualified_arn(cx)),
        description: Some(record.description),
        function_version: Some(record.version),
        name: Some(alias.to_owned()),
        revision_id: Some(record.revision_id),
        routing_config: weights
            .map(|weights| m::AliasRoutingConfiguration { additional_version_weights: Some(weights) }),
    }
}

/// The function of an alias. A qualifier in its name must be the alias: it is what authorisation was asked about.
fn target(cx: &Cx, given: &str, alias: &str) -> Result<FunctionName, LambdaError> {
    Ok(FunctionName::parse(cx, given, Some(alias))?.unqualified())
}

async fn existing(tx: &Txn, cx: &Cx, name: &FunctionName, alias: &str) -> Result<AliasRecord, LambdaError> {
    let found = keys::get(tx, &Key::Alias(name.place(cx), alias)).await?;
    found.ok_or_else(|| {
        let arn = name.at(alias).qualified_arn(cx);
        LambdaError::ResourceNotFoundException(format!("Cannot find alias arn: {arn}"))
    })
}

/// Fails when a version is not there, or when the weights are not what they must be.
async fn check_versions(tx: &Txn, cx: &Cx, name: &FunctionName, alias: &AliasRecord) -> Result<(), LambdaError> {
    version_record(tx, cx, &name.at(&alias.version), &alias.version).await?;
    if alias.weights.len() > 1 {
        return Err(LambdaError::invalid("Number of items in AdditionalVersionWeights cannot be greater than 1."));
    }
    for (version, weight) in &alias.weights {
        if alias.version == LATEST || version == LATEST {
            return Err(LambdaError::invalid("$LATEST is not supported for an alias pointing to more than 1 version"));
        }
        if *version == alias.version {
            return Err(LambdaError::invalid(format!(
                "Invalid function version {version}. Function version {version} is already included in routing \
                 configuration."
            )));
        }
        if !(0.0..=1.0).contains(weight) {
            return Err(LambdaError::ValidationException(format!(
                "1 validation error detected: Value '{{{version}={weight}}}' at \
                 'routingConfig.additionalVersionWeights' failed to satisfy constraint: Map value must satisfy \
                 constraint: [Member must have value less than or equal to 1.0, Member must have value greater than or \
                 equal to 0.0]"
            )));
        }
        version_record(tx, cx, &name.at(version), version).await?;
    }
    Ok(())
}

fn weights(given: Option<m::AliasRoutingConfiguration>) -> BTreeMap<String, f64> {
    given.and_then(|routing| routing.additional_version_weights).unwrap_or_default()
}

pub(crate) async fn create(
    lambda: Lambda,
    cx: Cx,
    input: m::CreateAliasInput,
) -> Result<m::CreateAliasOutput, LambdaError> {
    let name = target(&cx, &input.function_name, &input.name)?;
    let alias = AliasRecord {
        version: input.function_version,
        description: input.description.unwrap_or_default(),
        weights: weights(input.routing_config),
        revision_id: sys::id::uuid(&lambda.rng),
    };
    lambda
        .kv
        .transact(|tx| {
            let (cx, name, alias, alias_name) = (&cx, &name, &alias, &input.name);
            async move {
                record(&tx, cx, name).await?;
                check_versions(&tx, cx, name, alias).await?;
                let key = Key::Alias(name.place(cx), alias_name);
                if keys::get::<AliasRecord>(&tx, &key).await?.is_some() {
                    let arn = name.at(alias_name).qualified_arn(cx);
                    return Err(LambdaError::ResourceConflictException(format!("Alias already exists: {arn}")));
                }
                keys::set(&tx, &key, alias);
                Ok(())
            }
        })
        .await?;
    Ok(shown(&cx, &name, &input.name, alias))
}

pub(crate) async fn get(lambda: Lambda, cx: Cx, input: m::GetAliasInput) -> Result<m::GetAliasOutput, LambdaError> {
    let name = target(&cx, &input.function_name, &input.name)?;
    let (cx, name, alias) = (&cx, &name, &input.name);
    let found = lambda.kv.read(|tx| async move { existing(&tx, cx, name, alias).await }).await?;
    Ok(shown(cx, name, alias, found))
}

pub(crate) async fn update(
    lambda: Lambda,
    cx: Cx,
    input: m::UpdateAliasInput,
) -> Result<m::UpdateAliasOutput, LambdaError> {
    let name = target(&cx, &input.function_name, &input.name)?;
    let new_revision = sys::id::uuid(&lambda.rng);
    let changed = lambda
        .kv
        .transact(|tx| {
            let (cx, name, input, new_revision) = (&cx, &name, &input, &new_revision);
            async move {
                let mut alias = existing(&tx, cx, name, &input.name).await?;
                if input.revision_id.as_ref().is_some_and(|expected| *expected != alias.revision_id) {
                    return Err(LambdaError::PreconditionFailedException);
                }
                if let Some(version) = &input.function_version {
                    alias.version.clone_from(version);
                }
                if let Some(description) = &input.description {
                    alias.description.clone_from(description);
                }
                if let Some(routing) = input.routing_config.clone() {
                    alias.weights = weights(Some(routing));
                }
                alias.revision_id.clone_from(new_revision);
                check_versions(&tx, cx, name, &alias).await?;
                keys::set(&tx, &Key::Alias(name.place(cx), &input.name), &alias);
                Ok(alias)
            }
        })
        .await?;
    lambda.provision(&cx, &name).await?;
    Ok(shown(&cx, &name, &input.name, changed))
}

/// An alias that is not there is deleted already; its function must be.
pub(crate) async fn delete(
    lambda: Lambda,
    cx: Cx,
    input: m::DeleteAliasInput,
) -> Result<m::DeleteAliasOutput, LambdaError> {
    let name = target(&cx, &input.function_name, &input.name)?;
    lambda
        .kv
        .transact(|tx| {
            let (cx, name, alias) = (&cx, &name, &input.name);
            async move {
                record(&tx, cx, name).await?;
                let place = name.place(cx);
                let url = Key::Url(place, Some(alias));
                if let Some(keys::UrlRecord { id, .. }) = keys::get(&tx, &url).await? {
                    tx.clear(Key::UrlOwner { id: &id }.pack());
                }
                tx.clear(Key::Alias(place, alias).pack());
                for key in keys::belongings_of_qualifier(place, alias) {
                    tx.clear(key.pack());
                }
                Ok::<_, LambdaError>(())
            }
        })
        .await?;
    lambda.provision(&cx, &name).await?;
    Ok(m::DeleteAliasOutput::default())
}

pub(crate) async fn list(
    lambda: Lambda,
    cx: Cx,
    input: m::ListAliasesInput,
) -> Result<m::ListAliasesOutput, LambdaError> {
    let name = FunctionName::parse(&cx, &input.function_name, None)?.unqualified();
    let limit = pages::limit(input.max_items, LIST_FUNCTIONS_PAGE_MAX);
    let (cx, name, marker) = (&cx, &name, input.marker.as_deref());
    let page = lambda
        .kv
        .read(|tx| async move {
            record(&tx, cx, name).await?;
            pages::read::<AliasRecord>(&tx, &keys::aliases_of(name.place(cx)), marker, limit).await
        })
        .await?;
    let mut aliases = Vec::with_capacity(page.records.len());
    for (key, record) in page.records {
        let points = |version: &String| record.version == *version || record.weights.contains_key(version);
        if input.function_version.as_ref().is_none_or(points) {
            aliases.push(shown(cx, name, &keys::last_text(&key)?, record));
        }
    }
    Ok(m::ListAliasesOutput { aliases: Some(aliases), next_marker: page.next })
}
