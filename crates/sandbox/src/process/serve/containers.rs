//! Containers on their way in and out: an OCI runtime takes its time to start one and to clear one away, and the helper
//! goes on meanwhile.
//!
//! ```text
//!   assign ─▶ network, bundle, `run` ─▶ it has ended ─▶ the first process says "built" ─▶ limits, "run" ─▶ as every sandbox
//!                                                                    … its end ─▶ `delete` ─▶ bundle and cgroups removed
//! ```

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Pid, Signal, WaitOptions};

use super::live::{Live, Stage};
use super::{LauncherProcess, RUNTIME, TOKENS, forget};
use crate::process::cgroup::{Group, Layout};
use crate::process::init::Network;
use crate::process::namespaces::Mode;
use crate::process::oci::{self, Bundle, Running, Runtime, Surroundings};
use crate::process::spawn::Spawned;
use crate::process::{network, tree};
use crate::protocol::{self, Order, Reply, Report};
use crate::{Spec, StepError};

/// What is different about a sandbox that an OCI runtime makes.
pub(super) struct Containers {
    pub(super) runtime: Runtime,
    starting: HashMap<u64, Starting>,
    leaving: HashMap<u64, Leaving>,
}

/// A container that its runtime is starting.
struct Starting {
    process: Running,
    slot: u32,
    control: OwnedFd,
    group: Group,
    contained: Contained,
    given_up: bool,
    /// The container's network: open until the runtime has taken the container there.
    _network: OwnedFd,
}

/// What the helper keeps of a container while it lives.
pub(super) struct Contained {
    bundle: Bundle,
    /// What the first process is told to run once it stands.
    spec: Option<Box<Spec>>,
    /// What the server gets of the container's network, once.
    network: Option<Network>,
}

/// A container that its runtime is clearing away.
struct Leaving {
    process: Running,
    group: Group,
    _bundle: Bundle,
}

impl Contained {
    /// True when its first process has not been told what to run.
    pub(super) fn awaits_order(&self) -> bool {
        self.spec.is_some()
    }
}

impl Containers {
    pub(super) fn new(runtime: Runtime) -> Self {
        Self { runtime, starting: HashMap::new(), leaving: HashMap::new() }
    }

    /// Containers that are being started.
    pub(super) fn starting(&self) -> impl Iterator<Item = u64> {
        self.starting.keys().copied()
    }

    /// The runtime's processes that are waited for.
    pub(super) fn awaited(&self) -> impl Iterator<Item = Pid> {
        let starting = self.starting.values().map(|starting| &starting.process);
        starting.chain(self.leaving.values().map(|leaving| &leaving.process)).map(|process| process.pid)
    }

    /// Starts and ends one, to see whether and how that works here.
    pub(super) fn trial(&self, mode: Mode, layout: &Layout) -> Result<(), StepError> {
        let null = std::fs::File::options().write(true).open("/dev/null");
        let null = null.map_err(|error| StepError::new("runtime", "/dev/null", error))?;
        let descriptors = [(); 4].map(|()| null.try_clone().map(OwnedFd::from));
        let descriptors = descriptors.into_iter().collect::<Result<Vec<_>, _>>();
        let descriptors = descriptors.map_err(|error| StepError::new("runtime", "/dev/null", error))?;
        let spec = Box::new(Spec::new(vec!["/bin/true".to_owned()]));
        let starting = begin(&self.runtime, 0, 0, mode, layout, spec, &descriptors)?;
        let started = await_end(&starting.process)
            .and_then(|succeeded| if succeeded { Ok(()) } else { Err(oci::complaint(&starting.contained.bundle)) })
            .and_then(|()| oci::first_process(&starting.contained.bundle));
        let built = match started {
            Ok(first) => {
                let held = check_groups(&starting.group, first.pid);
                let answer = protocol::receive::<Report>(&starting.control, RecvFlags::empty());
                // It may have ended already; the wait tells.
                let _ = rustix::process::pidfd_send_signal(&first.pidfd, Signal::KILL);
                let _ = rustix::process::waitpid(Some(first.pid), WaitOptions::empty());
                match answer {
                    Ok(Some((Report::Built(result), _))) => result.and(held),
                    _ => Err(StepError::new("runtime", "the first process ended without a word", Errno::PIPE)),
                }
            }
            Err(error) => Err(error),
        };
        let cleared = self.runtime.delete(0, &starting.contained.bundle).and_then(|process| await_end(&process));
        starting.group.remove();
        layout.remove_in_all(0);
        built.and(cleared.map(drop))
    }
}

/// Waits for a process of the runtime's; false when it failed.
fn await_end(process: &Running) -> Result<bool, StepError> {
    let status = rustix::process::waitpid(Some(process.pid), WaitOptions::empty());
    let status = status.map_err(|error| StepError::new("runtime", "wait", error))?;
    Ok(status.is_some_and(|(_, status)| status.exit_status() == Some(0)))
}

/// Checks that a runtime has put a container where its limits are: they would not hold it elsewhere.
fn check_groups(group: &Group, first: Pid) -> Result<(), StepError> {
    match group.missed_by(first).first() {
        None => Ok(()),
        Some(missed) => {
            let detail =
                format!("the OCI runtime did not put the container into {}, where its limits are", missed.display());
            Err(StepError { step: "cgroup".to_owned(), detail, errno: 0 })
        }
    }
}

/// Has the runtime start a container.
fn begin(
    runtime: &Runtime,
    id: u64,
    slot: u32,
    mode: Mode,
    layout: &Layout,
    mut spec: Box<Spec>,
    descriptors: &[OwnedFd],
) -> Result<Starting, StepError> {
    let (control, theirs) = protocol::socket_pair().map_err(|error| StepError::new("clone", "socket pair", error))?;
    let made = network::make(&spec)?;
    let group = layout.create(id).map_err(|error| StepError::new("cgroup", "create", error))?;
    let cgroup = layout.path_for_runtime(id);
    let surroundings = Surroundings { mode, slot, cgroup, network: &made.namespace };
    let started = Bundle::write(runtime.bundle_folder(id), &spec, &surroundings)
        .and_then(|bundle| runtime.run(id, &bundle, &theirs, descriptors).map(|process| (bundle, process)));
    let (bundle, process) = match started {
        Ok(started) => started,
        Err(error) => {
            group.remove();
            return Err(error);
        }
    };
    // What it is told about them: the server listens there already.
    spec.listeners.clone_from(&made.network.addresses);
    let contained = Contained { bundle, spec: Some(spec), network: Some(made.network) };
    Ok(Starting { process, slot, control, group, contained, given_up: false, _network: made.namespace })
}

impl LauncherProcess {
    /// Begins to run a spec in a container.
    pub(super) fn start_container(
        &mut self,
        id: u64,
        spec: Box<Spec>,
        descriptors: &[OwnedFd],
    ) -> Result<(), StepError> {
        if spec.root.is_some() {
            return Err(StepError::new("root", "a root of its own in an OCI container", Errno::OPNOTSUPP));
        }
        let slot = self.free_slot();
        let containers = self.containers.as_mut().expect("this isolation is by containers");
        let starting = begin(&containers.runtime, id, slot, self.mode, &self.layout, spec, descriptors)?;
        let token = EventData::new_u64(TOKENS * id + RUNTIME);
        if let Err(error) = epoll::add(&self.epoll, &starting.process.pidfd, token, EventFlags::IN) {
            let _ = rustix::process::pidfd_send_signal(&starting.process.pidfd, Signal::KILL);
            let _ = await_end(&starting.process);
            starting.group.remove();
            return Err(StepError::new("launcher", "epoll", error));
        }
        self.slots.insert(slot);
        containers.starting.insert(id, starting);
        Ok(())
    }

    /// A process of the runtime's has ended: the container runs, or does not, or is gone.
    pub(super) fn runtime_ended(&mut self, id: u64) {
        let Some(containers) = self.containers.as_mut() else { return };
        if let Some(starting) = containers.starting.remove(&id) {
            self.started(id, starting);
        } else if let Some(leaving) = containers.leaving.remove(&id) {
            forget(&self.epoll, &leaving.process.pidfd);
            self.left(id, leaving);
        }
        self.adopt();
    }

    fn started(&mut self, id: u64, starting: Starting) {
        let Starting { process, slot, control, group, contained, given_up, _network } = starting;
        forget(&self.epoll, &process.pidfd);
        let first = match await_end(&process) {
            Ok(true) => oci::first_process(&contained.bundle),
            Ok(false) => Err(oci::complaint(&contained.bundle)),
            Err(error) => Err(error),
        };
        let failed = match first {
            Err(error) => Some((error, group, contained)),
            Ok(Running { pid, pidfd }) => {
                let namespace = tree::namespace_of(&pid.as_raw_nonzero().to_string());
                let spawned = Spawned { pid, pidfd, control: Some(control), group, namespace };
                match self.watch(id, slot, spawned, Stage::Building) {
                    Ok(()) => {
                        let live = self.live.get_mut(&id).expect("it was just put there");
                        live.contained = Some(contained);
                        if given_up {
                            self.kill(id);
                        }
                        None
                    }
                    Err((error, group)) => Some((error, group, contained)),
                }
            }
        };
        if let Some((error, group, contained)) = failed {
            self.slots.remove(&slot);
            self.reply(&Reply::Running { id, result: Err(error) }, &[]);
            self.clear_away(id, group, contained);
        }
    }

    /// The first process of a container stands: it gets its limits, which would be too narrow for the runtime's own
    /// processes, and its orders.
    pub(super) fn order_contained(&mut self, id: u64) -> Result<(), StepError> {
        let Some(live) = self.live.get_mut(&id) else { return Ok(()) };
        let Some(spec) = live.contained.as_mut().and_then(|contained| contained.spec.take()) else { return Ok(()) };
        check_groups(&live.spawned.group, live.spawned.pid)?;
        live.spawned.group.limit(spec.amounts()).map_err(|error| StepError::new("cgroup", "limits", error))?;
        live.stage = Stage::Starting;
        live.memory_bytes = spec.memory_bytes;
        live.processes_max = spec.processes_max;
        let control = live.spawned.control.as_ref();
        let control = control.ok_or_else(|| StepError::new("assign", "control socket", Errno::PIPE))?;
        let order = Order::RunInContainer { spec, ids: self.mode.ids(live.slot) };
        protocol::send(control, &order, &[], SendFlags::empty())
            .map_err(|error| StepError::new("assign", "control socket", error))
    }

    /// Ends a container that is being started: what there is of it goes when its runtime's process has ended. False when
    /// there is none.
    pub(super) fn kill_starting(&mut self, id: u64) -> bool {
        let starting = self.containers.as_mut().and_then(|containers| containers.starting.get_mut(&id));
        let Some(starting) = starting else { return false };
        // It may have ended with success, which the loop hears next.
        starting.given_up = true;
        let _ = rustix::process::pidfd_send_signal(&starting.process.pidfd, Signal::KILL);
        true
    }

    /// Has the runtime clear away a container whose processes have ended, or were never started.
    pub(super) fn clear_away(&mut self, id: u64, group: Group, contained: Contained) {
        let containers = self.containers.as_mut().expect("this isolation is by containers");
        let Contained { bundle, .. } = contained;
        // What a runtime that was killed had begun.
        group.kill();
        let process = match containers.runtime.delete(id, &bundle) {
            Ok(process) => process,
            Err(error) => {
                tracing::warn!(%error, "a container could not be cleared away; the next start sweeps what is left");
                self.stale.push(group);
                return;
            }
        };
        let token = EventData::new_u64(TOKENS * id + RUNTIME);
        let added = epoll::add(&self.epoll, &process.pidfd, token, EventFlags::IN);
        let leaving = Leaving { process, group, _bundle: bundle };
        match added {
            Ok(()) => drop(containers.leaving.insert(id, leaving)),
            Err(_) => self.left(id, leaving),
        }
    }

    fn left(&mut self, id: u64, leaving: Leaving) {
        // How it ended says nothing: what had no state to delete is an error to some runtimes.
        let _ = await_end(&leaving.process);
        let gone = leaving.group.remove();
        self.layout.remove_in_all(id);
        if !gone {
            self.stale.push(leaving.group);
        }
    }

    /// Ends what is on its way in, and waits for what is on its way out.
    pub(super) fn end_containers(&mut self) {
        let Some(containers) = self.containers.as_mut() else { return };
        let starting: Vec<u64> = containers.starting().collect();
        for id in starting {
            self.kill_starting(id);
            self.runtime_ended(id);
            self.kill(id);
            self.ended(id);
        }
        let leaving: Vec<u64> =
            self.containers.iter().flat_map(|containers| containers.leaving.keys().copied()).collect();
        for id in leaving {
            self.runtime_ended(id);
        }
        if let Some(containers) = &self.containers {
            containers.runtime.remove();
        }
    }
}

impl Live {
    /// What of the container's network goes to the server with the news that the program runs; nothing without one.
    pub(super) fn take_network(&mut self) -> Option<Network> {
        self.contained.as_mut().and_then(|contained| contained.network.take())
    }
}
