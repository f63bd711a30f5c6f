//! Every key and value of event source mappings.
//!
//! | key | value |
//! |---|---|
//! | `("triggers", 1, account, region, uuid)` | [`MappingRecord`] |
//! | `("triggers", 2, account, region, source ARN, function ARN)` | the mapping's uuid: a pair is mapped once |
//! | `("triggers", 3)` | nothing; written with every change of a mapping, for the supervisor's watch |
//!
//! Ordinals never change their meaning. Values are JSON with a format version; a newer format than this program
//! knows is refused, never guessed.

use std::collections::BTreeMap;

use bytes::Bytes;
use kv::key::{Element, pack, subspace};
use kv::{KeyRange, Kv, RangeOptions, Txn};
use serde::{Deserialize, Serialize};

const SERVICE: &str = "triggers";
const FORMAT: u32 = 1;

/// Where a mapping stands. `Creating`, `Enabling`, `Updating`, `Disabling` and `Deleting` end by themselves.
///
/// ```text
///   Creating ─► Enabled ⇄ (Disabling ─►) Disabled ─ Enabling ─► Enabled
///      any ─► Updating ─► Enabled | Disabled        any ─► Deleting ─► gone
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    Creating,
    Enabling,
    Enabled,
    Disabling,
    Disabled,
    Updating,
    Deleting,
}

impl State {
    /// AWS's word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "Creating",
            Self::Enabling => "Enabling",
            Self::Enabled => "Enabled",
            Self::Disabling => "Disabling",
            Self::Disabled => "Disabled",
            Self::Updating => "Updating",
            Self::Deleting => "Deleting",
        }
    }
}

/// A mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MappingRecord {
    pub(crate) uuid: String,
    pub(crate) account: String,
    pub(crate) region: String,
    /// ARN of the queue.
    pub(crate) source: String,
    /// ARN of the function, with the qualifier that was given.
    pub(crate) function: String,
    pub(crate) state: State,
    /// Whether it shall poll.
    pub(crate) enabled: bool,
    pub(crate) batch_size: u32,
    pub(crate) window_s: u32,
    /// Patterns as they were given.
    pub(crate) filters: Vec<String>,
    /// `ReportBatchItemFailures`.
    pub(crate) partial: bool,
    pub(crate) concurrency_max: Option<u32>,
    /// Smallest and largest number of provisioned pollers.
    pub(crate) pollers: Option<(u32, u32)>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) modified_ms: i64,
    /// Grows with every change: a poller of an older revision ends.
    pub(crate) revision: u64,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key<'a> {
    Mapping { account: &'a str, region: &'a str, uuid: &'a str },
    Pair { account: &'a str, region: &'a str, source: &'a str, function: &'a str },
    Signal,
}

fn elements(ordinal: u64, words: &[&str]) -> Vec<Element> {
    let head = [Element::Text(SERVICE.to_owned()), Element::Uint(ordinal)];
    head.into_iter().chain(words.iter().map(|word| Element::Text((*word).to_owned()))).collect()
}

impl Key<'_> {
    /// The key's bytes.
    pub(crate) fn pack(&self) -> Bytes {
        pack(&match *self {
            Self::Mapping { account, region, uuid } => elements(1, &[account, region, uuid]),
            Self::Pair { account, region, source, function } => elements(2, &[account, region, source, function]),
            Self::Signal => elements(3, &[]),
        })
    }
}

/// Mappings read at once: of the largest that the store takes, half of what one range may hold.
const PAGE: usize = kv::limits::TRANSACTION_BYTES_MAX / (2 * kv::limits::VALUE_BYTES_MAX);

/// The next mappings of `rest`, which then goes on behind them; `None` at its end. One that cannot be read is left out, so
/// that it stops nobody else's.
///
/// # Errors
/// The store's.
pub(crate) async fn next_mappings(kv: &Kv, rest: &mut KeyRange) -> Result<Option<Vec<MappingRecord>>, kv::Error> {
    let options = RangeOptions { limit: PAGE, ..RangeOptions::default() };
    let (from, end) = (&rest.begin, &rest.end);
    let page = kv.read(|tx| async move { tx.range(from, end, options).await }).await?;
    let Some((last, _)) = page.last() else { return Ok(None) };
    let found = page.iter().filter_map(|(key, value)| match decode(value) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::error!(%error, ?key, "a mapping cannot be read");
            None
        }
    });
    let found = found.collect();
    rest.begin = [&last[..], &[0]].concat().into();
    Ok(Some(found))
}

/// All mappings of an account in a region, by uuid.
pub(crate) fn mappings_of(account: &str, region: &str) -> KeyRange {
    subspace(&elements(1, &[account, region]))
}

/// What is mapped in an account and a region, by source and function.
pub(crate) fn pairs_of(account: &str, region: &str) -> KeyRange {
    subspace(&elements(2, &[account, region]))
}

/// All mappings of all accounts.
pub(crate) fn all_mappings() -> KeyRange {
    subspace(&elements(1, &[]))
}

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    #[serde(flatten)]
    record: &'a MappingRecord,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// A record as a value.
pub(crate) fn encode(record: &MappingRecord) -> Bytes {
    let json = serde_json::to_vec(&Written { format: FORMAT, record });
    Bytes::from(json.expect("records are structs of strings, numbers, lists and maps with string keys"))
}

/// A record out of a value.
///
/// # Errors
/// `Corrupt` when the value is no such record or was written by a newer program.
pub(crate) fn decode(value: &[u8]) -> Result<MappingRecord, kv::Error> {
    let Format { format } = serde_json::from_slice(value).map_err(kv::Error::corrupt)?;
    if format != FORMAT {
        return Err(kv::Error::corrupt(format!("a mapping of format {format}; this program knows {FORMAT}")));
    }
    serde_json::from_slice(value).map_err(kv::Error::corrupt)
}

impl MappingRecord {
    /// Its own key.
    pub(crate) fn key(&self) -> Bytes {
        Key::Mapping { account: &self.account, region: &self.region, uuid: &self.uuid }.pack()
    }

    /// The key that makes its pair unique.
    pub(crate) fn pair(&self) -> Bytes {
        let Self { account, region, source, function, .. } = self;
        Key::Pair { account, region, source, function }.pack()
    }

    /// `arn:aws:lambda:REGION:ACCOUNT:event-source-mapping:UUID`.
    pub(crate) fn arn(&self) -> String {
        format!("arn:aws:lambda:{}:{}:event-source-mapping:{}", self.region, self.account, self.uuid)
    }

    /// Whether the store takes it.
    pub(crate) fn fits(&self) -> bool {
        encode(self).len() <= kv::limits::VALUE_BYTES_MAX
    }

    /// Writes it and wakes the supervisor.
    pub(crate) fn store(&self, tx: &Txn) {
        tx.set(self.key(), encode(self));
        tx.set(Key::Signal.pack(), Bytes::new());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn mappings_survive_the_round_trip(
            (uuid, filters) in ("[a-f0-9-]{36}", proptest::collection::vec(".{0,30}", 0..3)),
            (batch_size, window_s, partial, enabled) in (any::<u32>(), any::<u32>(), any::<bool>(), any::<bool>()),
            (concurrency_max, pollers) in (proptest::option::of(any::<u32>()), proptest::option::of(any::<(u32, u32)>())),
        ) {
            let record = MappingRecord {
                uuid,
                account: "123456789012".to_owned(),
                region: "us-east-1".to_owned(),
                source: "arn:aws:sqs:us-east-1:123456789012:q".to_owned(),
                function: "f".to_owned(),
                state: State::Updating,
                enabled,
                batch_size,
                window_s,
                filters,
                partial,
                concurrency_max,
                pollers,
                tags: BTreeMap::new(),
                modified_ms: 7,
                revision: 3,
            };
            prop_assert_eq!(&decode(&encode(&record)).unwrap(), &record);
            let range = mappings_of(&record.account, &record.region);
            prop_assert!(range.begin <= record.key() && record.key() < range.end);
        }
    }

    #[test]
    fn a_newer_format_is_refused() {
        assert!(decode(br#"{"format":2}"#).is_err());
    }
}
