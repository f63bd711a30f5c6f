//! What the environments of a node share on their way out: the policy, the threads that look names up, the connections.
//!
//! ```text
//!   environment's door ─ own cap ─▶ node's cap ─▶ look-up (own places, then the node's) ─▶ policy ─▶ connect
//! ```

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sys::Clock;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::addresses::is_private;
use super::{Egress, VARIABLE};
use crate::invoke::BoxFuture;

/// Time for a name to resolve and for a connection to open, each.
pub(super) const STEP_MAX: Duration = Duration::from_secs(10);
/// Connections of one environment at the same time.
const CONNECTIONS_MAX: usize = 256;
/// Connections of all environments of the node at the same time. Each takes two descriptors.
const NODE_CONNECTIONS_MAX: u64 = 4_096;
/// The share of the process's descriptors that connections of functions may take: the rest is for clients and files.
const DESCRIPTORS_SHARE: u64 = 4;
/// Names that one environment, and the whole node, look up at the same time. Each takes a thread of the pool that also
/// reads and writes files, for as long as the resolver of the host takes, whoever still waits for the answer.
const LOOK_UPS_MAX: usize = 4;
const NODE_LOOK_UPS_MAX: usize = 64;

/// Why there is no way out: the HTTP status and a sentence for whoever reads the function's log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) u16, pub(super) String);

/// Looks a name up.
type Resolve = Arc<dyn Fn(String, u16) -> BoxFuture<io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The way out of a node. Clones share its bounds.
#[derive(Clone)]
pub(crate) struct WayOut {
    policy: Arc<Egress>,
    clock: Clock,
    resolve: Resolve,
    look_ups: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

impl WayOut {
    /// A way out under `policy`, with the host's resolver.
    pub(crate) fn new(policy: Egress, clock: Clock) -> Self {
        let resolve: Resolve =
            Arc::new(|name, port| Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) }));
        Self::with_resolver(policy, clock, resolve)
    }

    fn with_resolver(policy: Egress, clock: Clock, resolve: Resolve) -> Self {
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        let connections = (descriptors / DESCRIPTORS_SHARE / 2).clamp(1, NODE_CONNECTIONS_MAX);
        Self {
            policy: Arc::new(policy),
            clock,
            resolve,
            look_ups: Arc::new(Semaphore::new(NODE_LOOK_UPS_MAX)),
            connections: Arc::new(Semaphore::new(usize::try_from(connections).unwrap_or(1))),
        }
    }

    /// The door of one environment. `narrowed` is what its function permits itself of what the node permits.
    pub(crate) fn door(&self, narrowed: Option<Egress>) -> Door {
        Door {
            node: self.clone(),
            narrowed,
            look_ups: Arc::new(Semaphore::new(LOOK_UPS_MAX)),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        }
    }
}

/// One environment's share of the way out.
pub(crate) struct Door {
    node: WayOut,
    /// The function's own policy, which can only take away.
    narrowed: Option<Egress>,
    look_ups: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

/// A place for a connection, or for a look-up: the environment's and the node's.
pub(super) type Place = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Door {
    pub(super) fn clock(&self) -> &Clock {
        &self.node.clock
    }

    /// A place for one more connection; `None` past a cap.
    pub(super) fn admit(&self) -> Option<Place> {
        let own = Arc::clone(&self.connections).try_acquire_owned().ok()?;
        Some((own, Arc::clone(&self.node.connections).try_acquire_owned().ok()?))
    }

    /// Opens the connection that the policy permits: resolves once, checks, and connects to what was checked.
    pub(super) async fn reach(&self, host: &str, port: u16) -> Result<TcpStream, Refused> {
        let clock = self.clock();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let late = |what: &str| Refused(504, format!("{what} took longer than {} s", STEP_MAX.as_secs()));
        let found = clock.timeout(STEP_MAX, self.look_up(bare, port)).await;
        let found = found.ok_or_else(|| late("resolving the name"))?;
        let addresses = found.map_err(|error| Refused(502, format!("{host} cannot be resolved: {error}")))?;
        let permitted = self.permitted(bare, port, addresses)?;
        let opened = clock.timeout(STEP_MAX, TcpStream::connect(&permitted[..])).await;
        let opened = opened.ok_or_else(|| late("connecting"))?;
        opened.map_err(|error| Refused(502, format!("{host}:{port} cannot be reached: {error}")))
    }

    /// Those of `addresses`, to which `host` resolved, that the node's policy and the function's own permit.
    fn permitted(&self, host: &str, port: u16, mut addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refused> {
        let is_private = addresses.iter().any(|address| is_private(address.ip()));
        addresses.retain(|address| self.node.policy.permits(host, *address));
        if addresses.is_empty() {
            let hint =
                if is_private { "; private networks must be listed by address, as in 10.0.0.0/8:5432" } else { "" };
            let text = format!("this node's egress policy ({VARIABLE}) does not permit {host}:{port}{hint}");
            return Err(Refused(403, text));
        }
        if let Some(own) = &self.narrowed {
            addresses.retain(|address| own.permits(host, *address));
        }
        if addresses.is_empty() {
            let text = format!("the function's own variable {VARIABLE} does not permit {host}:{port}");
            return Err(Refused(403, text));
        }
        Ok(addresses)
    }

    async fn look_up(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = name.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let place: Place = (place(&self.look_ups).await?, place(&self.node.look_ups).await?);
        let looking = (self.node.resolve)(name.to_owned(), port);
        // A task of its own: the thread that looks up cannot be called off, so its place is free when it is done, and
        // not when nobody waits for it any more.
        let looking = sys::task::spawn("name look-up", async move {
            let found = looking.await;
            drop(place);
            found
        });
        let found = looking.await.ok().flatten();
        found.unwrap_or_else(|| Err(io::Error::other("the look-up ended without an answer")))
    }
}

async fn place(places: &Arc<Semaphore>) -> io::Result<OwnedSemaphorePermit> {
    Arc::clone(places).acquire_owned().await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use sys::Timestamp;
    use tokio::sync::watch;

    use super::*;

    #[tokio::test]
    async fn h15_what_the_policy_forbids_is_refused_before_anything_is_opened() {
        for (policy, host) in [(Egress::All, "127.0.0.1"), (Egress::All, "localhost"), (Egress::None, "192.0.2.1")] {
            let refused = WayOut::new(policy, Clock::system()).door(None).reach(host, 4566).await;
            assert!(matches!(refused, Err(Refused(403, _))), "{host}: {refused:?}");
        }
    }

    /// A resolver that answers when it is let, and how many look-ups it is busy with.
    fn slow() -> (Resolve, Arc<AtomicUsize>, watch::Sender<bool>) {
        let (let_go, wait) = watch::channel(false);
        let busy = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&busy);
        let resolve: Resolve = Arc::new(move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            let (counted, mut wait) = (Arc::clone(&counted), wait.clone());
            Box::pin(async move {
                wait.wait_for(|go| *go).await.unwrap();
                counted.fetch_sub(1, Ordering::SeqCst);
                Ok(vec!["127.0.0.1:1".parse().unwrap()])
            })
        });
        (resolve, busy, let_go)
    }

    async fn settle() {
        for _ in 0..2_000 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn look_ups_that_nobody_waits_for_any_more_still_count() {
        let clock = Clock::manual(Timestamp::from_unix_s(0));
        let (resolve, busy, let_go) = slow();
        let way_out = WayOut::with_resolver(Egress::All, clock.clone(), resolve);
        let ask = |door: &Arc<Door>| {
            let door = Arc::clone(door);
            sys::task::spawn("test", async move { door.reach("slow.example", 443).await.map(drop) })
        };
        let one = Arc::new(way_out.door(None));
        let mut asked: Vec<_> = (0..50).map(|_| ask(&one)).collect();
        settle().await;
        assert_eq!(busy.load(Ordering::SeqCst), LOOK_UPS_MAX, "one environment has its share");
        clock.advance(STEP_MAX);
        for asked in asked.drain(..) {
            let late = "resolving the name took longer than 10 s".to_owned();
            assert_eq!(asked.await.unwrap().unwrap(), Err(Refused(504, late)));
        }
        // Its threads are still in use: another fifty start nothing.
        asked.extend((0..50).map(|_| ask(&one)));
        settle().await;
        assert_eq!(busy.load(Ordering::SeqCst), LOOK_UPS_MAX);
        let others: Vec<_> = (0..40).map(|_| Arc::new(way_out.door(None))).collect();
        asked.extend(others.iter().flat_map(|door| (0..4).map(|_| ask(door)).collect::<Vec<_>>()));
        settle().await;
        assert_eq!(busy.load(Ordering::SeqCst), NODE_LOOK_UPS_MAX, "all together have theirs");
        // What is free again is used by those who wait.
        let_go.send(true).unwrap();
        for asked in asked {
            assert!(matches!(asked.await.unwrap().unwrap(), Err(Refused(403, _))), "resolved, and forbidden");
        }
        assert_eq!(busy.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn an_environment_and_the_node_have_caps_on_connections() {
        let way_out = WayOut::new(Egress::All, Clock::system());
        let node = way_out.connections.available_permits();
        let mut places = Vec::new();
        let mut doors = 0;
        while way_out.connections.available_permits() > 0 {
            let door = way_out.door(None);
            let before = places.len();
            places.extend(std::iter::from_fn(|| door.admit()));
            assert!(places.len() - before <= CONNECTIONS_MAX);
            doors += 1;
            assert!(doors <= node, "each door gets something");
        }
        assert!(way_out.door(None).admit().is_none(), "the node is full");
        places.pop();
        assert!(way_out.door(None).admit().is_some());
    }

    #[tokio::test]
    async fn h15_a_functions_own_policy_takes_away_and_never_adds() {
        let there: Vec<SocketAddr> = vec![([10, 1, 2, 3], 5432).into()];
        let both = |node: &str, own: Option<&str>| {
            let way_out = WayOut::new(node.parse().unwrap(), Clock::system());
            let door = way_out.door(own.map(|own| own.parse().unwrap()));
            door.permitted("db.example", 5432, there.clone())
                .map_err(|Refused(_, text)| text.contains("function's own"))
        };
        assert_eq!(both("10.0.0.0/8", None), Ok(there.clone()));
        assert_eq!(both("10.0.0.0/8", Some("10.1.0.0/16")), Ok(there.clone()));
        for own in ["none", "all", "10.2.0.0/16", "db.example", "10.0.0.0/8:443"] {
            assert_eq!(both("10.0.0.0/8", Some(own)), Err(true), "{own}");
        }
        for node in ["none", "all", "10.2.0.0/16"] {
            assert_eq!(both(node, Some("0.0.0.0/0")), Err(false), "{node}");
        }
    }

    #[tokio::test]
    async fn whoever_is_refused_a_private_address_is_told_what_to_list() {
        let resolve: Resolve = Arc::new(|_, port| Box::pin(async move { Ok(vec![([10, 1, 2, 3], port).into()]) }));
        let policy = "*.amazonaws.com".parse().unwrap();
        let way_out = WayOut::with_resolver(policy, Clock::system(), resolve);
        let Err(Refused(status, text)) = way_out.door(None).reach("internal-lb.us-east-1.elb.amazonaws.com", 443).await
        else {
            panic!("it was opened")
        };
        assert!(status == 403 && text.contains("10.0.0.0/8"), "{status}: {text}");
    }
}
