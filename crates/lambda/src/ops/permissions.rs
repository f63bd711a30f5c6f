//! AddPermission, RemovePermission, GetPolicy: the resource policies of functions, versions and aliases.

use kv::Txn;
use model::lambda as m;
use wire::Cx;

use crate::LATEST;
use crate::error::LambdaError;
use crate::keys::{self, Key, PolicyRecord};
use crate::name::FunctionName;
use crate::qualifier::resolve;
use crate::state::Lambda;
use crate::statement::{self, allow, conditions, principal};

/// The function that an operation means; `$LATEST` has no policy of its own.
fn target(cx: &Cx, given: &str, qualifier: Option<&str>) -> Result<FunctionName, LambdaError> {
    let name = FunctionName::parse(cx, given, qualifier)?;
    match name.qualifier.as_deref() {
        Some(LATEST) => Err(LambdaError::invalid("We currently do not support adding policies for $LATEST.")),
        _ => Ok(name),
    }
}

fn key<'a>(cx: &'a Cx, name: &'a FunctionName) -> Key<'a> {
    Key::Policy(name.place(cx), name.qualifier.as_deref().unwrap_or_default())
}

/// The policy of a qualifier that exists, and the revision that a caller may know: the policy's own, or what it is
/// about while there is no policy yet.
async fn policy(tx: &Txn, cx: &Cx, name: &FunctionName) -> Result<(PolicyRecord, String), LambdaError> {
    let resolved = resolve(tx, cx, name, 1.0).await?;
    let found: Option<PolicyRecord> = keys::get(tx, &key(cx, name)).await?;
    Ok(match found {
        Some(policy) => {
            let revision = policy.revision_id.clone();
            (policy, revision)
        }
        None => {
            let of_version = || resolved.record.shown_revision().to_owned();
            let subject = resolved.alias.map_or_else(of_version, |alias| alias.revision_id);
            (PolicyRecord::default(), subject)
        }
    })
}

fn check_revision(current: &str, expected: Option<&str>) -> Result<(), LambdaError> {
    match expected.is_none_or(|expected| expected == current) {
        true => Ok(()),
        false => Err(LambdaError::PreconditionFailedException),
    }
}

/// The statement that the input asks for.
fn statement(cx: &Cx, name: &FunctionName, input: &m::AddPermissionInput) -> Result<serde_json::Value, LambdaError> {
    // The rest of the pattern is the model's: `lambda:NAME`, `lambda:*`, `*`.
    let url_action = input.action == "lambda:InvokeFunctionUrl";
    if input.function_url_auth_type.is_some() && !url_action {
        return Err(LambdaError::invalid("FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action"));
    }
    let via_url = input.invoked_via_function_url.map(|via| via.to_string());
    let condition = conditions(&[
        ("StringEquals", "lambda:FunctionUrlAuthType", input.function_url_auth_type.map(|auth| auth.as_str())),
        ("StringEquals", "AWS:SourceAccount", input.source_account.as_deref()),
        ("StringEquals", "lambda:EventSourceToken", input.event_source_token.as_deref()),
        ("StringEquals", "aws:PrincipalOrgID", input.principal_org_id.as_deref()),
        ("Bool", "lambda:InvokedViaFunctionUrl", via_url.as_deref()),
        ("ArnLike", "AWS:SourceArn", input.source_arn.as_deref()),
    ]);
    let principal = principal(&input.principal)?;
    Ok(allow(&input.statement_id, principal, &input.action, &name.qualified_arn(cx), condition))
}

pub(crate) async fn add(
    lambda: Lambda,
    cx: Cx,
    input: m::AddPermissionInput,
) -> Result<m::AddPermissionOutput, LambdaError> {
    let name = target(&cx, &input.function_name, input.qualifier.as_deref())?;
    let statement = statement(&cx, &name, &input)?;
    statement::check(&lambda.check_policy, &statement)?;
    let new_revision = sys::id::uuid(&lambda.rng);
    lambda
        .kv
        .transact(|tx| {
            let (cx, name, input, statement, new_revision) = (&cx, &name, &input, &statement, &new_revision);
            async move {
                let (mut policy, revision) = policy(&tx, cx, name).await?;
                check_revision(&revision, input.revision_id.as_deref())?;
                policy.add(&input.statement_id, statement)?;
                policy.revision_id.clone_from(new_revision);
                keys::set(&tx, &key(cx, name), &policy);
                Ok::<_, LambdaError>(())
            }
        })
        .await?;
    Ok(m::AddPermissionOutput { statement: Some(statement.to_string()) })
}

pub(crate) async fn remove(
    lambda: Lambda,
    cx: Cx,
    input: m::RemovePermissionInput,
) -> Result<m::RemovePermissionOutput, LambdaError> {
    let name = target(&cx, &input.function_name, input.qualifier.as_deref())?;
    let new_revision = sys::id::uuid(&lambda.rng);
    lambda
        .kv
        .transact(|tx| {
            let (cx, name, input, new_revision) = (&cx, &name, &input, &new_revision);
            async move {
                let (mut policy, revision) = policy(&tx, cx, name).await?;
                check_revision(&revision, input.revision_id.as_deref())?;
                let id = &input.statement_id;
                if policy.statements.is_empty() {
                    return Err(LambdaError::ResourceNotFoundException(
                        "No policy is associated with the given resource.".to_owned(),
                    ));
                }
                if !policy.remove(id) {
                    return Err(LambdaError::ResourceNotFoundException(format!(
                        "Statement {id} is not found in resource policy."
                    )));
                }
                policy.revision_id.clone_from(new_revision);
                match policy.statements.is_empty() {
                    true => tx.clear(key(cx, name).pack()),
                    false => keys::set(&tx, &key(cx, name), &policy),
                }
                Ok(())
            }
        })
        .await?;
    Ok(m::RemovePermissionOutput::default())
}

pub(crate) async fn get(lambda: Lambda, cx: Cx, input: m::GetPolicyInput) -> Result<m::GetPolicyOutput, LambdaError> {
    let name = target(&cx, &input.function_name, input.qualifier.as_deref())?;
    let (cx, name) = (&cx, &name);
    let (policy, revision_id) = lambda.kv.read(|tx| async move { policy(&tx, cx, name).await }).await?;
    match policy.document() {
        Some(document) => Ok(m::GetPolicyOutput { policy: Some(document), revision_id: Some(revision_id) }),
        None => Err(LambdaError::ResourceNotFoundException("The resource you requested does not exist.".to_owned())),
    }
}
