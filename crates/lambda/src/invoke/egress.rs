//! Where functions may connect to: a policy, and the proxy through which they do.
//!
//! ```text
//!   function ─ CONNECT host:port ─▶ 127.0.0.1:9002 (inside) ─▶ policy: name ─▶ resolve ─▶ policy: address ─▶ connect to it
//!              GET http://host/…                                   403            502          403             502
//! ```
//! A sandbox has no network but loopback, so this listener is the only way out. The address that was checked is the one that
//! is connected to: a name that changes its mind in between (DNS rebinding) changes nothing.

mod proxy;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::str::FromStr;

pub(crate) use proxy::serve;

/// Where functions may connect to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Egress {
    /// Nowhere.
    #[default]
    None,
    /// To what a rule names.
    List(Vec<Rule>),
    /// To every public address. Private networks must be listed.
    All,
}

/// One permitted destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    destination: Destination,
    /// Any port where absent.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Destination {
    /// A host name, lower case.
    Name(String),
    /// Every name below this one: `.example.com`.
    Below(String),
    /// Addresses whose first bits agree.
    Network { address: IpAddr, prefix: u8 },
}

/// Text that is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no egress policy: say none, all, or a list such as api.example.com:443,*.example.org,10.0.0.0/8:5432"
)]
pub struct BadEgress(String);

impl FromStr for Egress {
    type Err = BadEgress;

    fn from_str(text: &str) -> Result<Self, BadEgress> {
        match text.trim() {
            "none" => Ok(Self::None),
            "all" => Ok(Self::All),
            list => {
                let rules =
                    list.split(',').map(|rule| Rule::parse(rule.trim()).ok_or_else(|| BadEgress(text.to_owned())));
                rules.collect::<Result<Vec<_>, _>>().map(Self::List)
            }
        }
    }
}

impl Rule {
    /// `name`, `*.name`, `address`, `address/bits`, each with `:port` or without; IPv6 addresses in brackets.
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') || host.contains("]/") => {
                (host, Some(port.parse().ok().filter(|port| *port > 0)?))
            }
            _ => (text, None),
        };
        let (bare, bits) = match host.split_once('/') {
            Some((bare, bits)) => (bare, Some(bits.parse::<u8>().ok()?)),
            None => (host, None),
        };
        let bare = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(bare);
        let destination = match (bare.parse::<IpAddr>(), bits) {
            (Ok(address), bits) => {
                let most = if address.is_ipv4() { 32 } else { 128 };
                Destination::Network { address, prefix: bits.unwrap_or(most).min(most) }
            }
            (Err(_), Some(_)) => return None,
            (Err(_), None) => match bare.strip_prefix('*') {
                Some(below) if below.starts_with('.') && is_name(&below[1..]) => {
                    Destination::Below(below.to_ascii_lowercase())
                }
                None if is_name(bare) => Destination::Name(bare.to_ascii_lowercase()),
                _ => return None,
            },
        };
        Some(Self { destination, port })
    }

    fn permits(&self, host: &str, address: IpAddr, port: u16) -> bool {
        let there = match &self.destination {
            Destination::Name(name) => host == name,
            Destination::Below(suffix) => host.ends_with(suffix.as_str()),
            Destination::Network { address: network, prefix } => shares_bits(*network, address, *prefix),
        };
        there && self.port.is_none_or(|only| only == port)
    }
}

impl Egress {
    /// True when nothing is permitted, so that no proxy is needed.
    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// True when a function may connect to `address`, to which `host` (as asked for) resolved.
    pub(crate) fn permits(&self, host: &str, address: SocketAddr) -> bool {
        let ip = plain(address.ip());
        // Whatever the operator listed: the node itself and the metadata of clouds are never reached from inside.
        if is_never(ip) || is_own(ip) {
            return false;
        }
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        match self {
            Self::None => false,
            Self::All => !is_private(ip),
            Self::List(rules) => rules.iter().any(|rule| rule.permits(&host, ip, address.port())),
        }
    }
}

fn is_name(text: &str) -> bool {
    let of_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    !text.is_empty() && text.len() < 256 && text.chars().all(of_name)
}

/// IPv4 in its IPv6 clothes is IPv4.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        v4 => v4,
    }
}

fn shares_bits(network: IpAddr, address: IpAddr, prefix: u8) -> bool {
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

/// Loopback, link-local, multicast, reserved, and the metadata addresses of clouds that lie elsewhere.
fn is_never(address: IpAddr) -> bool {
    const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192)];
    /// AWS's IPv6 metadata address.
    const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match address {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.octets()[0] == 0
                || v4.octets()[0] >= 240
                || METADATA_V4.contains(&v4)
        }
        IpAddr::V6(v6) => {
            let wraps_v4 = v6.to_ipv4().is_some() || shares_bits(IpAddr::V6(NAT64), address, 96);
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
                || wraps_v4
                || v6 == METADATA_V6
        }
    }
}

/// Addresses behind this prefix stand for IPv4 addresses (RFC 6052), forbidden ones included.
const NAT64: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

/// True for an address of this machine: only those can be bound.
fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// Networks that are somebody's own (RFC 1918, 4193, 6598).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || (v4.octets()[0] == 100 && (64..128).contains(&v4.octets()[1])),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn permits(policy: &str, host: &str, address: &str) -> bool {
        policy.parse::<Egress>().expect(policy).permits(host, address.parse().expect(address))
    }

    #[test]
    fn a_list_permits_what_it_names_and_nothing_else() {
        for (policy, host, address, expected) in [
            ("none", "example.com", "93.184.216.34:443", false),
            ("all", "example.com", "93.184.216.34:443", true),
            ("all", "intranet", "10.1.2.3:80", false),
            ("all", "intranet", "100.64.0.1:80", false),
            ("10.0.0.0/8:5432", "db", "10.1.2.3:5432", true),
            ("10.0.0.0/8:5432", "db", "10.1.2.3:5433", false),
            ("10.0.0.0/8", "db", "11.1.2.3:5432", false),
            ("0.0.0.0/0", "x", "93.184.216.34:80", true),
            ("api.example.com:443", "API.example.com.", "93.184.216.34:443", true),
            ("api.example.com:443", "api.example.com", "93.184.216.34:80", false),
            ("api.example.com", "evil-api.example.com", "93.184.216.34:443", false),
            ("*.example.com", "a.b.example.com", "93.184.216.34:443", true),
            ("*.example.com", "example.com", "93.184.216.34:443", false),
            ("*.example.com", "badexample.com", "93.184.216.34:443", false),
            ("[2600::]/16:443", "x", "[2600:1::1]:443", true),
            ("[2600::]/16:443", "x", "[2601:1::1]:443", false),
            ("2600::1", "x", "[2600::1]:80", true),
        ] {
            assert_eq!(permits(policy, host, address), expected, "{policy} for {host} at {address}");
        }
    }

    #[test]
    fn h15_the_node_and_metadata_are_never_reached_whatever_is_listed() {
        for address in [
            "127.0.0.1:4566",
            "127.9.9.9:80",
            "[::1]:4566",
            "0.0.0.0:80",
            "[::]:80",
            "169.254.169.254:80",
            "[::ffff:169.254.169.254]:80",
            "[::ffff:127.0.0.1]:80",
            "[64:ff9b::a9fe:a9fe]:80",
            "[::a9fe:a9fe]:80",
            "[fd00:ec2::254]:80",
            "[fe80::1]:80",
            "100.100.100.200:80",
            "192.0.0.192:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
        ] {
            for policy in ["all", "0.0.0.0/0,[::]/0", "metadata.internal"] {
                assert!(!permits(policy, "metadata.internal", address), "{policy}: {address}");
            }
        }
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for text in ["", "everything else", "a:b", "host:0", "host:70000", "name/8", "*example.com", "http://x", "a,,b"]
        {
            assert!(text.parse::<Egress>().is_err(), "{text:?}");
        }
    }

    proptest! {
        /// Nothing that is read as a rule permits a loopback or link-local address.
        #[test]
        fn no_text_opens_the_node(text in "[a-z0-9.*:/\\[\\],]{0,40}", last in any::<u16>()) {
            if let Ok(policy) = text.parse::<Egress>() {
                let [high, low] = last.to_be_bytes();
                for address in [[127, 0, high, low], [169, 254, high, low]] {
                    assert!(!policy.permits("host", SocketAddr::from((address, 80))));
                }
            }
        }
    }
}
