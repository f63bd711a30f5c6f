//! Starting the first process of a sandbox, or a plain child where there is no isolation.

use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::net::SendFlags;
use rustix::process::Pid;
use seccompiler::BpfProgram;

use crate::process::cgroup::{self, Group, Layout};
use crate::process::held;
use crate::process::init::{self, Init};
use crate::process::namespaces::{self, Mode};
use crate::process::raw::{self, Fork};
use crate::process::{rootfs, tree};
use crate::protocol::{self, Order, Report, Target};
use crate::{Spec, StepError};

/// A process that was just started.
pub(crate) struct Spawned {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
    /// The helper's end of the socket to pid 1; `None` for a plain child.
    pub(crate) control: Option<OwnedFd>,
    pub(crate) group: Group,
    /// Names the pid namespace; `None` for a plain child.
    pub(crate) namespace: Option<PathBuf>,
}

/// Starts pid 1 of a new, empty sandbox and tells it to build its root.
pub(crate) fn sandbox(
    id: u64,
    slot: u32,
    mode: Mode,
    layout: &Layout,
    filter: &BpfProgram,
) -> Result<Spawned, StepError> {
    let (ours, theirs) = protocol::socket_pair().map_err(|error| StepError::new("clone", "socket pair", error))?;
    let group = layout.create(id).map_err(|error| StepError::new("cgroup", "create", error))?;
    let doors = match group.doors() {
        Ok(doors) => doors,
        Err(error) => {
            group.remove();
            return Err(StepError::new("cgroup", "open", error));
        }
    };
    let spawned = raw::clone_into(mode.flags()).map_err(|error| StepError::new("clone", "new namespaces", error));
    let (pid, pidfd) = match spawned {
        Ok(Fork::Parent(pid, Some(pidfd))) => (pid, pidfd),
        Ok(Fork::Child) => init::leave(move || first_process(theirs, doors, slot, mode, filter)),
        Ok(Fork::Parent(_, None)) => unreachable!("clone_into always gives a pidfd"),
        Err(error) => {
            group.remove();
            return Err(error);
        }
    };
    drop(theirs);
    // Now: once pid 1 has hidden itself, an unprivileged helper may not look any more.
    let namespace = tree::namespace_of(&pid.as_raw_nonzero().to_string());
    let spawned = Spawned { pid, pidfd, control: Some(ours), group, namespace };
    let ready = prepare(&spawned, slot, mode);
    if let Err(error) = ready {
        abandon(spawned);
        return Err(error);
    }
    Ok(spawned)
}

fn prepare(spawned: &Spawned, slot: u32, mode: Mode) -> Result<(), StepError> {
    // The kernel's first choice when memory runs out anywhere: never the server.
    std::fs::write(format!("/proc/{}/oom_score_adj", spawned.pid.as_raw_nonzero()), "1000")
        .map_err(|error| StepError::new("limits", "oom_score_adj", error))?;
    mode.map_ids(spawned.pid, slot).map_err(|error| StepError::new("namespaces", "id map", error))?;
    let (mounts, targets): (Vec<OwnedFd>, Vec<Target>) = rootfs::base_pieces()?.into_iter().unzip();
    let mounts: Vec<BorrowedFd<'_>> = mounts.iter().map(AsFd::as_fd).collect();
    let control = spawned.control.as_ref().expect("a sandbox has a control socket");
    protocol::send(control, &Order::Build { targets }, &mounts, SendFlags::empty())
        .map_err(|error| StepError::new("root", "control socket", error))
}

/// Ends a process that could not be made ready, and leaves nothing of it.
pub(crate) fn abandon(spawned: Spawned) {
    end(spawned).remove();
}

/// Ends a process, and gives back its group, which is empty then.
pub(crate) fn end(spawned: Spawned) -> Group {
    // It may have ended already; the wait tells.
    let _ = rustix::process::pidfd_send_signal(&spawned.pidfd, rustix::process::Signal::KILL);
    let _ = rustix::process::waitpid(Some(spawned.pid), rustix::process::WaitOptions::empty());
    spawned.group
}

/// The new process's side: keeps nothing of the helper's but standard error and its own socket.
fn first_process(theirs: OwnedFd, doors: Vec<std::fs::File>, slot: u32, mode: Mode, filter: &BpfProgram) {
    if let Err(error) = cgroup::enter(&doors).and_then(|()| namespaces::become_root_of_cgroups()) {
        let error = StepError::new("cgroup", "enter", error);
        // If nobody hears, the helper is gone.
        let _ = protocol::send(&theirs, &Report::Built(Err(error)), &[], SendFlags::empty());
        return;
    }
    let Ok(null) = std::fs::File::options().read(true).write(true).open("/dev/null") else { return };
    let Ok(control) = raw::place_descriptors(&[null.as_fd(), null.as_fd(), std::io::stderr().as_fd()], theirs.as_fd())
    else {
        return;
    };
    // Their numbers are closed or mean something else by now.
    std::mem::forget((null, theirs, doors));
    // An error has been reported through `control`, unless it was `control` that failed: then the helper is gone.
    let _ = Init { control, ids: mode.ids(slot), filter }.run();
}

/// Starts `spec` as a plain child of the helper: no isolation.
pub(crate) fn plain(spec: &Spec, descriptors: &[OwnedFd]) -> Result<(Spawned, Vec<TcpListener>), StepError> {
    if spec.root.is_some() {
        return Err(StepError::new("root", "a root of its own needs isolation", rustix::io::Errno::OPNOTSUPP));
    }
    let free: Vec<_> = spec.listeners.iter().map(|address| std::net::SocketAddr::new(address.ip(), 0)).collect();
    let listeners = init::listen(&free)?;
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>();
    let addresses = addresses.map_err(|error| StepError::new("listener", "address", error))?;
    let prepare = || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(|error| StepError::new("exec", "parent death signal", error))?;
        Ok(init::command(spec, &addresses))
    };
    let pid = held::fork_program(descriptors, prepare, || Ok(()), None)?;
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        .map_err(|error| StepError::new("clone", "pidfd", error))?;
    Ok((Spawned { pid, pidfd, control: None, group: Group::none(), namespace: None }, listeners))
}
