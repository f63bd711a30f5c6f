use std::path::PathBuf;

use tempfile::TempDir;
use wire::AccountId;

use super::*;
use crate::runtimes::Protocol;
use crate::{Architecture, CodeRef, EnvironmentVariables, LogFormat, Logging, TracingMode};

const MIB: usize = 1 << 20;

fn function() -> FunctionVersion {
    let name = "f".to_owned();
    FunctionVersion {
        account: AccountId::parse("000000000000").unwrap(),
        region: "us-east-1".to_owned(),
        arn: "arn:aws:lambda:us-east-1:000000000000:function:f".to_owned(),
        version: "1".to_owned(),
        revision_id: "r".to_owned(),
        role: "arn:aws:iam::000000000000:role/r".to_owned(),
        runtime: "nodejs20.x".to_owned(),
        handler: "index.handler".to_owned(),
        code: CodeRef { digest: "c".to_owned(), length: 1 },
        unpacked_dir: PathBuf::new(),
        environment: EnvironmentVariables::default(),
        memory_mb: 256,
        timeout_s: 3,
        ephemeral_mb: 512,
        tracing: TracingMode::default(),
        logging: Logging { group: name.clone(), format: LogFormat::Text, application_level: None, system_level: None },
        architecture: Architecture::host().unwrap(),
        runtime_warning: None,
        layers: vec![CodeRef { digest: "l".to_owned(), length: 1 }],
        image: None,
        concurrency: crate::Concurrency::default(),
        managed: None,
        per_tenant: false,
        snap_start: false,
        name,
    }
}

fn plan() -> LaunchPlan {
    LaunchPlan {
        argv: Vec::new(),
        mounts: vec![(PathBuf::from("/data/runtimes/digest/node"), PathBuf::from("/var/runtime"))],
        links: Vec::new(),
        environment: Vec::new(),
        protocol: Protocol::Frames,
        generic_argv: None,
        description: "node 20.1.0".to_owned(),
    }
}

struct Stage {
    folder: TempDir,
    clock: Clock,
    caches: CodeCaches,
}

impl Stage {
    fn new(bytes_max: u64) -> Self {
        Self::on(bytes_max, 0)
    }

    fn on(bytes_max: u64, disk_free_min: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp::from_unix_s(1_780_000_000));
        let caches = CodeCaches::open_with(folder.path(), (clock.clone(), Rng::system()), bytes_max, disk_free_min);
        let caches = caches.unwrap();
        Self { folder, clock, caches }
    }

    /// Makes a cache, whose file has the time of the stage's clock.
    async fn make(&self, function: &FunctionVersion, bytes: usize) {
        let (beside, making) = self.caches.beside(function, &plan()).await;
        assert_eq!(beside, Beside::MakeCache);
        let Cached::Made(making) = making else { panic!("it is to be made") };
        let (inner, place) = (Arc::clone(&making.inner), making.place.clone());
        inner.put(&place, &vec![7; bytes]).unwrap();
        if let Ok(file) = fs::File::open(&place) {
            file.set_modified(system_time(&self.clock)).unwrap();
        }
    }

    async fn has(&self, function: &FunctionVersion) -> bool {
        matches!(self.caches.beside(function, &plan()).await.0, Beside::UseCache(_))
    }

    /// Lengths of all files.
    fn files(&self) -> Vec<u64> {
        let mut folders = vec![self.folder.path().to_owned()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else {
                    files.push(entry.metadata().unwrap().len());
                }
            }
        }
        files
    }
}

fn numbered(n: usize) -> FunctionVersion {
    FunctionVersion { code: CodeRef { digest: format!("c{n}"), length: 1 }, ..function() }
}

#[tokio::test]
async fn l12_a_cache_is_used_by_what_is_the_same_in_everything_and_by_nothing_else() {
    let stage = Stage::new(BYTES_MAX);
    stage.make(&function(), 9).await;
    assert!(stage.has(&function()).await);
    let other_account = FunctionVersion { account: AccountId::parse("111111111111").unwrap(), ..function() };
    let same_code = |change: fn(&mut FunctionVersion)| {
        let mut other = function();
        change(&mut other);
        other
    };
    for other in [
        other_account,
        same_code(|one| one.arn = "arn:aws:lambda:us-east-1:000000000000:function:g".to_owned()),
        same_code(|one| one.version = "2".to_owned()),
        same_code(|one| one.revision_id = "s".to_owned()),
        same_code(|one| one.runtime = "nodejs22.x".to_owned()),
        same_code(|one| one.code.digest = "d".to_owned()),
        same_code(|one| one.layers.clear()),
        same_code(|one| one.layers[0].digest = "m".to_owned()),
        // The same letters, cut otherwise.
        same_code(|one| (one.code.digest, one.layers[0].digest) = ("cl".to_owned(), String::new())),
    ] {
        assert_eq!(stage.caches.beside(&other, &plan()).await.0, Beside::MakeCache, "{other:?}");
    }
    let newer = LaunchPlan { description: "node 20.1.1".to_owned(), ..plan() };
    let (beside, _making) = stage.caches.beside(&function(), &newer).await;
    assert_eq!(beside, Beside::MakeCache);
    let bootstraps = vec![(PathBuf::from("/data/runtimes/other/node"), PathBuf::from("/var/runtime"))];
    assert_eq!(
        stage.caches.beside(&function(), &LaunchPlan { mounts: bootstraps, ..plan() }).await.0,
        Beside::MakeCache
    );
}

#[tokio::test]
async fn on_a_full_disk_none_is_made_and_what_must_not_be_made_is_known_all_the_same() {
    let stage = Stage::on(BYTES_MAX, u64::MAX);
    let (beside, _) = stage.caches.beside(&function(), &plan()).await;
    assert_eq!(beside, Beside::Nothing);
    let inner = &stage.caches.0;
    let place = inner.folder.join("000000000000").join(key(&function(), &plan()));
    inner.put(&place, b"compiled").unwrap();
    assert!(stage.files().is_empty());
    // An init has failed while it made one, before the disk was full.
    inner.put(&place, b"").unwrap();
    assert_eq!(stage.files(), [0]);
}

#[tokio::test]
async fn one_environment_makes_it_and_another_may_when_that_one_has_not() {
    let stage = Stage::new(BYTES_MAX);
    let (first, making) = stage.caches.beside(&function(), &plan()).await;
    assert_eq!(first, Beside::MakeCache);
    assert_eq!(stage.caches.beside(&function(), &plan()).await.0, Beside::Nothing);
    drop(making);
    let (again, making) = stage.caches.beside(&function(), &plan()).await;
    assert_eq!(again, Beside::MakeCache);
    drop(making);
    // Not worth the while: known, and not tried at each cold start.
    stage.make(&function(), 0).await;
    assert_eq!(stage.caches.beside(&function(), &plan()).await.0, Beside::Nothing);
}

#[tokio::test]
async fn what_an_init_has_made_is_written_when_its_first_event_has_had_time() {
    let stage = Stage::new(BYTES_MAX);
    let (_, making) = stage.caches.beside(&function(), &plan()).await;
    making.conclude(InitEnd::Well, Some(Bytes::from_static(b"compiled"))).await;
    Clock::system().sleep(Duration::from_millis(20)).await;
    assert!(stage.files().is_empty());
    assert_eq!(stage.caches.beside(&function(), &plan()).await.0, Beside::Nothing, "nobody else makes it meanwhile");
    stage.clock.advance(WRITE_AFTER);
    while stage.files() != [8] {
        Clock::system().sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn after_an_init_that_fails_while_it_makes_one_the_next_has_no_cache_for_a_while() {
    let stage = Stage::new(BYTES_MAX);
    let ask = async || stage.caches.beside(&function(), &plan()).await;
    let given = || Some(Bytes::from_static(b"of an init that failed"));
    let (beside, cached) = ask().await;
    assert_eq!(beside, Beside::MakeCache);
    cached.conclude(InitEnd::Interrupted, given()).await;
    assert!(stage.files().is_empty(), "the server ended: that says nothing about the function");
    let (beside, cached) = ask().await;
    assert_eq!(beside, Beside::MakeCache);
    cached.conclude(InitEnd::Failed, given()).await;
    assert_eq!(ask().await.0, Beside::Nothing);
    assert_eq!(stage.files(), [0]);
    let place = stage.caches.0.folder.join("000000000000").join(key(&function(), &plan()));
    fs::File::open(&place).unwrap().set_modified(system_time(&stage.clock)).unwrap();
    stage.clock.advance(KEEP_NOTHING + Duration::from_secs(1));
    stage.caches.0.sweep().unwrap();
    assert_eq!(ask().await.0, Beside::MakeCache);
}

#[tokio::test]
async fn a_cache_is_given_up_when_inits_fail_with_it_and_not_without_it() {
    let stage = Stage::new(BYTES_MAX);
    stage.make(&function(), 9).await;
    let init = async |uses: bool, end: InitEnd| {
        let (beside, cached) = stage.caches.beside(&function(), &plan()).await;
        assert_eq!(matches!(beside, Beside::UseCache(_)), uses, "{end:?}");
        if let Some(first) = cached.conclude(end, None).await {
            first.conclude(false).await;
        }
    };
    for _ in 0..3 {
        init(true, InitEnd::Interrupted).await;
    }
    // The function fails in any case.
    for _ in 0..3 {
        init(true, InitEnd::Failed).await;
        init(false, InitEnd::Failed).await;
    }
    // It failed once, of something else.
    for _ in 0..3 {
        init(true, InitEnd::Failed).await;
        init(false, InitEnd::Well).await;
        init(true, InitEnd::Well).await;
    }
    assert_eq!(stage.files(), [9]);
    init(true, InitEnd::Failed).await;
    init(false, InitEnd::Well).await;
    init(true, InitEnd::Failed).await;
    assert_eq!(stage.files(), [0], "something is there still: it may be about to be mounted");
    init(false, InitEnd::Well).await;
    assert!(stage.caches.0.doubted.lock().is_empty());
}

#[tokio::test]
async fn a_cache_is_given_up_when_first_events_crash_with_it_and_not_without_it() {
    let stage = Stage::new(BYTES_MAX);
    stage.make(&function(), 9).await;
    let event = async |uses: bool, crashes: bool| {
        let (beside, cached) = stage.caches.beside(&function(), &plan()).await;
        assert_eq!(matches!(beside, Beside::UseCache(_)), uses, "crashes: {crashes}");
        let first = cached.conclude(InitEnd::Well, None).await;
        assert!(stage.caches.0.shown.lock().is_empty(), "it may go while an environment waits for its first event");
        first.expect("its first event tells more").conclude(crashes).await;
    };
    // The function crashes in any case.
    for _ in 0..3 {
        event(true, true).await;
        event(false, true).await;
    }
    // It crashed once, of something else.
    for _ in 0..3 {
        event(true, true).await;
        event(false, false).await;
        event(true, false).await;
    }
    assert_eq!(stage.files(), [9]);
    event(true, true).await;
    event(false, false).await;
    // One that never got an event says nothing.
    drop(stage.caches.beside(&function(), &plan()).await.1.conclude(InitEnd::Well, None).await);
    event(true, true).await;
    assert_eq!(stage.files(), [0]);
    assert!(stage.caches.0.doubted.lock().is_empty());
    assert_eq!(stage.caches.beside(&function(), &plan()).await.0, Beside::Nothing);
}

#[tokio::test]
async fn what_is_not_used_goes_and_what_is_used_stays() {
    let stage = Stage::new(BYTES_MAX);
    for n in [1, 2, 3] {
        stage.make(&numbered(n), 9).await;
    }
    let mounted = stage.caches.beside(&numbered(3), &plan()).await;
    stage.clock.advance(KEEP - Duration::from_secs(9));
    assert!(stage.has(&numbered(2)).await);
    stage.clock.advance(Duration::from_secs(10));
    stage.caches.0.sweep().unwrap();
    assert_eq!(stage.files().len(), 2);
    assert!(stage.has(&numbered(2)).await && !stage.has(&numbered(1)).await);
    // One that an environment is about to be shown stays, however old.
    drop(mounted);
    stage.caches.0.sweep().unwrap();
    assert_eq!(stage.files().len(), 1);
    assert!(stage.caches.0.shown.lock().is_empty());
}

#[tokio::test]
async fn room_is_made_of_whoever_has_most_and_there_is_never_too_much() {
    let stage = Stage::new(10 << 20);
    let other = FunctionVersion { account: AccountId::parse("111111111111").unwrap(), ..function() };
    stage.make(&other, 2 * MIB).await;
    let tick = || stage.clock.advance(Duration::from_secs(1));
    for n in 0..2 {
        tick();
        stage.make(&numbered(n), 3 * MIB).await;
    }
    tick();
    assert!(stage.has(&numbered(0)).await, "it is used now");
    tick();
    stage.make(&numbered(2), 3 * MIB).await;
    assert!(stage.has(&other).await, "the oldest of all, of an account that has little");
    assert!(stage.has(&numbered(0)).await && !stage.has(&numbered(1)).await && stage.has(&numbered(2)).await);
    // All that whoever has most has is about to be mounted: what comes is dropped, and nothing of others goes.
    let mounted = [stage.caches.beside(&numbered(0), &plan()).await, stage.caches.beside(&numbered(2), &plan()).await];
    stage.make(&numbered(3), 3 * MIB).await;
    assert!(!stage.has(&numbered(3)).await && stage.has(&other).await);
    drop(mounted);
    for n in 4..12 {
        tick();
        stage.make(&numbered(n), 3 * MIB).await;
        assert!(stage.has(&numbered(n)).await, "young ones go for younger ones of the same account");
        assert!(stage.files().iter().sum::<u64>() <= 10 << 20);
    }
    assert!(stage.has(&other).await);
}

#[tokio::test]
async fn sweeping_goes_on_after_what_cannot_be_removed() {
    let stage = Stage::new(BYTES_MAX);
    stage.make(&function(), 9).await;
    let account = stage.caches.0.folder.join("000000000000");
    let odd = [account.join("0"), account.join("z")];
    for folder in &odd {
        fs::create_dir(folder).unwrap();
        fs::File::open(folder).unwrap().set_modified(system_time(&stage.clock)).unwrap();
    }
    stage.clock.advance(KEEP + Duration::from_secs(1));
    assert!(stage.caches.0.sweep().is_err());
    assert!(stage.files().is_empty() && odd.iter().all(|folder| folder.exists()));
}

#[tokio::test]
async fn what_another_boot_or_a_killed_server_left_is_not_trusted() {
    let stage = Stage::new(BYTES_MAX);
    stage.make(&function(), 9).await;
    let boot = stage.caches.0.folder.clone();
    let half = boot.join("unfinished-1");
    fs::write(&half, "half").unwrap();
    let old = stage.folder.path().join("boot-before");
    fs::create_dir_all(old.join("000000000000")).unwrap();
    fs::write(old.join("000000000000/key"), "old").unwrap();
    let note = stage.folder.path().join("note");
    fs::write(&note, "of somebody").unwrap();
    // A link in a cache's place is neither followed nor counted as what it leads to.
    std::os::unix::fs::symlink("/etc/passwd", boot.join("000000000000/link")).unwrap();
    let again = CodeCaches::open_with(stage.folder.path(), (stage.clock.clone(), Rng::system()), BYTES_MAX, 0).unwrap();
    assert!(!old.exists() && !half.exists() && !note.exists() && Path::new("/etc/passwd").exists());
    assert!(matches!(again.beside(&function(), &plan()).await.0, Beside::UseCache(_)), "a restart keeps them");
    let mode = fs::metadata(stage.folder.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
