//! Topics: made, deleted, listed.

use std::collections::BTreeMap;

use model::sns as m;
use wire::Cx;

use crate::keys::{self, Key, Topic};
use crate::limits::TOPIC_NAME_CHARACTERS_MAX;
use crate::ops::{tags, topic_attributes};
use crate::{Sns, SnsError, TopicName};

pub(crate) async fn create(sns: Sns, cx: Cx, input: m::CreateTopicInput) -> Result<m::CreateTopicOutput, SnsError> {
    let mut attributes = input.attributes.unwrap_or_default();
    let is_fifo = match attributes.get("FifoTopic").map(|value| value.to_ascii_lowercase()).as_deref() {
        Some("true") => true,
        // AWS does not keep that a topic is none.
        Some("false") => {
            attributes.remove("FifoTopic");
            false
        }
        None => false,
        Some(_) => {
            return Err(SnsError::invalid("Attributes Reason: FifoTopic: Invalid value. Must be true or false."));
        }
    };
    check_name(&input.name, is_fifo)?;
    let name = TopicName::own(&cx, &input.name);
    for (attribute, value) in &mut attributes {
        *value = topic_attributes::checked(&sns, &name, attribute, value, "Attributes Reason: ")?;
    }
    let tags = tags::map(&input.tags.unwrap_or_default())?;
    let protection = input.data_protection_policy;
    if let Some(policy) = &protection {
        crate::ops::protection::check(policy)?;
    }
    let born = sys::id::hex::<16>(&sns.0.rng);
    let fresh = Topic { born, attributes, tags, protection, ..Topic::default() };
    let (key, given) = (Key::Topic(name.clone()), &fresh);
    sns.0
        .kv
        .transact(|tx| {
            let key = key.clone();
            async move {
                match keys::get::<Topic>(&tx, &key).await? {
                    Some(found) => check_same(&found, given),
                    None => keys::put(&tx, &key, given),
                }
            }
        })
        .await?;
    Ok(m::CreateTopicOutput { topic_arn: Some(name.arn()) })
}

/// Making a topic again is fine as long as nothing else is asked of it.
fn check_same(found: &Topic, given: &Topic) -> Result<(), SnsError> {
    let differs = |had: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>| {
        wanted.iter().any(|(name, value)| had.get(name) != Some(value))
    };
    if differs(&found.attributes, &given.attributes) {
        return Err(SnsError::invalid("Attributes Reason: Topic already exists with different attributes"));
    }
    if differs(&found.tags, &given.tags) {
        return Err(SnsError::invalid("Tags Reason: Topic already exists with different tags"));
    }
    Ok(())
}

fn check_name(name: &str, is_fifo: bool) -> Result<(), SnsError> {
    let stem = if is_fifo { name.strip_suffix(".fifo") } else { Some(name) };
    let letters = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let good = stem.is_some_and(|stem| !stem.is_empty() && letters(stem)) && name.len() <= TOPIC_NAME_CHARACTERS_MAX;
    if good { Ok(()) } else { Err(SnsError::invalid("Topic Name")) }
}

pub(crate) async fn delete(sns: Sns, cx: Cx, input: m::DeleteTopicInput) -> Result<m::DeleteTopicOutput, SnsError> {
    let name = TopicName::of(&cx, "TopicArn", &input.topic_arn)?;
    sns.delete_topic(&name).await?;
    Ok(m::DeleteTopicOutput {})
}

pub(crate) async fn list(sns: Sns, cx: Cx, input: m::ListTopicsInput) -> Result<m::ListTopicsOutput, SnsError> {
    let range = keys::topics(cx.account.as_str(), &cx.region);
    let page = sns.page(range, input.next_token.as_deref(), |key, _| match key {
        Key::Topic(name) => Ok(m::Topic { topic_arn: Some(name.arn()) }),
        _ => Err(SnsError::InternalError("a key in the range of topics is none".to_owned())),
    });
    let page = page.await?;
    Ok(m::ListTopicsOutput { next_token: page.next, topics: Some(page.items) })
}
