//! What each account has stored lately. A package that is replaced leaves the account's usage at once, but the disk only
//! one or two passes of [`crate::jobs`] later: whoever replaces packages over and over must not fill it in between.
//!
//! What is on the disk for an account is at most three times its limit: what its records name (the usage), what was stored
//! within the last two passes (counted here), and what was named before those and is not any more (it was within the limit then).

use std::collections::HashMap;

use parking_lot::Mutex;

/// New bytes by account: since the last pass of the collector, and between the two passes before.
#[derive(Default)]
pub(crate) struct Lately(Mutex<Windows>);

#[derive(Default)]
struct Windows {
    /// Passes so far.
    passes: u64,
    /// Since the last pass.
    new: HashMap<String, u64>,
    /// Between the two passes before.
    old: HashMap<String, u64>,
}

impl Windows {
    fn of(&self, account: &str) -> u64 {
        let bytes = |window: &HashMap<String, u64>| window.get(account).copied().unwrap_or(0);
        bytes(&self.new).saturating_add(bytes(&self.old))
    }

    /// Takes back what was counted when there had been `passes`: from its own window, for the other one's bytes are of
    /// packages that are stored.
    fn give_back(&mut self, account: &str, bytes: u64, passes: u64) {
        let window = match self.passes - passes {
            0 => &mut self.new,
            1 => &mut self.old,
            _ => return,
        };
        if let Some(counted) = window.get_mut(account) {
            *counted = counted.saturating_sub(bytes);
            if *counted == 0 {
                window.remove(account);
            }
        }
    }
}

/// Bytes that were counted before they are stored.
#[must_use = "what is not kept is given back"]
pub(crate) struct Counted<'a> {
    lately: &'a Lately,
    account: String,
    bytes: u64,
    /// The passes that there had been.
    passes: u64,
}

impl Lately {
    /// Counts `bytes` of `account`; `None` when it would have more than `max` then.
    pub(crate) fn count(&self, account: &str, bytes: u64, max: u64) -> Option<Counted<'_>> {
        let mut windows = self.0.lock();
        if windows.of(account).saturating_add(bytes) > max {
            return None;
        }
        *windows.new.entry(account.to_owned()).or_default() += bytes;
        Some(Counted { lately: self, account: account.to_owned(), bytes, passes: windows.passes })
    }

    /// A pass of the collector has ended.
    pub(crate) fn pass(&self) {
        let mut windows = self.0.lock();
        windows.passes += 1;
        windows.old = std::mem::take(&mut windows.new);
    }
}

impl Counted<'_> {
    /// They are stored: now, however long ago they were counted.
    pub(crate) fn keep(mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut windows = self.lately.0.lock();
        if windows.passes != self.passes {
            windows.give_back(&self.account, bytes, self.passes);
            *windows.new.entry(self.account.clone()).or_default() += bytes;
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.lately.0.lock().give_back(&self.account, self.bytes, self.passes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_passes_later_there_is_room_again() {
        let lately = Lately::default();
        lately.count("a", 6, 10).expect("there is room").keep();
        assert!(lately.count("a", 5, 10).is_none());
        lately.count("b", 10, 10).expect("another account has its own").keep();
        lately.pass();
        lately.count("a", 4, 10).expect("there is room").keep();
        assert!(lately.count("a", 1, 10).is_none(), "what was stored before the last pass may still be there");
        lately.pass();
        lately.count("a", 6, 10).expect("the first has been collected").keep();
    }

    #[test]
    fn what_is_not_stored_is_given_back() {
        let lately = Lately::default();
        let first = lately.count("a", 6, 10);
        lately.pass();
        let second = lately.count("a", 4, 10);
        assert!(first.is_some() && second.is_some());
        drop((first, second));
        let windows = lately.0.lock();
        assert!(windows.new.is_empty() && windows.old.is_empty());
    }

    #[test]
    fn what_is_given_back_late_takes_nothing_of_what_was_stored_meanwhile() {
        for passes in 1..4 {
            let lately = Lately::default();
            let refused = lately.count("a", 6, 10);
            (0..passes).for_each(|_| lately.pass());
            lately.count("a", 4, 10).expect("there is room").keep();
            drop(refused);
            assert_eq!(lately.0.lock().of("a"), 4, "{passes} passes");
        }
    }

    #[test]
    fn what_takes_long_to_store_counts_from_when_it_is_stored() {
        let lately = Lately::default();
        let slow = lately.count("a", 6, 10).expect("there is room");
        lately.pass();
        slow.keep();
        lately.pass();
        assert_eq!(lately.0.lock().of("a"), 6, "between the two passes before");
        lately.pass();
        assert_eq!(lately.0.lock().of("a"), 0);
    }
}
