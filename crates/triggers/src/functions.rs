//! Functions as triggers see them: closures, so that tests run without a sandbox.

use std::sync::Arc;

use bytes::Bytes;
use lambda::{Lambda, LambdaError};
use model::lambda as m;
use sys::Rng;
use wire::service::BoxFuture;
use wire::{AccountId, Arn, Cx, Principal, ServiceError as _, TraceContext};

/// One event for a function.
#[derive(Clone, Debug)]
pub struct Call {
    /// ARN of the function, perhaps with a qualifier.
    pub function_arn: String,
    /// JSON.
    pub payload: Bytes,
    /// Where it hangs in its trace.
    pub trace: TraceContext,
    /// Whether nobody waits for the answer: the event goes to Lambda's own queue (`InvocationType` `Event`).
    pub is_event: bool,
}

/// What a function that ran answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// JSON, or nothing.
    pub payload: Bytes,
    /// `X-Amz-Function-Error`, when the function failed.
    pub function_error: Option<String>,
}

/// Why a function did not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its concurrency is used up: later there may be room.
    Throttled,
    /// There is no such function, or its role is gone: no event would reach it.
    Gone(String),
    /// The event is not acceptable, now or later: too large, or one more round of a loop.
    Rejected(String),
    /// Its own code went wrong before it got the event: the hooks after a restore.
    Failed(String),
    /// The platform could not, this time.
    Transient(String),
}

/// What a mapping needs to know of its function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its ARN, with the qualifier that it was looked up with.
    pub arn: String,
    /// The role that it runs as, and with which its queues are read.
    pub role_arn: String,
    /// In seconds.
    pub timeout_s: i32,
    /// Each invocation has to name a tenant, which no event source can.
    pub per_tenant: bool,
}

/// Runs a function.
pub type Invoke = Arc<dyn Fn(Call) -> BoxFuture<Result<Answer, Refusal>> + Send + Sync>;
/// Looks a function up by name or ARN, as the caller of the context means it.
pub type LookUp = Arc<dyn Fn(Cx, String) -> BoxFuture<Result<Facts, LambdaError>> + Send + Sync>;

/// The functions of all accounts.
#[derive(Clone)]
pub struct Functions {
    /// Runs one.
    pub invoke: Invoke,
    /// Finds one.
    pub look_up: LookUp,
}

impl Functions {
    /// Those of the Lambda service.
    pub fn of(lambda: Lambda, rng: Rng) -> Self {
        let looked_up = lambda.clone();
        Self {
            invoke: Arc::new(move |call| {
                let (lambda, rng) = (lambda.clone(), rng.clone());
                Box::pin(async move { invoke(&lambda, &rng, call).await })
            }),
            look_up: Arc::new(move |cx, name| {
                let lambda = looked_up.clone();
                Box::pin(async move { look_up(&lambda, cx, name).await })
            }),
        }
    }
}

/// The platform acting in the account of `arn`.
pub(crate) fn context(arn: &str, trace: TraceContext, rng: &Rng) -> Option<Cx> {
    let arn = Arn::parse(arn)?;
    let account = AccountId::parse(&arn.account)?;
    Some(Cx {
        account: account.clone(),
        region: arn.region,
        principal: Principal::Root { account },
        request_id: sys::id::uuid(rng),
        trace,
        source_ip: None,
        host: "localhost".to_owned(),
        unasked: Vec::new(),
    })
}

async fn invoke(lambda: &Lambda, rng: &Rng, call: Call) -> Result<Answer, Refusal> {
    let Some(cx) = context(&call.function_arn, call.trace, rng) else {
        return Err(Refusal::Gone(format!("{} is no ARN of a function", call.function_arn)));
    };
    let input = m::InvokeInput {
        client_context: None,
        durable_execution_name: None,
        function_name: call.function_arn,
        invocation_type: call.is_event.then_some(m::InvocationType::Event),
        log_type: None,
        payload: Some(call.payload),
        qualifier: None,
        tenant_id: None,
    };
    match lambda.invoke(cx, input).await {
        Ok(output) => Ok(Answer { payload: output.payload.unwrap_or_default(), function_error: output.function_error }),
        Err(error) if error.status() == 429 => Err(Refusal::Throttled),
        Err(error) if error.is_of_function() => Err(Refusal::Failed(error.to_string())),
        // A version that is being initialised is ready soon.
        Err(error) if matches!(error.status(), 409 | 500..) => Err(Refusal::Transient(error.to_string())),
        Err(error) if matches!(error.status(), 400 | 413) => Err(Refusal::Rejected(error.to_string())),
        Err(error) => Err(Refusal::Gone(error.to_string())),
    }
}

async fn look_up(lambda: &Lambda, cx: Cx, name: String) -> Result<Facts, LambdaError> {
    let input = m::GetFunctionConfigurationInput { function_name: name, qualifier: None };
    let found = lambda.configuration(cx, input).await?;
    Ok(Facts {
        arn: found.function_arn.unwrap_or_default(),
        role_arn: found.role.unwrap_or_default(),
        timeout_s: found.timeout.unwrap_or(3),
        per_tenant: found.tenancy_config.is_some(),
    })
}
