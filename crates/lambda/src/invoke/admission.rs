//! How many invocations of an account run at the same time (L10). Decided here, for every trigger.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use wire::AccountId;

use super::{InvokeError, ThrottleReason};

/// Counts running invocations by account.
#[derive(Clone, Debug)]
pub(crate) struct Admission(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    concurrency_max: usize,
    running: Mutex<HashMap<AccountId, usize>>,
}

/// The right to run one invocation; dropping it gives the right back.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Admission,
    account: AccountId,
}

impl Admission {
    pub(crate) fn new(concurrency_max: usize) -> Self {
        Self(Arc::new(Counts { concurrency_max, running: Mutex::default() }))
    }

    /// Admits one invocation of `account`, or throttles it at once: a client backs off better than a server queues.
    pub(crate) fn admit(&self, account: &AccountId) -> Result<Admitted, InvokeError> {
        let mut running = self.0.running.lock();
        let count = running.entry(account.clone()).or_default();
        if *count >= self.0.concurrency_max {
            if *count == 0 {
                running.remove(account);
            }
            return Err(InvokeError::TooManyRequests { reason: ThrottleReason::ConcurrentInvocationLimitExceeded });
        }
        *count += 1;
        Ok(Admitted { admission: self.clone(), account: account.clone() })
    }

    /// Invocations of `account` that run now.
    pub(crate) fn running(&self, account: &AccountId) -> usize {
        self.0.running.lock().get(account).copied().unwrap_or(0)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut running = self.admission.0.running.lock();
        let count = running.get_mut(&self.account).expect("an admitted invocation is counted until it is dropped");
        *count -= 1;
        if *count == 0 {
            running.remove(&self.account);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn account(digit: u8) -> AccountId {
        AccountId::parse(&format!("{digit:012}")).expect("twelve digits")
    }

    #[test]
    fn l10_excess_is_throttled_with_the_models_reason_and_other_accounts_are_not() {
        let admission = Admission::new(2);
        let held = [admission.admit(&account(1)).unwrap(), admission.admit(&account(1)).unwrap()];
        let refused = admission.admit(&account(1)).unwrap_err();
        assert_eq!(refused, InvokeError::TooManyRequests { reason: ThrottleReason::ConcurrentInvocationLimitExceeded });
        assert!(admission.admit(&account(2)).is_ok());
        drop(held);
        assert!(admission.admit(&account(1)).is_ok());
    }

    #[test]
    fn a_limit_of_zero_admits_nothing_and_remembers_nothing() {
        let admission = Admission::new(0);
        assert!(admission.admit(&account(1)).is_err());
        assert!(admission.0.running.lock().is_empty());
    }

    proptest! {
        /// A list of held permits is the model: admitted exactly while it is shorter than the limit.
        #[test]
        fn counts_match_a_plain_list(limit in 0usize..5, steps in proptest::collection::vec((any::<bool>(), 0u8..3), 0..200)) {
            let admission = Admission::new(limit);
            let mut held: Vec<(u8, Admitted)> = Vec::new();
            for (enter, who) in steps {
                let before = held.iter().filter(|(one, _)| *one == who).count();
                if enter {
                    match admission.admit(&account(who)) {
                        Ok(admitted) => {
                            assert!(before < limit);
                            held.push((who, admitted));
                        }
                        Err(_) => assert!(before >= limit),
                    }
                } else if let Some(at) = held.iter().position(|(one, _)| *one == who) {
                    held.swap_remove(at);
                }
                let now = held.iter().filter(|(one, _)| *one == who).count();
                assert_eq!(admission.running(&account(who)), now);
            }
        }
    }
}
