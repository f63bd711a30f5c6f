//! SIGKILL at random moments: every acknowledged commit is there, none half, none out of order.
//!
//! The test binary starts itself again as the writer. The writer prints a line for each acknowledged commit; the parent
//! keeps the lines that it read (the oracle), kills the writer with -9, opens the store and compares.
//! `KV_CRASH_ROUNDS` sets the number of kills.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use kv::key::{pack, subspace};
use kv::{Atomic, Error, Kv, RangeOptions, Txn};
use sys::{Clock, Rng};

const FOLDER: &str = "KV_CRASH_FOLDER";
const TASKS: u64 = 6;
const PARTS: u64 = 3;
/// So many of the newest commits of a task stay in the store; older ones are cleared.
const KEPT: u64 = 100;

fn open(folder: &Path) -> Kv {
    Kv::open_fjall(folder, Clock::system(), Rng::system()).unwrap()
}

async fn read_number(tx: &Txn, key: &[u8]) -> Result<u64, Error> {
    Ok(tx.get(key).await?.map_or(0, |number| u64::from_le_bytes(number[..].try_into().unwrap())))
}

/// Commit `n` of `task`: its parts, its own counter, the counter of all, and the end of an old commit.
async fn commit(kv: &Kv, task: u64, n: u64) {
    kv.transact(|tx| async move {
        let last = pack(&["last".into(), task.into()]);
        assert_eq!(read_number(&tx, &last).await?, n - 1, "commits of a task follow each other");
        for part in 0..PARTS {
            let size = usize::try_from(100 + n % 7 * 300).unwrap();
            tx.set(pack(&["part".into(), task.into(), n.into(), part.into()]), vec![n.to_le_bytes()[0]; size]);
        }
        tx.set(&last, n.to_le_bytes().to_vec());
        tx.atomic(Atomic::Add, "total", 1u64.to_le_bytes());
        if let Some(old) = n.checked_sub(KEPT) {
            let old = subspace(&["part".into(), task.into(), old.into()]);
            tx.clear_range(&old.begin, &old.end);
        }
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
}

/// The writer process: commits until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the crash test, in a process of its own"]
async fn writer() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let kv = open(Path::new(&folder));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let kv = kv.clone();
            sys::task::spawn("writer", async move {
                let last = kv.read(|tx| async move { read_number(&tx, &pack(&["last".into(), task.into()])).await });
                for n in last.await.unwrap() + 1.. {
                    commit(&kv, task, n).await;
                    // The parent is gone when nobody reads.
                    if writeln!(std::io::stdout().lock(), "acknowledged {task} {n}").is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
}

fn start_writer(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::writer", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets the writer run for a random number of acknowledgements, kills it, and returns the last one of each task.
/// Whatever was in the pipe when the writer died had been acknowledged, so it counts.
fn run_and_kill(folder: &Path, rng: &Rng) -> BTreeMap<u64, u64> {
    let mut writer = start_writer(folder);
    let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
    let mut oracle = BTreeMap::new();
    let mut left = 1 + rng.below(300);
    while let Some(line) = lines.next().transpose().unwrap() {
        // libtest prints lines of its own.
        let Some(numbers) = line.strip_prefix("acknowledged ") else { continue };
        let Some((task, n)) = numbers.split_once(' ') else { continue };
        // Killed in the middle of a line: then its number is cut, and smaller than the acknowledged one.
        let (Ok(task), Ok(n)) = (task.parse(), n.parse::<u64>()) else { continue };
        let newest = oracle.entry(task).or_insert(0);
        *newest = n.max(*newest);
        left -= u64::from(left > 0);
        if left == 0 {
            // Harmless when it is dead already; the loop then reads what is left in the pipe.
            writer.kill().unwrap();
        }
    }
    assert_eq!(left, 0, "the writer ended by itself: {:?}", writer.wait().unwrap());
    writer.wait().unwrap();
    oracle
}

async fn check(folder: &Path, oracle: &BTreeMap<u64, u64>) {
    let kv = open(folder);
    let mut total = 0;
    for task in 0..TASKS {
        let (last, parts) = kv
            .read(|tx| async move {
                let parts = subspace(&["part".into(), task.into()]);
                let pairs = tx.range(&parts.begin, &parts.end, RangeOptions::default()).await?;
                Ok::<_, Error>((read_number(&tx, &pack(&["last".into(), task.into()])).await?, pairs))
            })
            .await
            .unwrap();
        let acknowledged = oracle.get(&task).copied().unwrap_or(0);
        assert!(last >= acknowledged, "task {task}: {acknowledged} was acknowledged, {last} is the last there");
        let expected: Vec<_> = (last.saturating_sub(KEPT - 1).max(1)..=last)
            .flat_map(|n| (0..PARTS).map(move |part| (n, part)))
            .map(|(n, part)| (pack(&["part".into(), task.into(), n.into(), part.into()]), n.to_le_bytes()[0]))
            .collect();
        assert_eq!(parts.len(), expected.len(), "task {task}, last {last}");
        for ((key, value), (expected_key, byte)) in parts.iter().zip(&expected) {
            assert_eq!(key, expected_key, "task {task}: a commit is half there");
            assert!(value.iter().all(|found| found == byte));
        }
        total += last;
    }
    let counted = kv.read(|tx| async move { read_number(&tx, b"total").await }).await.unwrap();
    assert_eq!(counted, total, "the counter of all moved with each commit");
}

#[tokio::test]
async fn sigkill_loses_no_acknowledged_commit_and_halves_none() {
    let rounds = std::env::var("KV_CRASH_ROUNDS").map_or(20, |rounds| rounds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let rng = Rng::system();
    for round in 0..rounds {
        let oracle = run_and_kill(folder.path(), &rng);
        assert!(!oracle.is_empty(), "round {round}");
        check(folder.path(), &oracle).await;
    }
}
