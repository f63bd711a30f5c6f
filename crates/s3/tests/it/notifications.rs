//! Notifications: configurations, and the events in the outbox.

use kv::layer::outbox::{Config as Delivery, Verdict, deliver};
use s3::Notice;
use sys::task::CancellationToken;

use super::*;

const QUEUE: &str = "arn:aws:sqs:us-east-1:123456789012:q";

fn configuration(queue: &str, events: &str, filter: &str) -> String {
    format!(
        "<NotificationConfiguration><QueueConfiguration><Id>one</Id><Queue>{queue}</Queue><Event>{events}</Event>{filter}\
         </QueueConfiguration></NotificationConfiguration>"
    )
}

fn suffix(value: &str) -> String {
    format!("<Filter><S3Key><FilterRule><Name>suffix</Name><Value>{value}</Value></FilterRule></S3Key></Filter>")
}

impl Fixture {
    /// Delivers what waits, and returns it.
    async fn notices(&self, count: usize) -> Vec<Notice> {
        let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let stop = CancellationToken::new();
        let (took, ends) = (Arc::clone(&seen), stop.clone());
        let handler = move |delivery: kv::layer::outbox::Delivery| {
            let (took, ends) = (Arc::clone(&took), ends.clone());
            async move {
                took.lock().push(Notice::decode(&delivery.payload).expect("ours"));
                if took.lock().len() == count {
                    ends.cancel();
                }
                Verdict::Done
            }
        };
        deliver(s3::OUTBOX, self.kv.clone(), self.clock.clone(), Delivery::default(), stop, handler).await;
        let mut seen = std::mem::take(&mut *seen.lock());
        seen.sort_by_key(|notice| notice.body["Records"][0]["s3"]["object"]["sequencer"].to_string());
        seen
    }
}

#[tokio::test]
async fn a_put_tells_the_queue_that_asked_for_it() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let body = configuration(QUEUE, "s3:ObjectCreated:*", &suffix(".jpg"));
    s3.ok("PutBucketNotificationConfiguration", "PUT /bkt?notification", &[], body).await;
    let got = s3.ok("GetBucketNotificationConfiguration", "GET /bkt?notification", &[], "").await;
    assert_eq!((got.one("Queue"), got.one("Value")), (QUEUE.into(), ".jpg".into()));
    s3.put("bkt/a%20b.jpg", "hello").await;
    s3.put("bkt/c.txt", "hello").await;
    s3.ok("DeleteObject", "DELETE /bkt/a%20b.jpg", &[], "").await;
    let notices = s3.notices(2).await;
    let test = notices.iter().find(|notice| notice.body["Event"] == "s3:TestEvent").expect("the test message");
    assert_eq!((test.destination.as_str(), test.account.as_str()), (QUEUE, ACCOUNT));
    let told = notices.iter().find(|notice| notice.body["Records"].is_array()).expect("the event");
    let record = &told.body["Records"][0];
    for (at, expected) in [
        ("/eventVersion", "2.1"),
        ("/eventSource", "aws:s3"),
        ("/awsRegion", "us-east-1"),
        ("/eventName", "ObjectCreated:Put"),
        ("/eventTime", "2023-11-14T22:13:20.000Z"),
        ("/s3/configurationId", "one"),
        ("/s3/bucket/name", "bkt"),
        ("/s3/bucket/arn", "arn:aws:s3:::bkt"),
        ("/s3/object/key", "a+b.jpg"),
        ("/s3/object/eTag", "5d41402abc4b2a76b9719d911017c592"),
    ] {
        assert_eq!(record.pointer(at).and_then(|value| value.as_str()), Some(expected), "{at}: {record}");
    }
    assert_eq!(record["s3"]["object"]["size"], 5);
}

#[tokio::test]
async fn sequencers_of_a_key_ascend_over_overwrites_and_deletes() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.versioning("bkt", "Enabled").await;
    let body = format!(
        "<NotificationConfiguration><QueueConfiguration><Queue>{QUEUE}</Queue><Event>s3:ObjectCreated:*</Event>\
         <Event>s3:ObjectRemoved:*</Event></QueueConfiguration></NotificationConfiguration>"
    );
    let skip = [("x-amz-skip-destination-validation", "true")];
    s3.ok("PutBucketNotificationConfiguration", "PUT /bkt?notification", &skip, body).await;
    s3.put("bkt/k", "1").await;
    s3.put("bkt/k", "2").await;
    s3.ok("DeleteObject", "DELETE /bkt/k", &[], "").await;
    let notices = s3.notices(4).await;
    let records: Vec<_> = notices.iter().filter(|notice| notice.body["Records"].is_array()).collect();
    let names: Vec<_> =
        records.iter().map(|notice| notice.body["Records"][0]["eventName"].as_str().expect("the test holds")).collect();
    assert_eq!(names, ["ObjectCreated:Put", "ObjectCreated:Put", "ObjectRemoved:DeleteMarkerCreated"]);
}

/// Here it stands still; after a step back it is behind.
#[tokio::test]
async fn sequencers_of_a_key_ascend_over_a_clock_that_does_not() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let body = configuration(QUEUE, "s3:ObjectCreated:*</Event><Event>s3:ObjectRemoved:*", "");
    let skip = [("x-amz-skip-destination-validation", "true")];
    s3.ok("PutBucketNotificationConfiguration", "PUT /bkt?notification", &skip, body).await;
    for body in ["1", "2", "3"] {
        s3.put("bkt/k", body).await;
        s3.ok("DeleteObject", "DELETE /bkt/k", &[], "").await;
    }
    let in_order_of_sequencers = s3.notices(7).await;
    let records =
        || in_order_of_sequencers.iter().map(|notice| &notice.body["Records"][0]).filter(|one| one.is_object());
    let names = records().map(|record| record["eventName"].as_str().expect("text"));
    assert_eq!(names.collect::<Vec<_>>(), ["ObjectCreated:Put", "ObjectRemoved:Delete"].repeat(3));
    let different: std::collections::BTreeSet<_> =
        records().map(|record| record["s3"]["object"]["sequencer"].to_string()).collect();
    assert_eq!(different.len(), 6);
}

/// Handed out while the keys are written, some of them more than once: what is told of a key is told in the order in which
/// it happened.
#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_key_come_in_the_order_of_its_writes() {
    const KEYS: usize = 6;
    const WRITES: usize = 24;
    let s3 = Arc::new(fixture().await);
    s3.bucket("bkt").await;
    let body = format!(
        "<NotificationConfiguration><QueueConfiguration><Queue>{QUEUE}</Queue><Event>s3:ObjectCreated:*</Event>\
         <Event>s3:ObjectRemoved:*</Event></QueueConfiguration></NotificationConfiguration>"
    );
    let skip = [("x-amz-skip-destination-validation", "true")];
    s3.ok("PutBucketNotificationConfiguration", "PUT /bkt?notification", &skip, body).await;
    let (seen, stop) = (Arc::new(parking_lot::Mutex::new(Vec::new())), CancellationToken::new());
    let (took, ends, ended) = (Arc::clone(&seen), stop.clone(), stop.clone());
    let (clock, chance) = (s3.clock.clone(), Rng::seeded(5));
    let handler = move |delivery: kv::layer::outbox::Delivery| {
        let verdict = match chance.below(3) {
            0 => Verdict::Retry { at: clock.now(), payload: None, push: Vec::new() },
            _ => Verdict::Done,
        };
        let notice = Notice::decode(&delivery.payload).expect("ours");
        let (took, ends, pauses) = (Arc::clone(&took), ends.clone(), chance.below(8));
        async move {
            for _ in 0..pauses {
                tokio::task::yield_now().await;
            }
            let record = &notice.body["Records"][0];
            if matches!(verdict, Verdict::Done) && record.is_object() {
                let object = &record["s3"]["object"];
                let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
                took.lock().push((text(&object["key"]), text(&object["sequencer"]), text(&record["eventName"])));
                if took.lock().len() == KEYS * WRITES {
                    ends.cancel();
                }
            }
            verdict
        }
    };
    let deliveries = deliver(s3::OUTBOX, s3.kv.clone(), s3.clock.clone(), Delivery::default(), stop, handler);
    let writers = (0..KEYS).map(|key| {
        let s3 = Arc::clone(&s3);
        async move {
            for write in 0..WRITES {
                s3.advance(Duration::from_micros(2));
                match write % 3 {
                    2 => s3.ok("DeleteObject", &format!("DELETE /bkt/{key}"), &[], "").await,
                    _ => s3.put(&format!("bkt/{key}"), format!("{write}")).await,
                };
            }
        }
    });
    // What is to be handed out again waits for the clock.
    let time_goes_on = async {
        let real = Clock::system();
        while !ended.is_cancelled() {
            real.sleep(Duration::from_millis(1)).await;
            s3.advance(Duration::from_millis(1));
        }
    };
    futures_util::future::join3(deliveries, futures_util::future::join_all(writers), time_goes_on).await;
    let seen = std::mem::take(&mut *seen.lock());
    for key in 0..KEYS {
        let of_key: Vec<_> = seen.iter().filter(|(name, _, _)| *name == key.to_string()).collect();
        let names: Vec<_> = of_key.iter().map(|(_, _, name)| name.as_str()).collect();
        let expected = ["ObjectCreated:Put", "ObjectCreated:Put", "ObjectRemoved:Delete"];
        assert_eq!(names, expected.repeat(WRITES / 3), "{key}");
        assert!(of_key.is_sorted_by(|a, b| a.1 < b.1), "{of_key:?}");
    }
}

#[tokio::test]
async fn an_event_bus_is_refused_by_name() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let body = "<NotificationConfiguration><EventBridgeConfiguration/></NotificationConfiguration>";
    let put = "PUT /bkt?notification";
    let refused = s3.refused("PutBucketNotificationConfiguration", put, &[], body).await;
    assert_eq!(refused, (501, "NotImplemented".into()));
}

#[tokio::test]
async fn wrong_configurations_are_refused() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let put = "PUT /bkt?notification";
    for body in [
        configuration("not an arn", "s3:ObjectCreated:*", ""),
        configuration("arn:aws:sqs:us-east-1:123456789012:q.fifo", "s3:ObjectCreated:*", ""),
        configuration("arn:aws:sqs:us-east-1:123456789012:closed", "s3:ObjectCreated:*", ""),
        format!(
            "<NotificationConfiguration><QueueConfiguration><Id>a</Id><Queue>{QUEUE}</Queue><Event>s3:ObjectCreated:*</Event>\
             </QueueConfiguration><QueueConfiguration><Id>b</Id><Queue>{QUEUE}</Queue><Event>s3:ObjectCreated:Put</Event>\
             </QueueConfiguration></NotificationConfiguration>"
        ),
    ] {
        let refused = s3.refused("PutBucketNotificationConfiguration", put, &[], body.clone()).await;
        assert_eq!(refused, (400, "InvalidArgument".into()), "{body}");
    }
}

#[tokio::test]
async fn a_bucket_tells_at_most_100_destinations() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let configuration = |count: usize| {
        let each = (0..count).map(|number| {
            let filter = suffix(&format!(".{number:03}"));
            format!("<QueueConfiguration><Queue>{QUEUE}</Queue><Event>s3:ObjectCreated:*</Event>{filter}</QueueConfiguration>")
        });
        format!("<NotificationConfiguration>{}</NotificationConfiguration>", each.collect::<String>())
    };
    let (operation, line) = ("PutBucketNotificationConfiguration", "PUT /bkt?notification");
    assert_eq!(s3.refused(operation, line, &[], configuration(101)).await, (400, "InvalidArgument".into()));
    s3.ok(operation, line, &[], configuration(100)).await;
    let events = "<Event>s3:ObjectCreated:*</Event>".repeat(51);
    let events = format!(
        "<NotificationConfiguration><QueueConfiguration><Queue>{QUEUE}</Queue>{events}</QueueConfiguration>\
         </NotificationConfiguration>"
    );
    assert_eq!(s3.refused(operation, line, &[], events).await, (400, "MalformedXML".into()));
}
