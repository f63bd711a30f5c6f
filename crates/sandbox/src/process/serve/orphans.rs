//! Children of the helper's of which nobody asks how they end, yet each stays in the table of processes until it is waited for: the
//! memory watch, and what processes of an OCI runtime leave behind when they end, for the helper adopts orphans.
//!
//! ```text
//!   seen ─▶ the starts that were under way then are over ─┬─▶ the first process of one: its sandbox waits for it
//!                                                         └─▶ anybody's: listened to ─▶ ended ─▶ reaped
//! ```
//! Where the kernel lists no children (`CONFIG_PROC_CHILDREN`) they stay until the helper ends.

use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::process::{Pid, PidfdFlags, WaitOptions};

use super::containers::Containers;
use super::{LauncherProcess, ORPHANS, forget};

/// The children of this process, which has one thread.
const CHILDREN: &str = "/proc/thread-self/children";

#[derive(Default)]
pub(super) struct Orphans(Vec<Orphan>);

struct Orphan {
    pid: Pid,
    /// Containers that were being started when it was seen: it may be the first process of one, and must be there when that
    /// is looked for by its number.
    perhaps_of: Vec<u64>,
    /// Once it is nobody's.
    pidfd: Option<OwnedFd>,
}

impl Orphans {
    /// Takes on the children that are not among the `known`, while containers are being started.
    pub(super) fn adopt(&mut self, known: &[Pid], starting: &[u64]) {
        let Ok(listed) = std::fs::read_to_string(CHILDREN) else { return };
        let children: Vec<Pid> = listed.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect();
        self.look_at(&children, known, starting);
    }

    fn look_at(&mut self, children: &[Pid], known: &[Pid], starting: &[u64]) {
        // What has turned out to be a sandbox's, and what a start that failed has waited for itself.
        self.0.retain(|orphan| !known.contains(&orphan.pid) && children.contains(&orphan.pid));
        for orphan in &mut self.0 {
            orphan.perhaps_of.retain(|id| starting.contains(id));
        }
        for pid in children {
            if !known.contains(pid) && self.0.iter().all(|orphan| orphan.pid != *pid) {
                self.0.push(Orphan { pid: *pid, perhaps_of: starting.to_vec(), pidfd: None });
            }
        }
    }

    /// Begins to listen to those that are nobody's first process.
    pub(super) fn listen(&mut self, epoll: &OwnedFd) {
        for orphan in self.0.iter_mut().filter(|orphan| orphan.perhaps_of.is_empty() && orphan.pidfd.is_none()) {
            // Where there is no descriptor to be had, the next time is soon enough.
            let Ok(pidfd) = rustix::process::pidfd_open(orphan.pid, PidfdFlags::empty()) else { continue };
            if epoll::add(epoll, &pidfd, EventData::new_u64(ORPHANS), EventFlags::IN).is_ok() {
                orphan.pidfd = Some(pidfd);
            }
        }
    }

    /// Waits for those that have ended.
    pub(super) fn reap(&mut self, epoll: &OwnedFd) {
        self.0.retain(|orphan| {
            let Some(pidfd) = &orphan.pidfd else { return true };
            let lives = matches!(rustix::process::waitpid(Some(orphan.pid), WaitOptions::NOHANG), Ok(None));
            if !lives {
                forget(epoll, pidfd);
            }
            lives
        });
    }
}

impl LauncherProcess {
    /// Takes on what processes that have ended have left to this one, and whatever else nobody waits for.
    pub(super) fn adopt(&mut self) {
        let containers = self.containers.iter();
        let starting: Vec<u64> = containers.clone().flat_map(Containers::starting).collect();
        let sandboxes = self.live.values().map(|live| live.spawned.pid);
        let known: Vec<Pid> = containers.flat_map(Containers::awaited).chain(sandboxes).collect();
        self.orphans.adopt(&known, &starting);
        self.orphans.listen(&self.epoll);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(number: i32) -> Pid {
        Pid::from_raw(number).unwrap()
    }

    /// Who there is, and whose first process each may be.
    fn all(orphans: &Orphans) -> Vec<(Pid, Vec<u64>)> {
        orphans.0.iter().map(|one| (one.pid, one.perhaps_of.clone())).collect()
    }

    #[test]
    fn an_orphan_is_nobodys_when_no_start_can_claim_it_any_more() {
        let mut orphans = Orphans::default();
        orphans.look_at(&[pid(1), pid(2), pid(3)], &[pid(1)], &[7, 8]);
        assert_eq!(all(&orphans), [(pid(2), vec![7, 8]), (pid(3), vec![7, 8])], "the first one is known");
        // 7 has been started, and 2 is its first process.
        orphans.look_at(&[pid(1), pid(2), pid(3), pid(4)], &[pid(1), pid(2)], &[8, 9]);
        assert_eq!(all(&orphans), [(pid(3), vec![8]), (pid(4), vec![8, 9])]);
        // 8 has failed and has waited for 4 itself.
        orphans.look_at(&[pid(1), pid(2), pid(3)], &[pid(1), pid(2)], &[9]);
        assert_eq!(all(&orphans), [(pid(3), vec![])]);
    }
}
