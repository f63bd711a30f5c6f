//! AddLayerVersionPermission, RemoveLayerVersionPermission, GetLayerVersionPolicy.

use model::lambda as m;
use wire::Cx;

use super::layers::{LayerName, existing, number};
use crate::error::LambdaError;
use crate::keys::{self, Key, LayerRecord};
use crate::state::Lambda;
use crate::statement::{self, allow, conditions, principal};

fn check_revision(record: &LayerRecord, expected: Option<&str>) -> Result<(), LambdaError> {
    match expected.is_none_or(|expected| expected == record.policy.revision_id) {
        true => Ok(()),
        false => Err(LambdaError::PreconditionFailedException),
    }
}

fn no_policy() -> LambdaError {
    LambdaError::ResourceNotFoundException("No policy is associated with the given resource.".to_owned())
}

pub(crate) async fn add(
    lambda: Lambda,
    cx: Cx,
    input: m::AddLayerVersionPermissionInput,
) -> Result<m::AddLayerVersionPermissionOutput, LambdaError> {
    let name = LayerName::parse(&cx, &input.layer_name)?;
    let version = number(input.version_number)?;
    let arn = name.version_arn(&cx, version);
    let condition = conditions(&[("StringEquals", "aws:PrincipalOrgID", input.organization_id.as_deref())]);
    let statement = allow(&input.statement_id, principal(&input.principal)?, &input.action, &arn, condition);
    statement::check(&lambda.check_policy, &statement)?;
    let new_revision = sys::id::uuid(&lambda.rng);
    lambda
        .kv
        .transact(|tx| {
            let (cx, name, input, arn) = (&cx, &name, &input, &arn);
            let (statement, new_revision) = (&statement, &new_revision);
            async move {
                let key = Key::Layer(name.place(cx), version);
                let found = keys::get::<LayerRecord>(&tx, &key).await?;
                let mut record = found.ok_or_else(|| {
                    LambdaError::ResourceNotFoundException(format!("Layer version {arn} does not exist."))
                })?;
                check_revision(&record, input.revision_id.as_deref())?;
                record.policy.add(&input.statement_id, statement)?;
                record.policy.revision_id.clone_from(new_revision);
                keys::set(&tx, &key, &record);
                Ok::<_, LambdaError>(())
            }
        })
        .await?;
    Ok(m::AddLayerVersionPermissionOutput { statement: Some(statement.to_string()), revision_id: Some(new_revision) })
}

pub(crate) async fn remove(
    lambda: Lambda,
    cx: Cx,
    input: m::RemoveLayerVersionPermissionInput,
) -> Result<m::RemoveLayerVersionPermissionOutput, LambdaError> {
    let name = LayerName::parse(&cx, &input.layer_name)?;
    let version = number(input.version_number)?;
    let new_revision = sys::id::uuid(&lambda.rng);
    lambda
        .kv
        .transact(|tx| {
            let (cx, name, input, new_revision) = (&cx, &name, &input, &new_revision);
            async move {
                let mut record = existing(&tx, name.place(cx), version).await?;
                check_revision(&record, input.revision_id.as_deref())?;
                if record.policy.statements.is_empty() {
                    return Err(no_policy());
                }
                if !record.policy.remove(&input.statement_id) {
                    return Err(LambdaError::ResourceNotFoundException(format!(
                        "Statement {} is not found in resource policy.",
                        input.statement_id
                    )));
                }
                record.policy.revision_id.clone_from(new_revision);
                keys::set(&tx, &Key::Layer(name.place(cx), version), &record);
                Ok(())
            }
        })
        .await?;
    Ok(m::RemoveLayerVersionPermissionOutput::default())
}

pub(crate) async fn get(
    lambda: Lambda,
    cx: Cx,
    input: m::GetLayerVersionPolicyInput,
) -> Result<m::GetLayerVersionPolicyOutput, LambdaError> {
    let name = LayerName::parse(&cx, &input.layer_name)?;
    let version = number(input.version_number)?;
    let place = name.place(&cx);
    let record = lambda.kv.read(|tx| async move { existing(&tx, place, version).await }).await?;
    let policy = Some(record.policy.document().ok_or_else(no_policy)?);
    Ok(m::GetLayerVersionPolicyOutput { policy, revision_id: Some(record.policy.revision_id) })
}
