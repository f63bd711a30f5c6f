//! What tools read and set beside a function's configuration: recursion, updates of the runtime.

use model::lambda as m;
use wire::Cx;

use super::concurrency::{keep, settings};
use super::configuration::runtime_version_arn;
use crate::LATEST;
use crate::error::LambdaError;
use crate::keys::RuntimeUpdate;
use crate::name::FunctionName;
use crate::qualifier::{Qualifier, resolve};
use crate::state::Lambda;

fn recursion(allow: bool) -> Option<m::RecursiveLoop> {
    Some(if allow { m::RecursiveLoop::Allow } else { m::RecursiveLoop::Terminate })
}

pub(crate) async fn get_recursion(
    lambda: Lambda,
    cx: Cx,
    input: m::GetFunctionRecursionConfigInput,
) -> Result<m::GetFunctionRecursionConfigOutput, LambdaError> {
    let name = FunctionName::parse(&cx, &input.function_name, None)?;
    let (cx, name) = (&cx, &name);
    let settings = lambda.kv.read(|tx| async move { settings(&tx, cx, name).await }).await?;
    Ok(m::GetFunctionRecursionConfigOutput { recursive_loop: recursion(settings.allow_recursion) })
}

pub(crate) async fn put_recursion(
    lambda: Lambda,
    cx: Cx,
    input: m::PutFunctionRecursionConfigInput,
) -> Result<m::PutFunctionRecursionConfigOutput, LambdaError> {
    let name = FunctionName::parse(&cx, &input.function_name, None)?;
    let allow = input.recursive_loop == m::RecursiveLoop::Allow;
    let (cx, name) = (&cx, &name);
    lambda
        .kv
        .transact(|tx| async move {
            let mut settings = settings(&tx, cx, name).await?;
            settings.allow_recursion = allow;
            keep(&tx, cx, name, &settings);
            Ok::<_, LambdaError>(())
        })
        .await?;
    Ok(m::PutFunctionRecursionConfigOutput { recursive_loop: recursion(allow) })
}

/// The version whose runtime is meant; an alias has none of its own.
fn version(cx: &Cx, given: &str, qualifier: Option<&str>) -> Result<FunctionName, LambdaError> {
    let name = FunctionName::parse(cx, given, qualifier)?;
    match Qualifier::of(name.qualifier.as_deref()) {
        Qualifier::Alias(_) => Err(LambdaError::function_not_found(&name.qualified_arn(cx))),
        Qualifier::Latest => Ok(name.at(LATEST)),
        Qualifier::Number(_) => Ok(name),
    }
}

pub(crate) async fn get_runtime_management(
    lambda: Lambda,
    cx: Cx,
    input: m::GetRuntimeManagementConfigInput,
) -> Result<m::GetRuntimeManagementConfigOutput, LambdaError> {
    let name = version(&cx, &input.function_name, input.qualifier.as_deref())?;
    let (cx, name) = (&cx, &name);
    let settings = lambda
        .kv
        .read(|tx| async move {
            resolve(&tx, cx, name, 1.0).await?;
            settings(&tx, cx, &name.clone().unqualified()).await
        })
        .await?;
    let update = settings.runtime_updates.get(name.qualifier.as_deref().unwrap_or(LATEST));
    Ok(m::GetRuntimeManagementConfigOutput {
        function_arn: Some(name.qualified_arn(cx)),
        runtime_version_arn: update.and_then(|update| update.version_arn.clone()),
        update_runtime_on: Some(update.and_then(|update| update.on.parse().ok()).unwrap_or(m::UpdateRuntimeOn::Auto)),
    })
}

pub(crate) async fn put_runtime_management(
    lambda: Lambda,
    cx: Cx,
    input: m::PutRuntimeManagementConfigInput,
) -> Result<m::PutRuntimeManagementConfigOutput, LambdaError> {
    let name = version(&cx, &input.function_name, input.qualifier.as_deref())?;
    let manual = input.update_runtime_on == m::UpdateRuntimeOn::Manual;
    match &input.runtime_version_arn {
        None if manual => {
            return Err(LambdaError::invalid("RuntimeVersionArn is required when UpdateRuntimeOn is Manual."));
        }
        Some(_) if !manual => {
            return Err(LambdaError::invalid("RuntimeVersionArn can only be set when UpdateRuntimeOn is Manual."));
        }
        _ => {}
    }
    let (cx, name, input) = (&cx, &name, &input);
    lambda
        .kv
        .transact(|tx| async move {
            let resolved = resolve(&tx, cx, name, 1.0).await?;
            // The host has one patch of each runtime: it can be named, another one cannot be had.
            let here = runtime_version_arn(&cx.region, &resolved.record.runtime);
            if let Some(other) = input.runtime_version_arn.as_ref().filter(|arn| **arn != here) {
                return Err(LambdaError::invalid(format!("Runtime version {other} is not on this host; {here} is.")));
            }
            let function = name.clone().unqualified();
            let mut settings = settings(&tx, cx, &function).await?;
            let qualifier = name.qualifier.clone().unwrap_or_default();
            match input.update_runtime_on {
                m::UpdateRuntimeOn::Auto => drop(settings.runtime_updates.remove(&qualifier)),
                on => {
                    let update =
                        RuntimeUpdate { on: on.as_str().to_owned(), version_arn: input.runtime_version_arn.clone() };
                    settings.runtime_updates.insert(qualifier, update);
                }
            }
            keep(&tx, cx, &function, &settings);
            Ok(())
        })
        .await?;
    Ok(m::PutRuntimeManagementConfigOutput {
        function_arn: name.qualified_arn(cx),
        runtime_version_arn: input.runtime_version_arn.clone(),
        update_runtime_on: input.update_runtime_on,
    })
}
