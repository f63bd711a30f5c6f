//! CopyObject, and the source of a copy.

use model::s3 as m;
use wire::Cx;

use super::get::{self, Found, Wanted, whole_seconds};
use super::put::Write;
use super::{check_key, check_owner, quoted, writer};
use crate::api::TAG_READS;
use crate::checksum::{Algorithm, Kind};
use crate::conditions;
use crate::encryption::{self, At, CustomerHeaders, answer_encryption, asked_encryption};
use crate::error::S3Error;
use crate::given::given;
use crate::intake::Intake;
use crate::limits::PUT_BYTES_MAX;
use crate::notify::Happened;
use crate::range::Span;
use crate::seal::Wrapping;
use crate::slots;
use crate::state::S3;

/// What `x-amz-copy-source` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) version_id: Option<String>,
}

impl Source {
    /// `[/]BUCKET/KEY[?versionId=ID]`, percent-encoded.
    ///
    /// # Errors
    /// `InvalidArgument` when it has another form.
    pub(crate) fn parse(header: &str) -> Result<Self, S3Error> {
        let invalid =
            || S3Error::argument("Copy Source must mention the source bucket and key: sourcebucket/sourcekey");
        let (path, version_id) = match header.split_once("?versionId=") {
            Some((path, id)) => (path, Some(id.to_owned())),
            None => (header, None),
        };
        let path = unescaped(path).ok_or_else(invalid)?;
        let path = path.strip_prefix('/').unwrap_or(&path);
        match path.split_once('/') {
            Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
                Ok(Self { bucket: bucket.to_owned(), key: key.to_owned(), version_id })
            }
            _ => Err(invalid()),
        }
    }
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

/// What a copy may ask of its source.
pub(crate) struct Asked<'a> {
    pub(crate) source: &'a Source,
    pub(crate) owner: Option<&'a str>,
    pub(crate) conditions: conditions::Read,
    pub(crate) customer: CustomerHeaders<'a>,
}

/// Reads what a copy asks of its source out of an input.
macro_rules! asked_source {
    ($input:ident, $source:ident) => {
        $crate::ops::copy::Asked {
            source: &$source,
            owner: $input.expected_source_bucket_owner.as_deref(),
            conditions: $crate::conditions::Read {
                if_match: $input.copy_source_if_match.clone(),
                if_none_match: $input.copy_source_if_none_match.clone(),
                if_modified_since: $input.copy_source_if_modified_since,
                if_unmodified_since: $input.copy_source_if_unmodified_since,
            },
            customer: $crate::encryption::customer_headers!(source $input),
        }
    };
}
pub(crate) use asked_source;

impl Asked<'_> {
    /// The source, and what opens its bytes.
    ///
    /// # Errors
    /// What reading it would answer; `PreconditionFailed`.
    pub(crate) async fn open(self, s3: &S3) -> Result<(Found, Option<Wrapping>), S3Error> {
        let wanted = Wanted {
            bucket: &self.source.bucket,
            key: &self.source.key,
            version_id: self.source.version_id.as_deref(),
            owner: self.owner,
            bytes: true,
        };
        let found = get::find(s3, wanted).await.map_err(|error| match error {
            S3Error::MethodNotAllowed { .. } => S3Error::request(
                "The source of a copy request may not specifically refer to a delete marker by version id.",
            ),
            other => other,
        })?;
        self.conditions.check_source(&found.version)?;
        let at = At { record: &found.bucket, bucket: &self.source.bucket, key: &self.source.key };
        let key = encryption::opening(s3, at, found.version.encryption.as_ref(), self.customer.read()?)?;
        Ok((found, key))
    }
}

/// CopyObject: the bytes are read, checked and written anew, under the destination's key.
pub(crate) async fn copy(s3: S3, cx: Cx, input: m::CopyObjectInput) -> Result<m::CopyObjectOutput, S3Error> {
    check_key(&input.key)?;
    let source = Source::parse(&input.copy_source)?;
    let bucket = s3.bucket(&input.bucket).await?;
    check_owner(&bucket, input.expected_bucket_owner.as_deref())?;
    let (mut found, key) = asked_source!(input, source).open(&s3).await?;
    if found.version.size > PUT_BYTES_MAX {
        let message = format!(
            "The specified copy source is larger than the maximum allowable size for a copy source: {PUT_BYTES_MAX}"
        );
        return Err(S3Error::request(message));
    }
    let keeps_tags = input.tagging_directive != Some(m::TaggingDirective::Replace);
    // They came after authorisation, which saw none and did not ask about reading them.
    if keeps_tags && !found.version.tags.is_empty() && TAG_READS.iter().any(|read| cx.unasked.contains(read)) {
        return Err(S3Error::AccessDenied("Access Denied".to_owned()));
    }
    let replaces = input.metadata_directive == Some(m::MetadataDirective::Replace);
    check_changes(&input, &source, &found, replaces)?;
    let (mut given, started_us) = (given!(input), s3.now_us());
    if !replaces {
        let redirect = given.headers.redirect.take();
        given.headers = crate::keys::Headers { redirect, ..found.version.headers.clone() };
        given.metadata.clone_from(&found.version.metadata);
    }
    given.clone().checked(&bucket, writer(&cx, &bucket), started_us)?;
    let at = At { record: &bucket, bucket: &input.bucket, key: &input.key };
    let chosen = encryption::choose(&s3, at, asked_encryption!(input))?;
    let algorithm = input.checksum_algorithm.and_then(slots::algorithm);
    let kept = found.version.checksum.as_ref().filter(|checksum| checksum.kind == Kind::FullObject);
    let algorithm = algorithm.or(kept.map(|checksum| checksum.algorithm)).unwrap_or(Algorithm::Crc64Nvme);
    let whole = Span { offset: 0, length: found.version.size };
    let body = found.body(&s3, whole, key).await?;
    let intake = Intake { algorithms: vec![algorithm], key: Some(chosen.key), bytes_max: PUT_BYTES_MAX };
    let received = intake.receive(&s3, body).await?;

    let original = &found.version;
    let write = Write {
        bucket: &input.bucket,
        key: &input.key,
        earlier: &bucket,
        given,
        tags: keeps_tags.then(|| original.tags.clone()),
        started_us,
        conditions: conditions::Write { if_match: input.if_match.clone(), if_none_match: input.if_none_match.clone() },
        received: &received,
        algorithm,
        encryption: chosen.encryption,
        happened: Happened::Copied,
    };
    let (version, versioning) = write.commit(&s3, &cx).await?;
    let mut result = m::CopyObjectResult {
        e_tag: Some(quoted(&version.etag)),
        last_modified: Some(whole_seconds(version.modified_us)),
        ..Default::default()
    };
    result.checksum_type = slots::answer(&mut result, version.checksum.as_ref());
    let mut output = m::CopyObjectOutput {
        copy_object_result: Some(result),
        copy_source_version_id: original.answered_id(found.bucket.versioning),
        version_id: version.answered_id(versioning),
        ssekms_encryption_context: encryption::answered_context(version.encryption.as_ref()),
        ..Default::default()
    };
    answer_encryption!(output, &version.encryption);
    Ok(output)
}

/// A copy onto itself must change something.
fn check_changes(input: &m::CopyObjectInput, source: &Source, found: &Found, replaces: bool) -> Result<(), S3Error> {
    let itself = source.bucket == input.bucket && source.key == input.key && source.version_id.is_none();
    let changes = replaces
        || input.storage_class.is_some()
        || input.website_redirect_location.is_some()
        || input.server_side_encryption.is_some()
        || input.sse_customer_algorithm.is_some()
        || input.tagging_directive == Some(m::TaggingDirective::Replace)
        || (input.checksum_algorithm.is_some() && found.version.checksum.is_none());
    match itself && !changes {
        true => Err(S3Error::request(
            "This copy request is illegal because it is trying to copy an object to itself without changing the \
             object's metadata, storage class, website redirect location or encryption attributes.",
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_bucket_a_key_and_maybe_a_version() {
        let source = |bucket: &str, key: &str, id: Option<&str>| {
            Some(Source { bucket: bucket.into(), key: key.into(), version_id: id.map(str::to_owned) })
        };
        for (header, expected) in [
            ("/b/k", source("b", "k", None)),
            ("b/a%20b/c%2Fd", source("b", "a b/c/d", None)),
            ("b/k%3FversionId=x", source("b", "k?versionId=x", None)),
            ("b/k?versionId=x", source("b", "k", Some("x"))),
            ("b/a+b", source("b", "a+b", None)),
            ("b", None),
            ("b/", None),
            ("/", None),
            ("b/%zz", None),
        ] {
            assert_eq!(Source::parse(header).ok(), expected, "{header}");
        }
    }
}
