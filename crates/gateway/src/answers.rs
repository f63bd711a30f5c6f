//! Answers that no handler gives: refusals, probes, and what every answer carries.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, DATE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use wire::shape::{Protocol, ServiceShape};
use wire::sigv4::{ErrorStyle, SigV4Error};
use wire::{ApiError, Body, Fault, Value, protocol};

use crate::answer_body::AnswerBody;
use crate::body::BodyError;
use crate::exchange::Exchange;
use crate::identify::Target;
use crate::limits::TooLarge;
use crate::{Auth, Gateway};

const AUTH_MODE: HeaderName = HeaderName::from_static("x-tinderbox-auth");
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// Stands for the service in errors of requests that are for none.
static NO_SERVICE: ServiceShape = ServiceShape {
    name: "tinderbox",
    signing_name: "tinderbox",
    endpoint_prefix: "",
    target_prefix: "",
    api_version: "",
    xml_namespace: "",
    protocols: &[],
    query_compatible: false,
    validation_code: "ValidationException",
    operations: &[],
};

/// An error in the request's protocol; what happened inside goes to the log only.
pub(crate) fn error(exchange: &Exchange, head: &Parts, error: &mut ApiError) -> Response<Body> {
    let (request_id, name) = (&exchange.request_id, &exchange.name);
    if error.internal.is_some() {
        tracing::error!(%request_id, name, %error, "a request failed inside");
    } else {
        tracing::debug!(%request_id, name, %error, "a request was refused");
    }
    if exchange.protocol == Protocol::RestXml {
        error.members.push(("Resource", Value::String(head.uri.path().to_owned())));
    }
    let service = exchange.shape.unwrap_or(&NO_SERVICE);
    let answer = protocol::encode_error(exchange.protocol, service, exchange.operation, request_id, error);
    // wire:W16: nothing that a HEAD answers has a body, whatever its operation.
    answer.map(|body| if head.method == Method::HEAD { Body::empty() } else { Body::from(body) })
}

/// A refused signature in the words of the service's family.
pub(crate) fn signature_error(error: &SigV4Error, protocol: Protocol) -> ApiError {
    error.to_api_error(match protocol {
        Protocol::RestJson1 => ErrorStyle::RestJson,
        Protocol::AwsJson1_0 | Protocol::AwsJson1_1 | Protocol::RpcV2Cbor => ErrorStyle::AwsJson,
        Protocol::AwsQuery => ErrorStyle::Query,
        Protocol::RestXml => ErrorStyle::S3,
    })
}

/// A body that was not taken.
pub(crate) fn body_error(error: BodyError, limit: u64, operation: &str, too_large: TooLarge) -> ApiError {
    match error {
        BodyError::TooLarge => {
            let message = format!("Request must be smaller than {limit} bytes for the {operation} operation");
            ApiError::client(too_large.code, too_large.status, message)
        }
        BodyError::TooSlow => ApiError::client("RequestTimeout", 408, "The request's body did not arrive in time."),
        BodyError::NoMemory => {
            let message = "Too much is being uploaded at once. Please reduce your request rate.";
            ApiError { fault: Fault::Server, ..ApiError::client("ServiceUnavailable", 503, message) }
        }
        BodyError::Broken => ApiError::client("IncompleteBody", 400, "The request's body ended early."),
    }
}

/// `application/json`
pub(crate) fn json(status: StatusCode, body: &serde_json::Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl Gateway {
    /// Requests that reach no operation.
    pub(crate) fn unserved(&self, exchange: &mut Exchange, target: Target) -> Result<Response<Bytes>, ApiError> {
        let unknown = |name: &str| {
            let message = format!("The operation {name} is not known.");
            ApiError::client("UnknownOperationException", 404, message)
        };
        match target {
            Target::Probe => {
                let version = self.0.config.version;
                Ok(json(StatusCode::OK, &serde_json::json!({"service": "tinderbox", "version": version})))
            }
            Target::UnknownOperation { known, protocol, operation } => {
                let shape = self.0.directory.known(known).shape;
                exchange.shape = Some(shape);
                exchange.protocol = protocol;
                if protocol == Protocol::RestXml {
                    let message = "The specified method is not allowed against this resource.";
                    return Err(ApiError::client("MethodNotAllowed", 405, message));
                }
                if protocol == Protocol::AwsQuery {
                    let version = shape.api_version;
                    let message = format!("Could not find operation {operation} for version {version}");
                    return Err(ApiError::client("InvalidAction", 400, message));
                }
                Err(unknown(&format!("{operation} of the service {}", shape.name)))
            }
            Target::UnknownService { name, protocol } => {
                exchange.protocol = protocol;
                let message = format!("The service {name} is not implemented by Tinderbox.");
                Err(ApiError { fault: Fault::Server, ..ApiError::client("NotImplemented", 501, message) })
            }
            Target::Unidentified { protocol } if exchange.is_signed => {
                exchange.protocol = protocol;
                Err(unknown(&exchange.name))
            }
            Target::Unidentified { protocol } => {
                exchange.protocol = protocol;
                Err(signature_error(&SigV4Error::Missing, protocol))
            }
            Target::Admin
            | Target::Form { .. }
            | Target::Preflight
            | Target::FunctionUrl { .. }
            | Target::Operation { .. }
            | Target::InBody { .. } => {
                Err(ApiError::internal("a request that is served was taken for one that is not"))
            }
        }
    }

    /// What every answer carries: one request id, one `Date` (hyper's; wire:W17), the trace, the mode.
    pub(crate) fn finish(&self, exchange: &Exchange, response: Response<Body>) -> Response<AnswerBody> {
        let mut response = response.map(AnswerBody::new);
        let headers = response.headers_mut();
        headers.remove(DATE);
        for (name, text) in [(protocol::REQUEST_ID, &exchange.request_id), (TRACE_ID, &exchange.trace_header())] {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        }
        if exchange.must_close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if self.0.config.auth == Auth::Permissive {
            headers.insert(AUTH_MODE, HeaderValue::from_static("permissive"));
        }
        response
    }
}
