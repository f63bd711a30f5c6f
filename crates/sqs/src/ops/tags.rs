//! Tags of queues.

use model::sqs as m;
use wire::Cx;

use crate::limits::{TAG_KEY_CHARACTERS_MAX, TAG_VALUE_CHARACTERS_MAX, TAGS_MAX};
use crate::name::QueueName;
use crate::settings::Texts;
use crate::{Sqs, SqsError};

/// `tags` with `added` over them.
pub(crate) fn checked(queue: &QueueName, mut tags: Texts, added: Texts) -> Result<Texts, SqsError> {
    for (key, value) in &added {
        check_key(key)?;
        if value.chars().count() > TAG_VALUE_CHARACTERS_MAX {
            return Err(SqsError::invalid("Tag values must be between 0 and 256 characters in length."));
        }
    }
    tags.extend(added);
    match tags.len() <= TAGS_MAX {
        true => Ok(tags),
        false => Err(SqsError::invalid(format!("Too many tags added for queue {}.", queue.name))),
    }
}

fn check_key(key: &str) -> Result<(), SqsError> {
    match (1..=TAG_KEY_CHARACTERS_MAX).contains(&key.chars().count()) {
        true if key.to_ascii_lowercase().starts_with("aws:") => {
            Err(SqsError::invalid("Tag keys must not start with the reserved prefix aws:."))
        }
        true => Ok(()),
        false => Err(SqsError::invalid("Tag keys must be between 1 and 128 characters in length.")),
    }
}

pub(crate) async fn tag(sqs: Sqs, cx: Cx, input: m::TagQueueInput) -> Result<m::TagQueueOutput, SqsError> {
    let queue = QueueName::of_url(&cx, &input.queue_url)?;
    sqs.live(&queue).await?;
    if input.tags.is_empty() {
        return Err(SqsError::MissingParameter("Tags"));
    }
    let edited = sqs.edit(&queue, |record| {
        record.tags = checked(&queue, record.tags.clone(), input.tags.clone())?;
        Ok(())
    });
    edited.await?;
    Ok(m::TagQueueOutput {})
}

pub(crate) async fn untag(sqs: Sqs, cx: Cx, input: m::UntagQueueInput) -> Result<m::UntagQueueOutput, SqsError> {
    let queue = QueueName::of_url(&cx, &input.queue_url)?;
    sqs.live(&queue).await?;
    if input.tag_keys.is_empty() {
        return Err(SqsError::invalid("Tag keys must be between 1 and 128 characters in length."));
    }
    let edited = sqs.edit(&queue, |record| {
        record.tags.retain(|key, _| !input.tag_keys.contains(key));
        Ok(())
    });
    edited.await?;
    Ok(m::UntagQueueOutput {})
}

pub(crate) async fn list(sqs: Sqs, cx: Cx, input: m::ListQueueTagsInput) -> Result<m::ListQueueTagsOutput, SqsError> {
    let live = sqs.live(&QueueName::of_url(&cx, &input.queue_url)?).await?;
    let tags = live.loaded().record.tags.clone();
    Ok(m::ListQueueTagsOutput { tags: (!tags.is_empty()).then_some(tags) })
}
