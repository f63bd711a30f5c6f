use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;
use proptest::prelude::{any, prop_oneof, proptest};
use proptest::strategy::Just;
use serde_json::{Value, json};
use sys::Rng;
use wire::TraceContext;

use super::*;

const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:failures";
const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:successes";
const DEAD: &str = "arn:aws:sqs:us-east-1:000000000000:dead";
const ACCEPTED: Timestamp = Timestamp::from_unix_ms(1_790_000_000_000);

fn event() -> QueuedEvent {
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:f";
    let trace = TraceContext::new(ACCEPTED, &Rng::seeded(1));
    QueuedEvent::new(arn, "request".to_owned(), Bytes::from_static(b" {\"n\": 1}"), &trace, ACCEPTED)
        .expect("an ARN of a function")
}

fn policy() -> EventPolicy {
    EventPolicy {
        retries_max: 2,
        age_max: Duration::from_secs(21_600),
        on_success: Some(TOPIC.to_owned()),
        on_failure: Some(QUEUE.to_owned()),
        dead_letter: Some(DEAD.to_owned()),
        role: "arn:aws:iam::000000000000:role/r".to_owned(),
        is_stopped: false,
    }
}

fn failed() -> Attempted {
    let payload = Bytes::from_static(br#"{"errorType":"Error","errorMessage":"boom"}"#);
    Attempted::Failed { version: "$LATEST".to_owned(), error: "Unhandled", payload }
}

fn answered() -> Attempted {
    Attempted::Answered { version: "3".to_owned(), payload: Bytes::from_static(b"[1]") }
}

fn not_run(status: u16) -> Attempted {
    Attempted::NotRun { status, message: "Rate Exceeded.".to_owned(), of_function: false }
}

fn not_restored(error: lambda::InvokeError) -> Attempted {
    Attempted::of(Err(error.into()))
}

/// The moments of the attempts (seconds since it was accepted) of an event whose attempts all go as `attempt` says, and
/// how it ends. Attempts take no time.
fn life(policy: &EventPolicy, attempt: impl Fn(usize) -> Attempted) -> (Vec<u64>, Condition) {
    let (mut now, mut event, mut attempts) = (ACCEPTED, event(), Vec::new());
    loop {
        let too_old = now >= ACCEPTED + policy.age_max;
        let attempted = if too_old { not_run(0) } else { attempt(attempts.len()) };
        if !too_old {
            attempts.push(now.since(ACCEPTED).as_secs());
        }
        match decide(&event, policy, &attempted, too_old, now) {
            Decision::End(condition) => return (attempts, condition),
            Decision::Again(at, next) => (now, event) = (at, *next),
        }
    }
}

#[test]
fn l2_a_function_error_is_retried_after_one_and_two_minutes() {
    assert_eq!(life(&policy(), |_| failed()), (vec![0, 60, 180], Condition::RetriesExhausted));
    for (retries_max, attempts) in [(0, vec![0]), (1, vec![0, 60])] {
        let policy = EventPolicy { retries_max, ..policy() };
        assert_eq!(life(&policy, |_| failed()), (attempts, Condition::RetriesExhausted));
    }
    let second = |n| if n == 1 { answered() } else { failed() };
    assert_eq!(life(&policy(), second), (vec![0, 60], Condition::Success));
}

#[test]
fn l2_hooks_that_fail_after_a_restore_are_retried_as_a_function_error_is() {
    for error in [lambda::InvokeError::RestoreFailed, lambda::InvokeError::RestoreTimedOut] {
        let ended = life(&policy(), |_| not_restored(error.clone()));
        assert_eq!(ended, (vec![0, 60, 180], Condition::RetriesExhausted), "{error}");
        let none = EventPolicy { retries_max: 0, ..policy() };
        assert_eq!(life(&none, |_| not_restored(error.clone())), (vec![0], Condition::RetriesExhausted));
        let second = |n| if n == 1 { answered() } else { not_restored(error.clone()) };
        assert_eq!(life(&policy(), second), (vec![0, 60], Condition::Success));
    }
}

#[test]
fn l3_throttles_and_our_own_faults_back_off_from_a_second_to_five_minutes_until_the_age() {
    // 403: the function's role is not there, or not yet.
    for status in [403, 429, 500, 503] {
        let policy = EventPolicy { retries_max: 0, age_max: Duration::from_secs(1_200), ..policy() };
        let (attempts, condition) = life(&policy, |_| not_run(status));
        assert_eq!(attempts, [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 811, 1_111], "{status}");
        assert_eq!(condition, Condition::EventAgeExceeded);
    }
    let mixed = |n| if n < 3 { not_run(429) } else { failed() };
    assert_eq!(
        life(&policy(), mixed),
        (vec![0, 1, 3, 7, 67, 187], Condition::RetriesExhausted),
        "they use up no retries"
    );
}

#[test]
fn l3_an_event_is_never_tried_after_its_age() {
    let policy = EventPolicy { age_max: Duration::from_secs(60), ..policy() };
    assert_eq!(life(&policy, |_| failed()), (vec![0], Condition::EventAgeExceeded), "the retry would come too late");
}

#[test]
fn l15_what_waiting_cannot_mend_is_not_retried() {
    for status in [400, 404, 413] {
        assert_eq!(life(&policy(), |_| not_run(status)), (vec![0], Condition::RetriesExhausted), "{status}");
    }
}

fn sent(result: &Attempted, condition: Condition) -> BTreeMap<String, (Value, Vec<Attribute>)> {
    let all = record::outgoing(&event(), &policy(), result, condition, ACCEPTED);
    let parsed = |one: Outgoing| (one.target, (serde_json::from_slice(&one.body).expect("JSON"), one.attributes));
    all.into_iter().map(parsed).collect()
}

#[test]
fn l4_a_failure_goes_to_the_dead_letter_queue_and_to_the_destination() {
    let sent = sent(&failed(), Condition::RetriesExhausted);
    assert_eq!(sent.len(), 2);
    let (letter, attributes) = &sent[DEAD];
    assert_eq!(letter, &json!({ "n": 1 }), "the event itself");
    let seen: Vec<_> =
        attributes.iter().map(|one| (one.name.as_str(), one.kind.as_str(), one.value.as_str())).collect();
    assert_eq!(
        seen,
        [("RequestID", "String", "request"), ("ErrorCode", "Number", "200"), ("ErrorMessage", "String", "boom")]
    );
    assert_eq!(
        sent[QUEUE].0,
        json!({
            "version": "1.0",
            "timestamp": "2026-09-21T14:13:20.000Z",
            "requestContext": {
                "requestId": "request",
                "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST",
                "condition": "RetriesExhausted",
                "approximateInvokeCount": 1,
            },
            "requestPayload": { "n": 1 },
            "responseContext": { "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled" },
            "responsePayload": { "errorType": "Error", "errorMessage": "boom" },
        })
    );
}

#[test]
fn l4_success_and_expiry_have_records_of_their_own() {
    let success = sent(&answered(), Condition::Success);
    assert_eq!(success.keys().collect::<Vec<_>>(), [TOPIC]);
    assert_eq!(success[TOPIC].0["responsePayload"], json!([1]));
    assert_eq!(success[TOPIC].0["responseContext"], json!({ "statusCode": 200, "executedVersion": "3" }));
    let expired = sent(&not_run(0), Condition::EventAgeExceeded);
    assert_eq!(expired.keys().collect::<Vec<_>>(), [DEAD, QUEUE]);
    assert_eq!(expired[QUEUE].0["requestContext"]["condition"], "EventAgeExceeded");
    assert_eq!(expired[QUEUE].0["requestContext"]["approximateInvokeCount"], 0);
    let nobody = EventPolicy { on_success: None, on_failure: None, dead_letter: None, ..policy() };
    for condition in [Condition::Success, Condition::RetriesExhausted, Condition::EventAgeExceeded] {
        assert_eq!(record::outgoing(&event(), &nobody, &failed(), condition, ACCEPTED), []);
    }
}

#[test]
fn a_long_or_odd_error_message_is_cut_at_a_character() {
    let message = "ä".repeat(1_000);
    let payload = Bytes::from(json!({ "errorMessage": message }).to_string());
    let result = Attempted::Failed { version: "1".to_owned(), error: "Unhandled", payload };
    let attributes = &sent(&result, Condition::RetriesExhausted)[DEAD].1;
    assert_eq!(attributes[2].value, "ä".repeat(512));
}

proptest! {
    /// L1: whatever happens, an event ends, within its age, in exactly one of the three ways.
    #[test]
    fn every_event_ends_within_its_age(
        retries_max in 0u32..=2,
        age_s in 60u64..=21_600,
        attempts in proptest::collection::vec(
            prop_oneof![Just(0u16), Just(200), Just(429), Just(500), Just(503), Just(400)], 1..40,
        ),
    ) {
        let policy = EventPolicy { retries_max, age_max: Duration::from_secs(age_s), ..policy() };
        let (moments, condition) = life(&policy, |n| match attempts.get(n % attempts.len()) {
            Some(0) => failed(),
            Some(200) => answered(),
            Some(status) => not_run(*status),
            None => unreachable!("the list is not empty"),
        });
        let failures = moments.len();
        assert!(moments.iter().all(|moment| *moment < age_s), "{moments:?} {condition:?}");
        assert!(moments.is_sorted() && failures < 200, "{failures} attempts");
    }

    #[test]
    fn outgoing_records_survive_the_round_trip(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut one = record::outgoing(&event(), &policy(), &failed(), Condition::RetriesExhausted, ACCEPTED).remove(1);
        one.body = Bytes::from(body);
        assert_eq!(Outgoing::decode(&one.encode()).expect("just encoded"), one);
    }
}

/// Tries `record` on targets that give these answers, one after the other and then the last one for ever; what they were
/// sent, and when (in seconds).
async fn sent_until_settled(record: &Outgoing, answers: Vec<Result<(), Undelivered>>) -> Vec<(u64, Outgoing)> {
    let clock = Clock::manual(ACCEPTED);
    let tried: Arc<Mutex<Vec<(u64, Outgoing)>>> = Arc::default();
    let (seen, told) = (Arc::clone(&tried), clock.clone());
    let send_to: SendTo = Arc::new(move |outgoing| {
        let mut seen = seen.lock();
        let answer = answers.get(seen.len()).or(answers.last()).cloned().unwrap_or(Ok(()));
        seen.push((told.now().since(ACCEPTED).as_secs(), outgoing));
        Box::pin(std::future::ready(answer))
    });
    let mut attempt = 0;
    loop {
        attempt += 1;
        let delivery = Delivery { id: "1".to_owned(), payload: record.encode(), key: None, attempt, pushed: ACCEPTED };
        match settle_result(&send_to, &clock, delivery).await {
            Verdict::Retry { at, .. } => clock.advance(at.since(clock.now())),
            Verdict::Done => return std::mem::take(&mut tried.lock()),
            Verdict::Push(_) | Verdict::Postpone { .. } => unreachable!("a record leaves nothing behind, and is tried"),
        }
    }
}

fn letter_and_record() -> (Outgoing, Outgoing) {
    let mut all = record::outgoing(&event(), &policy(), &failed(), Condition::RetriesExhausted, ACCEPTED);
    let letter = all.remove(1);
    (letter, all.remove(0))
}

#[tokio::test]
async fn a_record_is_sent_until_its_target_takes_it() {
    let (_, record) = letter_and_record();
    let busy = Err(Undelivered::Transient("busy".to_owned()));
    // As long as a role or a queue is not there, too.
    let denied = Err(Undelivered::Denied("no such queue".to_owned()));
    let tried = sent_until_settled(&record, vec![busy, denied.clone(), denied, Ok(())]).await;
    assert_eq!(tried, [0, 1, 3, 7].map(|at| (at, record.clone())));
}

#[tokio::test]
async fn a_record_that_nobody_takes_is_given_up_after_hours() {
    let (_, record) = letter_and_record();
    for refused in [Undelivered::Transient("busy".to_owned()), Undelivered::Denied("no".to_owned())] {
        let tried = sent_until_settled(&record, vec![Err(refused)]).await;
        let last = tried.last().map(|(at, _)| *at).unwrap_or_default();
        assert!((21_300..21_600).contains(&last), "{last}");
    }
}

#[tokio::test]
async fn what_a_target_does_not_take_whole_is_sent_with_less_in_it() {
    let (letter, record) = letter_and_record();
    let too_large = Err(Undelivered::Permanent("too large".to_owned()));
    let tried = sent_until_settled(&letter, vec![too_large.clone()]).await;
    let forms: Vec<_> = tried.iter().map(|(_, one)| (one.attributes.len(), &one.body)).collect();
    assert_eq!(forms, [(3, &letter.body), (0, &letter.body)]);

    let tried = sent_until_settled(&record, vec![too_large]).await;
    let members = |body: &Bytes| {
        let whole: serde_json::Map<String, Value> = serde_json::from_slice(body).expect("JSON");
        let payloads = ["requestPayload", "responsePayload"].map(|name| whole.contains_key(name));
        (whole.contains_key("requestContext") && whole.contains_key("responseContext"), payloads)
    };
    let forms: Vec<_> = tried.iter().map(|(_, one)| members(&one.body)).collect();
    assert_eq!(forms, [(true, [true, true]), (true, [true, false]), (true, [false, false])]);
}

#[test]
fn a_record_is_never_larger_than_any_target_takes() {
    let payload = Bytes::from(format!("\"{}\"", "x".repeat(4_500_000)));
    let answered = Attempted::Answered { version: "1".to_owned(), payload };
    let success = record::outgoing(&event(), &policy(), &answered, Condition::Success, ACCEPTED);
    assert_eq!(success.len(), 1);
    assert!(success[0].body.len() < 1_000);
    let record: Value = serde_json::from_slice(&success[0].body).expect("JSON");
    assert_eq!((&record["requestPayload"], record.get("responsePayload")), (&json!({ "n": 1 }), None));
    let event = QueuedEvent { payload: Bytes::from(format!("\"{}\"", "x".repeat(1_048_574))), ..event() };
    let failure = record::outgoing(&event, &policy(), &answered, Condition::RetriesExhausted, ACCEPTED);
    assert!(failure[0].body.len() < 1_000);
    assert_eq!(failure[1].body, event.payload, "the dead letter is the event, whole");
}

#[test]
fn l15_what_is_told_of_an_event_is_behind_its_visit() {
    let (letter, record) = letter_and_record();
    for sent in [letter, record] {
        let trace = TraceContext::parse_header(&sent.trace).expect("a header");
        assert_eq!(lambda::visits(&trace, &sent.function_arn), 1);
    }
}

#[test]
fn entries_of_a_newer_format_are_refused_and_those_without_one_are_read() {
    let (letter, _) = letter_and_record();
    let text = String::from_utf8(letter.encode().to_vec()).expect("JSON");
    assert!(text.starts_with(r#"{"format":1,"#), "{text}");
    assert!(Outgoing::decode(&Bytes::from(text.replace(r#""format":1"#, r#""format":2"#))).is_err());
    let older = text.replace(r#""format":1,"#, "").replace(r#","parts":[]"#, "");
    assert_eq!(Outgoing::decode(&Bytes::from(older)).expect("as it was written before"), letter);
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_is_kept() {
    let send_to: SendTo = Arc::new(|_| unreachable!("nothing can be sent"));
    let clock = Clock::manual(ACCEPTED);
    for attempt in [1, 2, 30] {
        let payload = Bytes::from_static(b"{}\n");
        let delivery = Delivery { id: "1".to_owned(), payload, key: None, attempt, pushed: ACCEPTED };
        let verdict = settle_result(&send_to, &clock, delivery).await;
        let pause = BACKOFF_FIRST.saturating_mul(1 << (attempt - 1).min(20)).min(BACKOFF_MAX);
        assert!(matches!(verdict, Verdict::Retry { at, .. } if at == ACCEPTED + pause), "{verdict:?}");
    }
}
