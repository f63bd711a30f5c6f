//! Requests of web pages from other origins: preflights, and what an answer says to the browser.
//!
//! Source: Fetch standard, "CORS protocol"; Amazon S3 user guide, "Using cross-origin resource sharing".

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response};
use wire::service::BoxFuture;
use wire::shape::Protocol;
use wire::{ApiError, Body};

use crate::Gateway;
use crate::exchange::Exchange;

/// What a browser asks: may a page of `origin` do this here?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsQuestion {
    /// The first segment of the path: the bucket.
    pub bucket: String,
    /// The page's origin, such as `https://example.com`.
    pub origin: String,
    /// The method that it wants to use.
    pub method: String,
    /// Headers that it wants to send, lower case; empty unless it is a preflight.
    pub headers: Vec<String>,
}

/// Answers the question with headers (names in lower case), or `None` when the page may not. Given by the binary,
/// implemented by the service whose resources have CORS rules.
pub type CorsRules = Arc<dyn Fn(CorsQuestion) -> BoxFuture<Option<Vec<(&'static str, String)>>> + Send + Sync>;

fn text(head: &Parts, name: HeaderName) -> Option<String> {
    head.headers.get(name)?.to_str().ok().map(str::to_owned)
}

impl Gateway {
    /// Steps of a preflight. Nobody signs these.
    pub(crate) async fn preflight(&self, exchange: &mut Exchange, head: &Parts) -> Result<Response<Body>, ApiError> {
        exchange.protocol = Protocol::RestXml;
        exchange.name = format!("preflight {}", head.uri.path());
        let refused = |code, status, message: &str| ApiError::client(code, status, message);
        let incomplete = || refused("BadRequest", 400, "Insufficient information. Origin request header needed.");
        let origin = text(head, ORIGIN).ok_or_else(incomplete)?;
        let method = text(head, ACCESS_CONTROL_REQUEST_METHOD)
            .ok_or_else(|| refused("BadRequest", 400, "Invalid Access-Control-Request-Method: null"))?;
        let headers = text(head, ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default();
        let headers = headers.split(',').map(|name| name.trim().to_ascii_lowercase());
        let headers = headers.filter(|name| !name.is_empty()).collect();
        let bucket = self.0.directory.bucket(head, &exchange.host);
        let answer = self.ask_cors(CorsQuestion { bucket, origin, method, headers }).await;
        let forbidden = || {
            let message = "CORSResponse: This CORS request is not allowed. This is usually because the evaluation of \
                           Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers \
                           are not whitelisted by the resource's CORS spec.";
            refused("AccessForbidden", 403, message)
        };
        let mut response = Response::new(Body::from(Bytes::new()));
        put(&mut response, answer.ok_or_else(forbidden)?);
        Ok(response)
    }

    /// Tells the browser whether the page may read this answer.
    pub(crate) async fn allow_origin(&self, exchange: &Exchange, head: &Parts, response: &mut Response<Body>) {
        let is_ours = exchange.protocol == Protocol::RestXml && head.method != Method::OPTIONS;
        let Some(origin) = text(head, ORIGIN).filter(|_| is_ours) else { return };
        let method = text(head, ACCESS_CONTROL_REQUEST_METHOD).unwrap_or_else(|| head.method.to_string());
        let bucket = self.0.directory.bucket(head, &exchange.host);
        if let Some(headers) = self.ask_cors(CorsQuestion { bucket, origin, method, headers: Vec::new() }).await {
            put(response, headers);
        }
    }

    async fn ask_cors(&self, question: CorsQuestion) -> Option<Vec<(&'static str, String)>> {
        match &self.0.wiring.cors {
            Some(rules) if !question.bucket.is_empty() => rules(question).await,
            _ => None,
        }
    }
}

fn put(response: &mut Response<Body>, headers: Vec<(&'static str, String)>) {
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    let vary = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";
    response.headers_mut().insert(VARY, HeaderValue::from_static(vary));
}
