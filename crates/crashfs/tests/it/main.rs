//! The disk under files: what survives a cut, and that a careless program is caught.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crashfs::{Crash, Disk, Keep, Model, Mounted, image};
use sys::{Clock, Rng};

const ORDERED: Crash = Crash { model: Model::Ordered, keep: Keep::Nothing, sector: 4096 };
const STRICT: Crash = Crash { model: Model::Strict, ..ORDERED };

/// Runs `act` on a mounted disk; the disk after it.
fn after(act: impl FnOnce(&Path, &Disk)) -> Disk {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Disk::default());
    let mounted = Mounted::at(folder.path(), &disk, Clock::system()).expect("FUSE, as root");
    act(folder.path(), &disk);
    mounted.unmount().unwrap();
    disk
}

/// The files that a crash at `position` leaves, with their bytes.
fn left(disk: &Disk, position: usize, crash: Crash, seed: u64) -> Vec<(String, Vec<u8>)> {
    let (base, log) = disk.recorded();
    let folder = tempfile::tempdir().unwrap();
    image(&base, &log[..position], crash, &Rng::seeded(seed)).write_to(folder.path()).unwrap();
    let mut found = Vec::new();
    let mut rest = vec![folder.path().to_owned()];
    while let Some(path) = rest.pop() {
        if path.is_dir() {
            rest.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let name = path.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned();
            found.push((name, std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

fn names(files: Vec<(String, Vec<u8>)>) -> Vec<String> {
    files.into_iter().map(|(name, _)| name).collect()
}

fn sync(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

#[test]
fn files_behave_as_on_any_other_disk() {
    after(|root, _| {
        std::fs::create_dir(root.join("d")).unwrap();
        std::fs::write(root.join("d/a"), "hello").unwrap();
        std::fs::rename(root.join("d/a"), root.join("b")).unwrap();
        std::fs::OpenOptions::new().append(true).open(root.join("b")).unwrap().write_all(b" world").unwrap();
        assert_eq!(std::fs::read(root.join("b")).unwrap(), b"hello world");
        let open = File::open(root.join("b")).unwrap();
        std::fs::hard_link(root.join("b"), root.join("c")).unwrap();
        std::fs::remove_file(root.join("b")).unwrap();
        assert!(!root.join("b").exists() && root.join("c").exists());
        let mut bytes = [0; 5];
        open.read_exact_at(&mut bytes, 6).unwrap();
        assert_eq!(&bytes, b"world", "an open file outlives its name");
        assert!(std::fs::remove_dir(root).is_err());
        std::fs::remove_dir(root.join("d")).unwrap();
        let many: BTreeSet<String> = (0..2_000).map(|n| format!("file-{n}")).collect();
        many.iter().for_each(|name| drop(File::create(root.join(name)).unwrap()));
        let listed = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(listed.filter(|name| name != "c").collect::<BTreeSet<_>>(), many);
        File::options().write(true).open(root.join("c")).unwrap().set_len(3).unwrap();
        assert_eq!(std::fs::read(root.join("c")).unwrap(), b"hel");
    });
}

#[test]
fn only_what_was_synced_is_there_without_the_cache() {
    let disk = after(|root, _| {
        let mut file = File::create(root.join("a")).unwrap();
        file.write_all(b"one").unwrap();
        file.sync_data().unwrap();
        file.write_all(b"two").unwrap();
        File::create(root.join("b")).unwrap();
    });
    let end = disk.position();
    assert_eq!(left(&disk, end, ORDERED, 1), [("a".to_owned(), b"one".to_vec())], "ext4 syncs a new file's name");
    assert_eq!(left(&disk, end, STRICT, 1), [], "POSIX does not");
    let all = Crash { keep: Keep::Everything, ..STRICT };
    assert_eq!(left(&disk, end, all, 1), [("a".to_owned(), b"onetwo".to_vec()), ("b".to_owned(), Vec::new())]);
    assert_eq!(left(&disk, 0, all, 1), []);
}

#[test]
fn a_folder_keeps_the_order_of_its_names_and_its_fsync_keeps_them_all() {
    let disk = after(|root, _| {
        for name in ["a", "b", "c"] {
            std::fs::write(root.join(name), name).unwrap();
        }
        std::fs::rename(root.join("a"), root.join("z")).unwrap();
        sync(root);
        std::fs::remove_file(root.join("b")).unwrap();
        std::fs::remove_file(root.join("c")).unwrap();
    });
    let some = Crash { keep: Keep::Some, ..STRICT };
    let seen: BTreeSet<Vec<String>> = (0..60).map(|seed| names(left(&disk, disk.position(), some, seed))).collect();
    let possible = [vec!["b", "c", "z"], vec!["c", "z"], vec!["z"]];
    assert_eq!(seen, possible.map(|names| names.into_iter().map(str::to_owned).collect()).into());
}

#[test]
fn writes_that_were_not_synced_are_lost_torn_and_reordered() {
    let page = |byte: u8| vec![byte; 4096];
    let disk = after(|root, _| {
        let file = File::create(root.join("a")).unwrap();
        file.write_all_at(&[page(1), page(1)].concat(), 0).unwrap();
        file.sync_all().unwrap();
        sync(root);
        file.write_all_at(&[page(2), page(2)].concat(), 0).unwrap();
        file.write_all_at(&page(3), 4096).unwrap();
        file.write_all_at(&page(4), 8192).unwrap();
    });
    let states = |crash: Crash| -> BTreeSet<Vec<u8>> {
        let one = |seed| left(&disk, disk.position(), crash, seed).remove(0).1;
        (0..400).map(one).map(|bytes| bytes.chunks(crash.sector).map(|sector| sector[0]).collect()).collect()
    };
    let whole_pages = states(Crash { keep: Keep::Some, ..ORDERED });
    for expected in [&[1, 1][..], &[2, 1], &[1, 2], &[1, 3], &[2, 3, 4], &[2, 1, 4]] {
        assert!(whole_pages.contains(expected), "{expected:?}");
    }
    assert!(whole_pages.iter().all(|pages| !pages.contains(&0)), "ext4 shows no zeros");
    let strict = states(Crash { keep: Keep::Some, ..STRICT });
    assert!(strict.contains(&[1, 1, 0][..]), "a file may grow without its bytes");
    let sectors = states(Crash { keep: Keep::Some, sector: 512, ..STRICT });
    assert!(sectors.iter().any(|sectors| sectors.len() % 8 != 0), "a write ends in the midst of a page");
    let seeded = |seed| left(&disk, disk.position(), Crash { keep: Keep::Some, sector: 512, ..STRICT }, seed);
    assert!((0..20).all(|seed| seeded(seed) == seeded(seed)), "a seed repeats");
}

/// The control of all that is tested with this disk: who forgets a step is caught, who forgets none is not.
#[test]
fn a_program_that_forgets_an_fsync_is_caught() {
    let replace = |root: &Path, [file, folder]: [bool; 2], text: &str| {
        let new = root.join("new");
        std::fs::write(&new, text.repeat(3_000)).unwrap();
        if file {
            sync(&new);
        }
        std::fs::rename(&new, root.join("kept")).unwrap();
        if folder {
            sync(root);
        }
    };
    for (steps, is_careful) in [([true, true], true), ([false, true], false), ([true, false], false)] {
        let mut answered = 0;
        let disk = after(|root, disk| {
            replace(root, [true, true], "old");
            replace(root, steps, "new");
            answered = disk.position();
            std::fs::write(root.join("other"), "x").unwrap();
        });
        let is_lost = |crash: Crash, seed: u64| {
            let files = left(&disk, disk.position(), crash, seed);
            let kept = files.into_iter().find(|(name, _)| name == "kept");
            kept.is_none_or(|(_, bytes)| bytes != "new".repeat(3_000).as_bytes())
        };
        let lost = Crash::all().into_iter().any(|crash| (0..20).any(|seed| is_lost(crash, seed)));
        assert_eq!(lost, !is_careful, "{steps:?}");
        assert!(answered <= disk.position());
    }
}

#[test]
fn without_power_nothing_answers_and_afterwards_there_is_what_the_crash_left() {
    after(|root, disk| {
        std::fs::write(root.join("a"), "synced").unwrap();
        sync(&root.join("a"));
        sync(root);
        std::fs::write(root.join("b"), "not").unwrap();
        disk.cut();
        assert!(std::fs::read(root.join("a")).is_err() && File::create(root.join("c")).is_err());
        assert_eq!(disk.restore(STRICT, &Rng::seeded(1)), 2, "a file and its bytes");
        assert_eq!(std::fs::read(root.join("a")).unwrap(), b"synced");
        assert!(!root.join("b").exists());
        std::fs::write(root.join("b"), "again").unwrap();
        assert_eq!(std::fs::read(root.join("b")).unwrap(), b"again");
    });
}
