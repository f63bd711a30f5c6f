//! Reading a trace, or making one up.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use sys::Rng;

/// One function of a trace.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Function {
    /// Invocations in each minute.
    pub(crate) per_minute: Vec<u32>,
    /// How long each runs.
    pub(crate) duration: Duration,
    /// Memory of one environment.
    pub(crate) memory_mb: f64,
}

const DEFAULT_DURATION: Duration = Duration::from_millis(300);
const DEFAULT_MEMORY_MB: f64 = 170.0;

/// Reads the three files.
pub(crate) fn read(
    invocations: &Path,
    durations: Option<&Path>,
    memory: Option<&Path>,
) -> anyhow::Result<Vec<Function>> {
    let durations = durations.map(|file| column(file, "HashFunction", "Average")).transpose()?.unwrap_or_default();
    let memory = memory.map(|file| column(file, "HashApp", "AverageAllocatedMb")).transpose()?.unwrap_or_default();
    let text = std::fs::read_to_string(invocations).with_context(|| invocations.display().to_string())?;
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().context("the file is empty")?.split(',').collect();
    let place = |name: &str| head.iter().position(|column| *column == name);
    let function = place("HashFunction").context("no column HashFunction")?;
    let app = place("HashApp");
    let first = place("1").context("no column 1: the first minute")?;
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            ensure!(fields.len() == head.len(), "a line with {} fields, not {}", fields.len(), head.len());
            let per_minute = fields[first..].iter().map(|field| field.parse::<u32>()).collect::<Result<_, _>>()?;
            let duration = durations.get(fields[function]).map(|ms| Duration::from_secs_f64(ms.max(1.0) / 1e3));
            let memory_mb = app.and_then(|app| memory.get(fields[app])).copied();
            Ok(Function {
                per_minute,
                duration: duration.unwrap_or(DEFAULT_DURATION),
                memory_mb: memory_mb.unwrap_or(DEFAULT_MEMORY_MB),
            })
        })
        .collect()
}

/// The numbers in column `value`, by the text in column `key`.
fn column(file: &Path, key: &str, value: &str) -> anyhow::Result<HashMap<String, f64>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().context("the file is empty")?.split(',').collect();
    let place =
        |name: &str| head.iter().position(|column| *column == name).with_context(|| format!("no column {name}"));
    let (key, value) = (place(key)?, place(value)?);
    let number = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        Some(((*fields.get(key)?).to_owned(), fields.get(value)?.parse().ok()?))
    };
    Ok(lines.filter_map(number).collect())
}

/// Functions of the kinds that the public traces show: most are rare, some tick like a clock, few make most of the calls.
pub(crate) fn make_up(count: usize, minutes: usize, rng: &Rng) -> Vec<Function> {
    let one = |n: usize| {
        let per_minute: Vec<u32> = match n % 10 {
            // Timers: every 1, 5, 15, 60 minutes.
            0..=2 => {
                let period = [1, 5, 15, 60][usize::try_from(rng.below(4)).unwrap_or(0)];
                let phase = usize::try_from(rng.below(period as u64)).unwrap_or(0);
                (0..minutes).map(|minute| u32::from(minute % period == phase)).collect()
            }
            // Rare: once in 10 minutes to once in 10 hours, at random.
            3..=6 => {
                let every = 10 * (1 + rng.below(60));
                (0..minutes).map(|_| u32::from(rng.below(every) == 0)).collect()
            }
            // Busy by day only.
            7 | 8 => (0..minutes)
                .map(|minute| {
                    let by_day = (minute / 60) % 24 >= 8 && (minute / 60) % 24 < 18;
                    if by_day { u32::try_from(rng.below(6)).unwrap_or(0) } else { u32::from(rng.below(120) == 0) }
                })
                .collect(),
            // Bursts between long silences.
            _ => {
                let mut left = 0;
                (0..minutes)
                    .map(|_| {
                        if left == 0 && rng.below(90) == 0 {
                            left = 1 + rng.below(10);
                        }
                        let busy = left > 0;
                        left = left.saturating_sub(1);
                        if busy { 20 + u32::try_from(rng.below(60)).unwrap_or(0) } else { 0 }
                    })
                    .collect()
            }
        };
        Function {
            per_minute,
            duration: Duration::from_millis(20 + rng.below(1_000)),
            memory_mb: 64.0 + rng.below(448) as f64,
        }
    };
    (0..count).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_files_are_joined_by_their_hashes() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let invocations = write(
            "invocations.csv",
            "HashOwner,HashApp,HashFunction,Trigger,1,2,3\no,a,f,http,0,2,1\no,b,g,timer,1,0,0\n",
        );
        let durations = write("durations.csv", "HashOwner,HashApp,HashFunction,Average,Count\no,a,f,250,9\n");
        let memory = write("memory.csv", "HashOwner,HashApp,SampleCount,AverageAllocatedMb\no,b,3,99\n");
        let read = read(&invocations, Some(&durations), Some(&memory)).expect("it reads");
        let expected = [
            Function { per_minute: vec![0, 2, 1], duration: Duration::from_millis(250), memory_mb: DEFAULT_MEMORY_MB },
            Function { per_minute: vec![1, 0, 0], duration: DEFAULT_DURATION, memory_mb: 99.0 },
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_made_up_is_the_same_for_the_same_seed() {
        assert_eq!(make_up(20, 100, &Rng::seeded(3)), make_up(20, 100, &Rng::seeded(3)));
        assert_ne!(make_up(20, 100, &Rng::seeded(3)), make_up(20, 100, &Rng::seeded(4)));
    }
}
