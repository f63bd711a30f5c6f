//! TagResource, UntagResource, ListTags.

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
use crate::mapping_tags::{MappingName, MappingTags, TagChange, Tags};
use crate::name::FunctionName;
use crate::state::Lambda;

/// What carries tags.
enum Target {
    Own(Tagged),
    /// Another crate's.
    Mapping(MappingName),
}

/// Whose tags are in this crate's records.
enum Tagged {
    Function(FunctionName),
    CodeSigning(ConfigId),
    Capacity(CapacityName),
}

/// What an ARN means.
fn target(cx: &Cx, arn: &str) -> Result<Target, LambdaError> {
    let kind = Arn::parse(arn).map(|arn| arn.resource.split(':').next().unwrap_or_default().to_owned());
    match kind.as_deref() {
        Some("function") => {}
        Some("code-signing-config") => {
            return code_signing::target(cx, arn).map(|id| Target::Own(Tagged::CodeSigning(id)));
        }
        Some("capacity-provider") => {
            return CapacityName::parse(cx, arn).map(|name| Target::Own(Tagged::Capacity(name)));
        }
        Some("event-source-mapping") => return MappingName::parse(cx, arn).map(Target::Mapping),
        _ => {
            return Err(LambdaError::not_supported(
                "A tag on anything but a function, a code signing configuration, a capacity provider or an event source \
                 mapping",
                "Give the ARN of one of them.",
            ));
        }
    }
    let name = FunctionName::parse(cx, arn, None)?;
    match name.qualifier {
        Some(_) => Err(LambdaError::invalid(
            "Tags on function aliases and versions are not supported. Please specify a function ARN.",
        )),
        None => Ok(Target::Own(Tagged::Function(name))),
    }
}

/// The resource column: the ARN as this crate writes it. What is none of the caller's is refused afterwards.
pub(crate) fn resource(cx: &Cx, given: &str) -> Resource {
    Resource::arn(match target(cx, given) {
        Ok(Target::Own(Tagged::Function(name))) => name.arn(cx),
        Ok(Target::Own(Tagged::CodeSigning(id))) => id.arn(cx),
        Ok(Target::Own(Tagged::Capacity(name))) => name.arn(cx),
        Ok(Target::Mapping(name)) => name.arn(),
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

fn mappings(lambda: &Lambda) -> Result<&dyn MappingTags, LambdaError> {
    let mappings = lambda.mapping_tags.get().map(|mappings| &**mappings);
    mappings.ok_or_else(|| LambdaError::not_supported("A tag on an event source mapping", "This server has none."))
}

async fn change(lambda: &Lambda, cx: &Cx, arn: &str, change: TagChange) -> Result<(), LambdaError> {
    let target = &match target(cx, arn)? {
        Target::Own(target) => target,
        Target::Mapping(name) => return mappings(lambda)?.change(name, change).await,
    };
    lambda
        .kv
        .transact(|tx| {
            let change = &change;
            async move {
                match target {
                    Tagged::Function(name) => {
                        let mut record = record(&tx, cx, name).await?;
                        record.tags = change.of(record.tags)?;
                        keys::set(&tx, &key(cx, name), &record);
                    }
                    Tagged::CodeSigning(id) => {
                        let mut record = code_signing::existing(&tx, cx, id).await?;
                        record.tags = change.of(record.tags)?;
                        keys::set(&tx, &Key::CodeSigning(id.place(cx)), &record);
                    }
                    Tagged::Capacity(name) => {
                        let mut record = capacity::record(&tx, cx, name).await?;
                        record.tags = change.of(record.tags)?;
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
    let added = settings::tags(Some(input.tags))?;
    change(&lambda, &cx, &input.resource, TagChange::Add(added)).await?;
    Ok(m::TagResourceOutput::default())
}

pub(crate) async fn untag(
    lambda: Lambda,
    cx: Cx,
    input: m::UntagResourceInput,
) -> Result<m::UntagResourceOutput, LambdaError> {
    change(&lambda, &cx, &input.resource, TagChange::Remove(input.tag_keys)).await?;
    Ok(m::UntagResourceOutput::default())
}

pub(crate) async fn list(lambda: Lambda, cx: Cx, input: m::ListTagsInput) -> Result<m::ListTagsOutput, LambdaError> {
    let (cx, target) = (&cx, &target(&cx, &input.resource)?);
    let tags = match target {
        Target::Own(target) => lambda.kv.read(|tx| async move { tags_of(&tx, cx, target).await }).await?,
        Target::Mapping(name) => mappings(&lambda)?.tags(name.clone()).await?,
    };
    Ok(m::ListTagsOutput { tags: Some(tags) })
}
