//! Where the keys of OpenID Connect issuers come from: what the operator configured, a file or a URL on this machine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use iam::IssuerKeys;
use sys::Clock;

/// Largest key set that is read, in bytes.
const KEY_SET_BYTES_MAX: usize = 1 << 20;
/// Time for a key set to arrive.
const FETCH_MAX: std::time::Duration = std::time::Duration::from_secs(5);

/// Where one issuer's key set is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    File(PathBuf),
    Url(http::Uri),
}

/// One `ISSUER=FILE` or `ISSUER=URL`; the issuer is its URL without a `/` at the end.
///
/// # Errors
/// When it has not this form, or the URL does not lead to this machine.
pub(crate) fn parse(text: &str) -> anyhow::Result<(String, Place)> {
    let parts = text.split_once('=').filter(|(issuer, place)| issuer.contains("://") && !place.is_empty());
    let (issuer, place) =
        parts.ok_or_else(|| anyhow::anyhow!("{text:?} is not of the form ISSUER=FILE or ISSUER=URL"))?;
    let place = match place.contains("://") {
        false => Place::File(PathBuf::from(place)),
        true => {
            let url: http::Uri = place.parse()?;
            let is_local = url.scheme_str() == Some("http") && matches!(url.host(), Some("127.0.0.1" | "localhost"));
            anyhow::ensure!(is_local, "{place}: only http:// URLs of this machine are fetched; use a file instead");
            Place::Url(url)
        }
    };
    Ok((issuer.trim_end_matches('/').to_owned(), place))
}

/// The key sets of the configured issuers, read anew for every token: a rotated key holds at once.
pub(super) fn of(places: BTreeMap<String, Place>, clock: Clock) -> IssuerKeys {
    let places = Arc::new(places);
    Arc::new(move |issuer| {
        let (place, clock) = (places.get(issuer.trim_end_matches('/')).cloned(), clock.clone());
        Box::pin(async move {
            match place {
                None => Err("no keys of this issuer are configured (--oidc-keys)".to_owned()),
                Some(Place::File(path)) => {
                    let read = sys::task::blocking(move || std::fs::read_to_string(path)).await;
                    read.ok_or("the server is stopping")?.map_err(|error| error.to_string())
                }
                Some(Place::Url(url)) => clock.timeout(FETCH_MAX, fetch(url)).await.ok_or("the URL does not answer")?,
            }
        })
    })
}

async fn fetch(url: http::Uri) -> Result<String, String> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = client.get(url).await.map_err(|error| error.to_string())?;
    if !answer.status().is_success() {
        return Err(format!("the URL answers {}", answer.status()));
    }
    let body = Limited::new(answer.into_body(), KEY_SET_BYTES_MAX).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    String::from_utf8(body.to_vec()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_files_or_urls_of_this_machine() {
        let (issuer, place) = parse("https://idp.example/=/etc/keys.json").expect("a file");
        assert_eq!((issuer.as_str(), place), ("https://idp.example", Place::File("/etc/keys.json".into())));
        let url = parse("https://idp.example=http://127.0.0.1:9/keys").expect("a URL");
        assert!(matches!(url.1, Place::Url(_)));
        for text in ["idp=/x", "https://idp.example", "https://a=https://b/keys", "https://a=http://b.example/keys"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
