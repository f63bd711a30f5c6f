//! Fault tests E1–E3 and the round trips of packages.

mod raw;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use sys::{Clock, Rng, Timestamp};
use zip::write::SimpleFileOptions;

use super::*;
use raw::{Raw, raw_zip};

const IMAGES: ImageLimits = ImageLimits { bytes_max: 1 << 20, nodes_max: 100, kept_bytes_max: 1 << 30 };
const LIMITS: UnpackLimits = UnpackLimits { bytes_max: 1 << 20, nodes_max: 100 };

/// Unpacks below a folder that has a sibling, so that anything written outside would show.
fn unpack_watched(zip: &[u8]) -> (Result<Unpacked, PackageError>, BTreeMap<String, String>) {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("root");
    fs::create_dir(&root).unwrap();
    let outcome = unpack(zip, &root, LIMITS);
    let outside: Vec<_> = fs::read_dir(outer.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(outside, ["root"], "something was written outside");
    let mut found = BTreeMap::new();
    walk(&root, "", &mut found);
    (outcome, found)
}

/// Path → mode and content, or `-> target`.
fn walk(folder: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let data = entry.path().symlink_metadata().unwrap();
        let mode = data.permissions().mode() & 0o7777;
        if data.is_symlink() {
            found.insert(path, format!("-> {}", fs::read_link(entry.path()).unwrap().display()));
        } else if data.is_dir() {
            found.insert(format!("{path}/"), format!("{mode:o}"));
            walk(&entry.path(), &format!("{path}/"), found);
        } else {
            let content = fs::read(entry.path()).unwrap();
            found.insert(path, format!("{mode:o} {}", String::from_utf8_lossy(&content)));
        }
    }
}

fn listing(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(path, content)| ((*path).to_owned(), (*content).to_owned())).collect()
}

fn refusal(zip: &[u8]) -> String {
    unpack_watched(zip).0.expect_err("the package is refused").to_string()
}

#[test]
fn a_package_unpacks_with_normalised_permissions() {
    let zip = raw_zip(&[
        Raw::file("index.js", b"code").mode(0o100_600),
        Raw::file("bin/run", b"#!").mode(0o104_511).deflated(),
        Raw::file("lib/", b"").mode(0o042_777),
        Raw::file("lib/x.so.1", b"elf").mode(0),
        Raw::file("lib/x.so", b"x.so.1").mode(0o120_777),
        Raw::file("./plain//name", b"").mode(0o100_644),
    ]);
    let (outcome, found) = unpack_watched(&zip);
    assert_eq!(outcome.unwrap(), Unpacked { bytes: 9, files: 5 });
    let expected = listing(&[
        ("bin/", "755"),
        ("bin/run", "755 #!"),
        ("index.js", "644 code"),
        ("lib/", "755"),
        ("lib/x.so", "-> x.so.1"),
        ("lib/x.so.1", "644 elf"),
        ("plain/", "755"),
        ("plain/name", "644 "),
    ]);
    assert_eq!(found, expected);
}

#[test]
fn e1_zip_slip_is_refused_and_leaves_nothing() {
    let names: [&[u8]; 9] = [
        b"../evil",
        b"a/../../evil",
        b"/tmp/tinderbox-evil",
        b"..\\evil",
        b"C:\\evil",
        b"C:evil",
        b"ev\0il",
        b"\xc0\xae\xc0\xae/evil",
        b"",
    ];
    for name in names {
        let zip = raw_zip(&[Raw::file("ok", b""), Raw::named(name, b"evil")]);
        let (outcome, found) = unpack_watched(&zip);
        assert!(matches!(outcome, Err(PackageError::Refused { .. })), "{}", String::from_utf8_lossy(name));
        assert!(found.is_empty(), "refused before anything was written: {found:?}");
    }
    assert!(!Path::new("/tmp/tinderbox-evil").exists());
}

#[test]
fn e1_duplicate_names_are_refused_and_case_counts() {
    let file = |name: &str| Raw::file(name, b"x");
    for twice in [
        [file("a"), file("a")],
        [file("a"), file("./a")],
        [file("a"), file("a/b")],
        [file("a/b"), file("a")],
        [file("a"), file("a/")],
        [file("a"), file("a").mode(0o120_777)],
        [file("a").mode(0o120_777), file("a").mode(0o120_777)],
    ] {
        // A folder's entry has no data, and a link's data is its target.
        let twice = twice.map(|raw| if raw.name.ends_with(b"/") { Raw::file("a/", b"") } else { raw });
        assert!(refusal(&raw_zip(&twice)).contains("is refused because"), "{twice:?}");
    }
    let (outcome, found) =
        unpack_watched(&raw_zip(&[file("a"), file("A"), Raw::file("d/", b""), Raw::file("d/", b"")]));
    assert_eq!(outcome.unwrap().files, 2);
    assert_eq!(found.len(), 3);
}

#[test]
fn e2_nothing_is_written_through_a_link_and_links_stay_inside() {
    let link = |name: &str, target: &str| Raw::file(name, target.as_bytes()).mode(0o120_777);
    for entries in [
        vec![link("out", ".."), Raw::file("out/evil", b"x")],
        vec![link("out", "/tmp"), Raw::file("out/evil", b"x")],
        vec![Raw::file("d/f", b"x"), link("out", "d"), Raw::file("out/evil", b"x")],
        vec![link("a", "."), link("b", "a/..")],
        vec![link("a", "."), link("a/b", "..")],
        vec![link("shadow", "/etc/shadow")],
        vec![link("up", "../../etc/shadow")],
        vec![link("long", &"x/".repeat(2_000))],
    ] {
        let entries = [vec![Raw::file("ok", b"")], entries].concat();
        assert!(refusal(&raw_zip(&entries)).contains("is refused because"), "{entries:?}");
    }
}

#[test]
fn e2_devices_pipes_and_sockets_are_refused() {
    for kind in [0o020_000, 0o060_000, 0o010_000, 0o140_000] {
        let zip = raw_zip(&[Raw::file("node", b"").mode(kind | 0o666)]);
        assert!(refusal(&zip).contains("neither a file, a directory nor a symbolic link"), "{kind:o}");
    }
}

#[test]
fn e3_a_bomb_stops_at_the_limit() {
    let zeros = vec![0; 2 << 20];
    let honest = raw_zip(&[Raw::file("zeros", &zeros).deflated()]);
    assert!(honest.len() < 8_192, "it is a bomb");
    let (outcome, found) = unpack_watched(&honest);
    assert_eq!(outcome.unwrap_err().to_string(), "Unzipped size must be smaller than 1048576 bytes");
    assert!(found.is_empty(), "the headers gave it away before anything was written");

    let lying = raw_zip(&[Raw::file("zeros", &zeros).deflated().claiming(10)]);
    let outer = tempfile::tempdir().unwrap();
    let outcome = unpack(&lying, outer.path(), LIMITS);
    assert!(outcome.unwrap_err().to_string().contains("not what its header says"));
    let written = fs::metadata(outer.path().join("zeros")).unwrap().len();
    assert!(written <= 10, "it stopped at the claim, not after {written} bytes");
}

#[test]
fn e3_lying_sizes_and_checksums_are_refused() {
    let lies = [
        Raw::file("a", b"hello").deflated().claiming(6),
        Raw::file("a", b"hello").deflated().claiming(4),
        Raw::file("a", b"hello").claiming(6),
        Raw::file("a", b"hello").crc(1),
    ];
    for lie in lies {
        assert!(refusal(&raw_zip(std::slice::from_ref(&lie))).contains("is refused because"), "{lie:?}");
    }
}

#[test]
fn e3_overlapping_entries_are_refused() {
    let mut zip = raw_zip(&[Raw::file("a", b"hello"), Raw::file("b", b"hello")]);
    // Both entries of the central directory point at one local header, the way of non-recursive bombs.
    let second = zip.windows(4).rposition(|four| four == b"PK\x01\x02").unwrap();
    zip[second + 42..second + 46].fill(0);
    zip[second + 46] = b'a';
    assert_eq!(refusal(&zip), "Could not unzip uploaded file: its entries overlap.");
}

#[test]
fn e3_too_many_entries_and_too_many_folders_are_refused() {
    let names: Vec<String> = (0..101).map(|n| format!("f{n}")).collect();
    let many: Vec<Raw> = names.iter().map(|name| Raw::file(name, b"")).collect();
    assert!(refusal(&raw_zip(&many)).contains("more than 100 files"));
    let deep: Vec<Raw> = (0..3).map(|n| Raw::file(&format!("{n}/{}", "d/".repeat(50)), b"")).collect();
    assert!(refusal(&raw_zip(&deep)).contains("more than 100 files"));
}

#[test]
fn encrypted_unknown_and_contradicting_entries_are_refused() {
    let mut encrypted = raw_zip(&[Raw::file("a", b"hello")]);
    let central = encrypted.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    encrypted[central + 8] |= 1;
    assert!(refusal(&encrypted).contains("it is encrypted"));
    let mut bzip2 = raw_zip(&[Raw::file("a", b"hello")]);
    bzip2[central + 10] = 12;
    assert!(refusal(&bzip2).contains("neither stored nor deflated"));
    let mut renamed = raw_zip(&[Raw::file("a", b"hello")]);
    renamed[30] = b'b';
    assert!(refusal(&renamed).contains("contradict"));
}

#[test]
fn what_is_no_zip_gets_awss_message() {
    let zip = raw_zip(&[Raw::file("a", b"hello")]);
    let text = "Could not unzip uploaded file. Please check your file, then try to upload again.";
    for cut in 0..zip.len() {
        assert_eq!(refusal(&zip[..cut]), text, "cut at {cut}");
    }
    assert_eq!(refusal(b"#!/bin/sh"), text);
    assert_eq!(refusal(&raw_zip(&[])), "Uploaded file must be a non-empty zip");
    assert_eq!(refusal(&raw_zip(&[Raw::file("d/", b"")])), "Uploaded file must be a non-empty zip");
}

fn trees() -> impl Strategy<Value = BTreeMap<String, (Vec<u8>, bool, bool)>> {
    let path = proptest::collection::vec("[a-zA-Z0-9_.ü-]{1,6}", 1..4).prop_map(|parts| parts.join("/"));
    let file = (proptest::collection::vec(any::<u8>(), 0..300), any::<bool>(), any::<bool>());
    proptest::collection::btree_map(path, file, 1..12).prop_filter("a tree", |files| {
        files.keys().all(|path| {
            let dots = path.split('/').any(|part| part == "." || part == "..");
            !dots && !files.keys().any(|other| other.starts_with(&format!("{path}/")))
        })
    })
}

/// Packs with the `zip` crate: a writer that shares no code with our reader.
fn packed(files: &BTreeMap<String, (Vec<u8>, bool, bool)>) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (path, (content, executable, deflate)) in files {
        let method = if *deflate { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
        let mode = if *executable { 0o755 } else { 0o640 };
        let options = SimpleFileOptions::default().compression_method(method).unix_permissions(mode);
        let options = options.large_file(content.len().is_multiple_of(3));
        writer.start_file(path.as_str(), options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_the_zip_crate_packs_unpacks_to_the_same(files in trees()) {
        let outer = tempfile::tempdir().unwrap();
        let unpacked = unpack(&packed(&files), outer.path(), LIMITS).unwrap();
        prop_assert_eq!(unpacked.files, files.len() as u64);
        for (path, (content, executable, _)) in &files {
            let path = outer.path().join(path);
            prop_assert_eq!(&fs::read(&path).unwrap(), content);
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            prop_assert_eq!(mode, if *executable { 0o755 } else { 0o644 });
        }
    }

    #[test]
    fn mutated_packages_neither_panic_nor_write_outside(
        files in trees(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut zip = packed(&files);
        for (at, byte) in changes {
            let at = at.index(zip.len());
            zip[at] = byte;
        }
        let (outcome, found) = unpack_watched(&zip);
        if let Ok(unpacked) = outcome {
            let files = found.keys().filter(|path| !path.ends_with('/')).count();
            prop_assert_eq!(unpacked.files, files as u64);
        }
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = unpack_watched(&noise);
    }
}

async fn packages(folder: &Path) -> Packages {
    packages_at(folder, Clock::manual(Timestamp::default())).await
}

async fn packages_at(folder: &Path, clock: Clock) -> Packages {
    let rng = Rng::seeded(1);
    let blobs = Blobs::local(folder.join("blobs"), clock.clone(), rng.clone()).await.unwrap();
    Packages::open(&folder.join("code"), blobs, (clock, rng), (LIMITS, IMAGES)).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn a_package_is_stored_once_and_unpacked_again_when_its_folder_is_gone() {
    let outer = tempfile::tempdir().unwrap();
    let zip = Bytes::from(raw_zip(&[Raw::file("index.js", b"code")]));
    let store = packages(outer.path()).await;
    let code = store.store(zip.clone()).await.unwrap().code;
    assert_eq!(code.length, zip.len() as u64);
    assert_eq!(store.store(zip.clone()).await.unwrap().code, code);
    let folder = store.unpacked(&code).await.unwrap();
    assert_eq!(fs::read(folder.join("index.js")).unwrap(), b"code");

    // A restart: what another boot and an interrupted unpack left is swept, and the blob still has the package.
    let boot = folder.parent().unwrap();
    fs::create_dir_all(outer.path().join("code/boot-of-yesterday/x")).unwrap();
    fs::create_dir(boot.join("unfinished-1")).unwrap();
    let store = packages(outer.path()).await;
    assert_eq!(names(&outer.path().join("code")), [boot.file_name().unwrap().to_string_lossy()]);
    assert_eq!(names(boot), [code.digest.as_str()]);
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(store.unpacked(&code).await.unwrap(), folder);
    assert_eq!(fs::read(folder.join("index.js")).unwrap(), b"code");
    assert_eq!(store.zip(&code).await.unwrap(), zip);
}

#[tokio::test]
async fn sweeping_keeps_what_functions_refer_to() {
    let outer = tempfile::tempdir().unwrap();
    let store = packages(outer.path()).await;
    let kept = store.store(Bytes::from(raw_zip(&[Raw::file("f", b"1")]))).await.unwrap().code;
    let other = store.store(Bytes::from(raw_zip(&[Raw::file("f", b"2")]))).await.unwrap().code;
    let needed = [kept.digest.clone()].into();
    assert_eq!(store.unneeded(&needed).await.unwrap(), [other.digest.clone()].into());
    let hour = Duration::from_secs(3_600);
    assert!(!store.remove(&other.digest, hour).await.unwrap(), "whoever stored it may still be about to name it");
    assert!(store.folder(&other).is_dir());
    assert!(store.remove(&other.digest, Duration::ZERO).await.unwrap());
    assert!(store.folder(&kept).is_dir() && !store.folder(&other).exists());
    assert!(store.unpacked(&other).await.is_err(), "its blob has gone as well");
    assert!(store.unneeded(&needed).await.unwrap().is_empty());
    assert!(!store.remove(&other.digest, Duration::ZERO).await.unwrap());
}

#[tokio::test]
async fn merged_layers_go_as_well() {
    let outer = tempfile::tempdir().unwrap();
    let store = packages(outer.path()).await;
    let mut layers = Vec::new();
    for bytes in [b"1", b"2"] {
        layers.push(store.store(Bytes::from(raw_zip(&[Raw::file("f", bytes)]))).await.unwrap().code);
    }
    let merged = store.merged(&layers).await.unwrap();
    let needed: HashSet<String> = layers.iter().map(|layer| layer.digest.clone()).collect();
    assert_eq!(store.unneeded(&needed).await.unwrap(), [merged_name(&layers)].into());
    assert!(store.remove(&merged_name(&layers), Duration::ZERO).await.unwrap());
    assert!(!merged.exists() && store.folder(&layers[0]).is_dir());
    assert_eq!(store.merged(&layers).await.unwrap(), merged, "it is made again when it is needed again");
}

/// Whoever looked for what is needed may have looked before somebody asked for the folder.
#[tokio::test]
async fn merged_layers_that_have_just_been_asked_for_stay() {
    let (outer, clock) = (tempfile::tempdir().unwrap(), Clock::manual(Timestamp::from_unix_s(1_000_000)));
    let store = packages_at(outer.path(), clock.clone()).await;
    let mut layers = Vec::new();
    for bytes in [b"1", b"2"] {
        layers.push(store.store(Bytes::from(raw_zip(&[Raw::file("f", bytes)]))).await.unwrap().code);
    }
    let (name, hour) = (merged_name(&layers), Duration::from_secs(3_600));
    let merged = store.merged(&layers).await.unwrap();
    assert!(!store.remove(&name, hour).await.unwrap() && merged.is_dir(), "it is new");
    clock.advance(hour);
    store.merged(&layers).await.unwrap();
    assert!(!store.remove(&name, hour).await.unwrap() && merged.is_dir(), "it came into use again");
    clock.advance(hour);
    assert!(store.remove(&name, hour).await.unwrap() && !merged.exists());
    assert!(!store.remove(&name, hour).await.unwrap(), "it is gone");
}

#[tokio::test]
async fn a_package_that_cannot_be_stored_leaves_no_folder() {
    let outer = tempfile::tempdir().unwrap();
    let store = packages(outer.path()).await;
    let zip = Bytes::from(raw_zip(&[Raw::file("f", b"1")]));
    // As on a full disk, but for root as well: no blob can be written.
    fs::remove_dir_all(outer.path().join("blobs")).unwrap();
    assert!(matches!(store.store(zip.clone()).await, Err(PackageError::Blob(_))));
    let code = store.check(zip).await.unwrap();
    assert!(!store.folder(&code).exists());
    assert!(names(store.folder(&code).parent().unwrap()).is_empty());
}

#[tokio::test]
async fn a_folder_stays_when_its_blob_is_there_and_cannot_be_read() {
    let outer = tempfile::tempdir().unwrap();
    let store = packages(outer.path()).await;
    let zip = Bytes::from(raw_zip(&[Raw::file("f", b"1")]));
    let code = store.store(zip.clone()).await.unwrap().code;
    // As after a boot: the blob is there, its folder is not yet. It is rotten, and nothing can be written.
    fs::remove_dir_all(store.folder(&code)).unwrap();
    let blobs = outer.path().join("blobs");
    let blob = blobs.join(&code.digest[..2]).join(&code.digest[2..]);
    fs::write(&blob, b"rotten").unwrap();
    fs::remove_dir_all(blobs.join("tmp")).unwrap();
    assert!(matches!(store.store(zip).await, Err(PackageError::Blob(_))));
    assert!(store.folder(&code).is_dir(), "a function may be running from it");
}

#[tokio::test]
async fn many_who_ask_at_once_share_one_unpacking() {
    let outer = tempfile::tempdir().unwrap();
    let store = packages(outer.path()).await;
    let code = store.store(Bytes::from(raw_zip(&[Raw::file("f", b"1")]))).await.unwrap().code;
    let folder = store.folder(&code);
    fs::remove_dir_all(&folder).unwrap();
    let asked = (0..50).map(|_| store.unpacked(&code));
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(answer.unwrap(), folder);
    }
    assert_eq!(names(folder.parent().unwrap()), [code.digest.as_str()]);
}

#[tokio::test]
async fn a_refused_package_and_a_dry_run_leave_nothing() {
    let outer = tempfile::tempdir().unwrap();
    let store = packages(outer.path()).await;
    let bad = Bytes::from(raw_zip(&[Raw::file("../x", b"1")]));
    assert!(store.store(bad.clone()).await.unwrap_err().is_clients());
    assert!(store.check(bad).await.unwrap_err().is_clients());
    let good = Bytes::from(raw_zip(&[Raw::file("x", b"1")]));
    assert_eq!(store.check(good.clone()).await.unwrap().length, good.len() as u64);
    assert!(store.store(Bytes::new()).await.is_err());
    let boot = fs::read_dir(outer.path().join("code")).unwrap().next().unwrap().unwrap().path();
    assert!(names(&boot).is_empty());
}

/// What another version of this program has unpacked may be laid out otherwise.
#[tokio::test]
async fn images_that_another_version_has_unpacked_are_not_used_and_go() {
    let outer = tempfile::tempdir().unwrap();
    let old = outer.path().join("code").join(boot_name(&Rng::seeded(1))).join("image-a");
    fs::create_dir_all(&old).unwrap();
    let store = packages(outer.path()).await;
    let needed = [crate::image::store::folder_name("a")].into();
    assert_eq!(store.unneeded(&needed).await.unwrap(), ["image-a".to_owned()].into());
    assert!(store.remove("image-a", Duration::ZERO).await.unwrap());
    assert!(!old.exists());
}

#[tokio::test]
async fn who_waits_for_the_same_image_takes_no_place_from_others() {
    let outer = tempfile::tempdir().unwrap();
    let store = packages(outer.path()).await;
    let account = AccountId::parse("000000000001").unwrap();
    let [first, second] = [(); 2].map(|()| tokio::sync::watch::Sender::new(false));
    let begun = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let begin = |name: &'static str, gate: &tokio::sync::watch::Sender<bool>| {
        let (store, account, begun, mut gate) = (store.clone(), account.clone(), Arc::clone(&begun), gate.subscribe());
        sys::task::spawn("test", async move {
            let fill = |_: PathBuf, growing: Growing| -> BoxFuture<Result<Growing, PackageError>> {
                Box::pin(async move {
                    begun.lock().push(name);
                    gate.wait_for(|open| *open).await.expect("the test opens it");
                    Ok(growing)
                })
            };
            store.image_once(&account, (name.to_owned(), 0), fill).await
        })
    };
    let until = async |count: usize| {
        while begun.lock().len() < count {
            tokio::task::yield_now().await;
        }
    };
    let mut asked = vec![begin("unpacked-a", &first), begin("unpacked-b", &first)];
    until(ACCOUNT_IMAGE_UNPACKS_AT_ONCE).await;
    // Two wait for places with the same image, and somebody behind them with another.
    for name in ["unpacked-c", "unpacked-c", "unpacked-d"] {
        asked.push(begin(name, &second));
        Clock::system().sleep(Duration::from_millis(20)).await;
    }
    first.send_replace(true);
    let came = Clock::system().timeout(Duration::from_secs(20), until(4)).await;
    assert!(came.is_some(), "only these were begun: {:?}", begun.lock());
    second.send_replace(true);
    for asked in asked {
        assert!(asked.await.unwrap().unwrap().unwrap().0.is_dir());
    }
    let mut begun = begun.lock().clone();
    begun.sort_unstable();
    assert_eq!(begun, ["unpacked-a", "unpacked-b", "unpacked-c", "unpacked-d"]);
}

#[tokio::test]
async fn slow_images_of_one_account_stop_nobody_elses_packages_and_images() {
    let outer = tempfile::tempdir().unwrap();
    let store = packages(outer.path()).await;
    let [slow, other] = ["000000000001", "000000000002"].map(|account| AccountId::parse(account).unwrap());
    let gate = tokio::sync::watch::Sender::new(false);
    let begun = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let begin = |name: &'static str| {
        let (store, account, begun, mut gate) = (store.clone(), slow.clone(), Arc::clone(&begun), gate.subscribe());
        sys::task::spawn("test", async move {
            let fill = |_: PathBuf, growing: Growing| -> BoxFuture<Result<Growing, PackageError>> {
                Box::pin(async move {
                    begun.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    gate.wait_for(|open| *open).await.expect("the test opens it");
                    Ok(growing)
                })
            };
            store.image_once(&account, (name.to_owned(), 0), fill).await
        })
    };
    let stuck = ["unpacked-a", "unpacked-b", "unpacked-c"].map(begin);
    while begun.load(std::sync::atomic::Ordering::SeqCst) < ACCOUNT_IMAGE_UNPACKS_AT_ONCE {
        tokio::task::yield_now().await;
    }
    for n in 0..LOCKS {
        let zip = Bytes::from(raw_zip(&[Raw::file(&format!("f{n}"), b"1")]));
        let code = store.store(zip).await.unwrap().code;
        store.unpacked(&code).await.unwrap();
    }
    let fill = |_: PathBuf, growing: Growing| -> BoxFuture<_> { Box::pin(async move { Ok(growing) }) };
    assert!(store.image_once(&other, ("unpacked-d".to_owned(), 0), fill).await.unwrap().0.is_dir());
    assert_eq!(begun.load(std::sync::atomic::Ordering::SeqCst), ACCOUNT_IMAGE_UNPACKS_AT_ONCE);
    gate.send_replace(true);
    for stuck in stuck {
        assert!(stuck.await.unwrap().unwrap().unwrap().0.is_dir());
    }
}
