//! The file format of a blob: chunks with a CRC each, so that any part can be checked without the rest.
//!
//! ```text
//!  offset 0    8                65544  65548
//!         ├────┼────────────────┼──────┼── … ──┼───────────┼──────┤
//!         magic chunk 0 (64 KiB) crc32c   …     sha256 (32) crc32c
//! ```
//!
//! All numbers are big-endian. The last chunk is shorter; an empty blob has no chunk. A chunk's CRC also covers
//! its index, so that exchanged chunks are noticed. The trailer names the blob, so that a file under another
//! blob's name is noticed even by a read of one range.

use crate::Digest;

/// First bytes of every blob file; the last one is the format's version.
pub(crate) const MAGIC: [u8; 8] = *b"TNDRBLB\x01";
/// Payload bytes of every chunk but the last.
pub(crate) const CHUNK: usize = 64 * 1024;
/// Bytes of a CRC.
pub(crate) const CRC: usize = 4;
/// Bytes after the last chunk: the digest and its CRC.
pub(crate) const TRAILER: usize = 32 + CRC;

/// The CRC-32C of chunk number `index`.
pub(crate) fn chunk_crc(index: u64, chunk: &[u8]) -> [u8; CRC] {
    let mut crc = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    crc.update(&index.to_be_bytes());
    crc.update(chunk);
    let sum = u32::try_from(crc.finalize()).expect("a CRC-32 has 32 bits");
    sum.to_be_bytes()
}

/// The last bytes of a file.
pub(crate) fn trailer(digest: &Digest) -> [u8; TRAILER] {
    let mut trailer = [0; TRAILER];
    trailer[..32].copy_from_slice(digest.as_bytes());
    trailer[32..].copy_from_slice(&chunk_crc(u64::MAX, digest.as_bytes()));
    trailer
}

/// Number of chunks of a blob of `length` bytes.
pub(crate) fn chunks(length: u64) -> u64 {
    length.div_ceil(CHUNK as u64)
}

/// Where chunk number `index` starts in the file.
pub(crate) fn chunk_offset(index: u64) -> u64 {
    MAGIC.len() as u64 + index * (CHUNK + CRC) as u64
}

/// Size of the file of a blob of `length` bytes; `None` when no file can be that large.
pub(crate) fn file_size(length: u64) -> Option<u64> {
    let sums = chunks(length).checked_mul(CRC as u64)?;
    length.checked_add(sums)?.checked_add((MAGIC.len() + TRAILER) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_count_every_part_of_the_file() {
        for (length, size) in [(0, 44), (1, 49), (65_536, 65_584), (65_537, 65_589), (200_000, 200_060)] {
            assert_eq!(file_size(length), Some(size), "{length}");
        }
        assert_eq!(file_size(u64::MAX), None);
    }

    #[test]
    fn a_chunk_in_another_place_has_another_crc() {
        assert_ne!(chunk_crc(0, b"same"), chunk_crc(1, b"same"));
        assert_eq!(chunk_crc(3, b"same"), chunk_crc(3, b"same"));
    }
}
