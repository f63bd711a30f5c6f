//! Races: sem:S2, sem:S3, sem:S5.

use super::*;

/// An operation, its line, its headers and its body.
type Request = (&'static str, String, Vec<(&'static str, String)>, Bytes);

/// The statuses of requests that go at the same time.
async fn race(s3: &Arc<Fixture>, requests: impl IntoIterator<Item = Request>) -> Vec<u16> {
    let racers = requests.into_iter().map(|(operation, line, headers, body)| {
        let s3 = Arc::clone(s3);
        sys::task::spawn("racer", async move {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            s3.send(operation, &line, &headers, body).await.status
        })
    });
    let mut statuses = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        statuses.push(racer.await.expect("the test holds").expect("no panic"));
    }
    statuses
}

/// `count` PutObjects of the same key, each with a body of its own.
fn puts(count: usize, condition: Option<(&'static str, &str)>, size: usize) -> Vec<Request> {
    let headers: Vec<_> = condition.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    (0..count as u64).map(|seed| ("PutObject", "PUT /bkt/k".to_owned(), headers.clone(), content(seed, size))).collect()
}

/// One of them won, and the others were told that they lost.
fn assert_one(won: u16, statuses: &[u16]) {
    assert_eq!(statuses.iter().filter(|status| **status == won).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [won, 404, 409, 412].contains(status)), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_exactly_one_of_n_creators_wins() {
    for size in [10, 100_000] {
        let s3 = Arc::new(fixture().await);
        s3.bucket("bkt").await;
        assert_one(200, &race(&s3, puts(16, Some(("if-none-match", "*")), size)).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_exactly_one_of_n_overwriters_wins_and_one_of_n_deleters() {
    let s3 = Arc::new(fixture().await);
    s3.bucket("bkt").await;
    for size in [10, 100_000] {
        let etag = s3.put("bkt/k", content(99, size)).await.header("etag").to_owned();
        assert_one(200, &race(&s3, puts(16, Some(("if-match", &etag)), size)).await);
        let etag = s3.ok("HeadObject", "HEAD /bkt/k", &[], "").await.header("etag").to_owned();
        let delete = || ("DeleteObject", "DELETE /bkt/k".to_owned(), vec![("if-match", etag.clone())], Bytes::new());
        assert_one(204, &race(&s3, (0..16).map(|_| delete())).await);
        assert_eq!(s3.get("bkt/k").await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_exactly_one_of_n_copies_and_completions_wins() {
    let s3 = Arc::new(fixture().await);
    s3.bucket("bkt").await;
    s3.put("bkt/source", content(7, 100_000)).await;
    for (name, value) in [("if-none-match", "*".to_owned()), ("if-match", format!("\"{}\"", md5_of(b"there")))] {
        let mut racers: Vec<Request> = Vec::new();
        for seed in 0..8 {
            let headers = vec![("x-amz-copy-source", "bkt/source".to_owned()), (name, value.clone())];
            racers.push(("CopyObject", "PUT /bkt/k".to_owned(), headers, Bytes::new()));
            let upload = s3.begin("bkt/k", &[]).await;
            let etag = s3.part("bkt/k", &upload, 1, content(seed, 70_000)).await;
            let part = format!("<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>");
            let body = format!("<CompleteMultipartUpload>{part}</CompleteMultipartUpload>");
            let line = format!("POST /bkt/k?uploadId={upload}");
            racers.push(("CompleteMultipartUpload", line, vec![(name, value.clone())], Bytes::from(body)));
        }
        s3.ok("DeleteObject", "DELETE /bkt/k", &[], "").await;
        if name == "if-match" {
            s3.put("bkt/k", "there").await;
        }
        assert_one(200, &race(&s3, racers).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_s5_readers_see_one_of_the_bodies_whole() {
    let s3 = Arc::new(fixture().await);
    s3.bucket("bkt").await;
    let bodies: Vec<_> = (0..8).map(|seed| content(seed, 150_000)).collect();
    s3.put("bkt/k", bodies[0].clone()).await;
    let reader = {
        let (s3, bodies) = (Arc::clone(&s3), bodies.clone());
        sys::task::spawn("reader", async move {
            for _ in 0..40 {
                let got = s3.get("bkt/k").await.expect("never absent");
                assert!(bodies.contains(&got), "a mix of two bodies");
            }
        })
    };
    for _ in 0..3 {
        race(&s3, puts(8, None, 150_000)).await;
    }
    reader.await.expect("the test holds").expect("no panic");
    assert!(bodies.contains(&s3.get("bkt/k").await.expect("there")));
}

/// A body whose last bytes come after `meanwhile`.
fn body_during(meanwhile: impl Future<Output = ()> + Send + 'static) -> wire::Body {
    use futures_util::StreamExt as _;
    let first = futures_util::stream::iter([Ok(Bytes::from_static(b"first "))]);
    let last = futures_util::stream::once(async move {
        meanwhile.await;
        Ok(Bytes::from_static(b"last"))
    });
    wire::Body::stream(first.chain(last), Some(10))
}

async fn put_during(s3: &Arc<Fixture>, path: &str, meanwhile: impl Future<Output = ()> + Send + 'static) -> String {
    let (parts, ()) = http::Request::put(path).body(()).expect("the test holds").into_parts();
    let answer =
        s3.service.call_streaming(cx_of(ACCOUNT), Protocol::RestXml, &parts, body_during(meanwhile)).await.into_parts();
    let body = answer.1.collect(10_000).await.expect("the test holds");
    Answer { status: answer.0.status.as_u16(), headers: answer.0.headers, body }.one("Code")
}

async fn give_away(s3: Arc<Fixture>) {
    s3.ok("DeleteBucket", "DELETE /bkt", &[], "").await;
    s3.advance(Duration::from_millis(1));
    let answer = s3.send_as(cx_of(OTHER), "CreateBucket", "PUT /bkt", &[], Bytes::new()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn a_body_that_began_in_one_bucket_does_not_end_in_another_of_its_name() {
    let s3 = Arc::new(fixture().await);
    s3.bucket("bkt").await;
    assert_eq!(put_during(&s3, "/bkt/k", give_away(Arc::clone(&s3))).await, "NoSuchBucket");
    assert_eq!(s3.get("bkt/k").await, None);

    let s3 = Arc::new(fixture().await);
    s3.bucket("bkt").await;
    let upload = s3.ok("CreateMultipartUpload", "POST /bkt/k?uploads", &[], "").await.one("UploadId");
    let part = format!("/bkt/k?partNumber=1&uploadId={upload}");
    assert_eq!(put_during(&s3, &part, give_away(Arc::clone(&s3))).await, "NoSuchUpload");

    // The same account's second bucket is another one too.
    let s3 = Arc::new(fixture().await);
    s3.bucket("bkt").await;
    let again = {
        let s3 = Arc::clone(&s3);
        async move {
            s3.ok("DeleteBucket", "DELETE /bkt", &[], "").await;
            s3.advance(Duration::from_millis(1));
            s3.bucket("bkt").await;
        }
    };
    assert_eq!(put_during(&s3, "/bkt/k", again).await, "NoSuchBucket");
}

#[tokio::test]
async fn what_a_bucket_allows_counts_when_the_bytes_are_there() {
    let s3 = Arc::new(fixture_with_acls().await);
    s3.bucket("bkt").await;
    let block = {
        let s3 = Arc::clone(&s3);
        async move {
            let block = "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>";
            s3.ok("PutPublicAccessBlock", "PUT /bkt?publicAccessBlock", &[], block).await;
        }
    };
    let (parts, ()) =
        http::Request::put("/bkt/k").header("x-amz-acl", "public-read").body(()).expect("the test holds").into_parts();
    let answer = s3.service.call_streaming(cx_of(ACCOUNT), Protocol::RestXml, &parts, body_during(block)).await;
    assert_eq!(answer.status(), 403);
    assert_eq!(s3.get("bkt/k").await, None);
}
