//! How the helper comes up: what this host lets it do, tried with one sandbox.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::containers::Containers;
use super::orphans::Orphans;
use super::{LauncherProcess, SERVER, WATCH};
use crate::process::cgroup::{Controller, Layout};
use crate::process::memory::Watch;
use crate::process::namespaces::{self, Mode};
use crate::process::oci::Runtime;
use crate::process::walls::{Wall, stands};
use crate::process::{privileges, seccomp, spawn};
use crate::protocol::{self, Reply, Report};
use crate::{Capabilities, Isolation, LauncherConfig, StepError};

impl LauncherProcess {
    pub(super) fn start(config: LauncherConfig, server: OwnedFd) -> Result<Self, (OwnedFd, String)> {
        let isolated = config.isolation != Isolation::None;
        let mode = match rustix::process::geteuid().is_root() {
            true if stands(Wall::UserNamespace) => Mode::Mapped { uid_first: config.uid_first },
            true => Mode::Plain { uid_first: config.uid_first },
            false => Mode::Unprivileged,
        };
        let layout = if isolated { Layout::set_up() } else { Layout::default() };
        if isolated
            && mode == Mode::Unprivileged
            && let Err(error) = namespaces::enter_own_user_namespace()
        {
            let reason = format!(
                "sandboxes need root or unprivileged user namespaces, and this process has neither ({error}); run as root, or set \
                 kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0 and user.max_user_namespaces above 0"
            );
            return Err((server, reason));
        }
        let epoll = match epoll::create(epoll::CreateFlags::CLOEXEC) {
            Ok(epoll) => epoll,
            Err(error) => return Err((server, format!("epoll: {error}"))),
        };
        let filter = seccomp::program();
        let mut helper = Self {
            server,
            epoll,
            isolation: config.isolation,
            mode,
            layout,
            filter,
            live: HashMap::new(),
            slots: BTreeSet::new(),
            to_prepare: VecDeque::new(),
            watch: None,
            stale: Vec::new(),
            containers: None,
            orphans: Orphans::default(),
        };
        let found = match config.isolation {
            Isolation::Oci => helper.find_runtime(&config.oci_runtime),
            Isolation::Process | Isolation::None => Ok(()),
        };
        let tried = found.and_then(|()| if isolated { helper.choose_mode(config.uid_first) } else { Ok(()) });
        match tried.and_then(|()| helper.welcome().map_err(|error| error.to_string())) {
            Ok(()) => {
                helper.adopt();
                Ok(helper)
            }
            Err(reason) => {
                helper.end_containers();
                helper.layout.remove();
                Err((helper.server, reason))
            }
        }
    }

    fn find_runtime(&mut self, name: &str) -> Result<(), String> {
        if self.mode == Mode::Unprivileged {
            return Err("sandboxes of an OCI runtime need root".to_owned());
        }
        // A container's first process has the runtime's process for a parent, which does not stay.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|error| format!("orphans cannot be adopted: {error}"))?;
        self.containers = Some(Containers::new(Runtime::set_up(name, self.layout.name())?));
        Ok(())
    }

    /// Makes one sandbox to see whether and how it works here.
    fn choose_mode(&mut self, uid_first: u32) -> Result<(), String> {
        let first = self.trial();
        let Err(error) = first else { return Ok(()) };
        if self.mode == Mode::Unprivileged {
            return Err(format!("this host lets an unprivileged user make no sandbox: {error}"));
        }
        self.mode = Mode::Plain { uid_first };
        self.trial()
            .map_err(|plain| format!("this host lets root make no sandbox: {error}; without a user namespace: {plain}"))
    }

    fn trial(&self) -> Result<(), StepError> {
        if let Some(containers) = &self.containers {
            return containers.trial(self.mode, &self.layout);
        }
        let spawned = spawn::sandbox(0, 0, self.mode, &self.layout, &self.filter)?;
        let control = spawned.control.as_ref().expect("a sandbox has a control socket");
        let answer = protocol::receive::<Report>(control, RecvFlags::empty());
        spawn::abandon(spawned);
        match answer {
            Ok(Some((Report::Built(result), _))) => result,
            _ => Err(StepError {
                step: "root".to_owned(),
                detail: "the first process ended without a word".to_owned(),
                errno: 0,
            }),
        }
    }

    fn welcome(&mut self) -> Result<(), Errno> {
        if self.layout.has(Controller::Memory) {
            let watch = Watch::start().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            epoll::add(&self.epoll, watch.socket(), EventData::new_u64(WATCH), EventFlags::IN)?;
            self.watch = Some(watch);
        }
        epoll::add(&self.epoll, &self.server, EventData::new_u64(SERVER), EventFlags::IN)?;
        let isolated = self.isolation != Isolation::None;
        let capabilities = Capabilities {
            user_namespace: isolated && self.mode.has_user_namespace(),
            own_uid: isolated && self.mode.has_own_uid(),
            memory_limit: self.layout.has(Controller::Memory),
            cpu_limit: self.layout.has(Controller::Cpu),
            process_limit: self.layout.has(Controller::Processes),
            freezer: self.layout.has(Controller::Freezer),
            landlock_abi: if isolated { privileges::landlock_abi() } else { 0 },
            oci_runtime: self.containers.as_ref().map(|containers| containers.runtime.description()),
        };
        protocol::send(&self.server, &Reply::Started(Ok(capabilities)), &[], SendFlags::empty())
    }
}
