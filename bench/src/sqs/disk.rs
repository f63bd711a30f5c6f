//! What the disk under the temporary folder does by itself.

use std::io::Write;
use std::time::{Duration, Instant};

/// Appends of 256 bytes with an fdatasync after each, per second.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
pub(super) fn fsyncs_per_s(time: Duration) -> anyhow::Result<f64> {
    let mut file = tempfile::tempfile()?;
    let start = Instant::now();
    let mut appends = 0u32;
    while start.elapsed() < time {
        file.write_all(&[0x5a; 256])?;
        file.sync_data()?;
        appends += 1;
    }
    Ok(f64::from(appends) / start.elapsed().as_secs_f64())
}
