//! The table of attacks in `docs/security-probes.md`, printed from the suite's own data.

use std::fmt::Write;
use std::path::PathBuf;

use super::table::{PROBES, Probe};
use crate::process::Wall;

const BEGIN: &str = "<!-- printed by `cargo xtask probes`: do not edit -->\n";
const END: &str = "<!-- end of what is printed -->\n";
/// Set, the table is written instead of compared.
const WRITE: &str = "TINDERBOX_WRITE_PROBES";

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/security-probes.md")
}

fn words(wall: Wall) -> &'static str {
    match wall {
        Wall::Seccomp => "seccomp",
        Wall::Landlock => "Landlock",
        Wall::Privileges => "no privileges",
        Wall::NoNewPrivileges => "`no_new_privs`",
        Wall::UserNamespace => "user namespace",
        Wall::OwnHostIds => "a uid each",
        Wall::OwnIdOfInit => "another uid for pid 1",
        Wall::HiddenInit => "pid 1 not dumpable",
        Wall::PidNamespace => "pid namespace",
        Wall::NetNamespace => "network namespace",
        Wall::IpcNamespace => "IPC namespace",
        Wall::UtsNamespace => "UTS namespace",
        Wall::CgroupNamespace => "cgroup namespace",
        Wall::HostRootGone => "host's root unmounted",
        Wall::ClosedRoot => "root read-only",
        Wall::ReadOnlyMounts => "mounts read-only",
        Wall::NoSetuid => "`nosuid`",
        Wall::NoDevices => "`nodev`",
        Wall::StrictTargets => "no links to mount points",
        Wall::MaskedProc => "masks in `/proc`",
        Wall::ReadOnlyProc => "`/proc` read-only",
        Wall::HidePid => "`hidepid`",
        Wall::ClosedDescriptors => "`close_range`",
        Wall::ProcessesCgroup => "pids cgroup",
        Wall::ProcessesLimit => "`RLIMIT_NPROC`",
        Wall::MemoryLimit => "memory cgroup",
        Wall::OpenFilesLimit => "`RLIMIT_NOFILE`",
        Wall::ScratchQuota => "quota of `/tmp`",
    }
}

fn row(probe: &Probe) -> String {
    let walls: Vec<&str> = probe.walls.iter().map(|wall| words(*wall)).collect();
    let (control, mutation) = match walls[..] {
        [] => ("works as it is".to_owned(), "**no wall**: see the threat model".to_owned()),
        [one] => (format!("works without {one}"), "that wall alone holds it".to_owned()),
        _ => (format!("works without {}", walls.join(" + ")), "each of them holds it alone".to_owned()),
    };
    let needs = if probe.optional { " †" } else { "" };
    format!("| {} | {}{needs} | `{}` | {control} | {mutation} |\n", probe.id, probe.attack, probe.name)
}

fn table() -> String {
    let alone = PROBES.iter().filter(|probe| probe.walls.len() == 1).count();
    let several = PROBES.iter().filter(|probe| probe.walls.len() > 1).count();
    let mut text = format!(
        "{} attacks: {alone} that one wall holds, {several} that each of several walls holds alone, {} that none holds.\n\n",
        PROBES.len(),
        PROBES.len() - alone - several
    );
    text.push_str("| id | attack | probe | control | with one wall back |\n|---|---|---|---|---|\n");
    for probe in PROBES {
        write!(text, "{}", row(probe)).expect("a text takes all");
    }
    text
}

#[test]
fn the_page_has_the_table_of_the_suite() {
    let text = std::fs::read_to_string(page()).expect("docs/security-probes.md");
    let (before, rest) = text.split_once(BEGIN).expect("the page has a place for it");
    let (_, after) = rest.split_once(END).expect("the place has an end");
    let expected = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os(WRITE).is_some() {
        return std::fs::write(page(), expected).expect("written");
    }
    assert!(text == expected, "docs/security-probes.md differs from the suite: run `cargo xtask probes`");
}
