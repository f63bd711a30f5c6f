//! Recursion detection (L15): a chain of invocations that comes back to the same function is stopped.
//!
//! ```text
//!   function ─SDK─► X-Amzn-Trace-Id: Root=…;Lineage=HASH:7 ─► queue, topic, invoke ─► the same function: HASH:8
//! ```
//! AWS's SDKs send the header of the invocation that they run in (`_X_AMZN_TRACE_ID`) with every request, and what is
//! made from a request keeps it. Source: Lambda developer guide, "Use Lambda recursive loop detection".

use std::sync::Arc;

use sha2::Digest as _;
use wire::{Cx, TraceContext};

use crate::error::LambdaError;
use crate::function::FunctionVersion;
use crate::name::FunctionName;
use crate::qualifier::{Resolved, concurrency, resolve};
use crate::state::Lambda;

/// A chain runs one function at most this often ("approximately 16 times").
const CHAIN_MAX: u32 = 16;

/// The function in a lineage: 8 hexadecimal digits of a hash of its ARN.
fn hash(function_arn: &str) -> String {
    sha2::Sha256::digest(function_arn).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// The trace with one more visit of the function, and how many that makes.
fn visit(trace: &TraceContext, function_arn: &str) -> (TraceContext, u32) {
    trace.visiting(&hash(function_arn))
}

impl Lambda {
    /// The version that a name means now, ready to run, and the trace that it runs under.
    ///
    /// # Errors
    /// `ResourceNotFoundException`; `RecursiveInvocationException` when the chain behind `trace` came here too often.
    pub(crate) async fn version_to_run(
        &self,
        cx: &Cx,
        name: &FunctionName,
        trace: TraceContext,
    ) -> Result<(Arc<FunctionVersion>, TraceContext), LambdaError> {
        let chance = self.chance();
        let (resolved, concurrency) = self
            .kv
            .read(|tx| async move {
                let resolved = resolve(&tx, cx, name, chance).await?;
                let concurrency = concurrency(&tx, cx, name, &resolved.version).await?;
                Ok::<_, LambdaError>((resolved, concurrency))
            })
            .await?;
        let arn = name.arn(cx);
        let (trace, visits) = visit(&trace, &arn);
        if visits > CHAIN_MAX && !self.allows_recursion(cx, name).await? {
            return Err(LambdaError::RecursiveInvocationException { arn });
        }
        let Resolved { version, record, .. } = resolved;
        Ok((Arc::new(self.version(cx, &name.name, version, record, concurrency)), trace))
    }
}

#[cfg(test)]
mod tests {
    use sys::{Rng, Timestamp};

    use super::*;

    #[test]
    fn l15_visits_are_counted_along_the_chain_for_each_function() {
        let mut trace = TraceContext::new(Timestamp::from_unix_s(1), &Rng::seeded(1));
        for round in 1..=20 {
            for arn in ["arn:a", "arn:b"] {
                let (next, visits) = visit(&trace, arn);
                assert_eq!(visits, round, "{arn}");
                // As it goes through an SDK and a queue.
                trace = TraceContext::parse_header(&next.header()).expect("a header of our own");
            }
        }
    }
}
