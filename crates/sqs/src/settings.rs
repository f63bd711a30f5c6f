//! Attributes of a queue: what may be set, and what it means.
//!
//! Source: API CreateQueue and SetQueueAttributes; texts as AWS answers them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use wire::CheckPolicy;

use crate::SqsError;
use crate::limits::{
    DELAY_S_MAX, KMS_KEY_CHARACTERS_MAX, KMS_REUSE_S, MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX_MIN, POLICY_BYTES_MAX,
    RECEIVE_COUNT, REDRIVE_SOURCES_MAX, RETENTION_S, VISIBILITY_S_MAX, WAIT_S_MAX,
};
use crate::name::QueueName;

/// Attributes as clients write them.
pub(crate) type Texts = BTreeMap<String, String>;

/// What the attributes of a queue mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// First in, first out.
    pub fifo: bool,
    /// Delay of messages that name none, in milliseconds.
    pub delay_ms: i64,
    /// Visibility timeout of receives that name none, in milliseconds.
    pub visibility_ms: i64,
    /// Wait of receives that name none, in milliseconds.
    pub wait_ms: u64,
    /// How long messages are kept, in milliseconds.
    pub retention_ms: i64,
    /// Largest message in bytes.
    pub message_bytes_max: usize,
    /// Messages without a deduplication id get the SHA-256 of their body.
    pub content_deduplication: bool,
    /// Deduplication ids belong to their message group.
    pub deduplication_by_group: bool,
    /// Where messages go that were received too often.
    pub redrive: Option<Redrive>,
    /// Which queues may redrive to here.
    pub allow: RedriveAllow,
}

/// The redrive policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redrive {
    /// The dead-letter queue.
    pub target: QueueName,
    /// Receives that a message may have.
    pub receives_max: u32,
}

/// The redrive allow policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedriveAllow {
    /// Every queue of the account and region.
    All,
    /// None.
    None,
    /// Those with these ARNs.
    By(Vec<String>),
}

impl RedriveAllow {
    /// Whether `source` may use this queue for its dead letters (sem:Q5).
    pub(crate) fn allows(&self, source: &QueueName) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::By(arns) => arns.contains(&source.arn()),
        }
    }
}

/// Blanks round a name are nobody's intention.
pub(crate) fn trimmed(given: Texts) -> Texts {
    given.into_iter().map(|(name, text)| (name.trim().to_owned(), text)).collect()
}

/// Attributes that can be set, with their defaults; `None` where there is none.
const SETTABLE: &[(&str, Option<&str>)] = &[
    ("VisibilityTimeout", Some("30")),
    ("MaximumMessageSize", Some("1048576")),
    ("MessageRetentionPeriod", Some("345600")),
    ("DelaySeconds", Some("0")),
    ("ReceiveMessageWaitTimeSeconds", Some("0")),
    ("Policy", None),
    ("RedrivePolicy", None),
    ("RedriveAllowPolicy", None),
    ("KmsMasterKeyId", None),
    ("KmsDataKeyReusePeriodSeconds", None),
    ("SqsManagedSseEnabled", Some("true")),
    ("FifoQueue", None),
    ("ContentBasedDeduplication", None),
    ("DeduplicationScope", None),
    ("FifoThroughputLimit", None),
];

/// Attributes that only FIFO queues have.
const FIFO_ONLY: &[(&str, &str)] =
    &[("ContentBasedDeduplication", "false"), ("DeduplicationScope", "queue"), ("FifoThroughputLimit", "perQueue")];

/// Attributes that only AWS, here the platform, sets.
pub(crate) const COMPUTED: &[&str] = &[
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
];

/// Whether there is an attribute of that name.
pub(crate) fn is_known(name: &str) -> bool {
    SETTABLE.iter().any(|(known, _)| *known == name) || COMPUTED.contains(&name)
}

/// Checks the attributes ([`trimmed`]) of a queue that is made or changed, and brings them into the form in which they are stored:
/// an empty policy takes the attribute away (`None`).
///
/// # Errors
/// `InvalidAttributeName`, `InvalidAttributeValue`, `InvalidParameterValue`.
pub(crate) fn check(
    queue: &QueueName,
    fifo: bool,
    given: &Texts,
    check_policy: &CheckPolicy,
) -> Result<BTreeMap<String, Option<String>>, SqsError> {
    let mut checked = BTreeMap::new();
    for (name, text) in given {
        if !SETTABLE.iter().any(|(known, _)| known == name) {
            return Err(SqsError::InvalidAttributeName(name.clone()));
        }
        let of_fifo = FIFO_ONLY.iter().any(|(only, _)| only == name);
        if of_fifo && !fifo {
            return Err(SqsError::InvalidAttributeName(name.clone()));
        }
        if name == "Policy" && !text.is_empty() {
            check_policy(text).map_err(|_| SqsError::attribute(name))?;
        }
        checked.insert(name.clone(), check_one(queue, name, text)?);
    }
    if given.get("FifoThroughputLimit").is_some_and(|limit| limit == "perMessageGroupId")
        && given.get("DeduplicationScope").is_some_and(|scope| scope == "queue")
    {
        return Err(SqsError::InvalidAttributeValue(
            "The perMessageGroupId value for FifoThroughputLimit is allowed only when the value for \
             DeduplicationScope is messageGroup."
                .to_owned(),
        ));
    }
    Ok(checked)
}

fn check_one(queue: &QueueName, name: &str, text: &str) -> Result<Option<String>, SqsError> {
    let whole = |range: std::ops::RangeInclusive<i64>| match text.parse::<i64>() {
        Ok(number) if range.contains(&number) => Ok(Some(number.to_string())),
        _ => Err(SqsError::attribute(name)),
    };
    let one_of = |values: &[&str]| match values.contains(&text) {
        true => Ok(Some(text.to_owned())),
        false => Err(SqsError::attribute(name)),
    };
    let bytes = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
    if text.len() > POLICY_BYTES_MAX {
        return Err(SqsError::attribute(name));
    }
    match name {
        "VisibilityTimeout" => whole(0..=VISIBILITY_S_MAX),
        "DelaySeconds" => whole(0..=DELAY_S_MAX),
        "ReceiveMessageWaitTimeSeconds" => whole(0..=WAIT_S_MAX),
        "MessageRetentionPeriod" => whole(RETENTION_S),
        "KmsDataKeyReusePeriodSeconds" => whole(KMS_REUSE_S),
        "MaximumMessageSize" => whole(bytes(MESSAGE_BYTES_MAX_MIN)..=bytes(MESSAGE_BYTES_MAX)),
        "FifoQueue" | "ContentBasedDeduplication" | "SqsManagedSseEnabled" => {
            let lower = text.to_ascii_lowercase();
            one_of(&["true", "false"]).or_else(|error| match lower.as_str() {
                "true" | "false" => Ok(Some(lower)),
                _ => Err(error),
            })
        }
        "DeduplicationScope" => one_of(&["queue", "messageGroup"]),
        "FifoThroughputLimit" => one_of(&["perQueue", "perMessageGroupId"]),
        "Policy" | "RedrivePolicy" | "RedriveAllowPolicy" | "KmsMasterKeyId" if text.is_empty() => Ok(None),
        "Policy" => match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(_)) => Ok(Some(text.to_owned())),
            _ => Err(SqsError::attribute(name)),
        },
        "RedrivePolicy" => redrive(queue, text).map(|redrive| Some(with_number(text, &redrive))),
        "RedriveAllowPolicy" => allow(text).map(|_| Some(text.to_owned())),
        "KmsMasterKeyId" if text.chars().count() > KMS_KEY_CHARACTERS_MAX => Err(SqsError::attribute(name)),
        _ => Ok(Some(text.to_owned())),
    }
}

/// Reads a redrive policy; `maxReceiveCount` may be a number or its text.
fn redrive(queue: &QueueName, text: &str) -> Result<Redrive, SqsError> {
    let refused = |reason: &str| SqsError::parameter("RedrivePolicy", text, reason);
    let Ok(Value::Object(policy)) = serde_json::from_str(text) else {
        return Err(refused("Redrive policy is not a valid JSON map."));
    };
    for name in ["deadLetterTargetArn", "maxReceiveCount"] {
        if !policy.contains_key(name) {
            return Err(refused(&format!("Redrive policy does not contain mandatory attribute: {name}.")));
        }
    }
    if let Some(unknown) =
        policy.keys().find(|name| !["deadLetterTargetArn", "maxReceiveCount"].contains(&name.as_str()))
    {
        return Err(refused(&format!("Redrive policy contains unexpected attribute: {unknown}.")));
    }
    let receives = match &policy["maxReceiveCount"] {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let receives = receives.filter(|receives| RECEIVE_COUNT.contains(receives));
    let receives_max = receives.and_then(|receives| u32::try_from(receives).ok());
    let receives_max =
        receives_max.ok_or_else(|| refused("Invalid value for maxReceiveCount: must be between 1 and 1000."))?;
    let target = policy["deadLetterTargetArn"].as_str().and_then(QueueName::of_arn);
    let target = target.ok_or_else(|| refused("Invalid value for deadLetterTargetArn."))?;
    if target.account != queue.account || target.region != queue.region {
        return Err(refused("Dead-letter target must be in the same account and region as the source."));
    }
    if target.is_fifo() != queue.is_fifo() {
        return Err(refused("Dead-letter queue must be same type of queue as the source."));
    }
    Ok(Redrive { target, receives_max })
}

/// The policy as AWS gives it back: as it was given, but the count is a number, also when it was given as text.
fn with_number(text: &str, redrive: &Redrive) -> String {
    let given_as_text = serde_json::from_str::<Value>(text).is_ok_and(|policy| policy["maxReceiveCount"].is_string());
    match given_as_text {
        false => text.to_owned(),
        true => {
            let (target, receives_max) = (redrive.target.arn(), redrive.receives_max);
            json!({ "deadLetterTargetArn": target, "maxReceiveCount": receives_max }).to_string()
        }
    }
}

fn allow(text: &str) -> Result<RedriveAllow, SqsError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Policy {
        #[serde(rename = "redrivePermission")]
        permission: String,
        #[serde(rename = "sourceQueueArns")]
        sources: Option<Vec<String>>,
    }
    let refused = |reason: &str| SqsError::parameter("RedriveAllowPolicy", text, reason);
    let policy: Policy = serde_json::from_str(text)
        .map_err(|_| refused("Redrive allow policy is not a valid JSON map with redrivePermission."))?;
    match (policy.permission.as_str(), policy.sources) {
        ("allowAll", None) => Ok(RedriveAllow::All),
        ("denyAll", None) => Ok(RedriveAllow::None),
        ("allowAll" | "denyAll", Some(_)) => {
            Err(refused("sourceQueueArns can be specified only when redrivePermission is byQueue."))
        }
        ("byQueue", Some(sources))
            if (1..=REDRIVE_SOURCES_MAX).contains(&sources.len())
                && sources.iter().all(|arn| QueueName::of_arn(arn).is_some()) =>
        {
            Ok(RedriveAllow::By(sources))
        }
        ("byQueue", _) => Err(refused("sourceQueueArns must name 1 to 10 queues when redrivePermission is byQueue.")),
        _ => Err(refused("redrivePermission must be one of allowAll, denyAll, byQueue.")),
    }
}

impl Settings {
    /// What stored attributes mean. They were checked when they were set.
    pub(crate) fn of(queue: &QueueName, attributes: &Texts) -> Self {
        let number = |name: &str| value(attributes, name).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        let is = |name: &str, wanted: &str| attributes.get(name).is_some_and(|text| text == wanted);
        Self {
            fifo: queue.is_fifo(),
            delay_ms: number("DelaySeconds") * 1_000,
            visibility_ms: number("VisibilityTimeout") * 1_000,
            wait_ms: u64::try_from(number("ReceiveMessageWaitTimeSeconds")).unwrap_or(0) * 1_000,
            retention_ms: number("MessageRetentionPeriod") * 1_000,
            message_bytes_max: usize::try_from(number("MaximumMessageSize")).unwrap_or(MESSAGE_BYTES_MAX),
            content_deduplication: is("ContentBasedDeduplication", "true"),
            deduplication_by_group: is("DeduplicationScope", "messageGroup"),
            redrive: attributes.get("RedrivePolicy").and_then(|text| redrive(queue, text).ok()),
            // One that this program cannot read allows nobody.
            allow: attributes
                .get("RedriveAllowPolicy")
                .map_or(RedriveAllow::All, |text| allow(text).unwrap_or(RedriveAllow::None)),
        }
    }
}

/// The value in force: what was set, or the default.
fn value<'a>(attributes: &'a Texts, name: &str) -> Option<&'a str> {
    let default = || SETTABLE.iter().find(|(known, _)| *known == name).and_then(|(_, default)| *default);
    attributes.get(name).map(String::as_str).or_else(default)
}

/// All attributes in force that can be set.
pub(crate) fn in_force(queue: &QueueName, attributes: &Texts) -> Texts {
    let mut all = Texts::new();
    for (name, _) in SETTABLE {
        if let Some(text) = value(attributes, name) {
            all.insert((*name).to_owned(), text.to_owned());
        }
    }
    if attributes.contains_key("KmsMasterKeyId") {
        all.entry("KmsDataKeyReusePeriodSeconds".to_owned()).or_insert_with(|| "300".to_owned());
        // Only one kind of encryption is in force.
        all.insert("SqsManagedSseEnabled".to_owned(), "false".to_owned());
    }
    if queue.is_fifo() {
        all.insert("FifoQueue".to_owned(), "true".to_owned());
        for (name, default) in FIFO_ONLY {
            all.entry((*name).to_owned()).or_insert_with(|| (*default).to_owned());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(name: &str) -> QueueName {
        QueueName { account: "000000000000".to_owned(), region: "us-east-1".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn values_outside_of_their_bounds_are_refused() {
        for (name, good, bad) in [
            ("VisibilityTimeout", ["0", "43200"], ["-1", "43201"]),
            ("DelaySeconds", ["0", "900"], ["901", "x"]),
            ("ReceiveMessageWaitTimeSeconds", ["0", "20"], ["21", ""]),
            ("MessageRetentionPeriod", ["60", "1209600"], ["59", "1209601"]),
            ("MaximumMessageSize", ["1024", "1048576"], ["1023", "1048577"]),
            ("KmsDataKeyReusePeriodSeconds", ["60", "86400"], ["59", "86401"]),
            ("Policy", ["", "{}"], ["[]", "not json"]),
            ("RedriveAllowPolicy", ["", r#"{"redrivePermission":"denyAll"}"#], ["{}", r#"{"redrivePermission":"x"}"#]),
        ] {
            let one = |text: &str| {
                let given = Texts::from([(name.to_owned(), text.to_owned())]);
                check(&queue("q"), false, &given, &(std::sync::Arc::new(|_: &str| Ok(())) as CheckPolicy))
            };
            good.iter().for_each(|text| assert!(one(text).is_ok(), "{name}={text}"));
            bad.iter().for_each(|text| assert!(one(text).is_err(), "{name}={text}"));
        }
    }

    #[test]
    fn q5_an_allow_policy_that_cannot_be_read_allows_nobody() {
        let settings = |text: Option<&str>| {
            let attributes = text.map(|text| ("RedriveAllowPolicy".to_owned(), text.to_owned()));
            Settings::of(&queue("dead"), &attributes.into_iter().collect())
        };
        assert!(settings(None).allow.allows(&queue("q")));
        assert!(settings(Some(r#"{"redrivePermission":"allowAll"}"#)).allow.allows(&queue("q")));
        assert!(!settings(Some(r#"{"redrivePermission":"allowSome"}"#)).allow.allows(&queue("q")));
    }

    #[test]
    fn q5_redrive_policies_are_checked_whole() {
        let arn = |name: &str| format!("arn:aws:sqs:us-east-1:000000000000:{name}");
        let policy = |target: &str, receives: &str| {
            format!(r#"{{"deadLetterTargetArn":"{target}","maxReceiveCount":{receives}}}"#)
        };
        for (text, good) in [
            (policy(&arn("d"), "3"), true),
            (policy(&arn("d"), "\"1000\""), true),
            (policy(&arn("d"), "0"), false),
            (policy(&arn("d"), "1001"), false),
            (policy(&arn("d.fifo"), "3"), false),
            (policy("arn:aws:sqs:eu-west-1:000000000000:d", "3"), false),
            (policy("arn:aws:sqs:us-east-1:111111111111:d", "3"), false),
            (policy("d", "3"), false),
            (r#"{"maxReceiveCount":3}"#.to_owned(), false),
            ("3".to_owned(), false),
        ] {
            assert_eq!(redrive(&queue("q"), &text).is_ok(), good, "{text}");
        }
    }
}
