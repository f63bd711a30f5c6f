//! OpenID Connect issuers and AssumeRoleWithWebIdentity.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use iam::{Extras, Iam};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer;
use serde_json::{Value, json};
use sys::Rng;
use wire::Principal;

use crate::{Fixture, NOW_S, cx, fixture, refusal, text, texts};

/// A key of a fixed RSA pair whose private half was thrown away, and a token that it signed once.
const RSA_KEY: &str = r#"{"kty": "RSA", "kid": "rsa-1", "alg": "RS256", "use": "sig", "n": "6hAi6l6lXDlXdOUR0gW1SfcJhHwAjtmSiP1rFQoleqaLVnFeS02wOVo-XEmdePLSkN3GPnz0tt-7CZGKf8sUMloukygXM1cShYHwAoF6oEhUyHhlLErrmoxMt5ajeZZm-4fElEKl6LMkeShrKppeSW1TWHQx8AL7ozjaJMcAcztvqsjeC5GR2r16V1EAwvzQisAYSGoiOShk_LcLFvosmsPiIAmAfJVRs91Yfnnn16mtSkSVOIJnp8CpP5K0Khq7BA1XzzTy64qUzHsDHovXVDddd3Lce74-SkkvUIDRLUAjnepcJ5Mdx_-ulJtEVhL_VtKZbmEEICwFcEmJb7NQNQ", "e": "AQAB"}"#;
const RSA_TOKEN: &str = "eyJhbGciOiAiUlMyNTYiLCAia2lkIjogInJzYS0xIiwgInR5cCI6ICJKV1QifQ.eyJpc3MiOiAiaHR0cHM6Ly9pZHAuZXhhbXBsZSIsICJzdWIiOiAiYWxpY2UiLCAiYXVkIjogImFwcCIsICJleHAiOiAxNzAwMDAzNjAwLCAiaWF0IjogMTcwMDAwMDAwMH0.fuo5IkyVMM5iXQ5dKpHEwRVG-EtKs56rgRjrLmhBRaw74NAxHbmwrRTj6u0CrGBeZFvQQa-mCYyBX86J3Jz1wVPFx-Wzw8Ih-H1jgOu2gWAl2xy6hpgfNRTsUFeYdXLgkQQN6mrY12R4rKyZ_AMArQr5RvZqxr8BBp83fWZCh68X4kAvuOgnKmz69UN142cEKuN9SyTSWN7GWqL6ddKW6njOF6WUhkLCeLW53fKZrZRffQcvYFYVslYJRs_0VgdbsVDk2Y4H0UfzwmtwPEhEMfFhya8alBlJg8cJTTRV6otoRnFP_N5WNKS5IRxYKWyVMAkaZYy3ctUXAFz9Q2ki5g";
const ISSUER: (&str, &str) = ("OpenIDConnectProviderArn", "arn:aws:iam::123456789012:oidc-provider/idp.example");

fn signing_key() -> SigningKey {
    SigningKey::from_slice(&[7; 32]).expect("a scalar below the order")
}

fn key_set() -> String {
    let point = signing_key().verifying_key().to_sec1_point(false);
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let bytes = point.as_bytes();
    let ec = json!({ "kty": "EC", "crv": "P-256", "kid": "ec-1", "x": part(&bytes[1..33]), "y": part(&bytes[33..]) });
    let rsa: Value = serde_json::from_str(RSA_KEY).expect("JSON");
    json!({ "keys": [rsa, ec] }).to_string()
}

/// A token with `change` laid over good claims.
fn token(header: Value, change: Value) -> String {
    let mut claims = json!({ "iss": "https://idp.example", "sub": "alice", "aud": "app", "exp": NOW_S + 60 });
    for (name, value) in change.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature: p256::ecdsa::Signature = signing_key().sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

fn es256() -> Value {
    json!({ "alg": "ES256", "kid": "ec-1" })
}

async fn stage() -> Fixture {
    let mut at = fixture().await;
    let issuer_keys = Arc::new(|issuer: String| -> wire::service::BoxFuture<Result<String, String>> {
        Box::pin(async move { if issuer == "https://idp.example" { Ok(key_set()) } else { Err("unknown".to_owned()) } })
    });
    let extras = Extras { issuer_keys: Some(issuer_keys), ..Extras::default() };
    at.iam = Iam::open_with(at.kv.clone(), at.clock.clone(), Rng::seeded(3), extras).await.expect("opens");
    at.services = iam::services(at.iam.clone());
    let url = ("Url", "https://idp.example/");
    at.ok("CreateOpenIDConnectProvider", &[url, ("ClientIDList.member.1", "app")]).await;
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
        "Principal":{"Federated":"arn:aws:iam::123456789012:oidc-provider/idp.example"},
        "Action":"sts:AssumeRoleWithWebIdentity",
        "Condition":{"StringEquals":{"idp.example:sub":"alice","idp.example:aud":"app"}}}]}"#;
    at.ok("CreateRole", &[("RoleName", "web"), ("AssumeRolePolicyDocument", trust)]).await;
    at
}

async fn assume(at: &Fixture, token: &str) -> (u16, String) {
    let input = [
        ("RoleArn", "arn:aws:iam::123456789012:role/web"),
        ("RoleSessionName", "session"),
        ("WebIdentityToken", token),
    ];
    at.call_as(cx(Principal::Anonymous), "AssumeRoleWithWebIdentity", &input).await
}

#[tokio::test]
async fn in_permissive_mode_every_token_is_taken() {
    let mut at = stage().await;
    assert_eq!(assume(&at, "no token").await.0, 400);
    let extras = Extras { permissive: true, ..Extras::default() };
    at.iam = Iam::open_with(at.kv.clone(), at.clock.clone(), Rng::seeded(4), extras).await.expect("opens");
    at.services = iam::services(at.iam.clone());
    let (status, body) = assume(&at, "no token").await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(at.holder(&body).await.map(|holder| holder.arn()), Some(text(&body, "Arn")));
    let unknown = [
        ("RoleArn", "arn:aws:iam::111111111111:role/nobodys"),
        ("RoleSessionName", "session"),
        ("WebIdentityToken", "no token"),
    ];
    let (status, body) = at.call_as(cx(Principal::Anonymous), "AssumeRoleWithWebIdentity", &unknown).await;
    assert_eq!((status, text(&body, "Arn").as_str()), (200, "arn:aws:sts::111111111111:assumed-role/nobodys/session"));
}

#[tokio::test]
async fn a_token_of_a_trusted_issuer_becomes_a_session() {
    let at = stage().await;
    for token in [token(es256(), json!({})), token(es256(), json!({ "aud": ["other", "app"] })), RSA_TOKEN.to_owned()] {
        let (status, body) = assume(&at, &token).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(text(&body, "SubjectFromWebIdentityToken"), "alice");
        assert_eq!(text(&body, "Audience"), "app");
        let holder = at.holder(&body).await.expect("good keys");
        assert_eq!(holder.arn(), "arn:aws:sts::123456789012:assumed-role/web/session");
    }
}

#[tokio::test]
async fn every_other_token_is_refused() {
    let at = stage().await;
    let good = token(es256(), json!({}));
    let mut forged = good.clone().into_bytes();
    // The last but one character carries six whole bits of the signature.
    let at_byte = forged.len() - 2;
    forged[at_byte] = if forged[at_byte] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).expect("ASCII");
    let swapped = {
        let other = token(es256(), json!({ "sub": "mallory" }));
        let (head, _) = other.rsplit_once('.').expect("three parts");
        format!("{head}.{}", good.rsplit_once('.').expect("three parts").1)
    };
    let none = {
        let unsigned = token(json!({ "alg": "none" }), json!({}));
        format!("{}.", unsigned.rsplit_once('.').expect("three parts").0)
    };
    for (token, code) in [
        (forged, "InvalidIdentityToken"),
        (swapped, "InvalidIdentityToken"),
        (none, "InvalidIdentityToken"),
        (token(json!({ "alg": "HS256", "kid": "ec-1" }), json!({})), "InvalidIdentityToken"),
        (token(json!({ "alg": "RS256", "kid": "ec-1" }), json!({})), "InvalidIdentityToken"),
        (token(json!({ "alg": "ES256", "kid": "rsa-1" }), json!({})), "InvalidIdentityToken"),
        (token(es256(), json!({ "iss": "https://evil.example" })), "InvalidIdentityToken"),
        (token(es256(), json!({ "aud": "another" })), "InvalidIdentityToken"),
        (token(es256(), json!({ "nbf": NOW_S + 5 })), "InvalidIdentityToken"),
        (token(es256(), json!({ "exp": NOW_S })), "ExpiredTokenException"),
        (token(es256(), json!({ "sub": "bob" })), "AccessDenied"),
        ("not.a.token".to_owned(), "InvalidIdentityToken"),
    ] {
        let (_, found, message) = refusal(assume(&at, &token).await);
        assert_eq!(found, code, "{token}: {message}");
    }
}

#[tokio::test]
async fn issuers_are_made_changed_and_removed() {
    let at = stage().await;
    let url = ("Url", "https://idp.example");
    assert_eq!(at.refused("CreateOpenIDConnectProvider", &[url]).await.1, "EntityAlreadyExists");
    for bad in ["ftp://x", "http://idp.example", "https://", "https://x?y"] {
        assert_eq!(at.refused("CreateOpenIDConnectProvider", &[("Url", bad)]).await.1, "InvalidInput", "{bad}");
    }
    at.ok("AddClientIDToOpenIDConnectProvider", &[ISSUER, ("ClientID", "second")]).await;
    let print = "0123456789012345678901234567890123456789";
    at.ok("UpdateOpenIDConnectProviderThumbprint", &[ISSUER, ("ThumbprintList.member.1", print)]).await;
    let six: Vec<_> = (1..=6).map(|n| format!("ThumbprintList.member.{n}")).collect();
    let six = six.iter().map(|name| (name.as_str(), print)).chain([ISSUER]).collect::<Vec<_>>();
    assert_eq!(at.refused("UpdateOpenIDConnectProviderThumbprint", &six).await.1, "InvalidInput");
    let found = at.ok("GetOpenIDConnectProvider", &[ISSUER]).await;
    assert_eq!(
        (text(&found, "Url"), texts(&found, "member")),
        ("idp.example".to_owned(), vec!["app".to_owned(), "second".to_owned(), print.to_owned(),])
    );
    at.ok("RemoveClientIDFromOpenIDConnectProvider", &[ISSUER, ("ClientID", "app")]).await;
    assert_eq!(refusal(assume(&at, &token(es256(), json!({}))).await).1, "InvalidIdentityToken");
    assert_eq!(texts(&at.ok("ListOpenIDConnectProviders", &[]).await, "Arn"), [ISSUER.1]);
    at.ok("DeleteOpenIDConnectProvider", &[ISSUER]).await;
    assert_eq!(at.refused("GetOpenIDConnectProvider", &[ISSUER]).await.1, "NoSuchEntity");
}
