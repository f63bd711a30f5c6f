//! Conditions of requests: on reads as RFC 9110 section 13.2.2 orders them, on writes as S3 adds them (sem:S3).

use sys::Timestamp;

use crate::error::S3Error;
use crate::keys::VersionRecord;

/// Whether a list of entity tags (or `*`) names `etag`. S3 takes tags without quotes too.
fn names(list: &str, etag: &str) -> bool {
    list.split(',')
        .map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"'))
        .any(|tag| tag == "*" || tag == etag)
}

/// Conditions of a read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Read {
    pub(crate) if_match: Option<String>,
    pub(crate) if_none_match: Option<String>,
    pub(crate) if_modified_since: Option<Timestamp>,
    pub(crate) if_unmodified_since: Option<Timestamp>,
}

impl Read {
    /// Whether the version may be given out.
    ///
    /// # Errors
    /// `PreconditionFailed`, `NotModified`.
    pub(crate) fn check(&self, version: &VersionRecord) -> Result<(), S3Error> {
        match self.met(version) {
            Ok(()) => Ok(()),
            Err(Unmet { header, unmodified: false }) => Err(S3Error::unmet(header)),
            Err(Unmet { unmodified: true, .. }) => Err(S3Error::NotModified { etag: version.etag.clone() }),
        }
    }

    /// The same for the source of a copy, where nothing is a `NotModified`.
    ///
    /// # Errors
    /// `PreconditionFailed`.
    pub(crate) fn check_source(&self, version: &VersionRecord) -> Result<(), S3Error> {
        self.met(version).map_err(|unmet| S3Error::unmet(&format!("x-amz-copy-source-{}", unmet.header)))
    }

    fn met(&self, version: &VersionRecord) -> Result<(), Unmet> {
        // Times of HTTP are whole seconds.
        let modified = version.modified_us.div_euclid(1_000_000);
        let unmet = |header, unmodified| Err(Unmet { header, unmodified });
        match (&self.if_match, self.if_unmodified_since) {
            (Some(list), _) if !names(list, &version.etag) => return unmet("If-Match", false),
            (None, Some(since)) if modified > since.unix_s() => return unmet("If-Unmodified-Since", false),
            _ => {}
        }
        match (&self.if_none_match, self.if_modified_since) {
            (Some(list), _) if names(list, &version.etag) => unmet("If-None-Match", true),
            (None, Some(since)) if modified <= since.unix_s() => unmet("If-Modified-Since", true),
            _ => Ok(()),
        }
    }
}

struct Unmet {
    header: &'static str,
    unmodified: bool,
}

/// Conditions of a write, decided within its transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Write {
    pub(crate) if_match: Option<String>,
    pub(crate) if_none_match: Option<String>,
}

impl Write {
    /// Whether the write may happen over `current`.
    ///
    /// # Errors
    /// `PreconditionFailed`; `NoSuchKey` when a tag was named and there is no object.
    pub(crate) fn check(&self, current: Option<&VersionRecord>) -> Result<(), S3Error> {
        let current = current.filter(|version| !version.marker);
        match (&self.if_none_match, current) {
            (Some(list), Some(version)) if names(list, &version.etag) => return Err(S3Error::unmet("If-None-Match")),
            _ => {}
        }
        match (&self.if_match, current) {
            (Some(_), None) => Err(S3Error::no_such_key()),
            (Some(list), Some(version)) if !names(list, &version.etag) => Err(S3Error::unmet("If-Match")),
            _ => Ok(()),
        }
    }
}

/// Conditions of a delete.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delete {
    pub(crate) if_match: Option<String>,
    pub(crate) last_modified: Option<Timestamp>,
    pub(crate) size: Option<i64>,
}

impl Delete {
    /// Whether `current` may be deleted.
    ///
    /// # Errors
    /// `PreconditionFailed`; `NoSuchKey` when there is nothing to compare with.
    pub(crate) fn check(&self, current: Option<&VersionRecord>) -> Result<(), S3Error> {
        if self.if_match.is_none() && self.last_modified.is_none() && self.size.is_none() {
            return Ok(());
        }
        let Some(version) = current else { return Err(S3Error::no_such_key()) };
        if self.if_match.as_ref().is_some_and(|list| version.marker || !names(list, &version.etag)) {
            return Err(S3Error::unmet("If-Match"));
        }
        let modified = version.modified_us.div_euclid(1_000_000);
        if self.last_modified.is_some_and(|time| time.unix_s() != modified) {
            return Err(S3Error::unmet("x-amz-if-match-last-modified-time"));
        }
        if self.size.is_some_and(|size| u64::try_from(size).ok() != Some(version.size)) {
            return Err(S3Error::unmet("x-amz-if-match-size"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version() -> VersionRecord {
        VersionRecord { etag: "abc".to_owned(), size: 3, ..VersionRecord::draft(10_500_000) }
    }

    #[test]
    fn reads_follow_the_order_of_the_rfc() {
        let time = |s| Some(Timestamp::from_unix_s(s));
        let text = |text: &str| Some(text.to_owned());
        for (if_match, if_none_match, modified, unmodified, expected) in [
            (None, None, None, None, 200),
            (text("\"abc\""), None, None, None, 200),
            (text("abc"), None, None, time(1), 200),
            (text("*"), None, None, None, 200),
            (text("\"x\", \"abc\""), None, None, None, 200),
            (text("x"), None, None, None, 412),
            (None, None, None, time(9), 412),
            (None, None, None, time(10), 200),
            (None, text("abc"), time(1), None, 304),
            (None, text("x"), time(11), None, 200),
            (None, None, time(10), None, 304),
            (None, None, time(9), None, 200),
        ] {
            let read = Read { if_match, if_none_match, if_modified_since: modified, if_unmodified_since: unmodified };
            let status = read.check(&version()).map_or_else(|error| wire::ServiceError::status(&error), |()| 200);
            assert_eq!(status, expected, "{read:?}");
            let source =
                read.check_source(&version()).map_or_else(|error| wire::ServiceError::status(&error), |()| 200);
            assert_eq!(source, if expected == 200 { 200 } else { 412 }, "{read:?}");
        }
    }

    #[test]
    fn s3_writes_see_the_object_and_not_its_delete_marker() {
        let write = |if_match: Option<&str>, if_none_match: Option<&str>, current: Option<&VersionRecord>| {
            let write =
                Write { if_match: if_match.map(str::to_owned), if_none_match: if_none_match.map(str::to_owned) };
            write.check(current).map_or_else(|error| wire::ServiceError::status(&error), |()| 200)
        };
        let (version, marker) = (version(), VersionRecord::marker(0));
        assert_eq!(write(None, Some("*"), Some(&version)), 412);
        assert_eq!(write(None, Some("*"), None), 200);
        assert_eq!(write(None, Some("*"), Some(&marker)), 200);
        assert_eq!(write(Some("\"abc\""), None, Some(&version)), 200);
        assert_eq!(write(Some("\"x\""), None, Some(&version)), 412);
        assert_eq!(write(Some("\"x\""), None, Some(&marker)), 404);
        assert_eq!(write(Some("*"), None, None), 404);
    }

    #[test]
    fn deletes_compare_tag_time_and_size() {
        let check = |delete: Delete, current: Option<&VersionRecord>| {
            delete.check(current).map_or_else(|error| wire::ServiceError::status(&error), |()| 200)
        };
        let version = version();
        assert_eq!(check(Delete::default(), None), 200);
        let size = |size| Delete { size: Some(size), ..Delete::default() };
        assert_eq!(
            (check(size(3), Some(&version)), check(size(4), Some(&version)), check(size(3), None)),
            (200, 412, 404)
        );
        let time = |s| Delete { last_modified: Some(Timestamp::from_unix_s(s)), ..Delete::default() };
        assert_eq!((check(time(10), Some(&version)), check(time(11), Some(&version))), (200, 412));
        let tag = |tag: &str| Delete { if_match: Some(tag.to_owned()), ..Delete::default() };
        assert_eq!(
            (check(tag("*"), Some(&version)), check(tag("abc"), Some(&version)), check(tag("x"), Some(&version))),
            (200, 200, 412)
        );
        assert_eq!(check(tag("*"), Some(&VersionRecord::marker(0))), 412);
    }
}
