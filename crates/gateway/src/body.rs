//! Reading bodies: bounded in size, in time, and all together.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http_body::Body;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use sys::{ByteSize, Clock};
use wire::sigv4::PayloadCheck;
use wire::{ApiError, Trailers};

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

/// A request's body on the wire until somebody has read it whole. Clones share it.
pub(crate) struct Waiting<B>(Arc<Place<B>>);

struct Place<B> {
    body: Mutex<Option<Pin<Box<B>>>>,
    /// Somebody asked for bytes: a client that waits for `100 Continue` has got it.
    is_begun: AtomicBool,
}

impl<B> Clone for Waiting<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: Body<Data = Bytes>> Waiting<B> {
    pub(crate) fn new(body: B) -> Self {
        Self(Arc::new(Place { body: Mutex::new(Some(Box::pin(body))), is_begun: AtomicBool::new(false) }))
    }

    /// Takes it to read it; `None` once it has been read.
    pub(crate) fn begin(&self) -> Option<Reading<B>> {
        let body = self.0.body.lock().take()?;
        Some(Reading { body: Some(body), place: self.clone() })
    }

    /// Whether the client sends without having been asked, or has been asked.
    pub(crate) fn may_be_coming(&self, expects_continue: bool) -> bool {
        !expects_continue || self.0.is_begun.load(Ordering::Relaxed)
    }

    /// How long it is, framing included; `None` when only its end tells.
    pub(crate) fn length(&self) -> Option<u64> {
        self.0.body.lock().as_ref().and_then(|body| body.size_hint().exact())
    }
}

/// A body that is being read. Dropped before its end it goes back to where it waited, so that the rest can be drained.
pub(crate) struct Reading<B> {
    body: Option<Pin<Box<B>>>,
    place: Waiting<B>,
}

impl<B: Body<Data = Bytes>> Reading<B> {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        self.place.0.is_begun.store(true, Ordering::Relaxed);
        loop {
            let Some(frame) = self.body.as_mut()?.frame().await else {
                self.body = None;
                return None;
            };
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => return Some(Ok(data)),
                Ok(Err(_trailers)) => {}
                Err(_) => {
                    self.body = None;
                    return Some(Err(BodyError::Broken));
                }
            }
        }
    }

    fn length_min(&self) -> u64 {
        self.body.as_ref().map_or(0, |body| body.size_hint().lower())
    }
}

impl<B> Drop for Reading<B> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            *self.place.0.body.lock() = Some(body);
        }
    }
}

/// How much time a body has, given what has arrived of it.
struct Pace {
    clock: Clock,
    started: Duration,
    timeout: Duration,
    rate_min: u64,
    received: u64,
}

impl Pace {
    fn new(limits: &Limits, clock: &Clock) -> Self {
        let (timeout, rate_min) = (limits.body_timeout, limits.body_rate_min.max(1));
        Self { clock: clock.clone(), started: clock.elapsed(), timeout, rate_min, received: 0 }
    }

    async fn next<B: Body<Data = Bytes>>(&mut self, reading: &mut Reading<B>) -> Option<Result<Bytes, BodyError>> {
        let earned = Duration::from_secs(self.received / self.rate_min);
        let left = (self.timeout + earned).saturating_sub(self.clock.elapsed().saturating_sub(self.started));
        // What a fast beginning has earned is time to go on slowly, not hours of silence.
        let left = left.min(self.timeout);
        let data = match self.clock.timeout(left, reading.next()).await {
            None => return Some(Err(BodyError::TooSlow)),
            Some(data) => data?,
        };
        Some(data.inspect(|data| self.received += data.len() as u64))
    }
}

/// The body as it arrives, at most `max`; nothing of it is kept.
pub(crate) fn stream<B: Body<Data = Bytes>>(
    reading: Reading<B>,
    max: ByteSize,
    limits: &Limits,
    clock: &Clock,
) -> impl Stream<Item = Result<Bytes, BodyError>> + use<B> {
    let pace = Pace::new(limits, clock);
    futures_util::stream::unfold(Some((reading, pace)), move |state| async move {
        let (mut reading, mut pace) = state?;
        match pace.next(&mut reading).await? {
            Ok(_) if pace.received > max.bytes() => Some((Err(BodyError::TooLarge), None)),
            Ok(data) => Some((Ok(data), Some((reading, pace)))),
            Err(error) => Some((Err(error), None)),
        }
    })
}

/// The body without its framing, `length` bytes, checked while it flows: whatever is wrong with it is the last thing that the handler
/// hears, so that it stores nothing.
pub(crate) fn checked(
    pieces: impl Stream<Item = Result<Bytes, ApiError>> + Send + 'static,
    check: PayloadCheck,
    length: u64,
) -> wire::Body {
    let trailers = Trailers::announcing(check.announced());
    let state = Some((Box::pin(pieces), check, trailers.clone()));
    let checked = futures_util::stream::unfold(state, |state| async move {
        let (mut pieces, mut check, trailers) = state?;
        let next = match pieces.next().await {
            Some(Ok(piece)) => match check.push(piece) {
                Ok(pushed) => return Some((in_pieces(pushed), Some((pieces, check, trailers)))),
                Err(error) => Err(error),
            },
            Some(Err(error)) => Err(error),
            None => check.finish().map(|found| trailers.fill(found)),
        };
        next.err().map(|error| (vec![Err(error)], None))
    });
    let checked = checked.flat_map(futures_util::stream::iter);
    wire::Body::stream(checked, Some(length)).with_trailers(trailers)
}

/// A file that must have one of these sizes (bytes, both included).
pub(crate) fn sized(
    pieces: impl Stream<Item = Result<Bytes, ApiError>> + Send + 'static,
    (min, max): (u64, u64),
) -> impl Stream<Item = Result<Bytes, ApiError>> + Send + 'static {
    let state = Some((Box::pin(pieces), 0u64));
    futures_util::stream::unfold(state, move |state| async move {
        let (mut pieces, seen) = state?;
        match pieces.next().await {
            Some(Ok(piece)) if seen + piece.len() as u64 > max => {
                let message = "Your proposed upload exceeds the maximum allowed size";
                Some((Err(ApiError::client("EntityTooLarge", 400, message)), None))
            }
            Some(Ok(piece)) => {
                let seen = seen + piece.len() as u64;
                Some((Ok(piece), Some((pieces, seen))))
            }
            Some(Err(error)) => Some((Err(error), None)),
            None if seen < min => {
                let message = "Your proposed upload is smaller than the minimum allowed size";
                Some((Err(ApiError::client("EntityTooSmall", 400, message)), None))
            }
            None => None,
        }
    })
}

fn in_pieces(pieces: Vec<Bytes>) -> Vec<Result<Bytes, ApiError>> {
    pieces.into_iter().map(Ok).collect()
}

/// The whole body, at most `max`.
pub(crate) async fn read<B: Body<Data = Bytes>>(
    mut reading: Reading<B>,
    max: ByteSize,
    limits: &Limits,
    clock: &Clock,
    share: &mut Share,
) -> Result<Bytes, BodyError> {
    if reading.length_min() > max.bytes() {
        return Err(BodyError::TooLarge);
    }
    let mut pace = Pace::new(limits, clock);
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(data) = pace.next(&mut reading).await {
        let data = data?;
        if pace.received > max.bytes() {
            return Err(BodyError::TooLarge);
        }
        share.grow(data.len())?;
        // Most bodies come in one piece, which is passed on without a copy.
        if first.is_empty() && rest.is_empty() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.reserve(first.len() + data.len() + usize::try_from(reading.length_min()).unwrap_or(0));
            rest.extend_from_slice(&first);
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// Takes what a client still sends after it was refused and throws it away, within bounds.
pub(crate) async fn drain<B: Body<Data = Bytes>>(mut body: Reading<B>, clock: &Clock) {
    let drain = async {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(data)) = body.next().await {
            match left.checked_sub(data.remaining()) {
                Some(less) => left = less,
                None => return,
            }
        }
    };
    // Whether time ran out does not matter: the answer is sent either way.
    let _ = clock.timeout(DRAIN_TIME_MAX, drain).await;
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;

    use super::*;

    /// Lets everything run that can.
    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn f2_a_fast_beginning_earns_no_long_silence() {
        let clock = Clock::manual(sys::Timestamp::from_unix_s(0));
        let limits = Limits::default();
        // Ten minutes at the slowest rate, at once; then nothing.
        let first = Bytes::from(vec![0; usize::try_from(limits.body_rate_min * 600).expect("small")]);
        let frames = futures_util::stream::iter([Ok::<_, ApiError>(http_body::Frame::data(first))]);
        let waiting = Waiting::new(StreamBody::new(frames.chain(futures_util::stream::pending())));
        let reading = waiting.begin().expect("unread");
        let mut pieces = Box::pin(stream(reading, limits.stream, &limits, &clock));
        assert!(matches!(pieces.next().await, Some(Ok(_))));
        let next = sys::task::spawn("test", async move { pieces.next().await });
        settle().await;
        clock.advance(limits.body_timeout.saturating_sub(Duration::from_millis(1)));
        settle().await;
        assert!(!next.is_finished());
        clock.advance(Duration::from_millis(1));
        assert_eq!(next.await.expect("ends").flatten(), Some(Err(BodyError::TooSlow)));
    }
}
