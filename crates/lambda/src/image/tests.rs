//! Layers, good and hostile, on their way into a folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::tar::{Kind, Tar};
use super::tree::{Room, Tree};

const NODES_MAX: u64 = 400;

/// One entry of a layer under construction.
#[derive(Clone, Debug)]
enum Entry {
    File(String, String, u32),
    Folder(String, u32),
    Link(String, String),
    Hard(String, String),
    /// A type flag that is none of these.
    Other(String, u8),
}

fn file(path: &str, text: &str) -> Entry {
    Entry::File(path.to_owned(), text.to_owned(), 0o644)
}

fn folder(path: &str) -> Entry {
    Entry::Folder(path.to_owned(), 0o755)
}

fn link(path: &str, target: &str) -> Entry {
    Entry::Link(path.to_owned(), target.to_owned())
}

fn hard(path: &str, target: &str) -> Entry {
    Entry::Hard(path.to_owned(), target.to_owned())
}

/// Bytes of a ustar archive; long names go into pax headers.
fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let (path, target, text, mode, flag) = match entry {
            Entry::File(path, text, mode) => (path, "", text.as_str(), *mode, b'0'),
            Entry::Folder(path, mode) => (path, "", "", *mode, b'5'),
            Entry::Link(path, target) => (path, target.as_str(), "", 0o777, b'2'),
            Entry::Hard(path, target) => (path, target.as_str(), "", 0o644, b'1'),
            Entry::Other(path, flag) => (path, "", "", 0o666, *flag),
        };
        if path.len() > 100 || target.len() > 100 {
            let record = |keyword: &str, value: &str| {
                let rest = format!(" {keyword}={value}\n");
                let length = (1..).find(|length| format!("{length}").len() + rest.len() == *length);
                format!("{}{rest}", length.expect("some length fits"))
            };
            let records = format!("{}{}", record("path", path), record("linkpath", target));
            bytes.extend(header("pax", "", records.len() as u64, 0o644, b'x'));
            pad(&mut bytes, records.as_bytes());
        }
        let cut = |text: &str| text.chars().take(90).collect::<String>();
        bytes.extend(header(&cut(path), &cut(target), text.len() as u64, mode, flag));
        pad(&mut bytes, text.as_bytes());
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn header(path: &str, target: &str, length: u64, mode: u32, flag: u8) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, path.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000\x000000000");
    put(124, format!("{length:011o}").as_bytes());
    put(136, b"14000000000");
    put(148, b"        ");
    put(156, &[flag]);
    put(157, target.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn pad(bytes: &mut Vec<u8>, data: &[u8]) {
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
}

fn lay_into(folder: &Path, layers: &[Vec<u8>]) -> io::Result<()> {
    let mut tree = Tree::new(folder, NODES_MAX, Granted(u64::MAX))?;
    for layer in layers {
        tree.lay(&mut Tar::new(&layer[..]))?;
    }
    tree.finish().map(drop)
}

/// So many bytes, and no more.
struct Granted(u64);

impl Room for Granted {
    fn grow(&mut self, bytes: u64) -> io::Result<()> {
        self.0 = self.0.checked_sub(bytes).ok_or(io::ErrorKind::StorageFull)?;
        Ok(())
    }
}

/// Everything below a folder: path to what it is. What the sandbox needs is left out.
fn listing(root: &Path) -> BTreeMap<String, String> {
    fn walk(root: &Path, at: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(at).expect("readable").map(|entry| entry.expect("an entry").path()) {
            let name = entry.strip_prefix(root).expect("below").to_str().expect("text").to_owned();
            let kind = fs::symlink_metadata(&entry).expect("there");
            if kind.is_dir() {
                found.insert(name, "/".to_owned());
                walk(root, &entry, found);
            } else if kind.is_symlink() {
                found.insert(name, format!("-> {}", fs::read_link(&entry).expect("a link").display()));
            } else {
                found.insert(name, fs::read_to_string(&entry).expect("readable"));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    for made in ["proc", "dev", "tmp", "etc", "etc/hosts", "etc/hostname", "etc/resolv.conf"] {
        found.remove(made);
    }
    found
}

fn laid(layers: &[Vec<Entry>]) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let layers: Vec<_> = layers.iter().map(|entries| tar(entries)).collect();
    lay_into(folder.path(), &layers).expect("laid");
    listing(folder.path())
}

fn refusal(layers: &[Vec<Entry>]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let layers: Vec<_> = layers.iter().map(|entries| tar(entries)).collect();
    lay_into(folder.path(), &layers).expect_err("refused").to_string()
}

fn names(listing: &BTreeMap<String, String>) -> Vec<&str> {
    listing.keys().map(String::as_str).collect()
}

#[test]
fn later_layers_lie_over_earlier_ones() {
    let found = laid(&[
        vec![folder("a"), file("a/x", "old"), file("a/y", "kept"), folder("b"), file("b/z", "old"), link("l", "a/x")],
        vec![file("./a/x", "new"), file("/b", "a file now"), folder("l"), file("l/n", "new")],
    ]);
    let expected = [("a", "/"), ("a/x", "new"), ("a/y", "kept"), ("b", "a file now"), ("l", "/"), ("l/n", "new")];
    assert_eq!(found, expected.map(|(path, what)| (path.to_owned(), what.to_owned())).into());
}

#[test]
fn whiteouts_hide_what_is_below_and_nothing_of_their_own_layer() {
    let below =
        || vec![folder("a"), file("a/x", "1"), file("a/y", "1"), folder("a/s"), file("a/s/t", "1"), file("b", "1")];
    assert_eq!(names(&laid(&[below(), vec![file("a/.wh.x", ""), file(".wh.b", "")]])), ["a", "a/s", "a/s/t", "a/y"]);
    assert_eq!(names(&laid(&[below(), vec![file(".wh.a", "")]])), ["b"]);
    // Whichever comes first.
    for opaque_first in [true, false] {
        let (opaque, new) = (file("a/.wh..wh..opq", ""), [folder("a/s"), file("a/s/n", "2"), file("a/y", "2")]);
        let entries = match opaque_first {
            true => [vec![folder("a"), opaque], new.to_vec()].concat(),
            false => [vec![folder("a")], new.to_vec(), vec![opaque]].concat(),
        };
        let found = laid(&[below(), entries]);
        assert_eq!(names(&found), ["a", "a/s", "a/s/n", "a/y", "b"]);
        assert_eq!(found["a/y"], "2");
    }
    let again = laid(&[below(), vec![folder("a"), file("a/n", "2"), file(".wh.a", "")]]);
    assert_eq!(names(&again), ["a", "a/n", "b"], "a whiteout behind the folder of its own layer");
    assert_eq!(
        names(&laid(&[below(), vec![file(".wh.absent", ""), file("a/.wh..wh.plnk", "")]])),
        names(&laid(&[below()]))
    );
    // A folder in which a layer has an entry is one that it has, whichever comes first and whatever is left of the entry.
    for inner in ["a/.wh.s", "a/.wh.absent", "a/.wh..wh..opq", "a/.wh..wh.plnk", "a/pipe"] {
        let inner = match inner {
            "a/pipe" => Entry::Other(inner.to_owned(), b'6'),
            inner => file(inner, ""),
        };
        for entries in [[inner.clone(), file(".wh.a", "")], [file(".wh.a", ""), inner]] {
            assert_eq!(names(&laid(&[below(), entries.to_vec()])), ["a", "b"], "{entries:?}");
        }
    }
    // What a layer has in the place of what was below is its own, whether the whiteout stands before it or behind.
    for [below, new] in [[file("a", "1"), file("a/n", "2")], [file("a/o", "1"), file("a", "2")]] {
        for hides in [vec![], vec![file(".wh.a", "")]] {
            let own = [folder("a"), new.clone()];
            let own = if matches!(&new, Entry::File(path, ..) if path == "a") { &own[1..] } else { &own[..] };
            let expected = laid(&[own.to_vec()]);
            for entries in [[&hides, own].concat(), [own, &hides].concat()] {
                assert_eq!(laid(&[vec![below.clone()], entries.clone()]), expected, "{entries:?}");
            }
        }
    }
    assert!(refusal(&[below(), vec![file("a/.wh.", "")]]).contains("hides nothing"));
    assert!(refusal(&[below(), vec![file("a/.wh...", "")]]).contains("hides nothing"));
}

#[test]
fn a_renamed_file_is_a_hard_link_and_a_whiteout() {
    let found = laid(&[vec![file("old", "text")], vec![hard("new", "old"), file(".wh.old", "")]]);
    assert_eq!(found, [("new".to_owned(), "text".to_owned())].into());
}

#[test]
fn e2_nothing_is_written_through_a_link_that_leads_outside() {
    let outside = tempfile::tempdir().expect("a folder");
    fs::write(outside.path().join("victim"), "untouched").expect("written");
    let out = outside.path().to_str().expect("text");
    let up = format!("{}{out}", "../".repeat(40));
    for target in [out, &up] {
        let victim = format!("{target}/victim");
        for attack in [
            vec![link("l", target), file("l/new", "x")],
            vec![link("l", target), file("l/victim", "x")],
            vec![link("l", &victim), file("l", "x")],
            vec![link("l", target), file("l/.wh.victim", "")],
            vec![link("l", target), file("l/.wh..wh..opq", "")],
            vec![link("l", target), hard("h", "l/victim"), file("h", "x")],
            vec![hard("h", &victim)],
            vec![link("l", &victim), hard("h", "l"), file("h", "x")],
            vec![link("l", target), folder("l/made")],
            vec![link("l", target), link("l/made", "x")],
            vec![link("l", "l"), file("l/x", "x")],
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let _ = lay_into(folder.path(), &[tar(&attack)]);
            let left: Vec<_> = fs::read_dir(outside.path()).expect("readable").collect();
            assert_eq!(left.len(), 1, "{attack:?}");
            let text = fs::read_to_string(outside.path().join("victim")).expect("there");
            assert_eq!(text, "untouched", "{attack:?}");
            assert_eq!(fs::metadata(outside.path().join("victim")).expect("there").nlink(), 1, "{attack:?}");
        }
    }
}

#[test]
fn links_inside_are_followed_as_they_would_be_inside() {
    let below = vec![folder("usr"), folder("usr/lib"), link("lib", "usr/lib"), link("abs", "/usr/lib")];
    let found = laid(&[below, vec![file("lib/a/x", "1"), file("abs/y", "2"), hard("h", "lib/a/x")]]);
    assert_eq!((found["usr/lib/a/x"].as_str(), found["usr/lib/y"].as_str(), found["h"].as_str()), ("1", "2", "1"));
    assert_eq!((found["lib"].as_str(), found["abs"].as_str()), ("-> usr/lib", "-> /usr/lib"));
}

#[test]
fn e1_paths_that_leave_the_image_are_refused() {
    for path in ["../x", "a/../../x", "a/..", "/../x"] {
        assert!(refusal(&[vec![file(path, "x")]]).contains("leaves the image"), "{path}");
    }
    assert!(refusal(&[vec![file(&"a/".repeat(200), "x")]]).contains("too deep"));
    assert!(refusal(&[vec![file(&format!("{}x", "n".repeat(256)), "x")]]).contains("too long"));
    assert!(refusal(&[vec![hard("h", "../x")]]).contains("leaves the image"));
    assert!(refusal(&[vec![hard("h", "absent")]]).contains("leads nowhere"));
    assert!(refusal(&[vec![folder("d"), hard("h", "d")]]).contains("leads nowhere"));
    assert!(refusal(&[vec![file("f", "x"), file("f/x", "x")]]).contains("no folder"));
    assert!(refusal(&[vec![link("l", "absent"), file("l/x", "x")]]).contains("no folder"));
    let deep = "d/".repeat(120);
    let layers = [vec![folder(&deep), link("l", &deep)], vec![file(&format!("l/{}x", "e/".repeat(60)), "x")]];
    let more = vec![link("m", &format!("l/{}", "e/".repeat(60))), file("m/x", "x")];
    assert!(refusal(&[layers[0].clone(), layers[1].clone(), more]).contains("too deep"));
}

#[test]
fn modes_lose_what_makes_somebody_else_and_devices_are_left_out() {
    let folder_path = tempfile::tempdir().expect("a folder");
    let entries = [
        Entry::File("suid".to_owned(), "x".to_owned(), 0o6755),
        Entry::File("none".to_owned(), "x".to_owned(), 0o000),
        Entry::Folder("shut".to_owned(), 0o1000),
        Entry::Other("disk".to_owned(), b'4'),
        Entry::Other("tty".to_owned(), b'3'),
        Entry::Other("pipe".to_owned(), b'6'),
        file("shut/x", "x"),
    ];
    lay_into(folder_path.path(), &[tar(&entries)]).expect("laid");
    let mode = |name: &str| fs::metadata(folder_path.path().join(name)).expect("there").permissions().mode() & 0o7777;
    assert_eq!((mode("suid"), mode("none"), mode("shut")), (0o755, 0o400, 0o700));
    assert_eq!(names(&listing(folder_path.path())), ["none", "shut", "shut/x", "suid"]);
    assert_eq!(fs::metadata(folder_path.path().join("suid")).expect("there").mtime(), 0o14000000000);
}

#[test]
fn what_the_sandbox_mounts_over_is_real() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = tempfile::tempdir().expect("a folder");
    let out = host.path().to_str().expect("text");
    let entries = [
        link("proc", out),
        file("dev", "a file"),
        link("tmp", "/var/tmp"),
        super::tests::folder("etc"),
        link("etc/hosts", &format!("{out}/hosts")),
        super::tests::folder("etc/resolv.conf"),
        file("etc/resolv.conf/x", "x"),
    ];
    lay_into(folder.path(), &[tar(&entries)]).expect("laid");
    for name in ["proc", "dev", "tmp"] {
        assert!(fs::symlink_metadata(folder.path().join(name)).expect("there").is_dir(), "{name}");
    }
    for name in ["hosts", "hostname", "resolv.conf"] {
        assert!(fs::symlink_metadata(folder.path().join("etc").join(name)).expect("there").is_file(), "{name}");
    }
    assert_eq!(fs::read_dir(host.path()).expect("readable").count(), 0);
    // A link in the place of /etc stays: nothing is made behind it.
    let folder = tempfile::tempdir().expect("a folder");
    lay_into(folder.path(), &[tar(&[link("etc", out)])]).expect("laid");
    assert_eq!(fs::read_dir(host.path()).expect("readable").count(), 0);
}

#[test]
fn e3_entries_are_bounded() {
    let many: Vec<_> = (0..=NODES_MAX).map(|n| file(&format!("f{n}"), "")).collect();
    assert!(refusal(&[many]).contains("too many entries"));
    let folders: Vec<_> = (0..5).map(|n| file(&format!("{n}/{}x", "d/".repeat(100)), "")).collect();
    assert!(refusal(&[folders]).contains("too many entries"), "folders that only paths name count as well");
}

#[test]
fn e3_every_entry_takes_room_whether_it_has_data_or_not() {
    const COUNT: u64 = 3_000;
    let entries: [fn(u64) -> Entry; 4] = [
        |n| file(&format!("{n}"), "x"),
        |n| folder(&format!("{n}")),
        |n| link(&format!("{n}"), &"x".repeat(80)),
        |n| file(&format!("{n}/x"), ""),
    ];
    for entry in entries {
        let layer = tar(&(0..COUNT).map(entry).collect::<Vec<_>>());
        let lay = |room: u64| {
            let outer = tempfile::tempdir().expect("a folder");
            let mut tree = Tree::new(outer.path(), COUNT * 2, Granted(room))?;
            tree.lay(&mut Tar::new(&layer[..]))
        };
        assert_eq!(lay(COUNT << 12).expect_err("full").kind(), io::ErrorKind::StorageFull);
        lay(COUNT << 14).expect("there is room");
    }
}

#[test]
fn e3_whiteouts_look_at_a_bounded_number_of_entries() {
    let below = |names: std::ops::Range<u64>| names.map(|n| file(&format!("d/{n}"), "")).collect::<Vec<_>>();
    let many = |path: &str, times: usize| vec![file(path, ""); times];
    // The same folder again and again costs nothing, whether its own stand before or behind.
    let opaque = many("d/.wh..wh..opq", 100);
    let found = laid(&[below(0..100), [opaque.clone(), below(0..50), opaque].concat()]);
    assert_eq!(found.len(), 51);
    // A layer that hides its own, which is not gone by that.
    assert!(refusal(&[[below(0..100), many(".wh.d", 20)].concat()]).contains("take too long"));
    // Opaque folders in opaque folders, each with the same below it.
    let path = |depth: usize| "n/".repeat(depth);
    let deep: Vec<_> = (0..150).map(|n| file(&format!("{}{n}", path(40)), "")).collect();
    let opaque: Vec<_> = (0..40).rev().map(|depth| file(&format!("{}.wh..wh..opq", path(depth)), "")).collect();
    assert!(refusal(&[[deep, opaque].concat()]).contains("take too long"));
}

#[test]
fn e4_archives_that_lie_are_refused() {
    let good = tar(&[file("a", "some text")]);
    let mut bad_sum = good.clone();
    bad_sum[0] ^= 1;
    let mut bad_number = good.clone();
    // The sum stays what it was.
    (bad_number[124], bad_number[125]) = (b'9', b'0' - 9);
    for (bytes, part) in [
        (&bad_sum[..], "checksum"),
        (&bad_number[..], "malformed"),
        (&good[..600], "too early"),
        (&good[..100], "too early"),
        (&tar(&[Entry::Other("s".to_owned(), b'S')])[..], "sparse"),
        (&tar(&[Entry::Other("s".to_owned(), b'Z')])[..], "unknown kind"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let error = lay_into(folder.path(), &[bytes.to_vec()]).expect_err(part).to_string();
        assert!(error.contains(part), "{error}: {part}");
    }
    let mut huge = header("pax", "", 2 << 20, 0o644, b'x').to_vec();
    huge.resize(huge.len() + (2 << 20), b'x');
    assert!(Tar::new(&huge[..]).next().expect_err("refused").to_string().contains("too long"));
    for records in ["6 a=b\n7 a=b\n", "99 path=x\n", "x path=y\n", "5 ab\n", "0 \n"] {
        let mut bytes = header("pax", "", records.len() as u64, 0o644, b'x').to_vec();
        pad(&mut bytes, records.as_bytes());
        assert!(Tar::new(&bytes[..]).next().is_err(), "{records:?}");
    }
    // Nothing but zeros, and nothing at all, are archives without entries.
    for empty in [&[][..], &[0; 512], &[0; 2048]] {
        assert!(Tar::new(empty).next().expect("an end").is_none());
    }
}

/// What `tar` of this machine and we make of the same tree.
#[test]
fn e4_gnu_tar_and_pax_archives_are_read_as_tar_reads_them() {
    let from = tempfile::tempdir().expect("a folder");
    let long = format!("{}/{}", "long-".repeat(30), "name-".repeat(40));
    for path in ["a/b/c", "ünï/cödé", &long] {
        let path = from.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(&path, path.to_str().expect("text").repeat(30)).expect("written");
    }
    fs::hard_link(from.path().join("a/b/c"), from.path().join("hard")).expect("linked");
    symlink("x".repeat(300), from.path().join("soft")).expect("linked");
    fs::set_permissions(from.path().join("hard"), fs::Permissions::from_mode(0o751)).expect("set");
    let expected = listing(from.path());
    for format in ["gnu", "pax", "posix"] {
        let mut command = Command::new("tar");
        command.arg(format!("--format={format}")).arg("-C").arg(from.path()).args(["-cf", "-", "."]);
        let archive = command.stderr(Stdio::inherit()).output().expect("tar runs");
        assert!(archive.status.success());
        let to = tempfile::tempdir().expect("a folder");
        lay_into(to.path(), &[archive.stdout]).expect("laid");
        assert_eq!(listing(to.path()), expected, "{format}");
        let meta = fs::metadata(to.path().join("hard")).expect("there");
        assert_eq!((meta.permissions().mode() & 0o777, meta.nlink()), (0o751, 2), "{format}");
        assert_eq!(meta.mtime(), fs::metadata(from.path().join("hard")).expect("there").mtime(), "{format}");
    }
}

#[test]
fn data_that_is_not_read_is_passed_over() {
    let bytes = tar(&[file("a", &"x".repeat(1000)), file("b", "text")]);
    let mut tar = Tar::new(&bytes[..]);
    assert_eq!(tar.next().expect("an entry").expect("an entry").length, 1000);
    let head = tar.next().expect("an entry").expect("an entry");
    assert_eq!((head.kind, head.path.as_slice()), (Kind::File, &b"b"[..]));
    let mut text = String::new();
    tar.data().read_to_string(&mut text).expect("text");
    assert_eq!(text, "text");
}

/// What a stack of layers means, in a few lines: the model that the tree is compared with. Folders are entries of their own.
fn model(layers: &[Vec<Entry>]) -> BTreeMap<String, String> {
    let mut merged: BTreeMap<String, String> = BTreeMap::new();
    let below = |map: &BTreeMap<String, String>, path: &str| -> Vec<String> {
        map.keys().filter(|key| *key == path || key.starts_with(&format!("{path}/"))).cloned().collect()
    };
    for layer in layers {
        let mut own: BTreeMap<String, String> = BTreeMap::new();
        let mut hidden = Vec::new();
        for entry in layer {
            let (path, what) = match entry {
                Entry::File(path, text, _) => (path, text.clone()),
                Entry::Folder(path, _) => (path, "/".to_owned()),
                _ => unreachable!("the strategy makes files and folders"),
            };
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            for (at, _) in path.match_indices('/') {
                own.insert(path[..at].to_owned(), "/".to_owned());
            }
            if name == ".wh..wh..opq" {
                hidden.push(format!("{parent}/"));
            } else if let Some(name) = name.strip_prefix(".wh.") {
                hidden.push(if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") });
            } else {
                if what != "/" || own.get(path).is_some_and(|before| before != "/") {
                    below(&own, path).iter().for_each(|key| drop(own.remove(key)));
                }
                own.insert(path.clone(), what);
            }
        }
        for path in hidden {
            let gone = match path.strip_suffix('/') {
                Some("") => merged.keys().cloned().collect(),
                Some(folder) => below(&merged, folder).into_iter().filter(|key| key != folder).collect(),
                None => below(&merged, &path),
            };
            gone.iter().for_each(|key| drop(merged.remove(key)));
        }
        for (path, what) in &own {
            // A folder of this layer where the one below has a file.
            if what != "/" || merged.get(path).is_some_and(|before| before != "/") {
                below(&merged, path).iter().for_each(|key| drop(merged.remove(key)));
            }
        }
        merged.extend(own);
    }
    merged
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
    let entry = (path, 0..8u8, "[a-z]{1,3}").prop_map(|(path, kind, text)| match kind {
        0..4 => file(&path, &text),
        4 | 5 => folder(&path),
        6 => {
            let (parent, name) =
                path.rsplit_once('/').map_or((String::new(), path.as_str()), |(p, n)| (format!("{p}/"), n));
            file(&format!("{parent}.wh.{name}"), "")
        }
        _ => file(&format!("{path}/.wh..wh..opq"), ""),
    });
    prop::collection::vec(entry, 0..9)
}

/// Layers as they are built, of any: others are refused or repaired, each unpacker in its own way. What is a folder of a layer is
/// not also a file of it, and where a file was below its entry stands before what lies in it.
fn proper(layers: Vec<Vec<Entry>>) -> Vec<Vec<Entry>> {
    let mut stack: Vec<Vec<Entry>> = Vec::new();
    for mut layer in layers {
        let mut folders = BTreeSet::new();
        for entry in &layer {
            let (Entry::File(path, ..) | Entry::Folder(path, _)) = entry else { continue };
            folders.extend(path.match_indices('/').map(|(at, _)| path[..at].to_owned()));
            if matches!(entry, Entry::Folder(..)) {
                folders.insert(path.clone());
            }
        }
        layer.retain(|entry| !matches!(entry, Entry::File(path, ..) if folders.contains(path)));
        let below = model(&stack);
        let was_file = folders.iter().filter(|path| below.get(*path).is_some_and(|what| what != "/"));
        stack.push(was_file.map(|path| folder(path)).chain(layer).collect());
    }
    stack
}

fn stacks(layers: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Vec<Entry>>> {
    prop::collection::vec(entries(), layers).prop_map(proper)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn layers_mean_what_the_model_says(layers in stacks(1..4)) {
        prop_assert_eq!(laid(&layers), model(&layers), "{:?}", layers);
    }

    #[test]
    fn whatever_the_bytes_are_nothing_outside_changes_and_nothing_panics(
        mut bytes in prop::collection::vec(any::<u8>(), 0..2048),
        layers in prop::collection::vec(entries(), 1..3),
        at in any::<prop::sample::Index>(),
    ) {
        let outer = tempfile::tempdir().expect("a folder");
        let root = outer.path().join("root");
        fs::create_dir(&root).expect("made");
        let mut archive = tar(&layers.concat());
        let at = at.index(archive.len());
        bytes.truncate(archive.len() - at);
        archive[at..at + bytes.len()].copy_from_slice(&bytes);
        let _ = lay_into(&root, &[archive]);
        prop_assert_eq!(fs::read_dir(outer.path()).expect("readable").count(), 1);
    }
}

/// The archives of these tests are what they claim to be.
#[test]
fn tar_of_this_machine_reads_the_archives_of_these_tests() {
    let bytes = tar(&[folder("d"), file("d/x", "text"), link("l", "d/x")]);
    let mut command = Command::new("tar");
    let mut child = command.args(["-tf", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("tar runs");
    child.stdin.take().expect("piped").write_all(&bytes).expect("written");
    let listed = child.wait_with_output().expect("it ends");
    let listed = String::from_utf8(listed.stdout).expect("text");
    let names: Vec<_> = listed.lines().map(|line| line.trim_end_matches('/')).collect();
    assert_eq!(names, ["d", "d/x", "l"]);
}
