//! PutObject, GetObject, HeadObject, DeleteObject, GetObjectAttributes: bytes, headers, ranges, conditions, checksums,
//! encryption.

use super::*;

#[tokio::test]
async fn s1_what_was_put_is_there_whole_at_any_size() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    for (seed, length) in [(0, 0), (1, 1), (2, 65_536), (3, 65_537), (4, 131_072), (5, 3_000_001)] {
        let bytes = content(seed, length);
        let put = s3.put("bkt/k", bytes.clone()).await;
        assert_eq!(put.header("etag"), format!("\"{}\"", md5_of(&bytes)));
        assert_eq!(s3.get("bkt/k").await, Some(bytes.clone()), "{length}");
        let head = s3.ok("HeadObject", "HEAD /bkt/k", &[], "").await;
        assert_eq!(head.header("content-length"), length.to_string());
        assert_eq!(head.header("x-amz-server-side-encryption"), "AES256");
        if length > 3 {
            for (from, to) in [(0, 0), (1, length - 2), (length / 2, length - 1), (65_535.min(length - 1), length - 1)]
            {
                let range = format!("bytes={from}-{to}");
                let part = s3.send("GetObject", "GET /bkt/k", &[("range", &range)], "").await;
                assert_eq!((part.status, part.body), (206, bytes.slice(from..=to)), "{range} of {length}");
                assert_eq!(part.headers["content-range"], format!("bytes {from}-{to}/{length}"));
            }
        }
    }
    assert_eq!(
        s3.refused("GetObject", "GET /bkt/k", &[("range", "bytes=3000001-")], "").await,
        (416, "InvalidRange".into())
    );
}

#[tokio::test]
async fn small_objects_have_no_file_and_large_ones_have_one() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.put("bkt/small", content(1, 65_536)).await;
    assert_eq!(s3.blob_files().len(), 0);
    s3.put("bkt/large", content(2, 65_537)).await;
    assert_eq!(s3.blob_files().len(), 1);
}

#[tokio::test]
async fn headers_and_metadata_come_back_and_can_be_overridden() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let headers = [
        ("content-type", "text/plain"),
        ("cache-control", "no-cache"),
        ("content-encoding", "aws-chunked, gzip"),
        ("x-amz-meta-colour", "blue"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-tagging", "a=1&b=2"),
    ];
    s3.ok("PutObject", "PUT /bkt/a%20b", &headers, "x").await;
    let head = s3.ok("HeadObject", "HEAD /bkt/a%20b", &[], "").await;
    for (name, value) in [
        ("content-type", "text/plain"),
        ("cache-control", "no-cache"),
        ("content-encoding", "gzip"),
        ("x-amz-meta-colour", "blue"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("accept-ranges", "bytes"),
        ("last-modified", "Tue, 14 Nov 2023 22:13:20 GMT"),
    ] {
        assert_eq!(head.header(name), value, "{name}");
    }
    let overridden = "GET /bkt/a%20b?response-content-type=image/png&response-cache-control=private";
    let got = s3.ok("GetObject", overridden, &[], "").await;
    assert_eq!((got.header("content-type"), got.header("cache-control")), ("image/png", "private"));
    assert_eq!(got.header("x-amz-tagging-count"), "2");
    let huge = "v".repeat(2_100);
    let refused = s3.refused("PutObject", "PUT /bkt/k", &[("x-amz-meta-a", &huge)], "x").await;
    assert_eq!(refused, (400, "MetadataTooLarge".into()));
    let long = format!("PUT /bkt/{}", "k".repeat(1_025));
    assert_eq!(s3.refused("PutObject", &long, &[], "x").await, (400, "KeyTooLongError".into()));
}

#[tokio::test]
async fn conditions_of_reads() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let etag = s3.put("bkt/k", "x").await.header("etag").to_owned();
    for (name, value, status) in [
        ("if-match", etag.as_str(), 200),
        ("if-match", "\"other\"", 412),
        ("if-none-match", etag.as_str(), 304),
        ("if-none-match", "\"other\"", 200),
        ("if-modified-since", "Tue, 14 Nov 2023 22:13:20 GMT", 304),
        ("if-modified-since", "Tue, 14 Nov 2023 22:13:19 GMT", 200),
        ("if-unmodified-since", "Tue, 14 Nov 2023 22:13:19 GMT", 412),
    ] {
        assert_eq!(s3.send("GetObject", "GET /bkt/k", &[(name, value)], "").await.status, status, "{name}: {value}");
        assert_eq!(s3.send("HeadObject", "HEAD /bkt/k", &[(name, value)], "").await.status, status, "{name}: {value}");
    }
}

#[tokio::test]
async fn s3_conditions_of_writes_and_deletes() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let put = async |name: &str, value: &str| s3.send("PutObject", "PUT /bkt/k", &[(name, value)], "x").await.status;
    assert_eq!(put("if-match", "\"abc\"").await, 404);
    assert_eq!(put("if-none-match", "*").await, 200);
    assert_eq!(put("if-none-match", "*").await, 412);
    assert_eq!(put("if-match", &format!("\"{}\"", md5_of(b"x"))).await, 200);
    assert_eq!(put("if-match", "\"abc\"").await, 412);
    let delete = async |value: &str| s3.send("DeleteObject", "DELETE /bkt/k", &[("if-match", value)], "").await.status;
    assert_eq!(delete("\"abc\"").await, 412);
    assert_eq!(delete(&format!("\"{}\"", md5_of(b"x"))).await, 204);
    assert_eq!(s3.get("bkt/k").await, None);
    assert_eq!(delete("*").await, 404);
}

#[tokio::test]
async fn s7_a_wrong_digest_stores_nothing() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let other = base64(&[7; 16]);
    for (name, value, code) in [
        ("content-md5", other.as_str(), "BadDigest"),
        ("content-md5", "short", "InvalidDigest"),
        ("x-amz-checksum-crc32", "AAAAAA==", "BadDigest"),
        ("x-amz-checksum-crc32c", "AAAAAA==", "BadDigest"),
        ("x-amz-checksum-crc64nvme", "AAAAAAAAAAA=", "BadDigest"),
        ("x-amz-checksum-sha1", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "BadDigest"),
        ("x-amz-checksum-sha256", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "BadDigest"),
        ("x-amz-checksum-sha512", &base64(&[7; 64]), "BadDigest"),
        ("x-amz-checksum-md5", other.as_str(), "BadDigest"),
        ("x-amz-checksum-xxhash64", "AAAAAAAAAAA=", "BadDigest"),
        ("x-amz-checksum-xxhash3", "AAAAAAAAAAA=", "BadDigest"),
        ("x-amz-checksum-xxhash128", other.as_str(), "BadDigest"),
        ("x-amz-checksum-sha256", "AAAA", "InvalidRequest"),
    ] {
        for size in [3, 100_000] {
            let refused = s3.refused("PutObject", "PUT /bkt/k", &[(name, value)], content(1, size)).await;
            assert_eq!(refused, (400, code.to_owned()), "{name}");
        }
        assert_eq!(s3.get("bkt/k").await, None, "{name}");
    }
    let good =
        [("x-amz-checksum-crc32c", "4waSgw=="), ("content-md5", &base64(&hex("25f9e794323b453885f5181f1b624d0b")))];
    s3.ok("PutObject", "PUT /bkt/k", &good, "123456789").await;
    let got = s3.ok("GetObject", "GET /bkt/k", &[("x-amz-checksum-mode", "ENABLED")], "").await;
    assert_eq!(got.header("x-amz-checksum-crc32c"), "4waSgw==");
    assert_eq!(got.header("x-amz-checksum-type"), "FULL_OBJECT");
    let quiet = s3.ok("GetObject", "GET /bkt/k", &[], "").await;
    assert_eq!(quiet.header("x-amz-checksum-crc32c"), "");
    s3.put("bkt/k", "123456789").await;
    let head = s3.ok("HeadObject", "HEAD /bkt/k", &[("x-amz-checksum-mode", "ENABLED")], "").await;
    assert_eq!(head.header("x-amz-checksum-crc64nvme"), "rosUhgp5mIg=", "without a wish it is CRC64NVME");
}

fn hex(digits: &str) -> Vec<u8> {
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("the test holds"), 16).expect("the test holds"))
        .collect()
}

#[tokio::test]
async fn bytes_at_rest_are_sealed() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let secret = Bytes::from("a plain text that nobody may find ".repeat(4_000));
    s3.put("bkt/large", secret.clone()).await;
    let [file] = s3.blob_files().try_into().expect("one blob");
    let stored = std::fs::read(file).expect("readable");
    assert!(!stored.windows(12).any(|window| window == b"a plain text"));
    assert_eq!(s3.get("bkt/large").await, Some(secret));
}

#[tokio::test]
async fn sse_c_objects_open_with_their_key_only() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let customer = |key: &[u8; 32]| {
        [
            ("x-amz-server-side-encryption-customer-algorithm", "AES256".to_owned()),
            ("x-amz-server-side-encryption-customer-key", base64(key)),
            ("x-amz-server-side-encryption-customer-key-md5", base64(&hex(&md5_of(key)))),
        ]
    };
    let headers =
        |all: &[(&'static str, String)]| all.iter().map(|(name, value)| (*name, value.clone())).collect::<Vec<_>>();
    let (mine, other) = (customer(&[1; 32]), customer(&[2; 32]));
    for size in [10, 200_000] {
        let bytes = content(9, size);
        let given = headers(&mine);
        let given: Vec<_> = given.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let put = s3.ok("PutObject", "PUT /bkt/k", &given, bytes.clone()).await;
        assert_eq!(put.header("x-amz-server-side-encryption-customer-algorithm"), "AES256");
        assert_eq!(s3.ok("GetObject", "GET /bkt/k", &given, "").await.body, bytes);
        assert_eq!(s3.refused("GetObject", "GET /bkt/k", &[], "").await, (400, "InvalidRequest".into()));
        let wrong = headers(&other);
        let wrong: Vec<_> = wrong.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(s3.refused("GetObject", "GET /bkt/k", &wrong, "").await, (403, "AccessDenied".into()));
        assert_eq!(s3.send("HeadObject", "HEAD /bkt/k", &[], "").await.status, 400);
    }
    let mut torn = headers(&mine);
    torn[2].1 = base64(&[0; 16]);
    let torn: Vec<_> = torn.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(s3.refused("PutObject", "PUT /bkt/k", &torn, "x").await, (400, "InvalidArgument".into()));
}

#[tokio::test]
async fn attributes_tell_what_is_asked_for() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.put("bkt/k", "123456789").await;
    let asked = [("x-amz-object-attributes", "ETag,Checksum,ObjectSize,StorageClass")];
    let got = s3.ok("GetObjectAttributes", "GET /bkt/k?attributes", &asked, "").await;
    assert_eq!(got.one("ETag"), md5_of(b"123456789"));
    assert_eq!((got.one("ObjectSize"), got.one("StorageClass")), ("9".into(), "STANDARD".into()));
    assert_eq!(got.one("ChecksumCRC64NVME"), "rosUhgp5mIg=");
}

#[tokio::test]
async fn tags_of_objects_are_kept_and_checked() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.put("bkt/k", "x").await;
    let tagging = |tags: &[(&str, &str)]| {
        let tags: String =
            tags.iter().map(|(key, value)| format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>")).collect();
        format!("<Tagging><TagSet>{tags}</TagSet></Tagging>")
    };
    s3.ok("PutObjectTagging", "PUT /bkt/k?tagging", &[], tagging(&[("a", "1"), ("b", "2")])).await;
    let got = s3.ok("GetObjectTagging", "GET /bkt/k?tagging", &[], "").await;
    assert_eq!((got.all("Key"), got.all("Value")), (vec!["a".into(), "b".into()], vec!["1".into(), "2".into()]));
    let twice = tagging(&[("a", "1"), ("a", "2")]);
    assert_eq!(s3.refused("PutObjectTagging", "PUT /bkt/k?tagging", &[], twice).await, (400, "InvalidTag".into()));
    s3.ok("DeleteObjectTagging", "DELETE /bkt/k?tagging", &[], "").await;
    assert_eq!(s3.ok("GetObjectTagging", "GET /bkt/k?tagging", &[], "").await.all("Key").len(), 0);
    assert_eq!(s3.refused("GetObjectTagging", "GET /bkt/none?tagging", &[], "").await, (404, "NoSuchKey".into()));
}

#[tokio::test]
async fn what_is_not_served_says_so_by_name() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.put("bkt/k", "x").await;
    let request = http::Request::post("/bkt/k?select&select-type=2").body(()).expect("the test holds");
    let refused = s3.service.identify(Protocol::RestXml, &request.into_parts().0, &Bytes::new()).err();
    let refused = refused.expect("SelectObjectContent is not in the table");
    assert_eq!((refused.status, &*refused.code), (501, "NotImplemented"));
    assert!(refused.message.contains("SelectObjectContent"), "{}", refused.message);
    let restore = "<RestoreRequest><Days>1</Days></RestoreRequest>";
    let refused = s3.refused("RestoreObject", "POST /bkt/k?restore", &[], restore).await;
    assert_eq!(refused, (403, "InvalidObjectState".into()), "nothing is archived");
}

#[tokio::test]
async fn other_parts_of_tinderbox_read_whole_objects() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.versioning("bkt", "Enabled").await;
    for size in [0, 10, 200_000] {
        let bytes = content(size as u64, size);
        let id = s3.put("bkt/k", bytes.clone()).await.header("x-amz-version-id").to_owned();
        s3.put("bkt/k", "newer").await;
        let read = s3.s3.read_object(&cx_of(ACCOUNT), "bkt", "k", Some(&id), 200_000).await.expect("there");
        assert_eq!(read, bytes);
    }
    assert_eq!(s3.s3.read_object(&cx_of(ACCOUNT), "bkt", "k", None, 5).await.expect("there"), "newer");
    for (bucket, key, max) in [("bkt", "none", 5), ("none", "k", 5), ("bkt", "k", 4)] {
        assert!(s3.s3.read_object(&cx_of(ACCOUNT), bucket, key, None, max).await.is_err(), "{bucket}/{key}");
    }
}
