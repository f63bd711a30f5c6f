//! Which operation of a service a request asks for, once its service and protocol are known.

use http::request::Parts;

use crate::shape::{OperationName, Protocol, ServiceShape};
use crate::uri::{self, Specificity};

/// The operation's name and HTTP binding; `None` when the service has no such operation.
/// `body` is only looked at by the query protocol.
pub fn operation(
    protocol: Protocol,
    service: &ServiceShape,
    parts: &Parts,
    body: &[u8],
) -> Option<&'static OperationName> {
    match protocol {
        Protocol::AwsJson1_0 | Protocol::AwsJson1_1 => {
            let target = parts.headers.get("x-amz-target")?.to_str().ok()?;
            let (prefix, name) = target.rsplit_once('.')?;
            (prefix == service.target_prefix).then(|| named(service, name))?
        }
        Protocol::AwsQuery => named(service, &action(parts, body)?),
        Protocol::RestJson1 | Protocol::RestXml => rest(service, parts),
        // /service/<target prefix>/operation/<name>
        Protocol::RpcV2Cbor => named(service, parts.uri.path().rsplit_once("/operation/")?.1),
    }
}

/// An operation of that name.
pub fn named(service: &ServiceShape, name: &str) -> Option<&'static OperationName> {
    service.operations.iter().find(|operation| operation.name == name)
}

/// How well a REST operation fits a request to `path`, which may differ from the request's own (a bucket in the host
/// name); `None` when it does not.
pub fn fit(operation: &OperationName, parts: &Parts, path: &str) -> Option<Specificity> {
    let is_meant = parts.method == operation.method
        && (operation.header.is_empty() || parts.headers.contains_key(operation.header));
    let fits = is_meant.then(|| uri::fits(operation.uri, path, parts.uri.query().unwrap_or_default())).flatten()?;
    Some(if operation.header.is_empty() { fits } else { fits.and_a_header() })
}

fn rest(service: &ServiceShape, parts: &Parts) -> Option<&'static OperationName> {
    service
        .operations
        .iter()
        .filter_map(|operation| Some((fit(operation, parts, parts.uri.path())?, operation)))
        .max_by(|(one, _), (other, _)| one.cmp(other))
        .map(|(_, operation)| operation)
}

/// `Action` of a query request: in the query string or in the form.
fn action(parts: &Parts, body: &[u8]) -> Option<String> {
    let in_uri = parts.uri.query().and_then(find_action);
    in_uri.or_else(|| std::str::from_utf8(body).ok().and_then(find_action))
}

fn find_action(form: &str) -> Option<String> {
    let value = form.split('&').find_map(|pair| pair.strip_prefix("Action="))?;
    uri::percent_decode(value).map(std::borrow::Cow::into_owned)
}
