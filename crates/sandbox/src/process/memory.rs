//! The memory limit of a program without what it keeps in files.
//!
//! The kernel counts `/tmp` as memory, so its own limit is that of the program plus the size of `/tmp`. The program's part
//! is watched here, by a child of the helper: setting an alarm on cgroup v1 waits for a grace period of RCU, some 10 ms,
//! and must not hold up launches. If the child ends, only the kernel's limit is left.
//!
//! ```text
//!   helper ── Watched (a new program) ──▶ child ─▶ kernel's alarm ─▶ look: files grew? set the next alarm
//!          ◀── its id ─────────────────────────────────────────────▶       too much? say so
//! ```

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::process::cgroup::{Alarm, Group};
use crate::process::init;
use crate::process::raw::{self, Fork};
use crate::protocol;

/// The least distance to the next alarm: bounds how often a program at its limit wakes the watch.
const STEP_BYTES: u64 = 256 << 10;
/// The epoll number of the helper's socket.
const HELPER: u64 = u64::MAX;

/// The helper's side.
pub(crate) struct Watch {
    socket: OwnedFd,
}

/// A program to watch.
#[derive(Debug, Serialize, Deserialize)]
struct Watched {
    id: u64,
    memory_bytes: u64,
    group: Group,
}

impl Watch {
    /// Forks the child that watches; it ends with the helper.
    pub(crate) fn start() -> io::Result<Self> {
        let (ours, theirs) = protocol::socket_pair()?;
        match raw::fork()? {
            Fork::Parent(..) => Ok(Self { socket: ours }),
            Fork::Child => init::leave(move || watch_from(theirs)),
        }
    }

    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Watches one more program, until its group is gone.
    pub(crate) fn add(&self, id: u64, memory_bytes: u64, group: Group) {
        // Without the watch the kernel still enforces the sum of memory and scratch space.
        let _ = protocol::send(&self.socket, &Watched { id, memory_bytes, group }, &[], SendFlags::DONTWAIT);
    }

    /// The next program that uses too much; `None` when the watch has ended.
    pub(crate) fn next(&self) -> Option<u64> {
        protocol::receive::<u64>(&self.socket, RecvFlags::empty()).ok().flatten().map(|(id, _)| id)
    }
}

/// The child's side: keeps nothing of the helper's but standard error and its own socket.
fn watch_from(theirs: OwnedFd) {
    let Ok(null) = std::fs::File::options().read(true).write(true).open("/dev/null") else { return };
    let Ok(socket) = raw::place_descriptors(&[null.as_fd(), null.as_fd(), io::stderr().as_fd()], theirs.as_fd()) else {
        return;
    };
    // Their numbers are closed or mean something else by now.
    std::mem::forget((null, theirs));
    // The second line: the closed socket also ends it.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    // Any error ends the watch, which the helper notices by its socket.
    let _ = watch(&socket);
}

fn watch(socket: &OwnedFd) -> Result<(), Errno> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, socket, EventData::new_u64(HELPER), EventFlags::IN)?;
    let mut watched: HashMap<u64, (Watched, Alarm)> = HashMap::new();
    loop {
        let mut events = Vec::with_capacity(64);
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        for event in events {
            let subject = match event.data.u64() {
                HELPER => match protocol::receive::<Watched>(socket, RecvFlags::empty())? {
                    Some((new, _)) => Some(new),
                    None => return Ok(()),
                },
                // Dropping the alarm takes it out of epoll.
                id => watched.remove(&id).map(|(subject, _alarm)| subject),
            };
            let Some(subject) = subject else { continue };
            match look(&epoll, &subject) {
                Verdict::Fine(alarm) => drop(watched.insert(subject.id, (subject, alarm))),
                Verdict::Starved => protocol::send(socket, &subject.id, &[], SendFlags::empty())?,
                Verdict::Gone => {}
            }
        }
    }
}

enum Verdict {
    Fine(Alarm),
    Starved,
    Gone,
}

/// Looks at what a program uses, and sets the alarm for the next time that it could be too much.
fn look(epoll: &OwnedFd, subject: &Watched) -> Verdict {
    loop {
        let Some((used, own)) = subject.group.memory_in_use() else { return Verdict::Gone };
        if own > subject.memory_bytes {
            return Verdict::Starved;
        }
        let next = used + (subject.memory_bytes - own).max(STEP_BYTES);
        let Ok(Some(alarm)) = subject.group.memory_alarm(next) else { return Verdict::Gone };
        if epoll::add(epoll, &alarm.event, EventData::new_u64(subject.id), alarm.flags).is_err() {
            return Verdict::Gone;
        }
        // An alarm below what is used by now would never ring.
        if subject.group.memory_in_use().is_none_or(|(used, _)| used < next) {
            return Verdict::Fine(alarm);
        }
    }
}
