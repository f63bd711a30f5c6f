//! PublishVersion.

use kv::{RangeOptions, Txn};
use model::lambda as m;
use wire::Cx;

use super::changes::{check_revision, check_settled};
use super::configuration::{configuration, shown_sha256};
use super::functions::{account_for, record};
use crate::error::LambdaError;
use crate::keys::{self, FunctionRecord, Key, Pull, VersionCounter};
use crate::name::FunctionName;
use crate::state::Lambda;

pub(crate) async fn publish_version(
    lambda: Lambda,
    cx: Cx,
    input: m::PublishVersionInput,
) -> Result<m::PublishVersionOutput, LambdaError> {
    let name = FunctionName::parse(&cx, &input.function_name, None)?.unqualified();
    super::settings::refuse_unserved(&[("PublishTo", input.publish_to.is_some())])?;
    let (version, record) = lambda
        .kv
        .transact(|tx| {
            let (lambda, cx, name, input) = (&lambda, &cx, &name, &input);
            async move {
                let latest = record(&tx, cx, name).await?;
                check_revision(&latest, input.revision_id.as_deref())?;
                check_settled(&latest, &name.arn(cx))?;
                // What failed to be created can be mended, but there is nothing of it that a version could be.
                if let Some(state) = latest.unready() {
                    return Err(LambdaError::unready(state));
                }
                let sha256 = shown_sha256(&latest);
                if let Some(expected) = input.code_sha256.as_ref().filter(|expected| **expected != sha256) {
                    return Err(LambdaError::invalid(format!(
                        "CodeSHA256 ({expected}) is different from current CodeSHA256 in $LATEST ({sha256}). Please try \
                         again with the CodeSHA256 in $LATEST."
                    )));
                }
                publish(&tx, lambda, cx, name, &latest, input.description.clone()).await
            }
        })
        .await?;
    lambda.optimise(&cx, &name, &version, &record);
    Ok(configuration(&lambda, &cx, &name.name, &version, record))
}

/// Publishes `latest` as a new version, unless the newest one is the same. Part of the transaction that reads `latest`.
pub(crate) async fn publish(
    tx: &Txn,
    lambda: &Lambda,
    cx: &Cx,
    name: &FunctionName,
    latest: &FunctionRecord,
    description: Option<String>,
) -> Result<(String, FunctionRecord), LambdaError> {
    let place = name.place(cx);
    let versions = keys::versions_of(place);
    let newest = RangeOptions { limit: 1, reverse: true, snapshot: false };
    if let Some((key, value)) = tx.range(&versions.begin, &versions.end, newest).await?.pop() {
        let before: FunctionRecord = keys::decode(&value)?;
        if is_same(&before, latest) {
            return Ok((keys::last_number(&key)?.to_string(), before));
        }
    }
    let counter: VersionCounter = keys::get(tx, &Key::VersionCounter(place)).await?.unwrap_or_default();
    let number = counter.last + 1;
    let version = FunctionRecord {
        description: description.unwrap_or_else(|| latest.description.clone()),
        revision_id: sys::id::uuid(&lambda.rng),
        published_revision_id: None,
        last_modified_ms: lambda.now_ms(),
        tags: std::collections::BTreeMap::new(),
        pull: match &latest.pull {
            Some(Pull::Going { .. }) => Some(Pull::Going { before: None }),
            _ => None,
        },
        ..latest.clone()
    };
    account_for(tx, lambda, cx, |usage| usage.code_bytes += version.code.length).await?;
    keys::set(tx, &Key::VersionCounter(place), &VersionCounter { last: number });
    keys::set(tx, &Key::Version(place, number), &version);
    let published = FunctionRecord { published_revision_id: Some(sys::id::uuid(&lambda.rng)), ..latest.clone() };
    keys::set(tx, &Key::Function(place), &published);
    super::capacity::note_use(tx, cx, name, number, (None, Some(&version)))?;
    Ok((number.to_string(), version))
}

/// Whether nothing was updated since: a version is only published of what has changed. AWS counts an update to the same code,
/// too (moto's `test_update_function_zip`, verified against AWS), which [`FunctionRecord::change_id`] tells. One that never came
/// to be stays as it is, and stands for nothing.
fn is_same(version: &FunctionRecord, latest: &FunctionRecord) -> bool {
    let bare = |record: &FunctionRecord| FunctionRecord {
        description: String::new(),
        revision_id: String::new(),
        published_revision_id: None,
        last_modified_ms: 0,
        tags: std::collections::BTreeMap::new(),
        optimisation: None,
        pull: None,
        ..record.clone()
    };
    version.unready() != Some("Failed") && bare(version) == bare(latest)
}
