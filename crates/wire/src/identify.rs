//! Which operation of a service a request asks for, once its service and protocol are known.

use http::request::Parts;

use crate::shape::{OperationName, Protocol, ServiceShape};
use crate::uri;

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

fn rest(service: &ServiceShape, parts: &Parts) -> Option<&'static OperationName> {
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    service
        .operations
        .iter()
        .filter(|operation| parts.method == operation.method)
        .filter_map(|operation| Some((uri::fits(operation.uri, path, query)?, operation)))
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
