//! Messages between the server, the helper process and the first process of each sandbox.
//!
//! ```text
//!   server ── Request ─▶ helper ── Order ──▶ init (pid 1 of a sandbox)
//!          ◀── Reply ───        ◀─ Report ──
//! ```
//! One JSON text per packet of a `SOCK_SEQPACKET` socket; descriptors travel beside it (`SCM_RIGHTS`). Neither socket
//! is ever visible to the program inside.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::process::Ids;
use crate::{Capabilities, Exit, LauncherConfig, Rest, Spec, StepError, Usage};

/// Longest packet in bytes: a spec (96 KiB) with JSON's escapes stays below.
const PACKET_BYTES_MAX: usize = 200 << 10;
/// Most descriptors in one packet: the kernel's own bound is 253.
const DESCRIPTORS_MAX: usize = 128;

/// From the server to the helper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// The first message.
    Start(LauncherConfig),
    /// Make an empty sandbox.
    Prepare { id: u64 },
    /// Run a program in it. With descriptors 1–4 of the program, then the output of each companion.
    Assign { id: u64, spec: Box<Spec> },
    /// Execute the main program, which has waited for its companions.
    Begin { id: u64 },
    /// Give a program that was started ahead the rest of its spec.
    Complete { id: u64, rest: Box<Rest> },
    /// Stop or resume it, where no freezer file was handed out.
    Freeze { id: u64, frozen: bool },
    /// End it, whatever its state.
    Kill { id: u64 },
}

/// From the helper to the server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// Answer to `Start`: what works here, or why nothing does.
    Started(Result<Capabilities, String>),
    /// Answer to `Prepare`. With one descriptor per handle.
    Prepared { id: u64, result: Result<Vec<Handle>, StepError> },
    /// Answer to `Assign`: the addresses of the listeners. With one descriptor per listener, one pidfd per program, then
    /// the sockets.
    Running { id: u64, result: Result<Vec<SocketAddr>, StepError> },
    /// Answer to `Begin`.
    Begun { id: u64, result: Result<(), StepError> },
    /// A program of a sandbox with companions has ended: 0 is the main one.
    ProgramEnded { id: u64, program: usize, exit: Exit },
    /// Answer to `Complete`.
    Completed { id: u64, result: Result<(), StepError> },
    /// Answer to `Freeze`.
    Frozen { id: u64, result: Result<(), StepError> },
    /// Every process of the sandbox is gone. Sent once for each sandbox that was prepared.
    Exited { id: u64, exit: Exit, usage: Usage },
}

/// What a descriptor beside `Prepared` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Handle {
    /// Stands for the sandbox's first process.
    Pidfd,
    /// `freezer.state` of cgroup v1.
    FreezerV1,
    /// `cgroup.freeze` of cgroup v2.
    FreezerV2,
    /// `cgroup.events` of cgroup v2: tells when freezing is complete.
    FreezerEventsV2,
    /// Highest memory use, in bytes.
    MemoryPeak,
    /// `cpuacct.usage` of cgroup v1, in nanoseconds.
    CpuV1,
    /// `cpu.stat` of cgroup v2.
    CpuV2,
    /// `cpu.shares` of cgroup v1.
    CpuWeightV1,
    /// `cpu.weight` of cgroup v2.
    CpuWeightV2,
}

/// From the helper to a sandbox's first process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// The ids are mapped: build the root. With one detached mount per target.
    Build { targets: Vec<Target> },
    /// Run this program. With descriptors 1–4 of the program, the output of each companion, the detached mount of the spec's
    /// root where it has one, then one detached mount per target.
    Run { spec: Box<Spec>, targets: Vec<Target> },
    /// Run this program in the container that a runtime has made for it; its descriptors are there.
    RunInContainer { spec: Box<Spec>, ids: Ids },
    /// Execute the main program, which has waited for its companions.
    Begin,
    /// Give the running program the rest. With one detached mount per target.
    Complete { scratch_bytes: u64, targets: Vec<Target> },
}

/// Where a detached mount goes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) path: PathBuf,
    pub(crate) directory: bool,
}

/// From a sandbox's first process to the helper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    Built(Result<(), StepError>),
    /// The program, or its companions, were executed. With one descriptor per listener, one pidfd per program, then
    /// the sockets.
    Running(Result<Vec<SocketAddr>, StepError>),
    /// The main program was executed.
    Begun(Result<(), StepError>),
    /// One of several programs has ended: 0 is the main one.
    ProgramEnded {
        program: usize,
        exit: Exit,
    },
    /// The running program has the rest.
    Completed(Result<(), StepError>),
    /// All programs have ended; everything else in the sandbox dies next. The exit is the main one's.
    Ended(Exit),
}

/// A connected pair of packet sockets.
pub(crate) fn socket_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Sends one message. With `DONTWAIT` a full socket gives `AGAIN`.
pub(crate) fn send<M: Serialize>(
    socket: impl AsFd,
    message: &M,
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<(), Errno> {
    let bytes = serde_json::to_vec(message).expect("the messages of this file have no map with odd keys");
    if bytes.len() > PACKET_BYTES_MAX || descriptors.len() > DESCRIPTORS_MAX {
        return Err(Errno::MSGSIZE);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::MSGSIZE);
    }
    let iov = [IoSlice::new(&bytes)];
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(&socket, &iov, &mut control, flags | SendFlags::NOSIGNAL))
        .map(drop)
}

/// Receives one message with its descriptors (close-on-exec). `None` when the other side has closed.
pub(crate) fn receive<M: DeserializeOwned>(
    socket: impl AsFd,
    flags: RecvFlags,
) -> Result<Option<(M, Vec<OwnedFd>)>, Errno> {
    let mut bytes = Vec::new();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = next_length(&socket, flags).and_then(|length| {
        // No more than there is: the largest packet has fifty pages, which a process that has just been forked would get one by one.
        bytes.resize(length.min(PACKET_BYTES_MAX), 0);
        let mut iov = [IoSliceMut::new(&mut bytes)];
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        rustix::io::retry_on_intr(|| rustix::net::recvmsg(&socket, &mut iov, &mut control, flags))
    });
    let received = match received {
        // A peer that died with unread packets resets the connection: the same end for us.
        Err(Errno::CONNRESET) => return Ok(None),
        other => other?,
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(Errno::MSGSIZE);
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    let message = serde_json::from_slice(&bytes[..received.bytes]).map_err(|_| Errno::BADMSG)?;
    Ok(Some((message, descriptors)))
}

/// The length of the message that [`receive`] takes next, which stays where it is; 0 when the other side has closed.
fn next_length(socket: impl AsFd, flags: RecvFlags) -> Result<usize, Errno> {
    let look = flags | RecvFlags::PEEK | RecvFlags::TRUNC;
    rustix::io::retry_on_intr(|| rustix::net::recv(&socket, &mut [0_u8; 0], look)).map(|(_, length)| length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_whole_with_its_descriptors() {
        let (here, there) = socket_pair().expect("a socket pair");
        let spec = Spec { env: vec![("A".into(), "\u{1}\"ä".repeat(1000))], ..Spec::new(vec!["/bin/true".into()]) };
        send(
            &here,
            &Request::Assign { id: 7, spec: Box::new(spec.clone()) },
            &[here.as_fd(), there.as_fd()],
            SendFlags::empty(),
        )
        .expect("sent");
        let (message, descriptors) = receive::<Request>(&there, RecvFlags::empty()).expect("received").expect("open");
        let Request::Assign { id: 7, spec: arrived } = message else { panic!("{message:?}") };
        assert_eq!((*arrived, descriptors.len()), (spec, 2));
    }

    #[test]
    fn the_largest_valid_spec_fits_a_packet_unless_it_is_all_escapes() {
        let (here, there) = socket_pair().expect("a socket pair");
        let spec = Spec::new(vec!["x".repeat(crate::SPEC_BYTES_MAX - 100)]);
        assert_eq!(spec.check(), Ok(()));
        send(&here, &Request::Assign { id: 1, spec: Box::new(spec) }, &[], SendFlags::DONTWAIT).expect("it fits");
        assert!(receive::<Request>(&there, RecvFlags::empty()).expect("received").is_some());
        let hostile = Spec::new(vec!["\u{1}".repeat(crate::SPEC_BYTES_MAX - 100)]);
        let refused = send(&here, &Request::Assign { id: 1, spec: Box::new(hostile) }, &[], SendFlags::DONTWAIT);
        assert_eq!(refused, Err(Errno::MSGSIZE));
    }

    #[test]
    fn a_closed_peer_reads_as_the_end() {
        let (here, there) = socket_pair().expect("a socket pair");
        drop(there);
        assert!(receive::<Request>(&here, RecvFlags::empty()).expect("no error").is_none());
    }
}
