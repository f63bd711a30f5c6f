//! Reading bodies: bounded in size, in time, and all together.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use sys::{ByteSize, Clock};

use crate::Limits;

/// How much of a refused body is taken from the client, so that it reads the answer instead of a reset connection.
const DRAIN_BYTES_MAX: usize = 16 << 20;
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

/// Why a body was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    TooLarge,
    TooSlow,
    /// All bodies together are too large now.
    NoMemory,
    /// The client left or broke the protocol.
    Broken,
}

/// Memory that all bodies share.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: u64,
    taken: AtomicU64,
}

impl Budget {
    pub(crate) fn new(max: ByteSize) -> Arc<Self> {
        Arc::new(Self { bytes_max: max.bytes(), taken: AtomicU64::new(0) })
    }
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Share {
    pub(crate) fn of(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    fn grow(&mut self, by: usize) -> Result<(), BodyError> {
        let by = by as u64;
        let before = self.budget.taken.fetch_add(by, Ordering::Relaxed);
        self.bytes += by;
        if before + by > self.budget.bytes_max { Err(BodyError::NoMemory) } else { Ok(()) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The whole body, at most `max`.
pub(crate) async fn read<B: Body<Data = Bytes>>(
    body: B,
    max: ByteSize,
    limits: &Limits,
    clock: &Clock,
    share: &mut Share,
) -> Result<Bytes, BodyError> {
    let mut body = pin!(body);
    if body.size_hint().lower() > max.bytes() {
        return Err(BodyError::TooLarge);
    }
    let started = clock.elapsed();
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut received: u64 = 0;
    loop {
        let earned = Duration::from_secs(received / limits.body_rate_min.max(1));
        let left = (limits.body_timeout + earned).saturating_sub(clock.elapsed().saturating_sub(started));
        let frame = clock.timeout(left, body.frame()).await.ok_or(BodyError::TooSlow)?;
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        received += data.len() as u64;
        if received > max.bytes() {
            return Err(BodyError::TooLarge);
        }
        share.grow(data.len())?;
        // Most bodies come in one piece, which is passed on without a copy.
        if first.is_empty() && rest.is_empty() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.reserve(first.len() + data.len() + usize::try_from(body.size_hint().lower()).unwrap_or(0));
            rest.extend_from_slice(&first);
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// Takes what a client still sends after it was refused and throws it away, within bounds.
pub(crate) async fn drain<B: Body<Data = Bytes>>(body: B, clock: &Clock) {
    let mut body = pin!(body);
    let drain = async {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            match left.checked_sub(data.remaining()) {
                Some(less) => left = less,
                None => return,
            }
        }
    };
    // Whether time ran out does not matter: the answer is sent either way.
    let _ = clock.timeout(DRAIN_TIME_MAX, drain).await;
}
