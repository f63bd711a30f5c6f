//! TagResource, UntagResource, ListTags.

use std::collections::BTreeMap;

use model::lambda as m;
use wire::{Arn, Cx, Resource};

use super::functions::{key, record};
use super::{capacity, settings};
use crate::capacity::CapacityName;
use crate::error::LambdaError;
use crate::keys::{self, Key};
use crate::name::FunctionName;
use crate::state::Lambda;

/// The function that an ARN means; other resources with tags are not served yet.
fn target(cx: &Cx, arn: &str) -> Result<FunctionName, LambdaError> {
    let kind = Arn::parse(arn).map(|arn| arn.resource.split(':').next().unwrap_or_default().to_owned());
    if kind.as_deref() != Some("function") {
        return Err(LambdaError::not_supported(
            "A tag on anything but a function",
            "Give the ARN of a function or of a capacity provider.",
        ));
    }
    let name = FunctionName::parse(cx, arn, None)?;
    match name.qualifier {
        Some(_) => Err(LambdaError::invalid(
            "Tags on function aliases and versions are not supported. Please specify a function ARN.",
        )),
        None => Ok(name),
    }
}

/// The resource column: the function's ARN as this crate writes it. What is no function's is refused afterwards.
pub(crate) fn resource(cx: &Cx, given: &str) -> Resource {
    if capacity_of(cx, given).is_some() {
        return capacity::capacity_resource(cx, given);
    }
    Resource::arn(target(cx, given).map_or_else(|_| given.to_owned(), |name| name.arn(cx)))
}

/// The capacity provider that an ARN means, if it means one.
fn capacity_of(cx: &Cx, arn: &str) -> Option<Result<CapacityName, LambdaError>> {
    let parsed = Arn::parse(arn)?;
    parsed.resource.starts_with("capacity-provider:").then(|| CapacityName::parse(cx, arn))
}

/// Changes the tags of a capacity provider.
async fn retag_capacity(
    lambda: &Lambda,
    cx: &Cx,
    name: &CapacityName,
    change: impl Fn(&mut BTreeMap<String, String>),
) -> Result<(), LambdaError> {
    lambda
        .kv
        .transact(|tx| {
            let change = &change;
            async move {
                let mut record = capacity::record(&tx, cx, name).await?;
                change(&mut record.tags);
                record.tags = settings::tags(Some(record.tags))?;
                keys::set(&tx, &Key::Capacity(name.place(cx)), &record);
                Ok::<_, LambdaError>(())
            }
        })
        .await
}

pub(crate) async fn tag(
    lambda: Lambda,
    cx: Cx,
    input: m::TagResourceInput,
) -> Result<m::TagResourceOutput, LambdaError> {
    if let Some(name) = capacity_of(&cx, &input.resource) {
        let added = settings::tags(Some(input.tags))?;
        retag_capacity(&lambda, &cx, &name?, |tags| tags.extend(added.clone())).await?;
        return Ok(m::TagResourceOutput::default());
    }
    let name = target(&cx, &input.resource)?;
    let added = settings::tags(Some(input.tags))?;
    lambda
        .kv
        .transact(|tx| {
            let (cx, name, added) = (&cx, &name, &added);
            async move {
                let mut record = record(&tx, cx, name).await?;
                record.tags.extend(added.clone());
                record.tags = settings::tags(Some(record.tags))?;
                keys::set(&tx, &key(cx, name), &record);
                Ok::<_, LambdaError>(())
            }
        })
        .await?;
    Ok(m::TagResourceOutput::default())
}

pub(crate) async fn untag(
    lambda: Lambda,
    cx: Cx,
    input: m::UntagResourceInput,
) -> Result<m::UntagResourceOutput, LambdaError> {
    if let Some(name) = capacity_of(&cx, &input.resource) {
        retag_capacity(&lambda, &cx, &name?, |tags| tags.retain(|tag, _| !input.tag_keys.contains(tag))).await?;
        return Ok(m::UntagResourceOutput::default());
    }
    let name = target(&cx, &input.resource)?;
    lambda
        .kv
        .transact(|tx| {
            let (cx, name, removed) = (&cx, &name, &input.tag_keys);
            async move {
                let mut record = record(&tx, cx, name).await?;
                record.tags.retain(|tag, _| !removed.contains(tag));
                keys::set(&tx, &key(cx, name), &record);
                Ok::<_, LambdaError>(())
            }
        })
        .await?;
    Ok(m::UntagResourceOutput::default())
}

pub(crate) async fn list(lambda: Lambda, cx: Cx, input: m::ListTagsInput) -> Result<m::ListTagsOutput, LambdaError> {
    if let Some(name) = capacity_of(&cx, &input.resource) {
        let name = name?;
        let record = lambda.kv.read(|tx| async { capacity::record(&{ tx }, &cx, &name).await }).await?;
        return Ok(m::ListTagsOutput { tags: Some(record.tags) });
    }
    let name = target(&cx, &input.resource)?;
    let (cx, name) = (&cx, &name);
    let record = lambda.kv.read(|tx| async move { record(&tx, cx, name).await }).await?;
    Ok(m::ListTagsOutput { tags: Some(record.tags) })
}
