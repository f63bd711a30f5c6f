//! Retention and legal hold of object versions. Source: S3 user guide, "Locking objects with Object Lock".

use model::s3 as m;
use sys::Timestamp;
use wire::Cx;

use super::tagging::target;
use crate::error::S3Error;
use crate::given;
use crate::keys::{BucketRecord, LockMode, Retention};
use crate::state::S3;

fn check_lockable(bucket: &BucketRecord) -> Result<(), S3Error> {
    match bucket.lock {
        Some(_) => Ok(()),
        None => Err(S3Error::request("Bucket is missing Object Lock Configuration")),
    }
}

/// PutObjectRetention. A retention may always be made longer; it may be shortened, or its mode changed, only in governance
/// mode, by whoever may bypass it ("alter its lock settings", S3 user guide, "Governance mode").
pub(crate) async fn put_retention(
    s3: S3,
    cx: Cx,
    input: m::PutObjectRetentionInput,
) -> Result<m::PutObjectRetentionOutput, S3Error> {
    check_lockable(&s3.bucket(&input.bucket).await?)?;
    let now_us = s3.now_us();
    let asked = match &input.retention {
        Some(m::ObjectLockRetention { mode: Some(mode), retain_until_date: Some(until), .. }) => {
            Some(given::retention(mode.as_str(), *until, now_us)?)
        }
        Some(m::ObjectLockRetention { mode: None, retain_until_date: None, .. }) | None => None,
        Some(_) => return Err(S3Error::MalformedXML),
    };
    let bypass = input.bypass_governance_retention == Some(true);
    let target = target!(input);
    let changed = target.change(&s3, &cx, None, |_, version| {
        let held = version.lock.retention.filter(|held| held.until_us > now_us);
        if held.is_some_and(|held| weakens(held, asked) && !(bypass && held.mode == LockMode::Governance)) {
            let message = "Access Denied because object protected by object lock.";
            return Err(S3Error::AccessDenied(message.to_owned()));
        }
        version.lock.retention = asked;
        Ok(())
    });
    changed.await?;
    Ok(m::PutObjectRetentionOutput::default())
}

fn weakens(held: Retention, asked: Option<Retention>) -> bool {
    asked.is_none_or(|asked| asked.until_us < held.until_us || asked.mode != held.mode)
}

/// GetObjectRetention.
pub(crate) async fn get_retention(
    s3: S3,
    _cx: Cx,
    input: m::GetObjectRetentionInput,
) -> Result<m::GetObjectRetentionOutput, S3Error> {
    check_lockable(&s3.bucket(&input.bucket).await?)?;
    let (_, version) = target!(input).find(&s3).await?;
    let retention = version.lock.retention.ok_or(S3Error::NoSuchObjectLockConfiguration)?;
    let mode = match retention.mode {
        LockMode::Governance => m::ObjectLockRetentionMode::Governance,
        LockMode::Compliance => m::ObjectLockRetentionMode::Compliance,
    };
    Ok(m::GetObjectRetentionOutput {
        retention: Some(m::ObjectLockRetention {
            mode: Some(mode),
            retain_until_date: Some(Timestamp::from_unix_us(retention.until_us)),
            ..Default::default()
        }),
    })
}

/// PutObjectLegalHold.
pub(crate) async fn put_hold(
    s3: S3,
    cx: Cx,
    input: m::PutObjectLegalHoldInput,
) -> Result<m::PutObjectLegalHoldOutput, S3Error> {
    check_lockable(&s3.bucket(&input.bucket).await?)?;
    let status = input.legal_hold.as_ref().and_then(|hold| hold.status).ok_or(S3Error::MalformedXML)?;
    let target = target!(input);
    let changed = target.change(&s3, &cx, None, |_, version| {
        version.lock.hold = Some(status == m::ObjectLockLegalHoldStatus::On);
        Ok(())
    });
    changed.await?;
    Ok(m::PutObjectLegalHoldOutput::default())
}

/// GetObjectLegalHold.
pub(crate) async fn get_hold(
    s3: S3,
    _cx: Cx,
    input: m::GetObjectLegalHoldInput,
) -> Result<m::GetObjectLegalHoldOutput, S3Error> {
    check_lockable(&s3.bucket(&input.bucket).await?)?;
    let (_, version) = target!(input).find(&s3).await?;
    let status = match version.lock.hold.ok_or(S3Error::NoSuchObjectLockConfiguration)? {
        true => m::ObjectLockLegalHoldStatus::On,
        false => m::ObjectLockLegalHoldStatus::Off,
    };
    Ok(m::GetObjectLegalHoldOutput { legal_hold: Some(m::ObjectLockLegalHold { status: Some(status) }) })
}
