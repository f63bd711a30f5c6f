//! What protects a bucket's objects: versioning, encryption, public access block, ownership, object lock.

use model::s3 as m;
use wire::Cx;

use super::buckets::ownership;
use super::check_owner;
use super::settings::change;
use crate::encryption;
use crate::error::S3Error;
use crate::keys::{BlockPublic, BucketEncryption, LockDefault, LockMode, Ownership, Versioning};
use crate::limits::KMS_KEY_BYTES_MAX;
use crate::state::S3;

/// PutBucketVersioning.
pub(crate) async fn put_versioning(
    s3: S3,
    _cx: Cx,
    input: m::PutBucketVersioningInput,
) -> Result<m::PutBucketVersioningOutput, S3Error> {
    let asked = &input.versioning_configuration;
    if asked.mfa_delete == Some(m::MFADelete::Enabled) {
        return Err(S3Error::NotImplemented("MFA delete is not implemented by Tinderbox.".to_owned()));
    }
    let status = asked.status.ok_or(S3Error::IllegalVersioningConfigurationException)?;
    change(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), |_, bucket| {
        bucket.versioning = match status {
            m::BucketVersioningStatus::Enabled => Versioning::Enabled,
            m::BucketVersioningStatus::Suspended if bucket.lock.is_some() => {
                let message = "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.";
                return Err(S3Error::InvalidBucketState(message.to_owned()));
            }
            m::BucketVersioningStatus::Suspended => Versioning::Suspended,
        };
        Ok(())
    })
    .await?;
    Ok(m::PutBucketVersioningOutput {})
}

/// GetBucketVersioning.
pub(crate) async fn get_versioning(
    s3: S3,
    _cx: Cx,
    input: m::GetBucketVersioningInput,
) -> Result<m::GetBucketVersioningOutput, S3Error> {
    let bucket = s3.bucket(&input.bucket).await?;
    check_owner(&bucket, input.expected_bucket_owner.as_deref())?;
    let status = match bucket.versioning {
        Versioning::Never => None,
        Versioning::Enabled => Some(m::BucketVersioningStatus::Enabled),
        Versioning::Suspended => Some(m::BucketVersioningStatus::Suspended),
    };
    Ok(m::GetBucketVersioningOutput { status, mfa_delete: None })
}

/// PutBucketEncryption.
pub(crate) async fn put_encryption(
    s3: S3,
    _cx: Cx,
    input: m::PutBucketEncryptionInput,
) -> Result<m::PutBucketEncryptionOutput, S3Error> {
    let rules = &input.server_side_encryption_configuration.rules;
    let [rule] = rules.as_slice() else { return Err(S3Error::MalformedXML) };
    let default = rule.apply_server_side_encryption_by_default.as_ref().ok_or(S3Error::MalformedXML)?;
    if default.sse_algorithm == m::ServerSideEncryption::Aes256 && default.kms_master_key_id.is_some() {
        return Err(S3Error::argument(
            "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms",
        ));
    }
    if !matches!(default.sse_algorithm, m::ServerSideEncryption::Aes256 | m::ServerSideEncryption::AwsKms) {
        return Err(encryption::not_served(default.sse_algorithm.as_str()));
    }
    if default.kms_master_key_id.as_ref().is_some_and(|key| key.len() > KMS_KEY_BYTES_MAX) {
        return Err(S3Error::argument("The name of the KMS key is too long."));
    }
    let chosen = BucketEncryption {
        algorithm: default.sse_algorithm.as_str().to_owned(),
        kms_key: default.kms_master_key_id.clone(),
        bucket_key: rule.bucket_key_enabled,
    };
    change(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), |_, bucket| {
        bucket.encryption = Some(chosen.clone());
        Ok(())
    })
    .await?;
    Ok(m::PutBucketEncryptionOutput {})
}

/// GetBucketEncryption. A bucket without a configuration has SSE-S3 (AWS, since January 2023).
pub(crate) async fn get_encryption(
    s3: S3,
    _cx: Cx,
    input: m::GetBucketEncryptionInput,
) -> Result<m::GetBucketEncryptionOutput, S3Error> {
    let bucket = s3.bucket(&input.bucket).await?;
    check_owner(&bucket, input.expected_bucket_owner.as_deref())?;
    let encryption = bucket.encryption.unwrap_or(BucketEncryption {
        algorithm: "AES256".to_owned(),
        kms_key: None,
        bucket_key: Some(false),
    });
    let algorithm =
        encryption.algorithm.parse().map_err(|_| S3Error::InternalError("an unknown algorithm".to_owned()))?;
    let default = m::ServerSideEncryptionByDefault { kms_master_key_id: encryption.kms_key, sse_algorithm: algorithm };
    let rule = m::ServerSideEncryptionRule {
        apply_server_side_encryption_by_default: Some(default),
        bucket_key_enabled: encryption.bucket_key,
        ..Default::default()
    };
    Ok(m::GetBucketEncryptionOutput {
        server_side_encryption_configuration: Some(m::ServerSideEncryptionConfiguration { rules: vec![rule] }),
    })
}

/// DeleteBucketEncryption: back to SSE-S3.
pub(crate) async fn delete_encryption(
    s3: S3,
    _cx: Cx,
    input: m::DeleteBucketEncryptionInput,
) -> Result<m::DeleteBucketEncryptionOutput, S3Error> {
    change(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), |_, bucket| {
        bucket.encryption = None;
        Ok(())
    })
    .await?;
    Ok(m::DeleteBucketEncryptionOutput {})
}

/// PutPublicAccessBlock.
pub(crate) async fn put_block(
    s3: S3,
    _cx: Cx,
    input: m::PutPublicAccessBlockInput,
) -> Result<m::PutPublicAccessBlockOutput, S3Error> {
    let asked = &input.public_access_block_configuration;
    let block = BlockPublic {
        block_acls: asked.block_public_acls == Some(true),
        ignore_acls: asked.ignore_public_acls == Some(true),
        block_policy: asked.block_public_policy == Some(true),
        restrict_buckets: asked.restrict_public_buckets == Some(true),
    };
    change(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), |_, bucket| {
        bucket.block_public = Some(block);
        Ok(())
    })
    .await?;
    Ok(m::PutPublicAccessBlockOutput {})
}

/// GetPublicAccessBlock.
pub(crate) async fn get_block(
    s3: S3,
    _cx: Cx,
    input: m::GetPublicAccessBlockInput,
) -> Result<m::GetPublicAccessBlockOutput, S3Error> {
    let bucket = s3.bucket(&input.bucket).await?;
    check_owner(&bucket, input.expected_bucket_owner.as_deref())?;
    let block = bucket.block_public.ok_or(S3Error::NoSuchPublicAccessBlockConfiguration)?;
    Ok(m::GetPublicAccessBlockOutput {
        public_access_block_configuration: Some(m::PublicAccessBlockConfiguration {
            block_public_acls: Some(block.block_acls),
            ignore_public_acls: Some(block.ignore_acls),
            block_public_policy: Some(block.block_policy),
            restrict_public_buckets: Some(block.restrict_buckets),
        }),
    })
}

/// DeletePublicAccessBlock.
pub(crate) async fn delete_block(
    s3: S3,
    _cx: Cx,
    input: m::DeletePublicAccessBlockInput,
) -> Result<m::DeletePublicAccessBlockOutput, S3Error> {
    change(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), |_, bucket| {
        bucket.block_public = None;
        Ok(())
    })
    .await?;
    Ok(m::DeletePublicAccessBlockOutput {})
}

/// PutBucketOwnershipControls.
pub(crate) async fn put_ownership(
    s3: S3,
    _cx: Cx,
    input: m::PutBucketOwnershipControlsInput,
) -> Result<m::PutBucketOwnershipControlsOutput, S3Error> {
    let [rule] = input.ownership_controls.rules.as_slice() else { return Err(S3Error::MalformedXML) };
    let asked = ownership(rule.object_ownership);
    change(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), |_, bucket| {
        let others = bucket.acl.as_ref().is_some_and(|acl| acl.grants.len() > 1);
        if asked == Ownership::BucketOwnerEnforced && others {
            return Err(S3Error::InvalidBucketAclWithObjectOwnership);
        }
        bucket.ownership = Some(asked);
        Ok(())
    })
    .await?;
    Ok(m::PutBucketOwnershipControlsOutput {})
}

/// GetBucketOwnershipControls.
pub(crate) async fn get_ownership(
    s3: S3,
    _cx: Cx,
    input: m::GetBucketOwnershipControlsInput,
) -> Result<m::GetBucketOwnershipControlsOutput, S3Error> {
    let bucket = s3.bucket(&input.bucket).await?;
    check_owner(&bucket, input.expected_bucket_owner.as_deref())?;
    let object_ownership = match bucket.ownership.ok_or(S3Error::OwnershipControlsNotFoundError)? {
        Ownership::BucketOwnerEnforced => m::ObjectOwnership::BucketOwnerEnforced,
        Ownership::BucketOwnerPreferred => m::ObjectOwnership::BucketOwnerPreferred,
        Ownership::ObjectWriter => m::ObjectOwnership::ObjectWriter,
    };
    let rules = vec![m::OwnershipControlsRule { object_ownership }];
    Ok(m::GetBucketOwnershipControlsOutput { ownership_controls: Some(m::OwnershipControls { rules }) })
}

/// DeleteBucketOwnershipControls: ACLs count again.
pub(crate) async fn delete_ownership(
    s3: S3,
    _cx: Cx,
    input: m::DeleteBucketOwnershipControlsInput,
) -> Result<m::DeleteBucketOwnershipControlsOutput, S3Error> {
    change(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), |_, bucket| {
        bucket.ownership = None;
        Ok(())
    })
    .await?;
    Ok(m::DeleteBucketOwnershipControlsOutput {})
}

/// PutObjectLockConfiguration. On a bucket with versioning it can be switched on later (AWS, since November 2023).
pub(crate) async fn put_lock(
    s3: S3,
    _cx: Cx,
    input: m::PutObjectLockConfigurationInput,
) -> Result<m::PutObjectLockConfigurationOutput, S3Error> {
    let asked = input.object_lock_configuration.clone().ok_or(S3Error::MalformedXML)?;
    if asked.object_lock_enabled != Some(m::ObjectLockEnabled::Enabled) {
        return Err(S3Error::MalformedXML);
    }
    let default = match asked.rule {
        Some(rule) => default_of(&rule.default_retention.ok_or(S3Error::MalformedXML)?)?,
        None => LockDefault::default(),
    };
    change(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), |_, bucket| {
        if bucket.versioning != Versioning::Enabled {
            let message = "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration";
            return Err(S3Error::InvalidBucketState(message.to_owned()));
        }
        bucket.lock = Some(default.clone());
        Ok(())
    })
    .await?;
    Ok(m::PutObjectLockConfigurationOutput::default())
}

fn default_of(retention: &m::DefaultRetention) -> Result<LockDefault, S3Error> {
    let mode = match retention.mode.ok_or(S3Error::MalformedXML)? {
        m::ObjectLockRetentionMode::Governance => LockMode::Governance,
        m::ObjectLockRetentionMode::Compliance => LockMode::Compliance,
    };
    let within = |number: i32, most: i64| match i64::from(number) {
        ..=0 => Err(S3Error::InvalidRetentionPeriod("Default retention period must be a positive integer value.")),
        number if number > most => {
            Err(S3Error::InvalidRetentionPeriod("Default retention period too large: the maximum is 100 years."))
        }
        number => Ok(number),
    };
    match (retention.days, retention.years) {
        (Some(days), None) => Ok(LockDefault { mode: Some(mode), days: Some(within(days, 36_500)?), years: None }),
        (None, Some(years)) => Ok(LockDefault { mode: Some(mode), days: None, years: Some(within(years, 100)?) }),
        _ => Err(S3Error::MalformedXML),
    }
}

/// GetObjectLockConfiguration.
pub(crate) async fn get_lock(
    s3: S3,
    _cx: Cx,
    input: m::GetObjectLockConfigurationInput,
) -> Result<m::GetObjectLockConfigurationOutput, S3Error> {
    let bucket = s3.bucket(&input.bucket).await?;
    check_owner(&bucket, input.expected_bucket_owner.as_deref())?;
    let default = bucket.lock.ok_or(S3Error::ObjectLockConfigurationNotFoundError)?;
    let small = |number: Option<i64>| number.and_then(|number| i32::try_from(number).ok());
    let rule = default.mode.map(|mode| m::ObjectLockRule {
        default_retention: Some(m::DefaultRetention {
            mode: Some(match mode {
                LockMode::Governance => m::ObjectLockRetentionMode::Governance,
                LockMode::Compliance => m::ObjectLockRetentionMode::Compliance,
            }),
            days: small(default.days),
            years: small(default.years),
            ..Default::default()
        }),
    });
    let configuration = m::ObjectLockConfiguration { object_lock_enabled: Some(m::ObjectLockEnabled::Enabled), rule };
    Ok(m::GetObjectLockConfigurationOutput { object_lock_configuration: Some(configuration) })
}
