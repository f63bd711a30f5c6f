//! The data plane as the control plane sees it.

use std::sync::Arc;

use super::{BoxFuture, Invocation, InvokeError, InvokeOutcome, Invoker};
use crate::function::FunctionVersion;
use crate::runtimes::{MissingRuntime, Resolved};
use crate::state::DataPlane;

impl DataPlane for Invoker {
    fn resolve(&self, runtime: &str) -> Result<Resolved, MissingRuntime> {
        self.runtimes().resolve(runtime)
    }

    fn invoke(
        &self,
        function: Arc<FunctionVersion>,
        invocation: Invocation,
    ) -> BoxFuture<Result<InvokeOutcome, InvokeError>> {
        let invoker = self.clone();
        Box::pin(async move { Invoker::invoke(&invoker, &function, invocation).await })
    }

    fn retire(&self, function_arn: &str) {
        let (invoker, function_arn) = (self.clone(), function_arn.to_owned());
        sys::task::spawn("retire environments", async move { Invoker::retire(&invoker, &function_arn, None).await });
    }
}
