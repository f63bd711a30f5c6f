//! Random operations beside a plain model: a list of events.

use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use proptest::test_runner::Config;
use serde_json::{Value, json};

use crate::{NOW_MS, column, fixture, messages};

const STREAMS: [&str; 3] = ["a", "ab", "c"];

#[derive(Clone, Debug)]
enum Step {
    /// Events at these times, in one call.
    Append {
        stream: usize,
        at: Vec<i64>,
    },
    Flush,
    Filter {
        streams: Vec<usize>,
        start: Option<i64>,
        end: Option<i64>,
        word: Option<i64>,
        limit: usize,
        head: bool,
    },
    Get {
        stream: usize,
        start: Option<i64>,
        end: Option<i64>,
        limit: usize,
        head: bool,
    },
    Streams {
        by_time: bool,
        descending: bool,
        limit: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few: what comes together often is of one millisecond, which is what a chunk is of.
    let time = || 0..3_i64;
    let stream = || 0..STREAMS.len();
    let append =
        (stream(), proptest::collection::vec(time(), 1..9)).prop_map(|(stream, at)| Step::Append { stream, at });
    let range = || (proptest::option::of(time()), proptest::option::of(time()));
    let filter =
        (proptest::collection::vec(stream(), 0..2), range(), proptest::option::of(time()), 1..6_usize, any::<bool>())
            .prop_map(|(streams, (start, end), word, limit, head)| Step::Filter {
                streams,
                start,
                end,
                word,
                limit,
                head,
            });
    let get = (stream(), range(), 1..6_usize, any::<bool>())
        .prop_map(|(stream, (start, end), limit, head)| Step::Get { stream, start, end, limit, head });
    let streams = (any::<bool>(), any::<bool>(), 1..4_usize).prop_map(|(by_time, descending, limit)| Step::Streams {
        by_time,
        descending,
        limit,
    });
    let step = prop_oneof![
        4 => append, 1 => proptest::strategy::Just(Step::Flush), 3 => filter, 3 => get, 1 => streams,
    ];
    proptest::collection::vec(step, 1..30)
}

#[derive(Clone, Debug)]
struct Modelled {
    at: i64,
    stream: usize,
    message: String,
}

/// All events in the order of arrival.
#[derive(Default)]
struct Model(Vec<Modelled>);

impl Model {
    /// The messages that `wanted` takes, by time; those of one time in the order of arrival.
    fn select(&self, wanted: impl Fn(&Modelled) -> bool) -> Vec<String> {
        let mut events: Vec<&Modelled> = self.0.iter().filter(|event| wanted(event)).collect();
        events.sort_by_key(|event| event.at);
        events.into_iter().map(|event| event.message.clone()).collect()
    }

    fn has(&self, stream: usize) -> bool {
        self.0.iter().any(|event| event.stream == stream)
    }

    fn streams(&self, by_time: bool, descending: bool) -> Vec<String> {
        let last = |stream: usize| self.0.iter().filter(|event| event.stream == stream).map(|event| event.at).max();
        let mut streams: Vec<_> = (0..STREAMS.len()).filter_map(|at| Some((last(at)?, STREAMS[at]))).collect();
        streams.sort_by_key(|(last, name)| (if by_time { *last } else { 0 }, *name));
        if descending {
            streams.reverse();
        }
        streams.into_iter().map(|(_, name)| name.to_owned()).collect()
    }
}

proptest! {
    #![proptest_config(Config { cases: 150, failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_service_answers_as_a_list_of_events_would(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(run(steps));
    }
}

/// Every page of `operation`, as long as tokens lead on.
async fn pages(
    fixture: &crate::Fixture,
    operation: &str,
    mut input: Value,
    list: &str,
    name: &str,
) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    loop {
        let body = fixture.ok(operation, input.clone()).await;
        pages.push(column(&body, list, name));
        let Some(next) = body["nextToken"].as_str() else { return pages };
        input["nextToken"] = json!(next);
    }
}

async fn run(steps: Vec<Step>) {
    let fixture = fixture();
    let mut model = Model::default();
    fixture.append("g", STREAMS[0], &[(NOW_MS, "first w0.")]);
    model.0.push(Modelled { at: 0, stream: 0, message: "first w0.".to_owned() });
    for step in steps {
        match step {
            Step::Append { stream, at } => {
                for at in &at {
                    let message = format!("{} w{at}.", model.0.len());
                    model.0.push(Modelled { at: *at, stream, message });
                }
                let new = &model.0[model.0.len() - at.len()..];
                let events: Vec<_> = new.iter().map(|event| (NOW_MS + event.at, event.message.as_str())).collect();
                fixture.append("g", STREAMS[stream], &events);
            }
            Step::Flush => fixture.logs.flush().await.expect("the store is healthy"),
            Step::Filter { streams, start, end, word, limit, head } => {
                let names: Vec<_> = streams.iter().filter(|at| model.has(**at)).map(|at| STREAMS[*at]).collect();
                let mut expected = model.select(|event| {
                    (names.is_empty() || names.contains(&STREAMS[event.stream]))
                        && start.is_none_or(|start| event.at >= start)
                        && end.is_none_or(|end| event.at <= end)
                        && word.is_none_or(|word| event.message.contains(&format!("w{word}.")))
                });
                if !head {
                    expected.reverse();
                }
                let input = json!({
                    "logGroupName": "g", "limit": limit, "startFromHead": head,
                    "logStreamNames": if names.is_empty() { json!(null) } else { json!(names) },
                    "startTime": start.map(|start| NOW_MS + start), "endTime": end.map(|end| NOW_MS + end),
                    "filterPattern": word.map(|word| format!("\"w{word}.\"")),
                });
                let pages = pages(&fixture, "FilterLogEvents", input.clone(), "events", "message").await;
                assert!(pages.iter().all(|page| page.len() <= limit));
                assert_eq!(pages.concat(), expected, "{input}");
            }
            Step::Get { stream, start, end, limit, head } if model.has(stream) => {
                check_get(&fixture, &model, stream, (start, end), limit, head).await;
            }
            Step::Get { .. } => {}
            Step::Streams { by_time, descending, limit } => {
                let order = if by_time { "LastEventTime" } else { "LogStreamName" };
                let input = json!({ "logGroupName": "g", "orderBy": order, "descending": descending, "limit": limit });
                let pages = pages(&fixture, "DescribeLogStreams", input, "logStreams", "logStreamName").await;
                assert_eq!(pages.concat(), model.streams(by_time, descending));
            }
        }
    }
}

/// Walks a stream from one end to the other by tokens, until a token returns itself.
async fn check_get(
    fixture: &crate::Fixture,
    model: &Model,
    stream: usize,
    (start, end): (Option<i64>, Option<i64>),
    limit: usize,
    head: bool,
) {
    let expected = model.select(|event| {
        event.stream == stream && start.is_none_or(|start| event.at >= start) && end.is_none_or(|end| event.at < end)
    });
    let mut input = json!({
        "logGroupName": "g", "logStreamName": STREAMS[stream], "limit": limit, "startFromHead": head,
        "startTime": start.map(|start| NOW_MS + start), "endTime": end.map(|end| NOW_MS + end),
    });
    let mut found: Vec<String> = Vec::new();
    loop {
        let body = fixture.ok("GetLogEvents", input.clone()).await;
        let page = messages(&body);
        assert!(page.len() <= limit);
        found = if head { [found, page].concat() } else { [page, found].concat() };
        let next = body[if head { "nextForwardToken" } else { "nextBackwardToken" }].clone();
        if next == input["nextToken"] {
            break;
        }
        input["nextToken"] = next;
    }
    assert_eq!(found, expected, "{input}");
}

/// More events of one millisecond, of two streams in turn, than a chunk covers: chunks are full, and overlap from end to end.
#[tokio::test]
async fn full_chunks_that_overlap_are_read_in_order_from_any_place() {
    let fixture = fixture();
    let mut model = Model::default();
    for number in 0..700 {
        let (stream, message) = (number % 2, format!("{number}"));
        fixture.append("g", STREAMS[stream], &[(NOW_MS, &message)]);
        model.0.push(Modelled { at: 0, stream, message });
    }
    fixture.logs.flush().await.expect("the store is healthy");
    // A page of 64 ends where a chunk does: the last event of the first chunk is the 129th of its stream.
    for (head, limit) in [(true, 64), (true, 7), (false, 64), (false, 7)] {
        check_get(&fixture, &model, 0, (None, None), limit, head).await;
        let mut expected = model.select(|_| true);
        if !head {
            expected.reverse();
        }
        let input = json!({ "logGroupName": "g", "limit": limit, "startFromHead": head });
        let pages = pages(&fixture, "FilterLogEvents", input, "events", "message").await;
        assert_eq!(pages.concat(), expected, "{head} {limit}");
    }
}
