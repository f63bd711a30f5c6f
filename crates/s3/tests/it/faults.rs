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

#[tokio::test]
async fn a10_a_full_disk_is_503_and_leaves_nothing_and_passes() {
    use std::sync::atomic::{AtomicU64, Ordering};
    let room = Arc::new(AtomicU64::new(u64::MAX));
    let free = {
        let room = Arc::clone(&room);
        Arc::new(move |_: &std::path::Path| room.load(Ordering::Relaxed))
    };
    let s3 = fixture_on(Config::default(), free, Arc::new(|_, _| Box::pin(async { Ok(()) }))).await;
    s3.bucket("bkt").await;
    s3.put("bkt/kept", content(1, 100_000)).await;
    let upload = s3.ok("CreateMultipartUpload", "POST /bkt/u?uploads", &[], "").await.one("UploadId");
    let part = format!("PUT /bkt/u?partNumber=1&uploadId={upload}");
    // The last has room for the plain bytes of the copy, not for the tags that sealing adds.
    for left in [0, blob::FREE_BYTES_MIN, blob::FREE_BYTES_MIN + 100_000] {
        room.store(left, Ordering::Relaxed);
        for (operation, line, headers) in [
            ("PutObject", "PUT /bkt/k", &[][..]),
            ("UploadPart", part.as_str(), &[]),
            ("CopyObject", "PUT /bkt/k", &[("x-amz-copy-source", "bkt/kept")]),
        ] {
            let bytes = if operation == "CopyObject" { Bytes::new() } else { content(2, 5_000_000) };
            let refused = s3.refused(operation, line, headers, bytes).await;
            assert_eq!(refused, (503, "SlowDown".into()), "{operation} with {left} bytes left");
        }
        assert_eq!((s3.get("bkt/k").await, s3.blob_files().len()), (None, 1));
        assert_eq!(s3.get("bkt/kept").await, Some(content(1, 100_000)), "reads go on");
    }
    s3.put("bkt/small", "the store of records has room of its own").await;
    s3.ok("DeleteObject", "DELETE /bkt/small", &[], "").await;
    room.store(blob::FREE_BYTES_MIN + 6_000_000, Ordering::Relaxed);
    s3.put("bkt/k", content(2, 5_000_000)).await;
    assert_eq!(s3.get("bkt/k").await, Some(content(2, 5_000_000)));
}
