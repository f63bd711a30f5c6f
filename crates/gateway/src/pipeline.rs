//! The request path.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;

use crate::{Gateway, Peer};

impl Gateway {
    pub(crate) async fn answer<B: Body<Data = Bytes>>(
        &self,
        peer: Arc<Peer>,
        request: Request<B>,
    ) -> Response<Full<Bytes>> {
        let version = self.0.config.version;
        tracing::debug!(path = request.uri().path(), ?peer, "a request arrived");
        Response::new(Full::new(Bytes::from(format!("{{\"status\":\"ready\",\"version\":\"{version}\"}}"))))
    }
}
