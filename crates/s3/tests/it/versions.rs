//! Versions: sem:S8.

use super::*;

#[tokio::test]
async fn s8_delete_makes_a_marker_and_delete_by_id_is_for_good() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.put("bkt/k", "before").await;
    s3.versioning("bkt", "Enabled").await;
    let first = s3.put("bkt/k", "one").await.header("x-amz-version-id").to_owned();
    let second = s3.put("bkt/k", "two").await.header("x-amz-version-id").to_owned();
    assert_ne!(first, second);
    let deleted = s3.ok("DeleteObject", "DELETE /bkt/k", &[], "").await;
    let marker = deleted.header("x-amz-version-id").to_owned();
    assert_eq!(deleted.header("x-amz-delete-marker"), "true");
    let gone = s3.send("GetObject", "GET /bkt/k", &[], "").await;
    assert_eq!((gone.status, gone.header("x-amz-delete-marker")), (404, "true"));
    let marked = s3.send("GetObject", &format!("GET /bkt/k?versionId={marker}"), &[], "").await;
    assert_eq!((marked.status, marked.header("x-amz-delete-marker")), (405, "true"));
    for (id, text) in [(first.as_str(), "one"), (second.as_str(), "two"), ("null", "before")] {
        assert_eq!(s3.get(&format!("bkt/k?versionId={id}")).await.as_deref(), Some(text.as_bytes()));
    }
    let listed = s3.ok("ListObjectVersions", "GET /bkt?versions", &[], "").await;
    assert_eq!(listed.all("VersionId"), [marker.as_str(), &second, &first, "null"], "markers stand before versions");
    assert_eq!(s3.ok("ListObjectsV2", "GET /bkt?list-type=2", &[], "").await.one("KeyCount"), "0");
    s3.ok("DeleteObject", &format!("DELETE /bkt/k?versionId={marker}"), &[], "").await;
    assert_eq!(s3.get("bkt/k").await.as_deref(), Some(&b"two"[..]));
    s3.ok("DeleteObject", &format!("DELETE /bkt/k?versionId={second}"), &[], "").await;
    assert_eq!(s3.get("bkt/k").await.as_deref(), Some(&b"one"[..]));
    assert_eq!(s3.refused("DeleteBucket", "DELETE /bkt", &[], "").await, (409, "BucketNotEmpty".into()));
    let missing = format!("GET /bkt/k?versionId={second}");
    assert_eq!(s3.refused("GetObject", &missing, &[], "").await, (404, "NoSuchVersion".into()));
}

#[tokio::test]
async fn s8_suspended_means_one_null_version() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.versioning("bkt", "Enabled").await;
    let kept = s3.put("bkt/k", "kept").await.header("x-amz-version-id").to_owned();
    s3.versioning("bkt", "Suspended").await;
    assert_eq!(s3.put("bkt/k", "null one").await.header("x-amz-version-id"), "", "no id is given");
    assert_eq!(s3.ok("HeadObject", "HEAD /bkt/k", &[], "").await.header("x-amz-version-id"), "null");
    let copied = s3.ok("CopyObject", "PUT /bkt/c", &[("x-amz-copy-source", "bkt/k")], "").await;
    assert_eq!(copied.header("x-amz-version-id"), "");
    assert_eq!(copied.header("x-amz-copy-source-version-id"), "null");
    s3.ok("DeleteObject", "DELETE /bkt/c?versionId=null", &[], "").await;
    s3.put("bkt/k", "null two").await;
    let listed = s3.ok("ListObjectVersions", "GET /bkt?versions", &[], "").await;
    assert_eq!(listed.all("VersionId"), ["null", kept.as_str()]);
    s3.versioning("bkt", "Enabled").await;
    s3.put("bkt/k", "newest").await;
    s3.versioning("bkt", "Suspended").await;
    let deleted = s3.ok("DeleteObject", "DELETE /bkt/k", &[], "").await;
    assert_eq!((deleted.header("x-amz-version-id"), deleted.header("x-amz-delete-marker")), ("null", "true"));
    let listed = s3.ok("ListObjectVersions", "GET /bkt?versions", &[], "").await;
    assert_eq!(listed.all("VersionId").len(), 3, "the null version gave way to the null marker: {}", listed.text());
    let status = s3.ok("GetBucketVersioning", "GET /bkt?versioning", &[], "").await;
    assert_eq!(status.one("Status"), "Suspended");
}

#[tokio::test]
async fn many_deletes_answer_for_each_key() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.versioning("bkt", "Enabled").await;
    let id = s3.put("bkt/a", "x").await.header("x-amz-version-id").to_owned();
    s3.put("bkt/b", "x").await;
    let body = format!(
        "<Delete><Object><Key>a</Key><VersionId>{id}</VersionId></Object><Object><Key>b</Key></Object>\
         <Object><Key>c</Key><ETag>abc</ETag></Object></Delete>"
    );
    let answer = s3.ok("DeleteObjects", "POST /bkt?delete", &[], body).await;
    assert_eq!(answer.all("DeleteMarker"), ["true"], "{}", answer.text());
    assert_eq!((answer.one("Code"), answer.all("Key").len()), ("NoSuchKey".into(), 3));
    let quiet = "<Delete><Quiet>true</Quiet><Object><Key>a</Key></Object></Delete>";
    assert_eq!(s3.ok("DeleteObjects", "POST /bkt?delete", &[], quiet).await.all("Deleted").len(), 0);
    let many: String = (0..1_001).map(|number| format!("<Object><Key>{number}</Key></Object>")).collect();
    let many = format!("<Delete>{many}</Delete>");
    assert_eq!(s3.refused("DeleteObjects", "POST /bkt?delete", &[], many).await, (400, "MalformedXML".into()));
}

#[tokio::test]
async fn many_deletes_of_one_key_go_in_the_order_of_the_request() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.versioning("bkt", "Enabled").await;
    let mut objects = String::new();
    for number in 0..200 {
        s3.put(&format!("bkt/k{number:03}"), "x").await;
        objects.push_str(&format!("<Object><Key>k{number:03}</Key></Object>"));
    }
    // The marker of the first deletion is what the second one adds to.
    objects.push_str("<Object><Key>k000</Key></Object><Object><Key>k000</Key><VersionId>null</VersionId></Object>");
    let answer = s3.ok("DeleteObjects", "POST /bkt?delete", &[], format!("<Delete>{objects}</Delete>")).await;
    let keys: Vec<_> = (0..200).chain([0, 0]).map(|number| format!("k{number:03}")).collect();
    assert_eq!(answer.all("Key"), keys);
    assert_eq!(answer.all("DeleteMarkerVersionId").len(), 201);
    let listed = s3.ok("ListObjectVersions", "GET /bkt?versions&prefix=k000", &[], "").await;
    let markers = answer.all("DeleteMarkerVersionId");
    assert_eq!(listed.all("VersionId")[..2], [markers[200].clone(), markers[0].clone()], "{}", listed.text());
}
