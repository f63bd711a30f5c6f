//! Publish and PublishBatch: what they accept and refuse.

use crate::{fixture, text, texts, topic_arn};

#[tokio::test]
async fn publish_answers_with_an_id() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    for parameter in ["TopicArn", "TargetArn"] {
        let body = at.ok("Publish", &[(parameter, &topic), ("Message", "m"), ("Subject", "s")]).await;
        assert_eq!(text(&body, "MessageId").len(), 36, "{body}");
        assert_eq!(text(&body, "SequenceNumber"), "");
    }
}

#[tokio::test]
async fn publish_refuses_in_the_words_of_aws() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let fifo = at.topic("t.fifo", &[("FifoTopic", "true")]).await;
    let long = "a".repeat(262_145);
    let absent = topic_arn("no");
    for (input, wanted) in [
        (
            vec![("Message", "m")],
            "400 InvalidParameter: Invalid parameter: TopicArn or TargetArn Reason: no value for required parameter",
        ),
        (vec![("TopicArn", absent.as_str()), ("Message", "m")], "404 NotFound: Topic does not exist"),
        (
            vec![("TopicArn", "x"), ("Message", "m")],
            "400 InvalidParameter: Invalid parameter: TopicArn Reason: An ARN must have at least 6 elements, not 1",
        ),
        (vec![("TopicArn", topic.as_str()), ("Message", "")], "400 InvalidParameter: Invalid parameter: Empty message"),
        (
            vec![("TopicArn", topic.as_str()), ("Message", "m"), ("Subject", "")],
            "400 InvalidParameter: Invalid parameter: Subject",
        ),
        (
            vec![("TopicArn", topic.as_str()), ("Message", "m"), ("Subject", "a\nb")],
            "400 InvalidParameter: Invalid parameter: Subject",
        ),
        (
            vec![("TopicArn", topic.as_str()), ("Message", long.as_str())],
            "400 InvalidParameter: Invalid parameter: Message too long",
        ),
        (
            vec![("TopicArn", topic.as_str()), ("Message", "x"), ("MessageStructure", "json")],
            "400 InvalidParameter: Invalid parameter: Message Structure - JSON message body failed to parse",
        ),
        (
            vec![("TopicArn", topic.as_str()), ("Message", r#"{"sqs":"x"}"#), ("MessageStructure", "json")],
            "400 InvalidParameter: Invalid parameter: Message Structure - No default entry in JSON message body",
        ),
        (
            vec![("TopicArn", topic.as_str()), ("Message", r#"{"default":{}}"#), ("MessageStructure", "json")],
            "400 InvalidParameter: Invalid parameter: Message Structure - No default entry in JSON message body",
        ),
        (
            vec![("TopicArn", topic.as_str()), ("Message", "m"), ("MessageDeduplicationId", "d")],
            "400 InvalidParameter: Invalid parameter: MessageDeduplicationId Reason: The request includes MessageDeduplicationId \
             parameter that is not valid for this topic type",
        ),
        (
            vec![("TopicArn", fifo.as_str()), ("Message", "m")],
            "400 InvalidParameter: Invalid parameter: The MessageGroupId parameter is required for FIFO topics",
        ),
        (
            vec![("TopicArn", fifo.as_str()), ("Message", "m"), ("MessageGroupId", "g")],
            "400 InvalidParameter: Invalid parameter: The topic should either have ContentBasedDeduplication enabled or \
             MessageDeduplicationId provided explicitly",
        ),
        (
            vec![("PhoneNumber", "+1a234"), ("Message", "m")],
            "400 InvalidParameter: Invalid parameter: PhoneNumber Reason: +1a234 is not valid to publish to",
        ),
    ] {
        assert_eq!(at.refused("Publish", &input).await, wanted, "{:?}", input.first());
    }
    assert!(
        !text(&at.ok("Publish", &[("PhoneNumber", "+15551234567"), ("Message", "m")]).await, "MessageId").is_empty()
    );
    // The limit counts bytes, and is fine to reach.
    at.ok("Publish", &[("TopicArn", &topic), ("Message", &long[1..])]).await;
}

/// Name, data type, member, value, and what AWS says about it.
const WRONG_ATTRIBUTES: &[(&str, &str, &str, &str, &str)] = &[
    (
        "attr1",
        "String",
        "",
        "",
        "The message attribute 'attr1' must contain non-empty message attribute value for message attribute type 'String'.",
    ),
    (
        "attr1",
        "String",
        "StringValue",
        "",
        "The message attribute 'attr1' must contain non-empty message attribute value for message attribute type 'String'.",
    ),
    (
        "attr1",
        "String",
        "BinaryValue",
        "AA==",
        "The message attribute 'attr1' with type 'String' must use field 'String'.",
    ),
    (
        "attr1",
        "Number",
        "BinaryValue",
        "AA==",
        "The message attribute 'attr1' with type 'Number' must use field 'String'.",
    ),
    (
        "attr1",
        "Binary",
        "StringValue",
        "x",
        "The message attribute 'attr1' with type 'Binary' must use field 'Binary'.",
    ),
    (
        "attr1",
        "InvalidType",
        "StringValue",
        "x",
        "The message attribute 'attr1' has an invalid message attribute type, the set of supported type prefixes is Binary, \
             Number, and String.",
    ),
    ("attr1", "Number", "StringValue", "x", "Could not cast message attribute 'attr1' value to number."),
    (
        "a^b",
        "String",
        "StringValue",
        "x",
        "Invalid non-alphanumeric character '#x5E' was found in the message attribute name. Can only include alphanumeric \
             characters, hyphens, underscores, or dots.",
    ),
    (".a", "String", "StringValue", "x", "Invalid message attribute name starting with character '.' was found."),
    ("a.", "String", "StringValue", "x", "Invalid message attribute name ending with character '.' was found."),
    ("a..b", "String", "StringValue", "x", "Message attribute name can not have successive '.' character."),
];

#[tokio::test]
async fn message_attributes_are_checked_in_the_words_of_aws() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let long = "a".repeat(257);
    let long =
        (long.as_str(), "String", "StringValue", "x", "Length of message attribute name must be less than 256 bytes.");
    for (name, data_type, member, value, message) in WRONG_ATTRIBUTES.iter().copied().chain([long]) {
        let value_name = format!("MessageAttributes.entry.1.Value.{member}");
        let mut input = vec![
            ("TopicArn", topic.as_str()),
            ("Message", "m"),
            ("MessageAttributes.entry.1.Name", name),
            ("MessageAttributes.entry.1.Value.DataType", data_type),
        ];
        if !member.is_empty() {
            input.push((&value_name, value));
        }
        assert_eq!(
            at.refused("Publish", &input).await,
            format!("400 ParameterValueInvalid: {message}"),
            "{name} {data_type}"
        );
    }
    let absent = [
        ("TopicArn", topic.as_str()),
        ("Message", "m"),
        ("MessageAttributes.entry.1.Name", "attr1"),
        ("MessageAttributes.entry.1.Value.StringValue", "x"),
    ];
    let wanted = "400 ValidationError: 1 validation error detected: Value null at 'messageAttributes.attr1.member.dataType' failed \
                  to satisfy constraint: Member must not be null";
    assert_eq!(at.refused("Publish", &absent).await, wanted);
}

fn batch(topic: &str, entries: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut input = vec![("TopicArn".to_owned(), topic.to_owned())];
    for (at, (id, message)) in (1..).zip(entries) {
        let prefix = format!("PublishBatchRequestEntries.member.{at}");
        input.push((format!("{prefix}.Id"), (*id).to_owned()));
        input.push((format!("{prefix}.Message"), (*message).to_owned()));
    }
    input
}

#[tokio::test]
async fn publish_batch_answers_for_each_entry() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let body = at.ok("PublishBatch", &crate::borrowed(&batch(&topic, &[("a", "1"), ("b", "2")]))).await;
    assert_eq!(texts(&body, "Id"), ["a", "b"]);
    assert_eq!(texts(&body, "MessageId").len(), 2);
    assert!(body.contains("<Failed"), "{body}");
}

#[tokio::test]
async fn publish_batch_refuses_in_the_words_of_aws() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let (long_id, half) = ("a".repeat(81), "a".repeat(131_073));
    let ids: Vec<String> = (0..11).map(|id| id.to_string()).collect();
    let eleven: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), "m")).collect();
    for (entries, wanted) in [
        (vec![], "EmptyBatchRequest: The batch request doesn't contain any entries."),
        (eleven, "TooManyEntriesInBatchRequest: The batch request contains more entries than permissible."),
        (
            vec![("a", "1"), ("a", "2")],
            "BatchEntryIdsNotDistinct: Two or more batch entries in the request have the same Id.",
        ),
        (
            vec![("message.id", "1")],
            "InvalidBatchEntryId: The Id of a batch entry in the batch request contains an impermissible character: message.id",
        ),
        (
            vec![("a", half.as_str()), ("b", half.as_str())],
            "BatchRequestTooLong: The length of all the messages put together is more than the limit.",
        ),
        (vec![("a", "1"), ("b", "")], "InvalidParameter: Invalid parameter: Empty message"),
    ] {
        let mut input = batch(&topic, &entries);
        if entries.is_empty() {
            input.push(("PublishBatchRequestEntries".to_owned(), String::new()));
        }
        assert_eq!(at.refused("PublishBatch", &crate::borrowed(&input)).await, format!("400 {wanted}"));
    }
    let refused = at.refused("PublishBatch", &crate::borrowed(&batch(&topic, &[(&long_id, "1")]))).await;
    assert_eq!(
        refused,
        format!("400 InvalidBatchEntryId: The Id of a batch entry in the batch request is too long: {long_id}")
    );
}
