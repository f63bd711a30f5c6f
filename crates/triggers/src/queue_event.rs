//! The event that a function gets from a queue.
//!
//! Source: Lambda developer guide, "Using Lambda with Amazon SQS", "Example standard queue message event" and
//! "Example FIFO queue message event".

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sqs::{Attribute, AttributeValue, QueueName, Received};

/// One record.
pub(crate) fn record(queue: &QueueName, message: &Received) -> Value {
    let mut attributes = Map::new();
    let mut put = |name: &str, value: String| attributes.insert(name.to_owned(), Value::String(value));
    put("ApproximateReceiveCount", message.receives.to_string());
    if let Some(trace) = &message.trace {
        put("AWSTraceHeader", trace.clone());
    }
    put("SentTimestamp", message.sent_ms.to_string());
    if let Some(number) = &message.sequence_number {
        put("SequenceNumber", number.clone());
    }
    if let Some(group) = &message.group {
        put("MessageGroupId", group.clone());
    }
    put("SenderId", message.sender.clone());
    if let Some(id) = &message.deduplication {
        put("MessageDeduplicationId", id.clone());
    }
    put("ApproximateFirstReceiveTimestamp", message.first_received_ms.to_string());
    if let Some(source) = &message.source {
        put("DeadLetterQueueSourceArn", source.clone());
    }
    let of = message.attributes.iter().map(|(name, attribute)| (name.clone(), message_attribute(attribute)));
    json!({
        "messageId": message.id,
        "receiptHandle": message.receipt,
        "body": message.body,
        "attributes": attributes,
        "messageAttributes": Value::Object(of.collect()),
        "md5OfBody": message.body_md5,
        "eventSource": "aws:sqs",
        "eventSourceARN": queue.arn(),
        "awsRegion": queue.region,
    })
}

fn message_attribute(attribute: &Attribute) -> Value {
    let mut value = json!({
        "stringListValues": [],
        "binaryListValues": [],
        "dataType": attribute.data_type,
    });
    match &attribute.value {
        AttributeValue::Text(text) => value["stringValue"] = Value::String(text.clone()),
        AttributeValue::Bytes(bytes) => value["binaryValue"] = Value::String(STANDARD.encode(bytes)),
    }
    value
}

/// The event of `records`.
pub(crate) fn event(records: &[&Value]) -> String {
    json!({ "Records": records }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_the_form_of_the_developer_guide() {
        let queue = QueueName::of_arn("arn:aws:sqs:us-east-2:123456789012:my-queue").unwrap();
        let attribute = |value| Attribute { data_type: "String".to_owned(), value };
        let message = Received {
            id: "059f36b4-87a3-44ab-83d2-661975830a7d".to_owned(),
            body: "Test message.".to_owned(),
            body_md5: "e4e68fb7bd0e697a0ae8f1bb342846b3".to_owned(),
            attributes: [
                ("a".to_owned(), attribute(AttributeValue::Text("x".to_owned()))),
                ("b".to_owned(), attribute(AttributeValue::Bytes(bytes::Bytes::from_static(&[0, 1])))),
            ]
            .into(),
            receipt: "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a".to_owned(),
            receives: 1,
            first_received_ms: 1_545_082_649_185,
            sent_ms: 1_545_082_649_183,
            sender: "AIDAIENQZJOLO23YVJ4VO".to_owned(),
            group: None,
            deduplication: None,
            sequence_number: None,
            trace: None,
            source: None,
        };
        let expected = json!({
            "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
            "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
            "body": "Test message.",
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": "1545082649183",
                "SenderId": "AIDAIENQZJOLO23YVJ4VO",
                "ApproximateFirstReceiveTimestamp": "1545082649185",
            },
            "messageAttributes": {
                "a": {"stringValue": "x", "stringListValues": [], "binaryListValues": [], "dataType": "String"},
                "b": {"binaryValue": "AAE=", "stringListValues": [], "binaryListValues": [], "dataType": "String"},
            },
            "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:my-queue",
            "awsRegion": "us-east-2",
        });
        assert_eq!(record(&queue, &message), expected);
    }
}
