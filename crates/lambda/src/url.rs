//! Function URLs: an HTTP request in, an HTTP response out.
//!
//! ```text
//!  Host: ID.lambda-url.REGION.… ─► owner of ID ─► preflight? ─► AuthType ─► event.rs ─► data plane ─► result.rs ─► CORS
//!                                     403            200          403         413        429, 502       502
//! ```
//! With `InvokeMode: RESPONSE_STREAM`, `streamed.rs` stands in the place of `result.rs`: the answer leaves while it is written.
//!
//! Source: AWS Lambda developer guide, "Invoking Lambda function URLs", "Security and auth model".

pub mod cors;
pub mod event;
pub mod result;
mod streamed;

use std::sync::Arc;

use blob::BlobError;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use wire::{AccountId, Arn, Body, Cx, Principal};

use crate::error::LambdaError;
use crate::function::FunctionVersion;
use crate::invoke::{Invocation, InvokeError, InvokeOutcome, PAYLOAD_BYTES_MAX, StreamSink};
use crate::keys::{self, Key, UrlAuth, UrlOwner, UrlRecord};
use crate::name::FunctionName;
use crate::package::PackageError;
use crate::state::Lambda;
use event::{Caller, EventContext};

/// What stands behind a URL's id.
struct Target {
    /// The function's account and region, and the rest of the request's context.
    cx: Cx,
    name: FunctionName,
    url: UrlRecord,
}

/// A request that may run.
struct Prepared {
    version: Arc<FunctionVersion>,
    invocation: Invocation,
    /// `InvokeMode` is `RESPONSE_STREAM`.
    streams: bool,
}

impl Lambda {
    /// Serves a request to the function URL with the id `id`. The body is limited to 6 MB by the caller or here.
    ///
    /// `cx` is the request's: its principal decides over `AWS_IAM` URLs; account and region are the function's, whatever it says.
    pub async fn serve_url(&self, id: &str, cx: Cx, request: Request<Bytes>) -> Response<Body> {
        let mut response = match self.target(id, &cx).await {
            Ok(Some(target)) => self.serve_target(target, request).await,
            // Forbidden and not absent: whether a URL exists is nobody's business. The shape is AWS's.
            Ok(None) => {
                let mut response = result::refusal(StatusCode::FORBIDDEN, r#"{"Message":null}"#);
                let kind = HeaderValue::from_static("AccessDeniedException");
                response.headers_mut().insert("x-amzn-errortype", kind);
                response.map(Body::from)
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    url_id = id,
                    "a function URL cannot be served"
                );
                result::bad_gateway().map(Body::from)
            }
        };
        for (name, value) in [("x-amzn-requestid", cx.request_id), ("x-amzn-trace-id", cx.trace.header())] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    /// The zip file behind a `Code.Location` link, `/_tinderbox/code/TOKEN`; `None` when the link is forged or
    /// expired, or the package has gone.
    ///
    /// # Errors
    /// `ServiceException` when the package cannot be read.
    pub async fn code_download(&self, token: &str) -> Result<Option<Bytes>, LambdaError> {
        match self.code_links.open(token, self.clock.now()) {
            Some(code) => match self.packages.zip(&code).await {
                Ok(zip) => Ok(Some(zip)),
                // Its function has gone meanwhile, and the package with it.
                Err(PackageError::Blob(BlobError::NotFound(_))) => Ok(None),
                Err(error) => Err(error.into()),
            },
            None => Ok(None),
        }
    }

    async fn target(&self, id: &str, cx: &Cx) -> Result<Option<Target>, LambdaError> {
        let read = self.kv.read(|tx| async move {
            let Some(owner) = keys::get::<UrlOwner>(&tx, &Key::UrlOwner { id }).await? else { return Ok(None) };
            let UrlOwner { account, region, name, alias } = owner;
            let Some(account) = AccountId::parse(&account) else { return Ok(None) };
            let cx = Cx { account, region, ..cx.clone() };
            let name = FunctionName { name, qualifier: alias };
            let url = keys::get(&tx, &Key::Url(name.place(&cx), name.qualifier.as_deref())).await?;
            Ok::<_, LambdaError>(url.map(|url| Target { cx, name, url }))
        });
        read.await
    }

    async fn serve_target(&self, target: Target, request: Request<Bytes>) -> Response<Body> {
        let cors = target.url.cors.as_ref();
        if let Some(answer) = cors.and_then(|cors| cors.preflight(&request)) {
            return answer.map(Body::from);
        }
        let origin = request.headers().get(header::ORIGIN).cloned();
        let cors = target.url.cors.clone();
        let mut response = match self.prepare(target, &request).await {
            Ok(prepared) => self.invoke_target(prepared).await,
            Err(refusal) => refusal.map(Body::from),
        };
        if let Some(cors) = cors {
            cors.apply(origin.as_ref(), response.headers_mut());
        }
        response
    }

    /// What the request asks the function; the platform's own answer when it may not or cannot.
    async fn prepare(&self, target: Target, request: &Request<Bytes>) -> Result<Prepared, Response<Bytes>> {
        let Target { cx, name, url } = target;
        let caller = caller(&cx.principal);
        let arn = name.qualified_arn(&cx);
        if let Err(refusal) = self.may_call_url(&cx, &arn, url.auth).await {
            if refusal.internal.is_some() {
                tracing::error!(%refusal, arn, "whether a function URL may be called cannot be told");
                return Err(result::bad_gateway());
            }
            return Err(result::refusal(StatusCode::FORBIDDEN, r#"{"Message":"Forbidden"}"#));
        }
        let context = EventContext {
            url_id: &url.id,
            request_id: &cx.request_id,
            now: self.clock.now(),
            source_ip: cx.source_ip,
            caller: caller.filter(|_| url.auth == UrlAuth::AwsIam),
            trace_header: &cx.trace.header(),
        };
        let too_large = || result::refusal(StatusCode::PAYLOAD_TOO_LARGE, r#"{"Message":"Request Entity Too Large"}"#);
        if request.body().len() > PAYLOAD_BYTES_MAX {
            return Err(too_large());
        }
        let payload = event::encode(request, &context);
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(too_large());
        }
        let (version, trace) = match self.version_to_run(&cx, &name, cx.trace.clone()).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, arn, "a function behind a URL cannot run");
                return Err(result::bad_gateway());
            }
        };
        let invocation = Invocation {
            request_id: cx.request_id.clone(),
            payload,
            client_context: None,
            cognito_identity: None,
            tenant_id: None,
            invoked_arn: arn,
            trace,
            stream: None,
            wants_log: false,
        };
        Ok(Prepared { version, invocation, streams: url.streams })
    }

    async fn invoke_target(&self, prepared: Prepared) -> Response<Body> {
        let Prepared { version, mut invocation, streams } = prepared;
        if streams {
            let (sink, parts) = StreamSink::new();
            invocation.stream = Some(sink);
            return streamed::answer(self.plane.invoke(version, invocation), parts, self.clock.clone()).await;
        }
        let response = match self.plane.invoke(version, invocation).await {
            Ok(outcome) if outcome.function_error.is_none() => result::decode(&outcome.payload),
            outcome => failed(outcome),
        };
        response.map(Body::from)
    }
}

/// The answer when the function failed or did not run.
fn failed(outcome: Result<InvokeOutcome, InvokeError>) -> Response<Bytes> {
    match outcome {
        Ok(_) => result::bad_gateway(),
        Err(InvokeError::TooManyRequests { .. }) => {
            result::refusal(StatusCode::TOO_MANY_REQUESTS, r#"{"Message":"Too Many Requests"}"#)
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a function behind a URL did not run");
            result::bad_gateway()
        }
    }
}

/// Who signed, as the event tells it.
fn caller(principal: &Principal) -> Option<Caller> {
    let account = match principal {
        Principal::Anonymous => return None,
        Principal::Function { function_arn } => Arn::parse(function_arn)?.account,
        signed => signed.account()?.to_string(),
    };
    let (arn, id) = (principal.arn(), principal.user_id());
    Some(Caller { access_key: None, account_id: account, caller_id: id.clone(), user_arn: arn, user_id: id })
}
