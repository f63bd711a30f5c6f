//! Where the keys of OpenID Connect issuers come from: what the operator configured, a file or a URL on this machine.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use iam::IssuerKeys;
use sys::{Clock, Timestamp};
use tokio::sync::Mutex;

/// Largest key set that is read, in bytes.
const KEY_SET_BYTES_MAX: usize = 1 << 20;
/// Time for a key set to arrive.
const FETCH_MAX: Duration = Duration::from_secs(5);
/// How long a key set, or the failure to get one, is kept.
const KEPT: Duration = Duration::from_secs(10);

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

/// What was last read from a place.
struct Kept {
    until: Timestamp,
    key_set: Result<String, String>,
}

struct Source {
    place: Place,
    /// Held while the place is read: whoever comes meanwhile waits for the same answer.
    kept: Mutex<Option<Kept>>,
}

/// The key sets of the configured issuers. Strangers can ask for them, by a token that nobody has checked yet, so each
/// place is read once in [`KEPT`] at most, by one at a time; a rotated key holds that much later.
pub(super) fn of(places: BTreeMap<String, Place>, clock: Clock) -> IssuerKeys {
    let source = |place| Source { place, kept: Mutex::new(None) };
    let sources: BTreeMap<_, _> = places.into_iter().map(|(issuer, place)| (issuer, source(place))).collect();
    let sources = Arc::new(sources);
    Arc::new(move |issuer| {
        let (sources, clock) = (Arc::clone(&sources), clock.clone());
        Box::pin(async move {
            let source = sources.get(issuer.trim_end_matches('/'));
            let source = source.ok_or("no keys of this issuer are configured (--oidc-keys)")?;
            let mut kept = source.kept.lock().await;
            if let Some(kept) = kept.as_ref().filter(|kept| clock.now() < kept.until) {
                return kept.key_set.clone();
            }
            let key_set = read(&source.place, &clock).await;
            *kept = Some(Kept { until: clock.now() + KEPT, key_set: key_set.clone() });
            key_set
        })
    })
}

async fn read(place: &Place, clock: &Clock) -> Result<String, String> {
    match place {
        Place::File(path) => {
            let path = path.clone();
            let read = sys::task::blocking(move || read_file(&path)).await;
            read.ok_or("the server is stopping")?.map_err(|error| error.to_string())
        }
        Place::Url(url) => clock.timeout(FETCH_MAX, fetch(url.clone())).await.ok_or("the URL does not answer")?,
    }
}

fn read_file(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let bytes = std::fs::File::open(path)?.take(KEY_SET_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    match bytes > KEY_SET_BYTES_MAX {
        true => Err(std::io::Error::other(format!("the file has more than {KEY_SET_BYTES_MAX} bytes"))),
        false => Ok(text),
    }
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

    #[tokio::test]
    async fn a_key_set_is_read_once_in_a_while_and_a_large_file_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys.json");
        let clock = Clock::manual(Timestamp::from_unix_s(0));
        let keys = of(BTreeMap::from([("https://a".to_owned(), Place::File(path.clone()))]), clock.clone());
        let ask = async || keys("https://a/".to_owned()).await;
        assert!(ask().await.is_err());
        std::fs::write(&path, "first").expect("writable");
        assert!(ask().await.is_err(), "failures are kept too");
        clock.advance(KEPT);
        assert_eq!(ask().await.as_deref(), Ok("first"));
        std::fs::write(&path, "second").expect("writable");
        assert_eq!(ask().await.as_deref(), Ok("first"));
        clock.advance(KEPT);
        assert_eq!(ask().await.as_deref(), Ok("second"));
        std::fs::write(&path, vec![b' '; KEY_SET_BYTES_MAX + 1]).expect("writable");
        clock.advance(KEPT);
        assert!(ask().await.is_err_and(|reason| reason.contains("bytes")));
        assert!(keys("https://b".to_owned()).await.is_err());
    }

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
