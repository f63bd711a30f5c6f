//! What delivers: closures of the binary, which knows queues, functions and the network.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use wire::service::BoxFuture;

use crate::message::Attribute;

/// A message for a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToQueue {
    /// ARN of the queue.
    pub queue_arn: String,
    /// The message's body.
    pub body: String,
    /// Message attributes of raw deliveries; values of `Binary` are in base64.
    pub attributes: BTreeMap<String, Attribute>,
    /// Message group.
    pub group: Option<String>,
    /// Deduplication id, for FIFO queues.
    pub deduplication: Option<String>,
    /// X-Ray trace header: `AWSTraceHeader`.
    pub trace: Option<String>,
    /// On whose behalf: `sns.amazonaws.com` sends with this `aws:SourceArn`.
    pub topic_arn: String,
}

/// An event for a function, which is invoked asynchronously.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToFunction {
    /// ARN of the function, perhaps with a version or alias.
    pub function_arn: String,
    /// `{"Records": [{"EventSource": "aws:sns", …}]}`
    pub event: Bytes,
    /// On whose behalf.
    pub topic_arn: String,
    /// X-Ray trace header.
    pub trace: Option<String>,
}

/// A POST to a subscriber's URL.
#[derive(Clone, PartialEq, Eq)]
pub struct ToUrl {
    /// The account of the topic.
    pub account: String,
    /// `http://…` or `https://…`, perhaps with a user and password.
    pub url: String,
    /// Headers, `content-type` among them.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

impl ToUrl {
    /// The URL without user and password: fit for logs.
    pub fn shown_url(&self) -> String {
        let Some((scheme, rest)) = self.url.split_once("://") else { return self.url.clone() };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        format!("{scheme}://{}{path}", without_user(authority))
    }
}

fn without_user(authority: &str) -> &str {
    authority.rsplit('@').next().unwrap_or_default()
}

/// The host of a URL, without port, in one spelling.
pub(super) fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = without_user(rest.split(['/', '?', '#']).next().unwrap_or_default());
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    host.trim_end_matches('.').to_ascii_lowercase()
}

impl fmt::Debug for ToUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { headers, body, .. } = self;
        f.debug_struct("ToUrl").field("url", &self.shown_url()).field("headers", headers).field("body", body).finish()
    }
}

/// Why something was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It never will be: gone, not permitted, malformed (sem:N1, client-side errors).
    Permanent(String),
    /// It may be later.
    Transient(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permanent(reason) | Self::Transient(reason) => f.write_str(reason),
        }
    }
}

type To<T, R> = Arc<dyn Fn(T) -> BoxFuture<R> + Send + Sync>;

/// Where messages go.
#[derive(Clone)]
pub struct Targets {
    /// Sends to a queue, if its policy lets `sns.amazonaws.com` do so.
    pub queue: To<ToQueue, Result<(), Refusal>>,
    /// Invokes a function, if its policy lets `sns.amazonaws.com` do so.
    pub function: To<ToFunction, Result<(), Refusal>>,
    /// Posts to a URL, if the operator allows it; answers with the status.
    pub url: To<ToUrl, Result<u16, Refusal>>,
}

/// What an answer over HTTP means (developer guide, delivery retries: 5xx and 429 are tried again).
pub(super) fn judge(answer: Result<u16, Refusal>) -> Result<(), Refusal> {
    match answer? {
        200..=299 => Ok(()),
        status @ (429 | 500..=599) => Err(Refusal::Transient(format!("the endpoint answered {status}"))),
        status => Err(Refusal::Permanent(format!("the endpoint answered {status}"))),
    }
}
