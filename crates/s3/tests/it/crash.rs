//! test:A1: SIGKILL at random moments. Every acknowledged object is there and whole, none is a mix, every acknowledged
//! write has its event, and what an unfinished upload left is swept.
//!
//! The test binary starts itself again as the writer, which prints a line for each acknowledged write. The parent kills
//! it with -9, opens the stores and compares. `S3_CRASH_ROUNDS` sets the number of kills.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use kv::layer::outbox::{Config as Delivery, Verdict, deliver};
use s3::Notice;
use sys::task::CancellationToken;

use super::*;

const FOLDER: &str = "S3_CRASH_FOLDER";
const TASKS: u64 = 4;
/// So many of the newest objects of a task stay; older ones are deleted.
const KEPT: u64 = 12;

pub(super) async fn open(folder: &Path) -> Fixture {
    let (clock, rng) = (Clock::system(), Rng::system());
    let kv = Kv::open_fjall(folder.join("kv"), clock.clone(), rng.clone()).expect("the store opens again");
    let blobs = Blobs::local(folder.join("blobs"), clock.clone(), rng.clone()).await.expect("opens");
    let s3 = S3::new(Parts {
        kv: kv.clone(),
        blobs: blobs.namespace("s3").await.expect("opens"),
        clock: clock.clone(),
        rng: rng.clone(),
        node_key: NodeKey::open(&folder.join("s3-key"), &kv, &rng).await.expect("the key"),
        config: Config::default(),
        may_act: Arc::new(|_| Box::pin(async { Ok(()) })),
        may_do: Arc::new(|_, _| Box::pin(async { Ok(()) })),
        check_policy: Arc::new(|_| Ok(())),
    });
    Fixture { folder: tempfile::tempdir().expect("unused"), kv, clock, service: s3::service(s3.clone()), s3 }
}

/// The bytes of object `n` of a task: small, in a blob, or in two parts.
fn bytes_of(task: u64, n: u64) -> Bytes {
    let size = [300, 90_000, 5 * 1024 * 1024 + 100][usize::try_from(n % 3).expect("small")];
    let size = if n % 30 == 2 { size } else { size.min(120_000) };
    content(task << 32 | n, size)
}

async fn write(s3: &Fixture, task: u64, n: u64) {
    let bytes = bytes_of(task, n);
    for key in [format!("t{task}/own/{n:08}"), format!("t{task}/over")] {
        let number = n.to_string();
        let meta = [("x-amz-meta-n", number.as_str())];
        if bytes.len() > 1_000_000 {
            let upload =
                s3.ok("CreateMultipartUpload", &format!("POST /bkt/{key}?uploads"), &meta, "").await.one("UploadId");
            let mut list = String::new();
            for (number, part) in [(1, bytes.slice(..5 * 1024 * 1024)), (2, bytes.slice(5 * 1024 * 1024..))] {
                let line = format!("PUT /bkt/{key}?partNumber={number}&uploadId={upload}");
                let etag = s3.ok("UploadPart", &line, &[], part).await.header("etag").to_owned();
                list.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"));
            }
            let list = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
            s3.ok("CompleteMultipartUpload", &format!("POST /bkt/{key}?uploadId={upload}"), &[], list).await;
        } else {
            s3.ok("PutObject", &format!("PUT /bkt/{key}"), &meta, bytes.clone()).await;
        }
    }
    if let Some(old) = n.checked_sub(KEPT) {
        s3.ok("DeleteObject", &format!("DELETE /bkt/t{task}/own/{old:08}"), &[], "").await;
    }
}

/// The number in the last object of a task; 0 when there is none.
async fn last(s3: &Fixture, task: u64) -> u64 {
    let head = s3.send("HeadObject", &format!("HEAD /bkt/t{task}/over"), &[], "").await;
    head.header("x-amz-meta-n").parse().unwrap_or(0)
}

/// The writer process: writes until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the crash test, in a process of its own"]
async fn writer() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let s3 = Arc::new(open(Path::new(&folder)).await);
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let s3 = Arc::clone(&s3);
            sys::task::spawn("writer", async move {
                for n in last(&s3, task).await + 1.. {
                    write(&s3, task, n).await;
                    // The parent is gone when nobody reads.
                    if writeln!(std::io::stdout().lock(), "acknowledged {task} {n}").is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("the test holds").expect("the test holds");
    }
}

/// Lets the writer run for a random number of acknowledgements, kills it, and returns the last one of each task.
fn run_and_kill(folder: &Path, rng: &Rng) -> BTreeMap<u64, u64> {
    let mut writer = Command::new(std::env::current_exe().expect("the test holds"))
        .args(["--exact", "crash::writer", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the test holds");
    let lines = BufReader::new(writer.stdout.take().expect("the test holds")).lines();
    let mut oracle = BTreeMap::new();
    let mut left = 1 + rng.below(60);
    for line in lines {
        let line = line.expect("the test holds");
        let Some(numbers) = line.strip_prefix("acknowledged ") else { continue };
        let Some((task, n)) = numbers.split_once(' ') else { continue };
        // Killed in the middle of a line: then its number is cut, and smaller than the acknowledged one.
        let (Ok(task), Ok(n)) = (task.parse(), n.parse::<u64>()) else { continue };
        let newest = oracle.entry(task).or_insert(0);
        *newest = n.max(*newest);
        left -= u64::from(left > 0);
        if left == 0 {
            // Harmless when it is dead already; the loop then reads what is left in the pipe.
            writer.kill().expect("the test holds");
        }
    }
    assert_eq!(left, 0, "the writer ended by itself: {:?}", writer.wait().expect("the test holds"));
    writer.wait().expect("the test holds");
    oracle
}

/// Keys whose creation was told; delivers all that waits.
async fn told(s3: &Fixture) -> BTreeSet<String> {
    let seen = Arc::new(parking_lot::Mutex::new(BTreeSet::new()));
    let (took, stop) = (Arc::clone(&seen), CancellationToken::new());
    let handler = move |delivery: kv::layer::outbox::Delivery| {
        let took = Arc::clone(&took);
        async move {
            let notice = Notice::decode(&delivery.payload).expect("ours");
            let record = &notice.body["Records"][0];
            if record["eventName"].as_str().is_some_and(|name| name.starts_with("ObjectCreated")) {
                took.lock().insert(record["s3"]["object"]["key"].as_str().expect("a key").to_owned());
            }
            Verdict::Done
        }
    };
    let ends = stop.clone();
    let idle = s3.clock.clone();
    let counted = Arc::clone(&seen);
    sys::task::spawn("until idle", async move {
        let mut before = usize::MAX;
        while before != counted.lock().len() {
            before = counted.lock().len();
            idle.sleep(Duration::from_millis(300)).await;
        }
        ends.cancel();
    });
    deliver(s3::OUTBOX, s3.kv.clone(), s3.clock.clone(), Delivery::default(), stop, handler).await;
    std::mem::take(&mut *seen.lock())
}

async fn check(folder: &Path, oracle: &BTreeMap<u64, u64>, told_before: &mut BTreeSet<String>) {
    let s3 = open(folder).await;
    told_before.extend(told(&s3).await);
    for task in 0..TASKS {
        let acknowledged = oracle.get(&task).copied().unwrap_or(0);
        let there = last(&s3, task).await;
        assert!(there >= acknowledged, "task {task}: {acknowledged} was acknowledged, {there} is there");
        if there > 0 {
            let over = s3.get(&format!("bkt/t{task}/over")).await;
            assert!(over == Some(bytes_of(task, there)), "task {task}: object {there} is not whole");
        }
        for n in acknowledged.saturating_sub(KEPT - 2).max(1)..=acknowledged {
            let key = format!("t{task}/own/{n:08}");
            assert!(s3.get(&format!("bkt/{key}")).await == Some(bytes_of(task, n)), "{key} is lost or altered");
            assert!(told_before.contains(&key), "{key} was acknowledged and nobody was told");
        }
        if let Some(gone) = acknowledged.checked_sub(KEPT).filter(|gone| *gone > 0) {
            assert_eq!(s3.get(&format!("bkt/t{task}/own/{gone:08}")).await, None, "an acknowledged delete came back");
        }
    }
    let report = s3::jobs::scrub(&s3.s3).await.expect("the test holds");
    assert_eq!(report.damaged, []);
}

#[tokio::test]
async fn a1_sigkill_loses_no_acknowledged_object_and_alters_none() {
    let rounds = std::env::var("S3_CRASH_ROUNDS").map_or(4, |rounds| rounds.parse().expect("the test holds"));
    let folder = tempfile::tempdir().expect("the test holds");
    let rng = Rng::system();
    let s3 = open(folder.path()).await;
    s3.bucket("bkt").await;
    let body = "<NotificationConfiguration><QueueConfiguration><Queue>arn:aws:sqs:us-east-1:123456789012:q</Queue>\
                <Event>s3:ObjectCreated:*</Event></QueueConfiguration></NotificationConfiguration>";
    s3.ok("PutBucketNotificationConfiguration", "PUT /bkt?notification", &[], body).await;
    drop(s3);
    let mut told = BTreeSet::new();
    for round in 0..rounds {
        let oracle = run_and_kill(folder.path(), &rng);
        assert!(!oracle.is_empty(), "round {round}");
        check(folder.path(), &oracle, &mut told).await;
    }
}
