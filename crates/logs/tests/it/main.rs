//! The service through raw wire bytes: memory engine, manual clock.

mod append;
mod filter;
mod get;
mod groups;
mod keys;
mod model;
mod streams;

use bytes::Bytes;
use kv::Kv;
use logs::{LogEvent, Logs};
use serde_json::Value;
use sys::{Clock, Rng, Timestamp};
use wire::shape::Protocol;
use wire::{AccountId, Cx, Principal, Service, TraceContext};

const ACCOUNT: &str = "000000000000";
const REGION: &str = "us-east-1";
/// When every test begins, in milliseconds.
const NOW_MS: i64 = 1_700_000_000_000;

struct Fixture {
    kv: Kv,
    clock: Clock,
    logs: Logs,
    service: Service,
}

fn fixture() -> Fixture {
    let clock = Clock::manual(Timestamp::from_unix_ms(NOW_MS));
    over(Kv::memory(clock.clone(), Rng::seeded(1)), clock)
}

fn over(kv: Kv, clock: Clock) -> Fixture {
    let logs = Logs::start(kv.clone(), clock.clone());
    Fixture { kv, clock, service: logs::service(logs.clone()), logs }
}

fn account() -> AccountId {
    AccountId::parse(ACCOUNT).expect("12 digits")
}

fn cx() -> Cx {
    Cx {
        account: account(),
        region: REGION.to_owned(),
        principal: Principal::Root { account: account() },
        request_id: "00000000-0000-4000-8000-000000000000".to_owned(),
        trace: TraceContext::new(Timestamp::from_unix_ms(NOW_MS), &Rng::seeded(1)),
        source_ip: None,
        host: "localhost".to_owned(),
        unasked: Vec::new(),
    }
}

impl Fixture {
    fn append(&self, group: &str, stream: &str, events: &[(i64, &str)]) {
        let events = events
            .iter()
            .map(|(timestamp_ms, message)| LogEvent { timestamp_ms: *timestamp_ms, message: (*message).to_owned() });
        self.logs.append(&account(), REGION, group, stream, events.collect());
    }

    /// Status and body of one operation's answer.
    async fn call(&self, operation: &str, input: Value) -> (u16, Value) {
        let request = http::Request::post("/")
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("Logs_20140328.{operation}"))
            .body(())
            .expect("a well-formed request");
        let (parts, ()) = request.into_parts();
        let body = Bytes::from(input.to_string());
        let answer = self.service.call(cx(), Protocol::AwsJson1_1, &parts, body).await;
        let body = serde_json::from_slice(answer.body()).expect("the answer is JSON");
        (answer.status().as_u16(), body)
    }

    /// The body of a successful answer.
    async fn ok(&self, operation: &str, input: Value) -> Value {
        let (status, body) = self.call(operation, input).await;
        assert_eq!(status, 200, "{operation}: {body}");
        body
    }

    /// Code and message of a refusal, which is always 400.
    async fn refused(&self, operation: &str, input: Value) -> (String, String) {
        let (status, body) = self.call(operation, input).await;
        assert_eq!(status, 400, "{operation}: {body}");
        let member = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let code = member("__type").rsplit('#').next().unwrap_or_default().to_owned();
        (code, if body["message"].is_string() { member("message") } else { member("Message") })
    }
}

/// The member `name` of every element of the list `list`.
fn column(body: &Value, list: &str, name: &str) -> Vec<String> {
    let elements = body[list].as_array().unwrap_or_else(|| panic!("{list} is a list: {body}"));
    elements.iter().map(|element| element[name].as_str().unwrap_or_default().to_owned()).collect()
}

fn messages(body: &Value) -> Vec<String> {
    column(body, "events", "message")
}
