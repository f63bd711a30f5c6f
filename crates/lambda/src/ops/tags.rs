//! TagResource, UntagResource, ListTags.

use std::collections::BTreeMap;

use kv::Txn;
use model::lambda as m;
use wire::{Arn, Cx, Resource};

use super::functions::{key, record};
use super::settings;
use super::{capacity, code_signing};
use crate::capacity::CapacityName;
use crate::code_signing::ConfigId;
use crate::error::LambdaError;
use crate::keys::{self, Key};
use crate::name::FunctionName;
use crate::state::Lambda;

/// What carries tags.
enum Tagged {
    Function(FunctionName),
    CodeSigning(ConfigId),
    Capacity(CapacityName),
}

/// What an ARN means; other resources with tags are not served yet.
fn target(cx: &Cx, arn: &str) -> Result<Tagged, LambdaError> {
    let kind = Arn::parse(arn).map(|arn| arn.resource.split(':').next().unwrap_or_default().to_owned());
    match kind.as_deref() {
        Some("function") => {}
        Some("code-signing-config") => return code_signing::target(cx, arn).map(Tagged::CodeSigning),
        Some("capacity-provider") => return CapacityName::parse(cx, arn).map(Tagged::Capacity),
        _ => {
            return Err(LambdaError::not_supported(
                "A tag on anything but a function, a code signing configuration or a capacity provider",
                "Give the ARN of one of them.",
            ));
        }
    }
    let name = FunctionName::parse(cx, arn, None)?;
    match name.qualifier {
        Some(_) => Err(LambdaError::invalid(
            "Tags on function aliases and versions are not supported. Please specify a function ARN.",
        )),
        None => Ok(Tagged::Function(name)),
    }
}

/// The resource column: the ARN as this crate writes it. What is none of the caller's is refused afterwards.
pub(crate) fn resource(cx: &Cx, given: &str) -> Resource {
    Resource::arn(match target(cx, given) {
        Ok(Tagged::Function(name)) => name.arn(cx),
        Ok(Tagged::CodeSigning(id)) => id.arn(cx),
        Ok(Tagged::Capacity(name)) => name.arn(cx),
        Err(_) => given.to_owned(),
    })
}

async fn tags_of(tx: &Txn, cx: &Cx, target: &Tagged) -> Result<Tags, LambdaError> {
    match target {
        Tagged::Function(name) => Ok(record(tx, cx, name).await?.tags),
        Tagged::CodeSigning(id) => Ok(code_signing::existing(tx, cx, id).await?.tags),
        Tagged::Capacity(name) => Ok(capacity::record(tx, cx, name).await?.tags),
    }
}

type Tags = BTreeMap<String, String>;

async fn change(
    lambda: &Lambda,
    cx: &Cx,
    target: &Tagged,
    next: impl Fn(Tags) -> Result<Tags, LambdaError>,
) -> Result<(), LambdaError> {
    lambda
        .kv
        .transact(|tx| {
            let next = &next;
            async move {
                match target {
                    Tagged::Function(name) => {
                        let mut record = record(&tx, cx, name).await?;
                        record.tags = next(record.tags)?;
                        keys::set(&tx, &key(cx, name), &record);
                    }
                    Tagged::CodeSigning(id) => {
                        let mut record = code_signing::existing(&tx, cx, id).await?;
                        record.tags = next(record.tags)?;
                        keys::set(&tx, &Key::CodeSigning(id.place(cx)), &record);
                    }
                    Tagged::Capacity(name) => {
                        let mut record = capacity::record(&tx, cx, name).await?;
                        record.tags = next(record.tags)?;
                        keys::set(&tx, &Key::Capacity(name.place(cx)), &record);
                    }
                }
                Ok(())
            }
        })
        .await
}

pub(crate) async fn tag(
    lambda: Lambda,
    cx: Cx,
    input: m::TagResourceInput,
) -> Result<m::TagResourceOutput, LambdaError> {
    let target = target(&cx, &input.resource)?;
    let added = settings::tags(Some(input.tags))?;
    change(&lambda, &cx, &target, |mut tags| {
        tags.extend(added.clone());
        settings::tags(Some(tags))
    })
    .await?;
    Ok(m::TagResourceOutput::default())
}

pub(crate) async fn untag(
    lambda: Lambda,
    cx: Cx,
    input: m::UntagResourceInput,
) -> Result<m::UntagResourceOutput, LambdaError> {
    let target = target(&cx, &input.resource)?;
    change(&lambda, &cx, &target, |mut tags| {
        tags.retain(|tag, _| !input.tag_keys.contains(tag));
        Ok(tags)
    })
    .await?;
    Ok(m::UntagResourceOutput::default())
}

pub(crate) async fn list(lambda: Lambda, cx: Cx, input: m::ListTagsInput) -> Result<m::ListTagsOutput, LambdaError> {
    let target = target(&cx, &input.resource)?;
    let (cx, target) = (&cx, &target);
    let tags = lambda.kv.read(|tx| async move { tags_of(&tx, cx, target).await }).await?;
    Ok(m::ListTagsOutput { tags: Some(tags) })
}
