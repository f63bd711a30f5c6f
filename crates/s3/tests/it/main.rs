//! The service through raw wire bytes: memory engine, blobs in a folder, manual clock.

mod buckets;
mod copies;
mod crash;
mod faults;
mod jobs;
mod kms;
mod listing;
mod locks;
mod model;
mod multipart;
mod notifications;
mod objects;
#[expect(clippy::print_stderr, reason = "the seed of a run and what is skipped are told to whoever runs the tests")]
mod power;
mod races;
mod rights;
mod settings;
mod versions;

use std::sync::Arc;
use std::time::Duration;

use blob::Blobs;
use bytes::Bytes;
use kv::Kv;
use s3::{Config, NodeKey, Ownership, Parts, S3};
use sys::{Clock, Rng, Timestamp};
use wire::shape::Protocol;
use wire::{AccountId, ApiError, Cx, Principal, Service, TraceContext};

const ACCOUNT: &str = "123456789012";
const OTHER: &str = "999999999999";
const NOW_S: i64 = 1_700_000_000;
const DAY: Duration = Duration::from_secs(86_400);

struct Fixture {
    folder: tempfile::TempDir,
    kv: Kv,
    clock: Clock,
    s3: S3,
    service: Service,
}

/// An answer, read whole.
struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header is text"))
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("XML is UTF-8")
    }

    /// Texts of all elements with this name.
    fn all(&self, name: &str) -> Vec<String> {
        let (text, open, close) = (self.text(), format!("<{name}>"), format!("</{name}>"));
        let inner = text.split(&open).skip(1).filter_map(|rest| rest.split(&close).next());
        inner.map(|text| text.replace("&quot;", "\"").replace("&#34;", "\"").replace("&amp;", "&")).collect()
    }

    /// Text of the first element with this name; empty when there is none.
    fn one(&self, name: &str) -> String {
        self.all(name).into_iter().next().unwrap_or_default()
    }
}

async fn fixture() -> Fixture {
    fixture_with(Config::default()).await
}

/// Buckets with ACLs and without a public access block, as before April 2023.
async fn fixture_with_acls() -> Fixture {
    fixture_with(Config { ownership: Ownership::ObjectWriter, block_public: false, ..Config::default() }).await
}

async fn fixture_with(config: Config) -> Fixture {
    fixture_on(config, Arc::new(|_| u64::MAX), Arc::new(|_, _| Box::pin(async { Ok(()) }))).await
}

/// A fixture whose disk has so much room for objects, and whose identity service answers so about keys.
async fn fixture_on(config: Config, free: blob::Free, may_do: wire::MayDo) -> Fixture {
    let clock = Clock::manual(Timestamp::from_unix_s(NOW_S));
    let kv = Kv::memory(clock.clone(), Rng::seeded(1));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let blobs = Blobs::local_with(folder.path(), clock.clone(), Rng::seeded(2), free).await.expect("opens");
    let s3 = S3::new(Parts {
        kv: kv.clone(),
        blobs: blobs.namespace("s3").await.expect("opens"),
        clock: clock.clone(),
        rng: Rng::seeded(3),
        node_key: NodeKey::random(&Rng::seeded(4)),
        config,
        may_act: Arc::new(|act| {
            Box::pin(async move {
                match act.resource.ends_with("closed") {
                    true => Err(ApiError::client("AccessDenied", 403, "closed")),
                    false => Ok(()),
                }
            })
        }),
        may_do,
        check_policy: Arc::new(|policy| match policy.contains("Statement") {
            true => Ok(()),
            false => Err("Missing required field Statement".to_owned()),
        }),
    });
    Fixture { folder, kv, clock, service: s3::service(s3.clone()), s3 }
}

fn cx_of(account: &str) -> Cx {
    let account = AccountId::parse(account).expect("12 digits");
    Cx {
        principal: Principal::Root { account: account.clone() },
        account,
        region: "us-east-1".to_owned(),
        request_id: "00000000-0000-4000-8000-000000000000".to_owned(),
        trace: TraceContext::new(Timestamp::from_unix_s(NOW_S), &Rng::seeded(1)),
        source_ip: None,
        host: "localhost".to_owned(),
        unasked: Vec::new(),
    }
}

impl Fixture {
    /// A request as the owner of [`ACCOUNT`], named by its operation: `PUT /bucket/key?query`.
    async fn send(&self, operation: &str, line: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        self.send_as(cx_of(ACCOUNT), operation, line, headers, body.into()).await
    }

    async fn send_as(&self, cx: Cx, operation: &str, line: &str, headers: &[(&str, &str)], body: Bytes) -> Answer {
        let (method, target) = line.split_once(' ').expect("METHOD /target");
        let mut request = http::Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a well-formed request").into_parts();
        let found = self.service.identify(Protocol::RestXml, &parts, &body).map(|line| line.shape.name);
        assert_eq!(found.ok(), Some(operation), "{line}");
        let answer = self.service.call(cx, Protocol::RestXml, &parts, body).await;
        let (head, body) = answer.into_parts();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    /// The answer to a request that succeeds.
    async fn ok(&self, operation: &str, line: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let answer = self.send(operation, line, headers, body).await;
        assert!(answer.status < 300, "{operation} {line}: {} {}", answer.status, answer.text());
        answer
    }

    /// Status and code of a refusal.
    async fn refused(
        &self,
        operation: &str,
        line: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> (u16, String) {
        let answer = self.send(operation, line, headers, body).await;
        assert!(answer.status >= 300, "{operation} {line}: {}", answer.text());
        (answer.status, answer.one("Code"))
    }

    async fn bucket(&self, name: &str) {
        self.ok("CreateBucket", &format!("PUT /{name}"), &[], "").await;
    }

    async fn versioning(&self, bucket: &str, status: &str) {
        let body = format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
        self.ok("PutBucketVersioning", &format!("PUT /{bucket}?versioning"), &[], body).await;
    }

    /// Puts an object and returns the answer.
    async fn put(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.ok("PutObject", &format!("PUT /{path}"), &[], body).await
    }

    /// The bytes of an object; `None` when there is none.
    async fn get(&self, path: &str) -> Option<Bytes> {
        let answer = self.send("GetObject", &format!("GET /{path}"), &[], "").await;
        (answer.status == 200).then_some(answer.body)
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// The files of all blobs.
    fn blob_files(&self) -> Vec<std::path::PathBuf> {
        let shards = std::fs::read_dir(self.folder.path().join("s3")).expect("the namespace");
        let files = shards.flat_map(|shard| std::fs::read_dir(shard.expect("a shard").path()).expect("a folder"));
        files.map(|file| file.expect("a blob").path()).collect()
    }
}

/// Bytes that differ from place to place.
fn content(seed: u64, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    Rng::seeded(seed).fill(&mut bytes);
    Bytes::from(bytes)
}

fn md5_of(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    md5::Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// The bytes of an MD5.
fn objects_md5(bytes: &[u8]) -> Vec<u8> {
    use sha2::Digest as _;
    md5::Md5::digest(bytes).to_vec()
}
