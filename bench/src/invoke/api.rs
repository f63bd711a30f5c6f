//! Lambda's control plane, of Tinderbox and of whoever else has it.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::load::Target;

/// No server under comparison checks it; some read from its scope which service is meant.
const SCOPE: &str = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/us-east-1/lambda/aws4_request, \
                     SignedHeaders=host, Signature=00";

/// Where it is served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
}

impl Api {
    /// Makes a function whose handler is `index.handler`. `settings` are members of `CreateFunction`.
    pub(crate) async fn create(&self, name: &str, settings: Value, package: &[u8]) -> anyhow::Result<()> {
        let mut function = json!({
            "FunctionName": name,
            "Handler": "index.handler",
            "Role": "arn:aws:iam::000000000000:role/bench",
            "Code": { "ZipFile": BASE64.encode(package) },
        });
        for (key, value) in settings.as_object().into_iter().flatten() {
            function[key] = value.clone();
        }
        self.call("POST", "/2015-03-31/functions", &function).await.map(drop)
    }

    /// Opens a function URL to it.
    pub(crate) async fn url(&self, name: &str) -> anyhow::Result<Target> {
        let url =
            self.call("POST", &format!("/2021-10-31/functions/{name}/url"), &json!({ "AuthType": "NONE" })).await?;
        let url: http::Uri = url["FunctionUrl"].as_str().context("no FunctionUrl")?.parse()?;
        let host = url.authority().context("a function URL has a host")?.to_string();
        Ok(Target { address: self.address, host, path: "/".to_owned() })
    }

    /// One operation of Lambda; `null` for an answer without a body.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("content-type", "application/json")
            .header("authorization", SCOPE)
            .header("x-amz-date", "20260101T000000Z")
            .body(Full::new(body))?;
        let answer = client.request(request).await?;
        let (status, failed) = (answer.status(), answer.headers().contains_key("x-amz-function-error"));
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(status.is_success() && !failed, "{path}: {status} {}", String::from_utf8_lossy(&body));
        if body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&body)?) }
    }
}
