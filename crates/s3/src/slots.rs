//! The ten checksum members that many structures of the model have, one per algorithm.

use model::s3 as m;

use crate::checksum::{Algorithm, Checksum, Kind};
use crate::error::S3Error;

/// A structure with a member per algorithm.
pub(crate) trait Slots {
    /// The member of `algorithm`.
    fn slot(&mut self, algorithm: Algorithm) -> &mut Option<String>;
}

macro_rules! slots {
    ($($structure:ident),* $(,)?) => {$(
        impl Slots for m::$structure {
            fn slot(&mut self, algorithm: Algorithm) -> &mut Option<String> {
                match algorithm {
                    Algorithm::Crc32 => &mut self.checksum_crc32,
                    Algorithm::Crc32c => &mut self.checksum_crc32_c,
                    Algorithm::Crc64Nvme => &mut self.checksum_crc64_nvme,
                    Algorithm::Sha1 => &mut self.checksum_sha1,
                    Algorithm::Sha256 => &mut self.checksum_sha256,
                    Algorithm::Sha512 => &mut self.checksum_sha512,
                    Algorithm::Md5 => &mut self.checksum_md5,
                    Algorithm::Xxh64 => &mut self.checksum_xxhash64,
                    Algorithm::Xxh3 => &mut self.checksum_xxhash3,
                    Algorithm::Xxh128 => &mut self.checksum_xxhash128,
                }
            }
        }
    )*};
}

slots!(
    Checksum,
    CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput,
    CompletedPart,
    CopyObjectResult,
    CopyPartResult,
    GetObjectOutput,
    HeadObjectOutput,
    ObjectPart,
    Part,
    PutObjectInput,
    PutObjectOutput,
    UploadPartInput,
    UploadPartOutput,
);

/// The checksum that a client declares, if any.
///
/// # Errors
/// `InvalidRequest` for more than one, or one that is malformed.
pub(crate) fn declared(input: &mut impl Slots) -> Result<Option<(Algorithm, String)>, S3Error> {
    let mut declared = None;
    for algorithm in crate::checksum::ALL {
        if let Some(value) = input.slot(algorithm).take() {
            if declared.is_some() {
                return Err(S3Error::request(
                    "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
                ));
            }
            declared = Some((algorithm, value));
        }
    }
    Ok(declared)
}

/// Puts a checksum into its member.
pub(crate) fn answer(output: &mut impl Slots, checksum: Option<&Checksum>) -> Option<m::ChecksumType> {
    let checksum = checksum?;
    *output.slot(checksum.algorithm) = Some(checksum.value.clone());
    Some(kind(checksum.kind))
}

/// The model's word.
pub(crate) fn kind(kind: Kind) -> m::ChecksumType {
    match kind {
        Kind::FullObject => m::ChecksumType::FullObject,
        Kind::Composite => m::ChecksumType::Composite,
    }
}

/// Our word for the model's.
pub(crate) fn algorithm(algorithm: m::ChecksumAlgorithm) -> Option<Algorithm> {
    Algorithm::parse(algorithm.as_str())
}

/// The model's word for ours.
pub(crate) fn named(algorithm: Algorithm) -> Option<m::ChecksumAlgorithm> {
    algorithm.name().parse().ok()
}
