//! What a language has compiled of a function's modules, kept from one environment of a version for the next ones (ADR 0021).
//!
//! ```text
//!   first cold start of a version ─▶ init ─▶ GIVEN, before any event ─▶ BOOT/ACCOUNT/KEY
//!   every later one ───────────────▶ BOOT/ACCOUNT/KEY, mounted read-only ─▶ init
//! ```
//! - To the server a cache is bytes: it has a length, and nothing in it is ever read here. Whoever made it is of the same account,
//!   function, version and revision as whoever gets it, runs the same code in the same runtime, and had served nobody.
//! - A cache may be lost at any time. Folders are named by the machine's boot, as those of packages are: after a power cut none is
//!   trusted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use sys::task::CancellationToken;
use sys::{Clock, Rng, Timestamp};

use super::beside::Beside;
use crate::FunctionVersion;
use crate::package::boot_name;
use crate::runtimes::LaunchPlan;

/// Bytes of one cache.
pub(super) const CACHE_BYTES_MAX: usize = 32 << 20;
/// Bytes of all caches of this node.
const BYTES_MAX: u64 = 1 << 30;
/// With less room than this beside it on the disk none is kept, in bytes: nobody needs a cache, and what others write does need room.
const DISK_FREE_MIN: u64 = 512 << 20;
/// What the smallest file is taken to need.
const FILE_BYTES_MIN: u64 = 4_096;
/// A cache that is not used for this long goes.
const KEEP: Duration = Duration::from_secs(24 * 3_600);
/// One that holds nothing, because there was nothing or init failed, is tried again after this long.
const KEEP_NOTHING: Duration = Duration::from_secs(3_600);
/// Caches that are doubted; where there are more, a failure is enough to give one up.
const DOUBTED_MAX: usize = 10_000;
/// A cache is written down this long after the init that has made it: by then its first event, which somebody waits for, has mostly
/// been answered.
const WRITE_AFTER: Duration = Duration::from_millis(50);
/// How often it is looked for those that go.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);
/// Names of files that are still being written.
const UNFINISHED: &str = "unfinished-";

/// The caches of this node. Cloning is cheap.
#[derive(Clone)]
pub struct CodeCaches(Arc<Inner>);

struct Inner {
    clock: Clock,
    rng: Rng,
    /// `CACHES/BOOT`.
    folder: PathBuf,
    bytes_max: u64,
    disk_free_min: u64,
    /// Those that an environment is making now.
    making: Mutex<HashSet<PathBuf>>,
    /// How many environments are about to have it mounted: those stay.
    shown: Mutex<HashMap<PathBuf, usize>>,
    /// Those with which an init has failed, or a process was ended by a signal in its first event.
    doubted: Mutex<HashMap<PathBuf, Doubt>>,
    /// What all have, at most: what others were put in the place of since the last look is in it. Whoever writes holds it.
    kept_bytes: Mutex<u64>,
}

/// What is thought of a cache with which an environment has failed.
enum Doubt {
    /// The next init goes without.
    Skip,
    /// One goes, or went, without: where the next that uses it fails again, the cache is given up.
    Trial,
}

/// How an init ended, for what its environment has to do with a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InitEnd {
    /// It is done.
    Well,
    /// The function has failed; with a cache, it may be that one's fault.
    Failed,
    /// The server ends, or could not go on: that says nothing about the function.
    Interrupted,
}

/// What an environment has to do with the cache of its version.
#[derive(Default)]
pub(crate) enum Cached {
    /// Nothing.
    #[default]
    Not,
    /// Its init makes it.
    Made(Making),
    /// Its init uses it.
    Used(Shown),
    /// It goes without, to see whether it was the cache's fault that another has failed.
    Skipped(Shown),
}

impl Cached {
    /// Init is over, and nothing else has happened in the environment. Where it went well, the first event tells more.
    pub(super) async fn conclude(self, end: InitEnd, given: Option<Bytes>) -> Option<FirstEvent> {
        match (self, end, given) {
            (Self::Made(Making { inner, place, turn }), InitEnd::Well, Some(cache)) => {
                drop(sys::task::spawn("code cache", async move {
                    inner.clock.sleep(WRITE_AFTER).await;
                    put(inner, place, cache).await;
                    drop(turn);
                }));
            }
            // Whoever's fault it was (making takes memory, too): the next init must not fail because of a cache.
            (Self::Made(Making { inner, place, turn }), InitEnd::Failed, _) => {
                put(inner, place, Bytes::new()).await;
                drop(turn);
            }
            (Self::Used(shown), InitEnd::Failed, _) => FirstEvent::after(&shown, true).conclude(true).await,
            (Self::Skipped(shown), InitEnd::Failed, _) => FirstEvent::after(&shown, false).conclude(true).await,
            (Self::Used(shown), InitEnd::Well, _) => return Some(FirstEvent::after(&shown, true)),
            (Self::Skipped(shown), InitEnd::Well, _) => return Some(FirstEvent::after(&shown, false)),
            _ => {}
        }
        None
    }
}

/// What the first event of an environment tells of the cache of its version: code that init has not run yet runs then.
pub(crate) struct FirstEvent {
    inner: Arc<Inner>,
    place: PathBuf,
    /// Init has used it; else it went without.
    used: bool,
}

impl FirstEvent {
    fn after(shown: &Shown, used: bool) -> Self {
        Self { inner: Arc::clone(&shown.inner), place: shown.place.clone(), used }
    }

    /// Notes whether the environment's process has `failed`, as it may with a cache that is bad.
    pub(super) async fn conclude(self, failed: bool) {
        let Self { inner, place, used } = self;
        match (used, failed) {
            // Another environment may be about to be shown it, so something is there still.
            (true, true) if inner.doubt(&place) => put(inner, place, Bytes::new()).await,
            // It was not the cache's fault.
            (true, false) | (false, true) => inner.trust(&place),
            _ => {}
        }
    }
}

/// The right to make a cache: one environment at a time has it.
pub(crate) struct Making {
    inner: Arc<Inner>,
    place: PathBuf,
    turn: Turn,
}

/// Held from before the look for a cache until the init that has it mounted is over: it is not removed meanwhile.
pub(crate) struct Shown {
    inner: Arc<Inner>,
    place: PathBuf,
}

impl Shown {
    fn new(inner: Arc<Inner>, place: PathBuf) -> Self {
        *inner.shown.lock().entry(place.clone()).or_default() += 1;
        Self { inner, place }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let mut shown = self.inner.shown.lock();
        if let Some(count) = shown.get_mut(&self.place) {
            *count -= 1;
            if *count == 0 {
                shown.remove(&self.place);
            }
        }
    }
}

/// Held by the one that makes.
struct Turn {
    inner: Arc<Inner>,
    place: PathBuf,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.inner.making.lock().remove(&self.place);
    }
}

impl CodeCaches {
    /// Opens the folder (made when missing) and removes what earlier boots left. Blocks on the disk: call it at start.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(caches: &Path, clock: Clock, rng: Rng) -> io::Result<Self> {
        Self::open_with(caches, (clock, rng), BYTES_MAX, DISK_FREE_MIN)
    }

    fn open_with(caches: &Path, (clock, rng): (Clock, Rng), bytes_max: u64, disk_free_min: u64) -> io::Result<Self> {
        let boot = boot_name(&rng);
        let folder = caches.join(&boot);
        if fs::symlink_metadata(&folder).is_ok_and(|there| !there.is_dir()) {
            tracing::warn!(path = %folder.display(), "what is no folder lies where code caches belong, and is removed");
            fs::remove_file(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        // Only what is mounted is shown to anybody.
        fs::set_permissions(caches, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(caches)? {
            let entry = entry?;
            if entry.file_name() == *boot {
                continue;
            }
            let path = entry.path();
            let removed = match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                true => fs::remove_dir_all(&path),
                false => fs::remove_file(&path),
            };
            // Nothing reads it.
            if let Err(error) = removed {
                tracing::warn!(path = %path.display(), %error, "what is left among the code caches cannot be removed");
            }
        }
        let (making, shown, doubted) = (Mutex::default(), Mutex::default(), Mutex::default());
        let kept_bytes = Mutex::default();
        let inner = Inner { clock, rng, folder, bytes_max, disk_free_min, making, shown, doubted, kept_bytes };
        if let Err(error) = inner.sweep() {
            tracing::warn!(%error, "not all code caches could be looked through");
        }
        Ok(Self(Arc::new(inner)))
    }

    /// What an init of `function` is to do about its cache: use it, make it, or nothing.
    pub(super) async fn beside(&self, function: &FunctionVersion, plan: &LaunchPlan) -> (Beside, Cached) {
        let inner = Arc::clone(&self.0);
        let place = inner.folder.join(function.account.as_str()).join(key(function, plan));
        let (shown, now) = ((Arc::clone(&inner), place.clone()), system_time(&inner.clock));
        let looked = sys::task::blocking(move || {
            let shown = Shown::new(shown.0, shown.1);
            // Where none could be kept, none is made.
            let may_make = shown.inner.disk_has(0);
            let length = length_of(&shown.place, now);
            (length.map(|length| (length, shown)), may_make)
        });
        let (found, may_make) = looked.await.unwrap_or((None, false));
        match found {
            // It is known to be of no use.
            Some((0, _)) => (Beside::Nothing, Cached::Not),
            Some((_, shown)) if inner.skips(&place) => (Beside::Nothing, Cached::Skipped(shown)),
            Some((_, shown)) => (Beside::UseCache(place), Cached::Used(shown)),
            None if may_make && inner.making.lock().insert(place.clone()) => {
                let turn = Turn { inner: Arc::clone(&inner), place: place.clone() };
                (Beside::MakeCache, Cached::Made(Making { inner, place, turn }))
            }
            None => (Beside::Nothing, Cached::Not),
        }
    }

    /// Removes every hour what is not used, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.0.clock.sleep(SWEEP_EVERY)).await.is_some() {
            let sweeping = Arc::clone(&self.0);
            if let Some(Err(error)) = sys::task::blocking(move || sweeping.sweep()).await {
                tracing::error!(%error, "code caches could not be swept; the next try is in an hour");
            }
        }
    }
}

/// Length of a cache that is there, used now. One that holds nothing grows old, and then it is tried again.
fn length_of(place: &Path, now: SystemTime) -> Option<u64> {
    let file = fs::File::open(place).ok()?;
    let length = file.metadata().ok()?.len();
    if length > 0 {
        file.set_modified(now).ok()?;
    }
    Some(length)
}

async fn put(inner: Arc<Inner>, place: PathBuf, cache: Bytes) {
    let kept = sys::task::blocking(move || inner.put(&place, &cache)).await;
    if let Some(Err(error)) = kept {
        tracing::warn!(%error, "a code cache could not be kept");
    }
}

/// The caches of one account.
#[derive(Default)]
struct Kept {
    bytes: u64,
    /// Time since its last use, bytes, place.
    caches: Vec<(Duration, u64, PathBuf)>,
}

/// The first thing that went wrong in what goes on nevertheless.
#[derive(Default)]
struct First(Option<io::Error>);

impl First {
    fn note<T>(&mut self, outcome: io::Result<T>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                self.0 = self.0.take().or(Some(error));
                None
            }
        }
    }
}

impl Inner {
    /// Whether this much may be written on the disk.
    fn disk_has(&self, bytes: u64) -> bool {
        blob::free(&self.folder) >= self.disk_free_min.saturating_add(bytes)
    }

    /// Keeps a cache, or drops it where there is no room. One that holds nothing is always kept.
    fn put(&self, place: &Path, cache: &[u8]) -> io::Result<()> {
        let mut kept_bytes = self.kept_bytes.lock();
        let bytes = (cache.len() as u64).max(FILE_BYTES_MIN);
        let fits = |kept_bytes: u64| kept_bytes.saturating_add(bytes) <= self.bytes_max;
        if !fits(*kept_bytes)
            && let Err(error) = self.sweep_before(&mut kept_bytes, Some((place, bytes)))
        {
            tracing::warn!(%error, "not all code caches could be looked through");
        }
        // What says that there is none to be made needs no room to speak of, and inits rely on it.
        if !cache.is_empty() && (!fits(*kept_bytes) || !self.disk_has(bytes)) {
            tracing::debug!(bytes, "there is no room for a code cache");
            return Ok(());
        }
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder)?;
        }
        let unfinished = self.folder.join(format!("{UNFINISHED}{}", sys::id::hex::<8>(&self.rng)));
        let written = fs::write(&unfinished, cache)
            .and_then(|()| fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o444)))
            .and_then(|()| fs::rename(&unfinished, place));
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written?;
        *kept_bytes = kept_bytes.saturating_add(bytes);
        self.trust(place);
        Ok(())
    }

    /// True when an init is to go without, though there is one.
    fn skips(&self, place: &Path) -> bool {
        let mut doubted = self.doubted.lock();
        let doubt = doubted.get_mut(place).map(|doubt| std::mem::replace(doubt, Doubt::Trial));
        matches!(doubt, Some(Doubt::Skip))
    }

    /// An environment has failed with it. True when it is to be given up.
    fn doubt(&self, place: &Path) -> bool {
        let mut doubted = self.doubted.lock();
        match doubted.get(place) {
            // Of the same time.
            Some(Doubt::Skip) => false,
            Some(Doubt::Trial) => true,
            None if doubted.len() >= DOUBTED_MAX => true,
            None => {
                doubted.insert(place.to_owned(), Doubt::Skip);
                false
            }
        }
    }

    fn trust(&self, place: &Path) {
        self.doubted.lock().remove(place);
    }

    fn sweep(&self) -> io::Result<()> {
        self.sweep_before(&mut self.kept_bytes.lock(), None)
    }

    /// Removes what was not used for long; then, while there is too much, what the account that has most has not used for
    /// longest. What is to come, at a place and of so many bytes, counts as if it were there.
    ///
    /// # Errors
    /// The first thing that went wrong; all the rest is done.
    fn sweep_before(&self, kept_bytes: &mut u64, coming: Option<(&Path, u64)>) -> io::Result<()> {
        let mut first = First::default();
        let mut accounts = self.accounts(coming, &mut first);
        accounts.values_mut().for_each(|kept| kept.caches.sort_unstable());
        let mut all: u64 = accounts.values().map(|kept| kept.bytes).sum();
        while all > self.bytes_max {
            let Some(most) = accounts.values_mut().max_by_key(|kept| kept.bytes) else { break };
            // Others' caches never go for those of whoever has most.
            let Some((_, bytes, oldest)) = most.caches.pop() else { break };
            if first.note(self.remove_unless_shown(&oldest)) == Some(true) {
                most.bytes -= bytes;
                all -= bytes;
            }
        }
        *kept_bytes = all.saturating_sub(coming.map_or(0, |coming| coming.1));
        first.0.map_or(Ok(()), Err)
    }

    /// What each account has, once what was not used for long is removed.
    fn accounts(&self, coming: Option<(&Path, u64)>, first: &mut First) -> BTreeMap<PathBuf, Kept> {
        let now = system_time(&self.clock);
        let mut accounts: BTreeMap<PathBuf, Kept> = BTreeMap::new();
        for account in entries(&self.folder, first) {
            let folder = account.path();
            if !account.file_type().is_ok_and(|kind| kind.is_dir()) {
                // Left by a server that was killed: nobody else writes now.
                first.note(remove(&folder));
                continue;
            }
            let kept = accounts.entry(folder.clone()).or_default();
            for entry in entries(&folder, first) {
                let place = entry.path();
                // What comes takes its place.
                if coming.is_some_and(|coming| coming.0 == place) {
                    continue;
                }
                let Ok(file) = entry.metadata() else { continue };
                let Ok(modified) = file.modified() else { continue };
                let age = now.duration_since(modified).unwrap_or_default();
                let keep = if file.len() == 0 { KEEP_NOTHING } else { KEEP };
                if age > keep && first.note(self.remove_unless_shown(&place)) == Some(true) {
                    continue;
                }
                let bytes = file.len().max(FILE_BYTES_MIN);
                kept.bytes += bytes;
                kept.caches.push((age, bytes, place));
            }
        }
        if let Some((place, bytes)) = coming
            && let Some(folder) = place.parent()
        {
            accounts.entry(folder.to_owned()).or_default().bytes += bytes;
        }
        accounts
    }

    /// False where an environment is about to have it mounted.
    fn remove_unless_shown(&self, place: &Path) -> io::Result<bool> {
        // Held meanwhile: whoever looks for a cache says so first, and finds it, or nothing.
        let shown = self.shown.lock();
        if shown.contains_key(place) {
            return Ok(false);
        }
        remove(place)?;
        self.trust(place);
        Ok(true)
    }
}

/// What is in a folder, as far as it can be read.
fn entries(folder: &Path, first: &mut First) -> Vec<fs::DirEntry> {
    let read = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        read => first.note(read),
    };
    read.into_iter().flatten().filter_map(|entry| first.note(entry)).collect()
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn system_time(clock: &Clock) -> SystemTime {
    SystemTime::UNIX_EPOCH + clock.now().since(Timestamp::default())
}

/// What a cache is kept by: everything that decides what is compiled, and whose it is. The account is the folder.
fn key(function: &FunctionVersion, plan: &LaunchPlan) -> String {
    let (arn, version, revision_id) = function.environment_key();
    let mut hash = Sha256::new();
    let mut add = |part: &str| {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    };
    for part in [function.account.as_str(), arn, version, revision_id, &function.runtime, &plan.description] {
        add(part);
    }
    // Of our bootstraps: the folder is named by their digest.
    plan.mounts.iter().for_each(|(source, _)| add(&source.to_string_lossy()));
    add(&function.code.digest);
    function.layers.iter().for_each(|layer| add(&layer.digest));
    sys::hex(&hash.finalize())
}

#[cfg(test)]
mod tests;
