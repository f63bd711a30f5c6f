//! Background work: days that have expired are dropped.

use kv::{KeyRange, RangeOptions};

use crate::keys::{self, Key};
use crate::{Store, TraceError, limits};

/// Drops what was written more than [`limits::EXPIRY_DAYS`] days ago. Idempotent and safe beside any other use; one
/// call runs at most [`limits::EXPIRE_STEPS_PER_TICK`] transactions and the next goes on. Call it every hour or so.
/// Returns whether nothing is left to drop.
///
/// # Errors
/// [`TraceError::Store`]; what was dropped before stays dropped.
pub async fn expire(store: &Store) -> Result<bool, TraceError> {
    let first_kept = keys::day_of(store.clock.now()) - limits::EXPIRY_DAYS;
    let mut steps = 0;
    for variant in 0..Key::VARIANTS {
        while steps < limits::EXPIRE_STEPS_PER_TICK {
            steps += 1;
            if clear_some(store, &keys::days_before(variant, first_kept)).await? {
                break;
            }
        }
    }
    Ok(steps < limits::EXPIRE_STEPS_PER_TICK)
}

/// Clears up to [`limits::EXPIRE_KEYS_PER_STEP`] keys from the start of `range`; whether that was all.
async fn clear_some(store: &Store, range: &KeyRange) -> Result<bool, TraceError> {
    // Values come along with keys, so little is read at once and found keys are cleared together.
    const PAGE: usize = 100;
    store
        .kv
        .transact(async |tx| {
            let mut begin = range.begin.clone();
            for _ in 0..limits::EXPIRE_KEYS_PER_STEP / PAGE {
                let options = RangeOptions { limit: PAGE, reverse: false, snapshot: true };
                let page = tx.range(&begin, &range.end, options).await?;
                let Some((last, _)) = page.last() else { break };
                begin = [&last[..], &[0]].concat().into();
            }
            tx.clear_range(&range.begin, &begin);
            let rest = RangeOptions { limit: 1, reverse: false, snapshot: true };
            Ok(tx.range(&begin, &range.end, rest).await?.is_empty())
        })
        .await
}
