//! How long layers may take to come: each has its own bound, and all of a pull have one together.

use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use sys::Clock;

use super::{BlobStream, ImageError};

/// Longest silence in a layer. What comes of it earns more time, but never more silence.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(60);
/// A layer that comes more slowly for long is given up, in bytes a second: pulls have few places.
const LAYER_RATE_MIN: u64 = 64 << 10;
/// A source keeps one pull waiting for this long at most …
const PULL_MAX: Duration = Duration::from_secs(60);
/// … and for as long as all of its layers take at this rate, in bytes a second.
const PULL_RATE_MIN: u64 = 1 << 20;

/// How long one pull may still be kept waiting by its source: the time that our own disk takes is not the source's.
pub(super) struct Patience<'a> {
    clock: &'a Clock,
    left: Duration,
}

impl<'a> Patience<'a> {
    /// For so many bytes.
    pub(super) fn new(clock: &'a Clock, bytes: u64) -> Self {
        Self { clock, left: PULL_MAX + Duration::from_secs(bytes / PULL_RATE_MIN) }
    }

    /// What comes within `max` and what is left, and how long it was waited for.
    pub(super) async fn wait<T>(&mut self, max: Duration, coming: impl Future<Output = T>) -> (Option<T>, Duration) {
        let begun = self.clock.elapsed();
        let came = self.clock.timeout(max.min(self.left), coming).await;
        let waited = self.clock.elapsed().saturating_sub(begun);
        self.left = self.left.saturating_sub(waited);
        (came, waited)
    }
}

pub(super) fn too_slow() -> ImageError {
    ImageError::Unavailable("a layer comes too slowly".to_owned())
}

/// A layer as it comes, and how long it has kept us waiting.
pub(super) struct Slow<'a, 'b> {
    patience: &'a mut Patience<'b>,
    pieces: BlobStream,
    waited: Duration,
    pub(super) received: u64,
}

impl<'a, 'b> Slow<'a, 'b> {
    pub(super) fn new(patience: &'a mut Patience<'b>, pieces: BlobStream) -> Self {
        Self { patience, pieces, waited: Duration::ZERO, received: 0 }
    }

    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ImageError> {
        let earned = Duration::from_secs(self.received / LAYER_RATE_MIN);
        let left = (SILENCE_MAX + earned).saturating_sub(self.waited).min(SILENCE_MAX);
        let (piece, waited) = self.patience.wait(left, self.pieces.try_next()).await;
        self.waited += waited;
        let piece = piece.ok_or_else(too_slow)?;
        let piece = piece.map_err(|error| ImageError::Unavailable(error.to_string()))?;
        self.received += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use sys::Timestamp;

    use super::*;

    /// Reads `count` pieces of `bytes`, of which one comes every 30 seconds.
    async fn read(bytes: usize, count: usize) -> Result<u64, ImageError> {
        let clock = Clock::manual(Timestamp::default());
        let source = clock.clone();
        let pieces = futures_util::stream::unfold(0, move |at| {
            let clock = source.clone();
            async move {
                clock.sleep(Duration::from_secs(30)).await;
                (at < count).then(|| (Ok(Bytes::from(vec![0; bytes])), at + 1))
            }
        });
        let mut patience = Patience::new(&clock, (bytes * count) as u64);
        let mut slow = Slow::new(&mut patience, Box::pin(pieces));
        let reading = async {
            while slow.next().await?.is_some() {}
            Ok(slow.received)
        };
        let ticking = async {
            loop {
                clock.advance(Duration::from_secs(10));
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            read = reading => read,
            () = ticking => unreachable!("it never ends"),
        }
    }

    #[tokio::test]
    async fn a_layer_that_trickles_is_given_up_and_a_slow_one_comes() {
        assert!(matches!(read(1, 10).await, Err(ImageError::Unavailable(why)) if why.contains("too slowly")));
        assert_eq!(read(40 << 20, 10).await, Ok(400 << 20));
        // Enough for a layer, and too little for the whole.
        assert!(matches!(read(40 << 16, 10).await, Err(ImageError::Unavailable(why)) if why.contains("too slowly")));
        // Silence is not earned by what came before it.
        let clock = Clock::manual(Timestamp::default());
        let first = futures_util::stream::iter([Ok(Bytes::from(vec![0; 100 << 20]))]);
        let pieces = futures_util::StreamExt::chain(first, futures_util::stream::pending());
        let mut patience = Patience::new(&clock, 100 << 20);
        let mut slow = Slow::new(&mut patience, Box::pin(pieces));
        assert!(slow.next().await.expect("a piece").is_some());
        let (piece, ()) = tokio::join!(slow.next(), async { clock.advance(SILENCE_MAX) });
        assert!(piece.is_err());
    }
}
