//! Events of buckets: what happened, whom it concerns, and the record that tells of it, pushed to the outbox in the
//! object's own transaction. `triggers` delivers (sem:S1: an acknowledged write has its event).
//!
//! Source: S3 user guide, "Event message structure".

use kv::Txn;
use kv::layer::outbox::{Event, Outbox};
use model::s3 as m;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use sys::Timestamp;
use wire::Cx;

use crate::error::S3Error;
use crate::keys::{BucketRecord, Setting, VersionRecord, document};
use crate::ops::form_encoded;
use crate::state::{S3, owner_id};
use crate::versions::Slot;

/// Where the events of all buckets wait. In order per destination, bucket and key.
pub const OUTBOX: Outbox = Outbox::new("s3", 8);

/// One event on its way to one destination: the payload of [`OUTBOX`], as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The bucket.
    pub bucket: String,
    /// The account that owns the bucket.
    pub account: String,
    /// The bucket's region.
    pub region: String,
    /// ARN of the function, queue or topic.
    pub destination: String,
    /// The trace of the request that caused it, as a header; empty for what the lifecycle did.
    #[serde(default)]
    pub trace: String,
    /// What it receives.
    pub body: Json,
}

impl Notice {
    /// As a payload.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and JSON have JSON")
    }

    /// Out of a payload; `None` when it is none.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}

/// What happened to a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    Put,
    Copied,
    Completed,
    Deleted,
    Marked,
    Tagged,
    Untagged,
    AclPut,
    Expired,
    ExpiredMarked,
}

impl Happened {
    /// The event's name without `s3:`.
    fn name(self) -> &'static str {
        match self {
            Self::Put => "ObjectCreated:Put",
            Self::Copied => "ObjectCreated:Copy",
            Self::Completed => "ObjectCreated:CompleteMultipartUpload",
            Self::Deleted => "ObjectRemoved:Delete",
            Self::Marked => "ObjectRemoved:DeleteMarkerCreated",
            Self::Tagged => "ObjectTagging:Put",
            Self::Untagged => "ObjectTagging:Delete",
            Self::AclPut => "ObjectAcl:Put",
            Self::Expired => "LifecycleExpiration:Delete",
            Self::ExpiredMarked => "LifecycleExpiration:DeleteMarkerCreated",
        }
    }

    /// Whether a version came to be, whose number the event then has.
    fn makes_version(self) -> bool {
        matches!(self, Self::Put | Self::Copied | Self::Completed | Self::Marked | Self::ExpiredMarked)
    }

    /// Whether the record tells size and ETag.
    fn is_written(self) -> bool {
        !matches!(self, Self::Deleted | Self::Marked | Self::Expired | Self::ExpiredMarked)
    }

    fn matches(self, event: m::Event) -> bool {
        let name = self.name();
        let asked = event.as_str().strip_prefix("s3:").unwrap_or_default();
        asked == name || asked.strip_suffix('*').is_some_and(|start| start.ends_with(':') && name.starts_with(start))
    }
}

/// Who caused an event.
struct Cause {
    trace: String,
    principal: String,
    source_ip: String,
    request_id: String,
}

impl Cause {
    fn of_request(cx: &Cx) -> Self {
        let id = cx.principal.user_id();
        Self {
            trace: cx.trace.header(),
            principal: if id.is_empty() { "Anonymous".to_owned() } else { format!("AWS:{id}") },
            source_ip: cx.source_ip.map_or_else(|| "127.0.0.1".to_owned(), |ip| ip.to_string()),
            request_id: cx.request_id.clone(),
        }
    }

    fn of_lifecycle(s3: &S3) -> Self {
        Self {
            trace: String::new(),
            principal: "s3.amazonaws.com".to_owned(),
            source_ip: "s3.amazonaws.com".to_owned(),
            request_id: s3.fresh_id(),
        }
    }
}

/// One destination of a configuration.
pub(crate) struct Destination<'a> {
    pub(crate) id: &'a str,
    pub(crate) arn: &'a str,
    pub(crate) events: &'a [m::Event],
    pub(crate) filter: Option<&'a m::NotificationConfigurationFilter>,
}

/// All destinations of a configuration.
pub(crate) fn destinations(document: &m::NotificationConfiguration) -> Vec<Destination<'_>> {
    let functions = document.lambda_function_configurations.iter().flatten().map(|one| Destination {
        id: one.id.as_deref().unwrap_or_default(),
        arn: &one.lambda_function_arn,
        events: &one.events,
        filter: one.filter.as_ref(),
    });
    let queues = document.queue_configurations.iter().flatten().map(|one| Destination {
        id: one.id.as_deref().unwrap_or_default(),
        arn: &one.queue_arn,
        events: &one.events,
        filter: one.filter.as_ref(),
    });
    let topics = document.topic_configurations.iter().flatten().map(|one| Destination {
        id: one.id.as_deref().unwrap_or_default(),
        arn: &one.topic_arn,
        events: &one.events,
        filter: one.filter.as_ref(),
    });
    functions.chain(queues).chain(topics).collect()
}

impl Destination<'_> {
    /// Prefix and suffix of the filter.
    pub(crate) fn affixes(&self) -> (&str, &str) {
        let (mut prefix, mut suffix) = ("", "");
        let rules = self.filter.and_then(|filter| filter.key.as_ref()).and_then(|key| key.filter_rules.as_ref());
        for rule in rules.into_iter().flatten() {
            match (rule.name, rule.value.as_deref()) {
                (Some(m::FilterRuleName::Prefix), Some(value)) => prefix = value,
                (Some(m::FilterRuleName::Suffix), Some(value)) => suffix = value,
                _ => {}
            }
        }
        (prefix, suffix)
    }

    fn concerns(&self, happened: Happened, key: &str) -> bool {
        let (prefix, suffix) = self.affixes();
        self.events.iter().any(|event| happened.matches(*event)) && key.starts_with(prefix) && key.ends_with(suffix)
    }
}

/// Tells everybody whom the bucket's configuration names, within the transaction of the change.
///
/// # Errors
/// The store's.
pub(crate) async fn tell(
    slot: &Slot<'_>,
    bucket: &BucketRecord,
    cx: &Cx,
    happened: Happened,
    version: &VersionRecord,
) -> Result<(), S3Error> {
    match bucket.notifies {
        true => push(slot, bucket, &Cause::of_request(cx), happened, version).await,
        false => Ok(()),
    }
}

/// The same for what the lifecycle did.
///
/// # Errors
/// The store's.
pub(crate) async fn tell_expired(
    slot: &Slot<'_>,
    bucket: &BucketRecord,
    happened: Happened,
    version: &VersionRecord,
) -> Result<(), S3Error> {
    match bucket.notifies {
        true => push(slot, bucket, &Cause::of_lifecycle(slot.s3), happened, version).await,
        false => Ok(()),
    }
}

async fn push(
    slot: &Slot<'_>,
    bucket: &BucketRecord,
    cause: &Cause,
    happened: Happened,
    version: &VersionRecord,
) -> Result<(), S3Error> {
    let found: Option<m::NotificationConfiguration> =
        document::get(slot.tx, slot.bucket, Setting::Notification).await?;
    let Some(document) = found else { return Ok(()) };
    // What happens to a version comes after its making.
    let sequencer = if happened.makes_version() { version.seq } else { slot.s3.next_seq(version.seq) };
    for destination in destinations(&document) {
        if destination.concerns(happened, slot.key) {
            let about = (version, sequencer);
            let body = json!({ "Records": [record(slot, bucket, cause, happened, about, destination.id)] });
            send(slot, bucket, destination.arn, &cause.trace, body);
        }
    }
    Ok(())
}

fn send(slot: &Slot<'_>, bucket: &BucketRecord, destination: &str, trace: &str, body: Json) {
    let order = format!("{destination} {}/{}", slot.bucket, slot.key);
    let notice = Notice { trace: trace.to_owned(), ..notice(slot.bucket, bucket, destination, body) };
    OUTBOX.push(slot.tx, slot.s3.clock.now(), Event::in_order(order, notice.encode()));
}

fn notice(name: &str, bucket: &BucketRecord, destination: &str, body: Json) -> Notice {
    Notice {
        bucket: name.to_owned(),
        account: bucket.account.clone(),
        region: bucket.region.clone(),
        destination: destination.to_owned(),
        trace: String::new(),
        body,
    }
}

/// The test message that a new destination gets.
pub(crate) fn test(s3: &S3, tx: &Txn, name: &str, bucket: &BucketRecord, destination: &str, request_id: &str) {
    let now = s3.clock.now();
    let body = json!({
        "Service": "Amazon S3", "Event": "s3:TestEvent", "Time": iso(now), "Bucket": name,
        "RequestId": request_id, "HostId": owner_id(&bucket.account),
    });
    OUTBOX.push(tx, now, Event::any(notice(name, bucket, destination, body).encode()));
}

/// `2026-11-25T21:40:02.123Z`
fn iso(time: Timestamp) -> String {
    let time = jiff::Timestamp::from_microsecond(time.unix_us()).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn record(
    slot: &Slot<'_>,
    bucket: &BucketRecord,
    cause: &Cause,
    happened: Happened,
    (version, sequencer): (&VersionRecord, u64),
    configuration: &str,
) -> Json {
    let mut object = json!({ "key": form_encoded(slot.key), "sequencer": format!("{sequencer:016X}") });
    if happened.is_written() {
        (object["size"], object["eTag"]) = (json!(version.size), json!(version.etag));
    }
    if let Some(id) = version.answered_id(bucket.versioning) {
        object["versionId"] = json!(id);
    }
    json!({
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": bucket.region,
        "eventTime": iso(slot.s3.clock.now()),
        "eventName": happened.name(),
        "userIdentity": { "principalId": cause.principal },
        "requestParameters": { "sourceIPAddress": cause.source_ip },
        "responseElements": { "x-amz-request-id": cause.request_id, "x-amz-id-2": owner_id(&bucket.account) },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": configuration,
            "bucket": {
                "name": slot.bucket,
                "ownerIdentity": { "principalId": owner_id(&bucket.account) },
                "arn": format!("arn:aws:s3:::{}", slot.bucket),
            },
            "object": object,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_themselves_and_their_group() {
        for (happened, event, expected) in [
            (Happened::Put, "s3:ObjectCreated:*", true),
            (Happened::Put, "s3:ObjectCreated:Put", true),
            (Happened::Copied, "s3:ObjectCreated:Put", false),
            (Happened::Marked, "s3:ObjectRemoved:*", true),
            (Happened::Marked, "s3:ObjectRemoved:Delete", false),
            (Happened::Expired, "s3:ObjectRemoved:*", false),
            (Happened::Expired, "s3:LifecycleExpiration:*", true),
            (Happened::Tagged, "s3:ObjectTagging:*", true),
        ] {
            assert_eq!(happened.matches(event.parse().expect("in the model")), expected, "{happened:?} {event}");
        }
        assert_eq!(iso(Timestamp::from_unix_ms(1_700_000_000_123)), "2023-11-14T22:13:20.123Z");
    }
}
