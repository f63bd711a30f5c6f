//! Processes that have booted a program and fork it into sandboxes: one for each program and brood ([`crate::Zygote`]).
//!
//! ```text
//!   first spec that asks ──▶ boot (its programs are executed meanwhile) ──"ready"──▶ forks, at most FORKS_MAX ──▶ ended
//!                              │ fails: not tried again for a while      successor boots before ◀──┘   idle: ended, too
//! ```
//! A zygote is outside of every sandbox and has the helper's privilege, for nobody else may enter the namespaces of another. It
//! sees what a sandbox sees (its mount namespace is built by the same code), loads nothing but what the launcher's user shows it,
//! and has a memory limit of its own.
//!
//! What it speaks, over packets of its descriptor 3: `ready` when it has booted; then for each packet that it gets, a script (`script.rs`) as
//! JSON with descriptors, it forks, makes the calls of the first half, forks again, writes the new process's id as `pid N` to the
//! descriptor at `script::STATUS`, and the new process makes the calls of the second half, writes `held` there, waits for one byte,
//! closes it and goes on as the program. `failed` and a reason says that there will be none.

use std::collections::HashMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use sys::Clock;

use crate::process::cgroup::{Group, Layout};
use crate::process::held;
use crate::process::rootfs::{self, Owner};
use crate::process::script::Script;
use crate::process::{init, raw};
use crate::protocol;
use crate::spec::Amounts;
use crate::{AddressVariable, Link, Mount, Spec, StepError};

/// Programs that come from one zygote before another takes its place.
const FORKS_MAX: u32 = 64;
/// Forks after which its successor boots.
const FORKS_UNTIL_SUCCESSOR: u32 = 40;
/// Zygotes at one time.
const ZYGOTES_MAX: usize = 8;
/// One that has not forked for this long may go for another …
const SPARED: Duration = Duration::from_secs(10);
/// … and after this long it goes.
const IDLE_MAX: Duration = Duration::from_secs(15 * 60);
/// Pause after a first failure; it doubles with every further one …
const FAILURE_PAUSE: Duration = Duration::from_secs(60);
/// … this often.
const DOUBLINGS_MAX: u32 = 5;
const MEMORY_BYTES: u64 = 256 << 20;
const PROCESSES_MAX: u32 = 64;
/// Most of its last words that is logged.
const WORDS_BYTES_MAX: usize = 4096;

/// What must be the same for programs to come from one zygote.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kind {
    zygote: crate::Zygote,
    mounts: Vec<Mount>,
    env: Vec<(String, String)>,
    address_env: Vec<AddressVariable>,
    listeners: Vec<SocketAddr>,
    folders: Vec<PathBuf>,
    links: Vec<Link>,
    cwd: PathBuf,
}

impl Kind {
    fn of(spec: &Spec) -> Option<Self> {
        Some(Self {
            zygote: spec.zygote.clone()?,
            mounts: spec.mounts.clone(),
            env: spec.env.clone(),
            address_env: spec.address_env.clone(),
            listeners: spec.listeners.clone(),
            folders: spec.folders.clone(),
            links: spec.links.clone(),
            cwd: spec.cwd.clone(),
        })
    }
}

struct Zygote {
    serial: u64,
    kind: Kind,
    pid: Pid,
    pidfd: OwnedFd,
    control: OwnedFd,
    /// What it writes to its standard output and error.
    words: OwnedFd,
    group: Group,
    is_ready: bool,
    forks: u32,
    /// Births that have begun and are not over.
    pending: u32,
    used_at: Duration,
}

/// How often one kind of zygote has failed, and when it may be tried again.
#[derive(Default)]
struct Failures {
    count: u32,
    not_before: Duration,
}

/// All zygotes of one helper.
pub(crate) struct Zygotes {
    clock: Clock,
    all: Vec<Zygote>,
    next_serial: u64,
    /// By the program; there are as many as there are runtimes.
    failures: HashMap<Vec<String>, Failures>,
}

/// A zygote to listen to.
pub(crate) struct Born<'zygotes> {
    pub(crate) serial: u64,
    pub(crate) control: &'zygotes OwnedFd,
    pub(crate) pidfd: &'zygotes OwnedFd,
}

impl Zygotes {
    pub(crate) fn new() -> Self {
        Self { clock: Clock::system(), all: Vec::new(), next_serial: 0, failures: HashMap::new() }
    }

    pub(crate) fn are_none(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn pids(&self) -> impl Iterator<Item = Pid> {
        self.all.iter().map(|one| one.pid)
    }

    /// Those that can fork programs now.
    pub(crate) fn ready(&self) -> Vec<crate::Zygote> {
        self.all.iter().filter(|one| one.is_ready && one.forks < FORKS_MAX).map(|one| one.kind.zygote.clone()).collect()
    }

    /// The zygote that can fork the program of `spec` now.
    pub(crate) fn ready_for(&mut self, spec: &Spec) -> Option<u64> {
        let now = self.clock.elapsed();
        let kind = Kind::of(spec)?;
        let ready = self.all.iter_mut().find(|one| one.is_ready && one.forks < FORKS_MAX && one.kind == kind)?;
        ready.used_at = now;
        ready.forks += 1;
        ready.pending += 1;
        Some(ready.serial)
    }

    /// Starts what the programs of `spec` will soon need, if anything. Whatever goes for it has been told to end.
    pub(crate) fn start_for(&mut self, spec: &Spec, layout: &Layout, owner: Owner) -> Option<Born<'_>> {
        let now = self.clock.elapsed();
        let kind = Kind::of(spec)?;
        let serves = |one: &Zygote| one.kind == kind && (!one.is_ready || one.forks < FORKS_UNTIL_SUCCESSOR);
        let failed = self.failures.get(&kind.zygote.argv).is_some_and(|failures| failures.not_before > now);
        if failed || self.all.iter().any(serves) || !self.make_room(now) {
            return None;
        }
        self.next_serial += 1;
        match Zygote::start(self.next_serial, kind, spec, layout, owner, now) {
            Ok(zygote) => {
                self.all.push(zygote);
                let Zygote { serial, control, pidfd, .. } = self.all.last()?;
                Some(Born { serial: *serial, control, pidfd })
            }
            Err(error) => {
                self.failed(spec.zygote.as_ref().map(|zygote| zygote.argv.clone()), &error.to_string());
                None
            }
        }
    }

    /// Whether one more may be started; the one that was not used for longest is told to end for it.
    fn make_room(&self, now: Duration) -> bool {
        if self.all.len() < ZYGOTES_MAX {
            return true;
        }
        let idle = self.all.iter().filter(|one| one.pending == 0 && one.used_at + SPARED <= now);
        if let Some(oldest) = idle.min_by_key(|one| one.used_at) {
            oldest.kill();
        }
        false
    }

    fn failed(&mut self, argv: Option<Vec<String>>, cause: &str) {
        let Some(argv) = argv else { return };
        let program = argv.join(" ");
        let failures = self.failures.entry(argv).or_default();
        failures.not_before = self.clock.elapsed() + FAILURE_PAUSE * 2u32.pow(failures.count.min(DOUBLINGS_MAX));
        failures.count += 1;
        tracing::warn!(program, cause, "no zygote: programs are executed in its stead");
    }

    fn find(&mut self, serial: u64) -> Option<&mut Zygote> {
        self.all.iter_mut().find(|one| one.serial == serial)
    }

    /// Has a zygote fork a program.
    pub(crate) fn fork(&mut self, serial: u64, script: &Script, descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let zygote = self.find(serial).ok_or(Errno::SRCH)?;
        protocol::send(&zygote.control, script, descriptors, SendFlags::DONTWAIT)
    }

    /// Nobody wants a birth any more. Where the zygote has not answered, another takes its place.
    pub(crate) fn given_up(&mut self, serial: u64, is_silent: bool) {
        if let Some(zygote) = self.find(serial) {
            zygote.close_one(is_silent);
        }
    }

    /// A birth is over. After a failed one the zygote is not trusted any more.
    pub(crate) fn over(&mut self, serial: u64, failure: Option<&str>) {
        let Some(zygote) = self.find(serial) else { return };
        zygote.close_one(failure.is_some());
        let argv = zygote.kind.zygote.argv.clone();
        match failure {
            Some(cause) => self.failed(Some(argv), cause),
            None => drop(self.failures.remove(&argv)),
        }
    }

    /// Takes the word of a zygote; false when there is nothing more to hear.
    pub(crate) fn heard(&mut self, serial: u64) -> bool {
        let Some(zygote) = self.find(serial) else { return false };
        match protocol::receive::<String>(&zygote.control, RecvFlags::DONTWAIT) {
            Ok(Some((word, _))) if word == "ready" => {
                zygote.is_ready = true;
                true
            }
            _ => false,
        }
    }

    /// The control socket of a zygote, which is to be heard no more.
    pub(crate) fn control(&self, serial: u64) -> Option<&OwnedFd> {
        self.all.iter().find(|one| one.serial == serial).map(|one| &one.control)
    }

    /// A zygote has ended: reaps it. Its descriptors and its group come back.
    pub(crate) fn ended(&mut self, serial: u64) -> Option<(OwnedFd, OwnedFd, Group)> {
        let at = self.all.iter().position(|one| one.serial == serial)?;
        let zygote = self.all.swap_remove(at);
        let _ = rustix::process::waitpid(Some(zygote.pid), WaitOptions::empty());
        if !zygote.is_ready {
            let cause = format!("it ended before it was ready: {}", last_words(zygote.words));
            self.failed(Some(zygote.kind.zygote.argv), &cause);
        }
        Some((zygote.control, zygote.pidfd, zygote.group))
    }

    /// Tells those to end that nobody has used for long.
    pub(crate) fn end_idle(&self) {
        let now = self.clock.elapsed();
        self.all.iter().filter(|one| one.pending == 0 && one.used_at + IDLE_MAX <= now).for_each(Zygote::kill);
    }

    /// Ends all. Returns their groups.
    pub(crate) fn end(&mut self) -> Vec<Group> {
        self.all.iter().for_each(Zygote::kill);
        let serials: Vec<u64> = self.all.iter().map(|one| one.serial).collect();
        self.all.iter_mut().for_each(|one| one.is_ready = true);
        serials.into_iter().filter_map(|serial| self.ended(serial)).map(|(.., group)| group).collect()
    }
}

impl Zygote {
    fn start(
        serial: u64,
        kind: Kind,
        spec: &Spec,
        layout: &Layout,
        owner: Owner,
        now: Duration,
    ) -> Result<Self, StepError> {
        let (control, theirs) =
            protocol::socket_pair().map_err(|error| StepError::new("zygote", "socket pair", error))?;
        // A program's standard output is a pipe: what it boots with must be of the same kind.
        let (words, output) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|error| StepError::new("zygote", "pipe", error))?;
        rustix::fs::fcntl_setfl(&words, rustix::fs::OFlags::NONBLOCK)
            .map_err(|error| StepError::new("zygote", "pipe", error))?;
        let group = layout.create(&format!("z{serial}"));
        let mut group = group.map_err(|error| StepError::new("cgroup", "create", error))?;
        match Self::execute(&mut group, spec, &kind, [output.as_fd(), output.as_fd(), theirs.as_fd()], owner) {
            Ok((pid, pidfd)) => Ok(Self {
                serial,
                kind,
                pid,
                pidfd,
                control,
                words,
                group,
                is_ready: false,
                forks: 0,
                pending: 0,
                used_at: now,
            }),
            Err(error) => {
                group.remove();
                Err(error)
            }
        }
    }

    fn execute(
        group: &mut Group,
        spec: &Spec,
        kind: &Kind,
        descriptors: [BorrowedFd<'_>; 3],
        owner: Owner,
    ) -> Result<(Pid, OwnedFd), StepError> {
        let cgroup = |what: &'static str| move |error| StepError::new("cgroup", what, error);
        let amounts = Amounts {
            memory_bytes: MEMORY_BYTES,
            scratch_bytes: 0,
            cpu_millis: 1000,
            processes_max: PROCESSES_MAX,
            background: false,
        };
        group.limit(amounts).map_err(cgroup("limits"))?;
        let doors = group.doors().map_err(cgroup("open"))?;
        let spec = Spec { argv: kind.zygote.argv.clone(), ..spec.clone() };
        let enter = || {
            see_as_in_a_sandbox(&spec, owner)?;
            // No change of ids follows that would clear it.
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
                .map_err(|error| StepError::new("zygote", "parent death signal", error))?;
            Ok(init::command(&spec, &spec.listeners))
        };
        let held = held::fork_held(&descriptors, enter, None)?;
        let pid = held.pid();
        crate::process::cgroup::move_into(&doors, pid).map_err(cgroup("enter"))?;
        // The kernel's first choice when memory runs out anywhere; its programs inherit it.
        std::fs::write(format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero()), "1000")
            .map_err(|error| StepError::new("limits", "oom_score_adj", error))?;
        held.go()?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            .map_err(|error| StepError::new("zygote", "pidfd", error))?;
        Ok((pid, pidfd))
    }

    /// One birth less; ends with the last one.
    fn close_one(&mut self, is_bad: bool) {
        self.pending = self.pending.saturating_sub(1);
        if is_bad || (self.forks >= FORKS_MAX && self.pending == 0) {
            // Not once more, while it is dying.
            self.forks = FORKS_MAX;
            self.kill();
        }
    }

    fn kill(&self) {
        // It may have ended already.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

/// Gives this process a mount namespace that shows what the sandboxes of `spec` show.
fn see_as_in_a_sandbox(spec: &Spec, owner: Owner) -> Result<(), StepError> {
    let pieces = rootfs::base_pieces()?;
    let own = spec.mounts.iter().map(|mount| rootfs::piece(&mount.source, mount.target.clone(), false));
    let own = own.collect::<Result<Vec<_>, _>>()?;
    raw::unshare(rustix::thread::UnshareFlags::NEWNS)
        .map_err(|error| StepError::new("zygote", "mount namespace", error))?;
    rootfs::enter(pieces, owner)?;
    rootfs::add(own)?;
    rootfs::add_folders(&spec.folders)?;
    rootfs::add_links(&spec.links)?;
    rootfs::close()
}

/// The end of what it wrote.
fn last_words(words: OwnedFd) -> String {
    let mut text = Vec::new();
    // It has ended, and nobody else holds the other end: this does not wait.
    let _ = std::fs::File::from(words).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(WORDS_BYTES_MAX)..]).trim().to_owned();
    if text.is_empty() { "it said nothing".to_owned() } else { text }
}
