//! Sockets, and what is reached through them.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

use super::{Attack, Outcome, errno, given, io, opens, told, unshare, works};
use crate::{call, flags, pointer, stage};

const USER_AND_NET: libc::c_int = libc::CLONE_NEWUSER | libc::CLONE_NEWNET;
const NETLINK_XFRM: libc::c_int = 6;
const NETLINK_AUDIT: libc::c_int = 9;
const NETLINK_NETFILTER: libc::c_int = 12;

pub(super) const ATTACKS: &[Attack] = &[
    ("socket_raw", || socket(libc::AF_INET, libc::SOCK_RAW, 1)),
    ("socket_packet", || socket(libc::AF_PACKET, libc::SOCK_RAW, 0)),
    ("socket_alg", || socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0)),
    ("socket_vsock", || socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0)),
    ("socket_tipc", || socket(30, libc::SOCK_SEQPACKET, 0)),
    ("socket_rxrpc", || socket(33, libc::SOCK_DGRAM, 0)),
    ("socket_xdp", || socket(44, libc::SOCK_RAW, 0)),
    ("socket_mptcp", || socket(libc::AF_INET, libc::SOCK_STREAM, 262)),
    ("netlink_audit", || socket(libc::AF_NETLINK, libc::SOCK_RAW, NETLINK_AUDIT)),
    ("netlink_netfilter", || socket(libc::AF_NETLINK, libc::SOCK_RAW, NETLINK_NETFILTER)),
    ("netlink_xfrm", || socket(libc::AF_NETLINK, libc::SOCK_RAW, NETLINK_XFRM)),
    ("rtnetlink_change", change_a_link),
    ("userns_nf_tables", || {
        unshare(USER_AND_NET)?;
        socket(libc::AF_NETLINK, libc::SOCK_RAW, NETLINK_NETFILTER)
    }),
    ("userns_packet", || {
        unshare(USER_AND_NET)?;
        socket(libc::AF_PACKET, libc::SOCK_RAW, 0)
    }),
    ("userns_xfrm", || {
        unshare(USER_AND_NET)?;
        socket(libc::AF_NETLINK, libc::SOCK_RAW, NETLINK_XFRM)
    }),
    ("userns_qdisc", || {
        unshare(USER_AND_NET)?;
        change_a_link()
    }),
    // CVE-2021-22555: IPT_SO_SET_REPLACE.
    ("userns_iptables", || {
        unshare(USER_AND_NET)?;
        let table = [0_u8; 128];
        match works(libc::SYS_setsockopt, [inet()?, 0, 64, pointer(&table), 128]) {
            Err(reason) if is_refusal(&reason) => Err(reason),
            _ => Ok(()),
        }
    }),
    // CVE-2023-0461: on a connected socket it would be tls; on this one the kernel says that it is not connected.
    ("tcp_ulp", || option_reached([inet()?, 6, 31, pointer(c"tls"), 4])),
    ("socket_filter", || {
        // One instruction: accept everything.
        let program = [0x0000_0006_u64 | 0xffff_0000 << 32];
        let filter = [1_usize, pointer(&program)];
        option_reached([inet()?, 1, flags(libc::SO_ATTACH_FILTER), pointer(&filter), 16])
    }),
    ("host_loopback", || io(std::net::TcpStream::connect(given(stage::TCP)?).map(drop))),
    ("host_interfaces", || {
        let text = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
        told(text.lines().skip(2).any(|line| !line.trim_start().starts_with("lo:")), "loopback alone")
    }),
    ("host_abstract_socket", || {
        let address = SocketAddr::from_abstract_name(given(stage::ABSTRACT)?).map_err(|error| error.to_string())?;
        io(UnixStream::connect_addr(&address).map(drop))
    }),
];

fn socket(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> Outcome {
    works(libc::SYS_socket, [flags(family), flags(kind), flags(protocol), 0, 0])
}

fn inet() -> Result<usize, String> {
    opens(libc::SYS_socket, [flags(libc::AF_INET), flags(libc::SOCK_STREAM), 0, 0, 0])
}

/// The kernel looks at the option's value (and may find fault with it).
fn option_reached(arguments: [usize; 5]) -> Outcome {
    match works(libc::SYS_setsockopt, arguments) {
        Err(reason) if reason == format!("errno {}", libc::ENOPROTOOPT) => Err(reason),
        _ => Ok(()),
    }
}

fn is_refusal(reason: &str) -> bool {
    [libc::EPERM, libc::ENOPROTOOPT, libc::ENOSYS].iter().any(|number| reason == format!("errno {number}"))
}

/// Asks the kernel over a route socket to take loopback up: what only an administrator of the network may.
fn change_a_link() -> Outcome {
    let socket = opens(libc::SYS_socket, [flags(libc::AF_NETLINK), flags(libc::SOCK_RAW), 0, 0, 0])?;
    // nlmsghdr: 32 bytes, RTM_NEWLINK, request with an answer; ifinfomsg: interface 1, change of IFF_UP.
    let request: [u32; 8] = [32, 16 | 5 << 16, 1, 0, 0, 1, 1, 1];
    works(libc::SYS_sendto, [socket, pointer(&request), 32, 0, 0])?;
    let mut answer = [0_u32; 64];
    if call(libc::SYS_recvfrom, [socket, (&raw mut answer).addr(), 256, 0, 0]) < 20 {
        return Err(format!("errno {}", errno()));
    }
    match answer[4].cast_signed() {
        0 => Ok(()),
        refused => Err(format!("errno {}", -refused)),
    }
}
