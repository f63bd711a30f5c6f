//! ListObjects, ListObjectsV2 and ListObjectVersions.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as TOKEN;
use model::s3 as m;
use wire::Cx;

use super::get::whole_seconds;
use super::{check_owner, int, long, quoted, url_encoded};
use crate::error::S3Error;
use crate::keys::{BucketRecord, VersionRecord};
use crate::limits::PAGE_MAX;
use crate::listing::{self, Entry, Listed, Page, Query};
use crate::slots;
use crate::state::{self, S3, owner};

/// The size of a page of keys.
///
/// # Errors
/// `InvalidArgument` when it is negative.
pub(crate) fn page_size(asked: Option<i32>) -> Result<usize, S3Error> {
    match asked.map(usize::try_from) {
        None => Ok(PAGE_MAX),
        Some(Ok(size)) => Ok(size.min(PAGE_MAX)),
        Some(Err(_)) => Err(S3Error::argument("Argument max-keys must be an integer between 0 and 2147483647")),
    }
}

/// What turns names into what the listing shows.
pub(crate) fn encoder(encoding: Option<m::EncodingType>) -> fn(&str) -> String {
    if encoding.is_some() { url_encoded } else { str::to_owned }
}

async fn read(s3: &S3, query: &Query, expected: Option<&str>) -> Result<(BucketRecord, Page<VersionRecord>), S3Error> {
    query.check()?;
    let read = s3.kv.read(|tx| async move {
        let bucket = state::bucket(&tx, &query.bucket).await?;
        check_owner(&bucket, expected)?;
        Ok::<_, S3Error>((bucket, listing::keys(&tx, query).await?))
    });
    read.await
}

/// Keys and common prefixes as both listings show them.
fn shown(
    bucket: &BucketRecord,
    page: Page<VersionRecord>,
    encode: fn(&str) -> String,
    with_owner: bool,
) -> (Option<Vec<m::Object>>, Option<Vec<m::CommonPrefix>>) {
    let (mut contents, mut prefixes) = (Vec::new(), Vec::new());
    for entry in page.entries {
        match entry {
            Entry::Prefix(prefix) => prefixes.push(m::CommonPrefix { prefix: Some(encode(&prefix)) }),
            Entry::Item(key, version) => contents.push(m::Object {
                key: Some(encode(&key)),
                last_modified: Some(whole_seconds(version.modified_us)),
                e_tag: Some(quoted(&version.etag)),
                size: Some(long(version.size)),
                storage_class: version.storage_class.as_deref().unwrap_or("STANDARD").parse().ok(),
                checksum_algorithm: version.checksum.as_ref().and_then(|sum| Some(vec![slots::named(sum.algorithm)?])),
                checksum_type: version.checksum.as_ref().map(|sum| slots::kind(sum.kind)),
                owner: with_owner.then(|| owner_of(bucket, &version)),
                restore_status: None,
            }),
        }
    }
    (Some(contents).filter(|list| !list.is_empty()), Some(prefixes).filter(|list| !list.is_empty()))
}

fn owner_of(bucket: &BucketRecord, version: &VersionRecord) -> m::Owner {
    owner(version.account.as_deref().unwrap_or(&bucket.account))
}

/// ListObjects.
pub(crate) async fn v1(s3: S3, _cx: Cx, input: m::ListObjectsInput) -> Result<m::ListObjectsOutput, S3Error> {
    let limit = page_size(input.max_keys)?;
    let encode = encoder(input.encoding_type);
    let query = Query {
        bucket: input.bucket.clone(),
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone().unwrap_or_default(),
        after: input.marker.clone().unwrap_or_default(),
        limit,
    };
    let (bucket, page) = read(&s3, &query, input.expected_bucket_owner.as_deref()).await?;
    let truncated = page.truncated;
    // Without a delimiter the last key serves as the marker, as AWS has it.
    let next = page.entries.last().filter(|_| truncated && !query.delimiter.is_empty()).map(|last| encode(last.name()));
    let (contents, common_prefixes) = shown(&bucket, page, encode, true);
    Ok(m::ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(encode(&query.prefix)),
        marker: Some(encode(&query.after)),
        next_marker: next,
        delimiter: input.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty()).map(encode),
        max_keys: Some(int(limit)),
        is_truncated: Some(truncated),
        encoding_type: input.encoding_type,
        contents,
        common_prefixes,
        request_charged: None,
    })
}

/// ListObjectsV2.
pub(crate) async fn v2(s3: S3, _cx: Cx, input: m::ListObjectsV2Input) -> Result<m::ListObjectsV2Output, S3Error> {
    let limit = page_size(input.max_keys)?;
    let encode = encoder(input.encoding_type);
    // An empty token is that of the first page.
    let after = match input.continuation_token.as_deref().filter(|token| !token.is_empty()) {
        Some(token) => from_token(token)?,
        None => input.start_after.clone().unwrap_or_default(),
    };
    let query = Query {
        bucket: input.bucket.clone(),
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone().unwrap_or_default(),
        after,
        limit,
    };
    let (bucket, page) = read(&s3, &query, input.expected_bucket_owner.as_deref()).await?;
    let (truncated, count) = (page.truncated, page.entries.len());
    let next = page.entries.last().filter(|_| truncated).map(|last| TOKEN.encode(last.name()));
    let (contents, common_prefixes) = shown(&bucket, page, encode, input.fetch_owner == Some(true));
    Ok(m::ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(encode(&query.prefix)),
        start_after: input.start_after.as_deref().map(encode),
        delimiter: input.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty()).map(encode),
        max_keys: Some(int(limit)),
        key_count: Some(int(count)),
        is_truncated: Some(truncated),
        continuation_token: input.continuation_token,
        next_continuation_token: next,
        encoding_type: input.encoding_type,
        contents,
        common_prefixes,
        request_charged: None,
    })
}

fn from_token(token: &str) -> Result<String, S3Error> {
    let name = TOKEN.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    name.filter(|name| !name.is_empty())
        .ok_or_else(|| S3Error::argument("The continuation token provided is incorrect"))
}

/// ListObjectVersions.
pub(crate) async fn versions(
    s3: S3,
    _cx: Cx,
    input: m::ListObjectVersionsInput,
) -> Result<m::ListObjectVersionsOutput, S3Error> {
    let limit = page_size(input.max_keys)?;
    let encode = encoder(input.encoding_type);
    let query = Query {
        bucket: input.bucket.clone(),
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone().unwrap_or_default(),
        after: input.key_marker.clone().unwrap_or_default(),
        limit,
    };
    let marker = input.version_id_marker.as_deref().filter(|marker| !marker.is_empty());
    if marker.is_some() && query.after.is_empty() {
        return Err(S3Error::argument("A version-id marker cannot be specified without a key marker."));
    }
    query.check()?;
    let (asked, expected) = (&query, input.expected_bucket_owner.as_deref());
    let read = s3.kv.read(|tx| async move {
        let bucket = state::bucket(&tx, &asked.bucket).await?;
        check_owner(&bucket, expected)?;
        Ok::<_, S3Error>((bucket, listing::versions(&tx, asked, marker).await?))
    });
    let (bucket, page) = read.await?;
    let mut output = m::ListObjectVersionsOutput {
        name: Some(input.bucket),
        prefix: Some(encode(&query.prefix)),
        key_marker: Some(encode(&query.after)),
        version_id_marker: input.version_id_marker.or(Some(String::new())),
        delimiter: input.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty()).map(encode),
        max_keys: Some(int(limit)),
        is_truncated: Some(page.truncated),
        encoding_type: input.encoding_type,
        ..Default::default()
    };
    if let Some(last) = page.entries.last().filter(|_| page.truncated) {
        output.next_key_marker = Some(encode(last.name()));
        if let Entry::Item(_, listed) = last {
            output.next_version_id_marker = Some(listed.version.shown_id().to_owned());
        }
    }
    let (mut found, mut markers, mut prefixes) = (Vec::new(), Vec::new(), Vec::new());
    for entry in page.entries {
        match entry {
            Entry::Prefix(prefix) => prefixes.push(m::CommonPrefix { prefix: Some(encode(&prefix)) }),
            Entry::Item(key, listed) if listed.version.marker => markers.push(m::DeleteMarkerEntry {
                key: Some(encode(&key)),
                version_id: Some(listed.version.shown_id().to_owned()),
                is_latest: Some(listed.latest),
                last_modified: Some(whole_seconds(listed.version.modified_us)),
                owner: Some(owner_of(&bucket, &listed.version)),
            }),
            Entry::Item(key, listed) => found.push(version(&bucket, encode(&key), &listed)),
        }
    }
    output.versions = Some(found).filter(|list| !list.is_empty());
    output.delete_markers = Some(markers).filter(|list| !list.is_empty());
    output.common_prefixes = Some(prefixes).filter(|list| !list.is_empty());
    Ok(output)
}

fn version(bucket: &BucketRecord, key: String, listed: &Listed) -> m::ObjectVersion {
    let Listed { version, latest } = listed;
    m::ObjectVersion {
        key: Some(key),
        version_id: Some(version.shown_id().to_owned()),
        is_latest: Some(*latest),
        last_modified: Some(whole_seconds(version.modified_us)),
        e_tag: Some(quoted(&version.etag)),
        size: Some(long(version.size)),
        storage_class: version.storage_class.as_deref().unwrap_or("STANDARD").parse().ok(),
        checksum_algorithm: version.checksum.as_ref().and_then(|sum| Some(vec![slots::named(sum.algorithm)?])),
        checksum_type: version.checksum.as_ref().map(|sum| slots::kind(sum.kind)),
        owner: Some(owner_of(bucket, version)),
        restore_status: None,
    }
}
