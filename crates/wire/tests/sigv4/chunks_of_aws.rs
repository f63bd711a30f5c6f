//! Bodies in chunks that AWS's own signer signed: they are taken; with any byte changed they are not (test:G3, wire:W13).

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_runtime_api::http::Headers;
use bytes::Bytes;
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::chunked::received;
use super::{Key, Sent, VECTOR_TIME};

const CRC32: &str = "x-amz-checksum-crc32";

fn params<'a>(identity: &'a Identity, key: &'a Key) -> v4::SigningParams<'a, SigningSettings> {
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    v4::SigningParams::builder()
        .identity(identity)
        .region(key.region)
        .name("s3")
        .time(UNIX_EPOCH + Duration::from_secs(u64::try_from(VECTOR_TIME.unix_s()).expect("after 1970")))
        .settings(settings)
        .build()
        .expect("complete")
}

/// A PUT of `chunks` as an SDK streams it: every chunk signed, and the trailer where there is one.
fn streamed(key: &Key, chunks: &[Vec<u8>], trailer: Option<&str>) -> Sent {
    let mode = if trailer.is_some() {
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    } else {
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    };
    let length = chunks.iter().map(Vec::len).sum::<usize>().to_string();
    let mut headers = vec![
        ("host", "s3.amazonaws.com"),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", length.as_str()),
    ];
    headers.extend(trailer.map(|_| ("x-amz-trailer", CRC32)));
    let identity: Identity = Credentials::from_keys(key.id, key.secret.clone(), key.token.clone()).into();
    let url = "http://s3.amazonaws.com/bucket/key";
    let body = SignableBody::Precomputed(mode.to_owned());
    let request = SignableRequest::new("PUT", url, headers.iter().copied(), body).expect("signable");
    let (instructions, mut signature) = sign(request, &params(&identity, key).into()).expect("signs").into_parts();
    let mut sent = Sent {
        method: "PUT".to_owned(),
        path: "/bucket/key".to_owned(),
        query: String::new(),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body: Vec::new(),
    };
    for header in instructions.into_parts().0 {
        sent.headers.push((header.name().to_owned(), header.value().to_owned()));
    }
    let params = params(&identity, key);
    for chunk in chunks.iter().map(Vec::as_slice).chain([&[][..]]) {
        signature = v4::sign_chunk(&Bytes::copy_from_slice(chunk), &signature, &params).expect("signs").into_parts().1;
        sent.body.extend_from_slice(format!("{:x};chunk-signature={signature}\r\n", chunk.len()).as_bytes());
        sent.body.extend_from_slice(chunk);
        if !chunk.is_empty() {
            sent.body.extend_from_slice(b"\r\n");
        }
    }
    if let Some(sum) = trailer {
        let mut trailers = Headers::new();
        trailers.insert(CRC32, sum.to_owned());
        signature = v4::sign_trailer(&trailers, &signature, &params).expect("signs").into_parts().1;
        sent.body.extend_from_slice(format!("{CRC32}:{sum}\r\nx-amz-trailer-signature:{signature}\r\n").as_bytes());
    }
    sent.body.extend_from_slice(b"\r\n");
    sent
}

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(200))]

    #[test]
    fn w13_g3_chunks_of_awss_signer_are_taken_and_no_byte_of_them_can_be_changed(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 0..4),
        trailer in prop::option::of("[A-Za-z0-9+/]{6}=="),
        at in any::<usize>(),
        with in 1u8..=255,
        step in 1usize..300,
    ) {
        let key = Key::example();
        let sent = streamed(&key, &chunks, trailer.as_deref());
        let (payload, trailers) = received(&sent, &key, VECTOR_TIME, step).expect("signed by AWS's signer");
        prop_assert_eq!(payload, chunks.concat());
        let expected: Vec<_> = trailer.iter().map(|sum| (CRC32.to_owned(), sum.clone())).collect();
        prop_assert_eq!(trailers, expected);

        let mut changed = sent.clone();
        let at = at % changed.body.len();
        changed.body[at] ^= with;
        // Upper and lower case mean the same in the name of a trailer and in the length of a chunk.
        if !changed.body.eq_ignore_ascii_case(&sent.body) {
            prop_assert!(received(&changed, &key, VECTOR_TIME, step).is_err(), "byte {} of the body", at);
        }
    }
}
