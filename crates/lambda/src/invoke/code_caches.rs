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

use std::collections::{BTreeMap, HashSet};
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
/// What the smallest file is taken to need.
const FILE_BYTES_MIN: u64 = 4_096;
/// A cache that is not used for this long goes.
const KEEP: Duration = Duration::from_secs(24 * 3_600);
/// One that holds nothing, because there was nothing or init failed, is tried again after this long.
const KEEP_NOTHING: Duration = Duration::from_secs(3_600);
/// One that was used within this time stays whatever happens: an environment may be about to be shown it.
const IN_USE: Duration = Duration::from_secs(600);
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
    /// Those that an environment is making now.
    making: Mutex<HashSet<PathBuf>>,
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
    Used(Used),
}

impl Cached {
    /// Init is over, well or not, and nothing else has happened in the environment.
    pub(super) async fn conclude(self, well: bool, given: Option<Bytes>) {
        match (self, given) {
            // Nobody waits for it.
            (Self::Made(Making { inner, place, turn }), Some(cache)) if well => {
                drop(sys::task::spawn("code cache", async move {
                    put(inner, place, cache).await;
                    drop(turn);
                }));
            }
            // Whoever's fault it was (making takes memory, too): the next init must not fail because of a cache. Another
            // environment may be about to be shown it, so something is there still.
            (Self::Made(Making { inner, place, .. }) | Self::Used(Used { inner, place }), _) if !well => {
                put(inner, place, Bytes::new()).await;
            }
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

/// The cache that an environment was shown.
pub(crate) struct Used {
    inner: Arc<Inner>,
    place: PathBuf,
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
        Self::open_with(caches, clock, rng, BYTES_MAX)
    }

    fn open_with(caches: &Path, clock: Clock, rng: Rng, bytes_max: u64) -> io::Result<Self> {
        let boot = boot_name(&rng);
        let folder = caches.join(&boot);
        fs::create_dir_all(&folder)?;
        // Only what is mounted is shown to anybody.
        fs::set_permissions(caches, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(caches)? {
            let entry = entry?;
            if entry.file_name() != *boot {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let inner = Inner { clock, rng, folder, bytes_max, making: Mutex::default() };
        inner.sweep()?;
        Ok(Self(Arc::new(inner)))
    }

    /// What an init of `function` is to do about its cache: use it, make it, or nothing.
    pub(super) async fn beside(&self, function: &FunctionVersion, plan: &LaunchPlan) -> (Beside, Cached) {
        let inner = Arc::clone(&self.0);
        let place = inner.folder.join(function.account.as_str()).join(key(function, plan));
        let (probe, now) = (place.clone(), system_time(&inner.clock));
        let length = sys::task::blocking(move || {
            let file = fs::File::open(probe).ok()?;
            let length = file.metadata().ok()?.len();
            // One that holds nothing grows old, and then it is tried again.
            if length > 0 {
                file.set_modified(now).ok()?;
            }
            Some(length)
        })
        .await
        .flatten();
        match length {
            // It is known to be of no use.
            Some(0) => (Beside::Nothing, Cached::Not),
            Some(_) => (Beside::UseCache(place.clone()), Cached::Used(Used { inner, place })),
            None if inner.making.lock().insert(place.clone()) => {
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

async fn put(inner: Arc<Inner>, place: PathBuf, cache: Bytes) {
    let kept = sys::task::blocking(move || inner.put(&place, &cache)).await;
    if let Some(Err(error)) = kept {
        tracing::warn!(%error, "a code cache could not be kept");
    }
}

impl Inner {
    fn put(&self, place: &Path, cache: &[u8]) -> io::Result<()> {
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
        self.sweep()
    }

    /// Removes what was not used for long; then, while there is too much, what the account that has most has not used for longest.
    fn sweep(&self) -> io::Result<()> {
        let now = system_time(&self.clock);
        let mut accounts: BTreeMap<PathBuf, Vec<(Duration, u64, PathBuf)>> = BTreeMap::new();
        for entry in fs::read_dir(&self.folder)? {
            let account = entry?.path();
            if !account.is_dir() {
                // Being written now, or left by a server that was killed.
                if age(&account, now).is_some_and(|age| age > IN_USE) {
                    remove(&account)?;
                }
                continue;
            }
            for entry in fs::read_dir(&account)? {
                let cache = entry?.path();
                let Ok(file) = fs::symlink_metadata(&cache) else { continue };
                let keep = if file.len() == 0 { KEEP_NOTHING } else { KEEP };
                match age(&cache, now) {
                    Some(age) if age > keep => remove(&cache)?,
                    Some(age) => {
                        accounts.entry(account.clone()).or_default().push((age, file.len().max(FILE_BYTES_MIN), cache))
                    }
                    None => {}
                }
            }
        }
        accounts.values_mut().for_each(|caches| caches.sort_unstable());
        let bytes_of = |caches: &[(Duration, u64, PathBuf)]| caches.iter().map(|cache| cache.1).sum::<u64>();
        while accounts.values().map(|caches| bytes_of(caches)).sum::<u64>() > self.bytes_max {
            let may_go =
                |caches: &&mut Vec<(Duration, u64, PathBuf)>| caches.last().is_some_and(|oldest| oldest.0 > IN_USE);
            let largest = accounts.values_mut().filter(may_go).max_by_key(|caches| bytes_of(caches));
            let Some((_, _, oldest)) = largest.and_then(Vec::pop) else { break };
            remove(&oldest)?;
        }
        Ok(())
    }
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn age(file: &Path, now: SystemTime) -> Option<Duration> {
    let modified = fs::symlink_metadata(file).and_then(|file| file.modified()).ok()?;
    Some(now.duration_since(modified).unwrap_or_default())
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
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
