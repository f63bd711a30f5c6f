//! The service through raw wire bytes: memory engine, manual clock.

mod clearing;
mod confirmations;
mod delivery;
mod fifo;
mod filters;
mod keys;
mod lists;
mod model;
mod permissions;
mod platform;
mod publishing;
mod sms;
mod subscriptions;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kv::Kv;
use parking_lot::Mutex;
use sns::delivery::{Refusal, Targets, ToFunction, ToQueue, ToUrl};
use sns::keys::Key;
use sns::{Sns, SnsParts};
use sys::task::{CancellationToken, DropGuard};
use sys::{Clock, Rng, Timestamp};
use wire::shape::Protocol;
use wire::{AccountId, Cx, Principal, Service, TraceContext};

const ACCOUNT: &str = "000000000000";
const STRANGER: &str = "111111111111";
const HOST: &str = "sns.test:4566";
/// When every test begins: 2023-11-14T22:13:20Z.
const NOW_MS: i64 = 1_700_000_000_000;

struct Fixture {
    kv: Kv,
    clock: Clock,
    sns: Sns,
    service: Service,
}

fn fixture() -> Fixture {
    let clock = Clock::manual(Timestamp::from_unix_ms(NOW_MS));
    let kv = Kv::memory(clock.clone(), Rng::seeded(1));
    let check_policy: wire::CheckPolicy =
        Arc::new(|text| if text.contains("Statement") { Ok(()) } else { Err("no policy".to_owned()) });
    let sns = Sns::new(SnsParts { kv: kv.clone(), clock: clock.clone(), rng: Rng::seeded(2), check_policy });
    Fixture { kv, clock, service: sns::service(sns.clone()), sns }
}

fn cx_of(account: &str) -> Cx {
    let account = AccountId::parse(account).expect("12 digits");
    Cx {
        account: account.clone(),
        region: "us-east-1".to_owned(),
        principal: Principal::Root { account },
        request_id: "00000000-0000-4000-8000-000000000000".to_owned(),
        trace: TraceContext::new(Timestamp::from_unix_ms(NOW_MS), &Rng::seeded(1)),
        source_ip: None,
        host: HOST.to_owned(),
        unasked: Vec::new(),
    }
}

fn anonymous() -> Cx {
    Cx { principal: Principal::Anonymous, ..cx_of(ACCOUNT) }
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn topic_arn(name: &str) -> String {
    format!("arn:aws:sns:us-east-1:{ACCOUNT}:{name}")
}

fn queue_arn(name: &str) -> String {
    format!("arn:aws:sqs:us-east-1:{ACCOUNT}:{name}")
}

impl Fixture {
    /// Status and XML body of one operation's answer.
    async fn call_as(&self, cx: Cx, operation: &str, input: &[(&str, &str)]) -> (u16, String) {
        let mut form = format!("Action={operation}&Version=2010-03-31");
        for (name, value) in input {
            form.push_str(&format!("&{}={}", escaped(name), escaped(value)));
        }
        let request = http::Request::post("/").header("content-type", "application/x-www-form-urlencoded").body(());
        let (parts, ()) = request.expect("a well-formed request").into_parts();
        let answer = self.service.call(cx, Protocol::AwsQuery, &parts, Bytes::from(form)).await;
        (answer.status().as_u16(), String::from_utf8(answer.body().to_vec()).expect("XML is UTF-8"))
    }

    /// The body of a successful answer to the account's root user.
    async fn ok(&self, operation: &str, input: &[(&str, &str)]) -> String {
        let (status, body) = self.call_as(cx_of(ACCOUNT), operation, input).await;
        assert_eq!(status, 200, "{operation}: {body}");
        body
    }

    /// `STATUS CODE: MESSAGE` of a refusal.
    async fn refused(&self, operation: &str, input: &[(&str, &str)]) -> String {
        refusal(self.call_as(cx_of(ACCOUNT), operation, input).await)
    }

    async fn topic(&self, name: &str, attributes: &[(&str, &str)]) -> String {
        let mut input = vec![("Name".to_owned(), name.to_owned())];
        input.extend(entries("Attributes", attributes));
        text(&self.ok("CreateTopic", &borrowed(&input)).await, "TopicArn")
    }

    /// ARN of a new subscription.
    async fn subscribe(&self, topic: &str, protocol: &str, endpoint: &str, attributes: &[(&str, &str)]) -> String {
        let mut input: Vec<(String, String)> =
            [("TopicArn", topic), ("Protocol", protocol), ("Endpoint", endpoint), ("ReturnSubscriptionArn", "true")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec();
        input.extend(entries("Attributes", attributes));
        text(&self.ok("Subscribe", &borrowed(&input)).await, "SubscriptionArn")
    }

    /// Every key that the service has in the store; those of its outboxes are not its own.
    async fn keys(&self) -> Vec<Key> {
        let (mut all, mut begin) = (Vec::new(), Bytes::new());
        loop {
            let from = begin.clone();
            let options = kv::RangeOptions { limit: 500, ..kv::RangeOptions::default() };
            let page = self.kv.read(|tx| async move { tx.range(from, [0xff], options).await }).await;
            let page = page.expect("the store serves");
            let Some((last, _)) = page.last() else { return all };
            begin = Bytes::from([&last[..], &[0]].concat());
            all.extend(page.iter().filter_map(|(key, _)| Key::unpack(key).ok()));
        }
    }

    /// Writes straight into the store.
    async fn put(&self, pairs: &[(Key, &[u8])]) {
        let put = self.kv.transact(|tx| async move {
            pairs.iter().for_each(|(key, value)| tx.set(key.pack(), value.to_vec()));
            Ok::<_, kv::Error>(())
        });
        put.await.expect("the store serves");
    }

    /// One attribute of a topic or subscription; empty when it has none of that name.
    async fn attribute(&self, of: &str, name: &str) -> String {
        let body = match of.split(':').count() {
            6 => self.ok("GetTopicAttributes", &[("TopicArn", of)]).await,
            _ => self.ok("GetSubscriptionAttributes", &[("SubscriptionArn", of)]).await,
        };
        entry(&body, name)
    }

    /// Starts deliveries, which `answer` takes or refuses.
    fn deliver<F>(&self, answer: F) -> Deliveries
    where
        F: Fn(&Sent) -> Result<(), Refusal> + Send + Sync + 'static,
    {
        let sent: Arc<Mutex<Vec<Sent>>> = Arc::default();
        let (taken, answer) = (Arc::clone(&sent), Arc::new(answer));
        let take = move |one: Sent| {
            let outcome = answer(&one);
            taken.lock().push(one);
            outcome
        };
        let (queue, function, url) = (take.clone(), take.clone(), take);
        let targets = Targets {
            queue: Arc::new(move |to| {
                let outcome = queue(Sent::Queue(to));
                Box::pin(async move { outcome })
            }),
            function: Arc::new(move |to| {
                let outcome = function(Sent::Function(to));
                Box::pin(async move { outcome })
            }),
            url: Arc::new(move |to| {
                let outcome = url(Sent::Url(to));
                Box::pin(async move {
                    match outcome {
                        Ok(()) => Ok(200),
                        // A status stands in the reason.
                        Err(refusal) => refusal.to_string().parse().map_err(|_| refusal),
                    }
                })
            }),
        };
        let stop = CancellationToken::new();
        sys::task::spawn("sns", sns::delivery::run(self.sns.clone(), targets, stop.clone()));
        Deliveries { sent, _stop: stop.drop_guard() }
    }
}

/// What a target was given.
#[derive(Clone, Debug)]
enum Sent {
    Queue(ToQueue),
    Function(ToFunction),
    Url(ToUrl),
}

impl Sent {
    fn queue(&self) -> &ToQueue {
        match self {
            Self::Queue(to) => to,
            other => panic!("not for a queue: {other:?}"),
        }
    }

    fn url(&self) -> &ToUrl {
        match self {
            Self::Url(to) => to,
            other => panic!("not for a URL: {other:?}"),
        }
    }
}

struct Deliveries {
    sent: Arc<Mutex<Vec<Sent>>>,
    _stop: DropGuard,
}

impl Deliveries {
    /// What was sent, once it is `count`; nothing more follows by itself.
    async fn first(&self, count: usize) -> Vec<Sent> {
        // Keys are made on another thread: real time passes.
        let waited = Clock::system();
        let begun = waited.elapsed();
        while self.sent.lock().len() < count {
            assert!(waited.elapsed() - begun < Duration::from_secs(120), "{count} wanted: {:?}", self.sent.lock());
            waited.sleep(Duration::from_millis(1)).await;
        }
        settle().await;
        let sent = self.sent.lock().clone();
        assert_eq!(sent.len(), count, "{sent:?}");
        sent
    }
}

impl Deliveries {
    /// As [`Deliveries::first`], while milliseconds pass on `clock`: a retry at once is one in the next of them.
    async fn first_within(&self, count: usize, clock: &Clock) -> Vec<Sent> {
        for _ in 0..50 {
            settle().await;
            if self.sent.lock().len() >= count {
                break;
            }
            clock.advance(Duration::from_millis(1));
        }
        self.first(count).await
    }
}

/// Lets every task run as far as it comes without the clock.
async fn settle() {
    for _ in 0..300 {
        tokio::task::yield_now().await;
    }
}

fn took_all(_: &Sent) -> Result<(), Refusal> {
    Ok(())
}

fn refusal((status, body): (u16, String)) -> String {
    assert_ne!(status, 200, "{body}");
    format!("{status} {}: {}", text(&body, "Code"), text(&body, "Message"))
}

/// A map as the query protocol writes it.
fn entries(member: &str, map: &[(&str, &str)]) -> Vec<(String, String)> {
    let of = |(at, (name, value)): (usize, &(&str, &str))| {
        let prefix = format!("{member}.entry.{}", at + 1);
        [(format!("{prefix}.key"), (*name).to_owned()), (format!("{prefix}.value"), (*value).to_owned())]
    };
    map.iter().enumerate().flat_map(of).collect()
}

fn borrowed(input: &[(String, String)]) -> Vec<(&str, &str)> {
    input.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn plain(text: &str) -> String {
    let named = text.replace("&quot;", "\"").replace("&apos;", "'").replace("&lt;", "<").replace("&gt;", ">");
    named.replace("&#10;", "\n").replace("&amp;", "&")
}

/// Texts of all elements with this name.
fn texts(body: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    body.split(&open).skip(1).filter_map(|rest| rest.split(&close).next()).map(plain).collect()
}

/// Text of the first element with this name; empty when there is none.
fn text(body: &str, name: &str) -> String {
    texts(body, name).into_iter().next().unwrap_or_default()
}

/// The value of a map's entry; empty when there is none.
fn entry(body: &str, key: &str) -> String {
    let found = texts(body, "entry").into_iter().find(|entry| text(entry, "key") == key);
    found.map(|entry| text(&entry, "value")).unwrap_or_default()
}
