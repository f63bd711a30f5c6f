//! What an address is: one of this node, one that is never reached, somebody's own network.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use rustix::io::Errno;

/// A network: its address and the bits that count.
type Network<A> = (A, u8);

/// Addresses at which clouds tell machines about themselves, outside of link-local: Alibaba, Oracle, Azure's wire server.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];
/// The same with IPv6: Google's metadata, and all services that AWS has inside an instance (metadata, DNS, time, EKS).
const METADATA_V6: [Network<Ipv6Addr>; 2] =
    [(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128), (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32)];
/// Addresses behind these prefixes stand for IPv4 addresses, forbidden ones included (RFC 6052, RFC 8215). Where in the
/// second an address lies is each network's own choice.
const NAT64: [Network<Ipv6Addr>; 2] =
    [(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96), (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48)];
/// Addresses behind this prefix hold an IPv4 address in their next 32 bits (RFC 3056).
const SIX_TO_FOUR: Network<Ipv6Addr> = (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16);
/// Somebody's own besides RFC 1918: shared between a carrier and its customers (RFC 6598), protocol assignments
/// (RFC 6890), benchmarks (RFC 2544).
const PRIVATE_V4: [Network<Ipv4Addr>; 3] =
    [(Ipv4Addr::new(100, 64, 0, 0), 10), (Ipv4Addr::new(192, 0, 0, 0), 24), (Ipv4Addr::new(198, 18, 0, 0), 15)];
/// Site-local addresses of old (RFC 3879).
const SITE_LOCAL: Network<Ipv6Addr> = (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10);

/// IPv4 in its IPv6 clothes is IPv4.
pub(super) fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        v4 => v4,
    }
}

/// The IPv4 address that a relay would bring packets for `address` to.
pub(super) fn stands_for(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else { return None };
    let [_, _, a, b, c, d, ..] = v6.octets();
    is_in_v6(address, &[SIX_TO_FOUR]).then(|| Ipv4Addr::new(a, b, c, d).into())
}

/// True when the first `prefix` bits agree.
pub(super) fn shares_bits(network: IpAddr, address: IpAddr, prefix: u8) -> bool {
    let shared = |a: u128, b: u128, width: u32| {
        let rest = width.saturating_sub(u32::from(prefix));
        a.checked_shr(rest).unwrap_or(0) == b.checked_shr(rest).unwrap_or(0)
    };
    match (network, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => shared(u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => shared(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}

fn is_in_v6(address: IpAddr, networks: &[Network<Ipv6Addr>]) -> bool {
    networks.iter().any(|(network, prefix)| shares_bits(IpAddr::V6(*network), address, *prefix))
}

/// Loopback, link-local, multicast, reserved, and the metadata addresses of clouds that lie elsewhere.
pub(super) fn is_never(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.octets()[0] == 0
                || v4.octets()[0] >= 240
                || METADATA_V4.contains(&v4)
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
                || v6.to_ipv4().is_some()
                || is_in_v6(address, &NAT64)
                || is_in_v6(address, &METADATA_V6)
        }
    }
}

/// True for an address of this machine.
pub(super) fn is_own(address: IpAddr) -> bool {
    may_be_own(UdpSocket::bind((address, 0)).map(drop))
}

/// Only an address of this machine can be bound. Every other error (no descriptor is left, say) tells nothing, and an
/// unknown address may be the node's.
fn may_be_own(bound: io::Result<()>) -> bool {
    let Err(error) = bound else { return true };
    // A kernel without IPv6 has no such address either.
    !matches!(Errno::from_io_error(&error), Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT))
}

/// Networks that are somebody's own (RFC 1918, 4193 and those above).
pub(super) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let listed = |(network, prefix): &Network<Ipv4Addr>| shares_bits(IpAddr::V4(*network), address, *prefix);
            v4.is_private() || PRIVATE_V4.iter().any(listed)
        }
        IpAddr::V6(v6) => v6.is_unique_local() || is_in_v6(address, &[SITE_LOCAL]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h15_an_address_of_which_nothing_is_known_may_be_the_nodes() {
        let bound = |errno: Errno| may_be_own(Err(errno.into()));
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ACCESS, Errno::ADDRINUSE] {
            assert!(bound(errno), "{errno:?}");
        }
        assert!(may_be_own(Ok(())));
        assert!(!bound(Errno::ADDRNOTAVAIL) && !bound(Errno::AFNOSUPPORT));
        assert!(is_own([127, 0, 0, 1].into()) && !is_own([192, 0, 2, 1].into()));
    }
}
