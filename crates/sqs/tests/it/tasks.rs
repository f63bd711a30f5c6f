//! Message move tasks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sqs::QueueName;
use sqs::keys::{Key, Task, TaskStatus};
use wire::shape::Protocol;
use wire::{AccountId, Cx, Permission, Principal};

use super::{Fixture, arn, bodies, cx, fixture, settle};

/// A dead-letter queue with `count` dead letters of `q`.
async fn with_dead_letters(count: usize) -> (Fixture, String, String) {
    let f = fixture();
    let dead = f.queue("dead", json!({})).await;
    let policy = json!({ "deadLetterTargetArn": arn("dead"), "maxReceiveCount": 1 }).to_string();
    let url = f.queue("q", json!({ "RedrivePolicy": policy, "VisibilityTimeout": "0" })).await;
    for number in 0..count {
        f.send(&url, &number.to_string()).await;
    }
    while f.counts(&dead).await[0] != count.to_string() {
        f.receive(&url).await;
    }
    (f, url, dead)
}

#[tokio::test]
async fn dead_letters_return_to_where_they_came_from() {
    let (f, url, dead) = with_dead_letters(5).await;
    f.ok("StartMessageMoveTask", json!({ "SourceArn": arn("dead") })).await;
    settle().await;
    let listed = f.ok("ListMessageMoveTasks", json!({ "SourceArn": arn("dead") })).await;
    let task = &listed["Results"][0];
    assert_eq!((&task["Status"], &task["ApproximateNumberOfMessagesMoved"]), (&json!("COMPLETED"), &json!(5)));
    assert!(task["TaskHandle"].is_null(), "only a task that works has one");
    assert_eq!(f.counts(&dead).await[0], "0");
    let got = f.receive(&url).await;
    assert_eq!(bodies(&got), ["0", "1", "2", "3", "4"]);
    assert_eq!(got[0]["Attributes"]["ApproximateReceiveCount"], "1", "a redriven message is a new one");
    assert!(got[0]["Attributes"]["DeadLetterQueueSourceArn"].is_null());
}

#[tokio::test]
async fn a_task_keeps_its_rate_and_can_be_cancelled() {
    let (f, url, _) = with_dead_letters(6).await;
    let start = json!({ "SourceArn": arn("dead"), "DestinationArn": arn("q"), "MaxNumberOfMessagesPerSecond": 2 });
    let started = f.ok("StartMessageMoveTask", start.clone()).await;
    settle().await;
    assert_eq!(f.counts(&url).await[0], "2", "two in the first second");
    assert_eq!(f.code("StartMessageMoveTask", start).await, "InvalidParameterValue", "one at a time");
    f.pass(1);
    settle().await;
    let cancelled = f.ok("CancelMessageMoveTask", json!({ "TaskHandle": started["TaskHandle"] })).await;
    assert_eq!(cancelled["ApproximateNumberOfMessagesMoved"], 4);
    f.pass(1);
    settle().await;
    let listed = f.ok("ListMessageMoveTasks", json!({ "SourceArn": arn("dead"), "MaxResults": 10 })).await;
    assert_eq!(listed["Results"][0]["Status"], "CANCELLED");
    assert_eq!(f.counts(&url).await[0], "4");
    let again = json!({ "TaskHandle": started["TaskHandle"] });
    assert_eq!(f.code("CancelMessageMoveTask", again).await, "AWS.SimpleQueueService.UnsupportedOperation");
}

#[tokio::test]
async fn a_task_goes_on_after_a_crash() {
    let (f, url, _) = with_dead_letters(4).await;
    f.ok("StartMessageMoveTask", json!({ "SourceArn": arn("dead"), "MaxNumberOfMessagesPerSecond": 2 })).await;
    let f = f.crashed();
    sqs::jobs::resume(&f.sqs).await.expect("the store serves");
    for _ in 0..4 {
        settle().await;
        f.pass(1);
    }
    settle().await;
    assert_eq!(f.counts(&url).await[0], "4");
}

#[tokio::test]
async fn tasks_are_checked() {
    let f = fixture();
    f.queue("q", json!({})).await;
    let start = |input: serde_json::Value| input;
    let missing = start(json!({ "SourceArn": arn("nobody") }));
    assert_eq!(f.code("StartMessageMoveTask", missing).await, "ResourceNotFoundException");
    assert_eq!(f.code("StartMessageMoveTask", json!({ "SourceArn": arn("q") })).await, "InvalidParameterValue");
    assert_eq!(f.code("StartMessageMoveTask", json!({ "SourceArn": "x" })).await, "InvalidParameterValue");
    assert_eq!(f.code("CancelMessageMoveTask", json!({ "TaskHandle": "x" })).await, "InvalidParameterValue");
    let rate = json!({ "SourceArn": arn("q"), "MaxNumberOfMessagesPerSecond": 501 });
    assert_eq!(f.code("StartMessageMoveTask", rate).await, "InvalidParameterValue");
}

#[tokio::test]
async fn a_task_stays_in_its_account_and_region() {
    let (f, _, _) = with_dead_letters(1).await;
    let other_account = AccountId::parse("111111111111").expect("12 digits");
    let stranger = Cx { account: other_account.clone(), principal: Principal::Root { account: other_account }, ..cx() };
    f.ok_as(stranger, "CreateQueue", json!({ "QueueName": "vault" })).await;
    f.ok_as(Cx { region: "eu-west-1".to_owned(), ..cx() }, "CreateQueue", json!({ "QueueName": "far" })).await;
    for (destination, code) in [
        ("arn:aws:sqs:us-east-1:111111111111:vault", "InvalidParameterValue"),
        ("arn:aws:sqs:eu-west-1:000000000000:far", "ResourceNotFoundException"),
        (&arn("dead"), "InvalidParameterValue"),
    ] {
        let input = json!({ "SourceArn": arn("dead"), "DestinationArn": destination });
        assert_eq!(f.code("StartMessageMoveTask", input).await, code, "{destination}");
    }
    let far = json!({ "SourceArn": "arn:aws:sqs:eu-west-1:000000000000:far" });
    assert_eq!(f.code("ListMessageMoveTasks", far).await, "ResourceNotFoundException");
}

/// What authorisation is asked about: each action with its resource.
pub(super) fn asked(f: &Fixture, operation: &str, input: serde_json::Value) -> Vec<(&'static str, String)> {
    let request = http::Request::post("/")
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", format!("AmazonSQS.{operation}"))
        .body(())
        .expect("a well-formed request");
    let (parts, ()) = request.into_parts();
    let line = f.service.line(operation).expect("it is served");
    let input = f.service.decode(line, Protocol::AwsJson1_0, &parts, &input.to_string().into());
    let permissions = line.permissions(&cx(), &input.expect("a good input"));
    let one = |permission: Permission| permission.resources.0.into_iter().map(move |arn| (permission.action, arn));
    permissions.into_iter().flat_map(one).collect()
}

#[tokio::test]
async fn a_task_takes_the_rights_of_all_that_it_does() {
    let f = fixture();
    let of_source = |arn: &str| {
        ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"].map(|action| (action, arn.to_owned()))
    };
    for (destination, to) in [(json!(arn("vault")), arn("vault")), (json!(null), arn("*"))] {
        let start = json!({ "SourceArn": arn("dead"), "DestinationArn": destination });
        let asked = asked(&f, "StartMessageMoveTask", start);
        assert_eq!(asked[0], ("sqs:StartMessageMoveTask", arn("dead")));
        assert_eq!(asked[1..4], of_source(&arn("dead")));
        assert_eq!(asked[4..], [("sqs:SendMessage", to)]);
    }
    let listed = asked(&f, "ListMessageMoveTasks", json!({ "SourceArn": arn("dead") }));
    assert_eq!(listed[0], ("sqs:ListMessageMoveTasks", arn("dead")));
    assert_eq!(listed[1..], of_source(&arn("dead")));
    // Whoever forges a handle is asked about the queue that the handle leads to.
    let handle = json!({ "taskId": "x", "sourceArn": arn("dead"), "startedMs": 1 });
    let handle = STANDARD.encode(handle.to_string());
    let cancelled = asked(&f, "CancelMessageMoveTask", json!({ "TaskHandle": handle }));
    assert_eq!(cancelled[0], ("sqs:CancelMessageMoveTask", arn("dead")));
    assert_eq!(cancelled[1..], of_source(&arn("dead")));
}

#[tokio::test]
async fn a_task_whose_messages_come_back_ends() {
    let f = fixture();
    // Its own dead-letter queue: what returns to where it came from is there again.
    let url = f.queue("q", json!({ "VisibilityTimeout": "0" })).await;
    let policy = json!({ "deadLetterTargetArn": arn("q"), "maxReceiveCount": 1 }).to_string();
    f.ok("SetQueueAttributes", json!({ "QueueUrl": url, "Attributes": { "RedrivePolicy": policy } })).await;
    for number in 0..3 {
        f.send(&url, &number.to_string()).await;
    }
    f.receive(&url).await;
    // The second receive is one too many.
    f.receive(&url).await;
    f.ok("StartMessageMoveTask", json!({ "SourceArn": arn("q") })).await;
    settle().await;
    let listed = f.ok("ListMessageMoveTasks", json!({ "SourceArn": arn("q") })).await;
    let task = &listed["Results"][0];
    assert_eq!((&task["Status"], &task["ApproximateNumberOfMessagesMoved"]), (&json!("COMPLETED"), &json!(3)));
    assert_eq!(f.counts(&url).await[0], "3");
}

#[tokio::test]
async fn a_task_leaves_what_comes_after_its_start() {
    let (f, url, dead) = with_dead_letters(3).await;
    f.ok("StartMessageMoveTask", json!({ "SourceArn": arn("dead"), "MaxNumberOfMessagesPerSecond": 2 })).await;
    settle().await;
    f.send(&dead, "late").await;
    for _ in 0..3 {
        f.pass(1);
        settle().await;
    }
    let listed = f.ok("ListMessageMoveTasks", json!({ "SourceArn": arn("dead") })).await;
    assert_eq!(listed["Results"][0]["Status"], "COMPLETED");
    assert_eq!(bodies(&f.receive(&dead).await), ["late"]);
    assert_eq!(f.counts(&url).await[0], "3");
}

/// More than one transaction can read, 10 MB.
#[tokio::test]
async fn many_remembered_tasks_keep_nothing_from_starting() {
    let (f, url, _) = with_dead_letters(2).await;
    f.ok("StartMessageMoveTask", json!({ "SourceArn": arn("dead"), "MaxNumberOfMessagesPerSecond": 1 })).await;
    let old = Task {
        started: [0; 10],
        status: TaskStatus::Failed,
        destination: None,
        rate: None,
        moved: 0,
        to_move: 0,
        failure: Some("x".repeat(90_000)),
    };
    for number in 0..120u64 {
        let source = QueueName::of_arn(&arn("another")).expect("an ARN");
        f.put(&Key::Task(source, number, "id".to_owned()), Some(&old.encode())).await;
    }
    let f = f.crashed();
    sqs::jobs::resume(&f.sqs).await.expect("a start succeeds");
    for _ in 0..3 {
        settle().await;
        f.pass(1);
    }
    assert_eq!(f.counts(&url).await[0], "2", "the task behind them goes on");
}
