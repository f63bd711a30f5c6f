//! Who is at the other end of a connection.

use std::net::{IpAddr, SocketAddr};

/// The other end of a connection, known by the socket that it came through and never by what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A client on the main listener.
    Client {
        /// Its address.
        addr: SocketAddr,
    },
    /// Code inside an execution environment, through the listener that the platform put there.
    Sandbox {
        /// ARN of its function (unqualified).
        function_arn: String,
    },
}

impl Peer {
    /// The address, for conditions and logs; a sandbox has none.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Client { addr } => Some(addr.ip()),
            Self::Sandbox { .. } => None,
        }
    }

    /// A client on this machine.
    pub fn is_loopback(&self) -> bool {
        self.ip().is_some_and(|ip| ip.to_canonical().is_loopback())
    }
}
