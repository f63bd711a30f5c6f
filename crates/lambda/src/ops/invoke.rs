//! Invoke.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use model::lambda as m;
use serde::de::IgnoredAny;
use wire::Cx;

use super::settings::refuse_unserved;
use crate::error::LambdaError;
use crate::invoke::{Invocation, InvokeError, PAYLOAD_BYTES_MAX};
use crate::limits;
use crate::name::FunctionName;
use crate::qualifier::{Resolved, concurrency, resolve};
use crate::state::Lambda;

/// What a function receives when the caller sends nothing.
const EMPTY_EVENT: Bytes = Bytes::from_static(b"{}");
/// Of the log, `LogType=Tail` shows the last 4 KB.
const LOG_TAIL_BYTES_MAX: usize = 4_096;

pub(crate) async fn invoke(lambda: Lambda, cx: Cx, input: m::InvokeInput) -> Result<m::InvokeOutput, LambdaError> {
    let name = FunctionName::parse(&cx, &input.function_name, input.qualifier.as_deref())?;
    refuse_unserved(&[
        ("InvocationType Event", input.invocation_type == Some(m::InvocationType::Event)),
        ("TenantId", input.tenant_id.is_some()),
        ("DurableExecutionName", input.durable_execution_name.is_some()),
    ])?;
    let payload = input.payload.filter(|payload| !payload.is_empty()).unwrap_or(EMPTY_EVENT);
    check_payload(&payload)?;
    let client_context = input.client_context.as_deref().map(client_context).transpose()?;
    let (cx, name, chance) = (&cx, &name, lambda.chance());
    let (resolved, concurrency) = lambda
        .kv
        .read(|tx| async move {
            let resolved = resolve(&tx, cx, name, chance).await?;
            let concurrency = concurrency(&tx, cx, name, &resolved.version).await?;
            Ok::<_, LambdaError>((resolved, concurrency))
        })
        .await?;
    if input.invocation_type == Some(m::InvocationType::DryRun) {
        return Ok(m::InvokeOutput { status_code: Some(204), ..m::InvokeOutput::default() });
    }
    let invocation = Invocation {
        request_id: cx.request_id.clone(),
        payload,
        client_context,
        cognito_identity: None,
        invoked_arn: name.qualified_arn(cx),
        trace: cx.trace.clone(),
    };
    let Resolved { version, record, .. } = resolved;
    let version = Arc::new(lambda.version(cx, &name.name, version, record, concurrency));
    let outcome = lambda.plane.invoke(version, invocation).await?;
    let tail = (input.log_type == Some(m::LogType::Tail)).then(|| {
        let log = &outcome.log_tail;
        STANDARD.encode(&log[log.len().saturating_sub(LOG_TAIL_BYTES_MAX)..])
    });
    Ok(m::InvokeOutput {
        status_code: Some(200),
        executed_version: Some(outcome.executed_version),
        function_error: outcome.function_error.map(|error| error.as_str().to_owned()),
        log_result: tail,
        payload: Some(outcome.payload),
        durable_execution_arn: None,
    })
}

/// L7 and well-formed JSON: whatever fails here never reaches a function.
fn check_payload(payload: &Bytes) -> Result<(), LambdaError> {
    let length = payload.len();
    if length > PAYLOAD_BYTES_MAX {
        return Err(InvokeError::RequestTooLarge { length, limit: PAYLOAD_BYTES_MAX }.into());
    }
    match serde_json::from_slice::<IgnoredAny>(payload) {
        Ok(_) => Ok(()),
        Err(error) => Err(LambdaError::InvalidRequestContentException(format!(
            "Could not parse request body into json: Could not parse payload into json: {error}"
        ))),
    }
}

/// `X-Amz-Client-Context`: JSON text in base64.
fn client_context(header: &str) -> Result<String, LambdaError> {
    let invalid = |message: &str| LambdaError::InvalidRequestContentException(message.to_owned());
    if header.len() > limits::CLIENT_CONTEXT_BYTES_MAX {
        return Err(invalid("Client context must be at most 3583 bytes of Base64."));
    }
    let text = STANDARD.decode(header).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match text.filter(|text| serde_json::from_str::<serde_json::Map<_, _>>(text).is_ok()) {
        Some(text) => Ok(text),
        None => Err(invalid("Client context must be a valid Base64-encoded JSON object.")),
    }
}
