//! CreateEventSourceMapping, GetEventSourceMapping, ListEventSourceMappings, UpdateEventSourceMapping,
//! DeleteEventSourceMapping.

use kv::engine::Room;
use serde_json::{Value, json};

use super::{FUNCTION, settle, world};

const PATH: &str = "/2015-03-31/event-source-mappings";

#[tokio::test]
async fn a_mapping_is_shown_as_it_was_made_and_moves_through_its_states() {
    let world = world();
    let queue = world.queue("q", json!({})).await;
    let input = json!({
        "FunctionName": "f",
        "EventSourceArn": queue.arn(),
        "BatchSize": 100,
        "MaximumBatchingWindowInSeconds": 5,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "FilterCriteria": {"Filters": [{"Pattern": "{\"body\": [\"x\"]}"}]},
        "ScalingConfig": {"MaximumConcurrency": 7},
        "Tags": {"team": "a"},
    });
    let (status, made) = world.call("POST", PATH, input).await;
    assert_eq!(status, 202, "{made}");
    let uuid = made["UUID"].as_str().unwrap().to_owned();
    let arn = format!("arn:aws:lambda:us-east-1:000000000000:event-source-mapping:{uuid}");
    assert_eq!((made["State"].as_str(), made["EventSourceMappingArn"].as_str()), (Some("Creating"), Some(&*arn)));
    assert_eq!(made["FunctionArn"], FUNCTION);
    assert_eq!((&made["BatchSize"], &made["MaximumBatchingWindowInSeconds"]), (&json!(100), &json!(5)));
    assert_eq!(made["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]));
    assert_eq!(made["ScalingConfig"]["MaximumConcurrency"], 7);
    assert_eq!(made["FilterCriteria"]["Filters"][0]["Pattern"], "{\"body\": [\"x\"]}");
    assert_eq!(made["StateTransitionReason"], "USER_INITIATED");
    world.start();
    settle().await;
    assert_eq!(world.state(&uuid).await, "Enabled");
    let one = format!("{PATH}/{uuid}");
    let (status, updated) = world.call("PUT", &one, json!({ "Enabled": false, "BatchSize": 10 })).await;
    assert_eq!((status, updated["State"].as_str()), (202, Some("Disabling")), "{updated}");
    settle().await;
    assert_eq!(world.state(&uuid).await, "Disabled");
    let (_, updated) = world.call("PUT", &one, json!({ "MaximumBatchingWindowInSeconds": 0 })).await;
    assert_eq!((updated["State"].as_str(), &updated["BatchSize"]), (Some("Updating"), &json!(10)));
    settle().await;
    assert_eq!(world.state(&uuid).await, "Disabled");
    let (status, deleted) = world.call("DELETE", &one, Value::Null).await;
    assert_eq!((status, deleted["State"].as_str()), (202, Some("Deleting")));
    settle().await;
    assert_eq!(world.state(&uuid).await, "gone");
    let (status, body) = world.call("DELETE", &one, Value::Null).await;
    assert_eq!((status, body["Type"].as_str()), (404, Some("User")), "{body}");
    world.map(&queue, json!({})).await;
}

#[tokio::test]
async fn an_account_has_a_thousand_mappings_in_a_region_and_no_more() {
    let world = world();
    let put = world.kv.transact(|tx| async move {
        for account in ["000000000000", "111111111111"] {
            for number in 0..999 {
                let words = [account, "us-east-1", &format!("arn:aws:sqs:us-east-1:{account}:q{number}"), FUNCTION];
                let head = [kv::key::Element::from("triggers"), kv::key::Element::Uint(2)];
                let key: Vec<_> = head.into_iter().chain(words.into_iter().map(kv::key::Element::from)).collect();
                tx.set(kv::key::pack(&key), "uuid");
            }
        }
        Ok::<_, kv::Error>(())
    });
    put.await.unwrap();
    let (last, one_more) = (world.queue("last", json!({})).await, world.queue("more", json!({})).await);
    let mapping = |queue: &sqs::QueueName| json!({ "FunctionName": "f", "EventSourceArn": queue.arn() });
    assert_eq!(world.call("POST", PATH, mapping(&last)).await.0, 202);
    let (status, refused) = world.call("POST", PATH, mapping(&one_more)).await;
    assert_eq!(
        (status, refused["message"].as_str().is_some_and(|text| text.contains("1000"))),
        (400, true),
        "{refused}"
    );
}

#[tokio::test]
async fn l16_what_does_not_fit_is_refused() {
    let world = world();
    let queue = world.queue("q", json!({})).await;
    let fifo = world.queue("q.fifo", json!({ "FifoQueue": "true" })).await;
    let hasty = world.queue("hasty", json!({ "VisibilityTimeout": "2" })).await;
    let create = async |function: &str, source: &str, more: Value| {
        let mut input = json!({ "FunctionName": function, "EventSourceArn": source });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, body) = world.call("POST", PATH, input).await;
        let message = body["message"].as_str().or(body["Message"].as_str()).unwrap_or_default().to_owned();
        (status, message)
    };
    let window = "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10";
    let timeout = "Queue visibility timeout: 2 seconds is less than Function timeout: 3 seconds";
    let stream = "Unsupported starting position parameter for given event source mapping type.";
    let missing = "arn:aws:sqs:us-east-1:000000000000:none";
    for (source, more, message) in [
        (queue.arn(), json!({ "BatchSize": 11 }), window),
        (
            fifo.arn(),
            json!({ "BatchSize": 11, "MaximumBatchingWindowInSeconds": 1 }),
            "Batching window is not supported",
        ),
        (fifo.arn(), json!({ "BatchSize": 11 }), "less than or equal to 10"),
        (hasty.arn(), json!({}), timeout),
        (queue.arn(), json!({ "StartingPosition": "LATEST" }), stream),
        (
            queue.arn(),
            json!({ "FilterCriteria": {"Filters": [{"Pattern": "{}"}]} }),
            "Invalid filter pattern definition.",
        ),
        (missing.to_owned(), json!({}), "SQS Error Code: AWS.SimpleQueueService.NonExistentQueue"),
        ("arn:aws:kinesis:us-east-1:000000000000:stream/s".to_owned(), json!({}), "kinesis is not supported"),
        ("arn:aws:ec2:us-east-1:000000000000:x".to_owned(), json!({}), "Unrecognized event source."),
    ] {
        let (status, text) = create("f", &source, more.clone()).await;
        assert!(status == 400 && text.contains(message), "{more}: {status} {text}");
    }
    let (status, _) = create("f", &queue.arn(), json!({ "ScalingConfig": {"MaximumConcurrency": 1} })).await;
    assert_eq!(status, 400);
    let (status, text) = create("other", &queue.arn(), json!({})).await;
    assert!(status == 404 && text.contains("Function not found"), "{status} {text}");
    world.denied.lock().push("sqs:DeleteMessage".to_owned());
    let (status, text) = create("f", &queue.arn(), json!({})).await;
    assert!(status == 400 && text.contains("role does not have permissions"), "{status} {text}");
    world.denied.lock().clear();
    world.map(&queue, json!({})).await;
    let (status, text) = create("f", &queue.arn(), json!({})).await;
    assert!(status == 409 && text.contains("already exists"), "{status} {text}");
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let world = world();
    let mut uuids = Vec::new();
    for n in 0..5 {
        let queue = world.queue(&format!("q{n}"), json!({})).await;
        uuids.push(world.map(&queue, json!({})).await);
    }
    uuids.sort();
    let (mut listed, mut marker) = (Vec::new(), String::new());
    loop {
        let (status, page) = world.call("GET", &format!("{PATH}?MaxItems=2{marker}"), Value::Null).await;
        assert_eq!(status, 200, "{page}");
        let page_uuids = page["EventSourceMappings"].as_array().unwrap().iter();
        listed.extend(page_uuids.map(|mapping| mapping["UUID"].as_str().unwrap().to_owned()));
        match page["NextMarker"].as_str() {
            Some(next) => marker = format!("&Marker={next}"),
            None => break,
        }
    }
    assert_eq!(listed, uuids);
    let source = "arn:aws:sqs:us-east-1:000000000000:q3";
    let (_, page) = world.call("GET", &format!("{PATH}?EventSourceArn={source}&FunctionName=f"), Value::Null).await;
    assert_eq!(page["EventSourceMappings"].as_array().unwrap().len(), 1);
    let (_, page) = world.call("GET", &format!("{PATH}?FunctionName=g"), Value::Null).await;
    assert_eq!(page["EventSourceMappings"], json!([]));
}

/// Settings of a mapping whose record is nearly as large as the store takes.
fn largest() -> Value {
    let patterns = (0..10).map(|_| json!({ "Pattern": json!({ "body": ["x".repeat(4_000)] }).to_string() }));
    let tags = (0..50).map(|number| (format!("{number:0>128}"), Value::from("v".repeat(256))));
    let tags: serde_json::Map<String, Value> = tags.collect();
    json!({ "FilterCriteria": { "Filters": patterns.collect::<Vec<_>>() }, "Tags": tags })
}

#[tokio::test]
async fn mappings_of_the_largest_size_are_served_and_listed() {
    let world = world();
    let mut uuids = Vec::new();
    for number in 0..180 {
        let queue = world.queue(&format!("q{number}"), json!({})).await;
        uuids.push(world.map(&queue, largest()).await);
    }
    uuids.sort();
    world.start();
    for _ in 0..20 {
        settle().await;
    }
    for uuid in [&uuids[0], &uuids[90], &uuids[179]] {
        assert_eq!(world.state(uuid).await, "Enabled", "of 180 times some 60 KB");
    }
    let (mut listed, mut marker) = (Vec::new(), String::new());
    loop {
        let (status, page) = world.call("GET", &format!("{PATH}?MaxItems=100{marker}"), Value::Null).await;
        assert_eq!(status, 200, "{page}");
        let found = page["EventSourceMappings"].as_array().unwrap();
        listed.extend(found.iter().map(|one| one["UUID"].as_str().unwrap().to_owned()));
        match page["NextMarker"].as_str() {
            Some(next) => marker = format!("&Marker={next}"),
            None => break,
        }
    }
    assert_eq!(listed, uuids);
}

#[tokio::test]
async fn what_is_too_long_is_refused() {
    let world = world();
    let queue = world.queue("q", json!({})).await;
    let try_with = async |more: Value| {
        let mut input = json!({ "FunctionName": "f", "EventSourceArn": queue.arn() });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, body) = world.call("POST", PATH, input).await;
        (status, body["Message"].as_str().or(body["message"].as_str()).unwrap_or_default().to_owned())
    };
    let tags: serde_json::Map<String, Value> = (0..51).map(|number| (number.to_string(), Value::from(""))).collect();
    let (status, message) = try_with(json!({ "Tags": tags })).await;
    assert!(status == 400 && message.contains("50 tags"), "{message}");
    // Each backslash of a pattern is two in its text, and four in the record.
    let pattern = json!({ "body": ["\\".repeat(2_000)] }).to_string();
    let filters: Vec<Value> = (0..10).map(|_| json!({ "Pattern": pattern.clone() })).collect();
    let mut more = largest();
    more["FilterCriteria"] = json!({ "Filters": filters });
    let (status, message) = try_with(more).await;
    assert!(status == 400 && message.contains("too long together"), "{status} {message}");
    let (status, _) = world.call("GET", &format!("{PATH}?Marker={}", "m".repeat(11_000)), Value::Null).await;
    assert_eq!(status, 400, "no mapping has such a name");
}

#[tokio::test]
async fn a_mapping_that_cannot_be_read_stops_no_others() {
    let world = world();
    let queue = world.queue("q", json!({})).await;
    let uuid = world.map(&queue, json!({})).await;
    // Before all of the account's own.
    let key = kv::key::pack(&["triggers".into(), 1_u64.into(), "".into(), "".into(), "broken".into()]);
    let put = world.kv.transact(|tx| {
        let key = key.clone();
        async move {
            tx.set(key, b"{".to_vec());
            Ok::<_, kv::Error>(())
        }
    });
    put.await.unwrap();
    world.start();
    settle().await;
    assert_eq!(world.state(&uuid).await, "Enabled");
}

/// A mapping whose change of state has no room, on a full disk, polls all the same, and holds up nobody behind it.
#[tokio::test]
async fn a_mapping_that_cannot_be_settled_stops_no_other() {
    let world = world();
    let queues = [world.queue("first", json!({})).await, world.queue("second", json!({})).await];
    let mut uuids = Vec::new();
    for queue in &queues {
        uuids.push(world.map(queue, json!({})).await);
        world.send(queue, &["m"]).await;
    }
    // Growth is refused; what receives and removes is let in.
    *world.room.lock() = Room::new(0, u64::MAX);
    world.start();
    settle().await;
    assert_eq!(world.state(&uuids[0]).await, "Creating", "the control: it could not be settled");
    assert_eq!(world.batches(), [["m"], ["m"]]);
    *world.room.lock() = Room::ENOUGH;
    world.pass(10).await;
    for uuid in &uuids {
        assert_eq!(world.state(uuid).await, "Enabled");
    }
}
