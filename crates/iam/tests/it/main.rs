//! The services through raw wire bytes: memory engine, manual clock.

mod access_keys;
mod account;
mod decisions;
mod groups;
mod model;
mod policies;
mod profiles;
mod quotas;
mod resources;
mod roles;
mod sessions;
mod simulate;
mod users;
mod web_identity;

use std::time::Duration;

use bytes::Bytes;
use iam::Iam;
use kv::Kv;
use sys::{Clock, Rng, Timestamp};
use wire::shape::Protocol;
use wire::{AccountId, Asked, ConditionKeys, Cx, Principal, ResourceFacts, Service, TraceContext};

const ACCOUNT: &str = "123456789012";
const NOW_S: i64 = 1_700_000_000;
const ALLOW_ALL: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
const ALLOW_S3: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}"#;
const LAMBDA_TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

struct Fixture {
    kv: Kv,
    clock: Clock,
    iam: Iam,
    services: Vec<Service>,
}

async fn fixture() -> Fixture {
    let clock = Clock::manual(Timestamp::from_unix_s(NOW_S));
    let kv = Kv::memory(clock.clone(), Rng::seeded(1));
    let iam = Iam::open(kv.clone(), clock.clone(), Rng::seeded(2)).await.expect("opens");
    Fixture { kv, clock, services: iam::services(iam.clone()), iam }
}

fn account(id: &str) -> AccountId {
    AccountId::parse(id).expect("12 digits")
}

fn root() -> Principal {
    Principal::Root { account: account(ACCOUNT) }
}

fn cx(principal: Principal) -> Cx {
    Cx {
        account: principal.account().cloned().unwrap_or_else(|| account(ACCOUNT)),
        region: "us-east-1".to_owned(),
        principal,
        request_id: "00000000-0000-4000-8000-000000000000".to_owned(),
        trace: TraceContext::new(Timestamp::from_unix_s(NOW_S), &Rng::seeded(1)),
        source_ip: None,
        host: "localhost".to_owned(),
        unasked: Vec::new(),
    }
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

impl Fixture {
    /// Status and XML body of one operation's answer.
    async fn call_as(&self, cx: Cx, operation: &str, input: &[(&str, &str)]) -> (u16, String) {
        let service = self.services.iter().find(|service| service.line(operation).is_some());
        let service = service.unwrap_or_else(|| panic!("{operation} is served"));
        let mut form = format!("Action={operation}&Version={}", service.shape.api_version);
        for (name, value) in input {
            form.push_str(&format!("&{name}={}", escaped(value)));
        }
        let request = http::Request::post("/").header("content-type", "application/x-www-form-urlencoded").body(());
        let (parts, ()) = request.expect("a well-formed request").into_parts();
        let answer = service.call(cx, Protocol::AwsQuery, &parts, Bytes::from(form)).await;
        (answer.status().as_u16(), String::from_utf8(answer.body().to_vec()).expect("XML is UTF-8"))
    }

    /// The body of a successful answer to the root user.
    async fn ok(&self, operation: &str, input: &[(&str, &str)]) -> String {
        let (status, body) = self.call_as(cx(root()), operation, input).await;
        assert_eq!(status, 200, "{operation}: {body}");
        body
    }

    /// Status, code and message of a refusal.
    async fn refused(&self, operation: &str, input: &[(&str, &str)]) -> (u16, String, String) {
        refusal(self.call_as(cx(root()), operation, input).await)
    }

    /// A user with a long-term key: its id and secret, and its principal.
    async fn user(&self, name: &str) -> (String, Principal) {
        self.ok("CreateUser", &[("UserName", name)]).await;
        let body = self.ok("CreateAccessKey", &[("UserName", name)]).await;
        let id = text(&body, "AccessKeyId");
        let found = self.iam.credential(&id, None).await.expect("the store answers").expect("the key is known");
        assert_eq!(found.credential.secret.expose(), text(&body, "SecretAccessKey"));
        (id, found.principal)
    }

    /// Who holds the keys of an answer of STS; `None` when they are refused.
    async fn holder(&self, body: &str) -> Option<Principal> {
        let (id, token) = (text(body, "AccessKeyId"), text(body, "SessionToken"));
        let found = self.iam.credential(&id, Some(&token)).await.expect("the store answers")?;
        assert_eq!(found.credential.secret.expose(), text(body, "SecretAccessKey"));
        Some(found.principal)
    }

    async fn may(&self, principal: &Principal, action: &'static str) -> Result<(), String> {
        self.may_with(principal, &asked(action, "arn:aws:s3:::bucket/key")).await
    }

    async fn may_with(&self, principal: &Principal, asked: &Asked) -> Result<(), String> {
        let outcome = self.iam.authorize(&cx(principal.clone()), std::slice::from_ref(asked)).await;
        outcome.map_err(|error| error.message)
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// A question without circumstances, about a resource of which nothing is known.
fn asked(action: &'static str, resource: &str) -> Asked {
    Asked { action, resource: resource.to_owned(), keys: ConditionKeys::new(), facts: ResourceFacts::default() }
}

fn refusal((status, body): (u16, String)) -> (u16, String, String) {
    assert_ne!(status, 200, "{body}");
    (status, text(&body, "Code"), text(&body, "Message"))
}

/// Texts of all elements with this name.
fn texts(body: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let inner = body.split(&open).skip(1).filter_map(|rest| rest.split(&close).next());
    let plain = |text: &str| text.replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&");
    inner.map(plain).collect()
}

/// Text of the first element with this name; empty when there is none.
fn text(body: &str, name: &str) -> String {
    texts(body, name).into_iter().next().unwrap_or_default()
}

fn trust_of(principal: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"AWS":"{principal}"}},"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]}}]}}"#
    )
}
