//! The security suite: every attack of `sandbox-probe` against all walls, and against all but its own.
//!
//! The table in `docs/security-probes.md` is printed from the same data (`cargo xtask probes`).
//!
//! ```text
//!   all walls                          every attack fails
//!   without the walls of an attack     it works: the positive control
//!   with any one of them back          it fails: that wall holds it by itself
//! ```
//! A helper process of these tests is this test binary itself, run again with the names of the walls to leave out: only
//! the unit tests of this crate are built so that they can be (see `process::walls`).

mod docs;
mod stand;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use crate::process::{ALL_WALLS, WALLS_AWAY, Wall};
use stand::{Said, Stand};
use table::{PROBES, Probe};

type Walls = BTreeSet<Wall>;

fn walls_of(probe: &Probe) -> Walls {
    probe.walls.iter().copied().collect()
}

/// Which attacks are to be made without which walls.
fn plan(missing: &Walls) -> BTreeMap<Walls, BTreeSet<&'static str>> {
    let mut plan: BTreeMap<Walls, BTreeSet<&'static str>> = BTreeMap::new();
    for probe in PROBES {
        let own = walls_of(probe);
        let with_one_back = own.iter().map(|back| own.iter().copied().filter(|wall| wall != back).collect::<Walls>());
        for away in with_one_back.chain([own.clone(), Walls::new()]) {
            // What the host lacks is away in any case.
            plan.entry(away.union(missing).copied().collect()).or_default().insert(probe.name);
        }
    }
    plan
}

/// Whether the kernel refuses to make a sandbox without these walls: in a user namespace of its own it shows no `/proc` of
/// the host's pid namespace.
fn cannot_be(away: &Walls) -> bool {
    away.contains(&Wall::PidNamespace) && !away.contains(&Wall::UserNamespace)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attack_is_stopped_by_its_walls_and_by_each_of_them() {
    if !stand::is_root() {
        return;
    }
    let stage = stand::Stage::set();
    let missing = Stand::missing().await;
    let plan = plan(&missing);
    let mut results: BTreeMap<Walls, BTreeMap<String, Said>> = BTreeMap::new();
    // Two at a time: making a sandbox is mostly waiting.
    let sets: Vec<_> = plan.iter().collect();
    for pair in sets.chunks(2) {
        let attack =
            |(away, names): (&Walls, &BTreeSet<&'static str>)| stand::attack(away.clone(), names.clone(), &stage);
        match *pair {
            [first, second] => {
                let said = tokio::join!(attack(first), attack(second));
                results.extend([(first.0.clone(), said.0), (second.0.clone(), said.1)]);
            }
            [last] => drop(results.insert(last.0.clone(), attack(last).await)),
            _ => unreachable!("chunks of two"),
        }
    }
    let (mut wrong, mut unproven, mut not_made) = (Vec::new(), Vec::new(), Vec::new());
    for probe in PROBES {
        let own: Walls = walls_of(probe).union(&missing).copied().collect();
        for (away, found) in results.iter().filter(|(away, _)| away.is_subset(&own)) {
            let Some(result) = found.get(probe.name) else { continue };
            let line = || format!("{} without {away:?}: {result:?}", probe.name);
            match (result, *away == own) {
                (Said::Worked, true) | (Said::Refused(_), false) => {}
                (Said::Refused(_), true) if probe.optional => unproven.push(line()),
                (Said::NotMade(_), false) if cannot_be(away) => not_made.push(line()),
                _ => wrong.push(line()),
            }
        }
        assert!(results[&own].contains_key(probe.name), "{} was made", probe.name);
    }
    let tries: usize = results.values().map(BTreeMap::len).sum();
    eprintln!("{} attacks, {} sets of walls, {tries} tries", PROBES.len(), plan.len());
    eprintln!("host lacks {missing:?}; attacks that its kernel does not even offer: {unproven:#?}");
    eprintln!(
        "walls that are not shown to hold alone, because nothing can stand there without the others: {not_made:#?}"
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(unproven.len() <= PROBES.iter().filter(|probe| probe.optional).count() / 2, "{unproven:?}");
}

#[tokio::test]
async fn h3_a_mount_never_lands_where_a_link_of_another_leads() {
    if !stand::is_root() {
        return;
    }
    let stage = stand::Stage::set();
    assert!(!stand::link_is_followed(Walls::new(), &stage).await);
    assert!(stand::link_is_followed(Walls::from([Wall::StrictTargets]), &stage).await, "the control");
}

#[test]
fn nothing_that_takes_walls_away_is_in_a_binary_that_is_not_this_test() {
    let holds = |path: &std::path::Path| {
        let bytes = std::fs::read(path).expect("a binary");
        bytes.windows(WALLS_AWAY.len()).any(|window| window == WALLS_AWAY.as_bytes())
    };
    assert!(holds(&std::env::current_exe().expect("this test")), "the control");
    assert!(!holds(&stand::probe_path().with_file_name("sandbox-launcher")));
}

#[test]
fn every_wall_stands_before_some_attack_and_names_are_unique() {
    let covered: Walls = PROBES.iter().flat_map(|probe| probe.walls).copied().collect();
    let bare: Vec<Wall> = ALL_WALLS.into_iter().filter(|wall| !covered.contains(wall)).collect();
    // Its attack is made by a launch, not by a program: the test above.
    assert_eq!(bare, [Wall::StrictTargets], "walls that no attack meets");
    let names: BTreeSet<&str> = PROBES.iter().map(|probe| probe.name).collect();
    assert_eq!(names.len(), PROBES.len());
    assert_eq!(
        names,
        stand::attacks_of_the_probe().iter().map(String::as_str).collect(),
        "the probe binary is of this source: build it too"
    );
}
