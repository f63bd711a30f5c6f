//! Which service and which operation a request is for.
//!
//! Promise wire:W1, in this order: what the platform itself answers (`/_tinderbox/…`, function URLs) → the service in the
//! signature's scope → `X-Amz-Target` → `smithy-protocol` → `Action=` → host → path.

use http::HeaderMap;
use http::request::Parts;
use wire::shape::{OperationName, Protocol, ServiceShape};
use wire::sigv4::{percent_decode, query_pairs};
use wire::uri::Specificity;
use wire::{ApiError, Service};

use crate::post_form::is_form;

/// Where the admin routes and the path form of function URLs live.
pub(crate) const ADMIN_PREFIX: &str = "/_tinderbox/";
const URL_PREFIX: &str = "/_tinderbox/url/";

const REST: [Protocol; 2] = [Protocol::RestJson1, Protocol::RestXml];

/// What a request is for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// `/_tinderbox/…`
    Admin,
    /// An upload by an HTML form, to the service at that place.
    Form { known: usize },
    /// A browser asks what a page may do with a bucket.
    Preflight,
    /// `GET /` or `HEAD /` without a signature: somebody looks whether we live (wire:W2).
    Probe,
    /// A function URL: its id and the path that the function sees.
    FunctionUrl { id: String, path: String },
    /// An operation of a known service.
    Operation { known: usize, protocol: Protocol, operation: &'static OperationName },
    /// A form whose body names the operation; to be asked again with the body.
    InBody { candidates: Vec<usize> },
    /// A known service, but no operation of it.
    UnknownOperation { known: usize, protocol: Protocol, operation: String },
    /// A service whose model we do not have.
    UnknownService { name: String, protocol: Protocol },
    /// Nothing says what it is for.
    Unidentified { protocol: Protocol },
}

/// A service by its model, and its table if it is served.
pub(crate) struct Known {
    pub(crate) shape: &'static ServiceShape,
    pub(crate) service: Option<Service>,
}

impl Known {
    fn speaks(&self, protocol: Protocol) -> bool {
        self.shape.protocols.contains(&protocol)
    }

    /// Whether its paths begin with a label: any path may be one of them.
    fn takes_any_path(&self) -> bool {
        self.speaks(Protocol::RestXml)
    }

    /// The protocol of requests in that family; the service's first one when it speaks none of them.
    fn protocol(&self, family: &[Protocol]) -> Protocol {
        let spoken = family.iter().find(|protocol| self.speaks(**protocol));
        *spoken.or(self.shape.protocols.first()).unwrap_or(&Protocol::RestJson1)
    }
}

/// All services that a request can be for.
pub(crate) struct Directory {
    known: Vec<Known>,
    /// With a dot before them: what may follow a bucket in a host name.
    domains: Vec<String>,
}

impl Directory {
    /// The served services, and those that are only known.
    pub(crate) fn new(services: &[Service], known: &'static [&'static ServiceShape], domain: &str) -> Self {
        let served = services.iter().map(|service| (service.shape, Some(service.clone())));
        let unserved = known.iter().filter(|shape| !services.iter().any(|service| service.shape.name == shape.name));
        let all = served.chain(unserved.map(|shape| (*shape, None)));
        let known = all.map(|(shape, service)| Known { shape, service }).collect();
        let mut domains = vec![".localhost".to_owned(), format!(".{}", domain.to_ascii_lowercase())];
        domains.dedup();
        Self { known, domains }
    }

    pub(crate) fn known(&self, at: usize) -> &Known {
        &self.known[at]
    }

    /// What the request is for, from everything but its body.
    pub(crate) fn identify(&self, head: &Parts, host: &str) -> Target {
        let path = head.uri.path();
        if let Some((id, path)) = url_of_path(path) {
            return Target::FunctionUrl { id, path };
        }
        if path.starts_with(ADMIN_PREFIX) {
            return Target::Admin;
        }
        if let Some(id) = url_of_host(host) {
            return Target::FunctionUrl { id, path: path.to_owned() };
        }
        match self.any_path() {
            Some(_) if head.method == http::Method::OPTIONS => return Target::Preflight,
            Some(known) if is_form(head) && self.is_bucket(head, host) => return Target::Form { known },
            _ => {}
        }
        let scope = scope_of(head);
        let all = || (0..self.known.len()).collect::<Vec<_>>();
        let Some(scope) = scope else {
            let by_host = self.by_host(host);
            // At S3's own host any path is a stranger's for a public bucket.
            let elsewhere = by_host.filter(|at| !self.known[*at].takes_any_path());
            return self
                .operation(&all(), head, host, None)
                .or_else(|| elsewhere.map(|at| self.unknown_operation(at, head)))
                .or_else(|| self.of_strangers(head, host))
                .or_else(|| by_host.map(|at| self.unknown_operation(at, head)))
                .unwrap_or_else(|| unidentified(head, path));
        };
        let candidates: Vec<usize> =
            all().into_iter().filter(|at| self.known[*at].shape.signing_name == scope).collect();
        if let Some(target) = self.operation(&candidates, head, host, None) {
            return target;
        }
        // Signed for one service, sent to another: found here so that the signature check can say so.
        let elsewhere = self.operation(&all(), head, host, None);
        match (candidates.first(), elsewhere) {
            (_, Some(target)) if is_named(head) => target,
            (Some(at), _) => self.unknown_operation(*at, head),
            (None, Some(target)) if !matches!(target, Target::UnknownOperation { .. }) && scope != "s3" => target,
            (None, _) => Target::UnknownService { name: scope, protocol: guess(head) },
        }
    }

    /// Completes [`Target::InBody`] with the body's form.
    pub(crate) fn identify_in_body(&self, candidates: &[usize], head: &Parts, host: &str, body: &[u8]) -> Target {
        let form = String::from_utf8_lossy(body);
        self.operation(candidates, head, host, Some(&form))
            .unwrap_or(Target::Unidentified { protocol: Protocol::AwsQuery })
    }

    fn operation(&self, candidates: &[usize], head: &Parts, host: &str, form: Option<&str>) -> Option<Target> {
        self.by_target_header(candidates, head)
            .or_else(|| self.by_smithy_protocol(candidates, head))
            .or_else(|| self.by_action(candidates, head, form))
            .or_else(|| self.by_path(candidates, head, host))
    }

    fn named(&self, at: usize, protocol: Protocol, name: &str) -> Target {
        match wire::identify::named(self.known[at].shape, name) {
            Some(operation) => Target::Operation { known: at, protocol, operation },
            None => Target::UnknownOperation { known: at, protocol, operation: name.to_owned() },
        }
    }

    fn by_target_header(&self, candidates: &[usize], head: &Parts) -> Option<Target> {
        let (prefix, name) = text(&head.headers, "x-amz-target")?.rsplit_once('.')?;
        let at = *candidates.iter().find(|at| {
            let known = &self.known[**at];
            known.shape.target_prefix == prefix
                && (known.speaks(Protocol::AwsJson1_0) || known.speaks(Protocol::AwsJson1_1))
        })?;
        let newer_first = [Protocol::AwsJson1_1, Protocol::AwsJson1_0];
        let older_first = [Protocol::AwsJson1_0, Protocol::AwsJson1_1];
        let content_type = text(&head.headers, "content-type").unwrap_or("");
        let family = if content_type.starts_with("application/x-amz-json-1.1") { newer_first } else { older_first };
        Some(self.named(at, self.known[at].protocol(&family), name))
    }

    fn by_smithy_protocol(&self, candidates: &[usize], head: &Parts) -> Option<Target> {
        text(&head.headers, "smithy-protocol").filter(|protocol| *protocol == "rpc-v2-cbor")?;
        let (prefix, name) = head.uri.path().strip_prefix("/service/")?.split_once("/operation/")?;
        let at = *candidates.iter().find(|at| {
            let known = &self.known[**at];
            known.speaks(Protocol::RpcV2Cbor) && (known.shape.target_prefix == prefix || candidates.len() == 1)
        })?;
        Some(self.named(at, Protocol::RpcV2Cbor, name))
    }

    fn by_action(&self, candidates: &[usize], head: &Parts, form: Option<&str>) -> Option<Target> {
        let query = head.uri.query().unwrap_or("");
        let is_form =
            text(&head.headers, "content-type").is_some_and(|t| t.starts_with("application/x-www-form-urlencoded"));
        let speakers: Vec<usize> =
            candidates.iter().copied().filter(|at| self.known[*at].speaks(Protocol::AwsQuery)).collect();
        if speakers.is_empty() {
            return None;
        }
        let field = |name| form_field(query, name).or_else(|| form_field(form?, name));
        let Some(action) = field("Action") else {
            let may_be_in_body = form.is_none() && is_form && head.method == http::Method::POST;
            return may_be_in_body.then_some(Target::InBody { candidates: speakers });
        };
        let version = field("Version");
        let has = |at: &&usize| wire::identify::named(self.known[**at].shape, &action).is_some();
        let of_version = |at: &&usize| version.as_deref().is_none_or(|v| v == self.known[**at].shape.api_version);
        let exact = speakers.iter().find(|at| has(at) && of_version(at));
        let at = *exact.or_else(|| speakers.iter().find(has)).or(speakers.first().filter(|_| speakers.len() == 1))?;
        Some(self.named(at, Protocol::AwsQuery, &action))
    }

    fn by_path(&self, candidates: &[usize], head: &Parts, host: &str) -> Option<Target> {
        let path = head.uri.path();
        let mut best: Option<(Specificity, usize, &'static OperationName)> = None;
        for &at in candidates {
            let known = &self.known[at];
            if !REST.iter().any(|protocol| known.speaks(*protocol)) {
                continue;
            }
            let in_bucket = self.path_in_bucket(known, head, host);
            let path = in_bucket.as_deref().unwrap_or(path);
            // Only a signature or a bucket host makes a bare path an object's path.
            let anything_goes = candidates.len() == 1 || in_bucket.is_some();
            for operation in known.shape.operations {
                if !(anything_goes || starts_literally(operation.uri)) {
                    continue;
                }
                let Some(fit) = wire::identify::fit(operation, head, path) else { continue };
                if best.as_ref().is_none_or(|(best, ..)| fit > *best) {
                    best = Some((fit, at, operation));
                }
            }
        }
        let (_, known, operation) = best?;
        Some(Target::Operation { known, protocol: self.known[known].protocol(&REST), operation })
    }

    /// What nobody signed and no other service's path fits may be for a public bucket (wire:W1: path comes last).
    fn of_strangers(&self, head: &Parts, host: &str) -> Option<Target> {
        let at = self.any_path()?;
        let is_bare = head.uri.path() == "/" && self.bucket_of(head, host).is_none();
        (!is_bare).then(|| self.by_path(&[at], head, host).unwrap_or_else(|| self.unknown_operation(at, head)))
    }

    /// The served service whose paths may be anything.
    fn any_path(&self) -> Option<usize> {
        self.known.iter().position(|known| known.takes_any_path() && known.service.is_some())
    }

    /// Whether the path is a bucket's own. At another service's host it is none, whatever the path looks like: the host
    /// may as well mean a bucket of that name.
    fn is_bucket(&self, head: &Parts, host: &str) -> bool {
        let path = head.uri.path().trim_matches('/');
        let is_ours = |at: usize| self.known[at].takes_any_path();
        match self.bucket_of(head, host) {
            Some(_) => path.is_empty(),
            None => self.by_host(host).is_none_or(is_ours) && !path.is_empty() && !path.contains('/'),
        }
    }

    /// The bucket in the `Host` header, if there is one.
    pub(crate) fn bucket_in_host(&self, head: &Parts) -> Option<String> {
        let host = text(&head.headers, "host")?;
        self.any_path().and_then(|_| self.bucket_of(head, host)).map(str::to_owned)
    }

    /// The bucket that the request is about, as sent; empty when there is none.
    pub(crate) fn bucket(&self, head: &Parts, host: &str) -> String {
        let in_path = || head.uri.path().trim_start_matches('/').split('/').next().unwrap_or_default();
        self.bucket_of(head, host).unwrap_or_else(in_path).to_owned()
    }

    /// The path with the bucket that the host names before it; `None` when it names none.
    fn path_in_bucket(&self, known: &Known, head: &Parts, host: &str) -> Option<String> {
        let bucket = if known.takes_any_path() { self.bucket_of(head, host) } else { None };
        bucket.map(|bucket| format!("/{bucket}{}", head.uri.path()))
    }

    /// Gives the request the path that its operation's template is about. The signature was made with the old one.
    ///
    /// # Errors
    /// `InvalidURI`, 400, when host and path do not make one.
    pub(crate) fn settle_path(&self, known: &Known, head: &mut Parts, host: &str) -> Result<(), ApiError> {
        let Some(mut target) = self.path_in_bucket(known, head, host) else { return Ok(()) };
        if let Some(query) = head.uri.query() {
            target.push('?');
            target.push_str(query);
        }
        let unparsable = |_| ApiError::client("InvalidURI", 400, "Couldn't parse the specified URI.");
        head.uri = target.parse().map_err(unparsable)?;
        Ok(())
    }

    /// `bucket` of `bucket.s3.<anything>`, `bucket.s3-<region>.<anything>` or `bucket.<our domain>`; bucket names may
    /// hold dots, and `s3.<our domain>` is none. At `logs.<our domain>` only a signature for S3 means a bucket: the name
    /// is a service's as well.
    fn bucket_of<'h>(&self, head: &Parts, host: &'h str) -> Option<&'h str> {
        let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        let name = name.map_or(host, |(name, _)| name);
        if let Some(at) = name.find(".s3.").or_else(|| name.find(".s3-")) {
            return (at > 0).then(|| &name[..at]);
        }
        let bucket = self.domains.iter().find_map(|domain| name.strip_suffix(domain.as_str()))?;
        let label = bucket.split('.').next().unwrap_or_default();
        let is_service = self.known.iter().any(|known| known.shape.endpoint_prefix == label);
        let is_s3 = label.is_empty() || label == "s3" || label.starts_with("s3-");
        (!is_s3 && (!is_service || is_signed_for_s3(head))).then_some(bucket)
    }

    fn by_host(&self, host: &str) -> Option<usize> {
        let label = host.split('.').next()?;
        self.known.iter().position(|known| host.contains('.') && known.shape.endpoint_prefix == label)
    }

    fn unknown_operation(&self, at: usize, head: &Parts) -> Target {
        let known = &self.known[at];
        let protocol = match guess(head) {
            guessed if known.speaks(guessed) => guessed,
            _ => known.protocol(&[]),
        };
        Target::UnknownOperation { known: at, protocol, operation: format!("{} {}", head.method, head.uri.path()) }
    }
}

/// Whether a URI template begins with a fixed segment, as all but S3's do.
fn starts_literally(uri: &str) -> bool {
    uri != "/" && !uri.starts_with("/{") && !uri.starts_with("/?")
}

/// Whether the request names its operation itself, instead of by its path.
fn is_named(head: &Parts) -> bool {
    head.headers.contains_key("x-amz-target") || head.headers.contains_key("smithy-protocol")
}

fn unidentified(head: &Parts, path: &str) -> Target {
    let looks_only = head.method == http::Method::GET || head.method == http::Method::HEAD;
    if looks_only && path == "/" && head.uri.query().is_none() {
        return Target::Probe;
    }
    Target::Unidentified { protocol: guess(head) }
}

/// The protocol that a request looks like, for the shape of errors.
fn guess(head: &Parts) -> Protocol {
    let content_type = text(&head.headers, "content-type").unwrap_or("");
    match content_type {
        _ if head.headers.contains_key("smithy-protocol") => Protocol::RpcV2Cbor,
        t if t.starts_with("application/x-amz-json-1.0") => Protocol::AwsJson1_0,
        t if t.starts_with("application/x-amz-json") || head.headers.contains_key("x-amz-target") => {
            Protocol::AwsJson1_1
        }
        t if t.starts_with("application/x-www-form-urlencoded") => Protocol::AwsQuery,
        _ if form_field(head.uri.query().unwrap_or(""), "Action").is_some() => Protocol::AwsQuery,
        _ if scope_service(&head.headers, head.uri.query().unwrap_or("")).as_deref() == Some("s3") => Protocol::RestXml,
        _ => Protocol::RestJson1,
    }
}

/// `key/date/region/service/aws4_request` of a header or query signature, unverified.
pub(crate) fn scope(headers: &HeaderMap, query: &str) -> Option<String> {
    match text(headers, "authorization").filter(|value| value.starts_with("AWS4-")) {
        Some(value) => {
            let (_, scope) = value.split_once("Credential=")?;
            scope.split([',', ' ']).next().map(str::to_owned)
        }
        None => form_field(query, "X-Amz-Credential"),
    }
}

/// Signature version 2, which only S3 still meets: in the header or, presigned, in the query.
pub(crate) fn is_signed_as_of_old(head: &Parts) -> bool {
    let query = head.uri.query().unwrap_or_default();
    text(&head.headers, "authorization").is_some_and(|value| value.starts_with("AWS "))
        || (form_field(query, "AWSAccessKeyId").is_some() && form_field(query, "Signature").is_some())
}

/// The access key id that a signature of either version names, unverified; empty for none.
pub(crate) fn access_key_id(head: &Parts) -> String {
    let query = head.uri.query().unwrap_or_default();
    let named = scope(&head.headers, query).and_then(|scope| scope.split('/').next().map(str::to_owned));
    let of_old = || {
        let header = text(&head.headers, "authorization")?.strip_prefix("AWS ")?;
        header.trim().split_once(':').map(|(key, _)| key.to_owned())
    };
    named.or_else(of_old).or_else(|| form_field(query, "AWSAccessKeyId")).unwrap_or_default()
}

/// The service that the signature is for.
fn scope_of(head: &Parts) -> Option<String> {
    let scope = scope_service(&head.headers, head.uri.query().unwrap_or(""));
    scope.or_else(|| is_signed_as_of_old(head).then(|| "s3".to_owned()))
}

fn is_signed_for_s3(head: &Parts) -> bool {
    scope_of(head).as_deref() == Some("s3")
}

fn scope_service(headers: &HeaderMap, query: &str) -> Option<String> {
    scope(headers, query)?.split('/').nth(3).map(str::to_owned)
}

/// `<id>.lambda-url.<anything>`
fn url_of_host(host: &str) -> Option<String> {
    let (id, rest) = host.split_once(".lambda-url.")?;
    (is_url_id(id) && !rest.is_empty()).then(|| id.to_ascii_lowercase())
}

/// `/_tinderbox/url/<id>` or `/_tinderbox/url/<id>/…`, and the rest of the path.
fn url_of_path(path: &str) -> Option<(String, String)> {
    let rest = path.strip_prefix(URL_PREFIX)?;
    let (id, path) = rest.split_once('/').map_or((rest, ""), |(id, path)| (id, path));
    is_url_id(id).then(|| (id.to_ascii_lowercase(), format!("/{path}")))
}

fn is_url_id(id: &str) -> bool {
    (1..=63).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn form_field(form: &str, wanted: &str) -> Option<String> {
    let (_, value) = query_pairs(form).find(|(name, _)| *name == wanted)?;
    Some(String::from_utf8_lossy(&percent_decode(value, true)).into_owned())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests;
