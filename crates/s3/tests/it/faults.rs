//! Damage on disk and broken uploads: test:A8, test:A9, sem:S4.

use futures_util::stream;
use wire::Body;

use super::*;

#[tokio::test]
async fn a8_rotten_bytes_are_reported_and_never_served() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    let bytes = content(1, 300_000);
    s3.put("bkt/k", bytes.clone()).await;
    let [file] = s3.blob_files().try_into().expect("one blob");
    let sound = std::fs::read(&file).expect("the test holds");
    let request = http::Request::get("/bkt/k").body(()).expect("the test holds");
    let (parts, ()) = request.into_parts();
    for at in (0..sound.len()).step_by(1_999).chain([sound.len() - 1]) {
        let mut flipped = sound.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&file, &flipped).expect("the test holds");
        let answer = s3.service.call_streaming(cx_of(ACCOUNT), Protocol::RestXml, &parts, Body::empty()).await;
        let (status, mut body, mut read) = (answer.status().as_u16(), answer.into_body(), Vec::new());
        let mut failed = status == 500;
        while let (200, Some(piece)) = (status, body.next().await) {
            match piece {
                Ok(piece) => read.extend_from_slice(&piece),
                Err(_) => failed = true,
            }
        }
        assert!(failed, "a flipped bit in byte {at} went unnoticed");
        assert!(bytes.starts_with(&read), "wrong bytes were served after byte {at}");
    }
    std::fs::write(&file, &sound[..sound.len() - 40]).expect("the test holds");
    assert_eq!(s3.refused("GetObject", "GET /bkt/k", &[], "").await, (500, "InternalError".into()), "test:A9");
    std::fs::remove_file(&file).expect("the test holds");
    assert_eq!(s3.refused("GetObject", "GET /bkt/k", &[], "").await, (500, "InternalError".into()));
}

#[tokio::test]
async fn s4_an_upload_cut_off_anywhere_stores_nothing() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.put("bkt/k", "old").await;
    for cut in [0, 1, 65_536, 65_537, 300_000] {
        let whole = content(1, 400_000);
        let pieces =
            whole.slice(..cut).chunks(10_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect::<Vec<_>>();
        let broken = pieces.into_iter().chain([Err(ApiError::client("IncompleteBody", 400, "cut"))]);
        let body = Body::stream(stream::iter(broken), Some(400_000));
        let request = http::Request::put("/bkt/k").body(()).expect("the test holds");
        let (parts, ()) = request.into_parts();
        let answer = s3.service.call_streaming(cx_of(ACCOUNT), Protocol::RestXml, &parts, body).await;
        assert_eq!(answer.status().as_u16(), 400, "cut after {cut}");
        assert_eq!(s3.get("bkt/k").await.as_deref(), Some(&b"old"[..]));
    }
    assert_eq!(s3.blob_files().len(), 0);
    let short = Body::stream(stream::iter([Ok(Bytes::from_static(b"abc"))]), Some(4));
    let (parts, ()) = http::Request::put("/bkt/k").body(()).expect("the test holds").into_parts();
    let answer = s3.service.call_streaming(cx_of(ACCOUNT), Protocol::RestXml, &parts, short).await;
    assert_eq!(answer.status().as_u16(), 400, "fewer bytes than announced");
}
