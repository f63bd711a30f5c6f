//! One page of a listing, and the marker that leads to the next.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use kv::{KeyRange, RangeOptions, Txn};
use serde::de::DeserializeOwned;

use crate::error::LambdaError;
use crate::keys;

/// Records read at once: however long their values are, they are within what one read of the store may return.
pub(crate) const AT_ONCE: usize = 64;

/// A page of records with their keys.
pub(crate) struct Page<T> {
    pub(crate) records: Vec<(Bytes, T)>,
    /// `NextMarker`; `None` on the last page.
    pub(crate) next: Option<String>,
}

/// How many items a page holds: what was asked for, up to the service's own limit.
pub(crate) fn limit(asked: Option<i32>, max: usize) -> usize {
    asked.and_then(|asked| usize::try_from(asked).ok()).unwrap_or(max).clamp(1, max)
}

/// The page of `range` behind `marker`.
///
/// # Errors
/// `InvalidParameterValueException` when the marker is not from a page of this range.
pub(crate) async fn read<T: DeserializeOwned>(
    tx: &Txn,
    range: &KeyRange,
    marker: Option<&str>,
    limit: usize,
) -> Result<Page<T>, LambdaError> {
    let begin = match marker {
        Some(marker) => after(marker, range)?,
        None => range.begin.clone(),
    };
    let options = RangeOptions { limit: limit + 1, ..RangeOptions::default() };
    let mut pairs = tx.range(&begin, &range.end, options).await?;
    let more = pairs.len() > limit;
    pairs.truncate(limit);
    let next = pairs.last().filter(|_| more).map(|(key, _)| marker_of(key));
    let mut records = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        let record = keys::decode(&value)?;
        records.push((key, record));
    }
    Ok(Page { records, next })
}

/// Hands every record of `range` to `take`, in order: of as many as there are, [`AT_ONCE`] are in memory.
pub(crate) async fn each<T: DeserializeOwned>(
    tx: &Txn,
    range: &KeyRange,
    mut take: impl FnMut(&Bytes, T) -> Result<(), LambdaError>,
) -> Result<(), LambdaError> {
    let mut begin = range.begin.clone();
    let options = RangeOptions { limit: AT_ONCE, ..RangeOptions::default() };
    loop {
        let pairs = tx.range(&begin, &range.end, options).await?;
        for (key, value) in &pairs {
            take(key, keys::decode(value)?)?;
        }
        match pairs.last() {
            Some((last, _)) if pairs.len() == AT_ONCE => begin = behind(last),
            _ => return Ok(()),
        }
    }
}

/// Every record of `range`: for what is bounded by its nature.
pub(crate) async fn all<T: DeserializeOwned>(tx: &Txn, range: &KeyRange) -> Result<Vec<(Bytes, T)>, LambdaError> {
    let mut records = Vec::new();
    each(tx, range, |key, record| {
        records.push((key.clone(), record));
        Ok(())
    })
    .await?;
    Ok(records)
}

/// The first key behind `key`.
pub(crate) fn behind(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

/// The marker behind the item with `key`.
pub(crate) fn marker_of(key: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

/// What [`marker_of`] made the marker from; `None` when it did not.
pub(crate) fn unmarked(marker: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(marker).ok()
}

/// The first key behind the one that `marker` stands for.
fn after(marker: &str, range: &KeyRange) -> Result<Bytes, LambdaError> {
    let key = unmarked(marker).filter(|key| range.contains(key));
    match key {
        Some(key) => Ok(behind(&key)),
        None => Err(LambdaError::invalid(format!("The marker {marker:?} is not one that this operation gave."))),
    }
}

#[cfg(test)]
mod tests {
    use kv::Kv;
    use sys::{Clock, Rng, Timestamp};

    use super::*;
    use crate::keys::{Key, Place};

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Long {
        text: String,
    }

    #[tokio::test]
    async fn ranges_longer_than_one_read_of_the_store_are_read_whole() {
        let kv = Kv::memory(Clock::manual(Timestamp::default()), Rng::seeded(1));
        let place = Place { account: "000000000000", region: "us-east-1", name: "f" };
        let long = Long { text: "x".repeat(90_000) };
        for hundred in 0..2u64 {
            let long = &long;
            let written = kv.transact(|tx| async move {
                for number in 0..100 {
                    keys::set(&tx, &Key::Version(place, 100 * hundred + number), long);
                }
                Ok::<_, kv::Error>(())
            });
            written.await.unwrap();
        }
        let range = keys::versions_of(place);
        let numbers = kv.read(|tx| {
            let range = &range;
            async move {
                assert!(tx.range(&range.begin, &range.end, RangeOptions::default()).await.is_err(), "18 MB at once");
                let mut numbers = Vec::new();
                each(&tx, range, |key, record: Long| {
                    assert_eq!(record.text.len(), 90_000);
                    numbers.push(keys::last_number(key)?);
                    Ok(())
                })
                .await?;
                Ok::<_, LambdaError>(numbers)
            }
        });
        assert_eq!(numbers.await.unwrap(), (0..200).collect::<Vec<_>>());
    }
}
