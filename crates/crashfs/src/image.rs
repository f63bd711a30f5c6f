//! What a power cut may have left of a disk.

use std::collections::{BTreeMap, BTreeSet};

use sys::Rng;

use crate::tree::{Change, Kind, Node, Tree, apply_to};

/// What the file system promises about names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// ext4's `data=ordered`: names change in the order of the log, an fsync makes those durable that came before the last
    /// change of what it syncs, and a file that grew shows no bytes that were not written.
    Ordered,
    /// What POSIX promises and no more: an fsync of a folder makes its names durable and those of no other, one of a file
    /// its bytes; files may have grown by zeros.
    Strict,
}

/// How much of what is not durable is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: the cache is lost.
    Nothing,
    /// All: the kernel had just written it back.
    Everything,
    /// Some names; of each file nothing, all, or each sector as it was at some moment since the file was synced: writes
    /// are lost, reordered and torn.
    Some,
}

/// A power cut.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    /// What the file system promises.
    pub model: Model,
    /// What is there beyond that.
    pub keep: Keep,
    /// What the disk writes in one piece, in bytes: 512, or a page of 4,096.
    pub sector: usize,
}

impl Crash {
    /// Every combination of what there is to choose.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for model in [Model::Ordered, Model::Strict] {
            all.extend([Keep::Nothing, Keep::Everything].map(|keep| Self { model, keep, sector: 4096 }));
            all.extend([512, 4096].map(|sector| Self { model, keep: Keep::Some, sector }));
        }
        all
    }
}

/// What is there after power was cut when `log` had happened on `base`, which was durable. `chance` decides what is left
/// open: the same seed leaves the same.
pub fn image(base: &Tree, log: &[Change], crash: Crash, chance: &Rng) -> Tree {
    let mut tree = base.clone();
    let named = match crash.model {
        Model::Ordered => ordered_names(log, crash.keep, chance),
        Model::Strict => strict_names(log, crash.keep, chance),
    };
    let mut contents: BTreeMap<u64, Vec<&Change>> = BTreeMap::new();
    let mut durable: BTreeMap<u64, usize> = BTreeMap::new();
    for (change, is_kept) in log.iter().zip(named) {
        if let Change::Make { node, mode, at_us, .. } = change {
            tree.make_node(*node, *mode, *at_us);
        }
        if is_kept && change.content_of().is_none() {
            tree.apply(change);
        }
        if let Some(node) = change.content_of() {
            contents.entry(node).or_default().push(change);
        }
        if let Change::Sync { node } = change {
            durable.insert(*node, contents.get(node).map_or(0, Vec::len));
        }
    }
    tree.drop_nameless();
    for (number, changes) in contents {
        let Some(node) = tree.node_mut(number) else { continue };
        let (synced, pending) = changes.split_at(durable.get(&number).copied().unwrap_or(0));
        synced.iter().for_each(|change| apply_to(node, change));
        content(node, pending, crash, chance);
    }
    tree
}

/// Which changes of names are there: all up to some moment.
fn ordered_names(log: &[Change], keep: Keep, chance: &Rng) -> Vec<bool> {
    // The last change of the metadata of each node, and the last that is durable; both as the number of changes up to it.
    let (mut changed, mut durable) = (BTreeMap::new(), 0);
    let mut lengths: BTreeMap<u64, usize> = BTreeMap::new();
    for (at, change) in log.iter().enumerate() {
        match change {
            Change::Make { name, node, .. } | Change::Link { name, node } => {
                changed.extend([(name.0, at + 1), (*node, at + 1)]);
            }
            Change::Unlink { .. } | Change::Rename { .. } => {
                changed.extend(change.folders().into_iter().map(|folder| (folder, at + 1)));
            }
            Change::Write { node, at: from, bytes } => {
                let length = lengths.entry(*node).or_default();
                if from + bytes.len() > *length {
                    *length = from + bytes.len();
                    changed.insert(*node, at + 1);
                }
            }
            Change::Resize { node, length } => {
                lengths.insert(*node, *length);
                changed.insert(*node, at + 1);
            }
            Change::Touch { node, .. } => {
                changed.insert(*node, at + 1);
            }
            Change::Sync { node } => durable = durable.max(changed.get(node).copied().unwrap_or(0)),
        }
    }
    let until = match keep {
        Keep::Nothing => durable,
        Keep::Everything => log.len(),
        Keep::Some => durable + below(chance, log.len() - durable + 1),
    };
    (0..log.len()).map(|at| at < until).collect()
}

/// Which changes of names are there: of each folder all up to some moment, and a rename in both of its folders or in none.
fn strict_names(log: &[Change], keep: Keep, chance: &Rng) -> Vec<bool> {
    let mut kept = vec![false; log.len()];
    // Backwards: folders all of whose changes from here on to the front are durable.
    let mut durable: BTreeSet<u64> = BTreeSet::new();
    for (at, change) in log.iter().enumerate().rev() {
        let folders = change.folders();
        if let Change::Sync { node } = change {
            durable.insert(*node);
        } else if folders.iter().any(|folder| durable.contains(folder)) {
            kept[at] = true;
            durable.extend(folders);
        }
    }
    if keep == Keep::Nothing {
        return kept;
    }
    let mut ended: BTreeSet<u64> = BTreeSet::new();
    for (at, change) in log.iter().enumerate() {
        let folders = change.folders();
        if kept[at] || folders.is_empty() {
            continue;
        }
        let goes_on = keep == Keep::Everything || chance.below(4) > 0;
        if goes_on && !folders.iter().any(|folder| ended.contains(folder)) {
            kept[at] = true;
        } else {
            ended.extend(folders);
        }
    }
    kept
}

/// How many changes of a log may be lost at its end, by [`Model::Strict`].
pub(crate) fn pending(log: &[Change]) -> usize {
    let (mut names, mut contents) = (0, BTreeMap::<u64, usize>::new());
    for (change, is_durable) in log.iter().zip(strict_names(log, Keep::Nothing, &Rng::seeded(0))) {
        match (change, change.content_of()) {
            (Change::Sync { node }, _) => drop(contents.remove(node)),
            (_, Some(node)) => *contents.entry(node).or_default() += 1,
            _ => names += usize::from(!is_durable),
        }
    }
    names + contents.values().sum::<usize>()
}

/// The content of one file: what was synced is in `node`, and `pending` came after it.
fn content(node: &mut Node, pending: &[&Change], crash: Crash, chance: &Rng) {
    let some = crash.keep == Keep::Some && chance.below(2) == 0;
    let all = crash.keep == Keep::Everything || crash.keep == Keep::Some && chance.below(2) == 0;
    if all && !some {
        pending.iter().for_each(|change| apply_to(node, change));
    } else if some && !pending.is_empty() {
        torn(node, pending, crash, chance);
    }
}

/// Every sector as it was after some of the pending changes, and the length after some of them too.
fn torn(node: &mut Node, pending: &[&Change], crash: Crash, chance: &Rng) {
    let Kind::File(synced) = &node.kind else { return };
    let synced = synced.clone();
    // So many changes are in the length.
    let sized = below(chance, pending.len() + 1);
    let chosen = choose_sectors(&synced, pending, (sized, crash), chance);
    let mut now = node.clone();
    let mut left = synced.clone();
    let (mut before, mut length) = (synced.len(), synced.len());
    for (done, change) in (1..).zip(pending) {
        apply_to(&mut now, change);
        let Kind::File(content) = &now.kind else { return };
        if done == sized {
            length = content.len();
            // The last write may have been written back in part.
            let cut = before + below(chance, (length.saturating_sub(before)) / crash.sector + 1) * crash.sector;
            if chance.below(2) == 0 && cut < length {
                length = cut;
            }
        }
        before = content.len();
        left.resize(left.len().max(content.len()), 0);
        for (sector, _) in chosen.iter().filter(|(_, moment)| **moment == done) {
            let (from, to) = (sector * crash.sector, ((sector + 1) * crash.sector).min(left.len()));
            let there = to.min(content.len()).max(from);
            left[from..there].copy_from_slice(&content[from..there]);
            left[there..to].fill(0);
        }
    }
    left.resize(length, 0);
    node.kind = Kind::File(left);
}

/// After how many of the pending changes each sector that they write to was written back.
fn choose_sectors(
    synced: &[u8],
    pending: &[&Change],
    (sized, crash): (usize, Crash),
    chance: &Rng,
) -> BTreeMap<usize, usize> {
    let mut moments: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (done, change) in (1..).zip(pending) {
        let Change::Write { at, bytes, .. } = change else { continue };
        for sector in at / crash.sector..(at + bytes.len()).div_ceil(crash.sector) {
            moments.entry(sector).or_insert_with(|| vec![0]).push(done);
        }
    }
    let pick = |(sector, moments): (usize, Vec<usize>)| {
        let is_grown = (sector + 1) * crash.sector > synced.len();
        let moment = match crash.model {
            // ext4 lengthens a file after the bytes are on the disk.
            Model::Ordered if is_grown => moments.iter().copied().rfind(|moment| *moment <= sized).unwrap_or(0),
            Model::Ordered | Model::Strict => moments[below(chance, moments.len())],
        };
        (sector, moment)
    };
    moments.into_iter().map(pick).collect()
}

fn below(chance: &Rng, bound: usize) -> usize {
    usize::try_from(chance.below(bound as u64)).unwrap_or(0)
}
