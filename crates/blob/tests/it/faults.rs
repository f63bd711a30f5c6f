//! Fault tests A8 and the local part of A4: rotten, torn and misplaced files, and what a crash leaves.

use blob::{BlobError, BlobRef};
use bytes::Bytes;

use crate::{Fixture, content, fixture, open};

/// No way of reading the blob may yield a byte that differs from `bytes`; whole reads must say Corrupt.
async fn assert_detected(fixture: &Fixture, blob: &BlobRef, bytes: &[u8], fault: &str) {
    assert!(matches!(fixture.blobs.get(blob).await, Err(BlobError::Corrupt { .. })), "{fault}: get");
    let mut read = Vec::new();
    let outcome = match fixture.blobs.reader(blob).await {
        Err(error) => Err(error),
        Ok(mut reader) => loop {
            match reader.next().await {
                Ok(Some(piece)) => read.extend_from_slice(&piece),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        },
    };
    assert!(matches!(outcome, Err(BlobError::Corrupt { .. })), "{fault}: reader");
    assert!(bytes.starts_with(&read), "{fault}: the reader served wrong bytes");
    for start in (0..bytes.len()).step_by(50_000) {
        let length = (bytes.len() - start).min(50_000);
        match fixture.blobs.get_range(blob, start as u64, length as u64).await {
            Ok(range) => assert_eq!(range, bytes[start..start + length], "{fault}: a range served wrong bytes"),
            Err(BlobError::Corrupt { .. }) => {}
            Err(other) => panic!("{fault}: {other}"),
        }
    }
}

#[tokio::test]
async fn a8_one_flipped_bit_anywhere_is_detected_and_never_served() {
    let fixture = fixture().await;
    let bytes = content(3, 150_000);
    let blob = fixture.blobs.put(Bytes::from(bytes.clone())).await.unwrap();
    let path = fixture.file_of(&blob.digest);
    let good = std::fs::read(&path).unwrap();
    // Every border of the format, and a sample of everything between.
    let borders = [0, 7, 8, 65_543, 65_544, 65_547, 65_548, good.len() - 37, good.len() - 36, good.len() - 1];
    for at in borders.into_iter().chain((0..good.len()).step_by(9_973)) {
        let mut rotten = good.clone();
        rotten[at] ^= 1 << (at % 8);
        std::fs::write(&path, rotten).unwrap();
        assert_detected(&fixture, &blob, &bytes, &format!("bit flip at {at}")).await;
    }
    std::fs::write(&path, good).unwrap();
    assert_eq!(fixture.blobs.get(&blob).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_truncated_or_grown_file_is_detected_and_never_served() {
    let fixture = fixture().await;
    let bytes = content(4, 150_000);
    let blob = fixture.blobs.put(Bytes::from(bytes.clone())).await.unwrap();
    let path = fixture.file_of(&blob.digest);
    let good = std::fs::read(&path).unwrap();
    for length in [0, 1, 8, 44, 65_548, good.len() - 36, good.len() - 1] {
        std::fs::write(&path, &good[..length]).unwrap();
        assert_detected(&fixture, &blob, &bytes, &format!("cut to {length}")).await;
    }
    let zeroed: Vec<u8> = good[..80_000].iter().copied().chain(vec![0; good.len() - 80_000]).collect();
    for (fault, file) in [("torn: the rest is zeroes", zeroed), ("grown", [good.as_slice(), b"x"].concat())] {
        std::fs::write(&path, file).unwrap();
        assert_detected(&fixture, &blob, &bytes, fault).await;
    }
}

#[tokio::test]
async fn exchanged_chunks_and_another_blobs_file_are_detected() {
    let fixture = fixture().await;
    let bytes = content(5, 131_072);
    let blob = fixture.blobs.put(Bytes::from(bytes.clone())).await.unwrap();
    let other = fixture.blobs.put(Bytes::from(content(6, 131_072))).await.unwrap();
    let path = fixture.file_of(&blob.digest);
    let good = std::fs::read(&path).unwrap();
    let exchanged = [&good[..8], &good[65_548..131_088], &good[8..65_548], &good[131_088..]].concat();
    let misplaced = std::fs::read(fixture.file_of(&other.digest)).unwrap();
    for (fault, file) in [("exchanged chunks", exchanged), ("another blob's file", misplaced)] {
        std::fs::write(&path, file).unwrap();
        assert_detected(&fixture, &blob, &bytes, fault).await;
    }
}

#[tokio::test]
async fn a_ref_with_the_wrong_length_is_not_served() {
    let fixture = fixture().await;
    let blob = fixture.blobs.put(Bytes::from_static(b"abc")).await.unwrap();
    for length in [0, 2, 4, u64::MAX] {
        let wrong = BlobRef { length, ..blob };
        assert!(matches!(fixture.blobs.get(&wrong).await, Err(BlobError::Corrupt { .. })), "{length}");
    }
}

#[tokio::test]
async fn putting_the_content_again_heals_a_rotten_blob() {
    let fixture = fixture().await;
    let bytes = Bytes::from(content(7, 100_000));
    let blob = fixture.blobs.put(bytes.clone()).await.unwrap();
    std::fs::write(fixture.file_of(&blob.digest), "rotten").unwrap();
    assert!(matches!(fixture.blobs.get(&blob).await, Err(BlobError::Corrupt { .. })));
    assert_eq!(fixture.blobs.put(bytes.clone()).await.unwrap(), blob);
    assert_eq!(fixture.blobs.get(&blob).await.unwrap(), bytes);
}

#[tokio::test]
async fn leftovers_of_a_crash_are_swept_at_open_and_blobs_stay() {
    let fixture = fixture().await;
    let blob = fixture.blobs.put(Bytes::from_static(b"abc")).await.unwrap();
    for name in ["half-written", "another"] {
        std::fs::write(fixture.folder.path().join("tmp").join(name), "TNDRBLB").unwrap();
    }
    let again = open(fixture.folder.path(), &fixture.clock).await;
    assert_eq!(fixture.temp_names(), 0);
    assert_eq!(again.get(&blob).await.unwrap(), "abc");
}

#[tokio::test]
async fn an_abandoned_put_leaves_nothing() {
    let fixture = fixture().await;
    let mut writer = fixture.blobs.writer().await.unwrap();
    writer.write(Bytes::from(content(8, 3_000_000))).await.unwrap();
    drop(writer);
    assert_eq!(fixture.temp_names(), 0);
    assert_eq!(fixture.blobs.list(None, 10).await.unwrap(), []);
}
