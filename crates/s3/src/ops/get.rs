//! GetObject, HeadObject and GetObjectAttributes.

use bytes::Bytes;
use kv::Txn;
use model::s3 as m;
use sys::Timestamp;
use wire::{Body, Cx, Principal};

use super::{check_key, check_owner, int, long, quoted};
use crate::checksum::{Checksum, Kind};
use crate::conditions;
use crate::encryption::{self, At, CustomerHeaders, answer_encryption, customer_headers};
use crate::error::S3Error;
use crate::keys::{self, BucketRecord, Content, LockMode, PartRecord, Place, Segment, VersionRecord};
use crate::kms;
use crate::limits::PAGE_MAX;
use crate::outflow::{self, Outflow};
use crate::range::{self, Span};
use crate::seal::Wrapping;
use crate::slots;
use crate::state::{self, S3};
use crate::versions::Slot;

/// A version that was found, with what its bytes need.
pub(crate) struct Found {
    pub(crate) bucket: BucketRecord,
    pub(crate) version: VersionRecord,
    /// Of a multipart object.
    pub(crate) parts: Vec<PartRecord>,
    /// The stored bytes of a small object, read in the same transaction as its record.
    inline: Option<(String, Bytes)>,
}

/// Which version, and whether its bytes are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
    pub(crate) version_id: Option<&'a str>,
    pub(crate) owner: Option<&'a str>,
    pub(crate) bytes: bool,
}

/// Finds a version.
///
/// # Errors
/// `NoSuchBucket`, `NoSuchKey`, `NoSuchVersion`, `MethodNotAllowed`.
pub(crate) async fn find(s3: &S3, wanted: Wanted<'_>) -> Result<Found, S3Error> {
    check_key(wanted.key)?;
    let read = s3.kv.read(|tx| async move {
        let bucket = state::bucket(&tx, wanted.bucket).await?;
        check_owner(&bucket, wanted.owner)?;
        let slot = Slot { s3, tx: &tx, bucket: wanted.bucket, key: wanted.key };
        let version = slot.read(wanted.version_id).await?;
        let (mut parts, mut inline) = (Vec::new(), None);
        match &version.content {
            Content::Parts { id, .. } => parts = parts_of(&tx, id).await?,
            Content::One(Segment { id, place: Place::Inline { .. }, .. }) if wanted.bytes => {
                inline = tx.get(keys::inline(id)).await?.map(|bytes| (id.clone(), bytes));
            }
            _ => {}
        }
        Ok::<_, S3Error>(Found { bucket, version, parts, inline })
    });
    read.await
}

/// The parts of a multipart object.
pub(crate) async fn parts_of(tx: &Txn, content: &str) -> Result<Vec<PartRecord>, S3Error> {
    let pages: Vec<Vec<PartRecord>> = keys::list(tx, &keys::manifest_of(content)).await?;
    Ok(pages.into_iter().flatten().collect())
}

impl Found {
    /// The segments in order.
    fn segments(&self) -> Vec<Segment> {
        match &self.version.content {
            Content::Nothing => Vec::new(),
            Content::One(segment) => vec![segment.clone()],
            Content::Parts { .. } => self.parts.iter().filter_map(|part| part.segment.clone()).collect(),
        }
    }

    /// The bytes of a span.
    ///
    /// # Errors
    /// `Corrupt`, the stores'.
    pub(crate) async fn body(&mut self, s3: &S3, span: Span, key: Option<Wrapping>) -> Result<Body, S3Error> {
        self.outflow(s3, span, key).body(span.length).await
    }

    /// The same, piece by piece.
    pub(crate) fn outflow(&mut self, s3: &S3, span: Span, key: Option<Wrapping>) -> Outflow {
        let slices = outflow::cut(self.segments(), span.offset, span.length);
        Outflow::new(s3, &self.version.content, slices, key).with_inline(self.inline.take())
    }

    /// The span of a part, and the part.
    fn part(&self, number: i32) -> Result<(Span, Option<&PartRecord>), S3Error> {
        let number = u32::try_from(number).unwrap_or(0);
        if number == 0 {
            return Err(S3Error::argument("Part number must be an integer between 1 and 10000, inclusive"));
        }
        if !matches!(self.version.content, Content::Parts { .. }) {
            let whole = Span { offset: 0, length: self.version.size };
            return if number == 1 { Ok((whole, None)) } else { Err(S3Error::InvalidPartNumber) };
        }
        let mut offset = 0;
        for part in &self.parts {
            if part.number == number {
                return Ok((Span { offset, length: part.size() }, Some(part)));
            }
            offset += part.size();
        }
        Err(S3Error::InvalidPartNumber)
    }
}

/// What Get and Head have in common.
struct Asked<'a> {
    version_id: Option<&'a str>,
    range: Option<&'a str>,
    part_number: Option<i32>,
    conditions: conditions::Read,
    customer: CustomerHeaders<'a>,
    checksum: bool,
}

/// What Get and Head answer in common.
struct Answer {
    found: Found,
    span: Span,
    content_range: Option<String>,
    checksum: Option<Checksum>,
    parts_count: Option<i32>,
    key: Option<Wrapping>,
}

impl Asked<'_> {
    async fn answer(self, s3: &S3, cx: &Cx, wanted: Wanted<'_>) -> Result<Answer, S3Error> {
        if self.version_id == Some("") {
            return Err(S3Error::argument("Version id cannot be the empty string"));
        }
        if self.range.is_some() && self.part_number.is_some() {
            return Err(S3Error::request("Cannot specify both Range header and partNumber query parameter"));
        }
        let found = find(s3, wanted).await?;
        let version = &found.version;
        self.conditions.check(version)?;
        let at = At { record: &found.bucket, bucket: wanted.bucket, key: wanted.key };
        let key = encryption::opening(s3, at, version.encryption.as_ref(), self.customer.read()?)?;
        // What is known of an object without its bytes needs no key, but for what is computed from them.
        if wanted.bytes || (self.checksum && version.checksum.is_some()) {
            s3.may_use(cx, at, version.encryption.as_ref(), &[kms::DECRYPT]).await?;
        }
        let whole = Span { offset: 0, length: version.size };
        let ranged = match self.range {
            Some(header) => range::parse(header, version.size)?,
            None => None,
        };
        let (span, part) = match self.part_number {
            Some(number) => found.part(number)?,
            None => (ranged.unwrap_or(whole), None),
        };
        let partial = ranged.is_some() || (self.part_number.is_some() && version.size > 0);
        let of_part = part.and_then(|part| {
            let algorithm = version.checksum.as_ref()?.algorithm;
            part.checksum.clone().map(|value| Checksum { algorithm, kind: Kind::Composite, value })
        });
        let checksum = match (self.part_number, ranged) {
            (Some(_), _) if part.is_some() => of_part,
            (_, Some(span)) if span != whole => None,
            _ => version.checksum.clone(),
        };
        let parts_count = match (&version.content, self.part_number) {
            (Content::Parts { count, .. }, Some(_)) => i32::try_from(*count).ok(),
            _ => None,
        };
        let content_range = partial.then(|| span.content_range(version.size));
        Ok(Answer { span, content_range, checksum, parts_count, key, found })
    }
}

/// Fills in what the outputs of Get and Head have in common.
macro_rules! described {
    ($output:ident, $input:ident, $answer:ident) => {{
        let version = &$answer.found.version;
        let enabled = matches!($input.checksum_mode, Some(m::ChecksumMode::Enabled));
        let output = $output {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(long($answer.span.length)),
            content_range: $answer.content_range.clone(),
            e_tag: Some(quoted(&version.etag)),
            last_modified: Some(whole_seconds(version.modified_us)),
            version_id: version.answered_id($answer.found.bucket.versioning),
            metadata: Some(version.metadata.clone()),
            cache_control: $input.response_cache_control.clone().or(version.headers.cache_control.clone()),
            content_disposition: $input
                .response_content_disposition
                .clone()
                .or(version.headers.content_disposition.clone()),
            content_encoding: $input.response_content_encoding.clone().or(version.headers.content_encoding.clone()),
            content_language: $input.response_content_language.clone().or(version.headers.content_language.clone()),
            content_type: Some(
                $input
                    .response_content_type
                    .clone()
                    .or(version.headers.content_type.clone())
                    .unwrap_or_else(|| "binary/octet-stream".to_owned()),
            ),
            expires: $input.response_expires.map(http_date).or(version.headers.expires.clone()),
            website_redirect_location: version.headers.redirect.clone(),
            storage_class: version.storage_class.as_ref().and_then(|class| class.parse().ok()),
            parts_count: $answer.parts_count,
            tag_count: (!version.tags.is_empty()).then(|| int(version.tags.len())),
            object_lock_mode: version.lock.retention.map(|retention| match retention.mode {
                LockMode::Governance => m::ObjectLockMode::Governance,
                LockMode::Compliance => m::ObjectLockMode::Compliance,
            }),
            object_lock_retain_until_date: version
                .lock
                .retention
                .map(|retention| Timestamp::from_unix_us(retention.until_us)),
            object_lock_legal_hold_status: version.lock.hold.map(|hold| match hold {
                true => m::ObjectLockLegalHoldStatus::On,
                false => m::ObjectLockLegalHoldStatus::Off,
            }),
            ..Default::default()
        };
        let mut output = output;
        answer_encryption!(output, &version.encryption);
        if enabled {
            output.checksum_type = slots::answer(&mut output, $answer.checksum.as_ref())
                .and(version.checksum.as_ref().map(|checksum| slots::kind(checksum.kind)));
        }
        output
    }};
}

macro_rules! asked {
    ($input:ident) => {
        Asked {
            version_id: $input.version_id.as_deref(),
            range: $input.range.as_deref(),
            part_number: $input.part_number,
            conditions: conditions::Read {
                if_match: $input.if_match.clone(),
                if_none_match: $input.if_none_match.clone(),
                if_modified_since: $input.if_modified_since,
                if_unmodified_since: $input.if_unmodified_since,
            },
            customer: customer_headers!($input),
            checksum: matches!($input.checksum_mode, Some(m::ChecksumMode::Enabled)),
        }
    };
}

macro_rules! wanted {
    ($input:ident, $bytes:expr) => {
        Wanted {
            bucket: &$input.bucket,
            key: &$input.key,
            version_id: $input.version_id.as_deref(),
            owner: $input.expected_bucket_owner.as_deref(),
            bytes: $bytes,
        }
    };
}

/// Other headers than the object's: for those only who sign (they could make somebody else's bucket serve any type),
/// and such as a header can hold.
macro_rules! check_overrides {
    ($cx:ident, $input:ident) => {{
        let texts = [
            &$input.response_cache_control,
            &$input.response_content_disposition,
            &$input.response_content_encoding,
            &$input.response_content_language,
            &$input.response_content_type,
        ];
        let asks = $input.response_expires.is_some() || texts.iter().any(|text| text.is_some());
        if asks && $cx.principal == Principal::Anonymous {
            return Err(S3Error::request(
                "Request specific response headers cannot be used for anonymous GET requests.",
            ));
        }
        if texts.into_iter().flatten().any(|text| text.chars().any(char::is_control)) {
            return Err(S3Error::argument("Header value cannot contain control characters"));
        }
    }};
}

/// Times of HTTP headers have whole seconds.
pub(crate) fn whole_seconds(us: i64) -> Timestamp {
    Timestamp::from_unix_s(us.div_euclid(1_000_000))
}

/// A time as headers have it.
fn http_date(time: Timestamp) -> String {
    let time = jiff::Timestamp::from_second(time.unix_s()).unwrap_or_default();
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// GetObject.
pub(crate) async fn get(
    s3: S3,
    cx: Cx,
    input: m::GetObjectInput,
    _body: Body,
) -> Result<(m::GetObjectOutput, Body), S3Error> {
    use m::GetObjectOutput;
    check_overrides!(cx, input);
    let mut answer = asked!(input).answer(&s3, &cx, wanted!(input, true)).await?;
    let output = described!(GetObjectOutput, input, answer);
    let body = answer.found.body(&s3, answer.span, answer.key.take()).await?;
    Ok((output, body))
}

/// HeadObject.
pub(crate) async fn head(s3: S3, cx: Cx, input: m::HeadObjectInput) -> Result<m::HeadObjectOutput, S3Error> {
    use m::HeadObjectOutput;
    check_overrides!(cx, input);
    let answer = asked!(input).answer(&s3, &cx, wanted!(input, false)).await?;
    Ok(described!(HeadObjectOutput, input, answer))
}

/// GetObjectAttributes.
pub(crate) async fn attributes(
    s3: S3,
    cx: Cx,
    input: m::GetObjectAttributesInput,
) -> Result<m::GetObjectAttributesOutput, S3Error> {
    let wants = |attribute| input.object_attributes.contains(&attribute);
    // The parts are listed with their checksums.
    let checksum = wants(m::ObjectAttributes::Checksum) || wants(m::ObjectAttributes::ObjectParts);
    let found = find(&s3, wanted!(input, false)).await?;
    let version = &found.version;
    let at = At { record: &found.bucket, bucket: &input.bucket, key: &input.key };
    encryption::opening(&s3, at, version.encryption.as_ref(), customer_headers!(input).read()?)?;
    if checksum && version.checksum.is_some() {
        s3.may_use(&cx, at, version.encryption.as_ref(), &[kms::DECRYPT]).await?;
    }
    let mut checksum = m::Checksum::default();
    checksum.checksum_type = slots::answer(&mut checksum, version.checksum.as_ref());
    let has_checksum = version.checksum.is_some() && wants(m::ObjectAttributes::Checksum);
    let is_multipart = matches!(version.content, Content::Parts { .. });
    Ok(m::GetObjectAttributesOutput {
        last_modified: Some(whole_seconds(version.modified_us)),
        version_id: version.answered_id(found.bucket.versioning),
        e_tag: wants(m::ObjectAttributes::ETag).then(|| version.etag.clone()),
        checksum: has_checksum.then_some(checksum),
        object_parts: (is_multipart && wants(m::ObjectAttributes::ObjectParts)).then(|| parts_page(&found, &input)),
        storage_class: wants(m::ObjectAttributes::StorageClass)
            .then(|| version.storage_class.as_deref().unwrap_or("STANDARD").parse().ok())
            .flatten(),
        object_size: wants(m::ObjectAttributes::ObjectSize).then(|| long(version.size)),
        ..Default::default()
    })
}

fn parts_page(found: &Found, input: &m::GetObjectAttributesInput) -> m::GetObjectAttributesParts {
    let after = input.part_number_marker.unwrap_or(0);
    let limit = input.max_parts.and_then(|max| usize::try_from(max).ok()).unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let number = |part: &PartRecord| i32::try_from(part.number).unwrap_or(i32::MAX);
    let rest: Vec<_> = found.parts.iter().filter(|part| number(part) > after).collect();
    let shown = &rest[..rest.len().min(limit)];
    let algorithm = found.version.checksum.as_ref().map(|checksum| checksum.algorithm);
    // AWS lists parts only when each has a checksum of its own.
    let parts = shown.iter().map(|part| {
        let mut shown =
            m::ObjectPart { part_number: Some(number(part)), size: Some(long(part.size())), ..Default::default() };
        if let Some(algorithm) = algorithm {
            *slots::Slots::slot(&mut shown, algorithm) = part.checksum.clone();
        }
        shown
    });
    m::GetObjectAttributesParts {
        total_parts_count: Some(int(found.parts.len())),
        part_number_marker: Some(after),
        next_part_number_marker: shown.last().map(|part| number(part)),
        max_parts: Some(int(limit)),
        is_truncated: Some(shown.len() < rest.len()),
        parts: algorithm.is_some().then(|| parts.collect()),
    }
}
