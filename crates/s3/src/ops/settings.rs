//! Configuration documents of buckets that are stored and given back: policy, CORS, lifecycle, website and the like.

use kv::Txn;
use model::s3 as m;
use wire::{Cx, FromValue, IntoValue};

use super::check_owner;
use crate::error::S3Error;
use crate::keys::{self, BucketRecord, Setting, document};
use crate::limits::{CORS_RULES_MAX, POLICY_BYTES_MAX};
use crate::public;
use crate::state::{self, S3};
use crate::{lifecycle, tags};

/// The document of a bucket; `None` when it has none.
async fn get<T: FromValue>(s3: &S3, bucket: &str, owner: Option<&str>, setting: Setting) -> Result<Option<T>, S3Error> {
    let read = s3.kv.read(|tx| async move {
        check_owner(&state::bucket(&tx, bucket).await?, owner)?;
        document::get(&tx, bucket, setting).await
    });
    read.await
}

/// Changes a bucket's record and documents in one transaction.
pub(crate) async fn change(
    s3: &S3,
    name: &str,
    owner: Option<&str>,
    body: impl Fn(&Txn, &mut BucketRecord) -> Result<(), S3Error>,
) -> Result<(), S3Error> {
    let body = &body;
    let changed = s3.kv.transact(|tx| async move {
        let before = state::bucket(&tx, name).await?;
        check_owner(&before, owner)?;
        let mut after = before.clone();
        body(&tx, &mut after)?;
        if after != before {
            keys::set(&tx, keys::bucket(name), &after);
        }
        Ok::<_, S3Error>(())
    });
    changed.await
}

async fn put(
    s3: &S3,
    name: &str,
    owner: Option<&str>,
    setting: Setting,
    document: impl IntoValue + Clone,
) -> Result<(), S3Error> {
    change(s3, name, owner, |tx, _| document::set(tx, name, setting, document.clone())).await
}

async fn delete(s3: &S3, name: &str, owner: Option<&str>, setting: Setting) -> Result<(), S3Error> {
    change(s3, name, owner, |tx, _| {
        tx.clear(keys::setting(name, setting));
        Ok(())
    })
    .await
}

/// The policy's text as a document of the store.
fn policy_document(policy: &str) -> m::GetBucketPolicyOutput {
    m::GetBucketPolicyOutput { policy: Some(policy.to_owned()) }
}

/// PutBucketPolicy.
pub(crate) async fn put_policy(
    s3: S3,
    _cx: Cx,
    input: m::PutBucketPolicyInput,
) -> Result<m::PutBucketPolicyOutput, S3Error> {
    let (name, policy) = (&input.bucket, &input.policy);
    s3.bucket(name).await?;
    if policy.len() > POLICY_BYTES_MAX {
        return Err(S3Error::MalformedPolicy("Policy exceeds the maximum allowed document size.".to_owned()));
    }
    (s3.check_policy)(policy).map_err(S3Error::MalformedPolicy)?;
    check_resources(name, policy)?;
    let is_public = public::is_public(policy);
    change(&s3, name, input.expected_bucket_owner.as_deref(), |tx, bucket| {
        if is_public && bucket.block_public.is_some_and(|block| block.block_policy) {
            let message = "User is not authorized to perform: s3:PutBucketPolicy because public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access.";
            return Err(S3Error::AccessDenied(message.to_owned()));
        }
        document::set(tx, name, Setting::Policy, policy_document(policy))
    })
    .await?;
    Ok(m::PutBucketPolicyOutput {})
}

/// A bucket's policy speaks of the bucket and its keys only.
fn check_resources(bucket: &str, policy: &str) -> Result<(), S3Error> {
    let arn = format!("arn:aws:s3:::{bucket}");
    for statement in public::counting(policy, false) {
        let resources = match statement.get("Resource") {
            Some(serde_json::Value::String(one)) => vec![one.clone()],
            Some(serde_json::Value::Array(all)) => {
                all.iter().filter_map(|one| Some(one.as_str()?.to_owned())).collect()
            }
            _ => Vec::new(),
        };
        let own = |resource: &String| {
            resource == "*"
                || resource.contains("${")
                || resource.strip_prefix(&arn).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '*', '?']))
        };
        if !resources.iter().all(own) {
            return Err(S3Error::MalformedPolicy("Policy has invalid resource".to_owned()));
        }
    }
    Ok(())
}

/// GetBucketPolicy.
pub(crate) async fn get_policy(
    s3: S3,
    _cx: Cx,
    input: m::GetBucketPolicyInput,
) -> Result<m::GetBucketPolicyOutput, S3Error> {
    let found = get(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), Setting::Policy).await?;
    found.ok_or(S3Error::NoSuchBucketPolicy)
}

/// GetBucketPolicyStatus. A bucket without a policy may be public by its ACL.
pub(crate) async fn policy_status(
    s3: S3,
    _cx: Cx,
    input: m::GetBucketPolicyStatusInput,
) -> Result<m::GetBucketPolicyStatusOutput, S3Error> {
    let owner = input.expected_bucket_owner.as_deref();
    let policy: Option<m::GetBucketPolicyOutput> = get(&s3, &input.bucket, owner, Setting::Policy).await?;
    let bucket = s3.bucket(&input.bucket).await?;
    let by_policy = policy.and_then(|found| found.policy).is_some_and(|policy| public::is_public(&policy));
    let by_acl = bucket.acl.as_ref().is_some_and(crate::keys::Acl::is_public)
        && !bucket.block_public.is_some_and(|block| block.ignore_acls);
    Ok(m::GetBucketPolicyStatusOutput { policy_status: Some(m::PolicyStatus { is_public: Some(by_policy || by_acl) }) })
}

/// DeleteBucketPolicy.
pub(crate) async fn delete_policy(
    s3: S3,
    _cx: Cx,
    input: m::DeleteBucketPolicyInput,
) -> Result<m::DeleteBucketPolicyOutput, S3Error> {
    delete(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), Setting::Policy).await?;
    Ok(m::DeleteBucketPolicyOutput {})
}

/// PutBucketCors.
pub(crate) async fn put_cors(s3: S3, _cx: Cx, input: m::PutBucketCorsInput) -> Result<m::PutBucketCorsOutput, S3Error> {
    let rules = &input.cors_configuration.cors_rules;
    if rules.is_empty() || rules.len() > CORS_RULES_MAX {
        return Err(S3Error::MalformedXML);
    }
    for rule in rules {
        if let Some(method) = rule
            .allowed_methods
            .iter()
            .find(|method| !["GET", "PUT", "HEAD", "POST", "DELETE"].contains(&method.as_str()))
        {
            return Err(S3Error::request(format!(
                "Found unsupported HTTP method in CORS config. Unsupported method is {method}"
            )));
        }
        if let Some(origin) = rule.allowed_origins.iter().find(|origin| origin.matches('*').count() > 1) {
            return Err(S3Error::request(format!("AllowedOrigin \"{origin}\" can not have more than one wildcard.")));
        }
    }
    put(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), Setting::Cors, input.cors_configuration).await?;
    Ok(m::PutBucketCorsOutput {})
}

/// GetBucketCors.
pub(crate) async fn get_cors(s3: S3, _cx: Cx, input: m::GetBucketCorsInput) -> Result<m::GetBucketCorsOutput, S3Error> {
    let found = get(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), Setting::Cors).await?;
    let found: m::CORSConfiguration = found.ok_or(S3Error::NoSuchCORSConfiguration)?;
    Ok(m::GetBucketCorsOutput { cors_rules: Some(found.cors_rules) })
}

/// DeleteBucketCors.
pub(crate) async fn delete_cors(
    s3: S3,
    _cx: Cx,
    input: m::DeleteBucketCorsInput,
) -> Result<m::DeleteBucketCorsOutput, S3Error> {
    delete(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), Setting::Cors).await?;
    Ok(m::DeleteBucketCorsOutput {})
}

/// PutBucketLifecycleConfiguration.
pub(crate) async fn put_lifecycle(
    s3: S3,
    _cx: Cx,
    input: m::PutBucketLifecycleConfigurationInput,
) -> Result<m::PutBucketLifecycleConfigurationOutput, S3Error> {
    let name = &input.bucket;
    let mut document = input.lifecycle_configuration.clone().ok_or(S3Error::MalformedXML)?;
    for rule in &mut document.rules {
        if rule.id.as_deref().unwrap_or_default().is_empty() {
            rule.id = Some(s3.fresh_id());
        }
    }
    lifecycle::check(&document)?;
    change(&s3, name, input.expected_bucket_owner.as_deref(), |tx, bucket| {
        bucket.expires = true;
        tx.clear(keys::lifecycle_mark(name));
        document::set(tx, name, Setting::Lifecycle, document.clone())
    })
    .await?;
    Ok(m::PutBucketLifecycleConfigurationOutput {
        transition_default_minimum_object_size: input.transition_default_minimum_object_size,
    })
}

/// GetBucketLifecycleConfiguration.
pub(crate) async fn get_lifecycle(
    s3: S3,
    _cx: Cx,
    input: m::GetBucketLifecycleConfigurationInput,
) -> Result<m::GetBucketLifecycleConfigurationOutput, S3Error> {
    let found = get(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), Setting::Lifecycle).await?;
    let found: m::BucketLifecycleConfiguration = found.ok_or(S3Error::NoSuchLifecycleConfiguration)?;
    Ok(m::GetBucketLifecycleConfigurationOutput {
        rules: Some(found.rules),
        transition_default_minimum_object_size: Some(m::TransitionDefaultMinimumObjectSize::AllStorageClasses128k),
    })
}

/// DeleteBucketLifecycle.
pub(crate) async fn delete_lifecycle(
    s3: S3,
    _cx: Cx,
    input: m::DeleteBucketLifecycleInput,
) -> Result<m::DeleteBucketLifecycleOutput, S3Error> {
    let name = &input.bucket;
    change(&s3, name, input.expected_bucket_owner.as_deref(), |tx, bucket| {
        bucket.expires = false;
        tx.clear(keys::setting(name, Setting::Lifecycle));
        Ok(())
    })
    .await?;
    Ok(m::DeleteBucketLifecycleOutput {})
}

/// PutBucketTagging.
pub(crate) async fn put_tags(
    s3: S3,
    _cx: Cx,
    input: m::PutBucketTaggingInput,
) -> Result<m::PutBucketTaggingOutput, S3Error> {
    tags::of_bucket(input.tagging.tag_set.clone())?;
    put(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), Setting::Tagging, input.tagging).await?;
    Ok(m::PutBucketTaggingOutput {})
}

/// GetBucketTagging.
pub(crate) async fn get_tags(
    s3: S3,
    _cx: Cx,
    input: m::GetBucketTaggingInput,
) -> Result<m::GetBucketTaggingOutput, S3Error> {
    let found = get(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), Setting::Tagging).await?;
    let found: m::Tagging = found.ok_or(S3Error::NoSuchTagSet)?;
    Ok(m::GetBucketTaggingOutput { tag_set: found.tag_set })
}

/// DeleteBucketTagging.
pub(crate) async fn delete_tags(
    s3: S3,
    _cx: Cx,
    input: m::DeleteBucketTaggingInput,
) -> Result<m::DeleteBucketTaggingOutput, S3Error> {
    delete(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), Setting::Tagging).await?;
    Ok(m::DeleteBucketTaggingOutput {})
}

/// PutBucketWebsite. Stored; Tinderbox serves no website endpoints.
pub(crate) async fn put_website(
    s3: S3,
    _cx: Cx,
    input: m::PutBucketWebsiteInput,
) -> Result<m::PutBucketWebsiteOutput, S3Error> {
    put(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), Setting::Website, input.website_configuration)
        .await?;
    Ok(m::PutBucketWebsiteOutput {})
}

/// GetBucketWebsite.
pub(crate) async fn get_website(
    s3: S3,
    _cx: Cx,
    input: m::GetBucketWebsiteInput,
) -> Result<m::GetBucketWebsiteOutput, S3Error> {
    let found = get(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), Setting::Website).await?;
    let found: m::WebsiteConfiguration = found.ok_or(S3Error::NoSuchWebsiteConfiguration)?;
    Ok(m::GetBucketWebsiteOutput {
        redirect_all_requests_to: found.redirect_all_requests_to,
        index_document: found.index_document,
        error_document: found.error_document,
        routing_rules: found.routing_rules,
    })
}

/// DeleteBucketWebsite.
pub(crate) async fn delete_website(
    s3: S3,
    _cx: Cx,
    input: m::DeleteBucketWebsiteInput,
) -> Result<m::DeleteBucketWebsiteOutput, S3Error> {
    delete(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), Setting::Website).await?;
    Ok(m::DeleteBucketWebsiteOutput {})
}

/// PutBucketLogging. Stored; no access logs are delivered.
pub(crate) async fn put_logging(
    s3: S3,
    _cx: Cx,
    input: m::PutBucketLoggingInput,
) -> Result<m::PutBucketLoggingOutput, S3Error> {
    put(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), Setting::Logging, input.bucket_logging_status)
        .await?;
    Ok(m::PutBucketLoggingOutput {})
}

/// GetBucketLogging.
pub(crate) async fn get_logging(
    s3: S3,
    _cx: Cx,
    input: m::GetBucketLoggingInput,
) -> Result<m::GetBucketLoggingOutput, S3Error> {
    let found = get(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), Setting::Logging).await?;
    let found: m::BucketLoggingStatus = found.unwrap_or_default();
    Ok(m::GetBucketLoggingOutput { logging_enabled: found.logging_enabled })
}

/// PutBucketReplication. Stored; nothing replicates.
pub(crate) async fn put_replication(
    s3: S3,
    _cx: Cx,
    input: m::PutBucketReplicationInput,
) -> Result<m::PutBucketReplicationOutput, S3Error> {
    let (name, document) = (&input.bucket, &input.replication_configuration);
    change(&s3, name, input.expected_bucket_owner.as_deref(), |tx, bucket| {
        if bucket.versioning != keys::Versioning::Enabled {
            let message = "Versioning must be 'Enabled' on the bucket to apply a replication configuration";
            return Err(S3Error::request(message));
        }
        document::set(tx, name, Setting::Replication, document.clone())
    })
    .await?;
    Ok(m::PutBucketReplicationOutput {})
}

/// GetBucketReplication.
pub(crate) async fn get_replication(
    s3: S3,
    _cx: Cx,
    input: m::GetBucketReplicationInput,
) -> Result<m::GetBucketReplicationOutput, S3Error> {
    let found = get(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), Setting::Replication).await?;
    let found: m::ReplicationConfiguration = found.ok_or(S3Error::ReplicationConfigurationNotFoundError)?;
    Ok(m::GetBucketReplicationOutput { replication_configuration: Some(found) })
}

/// DeleteBucketReplication.
pub(crate) async fn delete_replication(
    s3: S3,
    _cx: Cx,
    input: m::DeleteBucketReplicationInput,
) -> Result<m::DeleteBucketReplicationOutput, S3Error> {
    delete(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), Setting::Replication).await?;
    Ok(m::DeleteBucketReplicationOutput {})
}

/// PutBucketAccelerateConfiguration. Stored; there is nothing to accelerate.
pub(crate) async fn put_accelerate(
    s3: S3,
    _cx: Cx,
    input: m::PutBucketAccelerateConfigurationInput,
) -> Result<m::PutBucketAccelerateConfigurationOutput, S3Error> {
    put(
        &s3,
        &input.bucket,
        input.expected_bucket_owner.as_deref(),
        Setting::Accelerate,
        input.accelerate_configuration,
    )
    .await?;
    Ok(m::PutBucketAccelerateConfigurationOutput {})
}

/// GetBucketAccelerateConfiguration.
pub(crate) async fn get_accelerate(
    s3: S3,
    _cx: Cx,
    input: m::GetBucketAccelerateConfigurationInput,
) -> Result<m::GetBucketAccelerateConfigurationOutput, S3Error> {
    let found = get(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), Setting::Accelerate).await?;
    let found: m::AccelerateConfiguration = found.unwrap_or_default();
    Ok(m::GetBucketAccelerateConfigurationOutput { status: found.status, ..Default::default() })
}

/// PutBucketRequestPayment. Stored; nobody pays.
pub(crate) async fn put_request_payment(
    s3: S3,
    _cx: Cx,
    input: m::PutBucketRequestPaymentInput,
) -> Result<m::PutBucketRequestPaymentOutput, S3Error> {
    let document = input.request_payment_configuration;
    put(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), Setting::RequestPayment, document).await?;
    Ok(m::PutBucketRequestPaymentOutput {})
}

/// GetBucketRequestPayment.
pub(crate) async fn get_request_payment(
    s3: S3,
    _cx: Cx,
    input: m::GetBucketRequestPaymentInput,
) -> Result<m::GetBucketRequestPaymentOutput, S3Error> {
    let found = get(&s3, &input.bucket, input.expected_bucket_owner.as_deref(), Setting::RequestPayment).await?;
    let payer = found.map_or(m::Payer::BucketOwner, |found: m::RequestPaymentConfiguration| found.payer);
    Ok(m::GetBucketRequestPaymentOutput { payer: Some(payer) })
}
