//! Random histories against a plain model of a queue, with crashes in between: what is in memory is dropped and found
//! again in the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::test_runner::Config;
use serde_json::json;
use sqs::{Outgoing, QueueName, ReceiveOptions};

use super::{Fixture, arn, fixture};

/// A step of a history. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Send { group: u8, dedup: u8, delay_s: i64 },
    Receive { max: usize, visibility_s: i64 },
    Delete { receipt: usize },
    Change { receipt: usize, visibility_s: i64 },
    GiveBack { receipt: usize },
    Pass { seconds: u64 },
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3u8, 0..6u8, 0..4i64).prop_map(|(group, dedup, delay_s)| Step::Send { group, dedup, delay_s }),
        4 => (1..5usize, 0..6i64).prop_map(|(max, visibility_s)| Step::Receive { max, visibility_s }),
        3 => any::<usize>().prop_map(|receipt| Step::Delete { receipt }),
        2 => (any::<usize>(), 0..6i64).prop_map(|(receipt, visibility_s)| Step::Change { receipt, visibility_s }),
        1 => any::<usize>().prop_map(|receipt| Step::GiveBack { receipt }),
        2 => (0..4u64).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::Pass { seconds: 301 }),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..60)
}

/// A message as the model knows it.
#[derive(Clone, Debug)]
struct Plain {
    body: String,
    group: String,
    visible_ms: i64,
    receives: u32,
    in_flight: bool,
}

/// The queue as it should be: a list.
#[derive(Debug, Default)]
struct Model {
    fifo: bool,
    receives_max: Option<u32>,
    /// By the order of sending.
    messages: BTreeMap<usize, Plain>,
    sent: usize,
    remembered: HashMap<u8, i64>,
    /// Bodies that ended in the dead-letter queue.
    dead: BTreeSet<String>,
}

impl Model {
    fn pass_to(&mut self, now_ms: i64) {
        for message in self.messages.values_mut().filter(|message| message.visible_ms <= now_ms) {
            message.in_flight = false;
        }
    }

    fn send(&mut self, group: &str, dedup: u8, delay_s: i64, now_ms: i64) -> String {
        let body = format!("m{}", self.sent);
        if self.fifo {
            if self.remembered.get(&dedup).is_some_and(|until| *until > now_ms) {
                return body;
            }
            self.remembered.insert(dedup, now_ms + 300_000);
        }
        let visible_ms = if self.fifo { 0 } else { now_ms + delay_s * 1_000 };
        let message = Plain { body: body.clone(), group: group.to_owned(), visible_ms, receives: 0, in_flight: false };
        self.messages.insert(self.sent, message);
        self.sent += 1;
        body
    }

    /// The messages that may be handed out now, in order.
    fn eligible(&self, now_ms: i64) -> Vec<usize> {
        let visible = |message: &Plain| message.visible_ms <= now_ms && !message.in_flight;
        if !self.fifo {
            return self.messages.iter().filter(|(_, message)| visible(message)).map(|(at, _)| *at).collect();
        }
        let busy: BTreeSet<&str> =
            self.messages.values().filter(|message| message.in_flight).map(|message| message.group.as_str()).collect();
        let mut by_group: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, message) in self.messages.iter().filter(|(_, message)| !busy.contains(message.group.as_str())) {
            by_group.entry(&message.group).or_default().push(*at);
        }
        let mut groups: Vec<Vec<usize>> = by_group.into_values().collect();
        groups.sort();
        groups.concat()
    }
}

/// What a test holds of a receive.
#[derive(Clone, Debug)]
struct Held {
    receipt: String,
    message: usize,
    receives: u32,
}

struct History {
    f: Fixture,
    queue: QueueName,
    model: Model,
    held: Vec<Held>,
}

impl History {
    async fn new(fifo: bool, receives_max: Option<u32>) -> Self {
        let f = fixture();
        let name = if fifo { "q.fifo" } else { "q" };
        let mut attributes = json!({});
        if fifo {
            attributes["FifoQueue"] = json!("true");
        }
        if let Some(receives_max) = receives_max {
            f.queue("dead", json!({})).await;
            let policy = json!({ "deadLetterTargetArn": arn("dead"), "maxReceiveCount": receives_max });
            attributes["RedrivePolicy"] = json!(policy.to_string());
        }
        f.queue(name, attributes).await;
        let queue = QueueName::of_arn(&arn(name)).expect("an ARN");
        Self { f, queue, model: Model { fifo, receives_max, ..Model::default() }, held: Vec::new() }
    }

    fn now_ms(&self) -> i64 {
        self.f.clock.now().unix_ms()
    }

    async fn step(&mut self, step: &Step) {
        self.model.pass_to(self.now_ms());
        match step {
            Step::Send { group, dedup, delay_s } => self.send(*group, *dedup, *delay_s).await,
            Step::Receive { max, visibility_s } => self.receive(*max, *visibility_s).await,
            Step::Delete { receipt } => self.delete(*receipt).await,
            Step::Change { receipt, visibility_s } => self.change(*receipt, Some(*visibility_s)).await,
            Step::GiveBack { receipt } => self.change(*receipt, None).await,
            Step::Pass { seconds } => self.f.clock.advance(Duration::from_secs(*seconds)),
            Step::Crash => self.f = self.f.crashed(),
        }
    }

    async fn send(&mut self, group: u8, dedup: u8, delay_s: i64) {
        let group = format!("g{group}");
        let body = self.model.send(&group, dedup, delay_s, self.now_ms());
        let message = Outgoing {
            body,
            delay_s: (!self.model.fifo).then_some(delay_s),
            group: self.model.fifo.then_some(group),
            deduplication: self.model.fifo.then(|| dedup.to_string()),
            ..Outgoing::default()
        };
        self.f.sqs.send(&self.queue, &[message]).await.expect("a send succeeds");
    }

    async fn receive(&mut self, max: usize, visibility_s: i64) {
        let now_ms = self.now_ms();
        let eligible = self.model.eligible(now_ms);
        let options =
            ReceiveOptions { max, visibility_s: Some(visibility_s), wait: Some(Duration::ZERO), attempt: None };
        let got = self.f.sqs.receive(&self.queue, &options).await.expect("a receive succeeds");
        let bodies: Vec<&str> = got.iter().map(|message| message.body.as_str()).collect();
        let exhausted = |at: &usize| {
            self.model.receives_max.is_some_and(|receives_max| self.model.messages[at].receives >= receives_max)
        };
        let (doomed, alive): (Vec<usize>, Vec<usize>) = eligible.iter().copied().partition(exhausted);
        let body_of = |at: &usize| self.model.messages[at].body.as_str();
        match (self.model.fifo, doomed.is_empty()) {
            // The order is the promise.
            (true, _) => {
                let expected: Vec<&str> = alive.iter().take(max).map(body_of).collect();
                assert_eq!(bodies, expected, "of {:?}", self.model);
            }
            (false, true) => assert_eq!(bodies.len(), alive.len().min(max), "of {:?}", self.model),
            // Some of those that were looked at went to the dead-letter queue instead.
            (false, false) => assert_eq!(bodies.is_empty(), alive.is_empty(), "of {:?}", self.model),
        }
        let by_body: HashMap<String, usize> = alive.iter().map(|at| (body_of(at).to_owned(), *at)).collect();
        for message in &got {
            let at = *by_body.get(&message.body).unwrap_or_else(|| panic!("{} is not eligible", message.body));
            let plain = self.model.messages.get_mut(&at).expect("it is there");
            plain.receives += 1;
            plain.visible_ms = now_ms + visibility_s * 1_000;
            plain.in_flight = visibility_s > 0;
            assert_eq!(message.receives, plain.receives, "sem:Q3");
            self.held.push(Held { receipt: message.receipt.clone(), message: at, receives: plain.receives });
        }
        self.bury(&doomed).await;
    }

    /// Follows what went to the dead-letter queue: each of those was exhausted.
    async fn bury(&mut self, doomed: &[usize]) {
        if self.model.receives_max.is_none() {
            return;
        }
        let dead = QueueName::of_arn(&arn("dead")).expect("an ARN");
        let options = ReceiveOptions { max: 100, visibility_s: Some(43_200), ..ReceiveOptions::default() };
        for message in self.f.sqs.receive(&dead, &options).await.expect("a receive succeeds") {
            let at = doomed.iter().find(|at| self.model.messages.get(at).is_some_and(|m| m.body == message.body));
            let at = at.unwrap_or_else(|| panic!("{} was not exhausted", message.body));
            self.model.messages.remove(at);
            let settled = self.f.sqs.delete_batch(&dead, &[message.receipt]).await.expect("the store serves");
            assert!(settled[0].is_ok());
            assert!(self.model.dead.insert(message.body), "never twice");
        }
    }

    fn pick(&self, receipt: usize) -> Option<Held> {
        (!self.held.is_empty()).then(|| self.held[receipt % self.held.len()].clone())
    }

    /// Whether the handle is the newest of a message that is still there.
    fn is_current(&self, held: &Held) -> bool {
        self.model.messages.get(&held.message).is_some_and(|message| message.receives == held.receives)
    }

    /// Whether the handle is one of a message that is still there.
    fn is_known(&self, held: &Held) -> bool {
        self.model.messages.get(&held.message).is_some_and(|message| message.receives >= held.receives)
    }

    async fn delete(&mut self, receipt: usize) {
        let Some(held) = self.pick(receipt) else { return };
        let there = self.model.messages.get(&held.message).is_some_and(|message| message.receives > 0);
        let in_flight = self.model.messages.get(&held.message).is_some_and(|message| message.in_flight);
        let current = self.is_current(&held);
        let outcome =
            self.f.sqs.delete_batch(&self.queue, std::slice::from_ref(&held.receipt)).await.expect("the store serves");
        let expected = !(self.model.fifo && there && !(current && in_flight));
        assert_eq!(outcome[0].is_ok(), expected, "sem:Q13, {:?}", self.model);
        let deletes = if self.model.fifo { current && expected } else { self.is_known(&held) };
        if deletes {
            self.model.messages.remove(&held.message);
        }
    }

    async fn change(&mut self, receipt: usize, visibility_s: Option<i64>) {
        let Some(held) = self.pick(receipt) else { return };
        let now_ms = self.now_ms();
        let strict = self.model.fifo || visibility_s.is_none();
        let acts = if strict { self.is_current(&held) } else { self.is_known(&held) };
        let works = acts && self.model.messages[&held.message].in_flight;
        let outcome = match visibility_s {
            Some(visibility_s) => self.f.sqs.change_visibility(&self.queue, &[(held.receipt, visibility_s)]).await,
            None => self.f.sqs.give_back(&self.queue, &[held.receipt]).await,
        };
        assert_eq!(outcome.expect("the store serves")[0].is_ok(), works, "sem:Q2, {:?}", self.model);
        if works {
            let message = self.model.messages.get_mut(&held.message).expect("it is there");
            message.visible_ms = now_ms + visibility_s.unwrap_or(0) * 1_000;
            message.in_flight = visibility_s.is_some_and(|visibility_s| visibility_s > 0);
            message.receives -= u32::from(visibility_s.is_none());
            if visibility_s.is_none() {
                // Its number will be used again: what is held of it may act again.
                self.held.retain(|other| other.message != held.message);
            }
        }
    }

    /// In the end everything that is not deleted can still be received, once each (sem:Q1).
    async fn drain(mut self) {
        self.f = self.f.crashed();
        self.f.clock.advance(Duration::from_secs(43_200));
        self.model.pass_to(self.now_ms());
        self.held.clear();
        loop {
            let before = self.model.messages.len();
            self.receive(4, 100).await;
            let received: Vec<Held> = self.held.drain(..).collect();
            for held in &received {
                let settled = self.f.sqs.delete_batch(&self.queue, std::slice::from_ref(&held.receipt)).await;
                assert!(settled.expect("the store serves")[0].is_ok());
                self.model.messages.remove(&held.message);
            }
            if before == self.model.messages.len() {
                break;
            }
        }
        assert!(self.model.messages.is_empty(), "left over: {:?}", self.model);
    }
}

fn run(fifo: bool, receives_max: Option<u32>, steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut history = History::new(fifo, receives_max).await;
        for step in steps {
            history.step(step).await;
        }
        history.drain().await;
    });
}

proptest! {
    #![proptest_config(Config { cases: 150, failure_persistence: None, ..Config::default() })]

    #[test]
    fn q1_q2_q3_q13_a_standard_queue_is_its_model(steps in steps()) {
        run(false, None, &steps);
    }

    #[test]
    fn q3_dead_letters_are_never_in_both_queues_nor_in_neither(steps in steps()) {
        run(false, Some(2), &steps);
    }

    #[test]
    fn q10_q11_a_fifo_queue_is_its_model(steps in steps()) {
        run(true, None, &steps);
    }
}
