//! Requests to function URLs: `Host: <id>.lambda-url.<region>.<domain>` or the path `/_tinderbox/url/<id>/…`.
//!
//! Source: AWS Lambda developer guide, "Invoking Lambda function URLs".

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Response};
use http_body::Body;
use wire::service::BoxFuture;
use wire::shape::Protocol;
use wire::{ApiError, Cx, Principal};

use crate::Gateway;
use crate::answers::signature_error;
use crate::authenticate::Caller;
use crate::body::{Share, Waiting};
use crate::exchange::Exchange;
use crate::limits::TooLarge;

/// The service that signatures to function URLs name in their scope.
const SIGNING_NAME: &str = "lambda";

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
    /// For URLs with `AuthType: AWS_IAM`: the refusal of a bad signature. `Ok` with a good one, and without one:
    /// then `cx.principal` is anonymous. URLs with `AuthType: NONE` need not look.
    pub caller: Result<(), ApiError>,
    /// Request id, trace, source address, host, principal. Account and region are the signature's, or the defaults.
    pub cx: Cx,
}

/// Answers requests to function URLs: given by the binary, implemented by `lambda`.
pub type FunctionUrls = Arc<dyn Fn(UrlRequest) -> BoxFuture<Response<wire::Body>> + Send + Sync>;

impl Gateway {
    /// Steps of a request to a function URL. What it answers is the function's business, also its errors.
    pub(crate) async fn call_url<B: Body<Data = Bytes>>(
        &self,
        exchange: &mut Exchange,
        head: &Parts,
        body: &Waiting<B>,
        url_id: String,
        raw_path: String,
    ) -> Result<Response<wire::Body>, ApiError> {
        exchange.name = format!("url {} {raw_path}", head.method);
        let absent = || ApiError::client("ResourceNotFoundException", 404, "There is no function URL here.");
        let function_urls = self.0.wiring.function_urls.clone().ok_or_else(absent)?;

        exchange.enter("receive");
        let mut share = Share::of(&self.0.bodies);
        let max = self.limits().function_url_body;
        let body = self.receive(body, max, ("function URL", TooLarge::DEFAULT), &mut share).await?;

        exchange.enter("verify");
        let authenticator = self.authenticator(&exchange.peer, head).await?;
        let verified = authenticator
            .admit(head, SIGNING_NAME, "")
            .and_then(|admission| authenticator.verify(admission, head, &body))
            .map_err(|error| signature_error(&error, Protocol::RestJson1));
        let (caller, refusal) = match verified {
            Ok(caller) => (caller, Ok(())),
            Err(error) => (self.stranger(), Err(error)),
        };

        exchange.enter("operate");
        let request = UrlRequest {
            url_id,
            method: head.method.clone(),
            raw_path,
            raw_query: head.uri.query().unwrap_or_default().to_owned(),
            protocol: format!("{:?}", head.version),
            headers: head.headers.clone(),
            body,
            caller: refusal,
            cx: self.context(exchange, &caller),
        };
        let running = sys::task::to_the_end("function URL", async move {
            let response = function_urls(request).await;
            drop(share);
            response
        });
        running.await.ok_or_else(|| ApiError::internal("the function URL's handler panicked"))
    }

    fn stranger(&self) -> Caller {
        let config = &self.0.config;
        let (account, region) = (config.account.clone(), config.default_region().to_owned());
        Caller { principal: Principal::Anonymous, account, region, objection: None }
    }
}
