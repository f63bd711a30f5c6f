//! Background work: the collector, the sweep of orphans, lifecycle rules, the scrubber.

use super::*;

#[tokio::test]
async fn overwritten_deleted_and_aborted_bytes_go_after_a_grace() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.put("bkt/kept", content(1, 100_000)).await;
    s3.put("bkt/over", content(2, 100_000)).await;
    s3.put("bkt/over", content(3, 100_000)).await;
    s3.put("bkt/gone", content(4, 100_000)).await;
    s3.ok("DeleteObject", "DELETE /bkt/gone", &[], "").await;
    let upload = s3.ok("CreateMultipartUpload", "POST /bkt/k?uploads", &[], "").await.one("UploadId");
    let part = format!("PUT /bkt/k?partNumber=1&uploadId={upload}");
    s3.ok("UploadPart", &part, &[], content(5, 100_000)).await;
    s3.ok("AbortMultipartUpload", &format!("DELETE /bkt/k?uploadId={upload}"), &[], "").await;
    assert_eq!((s3::jobs::collect(&s3.s3).await.expect("the test holds"), s3.blob_files().len()), (0, 5));
    s3.advance(Duration::from_secs(61));
    assert_eq!((s3::jobs::collect(&s3.s3).await.expect("the test holds"), s3.blob_files().len()), (3, 2));
    assert_eq!(s3::jobs::collect(&s3.s3).await.expect("the test holds"), 0);
    assert_eq!(s3.get("bkt/kept").await, Some(content(1, 100_000)));
    assert_eq!(s3.get("bkt/over").await, Some(content(3, 100_000)));
}

#[tokio::test]
async fn s2_who_reads_an_object_reads_it_to_its_end() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let bytes = content(1, 4_000_000);
    s3.put("bkt/k", bytes.clone()).await;
    let request = http::Request::get("/bkt/k").body(()).expect("the test holds");
    let (parts, ()) = request.into_parts();
    let answer = s3.service.call_streaming(cx_of(ACCOUNT), Protocol::RestXml, &parts, wire::Body::empty()).await;
    let mut body = answer.into_body();
    let first = body.next().await.expect("a piece").expect("sound");
    s3.ok("DeleteObject", "DELETE /bkt/k", &[], "").await;
    s3.advance(Duration::from_secs(61));
    assert_eq!(s3::jobs::collect(&s3.s3).await.expect("the test holds"), 0, "it is being read");
    let mut read = first.to_vec();
    while let Some(piece) = body.next().await {
        read.extend_from_slice(&piece.expect("sound"));
    }
    assert!(read == bytes);
    drop(body);
    assert_eq!((s3::jobs::collect(&s3.s3).await.expect("the test holds"), s3.blob_files().len()), (1, 0));
}

#[tokio::test]
async fn orphans_are_swept_when_old_and_other_services_blobs_never() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.put("bkt/k", content(1, 100_000)).await;
    let root = Blobs::local(s3.folder.path(), s3.clock.clone(), Rng::seeded(9)).await.expect("the test holds");
    root.put(content(7, 10)).await.expect("the test holds");
    root.namespace("s3").await.expect("the test holds").put(content(8, 10)).await.expect("the test holds");
    assert_eq!(s3::jobs::sweep(&s3.s3).await.expect("the test holds"), 0, "an upload may be about to name it");
    s3.advance(Duration::from_secs(3_600));
    assert_eq!(s3::jobs::sweep(&s3.s3).await.expect("the test holds"), 1);
    assert_eq!((root.list(None, 10).await.expect("the test holds").len(), s3.blob_files().len()), (1, 1));
    assert_eq!(s3.get("bkt/k").await, Some(content(1, 100_000)));
}

async fn lifecycle(s3: &Fixture, rule: &str) {
    let body = format!("<LifecycleConfiguration><Rule><Status>Enabled</Status>{rule}</Rule></LifecycleConfiguration>");
    s3.ok("PutBucketLifecycleConfiguration", "PUT /bkt?lifecycle", &[], body).await;
}

#[tokio::test]
async fn lifecycle_expires_objects_of_their_prefix_after_whole_days() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.put("bkt/tmp/a", "x").await;
    s3.put("bkt/keep", "x").await;
    lifecycle(&s3, "<Filter><Prefix>tmp/</Prefix></Filter><Expiration><Days>1</Days></Expiration>").await;
    s3.advance(DAY);
    assert_eq!(
        s3::jobs::expire(&s3.s3).await.expect("the test holds"),
        0,
        "a day old, but its midnight is still to come"
    );
    s3.advance(DAY);
    assert_eq!(s3::jobs::expire(&s3.s3).await.expect("the test holds"), 1);
    assert_eq!(s3::jobs::expire(&s3.s3).await.expect("the test holds"), 0, "once a day");
    assert_eq!((s3.get("bkt/tmp/a").await, s3.get("bkt/keep").await.is_some()), (None, true));
}

#[tokio::test]
async fn lifecycle_expires_noncurrent_versions_uploads_and_lonely_markers() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.versioning("bkt", "Enabled").await;
    for text in ["1", "2", "3"] {
        s3.put("bkt/k", text).await;
    }
    s3.put("bkt/gone", "x").await;
    s3.ok("DeleteObject", "DELETE /bkt/gone", &[], "").await;
    s3.ok("CreateMultipartUpload", "POST /bkt/u?uploads", &[], "").await;
    lifecycle(
        &s3,
        "<Filter/><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>\
         <Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>\
         <AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>",
    )
    .await;
    s3.advance(2 * DAY);
    assert_eq!(
        s3::jobs::expire(&s3.s3).await.expect("the test holds"),
        5,
        "two of k, one of gone, its marker, the upload"
    );
    let left = s3.ok("ListObjectVersions", "GET /bkt?versions", &[], "").await;
    assert_eq!(left.all("Key"), ["k"], "{}", left.text());
    assert_eq!(s3.get("bkt/k").await.as_deref(), Some(&b"3"[..]));
    assert_eq!(s3.ok("ListMultipartUploads", "GET /bkt?uploads", &[], "").await.all("UploadId").len(), 0);
}

#[tokio::test]
async fn lifecycle_reaches_every_noncurrent_version() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.versioning("bkt", "Enabled").await;
    let first = s3.put("bkt/k", "0").await.header("x-amz-version-id").to_owned();
    for _ in 0..1_150 {
        s3.put("bkt/k", "x").await;
    }
    lifecycle(
        &s3,
        "<Filter/><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays>\
         <NewerNoncurrentVersions>1050</NewerNoncurrentVersions></NoncurrentVersionExpiration>",
    )
    .await;
    s3.advance(2 * DAY);
    assert_eq!(s3::jobs::expire(&s3.s3).await.expect("the test holds"), 100, "those behind the 1,050 newest");
    assert_eq!(s3.send("GetObject", &format!("GET /bkt/k?versionId={first}"), &[], "").await.status, 404);
    assert_eq!(s3.get("bkt/k").await.as_deref(), Some(&b"x"[..]));
    lifecycle(
        &s3,
        "<Filter/><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>",
    )
    .await;
    s3.advance(DAY);
    assert_eq!(s3::jobs::expire(&s3.s3).await.expect("the test holds"), 1_050);
    assert_eq!(s3.ok("ListObjectVersions", "GET /bkt?versions", &[], "").await.all("VersionId").len(), 1);
}

async fn damage(s3: &Fixture, words: &[kv::key::Element]) {
    let key = kv::key::pack(words);
    let damaged = s3.kv.transact(|tx| {
        tx.set(&key, Bytes::from_static(b"no record"));
        async { Ok::<_, kv::Error>(()) }
    });
    damaged.await.expect("the test holds");
}

#[tokio::test]
async fn what_is_damaged_keeps_no_lifecycle_and_no_collector_waiting() {
    use kv::key::Element;
    let s3 = fixture().await;
    for bucket in ["bad", "bkt"] {
        s3.bucket(bucket).await;
        for key in ["a", "b", "c"] {
            s3.put(&format!("{bucket}/{key}"), content(1, 100_000)).await;
        }
    }
    let rule = "<LifecycleConfiguration><Rule><Status>Enabled</Status><Filter/><Expiration><Days>1</Days></Expiration>\
                </Rule></LifecycleConfiguration>";
    for bucket in ["bad", "bkt"] {
        s3.ok("PutBucketLifecycleConfiguration", &format!("PUT /{bucket}?lifecycle"), &[], rule).await;
    }
    damage(&s3, &["s3".into(), Element::Uint(4), "bad".into(), "b".into()]).await;
    // The first entry of the collector's queue.
    damage(&s3, &["s3".into(), Element::Uint(11), Element::Int(0), "x".into()]).await;
    s3.advance(2 * DAY);
    assert_eq!(s3::jobs::expire(&s3.s3).await.expect("the test holds"), 5, "all but the damaged one");
    assert_eq!((s3.get("bad/a").await, s3.get("bad/c").await, s3.get("bkt/c").await), (None, None, None));
    assert_eq!(s3::jobs::expire(&s3.s3).await.expect("the test holds"), 0, "the day is done");
    s3.advance(Duration::from_secs(61));
    assert_eq!(s3::jobs::collect(&s3.s3).await.expect("the test holds"), 5);
}

#[tokio::test]
async fn rules_of_a_bucket_do_not_reach_into_another_of_its_name() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    lifecycle(&s3, "<Filter/><Expiration><Days>1</Days></Expiration>").await;
    s3.ok("DeleteBucket", "DELETE /bkt", &[], "").await;
    s3.bucket("bkt").await;
    s3.put("bkt/k", "x").await;
    s3.advance(3 * DAY);
    assert_eq!(s3::jobs::expire(&s3.s3).await.expect("the test holds"), 0);
    assert!(s3.get("bkt/k").await.is_some());
}

#[tokio::test]
async fn a_scrub_finds_what_is_damaged_and_nothing_else() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.versioning("bkt", "Enabled").await;
    s3.put("bkt/small", "x").await;
    s3.put("bkt/k", content(1, 200_000)).await;
    let sound = s3::jobs::scrub(&s3.s3).await.expect("the test holds");
    assert_eq!((sound.versions, sound.damaged.len()), (2, 0));
    let [file] = s3.blob_files().try_into().expect("one blob");
    let mut bytes = std::fs::read(&file).expect("the test holds");
    bytes[150_000] ^= 1;
    std::fs::write(&file, bytes).expect("the test holds");
    s3.put("bkt/k", "a newer version hides it").await;
    let report = s3::jobs::scrub(&s3.s3).await.expect("the test holds");
    let found: Vec<_> = report.damaged.iter().map(|damage| (damage.bucket.as_str(), damage.key.as_str())).collect();
    assert_eq!(found, [("bkt", "k")]);
}
