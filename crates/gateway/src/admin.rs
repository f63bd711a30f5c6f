//! `/_tinderbox/…`: what the binary tells about itself. Never reachable from a sandbox.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body::Body;
use sys::ByteSize;
use wire::service::BoxFuture;
use wire::sigv4::SigV4Error;
use wire::{ApiError, Principal, shape};

use crate::answers::{json, signature_error};
use crate::authenticate::Caller;
use crate::body::{Share, Waiting};
use crate::exchange::Exchange;
use crate::limits::TooLarge;
use crate::{Auth, Config, Gateway, Peer};

/// A request to an admin route.
#[derive(Debug)]
pub struct AdminRequest {
    /// What follows the route's path, percent-decoded, such as the id of a trace; empty for an exact match.
    pub rest: String,
    /// Query without the `?`.
    pub query: String,
    /// The body.
    pub body: Bytes,
}

/// What answers an admin route.
pub type AdminHandler = Arc<dyn Fn(AdminRequest) -> BoxFuture<Response<Bytes>> + Send + Sync>;

/// One route below `/_tinderbox/`.
#[derive(Clone)]
pub struct AdminRoute {
    /// HTTP method.
    pub method: Method,
    /// Path; one that ends in `/` takes everything below it.
    pub path: &'static str,
    /// Whether clients on the loopback interface may ask without a signature. Everyone else signs with the root key
    /// for the service `tinderbox`.
    pub open_to_loopback: bool,
    /// What answers.
    pub handler: AdminHandler,
}

/// The service that signed admin requests name in their scope.
const SIGNING_NAME: &str = "tinderbox";
const HEALTH: &str = "/_tinderbox/health";
const BODY_MAX: ByteSize = ByteSize::mib(1);

/// The route of a path, and what follows the route's own part. The longest route wins.
fn route<'r>(routes: &'r [AdminRoute], method: &Method, path: &str) -> Option<(&'r AdminRoute, String)> {
    let matching = routes.iter().filter(|route| route.method == *method).filter_map(|route| {
        let rest = path.strip_prefix(route.path)?;
        // Clients encode what an ARN has, such as colons.
        let rest = wire::uri::percent_decode(rest)?.into_owned();
        (rest.is_empty() || route.path.ends_with('/')).then_some((route, rest))
    });
    matching.max_by_key(|(route, _)| route.path.len())
}

/// Whether a signature that verified opens the closed routes: the operator's does.
fn may_administer(config: &Config, caller: &Caller) -> bool {
    // Root users of other accounts are tenants.
    let is_operator = matches!(&caller.principal, Principal::Root { account } if *account == config.account);
    config.auth == Auth::Permissive || is_operator
}

impl Gateway {
    /// Steps of a request to `/_tinderbox/…`.
    pub(crate) async fn administer<B: Body<Data = Bytes>>(
        &self,
        exchange: &mut Exchange,
        head: &Parts,
        body: &Waiting<B>,
    ) -> Result<Response<Bytes>, ApiError> {
        let path = head.uri.path();
        let absent = || ApiError::client("NotFoundException", 404, "There is nothing here.");
        if matches!(*exchange.peer, Peer::Sandbox { .. }) {
            return Err(absent());
        }
        if path == HEALTH && head.method == Method::GET {
            let version = self.0.config.version;
            return Ok(json(StatusCode::OK, &serde_json::json!({"status": "ready", "version": version})));
        }
        let (route, rest) = route(&self.0.wiring.admin, &head.method, path).ok_or_else(absent)?;
        let is_open = route.open_to_loopback && exchange.peer.is_loopback();

        exchange.enter("admit");
        let refused = |error: SigV4Error| signature_error(&error, shape::Protocol::RestJson1);
        let authenticator = self.authenticator(&exchange.peer, head).await?;
        let admission = match is_open {
            true => None,
            false => Some(authenticator.admit(head, SIGNING_NAME, "").map_err(refused)?),
        };
        if let Some(admission) = &admission {
            admission.suffices_for(shape::Auth::Signature, false).map_err(refused)?;
        }

        exchange.enter("receive");
        let mut share = Share::of(&self.0.bodies);
        let bytes = self.receive(body, BODY_MAX, (path, TooLarge::DEFAULT), &mut share).await?;

        exchange.enter("verify");
        if let Some(admission) = admission {
            let caller = authenticator.verify(admission, head, &bytes).map_err(refused)?;
            if !may_administer(&self.0.config, &caller) {
                return Err(ApiError::client(
                    "AccessDeniedException",
                    403,
                    "Only the root user of this installation may ask this.",
                ));
            }
        }

        exchange.enter("operate");
        let query = head.uri.query().unwrap_or_default().to_owned();
        Ok((route.handler)(AdminRequest { rest, query, body: bytes }).await)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_longest_route_wins_and_only_folders_take_what_is_below_them() {
        let of = |method, path| AdminRoute {
            method,
            path,
            open_to_loopback: true,
            handler: Arc::new(|_| Box::pin(async { Response::new(Bytes::new()) })),
        };
        let routes = [
            of(Method::GET, "/_tinderbox/traces"),
            of(Method::GET, "/_tinderbox/traces/"),
            of(Method::GET, "/_tinderbox/traces/recent"),
            of(Method::POST, "/_tinderbox/stop"),
        ];
        for (method, path, expected) in [
            (Method::GET, "/_tinderbox/traces", Some(("/_tinderbox/traces", ""))),
            (Method::GET, "/_tinderbox/traces/1-2", Some(("/_tinderbox/traces/", "1-2"))),
            (Method::GET, "/_tinderbox/traces/recent", Some(("/_tinderbox/traces/recent", ""))),
            (Method::GET, "/_tinderbox/traces/arn%3Aaws%2f%25", Some(("/_tinderbox/traces/", "arn:aws/%"))),
            (Method::GET, "/_tinderbox/traces/%F", None),
            (Method::GET, "/_tinderbox/tracesx", None),
            (Method::GET, "/_tinderbox/stop", None),
            (Method::POST, "/_tinderbox/stop", Some(("/_tinderbox/stop", ""))),
        ] {
            let found = route(&routes, &method, path);
            let found = found.as_ref().map(|(route, rest)| (route.path, rest.as_str()));
            assert_eq!(found, expected, "{method} {path}");
        }
    }
}
