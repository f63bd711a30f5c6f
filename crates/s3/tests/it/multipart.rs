//! Multipart uploads: sem:S6.

use super::*;

const MIB: usize = 1024 * 1024;

impl Fixture {
    pub(super) async fn begin(&self, path: &str, headers: &[(&str, &str)]) -> String {
        self.ok("CreateMultipartUpload", &format!("POST /{path}?uploads"), headers, "").await.one("UploadId")
    }

    pub(super) async fn part(&self, path: &str, upload: &str, number: u32, body: Bytes) -> String {
        let line = format!("PUT /{path}?partNumber={number}&uploadId={upload}");
        self.ok("UploadPart", &line, &[], body).await.header("etag").to_owned()
    }

    async fn complete(&self, path: &str, upload: &str, parts: &[(u32, &str)], headers: &[(&str, &str)]) -> Answer {
        let parts: String = parts
            .iter()
            .map(|(number, etag)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"))
            .collect();
        let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        self.send("CompleteMultipartUpload", &format!("POST /{path}?uploadId={upload}"), headers, body).await
    }
}

/// Longer than any key of the store may be.
#[tokio::test]
async fn s6_ids_keys_and_names_that_are_too_long_are_not_there() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let upload = s3.begin("bkt/k", &[]).await;
    let long = "l".repeat(11_000);
    let facts = async |path: &str, id: &str| {
        let keys = wire::permission::ConditionKeys::new().with("tinderbox:UploadId", id);
        s3.service.facts_in(&format!("arn:aws:s3:::{path}"), &keys).await.map_err(|error| error.to_string())
    };
    assert!(facts("bkt/k", &long).await.expect("they are told").owner.is_some());
    let of_key = facts(&format!("bkt/{long}"), &upload).await.expect("they are told");
    assert!(of_key.owner.is_some() && of_key.absence.is_none(), "{of_key:?}");
    assert_eq!(facts(&long, &upload).await.expect("they are told").absence.expect("none").code, "NoSuchBucket");
    let no_upload = (404, "NoSuchUpload".to_owned());
    let too_long = (400, "KeyTooLongError".to_owned());
    let complete = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part>\
                    </CompleteMultipartUpload>";
    for (operation, method, more, body) in [
        ("ListParts", "GET", "", ""),
        ("AbortMultipartUpload", "DELETE", "", ""),
        ("UploadPart", "PUT", "&partNumber=1", "x"),
        ("CompleteMultipartUpload", "POST", "", complete),
    ] {
        let line = format!("{method} /bkt/k?uploadId={long}{more}");
        assert_eq!(s3.refused(operation, &line, &[], body).await, no_upload, "{operation}");
        let line = format!("{method} /bkt/{long}?uploadId={upload}{more}");
        assert_eq!(s3.refused(operation, &line, &[], body).await, too_long, "{operation}");
    }
    for (operation, line) in [
        ("GetObject", format!("GET /bkt/{long}")),
        ("DeleteObject", format!("DELETE /bkt/{long}")),
        ("GetObjectAcl", format!("GET /bkt/{long}?acl")),
        ("ListObjects", format!("GET /bkt?prefix={long}")),
        ("ListObjects", format!("GET /bkt?marker={long}")),
        ("ListObjectsV2", format!("GET /bkt?list-type=2&start-after={long}")),
        ("ListObjectVersions", format!("GET /bkt?versions&key-marker={long}")),
        ("ListMultipartUploads", format!("GET /bkt?uploads&prefix={long}")),
    ] {
        assert_eq!(s3.refused(operation, &line, &[], "").await, too_long, "{operation}");
    }
    let marked = format!("GET /bkt?uploads&key-marker=a&upload-id-marker={long}");
    assert_eq!(s3.refused("ListMultipartUploads", &marked, &[], "").await, (400, "InvalidArgument".into()));
    let nowhere = s3.refused("GetObject", &format!("GET /{long}/k"), &[], "").await;
    assert_eq!(nowhere, (404, "NoSuchBucket".into()));
}

#[tokio::test]
async fn s6_an_upload_is_invisible_until_it_is_complete_and_then_whole() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let headers = [("content-type", "text/plain"), ("x-amz-meta-a", "1"), ("x-amz-tagging", "t=1")];
    let upload = s3.begin("bkt/k", &headers).await;
    let (first, second, third) = (content(1, 5 * MIB), content(2, 5 * MIB + 7), content(3, 100));
    let mut parts = Vec::new();
    // A part that is put again takes the place of the first try.
    s3.part("bkt/k", &upload, 1, content(9, 5 * MIB)).await;
    for (number, bytes) in [(3, &third), (1, &first), (2, &second)] {
        parts.push((number, s3.part("bkt/k", &upload, number, bytes.clone()).await));
    }
    assert_eq!(s3.get("bkt/k").await, None);
    assert_eq!(s3.ok("ListObjectsV2", "GET /bkt?list-type=2", &[], "").await.one("KeyCount"), "0");
    assert_eq!(s3.ok("ListMultipartUploads", "GET /bkt?uploads", &[], "").await.all("UploadId"), [upload.as_str()]);
    let listed = s3.ok("ListParts", &format!("GET /bkt/k?uploadId={upload}&max-parts=2"), &[], "").await;
    assert_eq!((listed.all("PartNumber"), listed.one("IsTruncated")), (vec!["1".into(), "2".into()], "true".into()));
    let rest = format!("GET /bkt/k?uploadId={upload}&part-number-marker=2");
    assert_eq!(s3.ok("ListParts", &rest, &[], "").await.all("PartNumber"), ["3"]);
    parts.sort();
    let parts: Vec<_> = parts.iter().map(|(number, etag)| (*number, etag.as_str())).collect();
    let done = s3.complete("bkt/k", &upload, &parts, &[]).await;
    assert_eq!(done.status, 200, "{}", done.text());
    let whole = Bytes::from([first.clone(), second.clone(), third.clone()].concat());
    let md5s: Vec<u8> = [&first, &second, &third].iter().flat_map(|part| super::objects_md5(part)).collect();
    assert_eq!(done.one("ETag"), format!("\"{}-3\"", md5_of(&md5s)));
    let got = s3.ok("GetObject", "GET /bkt/k", &[], "").await;
    assert_eq!((got.header("content-type"), got.header("x-amz-meta-a")), ("text/plain", "1"));
    assert!(got.body == whole, "the parts in order");
    for (from, to) in [(0, 5 * MIB), (5 * MIB - 1, 5 * MIB), (10 * MIB, whole.len() - 1), (10 * MIB + 7, 10 * MIB + 9)]
    {
        let range = format!("bytes={from}-{to}");
        let part = s3.ok("GetObject", "GET /bkt/k", &[("range", &range)], "").await;
        assert!(part.body == whole.slice(from..=to), "{range}");
    }
    let part = s3.ok("GetObject", "GET /bkt/k?partNumber=2", &[], "").await;
    assert!(part.body == second && part.header("x-amz-mp-parts-count") == "3");
    assert_eq!(s3.refused("GetObject", "GET /bkt/k?partNumber=4", &[], "").await, (416, "InvalidPartNumber".into()));
    let again = s3.complete("bkt/k", &upload, &parts, &[]).await;
    assert_eq!((again.status, again.one("ETag")), (200, done.one("ETag")), "completing again answers the same");
    s3.put("bkt/k", "other").await;
    assert_eq!(s3.complete("bkt/k", &upload, &parts, &[]).await.one("Code"), "NoSuchUpload");
}

#[tokio::test]
async fn s6_wrong_lists_are_refused_and_leave_the_upload() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let upload = s3.begin("bkt/k", &[]).await;
    let one = s3.part("bkt/k", &upload, 1, content(1, 100)).await;
    let two = s3.part("bkt/k", &upload, 2, content(2, 100)).await;
    let code = async |parts: &[(u32, &str)], headers: &[(&str, &str)]| {
        s3.complete("bkt/k", &upload, parts, headers).await.one("Code")
    };
    assert_eq!(code(&[(1, &two)], &[]).await, "InvalidPart");
    assert_eq!(code(&[(3, &one)], &[]).await, "InvalidPart");
    assert_eq!(code(&[(2, &two), (1, &one)], &[]).await, "InvalidPartOrder");
    assert_eq!(code(&[(1, &one), (2, &two)], &[]).await, "EntityTooSmall");
    assert_eq!(code(&[], &[]).await, "MalformedXML");
    assert_eq!(code(&[(1, &one)], &[("x-amz-mp-object-size", "99")]).await, "InvalidRequest");
    assert_eq!(s3.get("bkt/k").await, None);
    let done = s3.complete("bkt/k", &upload, &[(1, &one)], &[("x-amz-mp-object-size", "100")]).await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(s3.get("bkt/k").await, Some(content(1, 100)));
    let number = format!("PUT /bkt/k?partNumber=10001&uploadId={upload}");
    assert_eq!(s3.refused("UploadPart", &number, &[], "x").await, (400, "InvalidArgument".into()));
}

#[tokio::test]
async fn an_aborted_upload_is_gone() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let upload = s3.begin("bkt/k", &[]).await;
    s3.part("bkt/k", &upload, 1, content(1, 100_000)).await;
    let line = format!("DELETE /bkt/k?uploadId={upload}");
    assert_eq!(s3.ok("AbortMultipartUpload", &line, &[], "").await.status, 204);
    assert_eq!(s3.refused("AbortMultipartUpload", &line, &[], "").await, (404, "NoSuchUpload".into()));
    let put = format!("PUT /bkt/k?partNumber=1&uploadId={upload}");
    assert_eq!(s3.refused("UploadPart", &put, &[], "x").await, (404, "NoSuchUpload".into()));
    let list = format!("GET /bkt/k?uploadId={upload}");
    assert_eq!(s3.refused("ListParts", &list, &[], "").await, (404, "NoSuchUpload".into()));
    s3.ok("DeleteBucket", "DELETE /bkt", &[], "").await;
}

#[tokio::test]
async fn parts_can_be_copied_whole_or_in_part() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let source = content(1, 6 * MIB);
    s3.put("bkt/source", source.clone()).await;
    let upload = s3.begin("bkt/k", &[]).await;
    let copy = async |number: u32, headers: &[(&str, &str)]| {
        let line = format!("PUT /bkt/k?partNumber={number}&uploadId={upload}");
        s3.send("UploadPartCopy", &line, headers, "").await
    };
    let one = copy(1, &[("x-amz-copy-source", "bkt/source")]).await.one("ETag");
    let ranged = [("x-amz-copy-source", "bkt/source"), ("x-amz-copy-source-range", "bytes=100-299")];
    let two = copy(2, &ranged).await.one("ETag");
    let beyond = [("x-amz-copy-source", "bkt/source"), ("x-amz-copy-source-range", "bytes=0-6291456")];
    assert_eq!(copy(3, &beyond).await.one("Code"), "InvalidArgument");
    let done = s3.complete("bkt/k", &upload, &[(1, &one), (2, &two)], &[]).await;
    assert_eq!(done.status, 200, "{}", done.text());
    let expected = Bytes::from([&source[..], &source[100..300]].concat());
    assert!(s3.get("bkt/k").await == Some(expected));
}

#[tokio::test]
async fn s7_checksums_of_parts_make_the_objects() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let whole = content(4, 5 * MIB + 10);
    for (algorithm, kind, header) in
        [("CRC32", "FULL_OBJECT", "x-amz-checksum-crc32"), ("CRC64NVME", "FULL_OBJECT", "x-amz-checksum-crc64nvme")]
    {
        let headers = [("x-amz-checksum-algorithm", algorithm), ("x-amz-checksum-type", kind)];
        let upload = s3.begin("bkt/k", &headers).await;
        let one = s3.part("bkt/k", &upload, 1, whole.slice(..5 * MIB)).await;
        let two = s3.part("bkt/k", &upload, 2, whole.slice(5 * MIB..)).await;
        let done = s3.complete("bkt/k", &upload, &[(1, &one), (2, &two)], &[]).await;
        assert_eq!((done.status, done.one("ChecksumType").as_str()), (200, kind), "{}", done.text());
        let asked = [("x-amz-checksum-mode", "ENABLED")];
        let of_parts = s3.ok("HeadObject", "HEAD /bkt/k", &asked, "").await.header(header).to_owned();
        s3.ok("PutObject", "PUT /bkt/one", &[("x-amz-sdk-checksum-algorithm", algorithm)], whole.clone()).await;
        assert_eq!(s3.ok("HeadObject", "HEAD /bkt/one", &asked, "").await.header(header), of_parts, "{algorithm}");
    }
    let refused = [("x-amz-checksum-algorithm", "SHA256"), ("x-amz-checksum-type", "FULL_OBJECT")];
    let line = "POST /bkt/k?uploads";
    assert_eq!(s3.refused("CreateMultipartUpload", line, &refused, "").await, (400, "InvalidRequest".into()));
    let upload = s3.begin("bkt/k", &[("x-amz-checksum-algorithm", "SHA256")]).await;
    let etag = s3.part("bkt/k", &upload, 1, content(1, 10)).await;
    assert_eq!(
        s3.complete("bkt/k", &upload, &[(1, &etag)], &[]).await.one("Code"),
        "InvalidRequest",
        "a composite needs them all"
    );
}

#[tokio::test]
async fn uploads_are_listed_by_key_with_prefixes_and_markers() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    for key in ["a/1", "a/2", "b", "c"] {
        s3.begin(&format!("bkt/{key}"), &[]).await;
        s3.advance(Duration::from_secs(1));
    }
    s3.begin("bkt/b", &[]).await;
    let listed = s3.ok("ListMultipartUploads", "GET /bkt?uploads&delimiter=/", &[], "").await;
    assert_eq!(listed.all("Key"), ["b", "b", "c"]);
    assert!(listed.text().contains("<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>"), "{}", listed.text());
    let page = s3.ok("ListMultipartUploads", "GET /bkt?uploads&max-uploads=3", &[], "").await;
    assert_eq!(
        (page.all("Key"), page.one("NextKeyMarker")),
        (vec!["a/1".into(), "a/2".into(), "b".into()], "b".into())
    );
    let next = format!("GET /bkt?uploads&key-marker=b&upload-id-marker={}", page.one("NextUploadIdMarker"));
    assert_eq!(s3.ok("ListMultipartUploads", &next, &[], "").await.all("Key"), ["b", "c"]);
}

#[tokio::test]
async fn what_another_account_uploads_is_its_buckets_where_that_is_preferred() {
    let s3 = fixture_with_acls().await;
    s3.ok("CreateBucket", "PUT /bkt", &[("x-amz-object-ownership", "BucketOwnerPreferred")], "").await;
    for (acl, owner) in [("bucket-owner-full-control", ACCOUNT), ("private", OTHER)] {
        let other = || cx_of(OTHER);
        let headers = [("x-amz-acl", acl)];
        let begun = s3.send_as(other(), "CreateMultipartUpload", "POST /bkt/k?uploads", &headers, Bytes::new()).await;
        let id = begun.one("UploadId");
        let part = format!("PUT /bkt/k?partNumber=1&uploadId={id}");
        let part = s3.send_as(other(), "UploadPart", &part, &[], Bytes::from_static(b"x")).await;
        let parts = s3.ok("ListParts", &format!("GET /bkt/k?uploadId={id}"), &[], "").await;
        assert_eq!(parts.all("DisplayName"), [OTHER, owner], "initiator and owner: {}", parts.text());
        let listed = s3.ok("ListMultipartUploads", "GET /bkt?uploads", &[], "").await;
        assert_eq!(listed.all("DisplayName").len(), 2);
        assert!(listed.all("DisplayName").contains(&owner.to_owned()), "{}", listed.text());
        let list = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
            part.header("etag")
        );
        let line = format!("POST /bkt/k?uploadId={id}");
        let done = s3.send_as(other(), "CompleteMultipartUpload", &line, &[], Bytes::from(list)).await;
        assert_eq!(done.status, 200, "{}", done.text());
        let found = s3.ok("GetObjectAcl", "GET /bkt/k?acl", &[], "").await;
        assert_eq!(found.all("DisplayName"), [owner, owner], "{acl}: {}", found.text());
    }
}
