//! What each account has stored lately. A package that is replaced leaves the account's usage at once, but the disk only
//! one or two passes of [`crate::jobs`] later: whoever replaces packages over and over must not fill it in between.

use std::collections::HashMap;

use parking_lot::Mutex;

/// New bytes by account: since the last pass of the collector, and between the two passes before. What is older has been
/// collected, or counts as used.
#[derive(Default)]
pub(crate) struct Lately(Mutex<[HashMap<String, u64>; 2]>);

/// Bytes that were counted before they are stored.
#[must_use = "what is not kept is given back"]
pub(crate) struct Counted<'a> {
    lately: &'a Lately,
    account: String,
    bytes: u64,
}

impl Lately {
    /// Counts `bytes` of `account`; `None` when it would have more than `max` then.
    pub(crate) fn count(&self, account: &str, bytes: u64, max: u64) -> Option<Counted<'_>> {
        let mut windows = self.0.lock();
        let before: u64 = windows.iter().filter_map(|window| window.get(account)).sum();
        if before.saturating_add(bytes) > max {
            return None;
        }
        *windows[0].entry(account.to_owned()).or_default() += bytes;
        Some(Counted { lately: self, account: account.to_owned(), bytes })
    }

    /// A pass of the collector has ended.
    pub(crate) fn pass(&self) {
        let mut windows = self.0.lock();
        windows[1] = std::mem::take(&mut windows[0]);
    }
}

impl Counted<'_> {
    /// They are stored.
    pub(crate) fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let mut left = self.bytes;
        // A pass may have ended meanwhile.
        for window in self.lately.0.lock().iter_mut() {
            let Some(bytes) = window.get_mut(&self.account) else { continue };
            let taken = left.min(*bytes);
            (*bytes, left) = (*bytes - taken, left - taken);
            if *bytes == 0 {
                window.remove(&self.account);
            }
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
        assert!(lately.0.lock().iter().all(HashMap::is_empty));
    }
}
