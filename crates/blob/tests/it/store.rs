//! Put, get, delete, list on a healthy disk.

use std::time::Duration;

use blob::{BlobError, Blobs, Digest, Reader};
use bytes::Bytes;

use crate::{content, fixture, open};

/// Lengths around every border of the format.
const LENGTHS: [usize; 8] = [0, 1, 65_535, 65_536, 65_537, 131_072, 1_048_576, 1_048_577];

async fn read_all(mut reader: Reader) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(piece) = reader.next().await.expect("healthy") {
        assert!(!piece.is_empty() && piece.len() <= 1 << 20);
        all.extend_from_slice(&piece);
    }
    all
}

#[tokio::test]
async fn what_was_put_is_got_whole_in_pieces_and_in_ranges() {
    let fixture = fixture().await;
    for length in LENGTHS {
        let bytes = content(length as u64, length);
        let blob = fixture.blobs.put(Bytes::from(bytes.clone())).await.unwrap();
        assert_eq!(blob.length, length as u64);
        assert_eq!(fixture.blobs.get(&blob).await.unwrap(), bytes, "{length}");
        assert_eq!(read_all(fixture.blobs.reader(&blob).await.unwrap()).await, bytes, "{length}");
        for (start, end) in [(0, length), (length / 2, length), (length / 3, length / 2), (length, length)] {
            let range = fixture.blobs.get_range(&blob, start as u64, (end - start) as u64).await.unwrap();
            assert_eq!(range, bytes[start..end], "{start}..{end} of {length}");
        }
    }
}

#[tokio::test]
async fn the_name_is_the_sha_256_of_the_bytes() {
    let blob = fixture().await.blobs.put(Bytes::from_static(b"abc")).await.unwrap();
    // FIPS 180-2, appendix B.1.
    assert_eq!(blob.digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[tokio::test]
async fn a_reader_a_writer_and_bytes_make_the_same_blob() {
    let fixture = fixture().await;
    let bytes = content(1, 3_000_000);
    let whole = fixture.blobs.put(Bytes::from(bytes.clone())).await.unwrap();
    assert_eq!(fixture.blobs.put_reader(&bytes[..]).await.unwrap(), whole);
    let mut writer = fixture.blobs.writer().await.unwrap();
    for piece in bytes.chunks(70_001) {
        writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    assert_eq!(writer.finish().await.unwrap(), whole);
    assert_eq!(fixture.blobs.list(None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_source_that_fails_stores_nothing() {
    let fixture = fixture().await;
    let failing = tokio::io::AsyncReadExt::chain(&b"some bytes"[..], Failing);
    assert!(matches!(fixture.blobs.put_reader(failing).await, Err(BlobError::Io(_))));
    assert_eq!(fixture.blobs.list(None, 10).await.unwrap(), []);
    assert_eq!(fixture.temp_names(), 0);
}

struct Failing;

impl tokio::io::AsyncRead for Failing {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        _: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()))
    }
}

#[tokio::test]
async fn ranges_outside_the_blob_are_refused() {
    let fixture = fixture().await;
    let blob = fixture.blobs.put(Bytes::from_static(b"abc")).await.unwrap();
    for (offset, length) in [(0, 4), (3, 1), (4, 0), (u64::MAX, 1), (1, u64::MAX)] {
        let outcome = fixture.blobs.get_range(&blob, offset, length).await;
        assert!(matches!(outcome, Err(BlobError::OutOfRange { .. })), "{offset}+{length}");
    }
}

#[tokio::test]
async fn deleted_means_gone_and_may_be_put_again() {
    let fixture = fixture().await;
    let bytes = Bytes::from_static(b"abc");
    let blob = fixture.blobs.put(bytes.clone()).await.unwrap();
    assert!(fixture.blobs.delete(&blob.digest).await.unwrap());
    assert!(!fixture.blobs.delete(&blob.digest).await.unwrap());
    assert!(matches!(fixture.blobs.get(&blob).await, Err(BlobError::NotFound(digest)) if digest == blob.digest));
    assert_eq!(fixture.blobs.put(bytes.clone()).await.unwrap(), blob);
    assert_eq!(fixture.blobs.get(&blob).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_reader_that_is_open_survives_a_delete() {
    let fixture = fixture().await;
    let bytes = content(5, 2_500_000);
    let blob = fixture.blobs.put(Bytes::from(bytes.clone())).await.unwrap();
    let reader = fixture.blobs.reader(&blob).await.unwrap();
    fixture.blobs.delete(&blob.digest).await.unwrap();
    assert_eq!(read_all(reader).await, bytes);
}

#[tokio::test]
async fn concurrent_puts_of_the_same_content_make_one_whole_blob() {
    let fixture = fixture().await;
    let bytes = Bytes::from(content(9, 300_000));
    let puts = (0..16).map(|_| {
        let (blobs, bytes): (Blobs, Bytes) = (fixture.blobs.clone(), bytes.clone());
        sys::task::spawn("put", async move { blobs.put(bytes).await })
    });
    let mut refs = Vec::new();
    for put in puts.collect::<Vec<_>>() {
        refs.push(put.await.unwrap().expect("no panic").unwrap());
    }
    refs.dedup();
    assert_eq!(refs.len(), 1);
    assert_eq!(fixture.blobs.get(&refs[0]).await.unwrap(), bytes);
    assert_eq!(fixture.blobs.list(None, 10).await.unwrap().len(), 1);
    assert_eq!(fixture.temp_names(), 0);
}

#[tokio::test]
async fn listing_pages_through_every_blob_in_order_and_tells_ages() {
    let fixture = fixture().await;
    let mut expected: Vec<Digest> = Vec::new();
    for seed in 0..40 {
        expected.push(fixture.blobs.put(Bytes::from(content(seed, 10))).await.unwrap().digest);
    }
    expected.sort();
    std::fs::write(fixture.file_of(&expected[0]).with_file_name("README"), "not a blob").unwrap();
    fixture.clock.advance(Duration::from_secs(60));
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = fixture.blobs.list(after, 7).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.digest);
        assert!(page.iter().all(|listed| listed.age == Duration::from_secs(60)));
        found.extend(page.iter().map(|listed| listed.digest));
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn putting_again_makes_a_blob_young_again() {
    let fixture = fixture().await;
    for _ in 0..2 {
        fixture.blobs.put(Bytes::from_static(b"abc")).await.unwrap();
        assert_eq!(fixture.blobs.list(None, 1).await.unwrap()[0].age, Duration::ZERO);
        fixture.clock.advance(Duration::from_secs(60));
    }
}

#[tokio::test]
async fn blobs_are_there_after_a_reopen() {
    let fixture = fixture().await;
    let blob = fixture.blobs.put(Bytes::from_static(b"abc")).await.unwrap();
    let again = open(fixture.folder.path(), &fixture.clock).await;
    assert_eq!(again.get(&blob).await.unwrap(), "abc");
}

#[tokio::test]
async fn a_namespace_is_a_store_of_its_own() {
    let fixture = fixture().await;
    let own = fixture.blobs.namespace("s3").await.unwrap();
    let bytes = Bytes::from_static(b"shared");
    let blob = fixture.blobs.put(bytes.clone()).await.unwrap();
    assert_eq!(own.put(bytes.clone()).await.unwrap(), blob);
    assert!(own.delete(&blob.digest).await.unwrap());
    assert_eq!(own.list(None, 10).await.unwrap(), []);
    assert_eq!(fixture.blobs.get(&blob).await.unwrap(), bytes);
    assert_eq!(fixture.blobs.list(None, 10).await.unwrap().len(), 1);
    own.put(Bytes::from_static(b"own")).await.unwrap();
    assert_eq!(fixture.blobs.list(None, 10).await.unwrap().len(), 1, "a namespace is not listed by its parent");
    let again = open(fixture.folder.path(), &fixture.clock).await.namespace("s3").await.unwrap();
    assert_eq!(again.list(None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_young_blob_is_spared() {
    let fixture = fixture().await;
    let (bytes, hour) = (Bytes::from_static(b"abc"), Duration::from_secs(3_600));
    let blob = fixture.blobs.put(bytes.clone()).await.unwrap();
    fixture.clock.advance(hour);
    fixture.blobs.put(bytes.clone()).await.unwrap();
    assert!(!fixture.blobs.delete_older(&blob.digest, hour).await.unwrap(), "it was put again just now");
    assert_eq!(fixture.blobs.get(&blob).await.unwrap(), bytes);
    fixture.clock.advance(hour);
    assert!(fixture.blobs.delete_older(&blob.digest, hour).await.unwrap());
    assert!(!fixture.blobs.delete_older(&blob.digest, hour).await.unwrap());
}
