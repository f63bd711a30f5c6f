//! CreateBucket, HeadBucket, ListBuckets, DeleteBucket, GetBucketLocation.

use super::*;

#[tokio::test]
async fn a_bucket_is_made_found_and_deleted_when_empty() {
    let s3 = fixture().await;
    let made = s3.ok("CreateBucket", "PUT /bkt", &[], "").await;
    assert_eq!(made.header("location"), "/bkt");
    s3.bucket("another").await;
    assert_eq!(s3.ok("HeadBucket", "HEAD /bkt", &[], "").await.header("x-amz-bucket-region"), "us-east-1");
    assert_eq!(s3.ok("ListBuckets", "GET /", &[], "").await.all("Name"), ["another", "bkt"]);
    assert_eq!(s3.ok("ListBuckets", "GET /?prefix=b", &[], "").await.all("Name"), ["bkt"]);
    let page = s3.ok("ListBuckets", "GET /?max-buckets=1", &[], "").await;
    assert_eq!((page.all("Name"), page.one("ContinuationToken")), (vec!["another".into()], "another".into()));
    assert_eq!(s3.ok("GetBucketLocation", "GET /bkt?location", &[], "").await.one("LocationConstraint"), "");
    s3.put("bkt/k", "x").await;
    assert_eq!(s3.refused("DeleteBucket", "DELETE /bkt", &[], "").await, (409, "BucketNotEmpty".into()));
    s3.ok("DeleteObject", "DELETE /bkt/k", &[], "").await;
    s3.ok("DeleteBucket", "DELETE /bkt", &[], "").await;
    assert_eq!(s3.send("HeadBucket", "HEAD /bkt", &[], "").await.status, 404);
    assert_eq!(s3.refused("PutObject", "PUT /bkt/k", &[], "x").await, (404, "NoSuchBucket".into()));
}

#[tokio::test]
async fn names_are_checked_and_belong_to_one_account() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.bucket("bkt").await;
    let taken = s3.send_as(cx_of(OTHER), "CreateBucket", "PUT /bkt", &[], Bytes::new()).await;
    assert_eq!((taken.status, taken.one("Code")), (409, "BucketAlreadyExists".into()));
    assert_eq!(s3.refused("CreateBucket", "PUT /Bad_Name", &[], "").await, (400, "InvalidBucketName".into()));
    assert_eq!(s3.send_as(cx_of(OTHER), "ListBuckets", "GET /", &[], Bytes::new()).await.all("Name").len(), 0);
    let body =
        "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>";
    s3.ok("CreateBucket", "PUT /far", &[], body).await;
    assert_eq!(s3.ok("GetBucketLocation", "GET /far?location", &[], "").await.text().matches("eu-west-1").count(), 1);
    let owner = [("x-amz-expected-bucket-owner", OTHER)];
    assert_eq!(s3.refused("ListObjectsV2", "GET /bkt?list-type=2", &owner, "").await, (403, "AccessDenied".into()));
}

#[tokio::test]
async fn a_bucket_goes_with_however_many_uploads_are_under_way() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    for number in 0..250 {
        s3.ok("CreateMultipartUpload", &format!("POST /bkt/k{number}?uploads"), &[], "").await;
    }
    s3.put("bkt/k", "x").await;
    assert_eq!(s3.refused("DeleteBucket", "DELETE /bkt", &[], "").await, (409, "BucketNotEmpty".into()));
    assert_eq!(s3.ok("ListMultipartUploads", "GET /bkt?uploads", &[], "").await.all("UploadId").len(), 250);
    s3.ok("DeleteObject", "DELETE /bkt/k", &[], "").await;
    s3.ok("DeleteBucket", "DELETE /bkt", &[], "").await;
    s3.bucket("bkt").await;
    assert_eq!(s3.ok("ListMultipartUploads", "GET /bkt?uploads", &[], "").await.all("UploadId").len(), 0);
}
