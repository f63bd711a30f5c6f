//! What the model of SQS lost when the service moved from query to JSON. AWS still answers both protocols; the names
//! below are those of the last query model (botocore 1.29.165, `sqs/2012-11-05/service-2.json`).

use anyhow::Context;
use serde_json::{Value, json};

/// List → name of its elements in query and XML.
const ELEMENTS: &[(&str, &str)] = &[
    ("AWSAccountIdList", "AWSAccountId"),
    ("ActionNameList", "ActionName"),
    ("AttributeNameList", "AttributeName"),
    ("BatchResultErrorEntryList", "BatchResultErrorEntry"),
    ("BinaryList", "BinaryListValue"),
    ("ChangeMessageVisibilityBatchRequestEntryList", "ChangeMessageVisibilityBatchRequestEntry"),
    ("ChangeMessageVisibilityBatchResultEntryList", "ChangeMessageVisibilityBatchResultEntry"),
    ("DeleteMessageBatchRequestEntryList", "DeleteMessageBatchRequestEntry"),
    ("DeleteMessageBatchResultEntryList", "DeleteMessageBatchResultEntry"),
    ("ListMessageMoveTasksResultEntryList", "ListMessageMoveTasksResultEntry"),
    ("MessageAttributeNameList", "MessageAttributeName"),
    ("MessageList", "Message"),
    // Younger than the query model; the API reference has the name.
    ("MessageSystemAttributeList", "MessageSystemAttributeName"),
    ("QueueUrlList", "QueueUrl"),
    ("SendMessageBatchRequestEntryList", "SendMessageBatchRequestEntry"),
    ("SendMessageBatchResultEntryList", "SendMessageBatchResultEntry"),
    ("StringList", "StringListValue"),
    ("TagKeyList", "TagKey"),
];

/// Map → names of its entries, of their keys and of their values in query and XML.
const ENTRIES: &[(&str, &str, &str, &str)] = &[
    ("MessageBodyAttributeMap", "MessageAttribute", "Name", "Value"),
    ("MessageBodySystemAttributeMap", "MessageSystemAttribute", "Name", "Value"),
    ("MessageSystemAttributeMap", "Attribute", "Name", "Value"),
    ("QueueAttributeMap", "Attribute", "Name", "Value"),
    ("TagMap", "Tag", "Key", "Value"),
];

/// Error → its code in query, where that is not the shape's name.
const CODES: &[(&str, &str)] = &[
    ("BatchEntryIdsNotDistinct", "AWS.SimpleQueueService.BatchEntryIdsNotDistinct"),
    ("BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong"),
    ("EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest"),
    ("InvalidBatchEntryId", "AWS.SimpleQueueService.InvalidBatchEntryId"),
    ("MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight"),
    ("PurgeQueueInProgress", "AWS.SimpleQueueService.PurgeQueueInProgress"),
    ("QueueDeletedRecently", "AWS.SimpleQueueService.QueueDeletedRecently"),
    ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"),
    ("QueueNameExists", "QueueAlreadyExists"),
    ("TooManyEntriesInBatchRequest", "AWS.SimpleQueueService.TooManyEntriesInBatchRequest"),
    ("UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation"),
];

/// Enumerations that AWS answers in words of its own (`Unknown Attribute X.`), not as violations of the model.
const OPEN: &[&str] = &["MessageSystemAttributeName", "MessageSystemAttributeNameForSends", "QueueAttributeName"];

/// Batches whose missing entries are an `EmptyBatchRequest`: in query an empty list and none look the same.
const BATCHES: &[&str] =
    &["ChangeMessageVisibilityBatchRequest", "DeleteMessageBatchRequest", "SendMessageBatchRequest"];

/// Puts it back.
pub(super) fn restore(model: &mut Value) -> anyhow::Result<()> {
    model["metadata"]["protocols"] = json!(["json", "query"]);
    model["metadata"]["xmlNamespace"] = json!("http://queue.amazonaws.com/doc/2012-11-05/");
    for (list, element) in ELEMENTS {
        shape(model, list)?["member"]["locationName"] = json!(element);
    }
    for (map, entry, key, value) in ENTRIES {
        let map = shape(model, map)?;
        map["locationName"] = json!(entry);
        map["key"]["locationName"] = json!(key);
        map["value"]["locationName"] = json!(value);
    }
    for (error, code) in CODES {
        shape(model, error)?["error"] = json!({ "code": code, "httpStatusCode": 400 });
    }
    for name in OPEN {
        shape(model, name)?.as_object_mut().context("a shape is an object")?.remove("enum");
    }
    for name in BATCHES {
        let required = shape(model, name)?["required"].as_array_mut().context("a batch requires something")?;
        required.retain(|member| member != "Entries");
    }
    Ok(())
}

fn shape<'m>(model: &'m mut Value, name: &str) -> anyhow::Result<&'m mut Value> {
    model["shapes"].get_mut(name).with_context(|| format!("the model has no shape {name}"))
}
