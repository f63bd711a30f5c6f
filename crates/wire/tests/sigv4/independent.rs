//! Random requests signed by AWS's own signer verify; any changed byte is refused.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use wire::sigv4::{Form, percent_decode, query_pairs};

use super::{Key, Sent, VECTOR_TIME};

const SERVICE: &str = "lambda";

/// Signs with the independent signer. `url` is absolute.
fn sign_with_aws(key: &Key, mut sent: Sent, location: SignatureLocation) -> Sent {
    let identity = Credentials::from_keys(key.id, key.secret.clone(), key.token.clone()).into();
    let mut settings = SigningSettings::default();
    settings.signature_location = location;
    settings.expires_in = (location == SignatureLocation::QueryParams).then_some(Duration::from_secs(60));
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(key.region)
        .name(SERVICE)
        .time(UNIX_EPOCH + Duration::from_secs(u64::try_from(VECTOR_TIME.unix_s()).expect("after 1970")))
        .settings(settings)
        .build()
        .expect("complete");
    let separator = if sent.query.is_empty() { "" } else { "?" };
    let url = format!("http://example.amazonaws.com{}{separator}{}", sent.path, sent.query);
    let headers = sent.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let request = SignableRequest::new(&sent.method, url, headers, SignableBody::Bytes(&sent.body)).expect("signable");
    let (instructions, _) = sign(request, &params.into()).expect("signs").into_parts();
    let (headers, params) = instructions.into_parts();
    for header in headers {
        sent.headers.push((header.name().to_owned(), header.value().to_owned()));
    }
    for (name, value) in params {
        let separator = if sent.query.is_empty() { "" } else { "&" };
        let value: String = value.bytes().map(encoded).collect();
        sent.query.push_str(&format!("{separator}{name}={value}"));
    }
    sent
}

fn encoded(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
}

fn encoded_text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-zA-Z0-9_~-]{1,8}",
        1 => "[ -~é雪]{1,4}".prop_map(|text| text.bytes().map(encoded).collect()),
    ]
}

fn requests() -> impl Strategy<Value = Sent> {
    let path = prop::collection::vec(encoded_text(), 1..4).prop_map(|segments| format!("/{}", segments.join("/")));
    let pair = (encoded_text(), encoded_text()).prop_map(|(name, value)| format!("p{name}={value}"));
    let query = prop::collection::vec(pair, 0..4).prop_map(|pairs| pairs.join("&"));
    let value = "[!-~]{1,6}( [!-~]{1,6}){0,2}";
    let headers = prop::collection::btree_map("x-amz-[a-z]{3,6}|content-type|x-own-[a-z]{1,4}", value, 0..4);
    let method = prop_oneof![Just("GET"), Just("POST"), Just("PUT"), Just("DELETE")];
    (method, path, query, headers, prop::collection::vec(any::<u8>(), 0..40)).prop_map(
        |(method, path, query, headers, body)| {
            let mut headers: Vec<(String, String)> = headers.into_iter().collect();
            headers.push(("host".to_owned(), "example.amazonaws.com".to_owned()));
            Sent { method: method.to_owned(), path, query, headers, body }
        },
    )
}

fn keys() -> impl Strategy<Value = Key> {
    ("[A-Za-z0-9/+]{1,60}", prop::option::of("[A-Za-z0-9/+=]{1,80}")).prop_map(|(secret, token)| Key {
        secret,
        token,
        ..Key::example()
    })
}

/// Which byte of which part to change, and how.
#[derive(Clone, Copy, Debug)]
struct Flip {
    part: u8,
    at: usize,
    with: u8,
}

fn flips() -> impl Strategy<Value = Flip> {
    (0u8..8, any::<usize>(), 1u8..128).prop_map(|(part, at, with)| Flip { part, at, with })
}

fn flip_text(text: &str, flip: Flip) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    let at = flip.at % bytes.len().max(1);
    let byte = bytes.get_mut(at)?;
    let changed = *byte ^ flip.with;
    // Outer and doubled white space means nothing, neither to a signer nor to a reader.
    if !changed.is_ascii_graphic() || *byte == b' ' {
        return None;
    }
    *byte = changed;
    String::from_utf8(bytes).ok()
}

/// A changed request that does not mean the same; `None` when the flip made none.
fn flipped(sent: &Sent, flip: Flip) -> Option<Sent> {
    let mut changed = sent.clone();
    match flip.part {
        0 => changed.method = flip_text(&sent.method, flip)?,
        1 => changed.path = flip_text(&sent.path, flip)?,
        2 => {
            changed.query = flip_text(&sent.query, flip)?;
            if meaning(&changed.query) == meaning(&sent.query) {
                return None;
            }
        }
        3 => {
            let at = flip.at.checked_rem(changed.body.len())?;
            changed.body[at] ^= flip.with;
        }
        _ => {
            let at = flip.at % sent.headers.len();
            changed.headers[at].1 = flip_text(&sent.headers[at].1, flip)?;
        }
    }
    Some(changed)
}

/// What a reader of the query sees, independent of order and of how characters are escaped.
fn meaning(query: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let decoded = |text| percent_decode(text, true).into_owned();
    let mut pairs: Vec<_> = query_pairs(query).map(|(name, value)| (decoded(name), decoded(value))).collect();
    pairs.sort();
    pairs
}

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(400))]

    #[test]
    fn i9_what_awss_signer_signs_verifies(sent in requests(), key in keys()) {
        let signed = sign_with_aws(&key, sent, SignatureLocation::Headers);
        let verified = signed.verify(&key, VECTOR_TIME, SERVICE);
        prop_assert!(verified.is_ok(), "{verified:?} {signed:?}");
    }

    #[test]
    fn w7_what_awss_signer_presigns_verifies(sent in requests(), key in keys()) {
        let sent = Sent { headers: vec![("host".to_owned(), "example.amazonaws.com".to_owned())], ..sent };
        let signed = sign_with_aws(&key, sent, SignatureLocation::QueryParams);
        let verified = signed.verify(&key, VECTOR_TIME, SERVICE);
        prop_assert_eq!(verified.map(|v| v.form), Ok(Form::Presigned { expires_s: 60 }), "{:?}", signed);
    }

    #[test]
    fn i9_any_changed_byte_is_refused(sent in requests(), key in keys(), flips in prop::collection::vec(flips(), 40)) {
        for location in [SignatureLocation::Headers, SignatureLocation::QueryParams] {
            let signed = sign_with_aws(&key, sent.clone(), location);
            for flip in &flips {
                let Some(changed) = flipped(&signed, *flip) else { continue };
                let outcome = changed.verify(&key, VECTOR_TIME, SERVICE);
                prop_assert!(outcome.is_err(), "{flip:?}\n{signed:?}\n{changed:?}");
            }
        }
    }
}
