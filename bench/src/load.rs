//! Clients that call as fast as they are answered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

/// What `clients` get done in `time`, each waiting for its answer before the next call; per second.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
pub(crate) async fn load<F, Fut>(clients: usize, time: Duration, call: F) -> anyhow::Result<f64>
where
    F: Fn() -> Fut,
    Fut: Future<Output = anyhow::Result<u64>>,
{
    let done = AtomicU64::new(0);
    let start = Instant::now();
    let workers = (0..clients).map(|_| async {
        while start.elapsed() < time {
            done.fetch_add(call().await?, Ordering::Relaxed);
        }
        Ok::<_, anyhow::Error>(())
    });
    try_join_all(workers).await?;
    Ok(done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
}
