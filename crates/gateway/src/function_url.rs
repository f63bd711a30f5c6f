//! Requests to function URLs: `Host: <id>.lambda-url.<region>.<domain>` or the path `/_tinderbox/url/<id>/…`.
//!
//! Source: AWS Lambda developer guide, "Invoking Lambda function URLs".

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use wire::service::BoxFuture;
use wire::{ApiError, Cx};

/// A request to a function URL, whole and unparsed.
#[derive(Debug)]
pub struct UrlRequest {
    /// The id in the URL, lower case.
    pub url_id: String,
    /// HTTP method.
    pub method: Method,
    /// Path as the function sees it, still percent-encoded; without the prefix of the path form.
    pub raw_path: String,
    /// Query without the `?`.
    pub raw_query: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub protocol: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Who signed, for URLs with `AuthType: AWS_IAM`: anonymous without a signature, the refusal when it is bad.
    pub caller: Result<(), ApiError>,
    /// Request id, trace, source address, host, principal.
    pub cx: Cx,
}

/// Answers requests to function URLs: given by the binary, implemented by `lambda`.
pub type FunctionUrls = Arc<dyn Fn(UrlRequest) -> BoxFuture<Response<Bytes>> + Send + Sync>;
