//! UploadPart, UploadPartCopy and ListParts.

use model::s3 as m;
use wire::{Body, Cx};

use super::copy::{Source, asked_source};
use super::get::whole_seconds;
use super::multipart::{initiator, parts_page_size, upload};
use super::put::Declared;
use super::{check_owner, int, long, quoted};
use crate::checksum::{Algorithm, Checksum, Kind};
use crate::encryption::{self, At, CustomerHeaders, answer_encryption, customer_headers};
use crate::error::S3Error;
use crate::intake::{Intake, Received};
use crate::keys::{self, BucketRecord, Content, Encryption, PartRecord, UploadRecord};
use crate::limits::{PART_NUMBER_MAX, PUT_BYTES_MAX};
use crate::range::{self, Span};
use crate::seal::Wrapping;
use crate::slots::{self, Slots};
use crate::state::{S3, owner};
use crate::versions;

fn part_number(number: i32) -> Result<u32, S3Error> {
    let number = u32::try_from(number).ok().filter(|number| (1..=PART_NUMBER_MAX).contains(number));
    number.ok_or_else(|| S3Error::argument("Part number must be an integer between 1 and 10000, inclusive"))
}

/// Where a part goes.
struct Target<'a> {
    bucket: &'a str,
    key: &'a str,
    upload: &'a str,
    number: u32,
    owner: Option<&'a str>,
}

impl Target<'_> {
    /// The upload and its bucket, before the bytes come.
    async fn find(&self, s3: &S3) -> Result<(BucketRecord, UploadRecord), S3Error> {
        let read = s3.kv.read(|tx| async move {
            let (bucket, upload) = upload(&tx, self.bucket, self.key, self.upload).await?;
            check_owner(&bucket, self.owner)?;
            Ok::<_, S3Error>((bucket, upload))
        });
        read.await
    }

    /// Makes received bytes a part of the upload, in place of an earlier one with its number.
    async fn keep(&self, s3: &S3, received: &Received, checksum: Option<&str>) -> Result<PartRecord, S3Error> {
        let part = &PartRecord {
            number: self.number,
            etag: received.md5.clone(),
            modified_us: s3.now_us(),
            checksum: checksum.map(str::to_owned),
            segment: received.segment.clone(),
        };
        let kept = s3.kv.transact(|tx| async move {
            upload(&tx, self.bucket, self.key, self.upload).await?;
            let key = keys::part(self.upload, self.number);
            if let Some(PartRecord { segment: Some(old), .. }) = keys::get(&tx, &key).await? {
                versions::discard(s3, &tx, &Content::One(old));
            }
            received.keep(&tx);
            keys::set(&tx, key, part);
            Ok::<_, S3Error>(())
        });
        kept.await?;
        Ok(part.clone())
    }
}

/// The key for a part's bytes: the upload's.
fn sealing(
    s3: &S3,
    at: At<'_>,
    upload: &UploadRecord,
    headers: CustomerHeaders<'_>,
) -> Result<Option<Wrapping>, S3Error> {
    match (&upload.encryption, headers.read()?) {
        (Some(Encryption::Customer { .. }), None) => Err(S3Error::request(
            "The multipart upload initiate requested encryption. Subsequent part requests must include the \
             appropriate encryption parameters.",
        )),
        (stored, customer) => encryption::opening(s3, at, stored.as_ref(), customer).map_err(|error| match error {
            S3Error::AccessDenied(_) => {
                S3Error::request("The provided encryption parameters did not match the ones used originally.")
            }
            other => other,
        }),
    }
}

/// UploadPart.
pub(crate) async fn put(
    s3: S3,
    _cx: Cx,
    mut input: m::UploadPartInput,
    body: Body,
) -> Result<(m::UploadPartOutput, Body), S3Error> {
    let number = part_number(input.part_number)?;
    let (md5, algorithm, length) = (input.content_md5.take(), input.checksum_algorithm, input.content_length);
    let declared = Declared::read(&mut input, md5.as_deref(), algorithm, body.length().map(long).or(length))?;
    let declared = declared.or_announced(&body.trailers());
    let target = Target {
        bucket: &input.bucket,
        key: &input.key,
        upload: &input.upload_id,
        number,
        owner: input.expected_bucket_owner.as_deref(),
    };
    let (bucket, upload) = target.find(&s3).await?;
    let at = At { record: &bucket, bucket: target.bucket, key: target.key };
    let of_upload = upload.checksum.map(|(algorithm, _)| algorithm);
    if let (Some(expected), Some(named)) = (of_upload, declared.algorithm())
        && expected != named
    {
        let message = format!(
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
            expected.name().to_lowercase(),
            named.name().to_lowercase()
        );
        return Err(S3Error::request(message));
    }
    let key = sealing(&s3, at, &upload, customer_headers!(input))?;
    let trailers = body.trailers();
    let algorithm = declared.algorithm().or(of_upload);
    let intake = Intake { algorithms: algorithm.into_iter().collect(), key, bytes_max: PUT_BYTES_MAX };
    let received = intake.receive(&s3, body).await?;
    declared.verify(&received, &trailers)?;
    let checksum = algorithm.and_then(|algorithm| Some((algorithm, received.checksum(algorithm)?.to_owned())));
    let part = target
        .keep(&s3, &received, checksum.as_ref().filter(|_| of_upload.is_some()).map(|(_, value)| value.as_str()))
        .await?;
    let mut output = m::UploadPartOutput { e_tag: Some(quoted(&part.etag)), ..Default::default() };
    if let Some((algorithm, value)) = checksum {
        *output.slot(algorithm) = Some(value);
    }
    answer_encryption!(output, &upload.encryption);
    Ok((output, Body::empty()))
}

/// UploadPartCopy.
pub(crate) async fn copy(s3: S3, _cx: Cx, input: m::UploadPartCopyInput) -> Result<m::UploadPartCopyOutput, S3Error> {
    let number = part_number(input.part_number)?;
    let source = Source::parse(&input.copy_source)?;
    let target = Target {
        bucket: &input.bucket,
        key: &input.key,
        upload: &input.upload_id,
        number,
        owner: input.expected_bucket_owner.as_deref(),
    };
    let (bucket, upload) = target.find(&s3).await?;
    let at = At { record: &bucket, bucket: target.bucket, key: target.key };
    let sealing = sealing(&s3, at, &upload, customer_headers!(input))?;
    let (mut found, opening) = asked_source!(input, source).open(&s3).await?;
    let span = match &input.copy_source_range {
        Some(header) => range::of_copy(header, found.version.size)?,
        None => Span { offset: 0, length: found.version.size },
    };
    if span.length > PUT_BYTES_MAX {
        return Err(S3Error::EntityTooLarge);
    }
    let algorithm = upload.checksum.map(|(algorithm, _)| algorithm);
    let body = found.body(&s3, span, opening).await?;
    let intake = Intake { algorithms: algorithm.into_iter().collect(), key: sealing, bytes_max: PUT_BYTES_MAX };
    let received = intake.receive(&s3, body).await?;
    let part = target.keep(&s3, &received, algorithm.and_then(|algorithm| received.checksum(algorithm))).await?;
    let mut result = m::CopyPartResult {
        e_tag: Some(quoted(&part.etag)),
        last_modified: Some(whole_seconds(part.modified_us)),
        ..Default::default()
    };
    slots::answer(&mut result, own(algorithm, &part).as_ref());
    let mut output = m::UploadPartCopyOutput {
        copy_part_result: Some(result),
        copy_source_version_id: found.version.answered_id(found.bucket.versioning),
        ..Default::default()
    };
    answer_encryption!(output, &upload.encryption);
    Ok(output)
}

/// A part's own checksum.
fn own(algorithm: Option<Algorithm>, part: &PartRecord) -> Option<Checksum> {
    Some(Checksum { algorithm: algorithm?, kind: Kind::Composite, value: part.checksum.clone()? })
}

/// ListParts.
pub(crate) async fn list(s3: S3, _cx: Cx, input: m::ListPartsInput) -> Result<m::ListPartsOutput, S3Error> {
    let limit = parts_page_size(input.max_parts)?;
    let after = input.part_number_marker.unwrap_or(0);
    let first = u32::try_from(after).map_err(|_| S3Error::argument("part-number-marker must be at least 0"))?;
    let asked = &input;
    let read = s3.kv.read(|tx| async move {
        let (bucket, upload) = upload(&tx, &asked.bucket, &asked.key, &asked.upload_id).await?;
        check_owner(&bucket, asked.expected_bucket_owner.as_deref())?;
        let mut range = keys::parts(&asked.upload_id);
        range.begin = range.begin.max(kv::KeyRange::point(keys::part(&asked.upload_id, first)).end);
        let parts: Vec<(_, PartRecord)> = keys::first(&tx, &range, limit + 1).await?;
        Ok::<_, S3Error>((upload, parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>()))
    });
    let (upload, mut parts) = read.await?;
    let truncated = parts.len() > limit && limit > 0;
    parts.truncate(limit);
    let number = |part: &PartRecord| i32::try_from(part.number).unwrap_or(i32::MAX);
    let algorithm = upload.checksum.map(|(algorithm, _)| algorithm);
    let next = parts.last().map(number);
    let shown = parts.iter().map(|part| {
        let mut shown = m::Part {
            part_number: Some(number(part)),
            last_modified: Some(whole_seconds(part.modified_us)),
            e_tag: Some(quoted(&part.etag)),
            size: Some(long(part.size())),
            ..Default::default()
        };
        slots::answer(&mut shown, own(algorithm, part).as_ref());
        shown
    });
    Ok(m::ListPartsOutput {
        parts: Some(shown.collect()),
        bucket: Some(input.bucket.clone()),
        key: Some(input.key.clone()),
        upload_id: Some(input.upload_id.clone()),
        part_number_marker: Some(after),
        next_part_number_marker: next.or(Some(0)),
        max_parts: Some(int(limit)),
        is_truncated: Some(truncated),
        initiator: Some(initiator(&upload)),
        owner: Some(owner(upload.owner())),
        storage_class: upload.storage_class.as_deref().unwrap_or("STANDARD").parse().ok(),
        checksum_algorithm: algorithm.and_then(slots::named),
        checksum_type: upload.checksum.map(|(_, kind)| slots::kind(kind)),
        ..Default::default()
    })
}
