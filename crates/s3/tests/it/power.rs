//! test:A4. Objects are written on a disk that logs every write and fsync (`crashfs`). From the log come the disks that power
//! cuts may have left: at every barrier, with what was not synced lost, kept, torn or reordered. Each of them opens, and
//! holds what was acknowledged before the cut, whole; what was not is there wholly or not at all.
//!
//! `S3_CRASH_OPERATIONS` and `S3_CRASH_IMAGES` (0: all) make longer runs, `TINDERBOX_SEED` repeats one.

use std::collections::BTreeMap;
use std::path::Path;

use crashfs::{Change, Crash, Disk, Mounted, Tree, image};
use parking_lot::Mutex;

use super::crash::open;
use super::*;

const TASKS: u64 = 4;
/// Of each task.
const KEYS: u64 = 8;
/// Nothing, small, the last size that is a value of the store, the first that is a file, several chunks of a file.
const SIZES: [usize; 6] = [0, 300, 60_000, 64 << 10, (64 << 10) + 1, 200_000];
const SHARED: &str = "shared";

/// A write of an object, or a delete. Positions are those of the disk's log.
#[derive(Clone, Debug)]
struct Write {
    begun: usize,
    acknowledged: Option<usize>,
    /// Seed and size of the bytes; `None` deletes.
    object: Option<(u64, usize)>,
}

/// Of each key, in the order in which they began.
type History = BTreeMap<String, Vec<Write>>;

/// The clients: what they do, and what they remember.
struct Load {
    s3: Fixture,
    disk: Disk,
    history: Mutex<History>,
}

impl Load {
    /// Runs one write, and notes where it began and where it was acknowledged.
    async fn write(&self, key: &str, object: Option<(u64, usize)>, chance: &Rng) {
        let begun = self.disk.position();
        let at = {
            let mut history = self.history.lock();
            let writes = history.entry(key.to_owned()).or_default();
            writes.push(Write { begun, acknowledged: None, object });
            writes.len() - 1
        };
        match object {
            None => drop(self.s3.ok("DeleteObject", &format!("DELETE /bkt/{key}"), &[], "").await),
            Some((seed, size)) if chance.below(6) == 0 => self.upload(key, content(seed, size)).await,
            Some((seed, size)) => drop(self.s3.put(&format!("bkt/{key}"), content(seed, size)).await),
        }
        let acknowledged = self.disk.position();
        self.history.lock().get_mut(key).expect("noted above")[at].acknowledged = Some(acknowledged);
    }

    /// An upload in one part.
    async fn upload(&self, key: &str, bytes: Bytes) {
        let started = self.s3.ok("CreateMultipartUpload", &format!("POST /bkt/{key}?uploads"), &[], "").await;
        let upload = started.one("UploadId");
        let line = format!("PUT /bkt/{key}?partNumber=1&uploadId={upload}");
        let etag = self.s3.ok("UploadPart", &line, &[], bytes).await.header("etag").to_owned();
        let list = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
        );
        self.s3.ok("CompleteMultipartUpload", &format!("POST /bkt/{key}?uploadId={upload}"), &[], list).await;
    }

    async fn client(&self, task: u64, operations: u64, chance: Rng) {
        for _ in 0..operations {
            let object = Some((chance.next_u64(), SIZES[usize::try_from(chance.below(6)).expect("small")]));
            match chance.below(10) {
                0 => self.write(SHARED, object, &chance).await,
                1 => self.write(&format!("t{task}/{}", chance.below(KEYS)), None, &chance).await,
                _ => self.write(&format!("t{task}/{}", chance.below(KEYS)), object, &chance).await,
            }
        }
    }
}

/// What is known of a run.
struct Run {
    base: Tree,
    log: Vec<Change>,
    history: History,
    /// When the bucket was acknowledged.
    bucket: usize,
}

/// Fresh stores on a fresh disk, and `operations` of each client.
async fn run(operations: u64, seed: u64) -> Run {
    let (folder, disk) = (tempfile::tempdir().expect("the test holds"), Disk::default());
    let mounted = Mounted::at(folder.path(), &disk, Clock::system()).expect("FUSE, as root");
    let s3 = open(folder.path()).await;
    s3.bucket("bkt").await;
    let bucket = disk.position();
    let load = Arc::new(Load { s3, disk: disk.clone(), history: Mutex::default() });
    let start = |task| {
        let load = Arc::clone(&load);
        sys::task::spawn("client", async move { load.client(task, operations, Rng::seeded(seed ^ task)).await })
    };
    for client in (0..TASKS).map(start).collect::<Vec<_>>() {
        client.await.expect("the test holds").expect("the test holds");
    }
    let (base, log) = disk.recorded();
    let Ok(load) = Arc::try_unwrap(load) else { panic!("all clients have ended") };
    drop(load.s3);
    mounted.unmount().expect("the test holds");
    Run { base, log, history: load.history.into_inner(), bucket }
}

/// What may be at a key after a cut.
fn possible(writes: &[Write], cut: usize) -> Vec<Option<(u64, usize)>> {
    let is_done = |write: &Write| write.acknowledged.is_some_and(|position| position <= cut);
    // A delete of nothing begins and ends at one position: it is not over by itself.
    let is_over = |(at, write): &(usize, &Write)| {
        let end = write.acknowledged.unwrap_or(usize::MAX);
        writes[at + 1..].iter().any(|later| is_done(later) && later.begun >= end)
    };
    let begun = writes.iter().enumerate().filter(|(_, write)| write.begun < cut || is_done(write));
    let mut possible: Vec<_> = begun.filter(|write| !is_over(write)).map(|(_, write)| write.object).collect();
    if !writes.iter().any(is_done) {
        possible.push(None);
    }
    possible
}

/// Opens what a cut left and compares it with what the clients remember; what differs.
async fn check(folder: &Path, run: &Run, cut: usize) -> Vec<String> {
    let (s3, mut wrong) = (open(folder).await, Vec::new());
    let bucket = s3.send("HeadBucket", "HEAD /bkt", &[], "").await;
    if bucket.status != 200 {
        return if run.bucket <= cut { vec!["the bucket is lost".to_owned()] } else { wrong };
    }
    let mut there = Vec::new();
    for (key, writes) in &run.history {
        let possible = possible(writes, cut);
        let answer = s3.send("GetObject", &format!("GET /bkt/{key}"), &[], "").await;
        let is_right = match answer.status {
            404 => possible.contains(&None),
            200 => possible.iter().flatten().any(|(seed, size)| content(*seed, *size) == answer.body),
            _ => false,
        };
        if answer.status == 200 {
            there.push(key.clone());
        }
        if !is_right {
            let found = (answer.status, answer.body.len());
            wrong.push(format!("{key}: status and bytes {found:?}, possible {possible:?} of {writes:?}"));
        }
    }
    let listed = s3.ok("ListObjectsV2", "GET /bkt?list-type=2", &[], "").await.all("Key");
    if listed != there {
        wrong.push(format!("the list is {listed:?}, the objects are {there:?}"));
    }
    let damaged = s3::jobs::scrub(&s3.s3).await.expect("the test holds").damaged;
    if !damaged.is_empty() {
        wrong.push(format!("damaged: {damaged:?}"));
    }
    s3.put("bkt/after", content(1, 100_000)).await;
    wrong
}

/// Every cut right before and right after a barrier, and as many in between.
fn cuts(log: &[Change], chance: &Rng) -> Vec<usize> {
    let barriers = (0..log.len()).filter(|at| matches!(log[*at], Change::Sync { .. }));
    let mut cuts: Vec<usize> = barriers.flat_map(|at| [at, at + 1]).collect();
    let between = |_| usize::try_from(chance.below(log.len() as u64)).expect("small");
    cuts.extend((0..cuts.len() / 2).map(between).collect::<Vec<_>>());
    cuts.sort_unstable();
    cuts
}

/// Where images are written: memory, where there is some.
fn images() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("the test holds")
}

fn number(name: &str, or: u64) -> u64 {
    std::env::var(name).map_or(or, |value| value.parse().expect("a number"))
}

/// The disk that `crash` leaves at `cut`; what on it differs from what is known.
async fn check_image(run: &Run, cut: usize, crash: Crash, seed: u64) -> Result<(), String> {
    let folder = images();
    image(&run.base, &run.log[..cut], crash, &Rng::seeded(seed)).write_to(folder.path()).expect("the test holds");
    let wrong = check(folder.path(), run, cut).await;
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(format!("cut at {cut} of {}, {crash:?}, seed {seed}: {wrong:#?}", run.log.len())),
    }
}

/// Checks `count` images of a run, two at a time.
async fn check_images(run: Arc<Run>, count: usize, seed: u64) {
    let cuts = Arc::new(cuts(&run.log, &Rng::seeded(seed)));
    let half = |from| {
        let (run, cuts) = (Arc::clone(&run), Arc::clone(&cuts));
        sys::task::spawn("images", async move {
            for number in (from..count).step_by(2) {
                // Spread over the whole log, however many there are; each crash in turn.
                let cut = cuts[number * cuts.len() / count];
                let crashes = Crash::all();
                check_image(&run, cut, crashes[number % crashes.len()], seed.wrapping_add(number as u64)).await?;
            }
            Ok::<_, String>(())
        })
    };
    for half in [half(0), half(1)] {
        let outcome = half.await.expect("the test holds").expect("see above");
        assert_eq!(outcome, Ok(()), "TINDERBOX_SEED={seed}");
    }
}

/// Whether a disk can be mounted here; elsewhere the test says that it proves nothing.
fn can_mount() -> bool {
    let trial = tempfile::tempdir().expect("the test holds");
    let mounted = Mounted::at(trial.path(), &Disk::default(), Clock::system());
    if let Err(error) = &mounted {
        assert!(std::env::var_os("CI").is_none(), "FUSE: {error}");
        eprintln!("SKIPPED: this test needs FUSE, as root: {error}");
    }
    mounted.is_ok()
}

/// `operations` of each client, then `images` of what cuts left. 0 images are all: each cut with each crash.
async fn cut_power(operations: u64, images: u64) {
    if !can_mount() {
        return;
    }
    let seed = number("TINDERBOX_SEED", Rng::system().below(1 << 32));
    eprintln!("TINDERBOX_SEED={seed}");
    let run = Arc::new(run(operations, seed).await);
    let barriers = run.log.iter().filter(|change| matches!(change, Change::Sync { .. })).count();
    let writes: usize = run.history.values().map(Vec::len).sum();
    let count =
        if images > 0 { usize::try_from(images).expect("small") } else { 5 * barriers / 2 * Crash::all().len() };
    eprintln!("{writes} writes of objects, {} changes of the disk, {barriers} barriers, {count} images", run.log.len());
    check_images(run, count, seed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a4_a_power_cut_at_any_barrier_loses_and_alters_no_acknowledged_object() {
    cut_power(number("S3_CRASH_OPERATIONS", 70), number("S3_CRASH_IMAGES", 64)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a4_a_power_cut_while_the_stores_are_made_leaves_what_can_be_opened() {
    cut_power(0, number("S3_CRASH_IMAGES", 64)).await;
}
