//! The unpacked images of a node: a cache with a bound. What nothing runs from goes first when room is needed, the one that was
//! used longest ago before the others; then what only idle environments run from, when they have ended for it. Of images that are
//! unpacked and do not fit together the youngest fails.
//!
//! ```text
//!   CODE/BOOT/unpacked-DIGEST/root/…     the root of its environments
//!   CODE/BOOT/unpacked-DIGEST/bytes      what it takes, in decimal digits: written last
//! ```
//! Whoever runs from one has a [`Lease`]. A folder is given out, and taken away, under one lock.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use parking_lot::{Condvar, Mutex, MutexGuard};
use sys::{Clock, Rng, Timestamp};

use super::unfinished;
use crate::image::store::UNPACKED;
use crate::image::{IdleImages, Lease};

/// Below the folder of an image.
const ROOT: &str = "root";
const BYTES: &str = "bytes";
/// Whoever asks for room must find this many times as much: others have asked as well, and not written yet.
const ROOM_SHARES: u64 = super::IMAGE_UNPACKS_AT_ONCE as u64;

/// Images whose idle environments end for one that is unpacked.
const ENDED_MAX: usize = 64;

/// Bytes that may be written on the disk.
pub(crate) type Room = Arc<dyn Fn() -> u64 + Send + Sync>;

/// All of them.
pub(crate) struct Kept {
    folder: PathBuf,
    bytes_max: u64,
    room: Room,
    /// Whoever runs something from them; nobody where it is not set.
    idle: OnceLock<Box<dyn IdleImages>>,
    clock: Clock,
    rng: Rng,
    state: Mutex<State>,
    /// Told when an image is unpacked, or will not be.
    grown: Condvar,
}

#[derive(Default)]
struct State {
    images: HashMap<String, Image>,
    /// What those take that are being unpacked.
    growing_bytes: u64,
    /// And when each of them was begun: the later, the larger.
    growing: BTreeSet<u64>,
    /// Counts uses and beginnings.
    uses: u64,
}

struct Image {
    bytes: u64,
    /// The later, the larger.
    used: u64,
    lease: Lease,
}

impl Kept {
    /// Those in `folder`; what is there and not whole goes away. Blocks on the disk.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn open(folder: &Path, bytes_max: u64, room: Room, (clock, rng): (Clock, Rng)) -> io::Result<Self> {
        let mut state = State::default();
        for entry in fs::read_dir(folder)? {
            let (name, path) = entry.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))?;
            if !name.starts_with(UNPACKED) {
                continue;
            }
            let bytes = fs::read_to_string(path.join(BYTES)).ok().and_then(|bytes| bytes.parse().ok());
            match bytes {
                Some(bytes) => {
                    drop(state.images.insert(name, Image { bytes, used: 0, lease: Lease::default() }));
                }
                None => fs::remove_dir_all(path)?,
            }
        }
        let (folder, state) = (folder.to_owned(), Mutex::new(state));
        Ok(Self { folder, bytes_max, room, idle: OnceLock::new(), clock, rng, state, grown: Condvar::new() })
    }

    /// From now on idle environments end where room is missing. What is said first counts.
    pub(crate) fn may_end(&self, idle: Box<dyn IdleImages>) {
        // A node has one data plane.
        let _ = self.idle.set(idle);
    }

    /// The root of an image that is here, young again for [`super::Packages::remove`]. Blocks on the disk.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn lease(&self, name: &str) -> io::Result<Option<(PathBuf, Lease)>> {
        let mut state = self.state.lock();
        state.uses += 1;
        let uses = state.uses;
        let Some(image) = state.images.get_mut(name) else { return Ok(None) };
        let place = self.folder.join(name);
        match self.make_young(&place) {
            Ok(()) => {}
            // Somebody has tidied up by hand.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                state.images.remove(name);
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        image.used = uses;
        Ok(Some((place.join(ROOT), image.lease.clone())))
    }

    /// As [`super::Packages::remove`] sees it.
    fn make_young(&self, place: &Path) -> io::Result<()> {
        let now = SystemTime::UNIX_EPOCH + self.clock.now().since(Timestamp::default());
        fs::File::open(place)?.set_modified(now)
    }

    /// Begins an image of about `bytes_min` bytes, or more, in a folder of its own; returns the root that it is unpacked to, and
    /// what it takes. Blocks on the disk.
    ///
    /// # Errors
    /// `StorageFull` when it would not fit even if everything went that can go; the disk's.
    pub(crate) fn begin(self: &Arc<Self>, bytes_min: u64) -> io::Result<(PathBuf, Growing)> {
        {
            let state = self.state.lock();
            let idle = self.only_idle(&state).iter().fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
            if Self::stays(&state).saturating_sub(idle).saturating_add(bytes_min) > self.bytes_max {
                return Err(full());
            }
        }
        let folder = unfinished(&self.folder, &self.rng);
        fs::create_dir(&folder)?;
        let mut state = self.state.lock();
        state.uses += 1;
        let begun = state.uses;
        state.growing.insert(begun);
        drop(state);
        let growing = Growing { kept: Arc::clone(self), folder, begun, bytes: 0, ended: 0 };
        let root = growing.folder.join(ROOT);
        fs::create_dir(&root)?;
        Ok((root, growing))
    }

    /// Takes an image away that nothing runs from; returns the folder that is to be removed. Blocks on the disk.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn take(&self, name: &str) -> io::Result<Option<PathBuf>> {
        self.take_from(&mut self.state.lock(), name)
    }

    fn take_from(&self, state: &mut State, name: &str) -> io::Result<Option<PathBuf>> {
        if state.images.get(name).is_none_or(|image| image.lease.is_out()) {
            return Ok(None);
        }
        let to = unfinished(&self.folder, &self.rng);
        match fs::rename(self.folder.join(name), &to) {
            Ok(()) => {}
            // Somebody has tidied up by hand.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                state.images.remove(name);
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        state.images.remove(name);
        Ok(Some(to))
    }

    fn total(state: &State) -> u64 {
        state.images.values().fold(state.growing_bytes, |sum, image| sum.saturating_add(image.bytes))
    }

    /// What nobody can take away now.
    fn stays(state: &State) -> u64 {
        let leased = state.images.values().filter(|image| image.lease.is_out());
        leased.fold(state.growing_bytes, |sum, image| sum.saturating_add(image.bytes))
    }

    /// Images that could go if idle environments ended: their roots, and what they take. The one that was used longest ago first.
    fn only_idle(&self, state: &State) -> Vec<(PathBuf, u64)> {
        let Some(idle) = self.idle.get() else { return Vec::new() };
        let found = idle.idle().into_iter().filter_map(|root| {
            let name = root.parent()?.file_name()?.to_str()?;
            let image = state.images.get(name).filter(|image| image.lease.is_out())?;
            Some((root, image.bytes))
        });
        found.collect()
    }

    /// The image whose idle environments are to end for `bytes` more; none where they would not fit then either.
    fn to_end(&self, state: &State, bytes: u64) -> Option<PathBuf> {
        let idle = self.only_idle(state);
        let gone = idle.iter().fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
        let free = state.images.values().filter(|image| !image.lease.is_out());
        let free = free.fold(gone, |sum, image| sum.saturating_add(image.bytes));
        let may_fit = Self::stays(state).saturating_sub(gone).saturating_add(bytes) <= self.bytes_max
            && (self.room)().saturating_add(free) >= bytes.saturating_mul(ROOM_SHARES);
        idle.into_iter().next().filter(|_| may_fit).map(|(root, _)| root)
    }

    /// The image that goes first.
    fn idle(state: &State) -> Option<String> {
        let idle = state.images.iter().filter(|(_, image)| !image.lease.is_out());
        idle.min_by_key(|(_, image)| image.used).map(|(name, _)| name.clone())
    }
}

/// An image that is being unpacked. What is not kept goes away. Dropping it blocks on the disk.
pub(crate) struct Growing {
    kept: Arc<Kept>,
    folder: PathBuf,
    /// Its row in [`State::growing`].
    begun: u64,
    bytes: u64,
    /// Images whose idle environments have ended for it.
    ended: usize,
}

impl Growing {
    /// Takes `bytes` more, for which images go that nothing runs from, and idle environments end. Blocks on the disk, on the end of
    /// those environments, and of images that were begun later, where it does not fit beside them: they do not wait for this one.
    ///
    /// # Errors
    /// `StorageFull`; the disk's.
    pub(crate) fn grow(&mut self, bytes: u64) -> io::Result<()> {
        let kept = Arc::clone(&self.kept);
        loop {
            let mut state = kept.state.lock();
            let fits = Kept::total(&state).saturating_add(bytes) <= kept.bytes_max;
            if fits && (kept.room)() >= bytes.saturating_mul(ROOM_SHARES) {
                state.growing_bytes = state.growing_bytes.saturating_add(bytes);
                self.bytes += bytes;
                return Ok(());
            }
            // None goes for what would not fit then either.
            let may_fit = Kept::stays(&state).saturating_add(bytes) <= kept.bytes_max;
            let Some(idle) = may_fit.then(|| Kept::idle(&state)).flatten() else {
                if self.end_idle(&mut state, bytes) {
                    continue;
                }
                if state.growing.last() == Some(&self.begun) {
                    return Err(full());
                }
                // Else both would fail each other, and so at every further try.
                kept.grown.wait(&mut state);
                continue;
            };
            let gone = kept.take_from(&mut state, &idle)?;
            drop(state);
            tracing::info!(image = idle, "an unpacked image goes to make room");
            if let Some(folder) = gone {
                fs::remove_dir_all(folder)?;
            }
        }
    }

    /// Has idle environments of one image end for `bytes` more. Blocks on that; whether there were any.
    fn end_idle(&mut self, state: &mut MutexGuard<'_, State>, bytes: u64) -> bool {
        let (Some(idle), true) = (self.kept.idle.get(), self.ended < ENDED_MAX) else { return false };
        let Some(root) = self.kept.to_end(state, bytes) else { return false };
        self.ended += 1;
        tracing::info!(image = %root.display(), "idle environments end to make room for an image");
        MutexGuard::unlocked(state, || drop(idle.end(&root).blocking_recv()));
        true
    }

    /// Keeps the image under its name. Blocks on the disk.
    ///
    /// # Errors
    /// The disk's; then the image goes away.
    pub(crate) fn keep(mut self, name: &str) -> io::Result<(PathBuf, Lease)> {
        fs::write(self.folder.join(BYTES), self.bytes.to_string())?;
        self.kept.make_young(&self.folder)?;
        let (place, lease) = (self.kept.folder.join(name), Lease::default());
        let mut state = self.kept.state.lock();
        fs::rename(&self.folder, &place)?;
        state.uses += 1;
        // Nowhere does it count twice.
        let bytes = std::mem::take(&mut self.bytes);
        state.growing_bytes = state.growing_bytes.saturating_sub(bytes);
        let image = Image { bytes, used: state.uses, lease: lease.clone() };
        state.images.insert(name.to_owned(), image);
        drop(state);
        Ok((place.join(ROOT), lease))
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        // After the rename there is nothing left under this name; what a failure leaves is swept at the next start.
        let _ = fs::remove_dir_all(&self.folder);
        let mut state = self.kept.state.lock();
        state.growing_bytes = state.growing_bytes.saturating_sub(self.bytes);
        state.growing.remove(&self.begun);
        self.kept.grown.notify_all();
    }
}

fn full() -> io::Error {
    rustix::io::Errno::NOSPC.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn kept(folder: &Path, bytes_max: u64, room: u64) -> Arc<Kept> {
        let seams = (Clock::manual(Timestamp::default()), Rng::seeded(1));
        Arc::new(Kept::open(folder, bytes_max, Arc::new(move || room), seams).expect("opens"))
    }

    fn put(kept: &Arc<Kept>, name: &str, bytes: u64) -> io::Result<Lease> {
        let (root, mut growing) = kept.begin(0)?;
        fs::write(root.join("f"), name)?;
        growing.grow(bytes)?;
        Ok(growing.keep(name)?.1)
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).expect("readable").map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn e3_the_image_used_longest_ago_goes_and_none_that_runs() {
        let folder = tempfile::tempdir().expect("a folder");
        let all = kept(folder.path(), 10 * MIB, u64::MAX);
        for name in ["unpacked-a", "unpacked-b", "unpacked-c"] {
            drop(put(&all, name, 3 * MIB).expect("there is room"));
        }
        assert!(all.lease("unpacked-a").expect("readable").is_some());
        let runs = all.lease("unpacked-c").expect("readable").expect("here");
        drop(put(&all, "unpacked-d", 3 * MIB).expect("room is made"));
        assert_eq!(names(folder.path()), ["unpacked-a", "unpacked-c", "unpacked-d"]);
        assert!(all.lease("unpacked-b").expect("readable").is_none());
        // For what is too large beside those that run none goes, and it leaves nothing.
        assert_eq!(put(&all, "unpacked-e", 8 * MIB).expect_err("refused").kind(), io::ErrorKind::StorageFull);
        assert!(all.begin(8 * MIB).is_err_and(|error| error.kind() == io::ErrorKind::StorageFull));
        assert_eq!(names(folder.path()), ["unpacked-a", "unpacked-c", "unpacked-d"]);
        assert!(all.take("unpacked-c").expect("works").is_none(), "it runs");
        // Everything else goes for a large one.
        drop(put(&all, "unpacked-f", 7 * MIB).expect("room is made"));
        assert_eq!(names(folder.path()), ["unpacked-c", "unpacked-f"]);
        drop(runs);
        drop(put(&all, "unpacked-e", 8 * MIB).expect("room is made"));
        assert_eq!(names(folder.path()), ["unpacked-e"]);
    }

    /// What lies idle: roots, and the leases that its environments have.
    #[derive(Clone, Default)]
    struct Idle(Arc<Mutex<Vec<(PathBuf, Lease)>>>);

    impl Idle {
        fn lie(&self, kept: &Kept, name: &str) {
            let (root, lease) = kept.lease(name).expect("readable").expect("here");
            self.0.lock().push((root, lease));
        }
    }

    impl IdleImages for Idle {
        fn idle(&self) -> Vec<PathBuf> {
            self.0.lock().iter().filter(|(_, lease)| lease.others() == 1).map(|(root, _)| root.clone()).collect()
        }

        fn end(&self, root: &Path) -> tokio::sync::oneshot::Receiver<()> {
            self.0.lock().retain(|(one, _)| one != root);
            tokio::sync::oneshot::channel().1
        }
    }

    #[test]
    fn e3_what_only_idle_environments_run_from_goes_when_nothing_else_can() {
        let folder = tempfile::tempdir().expect("a folder");
        let all = kept(folder.path(), 10 * MIB, u64::MAX);
        let idle = Idle::default();
        all.may_end(Box::new(idle.clone()));
        for name in ["unpacked-a", "unpacked-b", "unpacked-c"] {
            drop(put(&all, name, 3 * MIB).expect("there is room"));
        }
        idle.lie(&all, "unpacked-b");
        idle.lie(&all, "unpacked-c");
        // What nothing runs from goes first.
        drop(put(&all, "unpacked-d", 3 * MIB).expect("room is made"));
        assert_eq!((names(folder.path()), idle.idle().len()), (names_of(["b", "c", "d"]), 2));
        let runs = all.lease("unpacked-d").expect("readable").expect("here");
        drop(put(&all, "unpacked-e", 3 * MIB).expect("the idle ones end"));
        assert_eq!((names(folder.path()), idle.idle().len()), (names_of(["c", "d", "e"]), 1));
        // None ends for what would not fit then either, nor for what something else runs from, too.
        assert_eq!(put(&all, "unpacked-f", 8 * MIB).expect_err("refused").kind(), io::ErrorKind::StorageFull);
        assert!(all.begin(8 * MIB).is_err_and(|error| error.kind() == io::ErrorKind::StorageFull));
        let too = all.lease("unpacked-c").expect("readable").expect("here");
        assert!(put(&all, "unpacked-f", 5 * MIB).is_err());
        drop(too);
        assert_eq!((names(folder.path()), idle.0.lock().len()), (names_of(["c", "d", "e"]), 1));
        drop(all.begin(7 * MIB).expect("room can be made"));
        drop(put(&all, "unpacked-f", 7 * MIB).expect("room is made"));
        assert_eq!((names(folder.path()), idle.0.lock().len()), (names_of(["d", "f"]), 0));
        drop(runs);
    }

    #[test]
    fn no_environment_ends_where_the_disk_stays_full_without_its_image() {
        let folder = tempfile::tempdir().expect("a folder");
        let free = Arc::new(std::sync::atomic::AtomicU64::new(u64::MAX));
        let (tells, seams) = (Arc::clone(&free), (Clock::manual(Timestamp::default()), Rng::seeded(1)));
        let room: Room = Arc::new(move || tells.load(std::sync::atomic::Ordering::Relaxed));
        let all = Arc::new(Kept::open(folder.path(), u64::MAX, room, seams).expect("opens"));
        let idle = Idle::default();
        all.may_end(Box::new(idle.clone()));
        drop(put(&all, "unpacked-a", MIB).expect("there is room"));
        idle.lie(&all, "unpacked-a");
        free.store(0, std::sync::atomic::Ordering::Relaxed);
        assert!(put(&all, "unpacked-b", MIB).is_err());
        assert_eq!(idle.idle().len(), 1);
    }

    fn names_of<const N: usize>(ends: [&str; N]) -> Vec<String> {
        ends.map(|end| format!("unpacked-{end}")).to_vec()
    }

    #[test]
    fn e3_images_go_when_the_disk_runs_full() {
        let folder = tempfile::tempdir().expect("a folder");
        let free = Arc::new(std::sync::atomic::AtomicU64::new(u64::MAX));
        let (tells, seams) = (Arc::clone(&free), (Clock::manual(Timestamp::default()), Rng::seeded(1)));
        let room: Room = Arc::new(move || tells.load(std::sync::atomic::Ordering::Relaxed));
        let all = Arc::new(Kept::open(folder.path(), u64::MAX, room, seams).expect("opens"));
        drop(put(&all, "unpacked-a", MIB).expect("there is room"));
        free.store(ROOM_SHARES * MIB - 1, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(put(&all, "unpacked-b", MIB).expect_err("refused").kind(), io::ErrorKind::StorageFull);
        assert!(names(folder.path()).is_empty());
        free.store(ROOM_SHARES * MIB, std::sync::atomic::Ordering::Relaxed);
        drop(put(&all, "unpacked-b", MIB).expect("there is room"));
    }

    #[test]
    fn what_somebody_has_removed_by_hand_makes_room_as_well() {
        let folder = tempfile::tempdir().expect("a folder");
        let all = kept(folder.path(), 10 * MIB, u64::MAX);
        for name in ["unpacked-a", "unpacked-b"] {
            drop(put(&all, name, 4 * MIB).expect("there is room"));
            fs::remove_dir_all(folder.path().join(name)).expect("removed");
        }
        drop(put(&all, "unpacked-c", 9 * MIB).expect("room is made"));
        fs::remove_dir_all(folder.path().join("unpacked-c")).expect("removed");
        assert!(all.take("unpacked-c").expect("works").is_none(), "nothing is left to remove");
        assert!(all.lease("unpacked-c").expect("readable").is_none());
    }

    #[tokio::test]
    async fn of_two_that_do_not_fit_together_the_younger_fails_and_the_older_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let all = kept(folder.path(), 10 * MIB, u64::MAX);
        let [mut older, mut younger] = [(); 2].map(|()| all.begin(0).expect("begun").1);
        older.grow(5 * MIB).expect("there is room");
        younger.grow(5 * MIB).expect("there is room");
        let waiting = sys::task::blocking(move || {
            older.grow(MIB)?;
            older.keep("unpacked-a")
        });
        let failing = async {
            // Until it waits.
            Clock::system().sleep(std::time::Duration::from_millis(20)).await;
            assert_eq!(younger.grow(MIB).expect_err("refused").kind(), io::ErrorKind::StorageFull);
            drop(younger);
        };
        let (kept, ()) = tokio::join!(waiting, failing);
        drop(kept.expect("it ran").expect("room was made"));
        assert_eq!(names(folder.path()), ["unpacked-a"]);
        let state = all.state.lock();
        assert!(state.growing.is_empty() && state.growing_bytes == 0);
    }

    #[test]
    fn what_is_whole_is_found_again_at_the_next_start() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(put(&kept(folder.path(), 10 * MIB, u64::MAX), "unpacked-a", 7 * MIB).expect("there is room"));
        fs::create_dir_all(folder.path().join("unpacked-torn/root")).expect("made");
        let all = kept(folder.path(), 10 * MIB, u64::MAX);
        assert_eq!(names(folder.path()), ["unpacked-a"]);
        let (root, lease) = all.lease("unpacked-a").expect("readable").expect("here");
        assert_eq!(fs::read_to_string(root.join("f")).expect("there"), "unpacked-a");
        assert!(put(&all, "unpacked-b", 4 * MIB).is_err(), "it counts");
        drop(lease);
        drop(put(&all, "unpacked-b", 4 * MIB).expect("room is made"));
    }
}
