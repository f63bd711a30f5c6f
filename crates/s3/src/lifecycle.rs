//! Lifecycle rules: checking a configuration, and what it says about a version on a day.
//!
//! Source: S3 user guide, "Lifecycle configuration elements", "Expiring objects". Days are whole: a version of age
//! N days expires at the midnight (UTC) after them.

use model::s3 as m;

use crate::error::S3Error;
use crate::keys::VersionRecord;
use crate::limits::LIFECYCLE_RULES_MAX;

const DAY_US: i64 = 86_400_000_000;

/// The day of a time, counted from the Unix epoch.
pub(crate) fn day_of(us: i64) -> i64 {
    us.div_euclid(DAY_US)
}

/// Checks a configuration.
///
/// # Errors
/// `MalformedXML`, `InvalidArgument`, `InvalidRequest`, as AWS answers them.
pub(crate) fn check(document: &m::BucketLifecycleConfiguration) -> Result<(), S3Error> {
    let rules = &document.rules;
    if rules.is_empty() || rules.len() > LIFECYCLE_RULES_MAX {
        return Err(S3Error::MalformedXML);
    }
    for (at, rule) in rules.iter().enumerate() {
        if rule.id.as_ref().is_some_and(|id| id.chars().count() > 255) {
            return Err(S3Error::argument("ID length should not exceed allowed limit of 255"));
        }
        if rules[..at].iter().any(|earlier| earlier.id == rule.id) {
            return Err(S3Error::argument("Rule ID must be unique. Found same ID for more than one rule"));
        }
        check_rule(rule)?;
    }
    Ok(())
}

fn check_rule(rule: &m::LifecycleRule) -> Result<(), S3Error> {
    let acts = rule.expiration.is_some()
        || rule.noncurrent_version_expiration.is_some()
        || rule.abort_incomplete_multipart_upload.is_some()
        || rule.transitions.as_ref().is_some_and(|list| !list.is_empty())
        || rule.noncurrent_version_transitions.as_ref().is_some_and(|list| !list.is_empty());
    if !acts {
        return Err(S3Error::request("At least one action needs to be specified in a rule"));
    }
    if rule.filter.is_some() && rule.prefix.is_some() {
        return Err(S3Error::MalformedXML);
    }
    if let Some(expiration) = &rule.expiration {
        let given =
            [expiration.date.is_some(), expiration.days.is_some(), expiration.expired_object_delete_marker.is_some()];
        if given.iter().filter(|given| **given).count() != 1 {
            return Err(S3Error::MalformedXML);
        }
        if expiration.days.is_some_and(|days| days <= 0) {
            return Err(S3Error::argument("'Days' for Expiration action must be a positive integer"));
        }
    }
    let expires_on = rule.expiration.as_ref().and_then(|expiration| expiration.date);
    let moves_on = rule.transitions.iter().flatten().filter_map(|transition| transition.date);
    if expires_on.into_iter().chain(moves_on).any(|date| date.unix_us().rem_euclid(DAY_US) != 0) {
        return Err(S3Error::argument("'Date' must be at midnight GMT"));
    }
    if let Some(noncurrent) = &rule.noncurrent_version_expiration
        && noncurrent.noncurrent_days.is_none_or(|days| days <= 0)
    {
        return Err(S3Error::argument(
            "'NoncurrentDays' for NoncurrentVersionExpiration action must be a positive integer",
        ));
    }
    if let Some(abort) = &rule.abort_incomplete_multipart_upload
        && abort.days_after_initiation.is_none_or(|days| days <= 0)
    {
        return Err(S3Error::argument(
            "'DaysAfterInitiation' for AbortIncompleteMultipartUpload action must be a positive integer",
        ));
    }
    Ok(())
}

/// Whether a rule is on and speaks of the key, with these tags and this size.
fn speaks_of(rule: &m::LifecycleRule, key: &str, version: Option<&VersionRecord>) -> bool {
    if rule.status != m::ExpirationStatus::Enabled || !rule.prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix))
    {
        return false;
    }
    let Some(filter) = &rule.filter else { return true };
    let has = |tag: &m::Tag| version.is_some_and(|version| version.tags.get(&tag.key) == Some(&tag.value));
    let above = |size: Option<i64>| size.is_none_or(|size| version.is_some_and(|v| super::ops::long(v.size) > size));
    let below = |size: Option<i64>| size.is_none_or(|size| version.is_some_and(|v| super::ops::long(v.size) < size));
    let starts = |prefix: &Option<String>| prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix));
    let all = filter.and.as_ref().is_none_or(|and| {
        starts(&and.prefix)
            && and.tags.iter().flatten().all(has)
            && above(and.object_size_greater_than)
            && below(and.object_size_less_than)
    });
    all && starts(&filter.prefix)
        && filter.tag.as_ref().is_none_or(has)
        && above(filter.object_size_greater_than)
        && below(filter.object_size_less_than)
}

/// Whether a version that was written at `from_us` is `days` old on `day`.
fn is_old(from_us: i64, days: i32, day: i64) -> bool {
    // AWS rounds up to the next midnight.
    day > day_of(from_us) + i64::from(days)
}

/// Whether the current version expires on `day`. A delete marker does when nothing else is left of its key.
pub(crate) fn expires(rules: &[m::LifecycleRule], key: &str, version: &VersionRecord, alone: bool, day: i64) -> bool {
    rules.iter().filter(|rule| speaks_of(rule, key, Some(version))).filter_map(|rule| rule.expiration.as_ref()).any(
        |rule| {
            if version.marker {
                return alone && (rule.expired_object_delete_marker == Some(true) || rule.days.is_some());
            }
            let by_age = rule.days.is_some_and(|days| is_old(version.modified_us, days, day));
            by_age || rule.date.is_some_and(|date| day >= day_of(date.unix_us()))
        },
    )
}

/// Whether an earlier version goes on `day`: `since_us` is when the next newer one was written, `newer` how many
/// earlier versions are newer than this one.
pub(crate) fn noncurrent_expires(
    rules: &[m::LifecycleRule],
    key: &str,
    version: &VersionRecord,
    since_us: i64,
    newer: usize,
    day: i64,
) -> bool {
    let rules = rules.iter().filter(|rule| speaks_of(rule, key, Some(version)));
    rules.filter_map(|rule| rule.noncurrent_version_expiration.as_ref()).any(|rule| {
        let kept = rule.newer_noncurrent_versions.and_then(|kept| usize::try_from(kept).ok()).unwrap_or(0);
        newer >= kept && rule.noncurrent_days.is_some_and(|days| is_old(since_us, days, day))
    })
}

/// Whether an upload that began at `started_us` is given up on `day`.
pub(crate) fn aborts(rules: &[m::LifecycleRule], key: &str, started_us: i64, day: i64) -> bool {
    let rules = rules.iter().filter(|rule| speaks_of(rule, key, None));
    rules
        .filter_map(|rule| rule.abort_incomplete_multipart_upload.as_ref())
        .any(|rule| rule.days_after_initiation.is_some_and(|days| is_old(started_us, days, day)))
}
