//! CopyObject.

use super::*;

#[tokio::test]
async fn a_copy_has_the_bytes_and_what_the_directives_say() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.bucket("dst").await;
    for size in [10, 200_000] {
        let bytes = content(size as u64, size);
        let headers = [("content-type", "text/css"), ("x-amz-meta-a", "1"), ("x-amz-tagging", "t=1")];
        s3.ok("PutObject", "PUT /bkt/a%20b", &headers, bytes.clone()).await;
        let copied = s3.ok("CopyObject", "PUT /dst/k", &[("x-amz-copy-source", "/bkt/a%20b")], "").await;
        assert_eq!(copied.one("ETag"), format!("\"{}\"", md5_of(&bytes)));
        let got = s3.ok("GetObject", "GET /dst/k", &[], "").await;
        assert_eq!((got.header("content-type"), got.header("x-amz-meta-a")), ("text/css", "1"));
        assert_eq!((got.header("x-amz-tagging-count"), &got.body), ("1", &bytes));
        let replaced = [
            ("x-amz-copy-source", "bkt/a%20b"),
            ("x-amz-metadata-directive", "REPLACE"),
            ("x-amz-tagging-directive", "REPLACE"),
            ("x-amz-meta-b", "2"),
        ];
        s3.ok("CopyObject", "PUT /dst/k", &replaced, "").await;
        let got = s3.ok("HeadObject", "HEAD /dst/k", &[], "").await;
        assert_eq!((got.header("x-amz-meta-a"), got.header("x-amz-meta-b")), ("", "2"));
        assert_eq!((got.header("content-type"), got.header("x-amz-tagging-count")), ("binary/octet-stream", ""));
    }
}

#[tokio::test]
async fn a_copy_onto_itself_must_change_something() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.put("bkt/k", "x").await;
    let itself = [("x-amz-copy-source", "bkt/k")];
    assert_eq!(s3.refused("CopyObject", "PUT /bkt/k", &itself, "").await, (400, "InvalidRequest".into()));
    let changed = [("x-amz-copy-source", "bkt/k"), ("x-amz-metadata-directive", "REPLACE"), ("x-amz-meta-a", "1")];
    s3.ok("CopyObject", "PUT /bkt/k", &changed, "").await;
    assert_eq!(s3.get("bkt/k").await.as_deref(), Some(&b"x"[..]));
}

#[tokio::test]
async fn conditions_on_source_and_destination() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let etag = s3.put("bkt/k", "x").await.header("etag").to_owned();
    for (name, value, status) in [
        ("x-amz-copy-source-if-match", etag.as_str(), 200),
        ("x-amz-copy-source-if-match", "\"other\"", 412),
        ("x-amz-copy-source-if-none-match", etag.as_str(), 412),
        ("if-none-match", "*", 412),
        ("if-match", etag.as_str(), 200),
        ("if-match", "\"other\"", 412),
    ] {
        let headers = [("x-amz-copy-source", "bkt/k"), (name, value)];
        let answer = s3.send("CopyObject", "PUT /bkt/d", &headers, "").await;
        assert_eq!(answer.status, status, "{name}: {value}: {}", answer.text());
    }
    let missing = [("x-amz-copy-source", "bkt/none")];
    assert_eq!(s3.refused("CopyObject", "PUT /bkt/d", &missing, "").await, (404, "NoSuchKey".into()));
}

#[tokio::test]
async fn versions_can_be_copied() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.versioning("bkt", "Enabled").await;
    let first = s3.put("bkt/k", "one").await.header("x-amz-version-id").to_owned();
    s3.put("bkt/k", "two").await;
    let source = format!("bkt/k?versionId={first}");
    let copied = s3.ok("CopyObject", "PUT /bkt/k", &[("x-amz-copy-source", &source)], "").await;
    assert_eq!(copied.header("x-amz-copy-source-version-id"), first);
    assert_eq!(s3.get("bkt/k").await.as_deref(), Some(&b"one"[..]));
}
