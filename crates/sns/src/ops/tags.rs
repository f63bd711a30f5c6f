//! Tags of topics.

use std::collections::BTreeMap;

use model::sns as m;
use wire::Cx;

use crate::limits::TAGS_MAX;
use crate::{Sns, SnsError, TopicName};

/// Tags as they are stored.
///
/// # Errors
/// `InvalidParameter` for a key given twice or reserved, `TagLimitExceeded`.
pub(crate) fn map(given: &[m::Tag]) -> Result<BTreeMap<String, String>, SnsError> {
    let mut tags = BTreeMap::new();
    for m::Tag { key, value } in given {
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(SnsError::invalid("Tags Reason: Tag keys that start with aws: are reserved."));
        }
        if tags.insert(key.clone(), value.clone()).is_some() {
            return Err(SnsError::invalid("Duplicated keys are not allowed."));
        }
    }
    if tags.len() > TAGS_MAX { Err(SnsError::TagLimitExceeded) } else { Ok(tags) }
}

fn absent(error: SnsError) -> SnsError {
    match error {
        SnsError::NotFound(_) => SnsError::ResourceNotFound,
        other => other,
    }
}

pub(crate) async fn tag(sns: Sns, cx: Cx, input: m::TagResourceInput) -> Result<m::TagResourceOutput, SnsError> {
    let name = TopicName::of(&cx, "ResourceArn", &input.resource_arn)?;
    let given = map(&input.tags)?;
    let edited = sns.edit(&name, |topic| {
        topic.tags.extend(given.clone());
        if topic.tags.len() > TAGS_MAX { Err(SnsError::TagLimitExceeded) } else { Ok(()) }
    });
    edited.await.map_err(absent)?;
    Ok(m::TagResourceOutput {})
}

pub(crate) async fn untag(sns: Sns, cx: Cx, input: m::UntagResourceInput) -> Result<m::UntagResourceOutput, SnsError> {
    let name = TopicName::of(&cx, "ResourceArn", &input.resource_arn)?;
    let edited = sns.edit(&name, |topic| {
        topic.tags.retain(|key, _| !input.tag_keys.contains(key));
        Ok(())
    });
    edited.await.map_err(absent)?;
    Ok(m::UntagResourceOutput {})
}

pub(crate) async fn list(
    sns: Sns,
    cx: Cx,
    input: m::ListTagsForResourceInput,
) -> Result<m::ListTagsForResourceOutput, SnsError> {
    let name = TopicName::of(&cx, "ResourceArn", &input.resource_arn)?;
    let topic = sns.topic(&name).await.map_err(absent)?;
    let tags = topic.tags.into_iter().map(|(key, value)| m::Tag { key, value });
    Ok(m::ListTagsForResourceOutput { tags: Some(tags.collect()) })
}
