//! What the gateway is made of.

use std::sync::Arc;

use sys::task::CancellationToken;
use sys::{Clock, Rng};
use trace::Recorder;
use wire::Service;
use wire::shape::ServiceShape;

use crate::body::Budget;
use crate::identify::Directory;
use crate::listener::Connections;
use crate::{AdminRoute, Config, CorsRules, CredentialStore, FunctionUrls, Identity, Limits};

/// Everything that the gateway is given.
pub struct Wiring {
    /// The services that are served.
    pub services: Vec<Service>,
    /// All services whose models are known, served or not: requests to them are told so by name.
    pub known: &'static [&'static ServiceShape],
    /// Where the spans go.
    pub recorder: Recorder,
    /// The access keys.
    pub credentials: CredentialStore,
    /// Users, sessions and rights.
    pub identity: Option<Identity>,
    /// What answers function URLs.
    pub function_urls: Option<FunctionUrls>,
    /// What answers browsers that ask for a bucket.
    pub cors: Option<CorsRules>,
    /// Routes below `/_tinderbox/` beside `health`.
    pub admin: Vec<AdminRoute>,
    /// Time.
    pub clock: Clock,
    /// Chance: request ids, trace ids.
    pub rng: Rng,
    /// Cancelled when the server shall stop.
    pub stop: CancellationToken,
}

/// The front door. Cloning is cheap; clones are one gateway.
#[derive(Clone)]
pub struct Gateway(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) wiring: Wiring,
    pub(crate) connections: Connections,
    pub(crate) directory: Directory,
    pub(crate) bodies: Arc<Budget>,
}

impl Gateway {
    /// A gateway with these settings and parts.
    pub fn new(config: Config, wiring: Wiring) -> Self {
        let connections = Connections::new(&config.limits);
        let directory = Directory::new(&wiring.services, wiring.known, &config.domain);
        let bodies = Budget::new(config.limits.bodies_in_memory);
        Self(Arc::new(Inner { config, wiring, connections, directory, bodies }))
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.wiring.clock
    }

    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.0.wiring.stop
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.config.limits
    }

    pub(crate) fn connections(&self) -> &Connections {
        &self.0.connections
    }
}
