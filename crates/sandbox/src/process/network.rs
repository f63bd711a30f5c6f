//! A network of its own for a container, made before the container is: an OCI runtime is only told where it is.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags};
use rustix::process::WaitOptions;
use rustix::thread::UnshareFlags;

use crate::process::init::{self, Network};
use crate::process::raw::{self, Fork};
use crate::protocol;
use crate::{Spec, StepError};

/// A network namespace with loopback alone, and what of it the server gets. It lives as long as anything of it is open.
pub(super) struct Made {
    pub(super) namespace: OwnedFd,
    pub(super) network: Network,
}

/// Makes it, in a child that lives no longer than that takes: this process stays in the network that it is in.
pub(super) fn make(spec: &Spec) -> Result<Made, StepError> {
    let fail = |what: &'static str| move |error: rustix::io::Errno| StepError::new("network", what, error);
    let (ours, theirs) = protocol::socket_pair().map_err(fail("socket pair"))?;
    let child = match raw::fork().map_err(|error| StepError::new("network", "fork", error))? {
        Fork::Parent(pid, _) => pid,
        Fork::Child => init::leave(move || tell(&theirs, enter_new(spec))),
    };
    drop(theirs);
    let answer = protocol::receive::<Result<Vec<SocketAddr>, StepError>>(&ours, RecvFlags::empty());
    let _ = rustix::process::waitpid(Some(child), WaitOptions::empty());
    let (addresses, mut descriptors) =
        answer.map_err(fail("answer"))?.ok_or_else(|| fail("answer")(rustix::io::Errno::PIPE))?;
    let addresses = addresses?;
    if descriptors.len() != 1 + addresses.len() + spec.sockets {
        return Err(fail("descriptors")(rustix::io::Errno::MFILE));
    }
    let sockets = descriptors.split_off(1 + addresses.len());
    let listeners = descriptors.split_off(1).into_iter().map(TcpListener::from).collect();
    let namespace = descriptors.pop().expect("counted above");
    Ok(Made { namespace, network: Network { addresses, listeners, sockets } })
}

fn enter_new(spec: &Spec) -> Result<Made, StepError> {
    let fail = |what: &'static str| move |error| StepError::new("network", what, error);
    raw::unshare(UnshareFlags::NEWNET).map_err(fail("new namespace"))?;
    raw::loopback_up().map_err(fail("loopback"))?;
    let namespace = std::fs::File::open("/proc/self/ns/net").map_err(fail("namespace"))?;
    Ok(Made { namespace: namespace.into(), network: Network::open(spec)? })
}

fn tell(parent: &OwnedFd, made: Result<Made, StepError>) {
    // If nobody hears, the helper is gone.
    let _ = match made {
        Err(error) => protocol::send(parent, &Err::<(), _>(error), &[], SendFlags::empty()),
        Ok(Made { namespace, network: Network { addresses, listeners, sockets } }) => {
            let others = listeners.iter().map(AsFd::as_fd).chain(sockets.iter().map(AsFd::as_fd));
            let descriptors: Vec<BorrowedFd<'_>> = std::iter::once(namespace.as_fd()).chain(others).collect();
            protocol::send(parent, &Ok::<_, StepError>(addresses), &descriptors, SendFlags::empty())
        }
    };
}
