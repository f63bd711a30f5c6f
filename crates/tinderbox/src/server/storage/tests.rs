use std::time::Duration;

use blob::Blobs;
use bytes::Bytes;
use iam::Iam;
use kv::Kv;
use sys::{Clock, Rng, Timestamp};
use triggers::{Cause, Object, Undelivered};
use wire::shape::Protocol;
use wire::{AccountId, Act, Cx, Principal, Service, TraceContext};

use super::super::identity;
use super::{Later, write_record};
use crate::config::Auth;

const ACCOUNT: &str = "123456789012";
const ROLE: &str = "arn:aws:iam::123456789012:role/failing";
const FUNCTION: &str = "arn:aws:lambda:us-east-1:123456789012:function:f";
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

fn account() -> AccountId {
    AccountId::parse(ACCOUNT).expect("12 digits")
}

fn trace() -> TraceContext {
    TraceContext::new(Timestamp::from_unix_s(1_700_000_000), &Rng::seeded(1))
}

/// The services whose questions are real, as they are wired.
struct World {
    s3: s3::S3,
    iam: Iam,
    services: Vec<Service>,
    clock: Clock,
    _folder: tempfile::TempDir,
}

async fn world() -> World {
    let clock = Clock::manual(Timestamp::from_unix_s(1_700_000_000));
    let folder = tempfile::tempdir().expect("a folder");
    let kv = Kv::memory(clock.clone(), Rng::seeded(1));
    let iam = Iam::open(kv.clone(), clock.clone(), Rng::seeded(2)).await.expect("opens");
    let later = Later::default();
    let s3 = s3::S3::new(s3::Parts {
        kv,
        blobs: Blobs::local(folder.path(), clock.clone(), Rng::seeded(3)).await.expect("opens"),
        clock: clock.clone(),
        rng: Rng::seeded(4),
        node_key: s3::NodeKey::random(&Rng::seeded(5)),
        config: s3::Config { kms_keys: vec!["one".to_owned()], ..s3::Config::default() },
        may_act: later.ask(),
        may_do: identity::may_do(iam.clone(), Auth::Enforced),
        check_policy: std::sync::Arc::new(Iam::check_resource_policy),
    });
    later.set(identity::may_act(iam.clone(), vec![s3::service(s3.clone())], Auth::Enforced));
    let services = iam::services(iam.clone()).into_iter().chain([s3::service(s3.clone())]).collect();
    World { s3, iam, services, clock, _folder: folder }
}

impl World {
    /// A request of the root user that succeeds.
    async fn ok(&self, service: &str, protocol: Protocol, line: &str, body: String) {
        let service = self.services.iter().find(|one| one.shape.name == service).expect("a service");
        let (method, target) = line.split_once(' ').expect("METHOD /target");
        let request = http::Request::builder().method(method).uri(target);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(());
        let (parts, ()) = request.expect("well-formed").into_parts();
        let cx = Cx {
            account: account(),
            region: "us-east-1".to_owned(),
            principal: Principal::Root { account: account() },
            request_id: "r".to_owned(),
            trace: trace(),
            source_ip: None,
            host: "localhost".to_owned(),
            unasked: Vec::new(),
        };
        let answer = service.call(cx, protocol, &parts, Bytes::from(body)).await;
        assert!(answer.status().is_success(), "{line}: {}", String::from_utf8_lossy(answer.body()));
    }

    async fn iam(&self, operation: &str, input: &[(&str, &str)]) {
        let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let input: String = input.iter().map(|(name, value)| format!("&{name}={}", escaped(value))).collect();
        let form = format!("Action={operation}&Version=2010-05-08{input}");
        self.ok("iam", Protocol::AwsQuery, "POST /", form).await;
    }

    /// The record of a failed invocation, as it is delivered to a bucket: both questions that its writing asks.
    async fn record(&self, key: &str) -> (bool, Result<(), Undelivered>) {
        let act = Act::as_role(ROLE, "s3:PutObject", &format!("arn:aws:s3:::bkt/{key}"), "us-east-1");
        let may_act = identity::may_act(self.iam.clone(), self.services.clone(), Auth::Enforced);
        let cause = Cause {
            service: "lambda.amazonaws.com",
            source_arn: FUNCTION.to_owned(),
            source_account: account(),
            role_arn: Some(ROLE.to_owned()),
            trace: trace(),
            group: None,
            deduplication: None,
        };
        let object = Object { bucket: "bkt".to_owned(), key: key.to_owned(), body: Bytes::from_static(b"{}") };
        let written = write_record(&self.s3, &self.iam, &Rng::seeded(6), object, cause).await;
        (may_act(act).await.is_ok(), written)
    }
}

/// With AWS's `AWSRevokeOlderSessions` on the role: it is about sessions that somebody holds, and the platform's is new.
#[tokio::test]
async fn a_record_reaches_a_bucket_under_a_key_of_kms_also_when_older_sessions_of_the_role_are_revoked() {
    let world = world().await;
    let encryption = "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms\
                      </SSEAlgorithm><KMSMasterKeyID>one</KMSMasterKeyID></ApplyServerSideEncryptionByDefault></Rule>\
                      </ServerSideEncryptionConfiguration>";
    world.ok("s3", Protocol::RestXml, "PUT /bkt", String::new()).await;
    world.ok("s3", Protocol::RestXml, "PUT /bkt?encryption", encryption.to_owned()).await;
    world.iam("CreateRole", &[("RoleName", "failing"), ("AssumeRolePolicyDocument", TRUST)]).await;
    let (may, written) = world.record("none").await;
    assert!(!may && matches!(written, Err(Undelivered::Denied(_))), "no policy allows it: {written:?}");
    let allow = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:PutObject","kms:GenerateDataKey"],"Resource":"*"}]}"#;
    world.iam("PutRolePolicy", &[("RoleName", "failing"), ("PolicyName", "p"), ("PolicyDocument", allow)]).await;
    assert_eq!(world.record("allowed").await, (true, Ok(())));
    world.clock.advance(Duration::from_secs(60));
    for (moment, may) in [("2023-11-14T22:14:20Z", true), ("2023-11-14T22:14:21Z", false)] {
        let revoke = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Deny","Action":["*"],"Resource":["*"],"Condition":{{"DateLessThan":{{"aws:TokenIssueTime":"{moment}"}}}}}}]}}"#
        );
        let input = [("RoleName", "failing"), ("PolicyName", "AWSRevokeOlderSessions"), ("PolicyDocument", &revoke)];
        world.iam("PutRolePolicy", &input).await;
        let (acts, written) = world.record(moment).await;
        assert_eq!((acts, written.is_ok()), (may, may), "{moment}: {written:?}");
    }
}
