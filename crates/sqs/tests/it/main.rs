//! The service through raw wire bytes: memory engine, manual clock.

mod attributes;
mod backlog;
mod batches;
mod dead_letters;
mod fifo;
mod full_disk;
mod jobs;
mod keys;
mod messages;
mod model;
mod permissions;
mod query;
mod queues;
mod records;
mod tasks;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kv::Kv;
use serde_json::{Value, json};
use sqs::keys::{Key, QueueId, QueueRecord, decode_record};
use sqs::{QueueName, Sqs, SqsParts};
use sys::{Clock, Rng, Timestamp};
use wire::shape::Protocol;
use wire::{AccountId, Cx, Principal, Service, TraceContext};

const ACCOUNT: &str = "000000000000";
const REGION: &str = "us-east-1";
const HOST: &str = "queues.test:4566";
/// When every test begins, in milliseconds.
const NOW_MS: i64 = 1_700_000_000_000;

#[derive(Clone)]
struct Fixture {
    kv: Kv,
    clock: Clock,
    rng: Rng,
    sqs: Sqs,
    service: Service,
}

fn fixture() -> Fixture {
    let clock = Clock::manual(Timestamp::from_unix_ms(NOW_MS));
    over(Kv::memory(clock.clone(), Rng::seeded(1)), clock, Rng::seeded(2))
}

fn over(kv: Kv, clock: Clock, rng: Rng) -> Fixture {
    let parts = SqsParts { kv: kv.clone(), clock: clock.clone(), rng: rng.clone(), check_policy: Arc::new(|_| Ok(())) };
    let sqs = Sqs::new(parts);
    Fixture { kv, clock, rng, service: sqs::service(sqs.clone()), sqs }
}

fn cx() -> Cx {
    let account = AccountId::parse(ACCOUNT).expect("12 digits");
    Cx {
        account: account.clone(),
        region: REGION.to_owned(),
        principal: Principal::Root { account },
        request_id: "00000000-0000-4000-8000-000000000000".to_owned(),
        trace: TraceContext::new(Timestamp::from_unix_ms(NOW_MS), &Rng::seeded(1)),
        source_ip: None,
        host: HOST.to_owned(),
        unasked: Vec::new(),
    }
}

impl Fixture {
    /// The same store after a crash: everything in memory is gone.
    fn crashed(&self) -> Self {
        over(self.kv.clone(), self.clock.clone(), self.rng.clone())
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Status, body and the header that says the legacy code.
    async fn answer(&self, operation: &str, input: Value) -> (u16, Value, String) {
        self.answer_as(cx(), operation, input).await
    }

    async fn answer_as(&self, cx: Cx, operation: &str, input: Value) -> (u16, Value, String) {
        let request = http::Request::post("/")
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", format!("AmazonSQS.{operation}"))
            .body(())
            .expect("a well-formed request");
        let (parts, ()) = request.into_parts();
        let answer = self.service.call(cx, Protocol::AwsJson1_0, &parts, Bytes::from(input.to_string())).await;
        let body = serde_json::from_slice(answer.body()).expect("the answer is JSON");
        let legacy = answer.headers().get("x-amzn-query-error").and_then(|value| value.to_str().ok());
        (answer.status().as_u16(), body, legacy.unwrap_or_default().to_owned())
    }

    /// The body of a successful answer.
    async fn ok(&self, operation: &str, input: Value) -> Value {
        self.ok_as(cx(), operation, input).await
    }

    async fn ok_as(&self, cx: Cx, operation: &str, input: Value) -> Value {
        let (status, body, _) = self.answer_as(cx, operation, input).await;
        assert_eq!(status, 200, "{operation}: {body}");
        body
    }

    /// Legacy code and message of a refusal.
    async fn refused(&self, operation: &str, input: Value) -> (String, String) {
        let (status, body, legacy) = self.answer(operation, input).await;
        assert!((400..404).contains(&status), "{operation}: {status} {body}");
        let code = legacy.strip_suffix(";Sender").unwrap_or_else(|| panic!("the sender's fault: {legacy}")).to_owned();
        (code, body["message"].as_str().unwrap_or_default().to_owned())
    }

    async fn code(&self, operation: &str, input: Value) -> String {
        self.refused(operation, input).await.0
    }

    /// Makes a queue and returns its URL.
    async fn queue(&self, name: &str, attributes: Value) -> String {
        let made = self.ok("CreateQueue", json!({ "QueueName": name, "Attributes": attributes })).await;
        made["QueueUrl"].as_str().expect("a URL").to_owned()
    }

    async fn send(&self, url: &str, body: &str) -> Value {
        self.ok("SendMessage", json!({ "QueueUrl": url, "MessageBody": body })).await
    }

    async fn send_fifo(&self, url: &str, body: &str, group: &str, id: &str) -> Value {
        let input = json!({
            "QueueUrl": url, "MessageBody": body, "MessageGroupId": group, "MessageDeduplicationId": id,
        });
        self.ok("SendMessage", input).await
    }

    /// Up to ten messages, with all attributes.
    async fn receive(&self, url: &str) -> Vec<Value> {
        self.receive_with(url, json!({})).await
    }

    async fn receive_with(&self, url: &str, further: Value) -> Vec<Value> {
        let mut input = json!({
            "QueueUrl": url, "MaxNumberOfMessages": 10, "MessageSystemAttributeNames": ["All"],
            "MessageAttributeNames": ["All"],
        });
        for (name, value) in further.as_object().expect("an object") {
            input[name] = value.clone();
        }
        let received = self.ok("ReceiveMessage", input).await;
        received["Messages"].as_array().cloned().unwrap_or_default()
    }

    async fn delete(&self, url: &str, message: &Value) -> Value {
        self.ok("DeleteMessage", json!({ "QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"] })).await
    }

    /// This life of a queue.
    async fn id(&self, name: &str) -> QueueId {
        let key = Key::Queue(QueueName::of_arn(&arn(name)).expect("an ARN")).encode();
        let raw = self.kv.read(|tx| async move { tx.get(key).await }).await.expect("the store serves");
        decode_record::<QueueRecord>(&raw.expect("the queue is there")).expect("our own").id
    }

    /// Puts a value straight into the store, or takes it away.
    async fn put(&self, key: &Key, value: Option<&[u8]>) {
        let put = self.kv.transact(|tx| async move {
            match value {
                Some(value) => tx.set(key.encode(), value.to_vec()),
                None => tx.clear(key.encode()),
            }
            Ok::<_, kv::Error>(())
        });
        put.await.expect("the store serves");
    }

    async fn attribute(&self, url: &str, name: &str) -> String {
        let found = self.ok("GetQueueAttributes", json!({ "QueueUrl": url, "AttributeNames": ["All"] })).await;
        found["Attributes"][name].as_str().unwrap_or_default().to_owned()
    }

    /// Visible, in flight, delayed.
    async fn counts(&self, url: &str) -> [String; 3] {
        let found = self.ok("GetQueueAttributes", json!({ "QueueUrl": url, "AttributeNames": ["All"] })).await;
        ["", "NotVisible", "Delayed"].map(|kind| {
            let name = format!("ApproximateNumberOfMessages{kind}");
            found["Attributes"][name].as_str().unwrap_or_default().to_owned()
        })
    }
}

/// Lets background work come to where it waits.
async fn settle() {
    for _ in 0..300 {
        tokio::task::yield_now().await;
    }
}

fn bodies(messages: &[Value]) -> Vec<String> {
    messages.iter().map(|message| message["Body"].as_str().unwrap_or_default().to_owned()).collect()
}

fn arn(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
}
