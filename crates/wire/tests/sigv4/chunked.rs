//! Bodies in chunks: AWS's published examples, and every way to tamper with them (test:G3, wire:W13).

use bytes::Bytes;
use sys::Timestamp;
use wire::ApiError;
use wire::sigv4::{Claim, Expectations, RegionPolicy, RequestParts, SKEW_DEFAULT};

use super::{Key, Sent};

/// 2013-05-24T00:00:00Z, the time of the examples.
const TIME: Timestamp = Timestamp::from_unix_s(1_369_353_600);

fn key() -> Key {
    Key { id: "AKIAIOSFODNN7EXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(), ..Key::example() }
}

/// Amazon S3 API reference, "Example: chunked upload": 65 KiB of `a` in chunks of 64 KiB.
fn published(mode: &str, trailer: &[(&str, &str)], signed: &str, seed: &str, signatures: [&str; 3], end: &str) -> Sent {
    let mut headers = vec![
        ("host", "s3.amazonaws.com"),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("x-amz-content-sha256", mode),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
    ];
    if trailer.is_empty() {
        headers.push(("content-length", "66824"));
    }
    headers.extend(trailer);
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders={signed},\
         Signature={seed}"
    );
    headers.push(("authorization", &authorization));
    let mut body = Vec::new();
    for (size, signature) in [65_536, 1_024, 0].into_iter().zip(signatures) {
        body.extend_from_slice(format!("{size:x};chunk-signature={signature}\r\n").as_bytes());
        body.extend(std::iter::repeat_n(b'a', size));
        if size > 0 {
            body.extend_from_slice(b"\r\n");
        }
    }
    body.extend_from_slice(end.as_bytes());
    Sent {
        method: "PUT".to_owned(),
        path: "/examplebucket/chunkObject.txt".to_owned(),
        query: String::new(),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body,
    }
}

fn without_trailer() -> Sent {
    published(
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        &[],
        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
         x-amz-storage-class",
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        [
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ],
        "\r\n",
    )
}

const TRAILER_SIGNATURE: &str = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";

fn with_trailer() -> Sent {
    published(
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        &[("x-amz-trailer", "x-amz-checksum-crc32c")],
        "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;\
         x-amz-trailer",
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        [
            "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
            "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
            "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
        ],
        &format!("x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:{TRAILER_SIGNATURE}\r\n\r\n"),
    )
}

/// The payload and the trailers.
type Received = (Vec<u8>, Vec<(String, String)>);

/// What a server makes of it at `now`, the body arriving in pieces of `step` bytes: the payload and the trailers, or the code.
pub(crate) fn received(sent: &Sent, key: &Key, now: Timestamp, step: usize) -> Result<Received, String> {
    let regions = [key.region.to_owned()];
    let expect = Expectations { service: "s3", regions: RegionPolicy::Only(&regions), skew: SKEW_DEFAULT };
    let headers = sent.header_map();
    let parts = RequestParts { method: &sent.method, path: &sent.path, query: &sent.query, headers: &headers };
    let code = |error: ApiError| error.code.into_owned();
    let claim = Claim::read(&parts).map_err(|error| format!("{error:?}"))?.ok_or("unsigned")?;
    let admitted = claim.admit(|id| (id == key.id).then(|| key.credential()), now, &expect);
    let headed = admitted.and_then(|admitted| admitted.check_head(&parts)).map_err(|error| format!("{error:?}"))?;
    let mut check = headed.ok_or("nothing stated")?.1.map_err(code)?;
    let mut payload = Vec::new();
    for piece in sent.body.chunks(step) {
        payload.extend(check.push(Bytes::copy_from_slice(piece)).map_err(code)?.concat());
    }
    Ok((payload, check.finish().map_err(code)?))
}

#[test]
fn w13_the_published_examples_are_taken_however_they_arrive() {
    for step in [1, 7, 89, 1_000, 100_000] {
        let (payload, trailers) = received(&without_trailer(), &key(), TIME, step).expect("AWS's own example");
        assert_eq!((payload.len(), trailers.len()), (66_560, 0), "in pieces of {step}");
        let (payload, trailers) = received(&with_trailer(), &key(), TIME, step).expect("AWS's own example");
        assert!(payload.iter().all(|byte| *byte == b'a') && payload.len() == 66_560);
        assert_eq!(trailers, [("x-amz-checksum-crc32c".to_owned(), "sOO8/Q==".to_owned())]);
    }
}

#[test]
fn g3_no_byte_of_a_framed_body_can_be_changed() {
    for sent in [without_trailer(), with_trailer()] {
        // Every byte of the framing, and some of the payload.
        let framing = (0..sent.body.len()).filter(|at| sent.body[*at] != b'a' || at % 9_973 == 0);
        for at in framing.collect::<Vec<_>>() {
            let mut tampered = sent.clone();
            tampered.body[at] ^= 1;
            let received = received(&tampered, &key(), TIME, 50_000);
            // Only upper and lower case of a trailer's name mean the same.
            assert!(received.is_err(), "byte {at} ({:?}) was changed", char::from(sent.body[at]));
        }
    }
}

#[test]
fn g3_chunks_can_be_neither_left_out_nor_repeated_nor_swapped_nor_added() {
    let sent = without_trailer();
    let first = 65_536 + format!("10000;chunk-signature={}\r\n\r\n", "0".repeat(64)).len();
    let second = 1_024 + format!("400;chunk-signature={}\r\n\r\n", "0".repeat(64)).len();
    let (one, rest) = sent.body.split_at(first);
    let (two, last) = rest.split_at(second);
    for (label, body) in [
        ("the second left out", [one, last].concat()),
        ("the last left out", [one, two].concat()),
        ("cut off", sent.body[..first + 100].to_vec()),
        ("repeated", [one, two, two, last].concat()),
        ("swapped", [two, one, last].concat()),
        ("one more, unsigned", [one, two, b"1\r\nx\r\n", last].concat()),
        ("bytes after the end", [one, two, last, b"x-amz-checksum-crc32:AAAAAA==\r\n"].concat()),
        ("nothing at all", Vec::new()),
    ] {
        let refused = received(&Sent { body, ..sent.clone() }, &key(), TIME, 10_000);
        assert!(refused.is_err(), "{label}");
    }
}

#[test]
fn g3_trailers_are_the_announced_and_signed_ones() {
    let sent = with_trailer();
    let end = sent.body.len()
        - "x-amz-checksum-crc32c:sOO8/Q==\r\n".len()
        - TRAILER_SIGNATURE.len()
        - "x-amz-trailer-signature:\r\n\r\n".len();
    for (label, trailer) in [
        ("no trailer", String::new()),
        ("not signed", "x-amz-checksum-crc32c:sOO8/Q==\r\n\r\n".to_owned()),
        (
            "another value",
            format!("x-amz-checksum-crc32c:sOO8/A==\r\nx-amz-trailer-signature:{TRAILER_SIGNATURE}\r\n\r\n"),
        ),
        (
            "another name",
            format!("x-amz-checksum-crc32:sOO8/Q==\r\nx-amz-trailer-signature:{TRAILER_SIGNATURE}\r\n\r\n"),
        ),
        (
            "one more",
            format!(
                "x-amz-meta-a:b\r\nx-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:{TRAILER_SIGNATURE}\r\n\r\n"
            ),
        ),
        ("too long", format!("x-amz-checksum-crc32c:{}\r\n", "a".repeat(10_000))),
    ] {
        let body = [&sent.body[..end], trailer.as_bytes()].concat();
        assert!(received(&Sent { body, ..sent.clone() }, &key(), TIME, 10_000).is_err(), "{label}");
    }
    let as_signed = [&sent.body[..end], &sent.body[end..]].concat();
    assert!(received(&Sent { body: as_signed, ..sent }, &key(), TIME, 10_000).is_ok(), "the control");
}

#[test]
fn g3_the_heads_statements_about_the_body_are_signed_too() {
    for (label, name, value) in [
        ("unsigned chunks instead", "x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("an unsigned body instead", "x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("another length", "x-amz-decoded-content-length", "66561"),
        ("another trailer", "x-amz-trailer", "x-amz-checksum-crc32"),
    ] {
        let mut sent = with_trailer();
        sent.set(name, value);
        assert_eq!(received(&sent, &key(), TIME, 10_000).expect_err(label), "Mismatch", "{label}");
    }
}
