//! PutObject.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::s3 as m;
use wire::{Body, Cx};

use super::{check_key, check_owner, long, quoted, writer};
use crate::checksum::{Algorithm, Checksum, Kind};
use crate::conditions;
use crate::encryption::{self, At, answer_encryption, asked_encryption};
use crate::error::S3Error;
use crate::given::{Given, given};
use crate::intake::{Intake, Received};
use crate::keys::{BucketRecord, Content, Encryption, Headers, VersionRecord, Versioning};
use crate::kms;
use crate::limits::PUT_BYTES_MAX;
use crate::notify::{self, Happened};
use crate::slots;
use crate::state::{self, S3};
use crate::tags::Tags;
use crate::versions::Slot;

/// What a client says about a body before it sends it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declared {
    /// Hexadecimal digits.
    md5: Option<String>,
    checksum: Option<(Algorithm, String)>,
    /// The algorithm of a checksum that follows the body.
    trailing: Option<Algorithm>,
    length: Option<u64>,
}

impl Declared {
    /// Reads and checks what is declared.
    ///
    /// # Errors
    /// `InvalidDigest`, `InvalidRequest`.
    pub(crate) fn read(
        input: &mut impl slots::Slots,
        content_md5: Option<&str>,
        algorithm: Option<m::ChecksumAlgorithm>,
        length: Option<i64>,
    ) -> Result<Self, S3Error> {
        let md5 = content_md5.map(|header| match BASE64.decode(header) {
            Ok(bytes) if bytes.len() == 16 => Ok(sys::hex(&bytes)),
            _ => Err(S3Error::InvalidDigest),
        });
        let checksum = slots::declared(input)?;
        if let Some((algorithm, value)) = &checksum {
            algorithm.check(value)?;
        }
        let trailing = algorithm.and_then(slots::algorithm).filter(|_| checksum.is_none());
        let length = length.and_then(|length| u64::try_from(length).ok());
        Ok(Self { md5: md5.transpose()?, checksum, trailing, length })
    }

    /// The algorithm that an announced trailer tells, when no header does.
    pub(crate) fn or_announced(mut self, trailers: &wire::Trailers) -> Self {
        if self.algorithm().is_none() {
            let announced = |algorithm: &Algorithm| {
                trailers.is_announced(&format!("x-amz-checksum-{}", algorithm.name().to_lowercase()))
            };
            self.trailing = crate::checksum::ALL.into_iter().find(announced);
        }
        self
    }

    /// What to compute; without a wish, AWS takes CRC64NVME.
    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        self.checksum.as_ref().map(|(algorithm, _)| *algorithm).or(self.trailing)
    }

    /// Compares what came with what was declared, before and after the body (wire:W12).
    ///
    /// # Errors
    /// `BadDigest`, `IncompleteBody`, `InvalidRequest`.
    pub(crate) fn verify(&self, received: &Received, trailers: &wire::Trailers) -> Result<(), S3Error> {
        if self.md5.as_ref().is_some_and(|md5| *md5 != received.md5) {
            return Err(S3Error::BadDigest("Content-MD5".to_owned()));
        }
        for algorithm in crate::checksum::ALL {
            let name = format!("x-amz-checksum-{}", algorithm.name().to_lowercase());
            let before =
                self.checksum.as_ref().filter(|(named, _)| *named == algorithm).map(|(_, value)| value.as_str());
            let Some(declared) = trailers.get(&name).or(before) else { continue };
            algorithm.check(declared)?;
            match received.checksum(algorithm) {
                Some(computed) if computed == declared => {}
                Some(_) => return Err(S3Error::BadDigest(algorithm.name().to_owned())),
                None => return Err(S3Error::request(format!("The trailer {name} was not announced."))),
            }
        }
        match self.length.is_none_or(|length| length == received.size) {
            true => Ok(()),
            false => Err(S3Error::IncompleteBody),
        }
    }
}

/// PutObject.
pub(crate) async fn put(
    s3: S3,
    cx: Cx,
    mut input: m::PutObjectInput,
    body: Body,
) -> Result<(m::PutObjectOutput, Body), S3Error> {
    check_key(&input.key)?;
    if input.write_offset_bytes.is_some() {
        return Err(S3Error::NotImplemented("Appending to objects is not implemented by Tinderbox.".to_owned()));
    }
    let (md5, algorithm, length) = (input.content_md5.take(), input.checksum_algorithm, input.content_length);
    let declared = Declared::read(&mut input, md5.as_deref(), algorithm, body.length().map(long).or(length))?;
    let declared = declared.or_announced(&body.trailers());
    if declared.length.is_some_and(|length| length > PUT_BYTES_MAX) {
        return Err(S3Error::EntityTooLarge);
    }
    let bucket = s3.bucket(&input.bucket).await?;
    check_owner(&bucket, input.expected_bucket_owner.as_deref())?;
    let (given, started_us) = (given!(input), s3.now_us());
    given.clone().checked(&bucket, writer(&cx, &bucket), started_us)?;
    let at = At { record: &bucket, bucket: &input.bucket, key: &input.key };
    let chosen = encryption::choose(&s3, at, asked_encryption!(input))?;
    s3.may_use(&cx, at, Some(&chosen.encryption), &[kms::GENERATE]).await?;
    let algorithm = declared.algorithm().unwrap_or(Algorithm::Crc64Nvme);
    let trailers = body.trailers();
    let intake = Intake { algorithms: vec![algorithm], key: Some(chosen.key), bytes_max: PUT_BYTES_MAX };
    let received = intake.receive(&s3, body).await?;
    declared.verify(&received, &trailers)?;

    let write = Write {
        bucket: &input.bucket,
        key: &input.key,
        earlier: &bucket,
        given,
        tags: None,
        started_us,
        conditions: conditions::Write { if_match: input.if_match.clone(), if_none_match: input.if_none_match.clone() },
        received: &received,
        algorithm,
        encryption: chosen.encryption,
        happened: Happened::Put,
    };
    let (version, versioning) = write.commit(&s3, &cx).await?;
    let mut output = m::PutObjectOutput {
        e_tag: Some(quoted(&version.etag)),
        version_id: version.given_id(versioning),
        ssekms_encryption_context: encryption::answered_context(version.encryption.as_ref()),
        ..Default::default()
    };
    output.checksum_type = slots::answer(&mut output, version.checksum.as_ref());
    answer_encryption!(output, &version.encryption);
    Ok((output, Body::empty()))
}

/// An object that the platform makes for the caller `cx`, with what its bucket chooses for all that requests leave open.
/// Whether the caller may `s3:PutObject` was asked before.
///
/// # Errors
/// `PreconditionFailed` when there is one already; as PutObject.
pub(crate) async fn make(
    s3: &S3,
    cx: &Cx,
    at: (&str, &str),
    content_type: &str,
    bytes: bytes::Bytes,
) -> Result<(), S3Error> {
    let ((name, key), algorithm, started_us) = (at, Algorithm::Crc64Nvme, s3.now_us());
    check_key(key)?;
    let bucket = s3.bucket(name).await?;
    let at = At { record: &bucket, bucket: name, key };
    let chosen = encryption::choose(s3, at, encryption::Asked::default())?;
    s3.may_use(cx, at, Some(&chosen.encryption), &[kms::GENERATE]).await?;
    let intake = Intake { algorithms: vec![algorithm], key: Some(chosen.key), bytes_max: PUT_BYTES_MAX };
    let received = intake.receive(s3, Body::from(bytes)).await?;
    let headers = Headers { content_type: Some(content_type.to_owned()), ..Headers::default() };
    let write = Write {
        bucket: name,
        key,
        earlier: &bucket,
        given: Given { headers, ..Given::default() },
        tags: None,
        started_us,
        conditions: conditions::Write { if_match: None, if_none_match: Some("*".to_owned()) },
        received: &received,
        algorithm,
        encryption: chosen.encryption,
        happened: Happened::Put,
    };
    write.commit(s3, cx).await.map(drop)
}

/// A write whose bytes are there: PutObject's and CopyObject's.
pub(crate) struct Write<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
    /// The bucket as it was before the bytes came.
    pub(crate) earlier: &'a BucketRecord,
    pub(crate) given: Given,
    /// Instead of the tags that are given.
    pub(crate) tags: Option<Tags>,
    /// When the request came: retention must end after that.
    pub(crate) started_us: i64,
    pub(crate) conditions: conditions::Write,
    pub(crate) received: &'a Received,
    /// Of the object's checksum.
    pub(crate) algorithm: Algorithm,
    pub(crate) encryption: Encryption,
    pub(crate) happened: Happened,
}

impl Write<'_> {
    /// Makes the object. What the bucket allows is asked again, as its settings are now.
    ///
    /// # Errors
    /// `NoSuchBucket` when the bucket is gone, also when another one has its name; what [`Given::checked`] answers;
    /// `PreconditionFailed`.
    pub(crate) async fn commit(&self, s3: &S3, cx: &Cx) -> Result<(VersionRecord, Versioning), S3Error> {
        let committed = s3.kv.transact(|tx| async move {
            let bucket = state::same_bucket(&tx, self.bucket, self.earlier).await?;
            let slot = Slot { s3, tx: &tx, bucket: self.bucket, key: self.key };
            self.conditions.check(slot.head().await?.as_ref().map(|head| &head.version))?;
            let draft = self.draft(s3, &bucket, writer(cx, &bucket))?;
            self.received.keep(&tx);
            let version = slot.put(&bucket, draft).await?;
            notify::tell(&slot, &bucket, cx, self.happened, &version).await?;
            Ok::<_, S3Error>((version, bucket.versioning))
        });
        committed.await
    }

    fn draft(&self, s3: &S3, bucket: &BucketRecord, account: &str) -> Result<VersionRecord, S3Error> {
        let Self { received, algorithm, .. } = self;
        let mut checked = self.given.clone().checked(bucket, account, self.started_us)?;
        if let Some(tags) = &self.tags {
            checked.tags.clone_from(tags);
        }
        let value = received.checksum(*algorithm).unwrap_or_default().to_owned();
        Ok(VersionRecord {
            size: received.size,
            etag: received.md5.clone(),
            content: received.segment.clone().map_or(Content::Nothing, Content::One),
            checksum: Some(Checksum { algorithm: *algorithm, kind: Kind::FullObject, value }),
            encryption: Some(self.encryption.clone()),
            ..checked.draft(s3.now_us())
        })
    }
}
