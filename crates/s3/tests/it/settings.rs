//! Settings of buckets: what is put comes back, what is deleted is gone, what is wrong is refused.

use super::*;

/// A setting: put, get and delete operations, the query, a document, a word that comes back, the code when absent.
type Setting<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str, &'a str, &'a str);

#[tokio::test]
async fn documents_come_back_and_go() {
    let s3 = fixture_with_acls().await;
    s3.bucket("bkt").await;
    s3.versioning("bkt", "Enabled").await;
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"s3:*","Resource":"arn:aws:s3:::bkt/*"}]}"#;
    let cases: [Setting<'_>; 7] = [
        (
            "PutBucketPolicy",
            "GetBucketPolicy",
            "DeleteBucketPolicy",
            "policy",
            policy,
            "2012-10-17",
            "NoSuchBucketPolicy",
        ),
        (
            "PutBucketCors",
            "GetBucketCors",
            "DeleteBucketCors",
            "cors",
            "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>http://a</AllowedOrigin></CORSRule></CORSConfiguration>",
            "http://a",
            "NoSuchCORSConfiguration",
        ),
        (
            "PutBucketLifecycleConfiguration",
            "GetBucketLifecycleConfiguration",
            "DeleteBucketLifecycle",
            "lifecycle",
            "<LifecycleConfiguration><Rule><ID>r1</ID><Filter><Prefix>p</Prefix></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>",
            "r1",
            "NoSuchLifecycleConfiguration",
        ),
        (
            "PutBucketTagging",
            "GetBucketTagging",
            "DeleteBucketTagging",
            "tagging",
            "<Tagging><TagSet><Tag><Key>team</Key><Value>blue</Value></Tag></TagSet></Tagging>",
            "blue",
            "NoSuchTagSet",
        ),
        (
            "PutBucketWebsite",
            "GetBucketWebsite",
            "DeleteBucketWebsite",
            "website",
            "<WebsiteConfiguration><IndexDocument><Suffix>i.html</Suffix></IndexDocument></WebsiteConfiguration>",
            "i.html",
            "NoSuchWebsiteConfiguration",
        ),
        (
            "PutBucketReplication",
            "GetBucketReplication",
            "DeleteBucketReplication",
            "replication",
            "<ReplicationConfiguration><Role>arn:aws:iam::1:role/r</Role><Rule><Status>Enabled</Status><Destination><Bucket>arn:aws:s3:::d</Bucket></Destination></Rule></ReplicationConfiguration>",
            "arn:aws:s3:::d",
            "ReplicationConfigurationNotFoundError",
        ),
        (
            "PutBucketOwnershipControls",
            "GetBucketOwnershipControls",
            "DeleteBucketOwnershipControls",
            "ownershipControls",
            "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerPreferred</ObjectOwnership></Rule></OwnershipControls>",
            "BucketOwnerPreferred",
            "OwnershipControlsNotFoundError",
        ),
    ];
    for (put, get, delete, query, document, word, absent) in cases {
        s3.ok(put, &format!("PUT /bkt?{query}"), &[], document).await;
        let got = s3.ok(get, &format!("GET /bkt?{query}"), &[], "").await;
        assert!(got.text().contains(word), "{get}: {}", got.text());
        s3.ok(delete, &format!("DELETE /bkt?{query}"), &[], "").await;
        assert_eq!(s3.refused(get, &format!("GET /bkt?{query}"), &[], "").await, (404, absent.to_owned()));
    }
}

#[tokio::test]
async fn settings_that_are_never_absent_have_a_default() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    for (put, get, query, document, before, after) in [
        (
            "PutBucketLogging",
            "GetBucketLogging",
            "logging",
            "<BucketLoggingStatus><LoggingEnabled><TargetBucket>logs</TargetBucket><TargetPrefix>p</TargetPrefix></LoggingEnabled></BucketLoggingStatus>",
            "BucketLoggingStatus",
            "logs",
        ),
        (
            "PutBucketAccelerateConfiguration",
            "GetBucketAccelerateConfiguration",
            "accelerate",
            "<AccelerateConfiguration><Status>Enabled</Status></AccelerateConfiguration>",
            "AccelerateConfiguration",
            "Enabled",
        ),
        (
            "PutBucketRequestPayment",
            "GetBucketRequestPayment",
            "requestPayment",
            "<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>",
            "BucketOwner",
            "Requester",
        ),
    ] {
        let line = format!("GET /bkt?{query}");
        assert!(s3.ok(get, &line, &[], "").await.text().contains(before), "{get}");
        s3.ok(put, &format!("PUT /bkt?{query}"), &[], document).await;
        assert!(s3.ok(get, &line, &[], "").await.text().contains(after), "{get}");
    }
}

#[tokio::test]
async fn encryption_is_sse_s3_unless_told_otherwise() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let get = "GET /bkt?encryption";
    assert_eq!(s3.ok("GetBucketEncryption", get, &[], "").await.one("SSEAlgorithm"), "AES256");
    let kms = "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm>\
               </ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>";
    s3.ok("PutBucketEncryption", "PUT /bkt?encryption", &[], kms).await;
    assert_eq!(s3.ok("GetBucketEncryption", get, &[], "").await.one("SSEAlgorithm"), "aws:kms");
    let sse = "x-amz-server-side-encryption";
    assert_eq!(s3.put("bkt/k", "x").await.header(sse), "aws:kms");
    s3.ok("DeleteBucketEncryption", "DELETE /bkt?encryption", &[], "").await;
    assert_eq!(s3.put("bkt/k", "x").await.header(sse), "AES256");
}

#[tokio::test]
async fn public_policies_and_acls_can_be_blocked() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let public =
        r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bkt/*"}]}"#;
    let put = "PUT /bkt?policy";
    assert_eq!(s3.refused("PutBucketPolicy", put, &[], public).await, (403, "AccessDenied".into()));
    let got = s3.ok("GetPublicAccessBlock", "GET /bkt?publicAccessBlock", &[], "").await;
    assert_eq!(got.one("BlockPublicAcls"), "true", "new buckets block public access");
    s3.ok("DeletePublicAccessBlock", "DELETE /bkt?publicAccessBlock", &[], "").await;
    let absent = s3.refused("GetPublicAccessBlock", "GET /bkt?publicAccessBlock", &[], "").await;
    assert_eq!(absent, (404, "NoSuchPublicAccessBlockConfiguration".into()));
    s3.ok("PutBucketPolicy", put, &[], public).await;
    let status = s3.ok("GetBucketPolicyStatus", "GET /bkt?policyStatus", &[], "").await;
    assert!(status.text().to_lowercase().contains("true"), "{}", status.text());
    assert_eq!(s3.refused("PutBucketPolicy", put, &[], "{}").await, (400, "MalformedPolicy".into()));
    let foreign = public.replace("bkt", "other");
    assert_eq!(s3.refused("PutBucketPolicy", put, &[], foreign).await, (400, "MalformedPolicy".into()));
    let block =
        "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>";
    s3.ok("PutPublicAccessBlock", "PUT /bkt?publicAccessBlock", &[], block).await;
    let got = s3.ok("GetPublicAccessBlock", "GET /bkt?publicAccessBlock", &[], "").await;
    assert_eq!((got.one("BlockPublicAcls"), got.one("BlockPublicPolicy")), ("true".into(), "false".into()));
}

#[tokio::test]
async fn acls_are_off_unless_the_bucket_has_them() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let refused = s3.refused("PutObject", "PUT /bkt/k", &[("x-amz-acl", "public-read")], "x").await;
    assert_eq!(refused, (400, "AccessControlListNotSupported".into()));
    s3.ok("PutObject", "PUT /bkt/k", &[("x-amz-acl", "bucket-owner-full-control")], "x").await;
    for acl in ["public-read", "private", "bucket-owner-full-control"] {
        for (operation, line) in [("PutBucketAcl", "PUT /bkt?acl"), ("PutObjectAcl", "PUT /bkt/k?acl")] {
            if (operation, acl) == ("PutBucketAcl", "bucket-owner-full-control") {
                continue;
            }
            let refused = s3.refused(operation, line, &[("x-amz-acl", acl)], "").await;
            assert_eq!(refused, (400, "AccessControlListNotSupported".into()), "{operation} {acl}");
        }
    }
    assert_eq!(s3.ok("GetBucketAcl", "GET /bkt?acl", &[], "").await.all("Permission"), ["FULL_CONTROL"]);

    let s3 = fixture_with_acls().await;
    s3.bucket("bkt").await;
    s3.ok("PutBucketAcl", "PUT /bkt?acl", &[("x-amz-acl", "public-read")], "").await;
    assert_eq!(s3.ok("GetBucketAcl", "GET /bkt?acl", &[], "").await.all("Permission"), ["READ", "FULL_CONTROL"]);
    s3.ok("PutObject", "PUT /bkt/k", &[("x-amz-acl", "public-read-write")], "x").await;
    let got = s3.ok("GetObjectAcl", "GET /bkt/k?acl", &[], "").await;
    assert_eq!(got.all("Permission"), ["READ", "WRITE", "FULL_CONTROL"]);
    s3.ok("PutObjectAcl", "PUT /bkt/k?acl", &[("x-amz-acl", "private")], "").await;
    assert_eq!(s3.ok("GetObjectAcl", "GET /bkt/k?acl", &[], "").await.all("Permission"), ["FULL_CONTROL"]);
    let bad = s3.refused("PutObjectAcl", "PUT /bkt/k?acl", &[("x-amz-grant-read", "id=nobody")], "").await;
    assert_eq!(bad, (400, "InvalidArgument".into()));
}

#[tokio::test]
async fn wrong_documents_are_refused() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let rule = |inner: &str| {
        format!(
            "<LifecycleConfiguration><Rule><Filter/><Status>Enabled</Status>{inner}</Rule></LifecycleConfiguration>"
        )
    };
    for (inner, code) in [
        ("", "InvalidRequest"),
        ("<Expiration><Days>0</Days></Expiration>", "InvalidArgument"),
        ("<Expiration><Days>1</Days><Date>2030-01-01T00:00:00Z</Date></Expiration>", "MalformedXML"),
        ("<Expiration><Date>2030-01-01T01:00:00Z</Date></Expiration>", "InvalidArgument"),
    ] {
        let refused = s3.refused("PutBucketLifecycleConfiguration", "PUT /bkt?lifecycle", &[], rule(inner)).await;
        assert_eq!(refused, (400, code.to_owned()), "{inner}");
    }
    let cors = "<CORSConfiguration><CORSRule><AllowedMethod>PATCH</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule></CORSConfiguration>";
    assert_eq!(s3.refused("PutBucketCors", "PUT /bkt?cors", &[], cors).await, (400, "InvalidRequest".into()));
}

#[tokio::test]
async fn acls_are_shown_with_groups_first_and_names() {
    let s3 = fixture_with_acls().await;
    s3.ok("CreateBucket", "PUT /bkt", &[("x-amz-acl", "public-read-write")], "").await;
    let acl = s3.ok("GetBucketAcl", "GET /bkt?acl", &[], "").await;
    assert_eq!(acl.all("Permission"), ["READ", "WRITE", "FULL_CONTROL"]);
    assert_eq!(acl.all("DisplayName"), [ACCOUNT, ACCOUNT], "of the owner, and of the one grantee that is an account");
    let status = s3.ok("GetBucketPolicyStatus", "GET /bkt?policyStatus", &[], "").await;
    assert_eq!(status.one("IsPublic"), "true");
    s3.bucket("closed").await;
    let status = s3.ok("GetBucketPolicyStatus", "GET /closed?policyStatus", &[], "").await;
    assert_eq!(status.one("IsPublic"), "false", "without a policy and without a public ACL");
}

#[tokio::test]
async fn acls_are_not_turned_off_while_they_give_rights_to_others() {
    let s3 = fixture_with_acls().await;
    let code = "InvalidBucketAclWithObjectOwnership";
    let headers = [("x-amz-acl", "public-read"), ("x-amz-object-ownership", "BucketOwnerEnforced")];
    assert_eq!(s3.refused("CreateBucket", "PUT /new", &headers, "").await, (400, code.into()));
    s3.ok("CreateBucket", "PUT /bkt", &headers[..1], "").await;
    let (line, enforced) = (
        "PUT /bkt?ownershipControls",
        "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>",
    );
    assert_eq!(s3.refused("PutBucketOwnershipControls", line, &[], enforced).await, (400, code.into()));
    s3.ok("PutBucketAcl", "PUT /bkt?acl", &[("x-amz-acl", "private")], "").await;
    s3.ok("PutBucketOwnershipControls", line, &[], enforced).await;
}

#[tokio::test]
async fn lifecycle_dates_are_midnights() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let transition =
        |date: &str| format!("<Transition><Date>{date}</Date><StorageClass>GLACIER</StorageClass></Transition>");
    let expiration = |date: &str| format!("<Expiration><Date>{date}</Date></Expiration>");
    for (rule, good) in [
        (expiration("2030-01-01T00:00:00Z"), true),
        (expiration("2030-01-01T00:48:47Z"), false),
        (transition("2030-01-01T00:00:00Z"), true),
        (transition("1970-08-23T00:48:47Z"), false),
    ] {
        let body = format!(
            "<LifecycleConfiguration><Rule><Filter/><Status>Enabled</Status>{rule}</Rule></LifecycleConfiguration>"
        );
        let answer = s3.send("PutBucketLifecycleConfiguration", "PUT /bkt?lifecycle", &[], Bytes::from(body)).await;
        assert_eq!(
            (answer.status, answer.one("Code")),
            if good { (200, String::new()) } else { (400, "InvalidArgument".into()) },
            "{rule}"
        );
    }
}
