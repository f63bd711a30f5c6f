//! How many invocations run at the same time (L10), and how fast a function may grow (L11). Decided here, for every
//! trigger.
//!
//! ```text
//!   account ─┬─ functions with reserved concurrency: each up to its own, nobody else's
//!            └─ all others share what is left: the account's limit − all that is reserved
//! ```
//! Counts are this node's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use wire::AccountId;

use super::{InvokeError, ThrottleReason};
use crate::FunctionVersion;

/// New environments of one function … (Lambda developer guide, "Concurrency scaling rate")
const ENVIRONMENTS_MAX: u32 = 1_000;
/// … in this time. What is not used is not carried over.
const SCALING_WINDOW: Duration = Duration::from_secs(10);

/// Environments that a function that tells tenants apart may have, in tenths of its concurrency (Lambda developer guide,
/// "Troubleshooting tenant isolation": 2,500 for every 1,000 concurrent executions).
const TENANT_ENVIRONMENTS_TENTHS: usize = 25;

/// Counts running invocations, and new environments.
#[derive(Clone, Debug)]
pub(crate) struct Admission(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    concurrency_max: usize,
    running: Mutex<HashMap<AccountId, Running>>,
    /// By function: when its window began (monotonic), and the environments made since.
    growing: Mutex<HashMap<String, (Duration, u32)>>,
}

/// What runs of one account.
#[derive(Debug, Default)]
struct Running {
    total: usize,
    unreserved: usize,
    /// By function with reserved concurrency.
    reserved: HashMap<String, usize>,
}

/// The right to run one invocation; dropping it gives the right back.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Admission,
    account: AccountId,
    /// The function whose reserved concurrency it takes from.
    reserved_of: Option<String>,
}

impl Admission {
    pub(crate) fn new(concurrency_max: usize) -> Self {
        Self(Arc::new(Counts { concurrency_max, running: Mutex::default(), growing: Mutex::default() }))
    }

    /// Admits one invocation, or throttles it at once: a client backs off better than a server queues.
    pub(crate) fn admit(&self, function: &FunctionVersion) -> Result<Admitted, InvokeError> {
        let account = &function.account;
        let mut all = self.0.running.lock();
        let running = all.entry(account.clone()).or_default();
        let refused = match function.concurrency.reserved {
            Some(reserved) => {
                let count = running.reserved.get(&function.arn).copied().unwrap_or(0);
                let reason = ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded;
                (count >= usize::try_from(reserved).unwrap_or(usize::MAX)).then_some(reason)
            }
            None => {
                let reserved = usize::try_from(function.concurrency.account_reserved).unwrap_or(usize::MAX);
                let reason = ThrottleReason::ConcurrentInvocationLimitExceeded;
                (running.unreserved >= self.0.concurrency_max.saturating_sub(reserved)).then_some(reason)
            }
        };
        if let Some(reason) = refused {
            if running.total == 0 {
                all.remove(account);
            }
            return Err(InvokeError::TooManyRequests { reason });
        }
        running.total += 1;
        let reserved_of = function.concurrency.reserved.map(|_| function.arn.clone());
        match &reserved_of {
            Some(arn) => *running.reserved.entry(arn.clone()).or_default() += 1,
            None => running.unreserved += 1,
        }
        Ok(Admitted { admission: self.clone(), account: account.clone(), reserved_of })
    }

    /// Throttles whoever wants an environment for a tenant when the function has as many as it may. `count` is with the new one.
    pub(crate) fn admit_tenant(&self, function: &FunctionVersion, count: usize) -> Result<(), InvokeError> {
        let reserved = function.concurrency.reserved.and_then(|reserved| usize::try_from(reserved).ok());
        let concurrency = reserved.unwrap_or(self.0.concurrency_max);
        let reason = ThrottleReason::FunctionInvocationRateLimitExceeded;
        match count <= concurrency.saturating_mul(TENANT_ENVIRONMENTS_TENTHS) / 10 {
            true => Ok(()),
            false => Err(InvokeError::TooManyRequests { reason }),
        }
    }

    /// Counts one more environment of a function, or throttles whoever wants it. `now` is monotonic.
    pub(crate) fn grow(&self, function_arn: &str, now: Duration) -> Result<(), InvokeError> {
        let mut growing = self.0.growing.lock();
        growing.retain(|_, (began, _)| now.saturating_sub(*began) < SCALING_WINDOW);
        let (_, count) = growing.entry(function_arn.to_owned()).or_insert((now, 0));
        if *count >= ENVIRONMENTS_MAX {
            let reason = ThrottleReason::FunctionInvocationRateLimitExceeded;
            return Err(InvokeError::TooManyRequests { reason });
        }
        *count += 1;
        Ok(())
    }

    /// Invocations of `account` that run now.
    pub(crate) fn running(&self, account: &AccountId) -> usize {
        self.0.running.lock().get(account).map_or(0, |running| running.total)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut all = self.admission.0.running.lock();
        let running = all.get_mut(&self.account).expect("an admitted invocation is counted until it is dropped");
        running.total -= 1;
        match &self.reserved_of {
            Some(arn) => {
                let count =
                    running.reserved.get_mut(arn).expect("an admitted invocation is counted until it is dropped");
                *count -= 1;
                if *count == 0 {
                    running.reserved.remove(arn);
                }
            }
            None => running.unreserved -= 1,
        }
        if running.total == 0 {
            all.remove(&self.account);
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
