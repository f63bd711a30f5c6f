//! Wall clock, monotonic clock, sleeping.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// A moment of wall time: microseconds since 1970-01-01T00:00:00Z. Negative before that day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    unix_us: i64,
}

impl Timestamp {
    /// The moment `unix_us` microseconds after the Unix epoch.
    pub const fn from_unix_us(unix_us: i64) -> Self {
        Self { unix_us }
    }

    /// The moment `unix_ms` milliseconds after the Unix epoch.
    pub const fn from_unix_ms(unix_ms: i64) -> Self {
        Self { unix_us: unix_ms.saturating_mul(1_000) }
    }

    /// The moment `unix_s` seconds after the Unix epoch.
    pub const fn from_unix_s(unix_s: i64) -> Self {
        Self { unix_us: unix_s.saturating_mul(1_000_000) }
    }

    /// Microseconds since the Unix epoch.
    pub const fn unix_us(self) -> i64 {
        self.unix_us
    }

    /// Whole milliseconds since the Unix epoch, rounded down.
    pub const fn unix_ms(self) -> i64 {
        self.unix_us.div_euclid(1_000)
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn unix_s(self) -> i64 {
        self.unix_us.div_euclid(1_000_000)
    }

    /// Seconds since the Unix epoch with their fraction: the form in which AWS JSON carries times.
    pub fn unix_s_f64(self) -> f64 {
        self.unix_us as f64 / 1e6
    }

    /// The time from `earlier` to `self`; zero when `earlier` is later (wall clocks step back).
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.unix_us - earlier.unix_us).unwrap_or(0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, rhs: Duration) -> Timestamp {
        let us = i64::try_from(rhs.as_micros()).unwrap_or(i64::MAX);
        Timestamp { unix_us: self.unix_us.saturating_add(us) }
    }
}

/// Source of time. Cloning is cheap and clones agree.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System { started: Instant },
    Manual(Arc<Mutex<Manual>>),
}

#[derive(Debug)]
struct Manual {
    now: Timestamp,
    elapsed: Duration,
    /// Sleepers by the monotonic moment at which they wake; the counter keeps keys unique and order stable.
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
    next_sleeper: u64,
}

impl Clock {
    /// The operating system's clocks.
    #[expect(clippy::disallowed_methods, reason = "the one place that may read the machine's clock")]
    pub fn system() -> Self {
        Self(Source::System { started: Instant::now() })
    }

    /// A clock that stands still at `start` until a test calls [`Clock::advance`].
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(Mutex::new(Manual {
            now: start,
            elapsed: Duration::ZERO,
            sleepers: BTreeMap::new(),
            next_sleeper: 0,
        }))))
    }

    /// Wall time. May step backwards; use [`Clock::elapsed`] to measure.
    #[expect(clippy::disallowed_methods, reason = "the one place that may read the machine's clock")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System { .. } => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::from_unix_us(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
            }
            Source::Manual(manual) => manual.lock().now,
        }
    }

    /// Monotonic time since this clock was made. Never steps back.
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            Source::System { started } => started.elapsed(),
            Source::Manual(manual) => manual.lock().elapsed,
        }
    }

    /// Sleeps for `duration` of this clock's time.
    #[expect(clippy::disallowed_methods, reason = "the one place that may sleep on the machine's clock")]
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            Source::System { .. } => tokio::time::sleep(duration).await,
            Source::Manual(manual) => {
                let woken = {
                    let mut manual = manual.lock();
                    let (wake, woken) = oneshot::channel();
                    let key = (manual.elapsed + duration, manual.next_sleeper);
                    manual.next_sleeper += 1;
                    manual.sleepers.insert(key, wake);
                    woken
                };
                // The sender is dropped only with the clock itself; then nobody can be waiting for time to pass.
                let _ = woken.await;
            }
        }
    }

    /// Runs `future` for at most `limit` of this clock's time; `None` when time ran out first.
    pub async fn timeout<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = self.sleep(limit) => None,
        }
    }

    /// Moves a manual clock forward and wakes, in order, every sleeper whose time has come.
    ///
    /// # Panics
    /// On a system clock: only tests hold manual clocks, and only they advance them.
    pub fn advance(&self, by: Duration) {
        let Source::Manual(manual) = &self.0 else { panic!("only a manual clock can be advanced") };
        let mut manual = manual.lock();
        manual.elapsed += by;
        manual.now = manual.now + by;
        let still_asleep = {
            let bound = (manual.elapsed, u64::MAX);
            let mut later = manual.sleepers.split_off(&bound);
            std::mem::swap(&mut later, &mut manual.sleepers);
            later
        };
        for (_, wake) in still_asleep {
            // A sleeper that gave up (its future was dropped) is no error.
            let _ = wake.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_round_down_also_before_the_epoch() {
        let t = Timestamp::from_unix_us(-1);
        assert_eq!((t.unix_ms(), t.unix_s()), (-1, -1));
        assert_eq!(Timestamp::from_unix_ms(1_500).unix_s(), 1);
    }

    #[test]
    fn since_is_zero_when_the_wall_clock_stepped_back() {
        let (early, late) = (Timestamp::from_unix_s(1), Timestamp::from_unix_s(2));
        assert_eq!(late.since(early), Duration::from_secs(1));
        assert_eq!(early.since(late), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_manual_sleeper_wakes_exactly_when_its_time_has_come() {
        let clock = Clock::manual(Timestamp::from_unix_s(100));
        let sleeper = crate::task::spawn("sleeper", {
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_secs(10)).await }
        });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_millis(9_999));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_millis(1));
        sleeper.await.expect("the sleeper does not panic");
        assert_eq!(clock.now(), Timestamp::from_unix_s(110));
    }

    #[tokio::test]
    async fn timeout_reports_what_finished_first() {
        let clock = Clock::manual(Timestamp::default());
        assert_eq!(clock.timeout(Duration::from_secs(1), async { 7 }).await, Some(7));
        let waiting = clock.timeout(Duration::from_secs(1), std::future::pending::<()>());
        let (outcome, ()) = tokio::join!(waiting, async { clock.advance(Duration::from_secs(1)) });
        assert_eq!(outcome, None);
    }
}
