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
use crate::event_queue::QueuedEvent;
use crate::function::FunctionVersion;
use crate::keys::{self, FunctionRecord};
use crate::name::FunctionName;
use crate::ops::snap_start::check_invocable;
use crate::qualifier::{concurrency, version_bytes, version_meant};
use crate::remembered::Records;
use crate::state::Lambda;

/// A chain runs one function at most this often ("approximately 16 times").
const CHAIN_MAX: u32 = 16;

/// The function in a lineage: 8 hexadecimal digits of a hash of its ARN.
fn hash(function_arn: &str) -> String {
    sys::hex(&sha2::Sha256::digest(function_arn)[..4])
}

/// The trace with one more visit of the function, and how many that makes.
fn visit(trace: &TraceContext, function_arn: &str) -> (TraceContext, u32) {
    trace.visiting(&hash(function_arn))
}

/// How often the chain behind `trace` has come to the function (or its version or alias) with this ARN.
pub fn visits(trace: &TraceContext, function_arn: &str) -> u32 {
    // arn:aws:lambda:REGION:ACCOUNT:function:NAME, and perhaps a qualifier
    let arn: Vec<&str> = function_arn.splitn(8, ':').take(7).collect();
    visit(trace, &arn.join(":")).1 - 1
}

impl QueuedEvent {
    /// The trace behind the event's run, as a header: what is sent on about it carries this, so that chains over
    /// destinations and dead-letter queues are counted too.
    pub fn trace_behind(&self) -> String {
        let arn = crate::name::function_arn(&self.region, &self.account, &self.name);
        TraceContext::parse_header(&self.trace)
            .map_or_else(|| self.trace.clone(), |trace| visit(&trace, &arn).0.header())
    }
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
        let (version, record, concurrency) = self
            .kv
            .read(|tx| async move {
                let (version, _) = version_meant(&tx, cx, name, chance).await?;
                let record = version_bytes(&tx, cx, name, &version).await?;
                let concurrency = concurrency(&tx, cx, name, &version).await?;
                Ok::<_, LambdaError>((version, record, concurrency))
            })
            .await?;
        let arn = name.arn(cx);
        let (trace, visits) = visit(&trace, &arn);
        if visits > CHAIN_MAX && !self.allows_recursion(cx, name).await? {
            return Err(LambdaError::RecursiveInvocationException { arn });
        }
        let qualified = format!("{arn}:{version}");
        let records: Records = [Some(record), None];
        let known = self.remembered_versions.get(&qualified, &records);
        if let Some(known) = known.filter(|known| known.concurrency == concurrency) {
            return Ok((known, trace));
        }
        let record: FunctionRecord = keys::decode(records[0].as_deref().unwrap_or_default())?;
        if let Some(state) = record.unready() {
            return Err(LambdaError::unready(state));
        }
        check_invocable(&record, &version)?;
        let version = Arc::new(self.version(cx, &name.name, version, record, concurrency));
        self.remembered_versions.insert(&qualified, &records, Arc::clone(&version));
        Ok((version, trace))
    }
}

#[cfg(test)]
mod tests {
    use sys::{Rng, Timestamp};

    use super::*;

    #[test]
    fn l15_visits_are_those_of_the_function_whatever_the_qualifier() {
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:f";
        let new = TraceContext::new(Timestamp::from_unix_s(1), &Rng::seeded(1));
        let event = |trace: &TraceContext| {
            let made = QueuedEvent::new(arn, "r".to_owned(), bytes::Bytes::new(), trace, Timestamp::from_unix_s(1));
            made.expect("an ARN of a function")
        };
        let mut trace = visit(&new, "arn:aws:lambda:us-east-1:000000000000:function:g").0;
        for round in 0..5 {
            assert_eq!(visits(&trace, arn), round);
            assert_eq!(visits(&trace, &format!("{arn}:live")), round);
            trace = TraceContext::parse_header(&event(&trace).trace_behind()).expect("a header of our own");
        }
        assert_eq!(visits(&new, arn), 0);
    }

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
