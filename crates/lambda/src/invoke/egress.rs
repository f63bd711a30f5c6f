//! Where functions may connect to: a policy, and the proxy through which they do.
//!
//! ```text
//!   function ─ CONNECT host:port ─▶ 127.0.0.1:9002 (inside) ─▶ policy: name ─▶ resolve ─▶ policy: address ─▶ connect to it
//!              GET http://host/…                                   403            502          403             502
//! ```
//! A sandbox has no network but loopback, so this listener is the only way out. The address that was checked is the one that
//! is connected to: a name that changes its mind in between (DNS rebinding) changes nothing.

mod addresses;
mod head;
mod proxy;
mod tunnel;
mod way_out;

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use addresses::{is_never, is_own, is_private, plain, shares_bits, stands_for};
pub(crate) use proxy::serve;
pub(crate) use way_out::{Door, WayOut};

use crate::EnvironmentVariables;

/// The variable of a function that narrows where it may connect to; the node's own setting has the same name.
pub(crate) const VARIABLE: &str = "TINDERBOX_EGRESS";

/// Where functions may connect to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Egress {
    /// Nowhere.
    #[default]
    None,
    /// To what a rule names. Private networks only where a rule has their addresses.
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

    /// A name permits public addresses only: whoever owns it, or anybody who gets a name below it, decides where it leads.
    fn permits(&self, host: &str, address: IpAddr, is_private: bool, port: u16) -> bool {
        let there = match &self.destination {
            Destination::Name(name) => host == name && !is_private,
            Destination::Below(suffix) => host.ends_with(suffix.as_str()) && !is_private,
            Destination::Network { address: network, prefix } => shares_bits(*network, address, *prefix),
        };
        there && self.port.is_none_or(|only| only == port)
    }
}

impl Egress {
    /// What the variables of a function say of it. A text that is no policy (stored before texts were checked) permits
    /// nothing.
    pub(crate) fn of(variables: &EnvironmentVariables) -> Option<Self> {
        variables.0.get(VARIABLE).map(|text| text.parse().unwrap_or(Self::None))
    }

    /// True when nothing is permitted, so that no proxy is needed.
    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// True when a function may connect to `address`, to which `host` (as asked for) resolved.
    pub fn permits(&self, host: &str, address: SocketAddr) -> bool {
        let ip = plain(address.ip());
        // An address that stands for another one is judged as both.
        let meant = || std::iter::once(ip).chain(stands_for(ip));
        // Whatever the operator listed: the node itself and the metadata of clouds are never reached from inside.
        if meant().any(|ip| is_never(ip) || is_own(ip)) {
            return false;
        }
        let is_private = meant().any(is_private);
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        match self {
            Self::None => false,
            Self::All => !is_private,
            Self::List(rules) => rules.iter().any(|rule| rule.permits(&host, ip, is_private, address.port())),
        }
    }
}

fn is_name(text: &str) -> bool {
    let of_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    !text.is_empty() && text.len() < 256 && text.chars().all(of_name)
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
            ("*.amazonaws.com", "internal-lb.elb.amazonaws.com", "10.1.2.3:443", false),
            ("*.amazonaws.com", "s3.amazonaws.com", "52.216.0.1:443", true),
            ("db.internal:5432", "db.internal", "10.1.2.3:5432", false),
            ("db.internal:5432", "db.internal", "[fd12::1]:5432", false),
            ("db.internal,10.1.2.3/32:5432", "db.internal", "10.1.2.3:5432", true),
            ("10.1.2.3", "10.1.2.3", "10.1.2.3:5432", true),
            ("[2002:a01::]/32", "x", "[2002:a01:203::1]:80", true),
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
            "168.63.129.16:80",
            "[::ffff:168.63.129.16]:32526",
            "[fd20:ce::254]:80",
            "[fd00:ec2::23]:80",
            "[fd00:ec2:1::1]:80",
            "[64:ff9b:1::a9fe:a9fe]:80",
            "[64:ff9b:1:a9fe:a9:fe00::]:80",
            "[2002:a9fe:a9fe::1]:80",
            "[2002:7f00:1::]:80",
            "[2002:a83f:8110::]:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
        ] {
            for policy in ["all", "0.0.0.0/0,[::]/0", "metadata.internal"] {
                assert!(!permits(policy, "metadata.internal", address), "{policy}: {address}");
            }
        }
    }

    #[test]
    fn networks_of_somebodys_own_must_be_listed() {
        for address in [
            "10.0.0.1:80",
            "172.31.255.255:80",
            "192.168.0.1:80",
            "100.64.0.1:80",
            "192.0.0.8:80",
            "198.18.0.1:80",
            "198.19.255.255:80",
            "[fc00::1]:80",
            "[fec0::1]:80",
            "[feff::1]:80",
            "[2002:a01:203::1]:80",
        ] {
            assert!(!permits("all", "x", address) && !permits("x,*.x", "x", address), "{address}");
            assert!(permits("0.0.0.0/0,[::]/0", "x", address), "{address}");
        }
        // Their neighbours are public.
        for address in ["172.32.0.0:80", "192.0.1.1:80", "198.17.0.1:80", "198.20.0.1:80", "[2002:808:808::1]:80"] {
            assert!(permits("all", "x", address), "{address}");
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
