//! A client of the Lambda Runtime API (AWS Lambda developer guide, "Using the Lambda runtime API") in plain HTTP/1.1.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use anyhow::{Context, bail};
use serde_json::{Value, json};

/// Where the platform listens.
pub(crate) struct RuntimeApi {
    address: String,
}

/// One event to handle.
pub(crate) struct Invocation {
    pub(crate) request_id: String,
    pub(crate) event: Vec<u8>,
}

struct Answer {
    status: u16,
    request_id: String,
    body: Vec<u8>,
}

impl RuntimeApi {
    /// From `AWS_LAMBDA_RUNTIME_API`, which the platform sets.
    pub(crate) fn from_environment() -> anyhow::Result<Self> {
        let address = std::env::var("AWS_LAMBDA_RUNTIME_API").context("AWS_LAMBDA_RUNTIME_API is not set")?;
        Ok(Self { address })
    }

    /// Waits for the next event.
    pub(crate) fn next(&self) -> anyhow::Result<Invocation> {
        let answer = self.call("GET", "runtime/invocation/next", b"")?;
        Ok(Invocation { request_id: answer.request_id, event: answer.body })
    }

    /// Hands over the function's answer.
    pub(crate) fn respond(&self, request_id: &str, answer: &Value) -> anyhow::Result<()> {
        let path = format!("runtime/invocation/{request_id}/response");
        self.call("POST", &path, answer.to_string().as_bytes()).map(drop)
    }

    /// Tells that the invocation failed.
    pub(crate) fn error(&self, request_id: &str, error_type: &str, message: &str) -> anyhow::Result<()> {
        let error = json!({ "errorType": error_type, "errorMessage": message });
        self.call("POST", &format!("runtime/invocation/{request_id}/error"), error.to_string().as_bytes()).map(drop)
    }

    /// Tells that the function could not start, and ends.
    pub(crate) fn init_error(&self, error_type: &str, message: &str) -> anyhow::Result<()> {
        let error = json!({ "errorType": error_type, "errorMessage": message });
        self.call("POST", "runtime/init/error", error.to_string().as_bytes())?;
        bail!("{error_type}: {message}")
    }

    fn call(&self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<Answer> {
        let mut stream = TcpStream::connect(&self.address).context("the runtime API does not answer")?;
        stream.set_nodelay(true)?;
        let mut request =
            format!("{method} /2018-06-01/{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        request.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len()));
        stream.write_all(&[request.as_bytes(), body].concat())?;
        let answer = read(&mut BufReader::new(stream))?;
        if answer.status >= 300 {
            bail!("{path}: status {}", answer.status);
        }
        Ok(answer)
    }
}

fn read(stream: &mut impl BufRead) -> anyhow::Result<Answer> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split_whitespace().nth(1).context("no status line")?.parse()?;
    let (mut length, mut request_id) = (0, String::new());
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse()?,
            "lambda-runtime-aws-request-id" => request_id = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Answer { status, request_id, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_with_its_length_and_request_id() {
        let mut bytes = &b"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: r1\r\ncontent-length: 2\r\n\r\n{}rest"[..];
        let answer = read(&mut bytes).expect("well formed");
        assert_eq!((answer.status, answer.request_id.as_str(), answer.body.as_slice()), (200, "r1", &b"{}"[..]));
    }
}
