//! A signed HTTP client of a running server: what the thin subcommands and `demo` speak through.

use std::path::PathBuf;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use sys::Clock;
use wire::sigv4::{Credential, Secret, Signer};

use crate::config;
use crate::root_key::RootKey;

/// Largest answer that the client reads, in bytes: a function's largest answer and some room.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// How to reach the server, and as whom.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The server
    #[arg(long, env = "TINDERBOX_ENDPOINT", default_value = "http://127.0.0.1:4566", value_name = "URL")]
    endpoint: String,

    /// The server's data folder, where its root key is read when no key is in the environment
    #[arg(long, env = "TINDERBOX_DATA", value_name = "DIR")]
    data: Option<PathBuf>,

    /// Region to sign for
    #[arg(long, env = "TINDERBOX_REGION", default_value = "us-east-1", value_name = "NAME")]
    region: String,
}

/// A client with its key.
#[derive(Clone)]
pub(crate) struct Client {
    http: HttpClient<HttpConnector, Full<Bytes>>,
    endpoint: String,
    region: String,
    access_key_id: String,
    credential: Credential,
    clock: Clock,
}

/// A server's answer, read whole.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    headers: http::HeaderMap,
}

impl Answer {
    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The answer itself when its status is 2xx.
    ///
    /// # Errors
    /// With the server's error code and message otherwise.
    pub(crate) fn success(self) -> anyhow::Result<Self> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let code = self.header("x-amzn-errortype").or_else(|| body["__type"].as_str()).unwrap_or("error").to_owned();
        let message = ["message", "Message"].iter().find_map(|name| body[name].as_str());
        let message = message.map_or_else(|| String::from_utf8_lossy(&self.body).into_owned(), str::to_owned);
        bail!("the server answered {} {code}: {message}", self.status)
    }
}

impl Client {
    /// A client that signs with the key of `TINDERBOX_ROOT_*`, of `AWS_*`, or of the data folder, whichever is found first.
    ///
    /// # Errors
    /// When no key is found anywhere.
    pub(crate) fn new(options: Options) -> anyhow::Result<Self> {
        let data = options.data.map_or_else(config::default_data, Ok)?;
        let from_aws = || {
            let read = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
            let (id, secret) = (read("AWS_ACCESS_KEY_ID")?, read("AWS_SECRET_ACCESS_KEY")?);
            Some(RootKey { access_key_id: id, secret_access_key: secret })
        };
        let key = match RootKey::from_environment()? {
            Some(key) => Some(key),
            None => from_aws().map_or_else(|| RootKey::kept(&data), |key| Ok(Some(key)))?,
        };
        let key = key.with_context(|| {
            format!(
                "no key: neither TINDERBOX_ROOT_ACCESS_KEY_ID nor AWS_ACCESS_KEY_ID is set, and {} holds none",
                data.display()
            )
        })?;
        Ok(Self::with_key(options.endpoint, options.region, &key))
    }

    /// A client with a given key.
    pub(crate) fn with_key(endpoint: String, region: String, key: &RootKey) -> Self {
        Self {
            http: HttpClient::builder(TokioExecutor::new()).build_http(),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            region,
            access_key_id: key.access_key_id.clone(),
            credential: Credential { secret: Secret::new(key.secret_access_key.clone()), session_token: None },
            clock: Clock::system(),
        }
    }

    /// The region that requests are signed for.
    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// One signed request to `service`; the answer whatever its status.
    ///
    /// # Errors
    /// When the server cannot be reached or its answer is larger than 64 MiB.
    pub(crate) async fn call(
        &self,
        service: &str,
        method: &str,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> anyhow::Result<Answer> {
        let mut request = self.request(method, path_and_query, headers, body)?;
        let uri = request.uri().clone();
        let body = request.body().clone();
        let signer =
            Signer { access_key_id: &self.access_key_id, credential: &self.credential, region: &self.region, service };
        let query = uri.query().unwrap_or_default();
        signer.sign_headers(method, uri.path(), query, request.headers_mut(), &body, self.clock.now());
        self.send(request).await
    }

    /// One unsigned request, such as to a function URL that is open to everyone.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub(crate) async fn call_unsigned(
        &self,
        method: &str,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> anyhow::Result<Answer> {
        self.send(self.request(method, path_and_query, headers, body)?).await
    }

    /// One operation of a service that speaks awsJson 1.1.
    ///
    /// # Errors
    /// As [`Client::call`], and when the server answers an error.
    pub(crate) async fn call_json(&self, service: &str, target: &str, input: &Value) -> anyhow::Result<Value> {
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)];
        let answer = self.call(service, "POST", "/", &headers, input.to_string().into_bytes()).await?.success()?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// One operation of a service that speaks awsQuery; the answer whatever its status.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub(crate) async fn call_form(&self, service: &str, form: &[(&str, &str)]) -> anyhow::Result<Answer> {
        let pairs: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", path_segment(value))).collect();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.call(service, "POST", "/", &headers, pairs.join("&").into_bytes()).await
    }

    /// One of the operator's requests, signed for Tinderbox itself; a null input sends no body.
    ///
    /// # Errors
    /// As [`Client::call`], and when the server answers an error.
    pub(crate) async fn administer(&self, method: &str, path: &str, input: &Value) -> anyhow::Result<Value> {
        let body = if input.is_null() { Vec::new() } else { input.to_string().into_bytes() };
        let answer = self.call("tinderbox", method, path, &[], body).await?.success()?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    fn request(
        &self,
        method: &str,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> anyhow::Result<Request<Bytes>> {
        let uri: Uri = format!("{}{path_and_query}", self.endpoint).parse().context("the endpoint is not a URL")?;
        let host = uri.authority().context("the endpoint names no host")?.to_string();
        let mut request =
            Request::builder().method(Method::from_bytes(method.as_bytes())?).uri(uri).header("host", host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(request.body(Bytes::from(body))?)
    }

    async fn send(&self, request: Request<Bytes>) -> anyhow::Result<Answer> {
        let answer = self.http.request(request.map(Full::new)).await;
        let answer =
            answer.with_context(|| format!("no server answers at {} (start one: tinderbox serve)", self.endpoint))?;
        let (parts, body) = answer.into_parts();
        let body = http_body_util::Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("the answer could not be read: {error}"))?.to_bytes();
        Ok(Answer { status: parts.status.as_u16(), body, headers: parts.headers })
    }
}

/// `text` as one segment of a path or one value of a query: all but RFC 3986's unreserved characters percent-encoded.
pub(crate) fn path_segment(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_encoded() {
        assert_eq!(path_segment("a-b_c.d~E9"), "a-b_c.d~E9");
        assert_eq!(path_segment("arn:aws:lambda/ä"), "arn%3Aaws%3Alambda%2F%C3%A4");
    }
}
