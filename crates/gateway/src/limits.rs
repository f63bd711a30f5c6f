//! Sizes, deadlines and counts that keep one client from taking everything.

use std::time::Duration;

use http::request::Parts;
use sys::ByteSize;
use wire::ApiError;

/// A body limit of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimit {
    /// Our name of the service, such as `lambda`.
    pub service: &'static str,
    /// Name of the operation; `*` for all of the service that have no entry of their own.
    pub operation: &'static str,
    /// Largest body.
    pub size: ByteSize,
    /// What a larger one is answered with.
    pub refusal: TooLarge,
}

/// The answer to a body that is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// Such as `RequestTooLargeException`.
    pub code: &'static str,
    /// 413, or 400 from S3.
    pub status: u16,
}

impl TooLarge {
    /// Where no service has words of its own.
    pub const DEFAULT: Self = Self { code: "RequestEntityTooLargeException", status: 413 };
    /// An object's.
    pub(crate) const OBJECT: Self = Self { code: "EntityTooLarge", status: 413 };
}

/// Sizes, deadlines and counts.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest body of an operation without an entry in `bodies`. AWS API Gateway: 10 MB.
    pub body: ByteSize,
    /// Operations that take more or less than `body`.
    pub bodies: Vec<BodyLimit>,
    /// Largest body of an operation that streams. S3: 5 GB in one request.
    pub stream: ByteSize,
    /// Largest body to a function URL. Lambda: 6 MB.
    pub function_url_body: ByteSize,
    /// All bodies in memory together; past it requests are shed with 503.
    pub bodies_in_memory: ByteSize,
    /// Request line and headers together.
    pub headers: ByteSize,
    /// Number of headers.
    pub headers_max: usize,
    /// Path and query, in bytes.
    pub url_bytes: usize,
    /// Time for the first byte to the last header, also of an idle connection.
    pub header_timeout: Duration,
    /// Time for a body before its size is counted.
    pub body_timeout: Duration,
    /// A body may take longer than `body_timeout` as long as it keeps this rate, in bytes a second.
    pub body_rate_min: u64,
    /// Time in which a client must take some bytes of an answer.
    pub write_timeout: Duration,
    /// Connections at once; past it new ones get 503 and are closed.
    pub connections: usize,
    /// Time that running requests get at shutdown.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: ByteSize::mib(10),
            bodies: Vec::new(),
            stream: ByteSize::gib(5),
            function_url_body: ByteSize::mib(6),
            bodies_in_memory: ByteSize::mib(512),
            headers: ByteSize::kib(64),
            headers_max: 100,
            url_bytes: 16 * 1024,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            body_rate_min: 64 * 1024,
            write_timeout: Duration::from_secs(30),
            connections: 4096,
            shutdown_grace: Duration::from_millis(4500),
        }
    }
}

impl Limits {
    /// The largest body of an operation, and what a larger one is answered with.
    pub(crate) fn body_of(&self, service: &str, operation: &str) -> (ByteSize, TooLarge) {
        let of = |name: &str| self.bodies.iter().find(|limit| limit.service == service && limit.operation == name);
        let own = of(operation).or_else(|| of("*"));
        own.map_or((self.body, TooLarge::DEFAULT), |limit| (limit.size, limit.refusal))
    }

    /// The request line and headers, before anything else is looked at.
    ///
    /// # Errors
    /// 414 for a long URL, 431 for long headers, 400 unless there is one `Host` at most.
    pub(crate) fn check_head(&self, head: &Parts) -> Result<(), ApiError> {
        let url_bytes = head.uri.path_and_query().map_or(0, |url| url.as_str().len());
        if url_bytes > self.url_bytes {
            let message = format!("The URL is longer than {} bytes.", self.url_bytes);
            return Err(ApiError::client("RequestURITooLong", 414, message));
        }
        let header_bytes: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if (header_bytes as u64) > self.headers.bytes() || head.headers.len() > self.headers_max {
            let message = format!("The headers are larger than {} or more than {}.", self.headers, self.headers_max);
            return Err(ApiError::client("RequestHeaderSectionTooLarge", 431, message));
        }
        if head.headers.get_all(http::header::HOST).iter().nth(1).is_some() {
            return Err(ApiError::client("BadRequestException", 400, "The request has more than one Host."));
        }
        Ok(())
    }
}
