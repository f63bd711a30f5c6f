//! Checksums of objects: computing, comparing, and putting those of parts together.
//!
//! Source: S3 user guide, "Checking object integrity for data uploads in Amazon S3".

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::CrcAlgorithm;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::error::S3Error;

/// A checksum algorithm of the model, by its name there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Algorithm {
    #[serde(rename = "CRC32")]
    Crc32,
    #[serde(rename = "CRC32C")]
    Crc32c,
    #[serde(rename = "CRC64NVME")]
    Crc64Nvme,
    #[serde(rename = "SHA1")]
    Sha1,
    #[serde(rename = "SHA256")]
    Sha256,
    #[serde(rename = "SHA512")]
    Sha512,
    #[serde(rename = "MD5")]
    Md5,
    #[serde(rename = "XXHASH64")]
    Xxh64,
    #[serde(rename = "XXHASH3")]
    Xxh3,
    #[serde(rename = "XXHASH128")]
    Xxh128,
}

/// All algorithms.
pub(crate) const ALL: [Algorithm; 10] = [
    Algorithm::Crc32,
    Algorithm::Crc32c,
    Algorithm::Crc64Nvme,
    Algorithm::Sha1,
    Algorithm::Sha256,
    Algorithm::Sha512,
    Algorithm::Md5,
    Algorithm::Xxh64,
    Algorithm::Xxh3,
    Algorithm::Xxh128,
];

/// Over what the checksum of a multipart object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Over all bytes.
    #[serde(rename = "FULL_OBJECT")]
    FullObject,
    /// Over the checksums of the parts.
    #[serde(rename = "COMPOSITE")]
    Composite,
}

impl Kind {
    /// The name in the model.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FullObject => "FULL_OBJECT",
            Self::Composite => "COMPOSITE",
        }
    }
}

/// A checksum as it is stored and sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checksum {
    pub(crate) algorithm: Algorithm,
    pub(crate) kind: Kind,
    /// Base64; of a composite one followed by `-` and the number of parts.
    pub(crate) value: String,
}

impl Algorithm {
    /// The name in the model.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
            Self::Md5 => "MD5",
            Self::Xxh64 => "XXHASH64",
            Self::Xxh3 => "XXHASH3",
            Self::Xxh128 => "XXHASH128",
        }
    }

    /// The algorithm with this name, in any case.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// Number of bytes of its checksums.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme | Self::Xxh64 | Self::Xxh3 => 8,
            Self::Md5 | Self::Xxh128 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            _ => None,
        }
    }

    /// What a multipart upload gets when it names no kind.
    pub(crate) fn default_kind(self) -> Kind {
        if self == Self::Crc64Nvme { Kind::FullObject } else { Kind::Composite }
    }

    /// Whether multipart objects may have such a checksum: only CRCs can be put together from those of the parts,
    /// and CRC64NVME knows nothing else.
    pub(crate) fn allows(self, kind: Kind) -> bool {
        match kind {
            Kind::FullObject => self.crc().is_some(),
            Kind::Composite => self != Self::Crc64Nvme,
        }
    }

    /// Checks the form of a checksum that a client sent.
    ///
    /// # Errors
    /// `InvalidRequest` when it is not base64 of the right length.
    pub(crate) fn check(self, value: &str) -> Result<Vec<u8>, S3Error> {
        BASE64.decode(value).ok().filter(|bytes| bytes.len() == self.bytes()).ok_or_else(|| {
            S3Error::InvalidRequest(format!(
                "Value for x-amz-checksum-{} header is invalid.",
                self.name().to_lowercase()
            ))
        })
    }
}

/// A running checksum.
pub(crate) enum Hasher {
    Crc(Algorithm, crc_fast::Digest),
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Sha512(Box<sha2::Sha512>),
    Md5(md5::Md5),
    Xxh64(Box<xxhash_rust::xxh64::Xxh64>),
    Xxh3(Algorithm, Box<xxhash_rust::xxh3::Xxh3>),
}

impl Hasher {
    /// Starts one.
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match (algorithm, algorithm.crc()) {
            (_, Some(crc)) => Self::Crc(algorithm, crc_fast::Digest::new(crc)),
            (Algorithm::Sha1, _) => Self::Sha1(sha1::Sha1::new()),
            (Algorithm::Sha256, _) => Self::Sha256(sha2::Sha256::new()),
            (Algorithm::Sha512, _) => Self::Sha512(Box::new(sha2::Sha512::new())),
            (Algorithm::Xxh64, _) => Self::Xxh64(Box::new(xxhash_rust::xxh64::Xxh64::new(0))),
            (Algorithm::Xxh3 | Algorithm::Xxh128, _) => Self::Xxh3(algorithm, Box::new(xxhash_rust::xxh3::Xxh3::new())),
            (Algorithm::Md5 | Algorithm::Crc32 | Algorithm::Crc32c | Algorithm::Crc64Nvme, _) => {
                Self::Md5(md5::Md5::new())
            }
        }
    }

    /// What it computes.
    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Crc(algorithm, _) | Self::Xxh3(algorithm, _) => *algorithm,
            Self::Sha1(_) => Algorithm::Sha1,
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
            Self::Md5(_) => Algorithm::Md5,
            Self::Xxh64(_) => Algorithm::Xxh64,
        }
    }

    /// Takes in more bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(_, crc) => crc.update(bytes),
            Self::Sha1(sha) => sha.update(bytes),
            Self::Sha256(sha) => sha.update(bytes),
            Self::Sha512(sha) => sha.update(bytes),
            Self::Md5(md5) => md5.update(bytes),
            Self::Xxh64(xxh) => xxh.update(bytes),
            Self::Xxh3(_, xxh) => xxh.update(bytes),
        }
    }

    /// The checksum's bytes, big-endian.
    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Self::Crc(algorithm, crc) => crc.finalize().to_be_bytes()[8 - algorithm.bytes()..].to_vec(),
            Self::Sha1(sha) => sha.finalize().to_vec(),
            Self::Sha256(sha) => sha.finalize().to_vec(),
            Self::Sha512(sha) => sha.finalize().to_vec(),
            Self::Md5(md5) => md5.finalize().to_vec(),
            Self::Xxh64(xxh) => xxh.digest().to_be_bytes().to_vec(),
            Self::Xxh3(Algorithm::Xxh128, xxh) => xxh.digest128().to_be_bytes().to_vec(),
            Self::Xxh3(_, xxh) => xxh.digest().to_be_bytes().to_vec(),
        }
    }
}

/// The checksum of `bytes` in base64.
#[cfg(test)]
pub(crate) fn of(algorithm: Algorithm, bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    encode(&hasher.finish())
}

/// Base64.
pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// The checksum of a multipart object out of those of its parts (base64) and their sizes.
/// `None` when a value is malformed, which only a damaged record can be.
pub(crate) fn combine(algorithm: Algorithm, kind: Kind, parts: &[(String, u64)]) -> Option<Checksum> {
    let values = parts.iter().map(|(value, size)| Some((BASE64.decode(value).ok()?, *size)));
    let values = values.collect::<Option<Vec<_>>>()?;
    let value = match (kind, algorithm.crc()) {
        (Kind::FullObject, Some(crc)) => {
            let number = |bytes: &[u8]| bytes.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
            let mut parts = values.iter();
            let mut sum = number(&parts.next()?.0);
            for (value, size) in parts {
                sum = crc_fast::checksum_combine(crc, sum, number(value), *size);
            }
            encode(&sum.to_be_bytes()[8 - algorithm.bytes()..])
        }
        (Kind::FullObject, None) => return None,
        (Kind::Composite, _) => {
            let mut hasher = Hasher::new(algorithm);
            values.iter().for_each(|(value, _)| hasher.update(value));
            format!("{}-{}", encode(&hasher.finish()), values.len())
        }
    };
    Some(Checksum { algorithm, kind, value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_answers() {
        // RFC 3720 B.4, catalogue of CRC parameters ("123456789"), FIPS 180, RFC 1321, xxHash's README.
        let nine = b"123456789";
        for (algorithm, expected) in [
            (Algorithm::Crc32, "cbf43926"),
            (Algorithm::Crc32c, "e3069283"),
            (Algorithm::Crc64Nvme, "ae8b14860a799888"),
            (Algorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (Algorithm::Md5, "25f9e794323b453885f5181f1b624d0b"),
        ] {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(nine);
            assert_eq!(sys::hex(&hasher.finish()), expected, "{}", algorithm.name());
        }
        let mut empty = Hasher::new(Algorithm::Xxh64);
        empty.update(b"");
        assert_eq!(sys::hex(&empty.finish()), "ef46db3751d8e999");
    }

    #[test]
    fn names_and_lengths_agree_with_the_hashers() {
        for algorithm in ALL {
            assert_eq!(Algorithm::parse(&algorithm.name().to_lowercase()), Some(algorithm));
            let hasher = Hasher::new(algorithm);
            assert_eq!(hasher.algorithm(), algorithm);
            assert_eq!(hasher.finish().len(), algorithm.bytes(), "{}", algorithm.name());
            assert!(algorithm.check("AA==").is_err());
            assert!(algorithm.check(&of(algorithm, b"x")).is_ok());
            assert!(algorithm.allows(algorithm.default_kind()));
        }
    }

    proptest! {
        #[test]
        fn s7_crcs_of_parts_make_the_crc_of_the_whole(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6)) {
            for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
                let sums: Vec<_> = parts.iter().map(|part| (of(algorithm, part), part.len() as u64)).collect();
                let combined = combine(algorithm, Kind::FullObject, &sums).expect("sound");
                prop_assert_eq!(combined.value, of(algorithm, &parts.concat()));
            }
        }
    }
}
