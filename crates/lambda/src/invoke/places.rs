//! Places among those that run an init which nobody waits for (SnapStart, provisioned concurrency): fewer than may start at once,
//! so that slots remain for callers, and not all of them for one account. Who waits for memory has none. With SnapStart as many wait
//! as there are places, one of an account: each of them holds what it has found until it has a place. What provisioned concurrency
//! wants of memory is bounded by the control plane, so there each version waits for itself.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use sys::turns::{Turn, Turns};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wire::AccountId;

/// Start slots that are never taken ahead of demand, where there are more.
const SLOTS_LEFT: usize = 2;

/// The places of a node.
pub(super) struct Places {
    all: Arc<Semaphore>,
    each_max: usize,
    /// Those of an account, as long as it has any or waits for one.
    accounts: Mutex<HashMap<AccountId, Weak<Semaphore>>>,
    /// Among those that wait for memory.
    for_memory: Turns,
}

/// A place; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_account: OwnedSemaphorePermit,
}

impl Places {
    /// Where `starting_max` environments may start at once.
    pub(super) fn new(starting_max: usize) -> Self {
        let places = starting_max.saturating_sub(SLOTS_LEFT).max(1);
        let each_max = places.saturating_sub(1).max(1);
        let for_memory = Turns::new(places, 1);
        Self { all: Arc::new(Semaphore::new(places)), each_max, accounts: Mutex::default(), for_memory }
    }

    /// A place, when there is one.
    pub(super) async fn wait(&self, account: &AccountId) -> Place {
        const OPEN: &str = "nobody closes it";
        // Its own first: who has none left keeps nobody of another account waiting.
        let of_account = self.of(account).acquire_owned().await.expect(OPEN);
        let of_all = Arc::clone(&self.all).acquire_owned().await.expect(OPEN);
        Place { _of_all: of_all, _of_account: of_account }
    }

    /// The turn of an account to wait for memory, without a place.
    pub(super) async fn turn_for_memory(&self, account: &AccountId) -> Turn {
        self.for_memory.take(account.as_str()).await
    }

    /// A place, if there is one now.
    pub(super) fn now(&self, account: &AccountId) -> Option<Place> {
        let of_account = self.of(account).try_acquire_owned().ok()?;
        let of_all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Place { _of_all: of_all, _of_account: of_account })
    }

    fn of(&self, account: &AccountId) -> Arc<Semaphore> {
        let mut accounts = self.accounts.lock();
        if let Some(places) = accounts.get(account).and_then(Weak::upgrade) {
            return places;
        }
        accounts.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(self.each_max));
        accounts.insert(account.clone(), Arc::downgrade(&places));
        places
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn account(digit: char) -> AccountId {
        AccountId::parse(&digit.to_string().repeat(12)).expect("twelve digits")
    }

    #[test]
    fn slots_are_left_for_callers_and_places_for_other_accounts() {
        for (starting_max, places_max, each_max) in [(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 2, 1), (8, 6, 5)] {
            let places = Places::new(starting_max);
            let (one, other) = (account('1'), account('2'));
            let mut taken: Vec<Place> = std::iter::from_fn(|| places.now(&one)).collect();
            assert_eq!(taken.len(), each_max, "{starting_max}");
            taken.extend(std::iter::from_fn(|| places.now(&other)));
            assert_eq!(taken.len(), places_max, "{starting_max}");
            assert!(places.wait(&other).now_or_never().is_none());
            taken.clear();
            assert!(places.wait(&one).now_or_never().is_some(), "given back");
            assert!(places.now(&account('3')).is_some());
            assert_eq!(places.accounts.lock().len(), 1, "of those that are gone nothing is kept");
        }
    }
}
