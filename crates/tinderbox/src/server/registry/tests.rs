//! Against a registry of a few lines on loopback.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// Answers each request by `answer`, from its whole head: status, headers, body. The heads that came are kept.
async fn serve(
    answer: impl Fn(&str) -> (u16, String, String) + Send + Sync + 'static,
) -> (Registry, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let (kept, answer) = (Arc::clone(&heads), Arc::new(answer));
    drop(sys::task::spawn("registry", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {}
            let head = String::from_utf8(head).expect("text");
            let (status, headers, body) = answer(&head);
            kept.lock().push(head);
            let length = body.len();
            let text =
                format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}");
            stream.write_all(text.as_bytes()).await.expect("written");
        }
    }));
    let base = format!("http://{address}").parse().expect("a URL");
    (registry(base, None), heads)
}

fn registry(base: Uri, credentials: Option<PathBuf>) -> Registry {
    let tls = tls::connector(None, "a test").expect("no authority of ours is needed");
    Registry::new(Clock::system(), base, tls, credentials)
}

fn image() -> ImageName {
    ImageName::parse("registry.test/team/app:v1").expect("a URI")
}

#[tokio::test]
async fn statuses_are_told_apart() {
    for (status, expected) in [
        (404, ImageError::NotFound),
        (403, ImageError::Denied),
        (401, ImageError::Denied),
        (429, ImageError::Unavailable("it answers with status 429".to_owned())),
        (500, ImageError::Unavailable("it answers with status 500".to_owned())),
    ] {
        let (registry, _) = serve(move |_| (status, String::new(), String::new())).await;
        assert_eq!(registry.manifest(&image()).await.expect_err("refused"), expected, "{status}");
    }
}

#[tokio::test]
async fn a_manifest_comes_with_its_media_type_and_a_blob_piece_by_piece() {
    let (registry, heads) = serve(|head| match head.contains("/manifests/v1") {
        true => (200, "Content-Type: application/x\r\n".to_owned(), "{}".to_owned()),
        false => (200, String::new(), "blob".repeat(10_000)),
    })
    .await;
    let fetched = registry.manifest(&image()).await.expect("a manifest");
    assert_eq!((fetched.media_type.as_deref(), &fetched.bytes[..]), (Some("application/x"), &b"{}"[..]));
    let pieces: Vec<Bytes> = registry.blob(&image(), "ab").await.expect("a blob").try_collect().await.expect("pieces");
    assert_eq!(pieces.concat(), "blob".repeat(10_000).as_bytes());
    let heads = heads.lock();
    assert!(heads[0].starts_with("GET /v2/team/app/manifests/v1 HTTP/1.1\r\n"), "{}", heads[0]);
    assert!(heads[1].starts_with("GET /v2/team/app/blobs/sha256:ab HTTP/1.1\r\n"), "{}", heads[1]);
    assert!(
        heads[0].to_ascii_lowercase().contains("accept: application/vnd.oci.image.manifest.v1+json"),
        "{}",
        heads[0]
    );
}

#[tokio::test]
async fn a_registry_sends_nobody_inside_and_its_secrets_nowhere() {
    let (victim, asked) = serve(|_| (200, String::new(), "secret".to_owned())).await;
    let victim = authority(&victim.0.base).to_owned();
    let places = [
        format!("http://{victim}/latest/meta-data"),
        format!("https://{victim}/"),
        "https://169.254.169.254/".to_owned(),
        "https://10.0.0.1/".to_owned(),
        "https://[::1]/".to_owned(),
        "http://93.184.215.14/".to_owned(),
        "ftp://93.184.215.14/".to_owned(),
        format!("http://user:password@{victim}/"),
        format!("//{victim}/"),
    ];
    for place in places {
        let location = format!("Location: {place}\r\n");
        let (registry, _) = serve(move |_| (307, location.clone(), String::new())).await;
        assert!(registry.manifest(&image()).await.is_err(), "{place}");
        let realm = format!("WWW-Authenticate: Bearer realm=\"{place}\",service=\"s\"\r\n");
        let (registry, _) = serve(move |_| (401, realm.clone(), String::new())).await;
        assert!(registry.manifest(&image()).await.is_err(), "{place}");
    }
    assert!(asked.lock().is_empty(), "{:?}", asked.lock());
}

#[tokio::test]
async fn a_place_that_the_registry_redirects_to_cannot_ask_for_its_credentials() {
    let folder = tempfile::tempdir().expect("a folder");
    let credentials = folder.path().join("config.json");
    std::fs::write(&credentials, r#"{"auths": {"registry.test": {"username": "u", "password": "p"}}}"#)
        .expect("written");
    let (thief, stolen) = serve(|_| (200, String::new(), r#"{"token": "t"}"#.to_owned())).await;
    for challenge in [format!("Bearer realm=\"{}token\"", thief.0.base), "Basic realm=\"x\"".to_owned()] {
        let challenge = format!("WWW-Authenticate: {challenge}\r\n");
        let (store, asked) = serve(move |_| (401, challenge.clone(), String::new())).await;
        let location = format!("Location: {}store/x\r\n", store.0.base);
        let (there, own) = serve(move |_| (307, location.clone(), String::new())).await;
        let tls = tls::connector(None, "a test").expect("no authority of ours is needed");
        let base = there.0.base.clone();
        // As if all of this were in public places over https.
        let registry = Registry::with(Clock::system(), base, tls, Some(credentials.clone()), |_, _, _| true);
        assert_eq!(registry.manifest(&image()).await.expect_err("refused"), ImageError::Denied);
        assert_eq!((asked.lock().len(), own.lock().len()), (1, 1));
    }
    assert!(stolen.lock().is_empty(), "{:?}", stolen.lock());
}

#[tokio::test]
async fn redirects_within_the_registry_are_followed_and_end() {
    let (registry, _) = serve(|head| match head.contains("/store/") {
        true => (200, String::new(), "{}".to_owned()),
        false => (302, "Location: /store/x\r\n".to_owned(), String::new()),
    })
    .await;
    assert_eq!(&registry.manifest(&image()).await.expect("a manifest").bytes[..], b"{}");
    let (registry, heads) = serve(|_| (302, "Location: /again\r\n".to_owned(), String::new())).await;
    let error = registry.manifest(&image()).await.expect_err("refused");
    assert_eq!(error, ImageError::Unavailable("it redirects too often".to_owned()));
    assert_eq!(heads.lock().len(), REDIRECTS_MAX + 1);
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_used_until_it_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let credentials = folder.path().join("config.json");
    std::fs::write(&credentials, r#"{"auths": {"registry.test": {"username": "u", "password": "p"}}}"#)
        .expect("written");
    let (there, heads) = serve(|head| {
        let lower = head.to_ascii_lowercase();
        let host =
            lower.split("host: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap_or_default().to_owned();
        match () {
            () if head.starts_with("GET /token?service=s&scope=repository%3Ateam%2Fapp%3Apull ") => {
                assert!(lower.contains("authorization: basic dtpw\r\n"), "{head}");
                (200, String::new(), r#"{"access_token": "t", "expires_in": 300}"#.to_owned())
            }
            () if head.contains("Bearer t\r\n") => (200, String::new(), "{}".to_owned()),
            () => {
                let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"s\"\r\n");
                (401, challenge, String::new())
            }
        }
    })
    .await;
    let registry = registry(there.0.base.clone(), Some(credentials));
    for _ in 0..3 {
        registry.manifest(&image()).await.expect("a manifest");
    }
    assert_eq!(heads.lock().iter().filter(|head| head.starts_with("GET /token")).count(), 1);
    assert_eq!(heads.lock().len(), 5);
}

#[tokio::test]
async fn documents_without_end_are_not_read_to_it() {
    let (registry, _) = serve(|_| (200, String::new(), "x".repeat(DOCUMENT_BYTES_MAX + 10))).await;
    assert!(matches!(registry.manifest(&image()).await, Err(ImageError::Unavailable(_))));
}
