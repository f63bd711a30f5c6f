//! `/_tinderbox/…`: what the binary tells about itself. Never reachable from a sandbox.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response};
use wire::service::BoxFuture;

/// A request to an admin route.
#[derive(Debug)]
pub struct AdminRequest {
    /// What follows the route's path, such as the id of a trace; empty for an exact match.
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
