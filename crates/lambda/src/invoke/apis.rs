//! What listens at `AWS_LAMBDA_RUNTIME_API` inside an execution environment: HTTP/1.1, and one path prefix for each API.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sys::Clock;
use sys::task::CancellationToken;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::accepting;
use super::extensions::{self, Extensions};
use super::runtime_api;
use super::telemetry::{self, Telemetry};

/// Connections of one environment at the same time, for each event that it may serve at once one more to ask and one to answer.
const CONNECTIONS_MAX: usize = 64;
/// How much of a refused body is read and thrown away, so that a client that writes first and reads then sees the
/// refusal instead of a broken connection.
const DISCARD_BYTES_MAX: usize = 64 << 20;

pub(super) type Reply = Response<Full<Bytes>>;

/// The APIs of one environment.
#[derive(Clone, Debug)]
pub(super) struct Apis {
    /// `None` where the runtime speaks frames.
    pub(super) runtime: Option<Arc<runtime_api::Shared>>,
    pub(super) extensions: Extensions,
    pub(super) telemetry: Telemetry,
}

/// A call that an API refuses: HTTP status and the error that the caller reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) error_type: &'static str,
    pub(super) message: String,
}

/// Accepts connections until `open` is cancelled, and closes them then. `events`: how many may run at once.
pub(super) async fn serve(listener: TcpListener, clock: Clock, apis: Apis, open: CancellationToken, events: usize) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX + 2 * events));
    loop {
        let accepted = tokio::select! {
            () = open.cancelled() => return,
            accepted = accept(&listener, &clock, &slots) => accepted,
        };
        let Some((stream, slot)) = accepted else { return };
        let (apis, open) = (apis.clone(), open.clone());
        drop(sys::task::spawn("runtime api connection", async move {
            tokio::select! {
                () = open.cancelled() => {}
                () = converse(stream, apis) => {}
            }
            drop(slot);
        }));
    }
}

async fn accept(
    listener: &TcpListener,
    clock: &Clock,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    let stream = accepting::next("runtime api", clock, || listener.accept()).await;
    // One segment for each answer: a second one would wait 40 ms for the peer's delayed acknowledgement. It fails on a
    // connection that is broken already, which is this connection's affair.
    let _ = stream.set_nodelay(true);
    Some((stream, slot))
}

async fn converse(stream: TcpStream, apis: Apis) {
    let service = service_fn(|request| {
        let apis = apis.clone();
        async move { Ok::<_, Infallible>(route(&apis, request).await) }
    });
    // What breaks a connection of a runtime (it ended, it spoke no HTTP) is its own affair.
    let _ = http1::Builder::new().writev(true).serve_connection(TokioIo::new(stream), service).await;
}

async fn route(apis: &Apis, request: Request<Incoming>) -> Reply {
    let path = request.uri().path().to_owned();
    if let (Some(route), Some(runtime)) = (path.strip_prefix(runtime_api::http::PREFIX), &apis.runtime) {
        return runtime_api::http::route(runtime, route, request).await;
    }
    if let Some(api) = telemetry::http::api_of(&path) {
        return telemetry::http::subscribe(&apis.telemetry, &apis.extensions, api, request).await;
    }
    match path.strip_prefix(extensions::http::PREFIX) {
        Some(route) => extensions::http::route(&apis.extensions, route, request).await,
        None => not_found(),
    }
}

/// What came of reading a body.
pub(super) enum Read {
    Whole { body: Bytes, trailers: HeaderMap },
    TooLong,
    Broken,
}

/// Reads a body of at most `limit` bytes; a longer one is read on and thrown away.
pub(super) async fn read(mut body: Incoming, limit: usize) -> Read {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut bytes = BytesMut::with_capacity(announced.min(limit));
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Read::Broken };
        match frame.into_data() {
            Ok(data) if bytes.len() + data.len() > limit => {
                discard(body).await;
                return Read::TooLong;
            }
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    Read::Whole { body: bytes.freeze(), trailers }
}

pub(super) async fn discard(mut body: Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > DISCARD_BYTES_MAX {
            return;
        }
    }
}

/// A body of at most `limit` bytes, or the refusal of a longer or a broken one.
pub(super) async fn whole(body: Incoming, limit: usize) -> Result<Bytes, Reply> {
    match read(body, limit).await {
        Read::Whole { body, .. } => Ok(body),
        Read::TooLong => Err(refuse(&Refused {
            status: 413,
            error_type: "RequestEntityTooLarge",
            message: format!("Exceeded maximum allowed payload size ({limit} bytes)."),
        })),
        Read::Broken => Err(broken()),
    }
}

/// 202, or the refusal.
pub(super) fn accepted(result: Result<(), Refused>) -> Reply {
    match result {
        Ok(()) => reply(StatusCode::ACCEPTED, Bytes::from_static(b"{\"status\":\"OK\"}\n")),
        Err(refused) => refuse(&refused),
    }
}

pub(super) fn refuse(refused: &Refused) -> Reply {
    let body = serde_json::json!({ "errorMessage": refused.message, "errorType": refused.error_type });
    let status = StatusCode::from_u16(refused.status).expect("refusals carry valid statuses");
    reply(status, Bytes::from(body.to_string()))
}

pub(super) fn broken() -> Reply {
    let message = "The request's body ended early".to_owned();
    refuse(&Refused { status: 400, error_type: "InvalidRequest", message })
}

pub(super) fn not_found() -> Reply {
    reply(StatusCode::NOT_FOUND, Bytes::from_static(b"404 page not found\n"))
}

pub(super) fn reply(status: StatusCode, body: Bytes) -> Reply {
    let length = HeaderValue::from(body.len());
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply.headers_mut().insert(CONTENT_LENGTH, length);
    reply
}
