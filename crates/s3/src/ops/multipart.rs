//! Multipart uploads: start, complete, abort, list.

use model::s3 as m;
use sys::Timestamp;
use wire::Cx;

use super::{check_key, check_owner, int, quoted, url_encoded, writer};
use crate::checksum::{Algorithm, Checksum, Kind, combine};
use crate::conditions;
use crate::encryption::{self, At, answer_encryption, asked_encryption, customer_headers};
use crate::error::S3Error;
use crate::given::given;
use crate::keys::{self, Content, Encryption, Garbage, PartRecord, UploadRecord, VersionRecord, Versioning};
use crate::kms;
use crate::limits::{PAGE_MAX, PART_BYTES_MIN, UPLOAD_ID_BYTES_MAX};
use crate::listing::{self, Entry, Query};
use crate::notify::{self, Happened};
use crate::slots;
use crate::state::{self, S3, owner};
use crate::versions::{self, Slot};

/// Most bytes of parts in one value of the store; half of what it takes.
const MANIFEST_PAGE_BYTES: usize = kv::limits::VALUE_BYTES_MAX / 2;

/// CreateMultipartUpload.
pub(crate) async fn create(
    s3: S3,
    cx: Cx,
    input: m::CreateMultipartUploadInput,
) -> Result<m::CreateMultipartUploadOutput, S3Error> {
    check_key(&input.key)?;
    let now_us = s3.now_us();
    let bucket = s3.bucket(&input.bucket).await?;
    check_owner(&bucket, input.expected_bucket_owner.as_deref())?;
    let given = given!(input).checked(&bucket, writer(&cx, &bucket), now_us)?;
    let at = At { record: &bucket, bucket: &input.bucket, key: &input.key };
    let chosen = encryption::choose(&s3, at, asked_encryption!(input))?;
    s3.may_use(&cx, at, Some(&chosen.encryption), &[kms::GENERATE, kms::DECRYPT]).await?;
    let checksum = checksum_of(&input)?;
    let id = format!("{now_us:016x}{}", s3.fresh_id());
    let record = UploadRecord {
        started_us: now_us,
        account: writer(&cx, &bucket).to_owned(),
        owner: Some(given.account.clone().unwrap_or_else(|| bucket.account.clone())),
        initiator: cx.principal.arn(),
        headers: given.headers,
        metadata: given.metadata,
        tags: given.tags,
        storage_class: given.storage_class,
        encryption: Some(chosen.encryption),
        lock: given.lock,
        acl: given.acl,
        checksum,
    };
    let (name, key, upload, kept, bucket) = (&input.bucket, &input.key, &id, &record, &bucket);
    let created = s3.kv.transact(|tx| async move {
        state::same_bucket(&tx, name, bucket).await?;
        keys::set(&tx, keys::upload(name, key, upload), kept);
        Ok::<_, S3Error>(())
    });
    created.await?;
    let mut output = m::CreateMultipartUploadOutput {
        bucket: Some(input.bucket.clone()),
        key: Some(input.key.clone()),
        upload_id: Some(id.clone()),
        checksum_algorithm: checksum.and_then(|(algorithm, _)| slots::named(algorithm)),
        checksum_type: checksum.map(|(_, kind)| slots::kind(kind)),
        ssekms_encryption_context: encryption::answered_context(record.encryption.as_ref()),
        ..Default::default()
    };
    answer_encryption!(output, &record.encryption);
    Ok(output)
}

fn checksum_of(input: &m::CreateMultipartUploadInput) -> Result<Option<(Algorithm, Kind)>, S3Error> {
    let kind = input.checksum_type.map(|kind| match kind {
        m::ChecksumType::FullObject => Kind::FullObject,
        m::ChecksumType::Composite => Kind::Composite,
    });
    let Some(algorithm) = input.checksum_algorithm.and_then(slots::algorithm) else {
        return match kind {
            Some(_) => Err(S3Error::request(
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
            )),
            None => Ok(None),
        };
    };
    let kind = kind.unwrap_or(algorithm.default_kind());
    match algorithm.allows(kind) {
        true => Ok(Some((algorithm, kind))),
        false => Err(S3Error::request(format!(
            "The {} checksum type cannot be used with the {} checksum algorithm.",
            kind.name(),
            algorithm.name().to_lowercase()
        ))),
    }
}

/// The upload of a key that may be one; `None` when there is none.
///
/// # Errors
/// The store's.
pub(crate) async fn find_upload(
    tx: &kv::Txn,
    bucket: &str,
    key: &str,
    id: &str,
) -> Result<Option<UploadRecord>, S3Error> {
    if id.len() > UPLOAD_ID_BYTES_MAX {
        return Ok(None);
    }
    Ok(keys::get(tx, &keys::upload(bucket, key, id)).await?)
}

/// The upload, as the transaction sees it.
///
/// # Errors
/// `NoSuchUpload`, `NoSuchBucket`, `KeyTooLongError`.
pub(crate) async fn upload(
    tx: &kv::Txn,
    bucket: &str,
    key: &str,
    id: &str,
) -> Result<(keys::BucketRecord, UploadRecord), S3Error> {
    check_key(key)?;
    let bucket_record = state::bucket(tx, bucket).await?;
    let upload = find_upload(tx, bucket, key, id).await?.ok_or(S3Error::NoSuchUpload)?;
    Ok((bucket_record, upload))
}

/// AbortMultipartUpload.
pub(crate) async fn abort(
    s3: S3,
    _cx: Cx,
    input: m::AbortMultipartUploadInput,
) -> Result<m::AbortMultipartUploadOutput, S3Error> {
    let (s3, input) = (&s3, &input);
    let aborted = s3.kv.transact(|tx| async move {
        let (bucket, upload) = upload(&tx, &input.bucket, &input.key, &input.upload_id).await?;
        check_owner(&bucket, input.expected_bucket_owner.as_deref())?;
        if input
            .if_match_initiated_time
            .is_some_and(|time| time.unix_s() != Timestamp::from_unix_us(upload.started_us).unix_s())
        {
            return Err(S3Error::unmet("x-amz-if-match-initiated-time"));
        }
        tx.clear(keys::upload(&input.bucket, &input.key, &input.upload_id));
        versions::throw_away(s3, &tx, &Garbage::Upload(input.upload_id.clone()));
        Ok::<_, S3Error>(())
    });
    aborted.await?;
    Ok(m::AbortMultipartUploadOutput::default())
}

/// CompleteMultipartUpload. Atomic: one transaction turns the parts into the object. Completing again answers the
/// same while the object is still the one that the upload made (sem:S6).
pub(crate) async fn complete(
    s3: S3,
    cx: Cx,
    mut input: m::CompleteMultipartUploadInput,
) -> Result<m::CompleteMultipartUploadOutput, S3Error> {
    let declared = slots::declared(&mut input)?;
    let listed = input.multipart_upload.take().and_then(|upload| upload.parts).unwrap_or_default();
    let listed = Listed::read(listed)?;
    let completing = Completing { input: &input, listed: &listed, declared: declared.as_ref(), content: s3.fresh_id() };
    let (s3, cx, completing) = (&s3, &cx, &completing);
    completing.may_read(s3, cx).await?;
    let completed = s3.kv.transact(|tx| async move { completing.run(s3, cx, &tx).await });
    let (version, versioning) = completed.await?;
    let mut output = m::CompleteMultipartUploadOutput {
        location: Some(format!("http://{}/{}/{}", cx.host, input.bucket, url_encoded(&input.key))),
        bucket: Some(input.bucket.clone()),
        key: Some(input.key.clone()),
        e_tag: Some(quoted(&version.etag)),
        version_id: version.given_id(versioning),
        ..Default::default()
    };
    output.checksum_type = slots::answer(&mut output, version.checksum.as_ref());
    answer_encryption!(managed output, &version.encryption);
    Ok(output)
}

/// The parts that a client lists.
struct Listed(Vec<ListedPart>);

struct ListedPart {
    number: u32,
    etag: String,
    checksum: Option<(Algorithm, String)>,
}

impl Listed {
    fn read(parts: Vec<m::CompletedPart>) -> Result<Self, S3Error> {
        let mut listed: Vec<ListedPart> = Vec::with_capacity(parts.len());
        for mut part in parts {
            let number = part.part_number.and_then(|number| u32::try_from(number).ok()).ok_or(S3Error::MalformedXML)?;
            let etag = part.e_tag.take().ok_or(S3Error::MalformedXML)?.trim_matches('"').to_owned();
            if listed.last().is_some_and(|last| last.number >= number) {
                return Err(S3Error::InvalidPartOrder);
            }
            listed.push(ListedPart { number, etag, checksum: slots::declared(&mut part)? });
        }
        if listed.is_empty() { Err(S3Error::MalformedXML) } else { Ok(Self(listed)) }
    }
}

struct Completing<'a> {
    input: &'a m::CompleteMultipartUploadInput,
    listed: &'a Listed,
    declared: Option<&'a (Algorithm, String)>,
    /// Name of the object's pages.
    content: String,
}

impl Completing<'_> {
    /// Parts under a key are read to make them one object (S3 user guide, "Multipart upload API and permissions").
    async fn may_read(&self, s3: &S3, cx: &Cx) -> Result<(), S3Error> {
        let (bucket, key, id) = (&self.input.bucket, &self.input.key, &self.input.upload_id);
        let found = s3.kv.read(|tx| async move { upload(&tx, bucket, key, id).await }).await;
        match found {
            Ok((record, upload)) => {
                let at = At { record: &record, bucket, key };
                s3.may_use(cx, at, upload.encryption.as_ref(), &[kms::DECRYPT]).await
            }
            // It may be complete already: the transaction tells.
            Err(S3Error::NoSuchUpload) => Ok(()),
            Err(other) => Err(other),
        }
    }

    async fn run(&self, s3: &S3, cx: &Cx, tx: &kv::Txn) -> Result<(VersionRecord, Versioning), S3Error> {
        let Self { input, .. } = self;
        let slot = Slot { s3, tx, bucket: &input.bucket, key: &input.key };
        let (bucket, upload) = match upload(tx, &input.bucket, &input.key, &input.upload_id).await {
            Ok(found) => found,
            Err(S3Error::NoSuchUpload) => return self.again(&slot).await,
            Err(other) => return Err(other),
        };
        check_owner(&bucket, input.expected_bucket_owner.as_deref())?;
        if let Some(Encryption::Customer { .. }) = &upload.encryption {
            // The parts carry it already; a key that comes along must be the same.
            if let Some(customer) = customer_headers!(input).read()? {
                let at = At { record: &bucket, bucket: &input.bucket, key: &input.key };
                encryption::opening(s3, at, upload.encryption.as_ref(), Some(customer))?;
            }
        }
        let head = slot.head().await?;
        let conditions =
            conditions::Write { if_match: input.if_match.clone(), if_none_match: input.if_none_match.clone() };
        conditions.check(head.as_ref().map(|head| &head.version))?;
        let stored: Vec<PartRecord> = keys::list(tx, &keys::parts(&input.upload_id)).await?;
        let parts = self.chosen(&upload, &stored)?;
        let size = parts.iter().map(PartRecord::size).sum();
        if input.mpu_object_size.is_some_and(|expected| u64::try_from(expected).ok() != Some(size)) {
            return Err(S3Error::request(
                "The provided 'x-amz-mp-object-size' header does not match what was computed.",
            ));
        }
        let is_enforced = bucket.ownership == Some(keys::Ownership::BucketOwnerEnforced);
        let owner = Some(upload.owner()).filter(|owner| *owner != bucket.account && !is_enforced).map(str::to_owned);
        let draft = VersionRecord {
            size,
            etag: etag_of(&parts)?,
            checksum: self.checksum(&upload, &parts)?,
            content: self.write(s3, tx, &parts, &stored),
            headers: upload.headers,
            metadata: upload.metadata,
            tags: upload.tags,
            storage_class: upload.storage_class,
            encryption: upload.encryption,
            lock: upload.lock,
            acl: upload.acl,
            account: owner,
            upload: Some(input.upload_id.clone()),
            ..VersionRecord::draft(s3.now_us())
        };
        let version = slot.put(&bucket, draft).await?;
        tx.clear(keys::upload(&input.bucket, &input.key, &input.upload_id));
        notify::tell(&slot, &bucket, cx, Happened::Completed, &version).await?;
        Ok((version, bucket.versioning))
    }

    /// The upload is gone: did it become the object that is there?
    async fn again(&self, slot: &Slot<'_>) -> Result<(VersionRecord, Versioning), S3Error> {
        let bucket = state::bucket(slot.tx, slot.bucket).await?;
        let head = slot.head().await?.map(|head| head.version);
        let same = head.filter(|version| version.upload.as_deref() == Some(&self.input.upload_id));
        Ok((same.ok_or(S3Error::NoSuchUpload)?, bucket.versioning))
    }

    /// The stored parts that the client lists, checked.
    fn chosen(&self, upload: &UploadRecord, stored: &[PartRecord]) -> Result<Vec<PartRecord>, S3Error> {
        let mut chosen = Vec::with_capacity(self.listed.0.len());
        let last = self.listed.0.last().map(|part| part.number);
        for listed in &self.listed.0 {
            let at =
                stored.binary_search_by_key(&listed.number, |part| part.number).map_err(|_| S3Error::InvalidPart)?;
            let part = &stored[at];
            if part.etag != listed.etag {
                return Err(S3Error::InvalidPart);
            }
            match (&listed.checksum, upload.checksum) {
                (Some((algorithm, value)), Some((expected, _)))
                    if *algorithm != expected || part.checksum.as_ref() != Some(value) =>
                {
                    return Err(S3Error::InvalidPart);
                }
                (None, Some((algorithm, Kind::Composite))) => {
                    return Err(S3Error::request(format!(
                        "The upload was created using a {} checksum. The complete request must include the checksum \
                         for each part. It was missing for part {} in the request.",
                        algorithm.name().to_lowercase(),
                        listed.number
                    )));
                }
                _ => {}
            }
            if part.size() < PART_BYTES_MIN && Some(listed.number) != last {
                return Err(S3Error::EntityTooSmall);
            }
            chosen.push(part.clone());
        }
        Ok(chosen)
    }

    /// The object's checksum, compared with the declared one.
    fn checksum(&self, upload: &UploadRecord, parts: &[PartRecord]) -> Result<Option<Checksum>, S3Error> {
        let kind = self.input.checksum_type.map(slots_kind);
        let Some((algorithm, upload_kind)) = upload.checksum else { return Ok(None) };
        if kind.is_some_and(|kind| kind != upload_kind) {
            return Err(S3Error::request(format!(
                "The upload was created using the {} checksum mode. The complete request must use the same checksum mode.",
                upload_kind.name()
            )));
        }
        let sums: Option<Vec<_>> = parts.iter().map(|part| Some((part.checksum.clone()?, part.size()))).collect();
        let checksum = sums.and_then(|sums| combine(algorithm, upload_kind, &sums)).ok_or(S3Error::InvalidPart)?;
        match self.declared {
            Some((named, value)) if *named != algorithm || !same_value(value, &checksum) => {
                Err(S3Error::BadDigest(named.name().to_owned()))
            }
            _ => Ok(Some(checksum)),
        }
    }

    /// Writes the object's pages, and lets go of parts that are not in it.
    fn write(&self, s3: &S3, tx: &kv::Txn, parts: &[PartRecord], stored: &[PartRecord]) -> Content {
        for (page, parts) in (0..).zip(pages(parts)) {
            keys::set(tx, keys::manifest(&self.content, page), &parts);
        }
        for part in stored {
            tx.clear(keys::part(&self.input.upload_id, part.number));
            let used = parts.binary_search_by_key(&part.number, |part| part.number).is_ok();
            if let Some(segment) = part.segment.clone().filter(|_| !used) {
                versions::discard(s3, tx, &Content::One(segment));
            }
        }
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        Content::Parts { id: self.content.clone(), count }
    }
}

/// Cuts parts into pages by the size that they have as records: checksums make it differ.
fn pages(parts: &[PartRecord]) -> Vec<&[PartRecord]> {
    let (mut pages, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (at, part) in parts.iter().enumerate() {
        let size = keys::encode(part).len();
        if at > begin && bytes + size > MANIFEST_PAGE_BYTES {
            pages.push(&parts[begin..at]);
            (begin, bytes) = (at, 0);
        }
        bytes += size;
    }
    pages.push(&parts[begin..]);
    pages
}

fn slots_kind(kind: m::ChecksumType) -> Kind {
    match kind {
        m::ChecksumType::FullObject => Kind::FullObject,
        m::ChecksumType::Composite => Kind::Composite,
    }
}

/// Composite checksums may come with or without the number of parts.
fn same_value(declared: &str, checksum: &Checksum) -> bool {
    declared == checksum.value || checksum.value.rsplit_once('-').is_some_and(|(value, _)| value == declared)
}

/// MD5 of the parts' MD5s, and their number.
fn etag_of(parts: &[PartRecord]) -> Result<String, S3Error> {
    use sha2::Digest as _;
    let mut md5 = md5::Md5::new();
    for part in parts {
        let digits = part.etag.as_bytes().chunks(2);
        for pair in digits {
            let byte = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
            md5.update([byte.ok_or_else(|| S3Error::Corrupt("the ETag of a part is no MD5".to_owned()))?]);
        }
    }
    Ok(format!("{}-{}", sys::hex(&md5.finalize()), parts.len()))
}

/// ListMultipartUploads.
pub(crate) async fn list(
    s3: S3,
    _cx: Cx,
    input: m::ListMultipartUploadsInput,
) -> Result<m::ListMultipartUploadsOutput, S3Error> {
    let limit = super::list::page_size(input.max_uploads)?;
    let encode = super::list::encoder(input.encoding_type);
    let query = Query {
        bucket: input.bucket.clone(),
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone().unwrap_or_default(),
        after: input.key_marker.clone().unwrap_or_default(),
        limit,
    };
    // An upload marker without a key marker does not count.
    let after_id = input.upload_id_marker.as_deref().filter(|id| !id.is_empty() && !query.after.is_empty());
    query.check()?;
    if after_id.is_some_and(|id| id.len() > UPLOAD_ID_BYTES_MAX) {
        return Err(S3Error::argument("Invalid uploadId marker"));
    }
    let (asked, expected) = (&query, input.expected_bucket_owner.as_deref());
    let read = s3.kv.read(|tx| async move {
        check_owner(&state::bucket(&tx, &asked.bucket).await?, expected)?;
        listing::uploads(&tx, asked, after_id).await
    });
    let page = read.await?;
    let mut output = m::ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        key_marker: Some(encode(&query.after)),
        upload_id_marker: input.upload_id_marker.or(Some(String::new())),
        prefix: Some(encode(&query.prefix)),
        delimiter: input.delimiter.as_deref().map(&encode),
        max_uploads: Some(int(limit)),
        is_truncated: Some(page.truncated),
        encoding_type: input.encoding_type,
        ..Default::default()
    };
    let (mut uploads, mut prefixes) = (Vec::new(), Vec::new());
    if page.truncated {
        output.next_key_marker = page.entries.last().map(|entry| encode(entry.name()));
        output.next_upload_id_marker = page.entries.last().and_then(|entry| match entry {
            Entry::Item(_, (id, _)) => Some(id.clone()),
            Entry::Prefix(_) => None,
        });
    }
    for entry in page.entries {
        match entry {
            Entry::Prefix(prefix) => prefixes.push(m::CommonPrefix { prefix: Some(encode(&prefix)) }),
            Entry::Item(key, (id, record)) => uploads.push(shown(encode(&key), id, &record)),
        }
    }
    output.uploads = Some(uploads).filter(|uploads| !uploads.is_empty());
    output.common_prefixes = Some(prefixes).filter(|prefixes| !prefixes.is_empty());
    Ok(output)
}

fn shown(key: String, id: String, record: &UploadRecord) -> m::MultipartUpload {
    m::MultipartUpload {
        upload_id: Some(id),
        key: Some(key),
        initiated: Some(Timestamp::from_unix_us(record.started_us)),
        storage_class: record.storage_class.as_deref().unwrap_or("STANDARD").parse().ok(),
        owner: Some(owner(record.owner())),
        initiator: Some(initiator(record)),
        checksum_algorithm: record.checksum.and_then(|(algorithm, _)| slots::named(algorithm)),
        checksum_type: record.checksum.map(|(_, kind)| slots::kind(kind)),
        ..Default::default()
    }
}

/// Who started an upload: the root user by the canonical id, others by ARN.
pub(crate) fn initiator(record: &UploadRecord) -> m::Initiator {
    let is_root = record.initiator.ends_with(":root") || record.initiator == "anonymous";
    let m::Owner { id, display_name } = owner(&record.account);
    let id = if is_root { id } else { Some(record.initiator.clone()) };
    m::Initiator { id, display_name }
}

/// The size of a page of parts.
pub(crate) fn parts_page_size(asked: Option<i32>) -> Result<usize, S3Error> {
    match asked.map(usize::try_from) {
        None => Ok(PAGE_MAX),
        Some(Ok(size)) => Ok(size.min(PAGE_MAX)),
        Some(Err(_)) => Err(S3Error::argument("Argument max-parts must be an integer between 0 and 2147483647")),
    }
}

#[cfg(test)]
mod tests {
    use sys::Rng;

    use super::*;
    use crate::keys::{Place, Segment};
    use crate::limits::{PART_NUMBER_MAX, PUT_BYTES_MAX};
    use crate::seal::Key;

    #[test]
    fn pages_of_the_largest_parts_fit_into_values() {
        let (rng, key) = (Rng::seeded(1), Key::new([1; 32]));
        for algorithm in crate::checksum::ALL {
            let part = |number| {
                let id = sys::id::hex::<16>(&rng);
                let digest = "ff".repeat(32).parse().expect("a digest");
                PartRecord {
                    number,
                    etag: "f".repeat(32),
                    modified_us: i64::MAX,
                    checksum: Some(crate::checksum::encode(&vec![0xFF; algorithm.bytes()])),
                    segment: Some(Segment {
                        key: Some(key.wrap(&Key::new([2; 32]), &id, &rng)),
                        id,
                        size: PUT_BYTES_MAX,
                        place: Place::Blob(blob::BlobRef { digest, length: u64::MAX }),
                    }),
                }
            };
            let parts: Vec<_> = (1..=PART_NUMBER_MAX).map(part).collect();
            let pages = pages(&parts);
            for page in &pages {
                assert!(keys::encode(page).len() <= kv::limits::VALUE_BYTES_MAX, "{}", algorithm.name());
            }
            assert_eq!(pages.concat(), parts);
            let all: usize = pages.iter().map(|page| keys::encode(page).len()).sum();
            assert!(all < kv::limits::TRANSACTION_BYTES_MAX * 2 / 3, "one transaction and one read take them: {all}");
        }
    }
}
