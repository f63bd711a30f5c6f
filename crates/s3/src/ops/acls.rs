//! ACLs of buckets and objects.

use model::s3 as m;
use wire::Cx;

use super::check_owner;
use super::settings::change;
use super::tagging::target;
use crate::acl::{self, AclHeaders, acl_headers};
use crate::error::S3Error;
use crate::keys::{Acl, BucketRecord, Ownership};
use crate::notify::Happened;
use crate::state::{S3, owner_id};

/// The ACL that a request asks for: by headers or by a document, not by both.
fn asked(
    headers: &AclHeaders,
    document: Option<m::AccessControlPolicy>,
    owner: &str,
    bucket: &BucketRecord,
) -> Result<Acl, S3Error> {
    let acl = match (headers.acl(owner, &bucket.account)?, document) {
        (Some(_), Some(document)) if document.grants.is_some() || document.owner.is_some() => {
            return Err(S3Error::request("This request does not support content"));
        }
        (Some(acl), _) => acl,
        (None, Some(document)) => acl::of_document(document, &owner_id(owner))?,
        (None, None) => {
            return Err(S3Error::MissingSecurityHeader("Your request was missing a required header".to_owned()));
        }
    };
    // Also the one that says what holds anyway (S3 user guide, "Controlling ownership of objects and disabling ACLs").
    if bucket.ownership == Some(Ownership::BucketOwnerEnforced) {
        return Err(S3Error::AccessControlListNotSupported);
    }
    acl::check_allowed(bucket, headers, Some(&acl))?;
    Ok(acl)
}

/// PutBucketAcl.
pub(crate) async fn put_bucket(s3: S3, _cx: Cx, input: m::PutBucketAclInput) -> Result<m::PutBucketAclOutput, S3Error> {
    let headers = acl_headers!(with write input);
    change(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), |_, bucket| {
        let acl = asked(&headers, input.access_control_policy.clone(), &bucket.account, bucket)?;
        bucket.acl = Some(acl).filter(|acl| *acl != Acl::private(&bucket.account));
        Ok(())
    })
    .await?;
    Ok(m::PutBucketAclOutput {})
}

/// GetBucketAcl.
pub(crate) async fn get_bucket(s3: S3, _cx: Cx, input: m::GetBucketAclInput) -> Result<m::GetBucketAclOutput, S3Error> {
    let bucket = s3.bucket(&input.bucket).await?;
    check_owner(&bucket, input.expected_bucket_owner.as_deref())?;
    let (owner, grants) = acl::to_document(&bucket.acl.unwrap_or_else(|| Acl::private(&bucket.account)));
    Ok(m::GetBucketAclOutput { owner: Some(owner), grants: Some(grants) })
}

/// PutObjectAcl.
pub(crate) async fn put_object(s3: S3, cx: Cx, input: m::PutObjectAclInput) -> Result<m::PutObjectAclOutput, S3Error> {
    let headers = acl_headers!(input);
    let target = target!(input);
    let changed = target.change(&s3, &cx, Some(Happened::AclPut), |bucket, version| {
        let owner = version.account.clone().unwrap_or_else(|| bucket.account.clone());
        let acl = asked(&headers, input.access_control_policy.clone(), &owner, bucket)?;
        let private = acl == Acl::private(&owner) && version.account.is_none();
        version.acl = (!private).then_some(acl);
        Ok(())
    });
    changed.await?;
    Ok(m::PutObjectAclOutput::default())
}

/// GetObjectAcl.
pub(crate) async fn get_object(s3: S3, _cx: Cx, input: m::GetObjectAclInput) -> Result<m::GetObjectAclOutput, S3Error> {
    let (bucket, version) = target!(input).find(&s3).await?;
    let owner = version.account.as_deref().unwrap_or(&bucket.account);
    let (owner, grants) = acl::to_document(&version.acl.unwrap_or_else(|| Acl::private(owner)));
    Ok(m::GetObjectAclOutput { owner: Some(owner), grants: Some(grants), request_charged: None })
}
