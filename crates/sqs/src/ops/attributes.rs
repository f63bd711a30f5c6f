//! Attributes of queues.

use model::sqs as m;
use wire::Cx;

use crate::name::QueueName;
use crate::settings::{self, COMPUTED, Texts};
use crate::{Sqs, SqsError};

pub(crate) async fn get(
    sqs: Sqs,
    cx: Cx,
    input: m::GetQueueAttributesInput,
) -> Result<m::GetQueueAttributesOutput, SqsError> {
    let queue = QueueName::of_url(&cx, &input.queue_url)?;
    let live = sqs.live(&queue).await?;
    let names = input.attribute_names.unwrap_or_default();
    if let Some(unknown) = names.iter().find(|name| *name != "All" && !settings::is_known(name)) {
        return Err(SqsError::InvalidAttributeName(unknown.clone()));
    }
    let asked = |name: &str| names.iter().any(|asked| asked == "All" || asked == name);
    let loaded = live.loaded();
    let mut all = settings::in_force(&queue, &loaded.record.attributes);
    all.insert("QueueArn".to_owned(), queue.arn());
    all.insert("CreatedTimestamp".to_owned(), loaded.record.created_s.to_string());
    all.insert("LastModifiedTimestamp".to_owned(), loaded.record.modified_s.to_string());
    if COMPUTED.iter().any(|name| name.starts_with("Approximate") && asked(name)) {
        let counts = sqs.counts(&live).await?;
        all.insert("ApproximateNumberOfMessages".to_owned(), counts.visible.to_string());
        all.insert("ApproximateNumberOfMessagesNotVisible".to_owned(), counts.in_flight.to_string());
        all.insert("ApproximateNumberOfMessagesDelayed".to_owned(), counts.delayed.to_string());
    }
    all.retain(|name, _| asked(name));
    Ok(m::GetQueueAttributesOutput { attributes: (!all.is_empty()).then_some(all) })
}

pub(crate) async fn set(
    sqs: Sqs,
    cx: Cx,
    input: m::SetQueueAttributesInput,
) -> Result<m::SetQueueAttributesOutput, SqsError> {
    let queue = QueueName::of_url(&cx, &input.queue_url)?;
    let live = sqs.live(&queue).await?;
    let given = settings::trimmed(input.attributes);
    if given.is_empty() {
        return Err(SqsError::MissingParameter("Attribute.Name"));
    }
    let checked = settings::check(&queue, queue.is_fifo(), &given, &sqs.0.check_policy)?;
    if let Some(Some(fifo)) = checked.get("FifoQueue") {
        // A queue keeps its type for life; naming it again changes nothing.
        if !queue.is_fifo() {
            return Err(SqsError::InvalidAttributeName("FifoQueue".to_owned()));
        }
        if fifo != "true" {
            return Err(SqsError::attribute("FifoQueue"));
        }
    }
    check_throughput(&live.loaded().record.attributes, &given)?;
    sqs.check_redrive_target(&queue, checked.get("RedrivePolicy").and_then(Option::as_ref)).await?;
    let edited = sqs.edit(&queue, |record| {
        for (name, text) in &checked {
            match text {
                Some(text) => record.attributes.insert(name.clone(), text.clone()),
                None => record.attributes.remove(name),
            };
        }
        // One kind of encryption at a time: the newer wish wins.
        if checked.get("SqsManagedSseEnabled").is_some_and(|text| text.as_deref() == Some("true")) {
            record.attributes.remove("KmsMasterKeyId");
        }
        Ok(())
    });
    edited.await?;
    Ok(m::SetQueueAttributesOutput {})
}

/// The throughput limit per group needs deduplication per group, also when only one of the two is set now.
fn check_throughput(there: &Texts, given: &Texts) -> Result<(), SqsError> {
    let after = |name: &str| given.get(name).or_else(|| there.get(name)).map(String::as_str);
    let per_group = after("FifoThroughputLimit") == Some("perMessageGroupId");
    match per_group && after("DeduplicationScope") != Some("messageGroup") {
        true => Err(SqsError::InvalidAttributeValue(
            "The perMessageGroupId value for FifoThroughputLimit is allowed only when the value for \
             DeduplicationScope is messageGroup."
                .to_owned(),
        )),
        false => Ok(()),
    }
}
