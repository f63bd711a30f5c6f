//! Races: sem:S2, sem:S3, sem:S5.

use super::*;

async fn statuses(
    s3: &Arc<Fixture>,
    count: usize,
    headers: &'static [(&'static str, &'static str)],
    size: usize,
) -> Vec<u16> {
    let racers = (0..count).map(|seed| {
        let s3 = Arc::clone(s3);
        let body = content(seed as u64, size);
        sys::task::spawn("racer", async move { s3.send("PutObject", "PUT /bkt/k", headers, body).await.status })
    });
    let mut statuses = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        statuses.push(racer.await.expect("the test holds").expect("no panic"));
    }
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_exactly_one_of_n_creators_wins() {
    for size in [10, 100_000] {
        let s3 = Arc::new(fixture().await);
        s3.bucket("bkt").await;
        let statuses = statuses(&s3, 16, &[("if-none-match", "*")], size).await;
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| [200, 409, 412].contains(status)), "{statuses:?}");
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
        statuses(&s3, 8, &[], 150_000).await;
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
