//! One page of a listing, and the marker that leads to the next.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use kv::{KeyRange, RangeOptions, Txn};
use serde::de::DeserializeOwned;

use crate::error::LambdaError;
use crate::keys;

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

/// Every record of `range`: for what is bounded by its nature.
pub(crate) async fn all<T: DeserializeOwned>(tx: &Txn, range: &KeyRange) -> Result<Vec<(Bytes, T)>, LambdaError> {
    Ok(read(tx, range, None, usize::MAX - 1).await?.records)
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
        Some(key) => Ok([&key[..], &[0]].concat().into()),
        None => Err(LambdaError::invalid(format!("The marker {marker:?} is not one that this operation gave."))),
    }
}
