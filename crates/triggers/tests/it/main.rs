//! Event source mappings and targets: memory engine, manual clock, real queues, functions that the test plays.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod invocations;
mod lambdas;
mod mappings;
mod notices;
mod polling;
mod refusals;
mod service;
mod stream;
mod targets;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kv::Kv;
use lambda::LambdaError;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sqs::{Outgoing, QueueName, Sqs, SqsParts};
use sys::task::CancellationToken;
use sys::{Clock, Rng, Timestamp};
use triggers::{Answer, Call, Facts, Functions, Parts, Refusal, Triggers};
use wire::shape::Protocol;
use wire::{AccountId, Act, ApiError, Cx, MayAct, Principal, Service, TraceContext};

const ACCOUNT: &str = "000000000000";
const NOW_MS: i64 = 1_700_000_000_000;
const FUNCTION: &str = "arn:aws:lambda:us-east-1:000000000000:function:f";
const ROLE: &str = "arn:aws:iam::000000000000:role/r";

fn cx() -> Cx {
    let account = AccountId::parse(ACCOUNT).unwrap();
    Cx {
        account: account.clone(),
        region: "us-east-1".to_owned(),
        principal: Principal::Root { account },
        request_id: "00000000-0000-4000-8000-000000000000".to_owned(),
        trace: TraceContext::new(Timestamp::from_unix_ms(NOW_MS), &Rng::seeded(1)),
        source_ip: None,
        host: "localhost".to_owned(),
        unasked: Vec::new(),
    }
}

/// What a function does with a call: how long it takes, and what it answers.
type Behaviour = Arc<dyn Fn(&Call) -> (Duration, Result<Answer, Refusal>) + Send + Sync>;

/// What everything was asked.
#[derive(Default)]
struct Seen {
    calls: Vec<Call>,
    running: usize,
    running_max: usize,
    acts: Vec<Act>,
}

struct World {
    kv: Kv,
    clock: Clock,
    sqs: Sqs,
    queues: Service,
    service: Service,
    triggers: Triggers,
    functions: Functions,
    may_act: MayAct,
    seen: Arc<Mutex<Seen>>,
    /// What the function does from now on.
    behaviour: Arc<Mutex<Behaviour>>,
    /// The role that the function has from now on.
    role: Arc<Mutex<String>>,
    /// Actions that nobody may do.
    denied: Arc<Mutex<Vec<String>>>,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn succeed() -> Result<Answer, Refusal> {
    Ok(Answer { payload: Bytes::from_static(b"null"), function_error: None })
}

fn world() -> World {
    let clock = Clock::manual(Timestamp::from_unix_ms(NOW_MS));
    let kv = Kv::memory(clock.clone(), Rng::seeded(1));
    let rng = Rng::seeded(2);
    let check_policy = Arc::new(|_: &str| Ok(()));
    let sqs = Sqs::new(SqsParts { kv: kv.clone(), clock: clock.clone(), rng: rng.clone(), check_policy });
    let seen = Arc::new(Mutex::new(Seen::default()));
    let behaviour: Behaviour = Arc::new(|_: &Call| (Duration::ZERO, succeed()));
    let behaviour = Arc::new(Mutex::new(behaviour));
    let role = Arc::new(Mutex::new(ROLE.to_owned()));
    let functions = functions(&seen, &behaviour, &role, &clock);
    let denied = Arc::new(Mutex::new(Vec::<String>::new()));
    let (refused, asked) = (Arc::clone(&denied), Arc::clone(&seen));
    let may_act: MayAct = Arc::new(move |act: Act| {
        let is_denied = refused.lock().contains(&act.action);
        asked.lock().acts.push(act);
        Box::pin(async move {
            match is_denied {
                true => Err(ApiError::client("AccessDenied", 403, "no")),
                false => Ok(()),
            }
        })
    });
    let parts = Parts {
        kv: kv.clone(),
        clock: clock.clone(),
        rng,
        functions: functions.clone(),
        sqs: sqs.clone(),
        may_act: Arc::clone(&may_act),
    };
    let triggers = Triggers::new(parts);
    let (queues, service) = (sqs::service(sqs.clone()), triggers::service(triggers.clone()));
    let stop = CancellationToken::new();
    World { kv, clock, sqs, queues, service, triggers, functions, may_act, seen, behaviour, role, denied, stop }
}

fn functions(
    seen: &Arc<Mutex<Seen>>,
    behaviour: &Arc<Mutex<Behaviour>>,
    role: &Arc<Mutex<String>>,
    clock: &Clock,
) -> Functions {
    let (seen, behaviour, clock) = (Arc::clone(seen), Arc::clone(behaviour), clock.clone());
    let role = Arc::clone(role);
    Functions {
        invoke: Arc::new(move |call| {
            let (seen, clock) = (Arc::clone(&seen), clock.clone());
            let (time, answer) = { behaviour.lock().clone() }(&call);
            Box::pin(async move {
                begin(&seen, call);
                if !time.is_zero() {
                    clock.sleep(time).await;
                }
                seen.lock().running -= 1;
                answer
            })
        }),
        look_up: Arc::new(move |_, name| {
            let role_arn = role.lock().clone();
            Box::pin(async move {
                match (name.ends_with(":f") || name == "f", name.ends_with("f:live")) {
                    (true, _) => Ok(Facts { arn: FUNCTION.to_owned(), role_arn, timeout_s: 3, per_tenant: false }),
                    (_, true) => {
                        Ok(Facts { arn: format!("{FUNCTION}:live"), role_arn, timeout_s: 3, per_tenant: false })
                    }
                    _ => Err(LambdaError::function_not_found(&name)),
                }
            })
        }),
    }
}

fn begin(seen: &Mutex<Seen>, call: Call) {
    let mut seen = seen.lock();
    seen.calls.push(call);
    seen.running += 1;
    seen.running_max = seen.running_max.max(seen.running);
}

/// Lets every task run as far as it comes without the clock.
async fn settle() {
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
}

impl World {
    fn behave(&self, behaviour: impl Fn(&Call) -> (Duration, Result<Answer, Refusal>) + Send + Sync + 'static) {
        *self.behaviour.lock() = Arc::new(behaviour);
    }

    fn start(&self) {
        sys::task::spawn("mappings", self.triggers.clone().run(self.stop.clone()));
    }

    async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            settle().await;
        }
    }

    async fn queue(&self, name: &str, attributes: Value) -> QueueName {
        let request = http::Request::post("/")
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", "AmazonSQS.CreateQueue")
            .body(())
            .unwrap();
        let (parts, ()) = request.into_parts();
        let input = json!({ "QueueName": name, "Attributes": attributes }).to_string();
        let answer = self.queues.call(cx(), Protocol::AwsJson1_0, &parts, Bytes::from(input)).await;
        assert_eq!(answer.status(), 200, "{:?}", answer.body());
        QueueName::own(&cx(), name)
    }

    /// Sends texts; of FIFO queues `group:text`.
    async fn send(&self, queue: &QueueName, bodies: &[&str]) {
        let messages: Vec<Outgoing> = bodies
            .iter()
            .map(|body| {
                let group = queue.is_fifo().then(|| body.split(':').next().unwrap_or_default().to_owned());
                let deduplication = queue.is_fifo().then(|| body.replace(':', "-"));
                Outgoing {
                    body: (*body).to_owned(),
                    group,
                    deduplication,
                    sender: "s".to_owned(),
                    ..Outgoing::default()
                }
            })
            .collect();
        for some in messages.chunks(10) {
            self.sqs.send(queue, some).await.unwrap();
        }
    }

    /// Status and body of a call of the Lambda API.
    async fn call(&self, method: &str, path: &str, input: Value) -> (u16, Value) {
        let body = if input.is_null() { Bytes::new() } else { Bytes::from(input.to_string()) };
        let request = http::Request::builder().method(method).uri(path).body(()).unwrap();
        let (parts, ()) = request.into_parts();
        let answer = self.service.call(cx(), Protocol::RestJson1, &parts, body).await;
        let body = serde_json::from_slice(answer.body()).unwrap_or(Value::Null);
        (answer.status().as_u16(), body)
    }

    /// CreateEventSourceMapping with further settings; its uuid.
    async fn map(&self, queue: &QueueName, more: Value) -> String {
        let mut input = json!({ "FunctionName": "f", "EventSourceArn": queue.arn() });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, body) = self.call("POST", "/2015-03-31/event-source-mappings", input).await;
        assert_eq!(status, 202, "{body}");
        body["UUID"].as_str().unwrap().to_owned()
    }

    async fn state(&self, uuid: &str) -> String {
        let (status, body) = self.call("GET", &format!("/2015-03-31/event-source-mappings/{uuid}"), Value::Null).await;
        if status == 404 { "gone".to_owned() } else { body["State"].as_str().unwrap_or_default().to_owned() }
    }

    /// The bodies of each call so far.
    fn batches(&self) -> Vec<Vec<String>> {
        let bodies = |call: &Call| {
            let event: Value = serde_json::from_slice(&call.payload).unwrap();
            let records = event["Records"].as_array().unwrap().iter();
            records.map(|record| record["body"].as_str().unwrap().to_owned()).collect()
        };
        self.seen.lock().calls.iter().map(bodies).collect()
    }

    /// Messages in the queue: visible, in flight.
    async fn counts(&self, queue: &QueueName) -> (String, String) {
        let request = http::Request::post("/")
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", "AmazonSQS.GetQueueAttributes")
            .body(())
            .unwrap();
        let (parts, ()) = request.into_parts();
        let input = json!({ "QueueUrl": queue.url("localhost"), "AttributeNames": ["All"] }).to_string();
        let answer = self.queues.call(cx(), Protocol::AwsJson1_0, &parts, Bytes::from(input)).await;
        let body: Value = serde_json::from_slice(answer.body()).unwrap();
        let of = |name: &str| body["Attributes"][name].as_str().unwrap_or_default().to_owned();
        (of("ApproximateNumberOfMessages"), of("ApproximateNumberOfMessagesNotVisible"))
    }
}
