//! Images that only idle environments run from: these end where another image finds no room on the disk.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use tokio::sync::oneshot;

use super::pools::{Idle, Pools, forget};
use super::{Environments, Shared};
use crate::image::{IdleImages, Lease};

/// The idle environments, for the images of the node. It keeps none of them.
pub(crate) struct Idlers(Weak<Shared>);

/// An image that idle environments run from.
struct Used<'a> {
    lease: &'a Lease,
    environments: usize,
    /// The stamp of the one that was used last.
    stamp: u64,
}

impl Environments {
    /// What the images of the node are told.
    pub(crate) fn idlers(&self) -> Idlers {
        Idlers(Arc::downgrade(&self.0))
    }
}

impl IdleImages for Idlers {
    fn idle(&self) -> Vec<PathBuf> {
        let Some(shared) = self.0.upgrade() else { return Vec::new() };
        let pools = shared.pools.lock();
        let mut used: HashMap<&Path, Used<'_>> = HashMap::new();
        for (key, pool) in &pools.by_key {
            for idle in &pool.idle[..may_go(&pools, key, pool.idle.len())] {
                let Some(image) = idle.environment.image() else { continue };
                let one = Used { lease: &image.lease, environments: 0, stamp: idle.stamp };
                let one = used.entry(image.root.as_path()).or_insert(one);
                one.environments += 1;
                one.stamp = one.stamp.max(idle.stamp);
            }
        }
        // Each of them has a lease, and so does the store. Who has another one runs, or is about to.
        let mut idle: Vec<_> = used.into_iter().filter(|(_, one)| one.lease.others() == one.environments).collect();
        idle.sort_by_key(|(_, one)| one.stamp);
        idle.into_iter().map(|(root, _)| root.to_owned()).collect()
    }

    fn end(&self, root: &Path) -> oneshot::Receiver<()> {
        let (sender, ended) = oneshot::channel();
        if let Some(shared) = self.0.upgrade() {
            let gone = take(&mut shared.pools.lock(), root);
            let environments = Environments(shared);
            drop(sys::task::spawn("end of environments of an image", async move {
                environments.stop_all(gone.into_iter().map(|idle| idle.environment)).await;
                // Whoever has gone away needs no room.
                let _ = sender.send(());
            }));
        }
        ended
    }
}

/// How many of `count` idle environments of a key are not kept: the first ones.
fn may_go(pools: &Pools, key: &super::EnvironmentKey, count: usize) -> usize {
    count.saturating_sub(pools.kept.get(key).copied().unwrap_or(0))
}

/// The idle environments of an image that may go.
fn take(pools: &mut Pools, root: &Path) -> Vec<Idle> {
    let counts = pools.by_key.iter().map(|(key, pool)| (Arc::clone(key), may_go(pools, key, pool.idle.len())));
    let counts: Vec<_> = counts.filter(|(_, count)| *count > 0).collect();
    let Pools { by_key, old, .. } = pools;
    let mut gone = Vec::new();
    for (key, count) in counts {
        let Some(pool) = by_key.get_mut(&key) else { continue };
        let is_of = |idle: &mut Idle| idle.environment.image().is_some_and(|image| image.root == root);
        gone.extend(pool.idle.extract_if(..count, is_of));
        if pool.is_unused() {
            by_key.remove(&key);
        }
    }
    gone.iter().for_each(|idle| forget(old, idle));
    gone
}
