//! Invoke, InvokeAsync.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use model::lambda as m;
use serde::de::IgnoredAny;
use wire::{ApiError, Body, Cx};

use super::settings::refuse_unserved;
use crate::error::LambdaError;
use crate::event_queue::QueuedEvent;
use crate::invoke::{Invocation, InvokeError, PAYLOAD_BYTES_MAX};
use crate::limits;
use crate::name::{FunctionName, in_account_of};
use crate::qualifier::resolve;
use crate::state::Lambda;
use crate::tenancy;

/// What a function receives when the caller sends nothing.
const EMPTY_EVENT: Bytes = Bytes::from_static(b"{}");
/// Of the log, `LogType=Tail` shows the last 4 KB.
pub(super) const LOG_TAIL_BYTES_MAX: usize = 4_096;

pub(crate) async fn invoke(lambda: Lambda, cx: Cx, input: m::InvokeInput) -> Result<m::InvokeOutput, LambdaError> {
    // Somebody else's function: its policy has been asked already, by the pipeline.
    let cx = in_account_of(cx, &input.function_name);
    let name = FunctionName::parse(&cx, &input.function_name, input.qualifier.as_deref())?;
    refuse_unserved(&[("DurableExecutionName", input.durable_execution_name.is_some())])?;
    let payload = payload_or_empty(input.payload);
    let event = input.invocation_type == Some(m::InvocationType::Event);
    check_payload(&payload, event)?;
    let client_context = input.client_context.as_deref().map(client_context).transpose()?;
    let accepted = |status| m::InvokeOutput { status_code: Some(status), ..m::InvokeOutput::default() };
    if event {
        queue(&lambda, &cx, &name, payload, client_context, input.tenant_id).await?;
        return Ok(accepted(202));
    }
    let (version, trace) = lambda.version_to_run(&cx, &name, cx.trace.clone()).await?;
    tenancy::check(version.per_tenant, input.tenant_id.as_deref())?;
    if input.invocation_type == Some(m::InvocationType::DryRun) {
        return Ok(accepted(204));
    }
    let invocation = Invocation {
        request_id: cx.request_id.clone(),
        payload,
        client_context,
        cognito_identity: None,
        tenant_id: input.tenant_id,
        invoked_arn: name.qualified_arn(&cx),
        trace,
        stream: None,
        wants_log: input.log_type == Some(m::LogType::Tail),
    };
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

/// InvokeAsync, which AWS has deprecated: an event without options.
pub(crate) async fn invoke_async(
    lambda: Lambda,
    cx: Cx,
    input: m::InvokeAsyncInput,
    body: Body,
) -> Result<(m::InvokeAsyncOutput, Body), LambdaError> {
    let cx = in_account_of(cx, &input.function_name);
    let name = FunctionName::parse(&cx, &input.function_name, None)?;
    let payload = body.collect(limits::EVENT_BYTES_MAX + 1).await.map_err(unreceived)?;
    let payload = payload_or_empty(Some(payload));
    check_payload(&payload, true)?;
    queue(&lambda, &cx, &name, payload, None, None).await?;
    Ok((m::InvokeAsyncOutput { status: Some(202) }, Body::empty()))
}

/// What the function receives.
pub(super) fn payload_or_empty(payload: Option<Bytes>) -> Bytes {
    payload.filter(|payload| !payload.is_empty()).unwrap_or(EMPTY_EVENT)
}

/// A payload that did not arrive whole.
fn unreceived(error: ApiError) -> LambdaError {
    match error.status {
        500.. => LambdaError::internal(error),
        _ => LambdaError::InvalidRequestContentException(error.message),
    }
}

/// Puts an event into the queue of a function that exists: durable before the 202 (L1).
async fn queue(
    lambda: &Lambda,
    cx: &Cx,
    name: &FunctionName,
    payload: Bytes,
    client_context: Option<String>,
    tenant_id: Option<String>,
) -> Result<(), LambdaError> {
    let resolved = lambda.kv.read(|tx| async move { resolve(&tx, cx, name, 1.0).await }).await?;
    if let Some(state) = resolved.record.unready() {
        return Err(LambdaError::unready(state));
    }
    tenancy::check(resolved.record.per_tenant, tenant_id.as_deref())?;
    let (arn, now) = (name.qualified_arn(cx), lambda.clock.now());
    let event = QueuedEvent::new(&arn, cx.request_id.clone(), payload, &cx.trace, now);
    let event = event.ok_or_else(|| LambdaError::function_not_found(&arn))?;
    lambda.queue_event(&QueuedEvent { client_context, tenant_id, ..event }).await
}

/// L7 and well-formed JSON: whatever fails here never reaches a function.
pub(super) fn check_payload(payload: &Bytes, event: bool) -> Result<(), LambdaError> {
    let length = payload.len();
    let (limit, invocation_type) =
        if event { (limits::EVENT_BYTES_MAX, "Event") } else { (PAYLOAD_BYTES_MAX, "RequestResponse") };
    if length > limit {
        return Err(InvokeError::RequestTooLarge { length, limit, invocation_type }.into());
    }
    match serde_json::from_slice::<IgnoredAny>(payload) {
        Ok(_) => Ok(()),
        Err(error) => Err(LambdaError::InvalidRequestContentException(format!(
            "Could not parse request body into json: Could not parse payload into json: {error}"
        ))),
    }
}

/// `X-Amz-Client-Context`: JSON text in base64.
pub(super) fn client_context(header: &str) -> Result<String, LambdaError> {
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
