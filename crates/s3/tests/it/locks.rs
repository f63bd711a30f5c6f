//! Object lock: retention and legal hold.

use super::*;

async fn locked() -> Fixture {
    let s3 = fixture().await;
    s3.ok("CreateBucket", "PUT /bkt", &[("x-amz-bucket-object-lock-enabled", "true")], "").await;
    s3
}

fn retention(mode: &str, until: &str) -> String {
    format!("<Retention><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>")
}

#[tokio::test]
async fn a_retention_keeps_a_version_until_it_ends() {
    let s3 = locked().await;
    let headers =
        [("x-amz-object-lock-mode", "GOVERNANCE"), ("x-amz-object-lock-retain-until-date", "2023-11-16T00:00:00Z")];
    let id = s3.ok("PutObject", "PUT /bkt/k", &headers, "x").await.header("x-amz-version-id").to_owned();
    let line = format!("DELETE /bkt/k?versionId={id}");
    assert_eq!(s3.refused("DeleteObject", &line, &[], "").await, (403, "AccessDenied".into()));
    assert_eq!(s3.ok("DeleteObject", "DELETE /bkt/k", &[], "").await.header("x-amz-delete-marker"), "true");
    let got = s3.ok("GetObjectRetention", &format!("GET /bkt/k?retention&versionId={id}"), &[], "").await;
    assert_eq!((got.one("Mode"), &got.one("RetainUntilDate")[..10]), ("GOVERNANCE".into(), "2023-11-16"));
    s3.advance(2 * DAY);
    s3.ok("DeleteObject", &line, &[], "").await;
}

#[tokio::test]
async fn a_mode_is_changed_by_whoever_may_bypass_governance() {
    let s3 = locked().await;
    let bypass = [("x-amz-bypass-governance-retention", "true")];
    let id = s3.put("bkt/k", "x").await.header("x-amz-version-id").to_owned();
    let line = format!("PUT /bkt/k?retention&versionId={id}");
    s3.ok("PutObjectRetention", &line, &[], retention("GOVERNANCE", "2024-01-02T00:00:00Z")).await;
    for until in ["2024-01-02T00:00:00Z", "2024-01-03T00:00:00Z"] {
        let harder = s3.refused("PutObjectRetention", &line, &[], retention("COMPLIANCE", until)).await;
        assert_eq!(harder, (403, "AccessDenied".into()), "{until}");
    }
    s3.ok("PutObjectRetention", &line, &bypass, retention("COMPLIANCE", "2024-01-02T00:00:00Z")).await;
    let softer = retention("GOVERNANCE", "2024-01-03T00:00:00Z");
    assert_eq!(s3.send("PutObjectRetention", &line, &bypass, softer).await.status, 403);
}

#[tokio::test]
async fn governance_can_be_bypassed_and_compliance_cannot() {
    let s3 = locked().await;
    let bypass = [("x-amz-bypass-governance-retention", "true")];
    for (mode, weakened) in [("GOVERNANCE", true), ("COMPLIANCE", false)] {
        let id = s3.put("bkt/k", "x").await.header("x-amz-version-id").to_owned();
        let line = format!("PUT /bkt/k?retention&versionId={id}");
        s3.ok("PutObjectRetention", &line, &[], retention(mode, "2024-01-02T00:00:00Z")).await;
        s3.ok("PutObjectRetention", &line, &[], retention(mode, "2024-01-03T00:00:00Z")).await;
        let shorter = retention(mode, "2024-01-01T00:00:00Z");
        assert_eq!(s3.refused("PutObjectRetention", &line, &[], shorter.clone()).await, (403, "AccessDenied".into()));
        let status = s3.send("PutObjectRetention", &line, &bypass, shorter).await.status;
        assert_eq!(status, if weakened { 200 } else { 403 }, "{mode}");
        let delete = format!("DELETE /bkt/k?versionId={id}");
        assert_eq!(s3.send("DeleteObject", &delete, &[], "").await.status, 403);
        assert_eq!(s3.send("DeleteObject", &delete, &bypass, "").await.status, if weakened { 204 } else { 403 });
    }
    let past = retention("GOVERNANCE", "2020-01-01T00:00:00Z");
    assert_eq!(
        s3.refused("PutObjectRetention", "PUT /bkt/k?retention", &[], past).await,
        (400, "InvalidArgument".into())
    );
}

#[tokio::test]
async fn a_legal_hold_keeps_until_it_is_lifted() {
    let s3 = locked().await;
    let id = s3.put("bkt/k", "x").await.header("x-amz-version-id").to_owned();
    let none = s3.refused("GetObjectLegalHold", "GET /bkt/k?legal-hold", &[], "").await;
    assert_eq!(none, (404, "NoSuchObjectLockConfiguration".into()));
    for (status, deletes) in [("ON", 403), ("OFF", 204)] {
        let body = format!("<LegalHold><Status>{status}</Status></LegalHold>");
        s3.ok("PutObjectLegalHold", "PUT /bkt/k?legal-hold", &[], body).await;
        assert_eq!(s3.ok("GetObjectLegalHold", "GET /bkt/k?legal-hold", &[], "").await.one("Status"), status);
        let delete = format!("DELETE /bkt/k?versionId={id}");
        assert_eq!(s3.send("DeleteObject", &delete, &[], "").await.status, deletes);
    }
}

#[tokio::test]
async fn the_buckets_default_is_given_to_new_objects() {
    let s3 = locked().await;
    let body = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
                <Mode>COMPLIANCE</Mode><Days>3</Days></DefaultRetention></Rule></ObjectLockConfiguration>";
    s3.ok("PutObjectLockConfiguration", "PUT /bkt?object-lock", &[], body).await;
    let got = s3.ok("GetObjectLockConfiguration", "GET /bkt?object-lock", &[], "").await;
    assert_eq!((got.one("ObjectLockEnabled"), got.one("Days")), ("Enabled".into(), "3".into()));
    s3.put("bkt/k", "x").await;
    let head = s3.ok("HeadObject", "HEAD /bkt/k", &[], "").await;
    assert_eq!(head.header("x-amz-object-lock-mode"), "COMPLIANCE");
    assert_eq!(&head.header("x-amz-object-lock-retain-until-date")[..10], "2023-11-17");
    let suspend = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    let refused = s3.refused("PutBucketVersioning", "PUT /bkt?versioning", &[], suspend).await;
    assert_eq!(refused, (409, "InvalidBucketState".into()));
    s3.bucket("plain").await;
    let refused = s3.refused("GetObjectLockConfiguration", "GET /plain?object-lock", &[], "").await;
    assert_eq!(refused, (404, "ObjectLockConfigurationNotFoundError".into()));
    let refused = s3.refused("PutObjectLockConfiguration", "PUT /plain?object-lock", &[], body).await;
    assert_eq!(refused, (409, "InvalidBucketState".into()));
}

#[tokio::test]
async fn default_retentions_are_positive_and_end_within_a_century() {
    let s3 = fixture().await;
    s3.ok("CreateBucket", "PUT /bkt", &[("x-amz-bucket-object-lock-enabled", "true")], "").await;
    for (period, good) in [
        ("<Days>36500</Days>", true),
        ("<Years>100</Years>", true),
        ("<Days>0</Days>", false),
        ("<Days>36501</Days>", false),
        ("<Years>-1</Years>", false),
        ("<Years>101</Years>", false),
    ] {
        let body = format!(
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
             <Mode>GOVERNANCE</Mode>{period}</DefaultRetention></Rule></ObjectLockConfiguration>"
        );
        let answer = s3.send("PutObjectLockConfiguration", "PUT /bkt?object-lock", &[], body).await;
        let expected = if good { (200, "") } else { (400, "InvalidRetentionPeriod") };
        assert_eq!((answer.status, &*answer.one("Code")), expected, "{period}");
    }
}
