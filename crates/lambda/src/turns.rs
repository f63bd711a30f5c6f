//! Whoever has read last tells last.
//!
//! ```text
//!   change A ─ turn 1 ─ read ─────────────── tell: too late, B has told already, and B had read A's change
//!     change B ─ turn 2 ─ read ─ tell
//! ```
//! A change is durable before its turn is taken, so a later turn has read all that an earlier one could know.

use std::collections::HashMap;

use parking_lot::Mutex;

/// What is open, by what it is about.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<String, Open>>);

#[derive(Debug, Default)]
struct Open {
    /// The turn that was taken last.
    taken: u64,
    /// The latest turn that has told.
    told: u64,
    /// Turns that are not over yet: without one this is forgotten.
    count: usize,
}

/// A place in the order; taken before reading.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    about: String,
    number: u64,
}

impl Turns {
    pub(crate) fn take(&self, about: String) -> Turn<'_> {
        let mut all = self.0.lock();
        let open = all.entry(about.clone()).or_default();
        open.taken += 1;
        open.count += 1;
        Turn { turns: self, about, number: open.taken }
    }
}

impl Turn<'_> {
    /// Calls `tell` unless a later turn has told already. Nobody else tells meanwhile.
    pub(crate) fn tell(self, tell: impl FnOnce()) {
        let mut all = self.turns.0.lock();
        if let Some(open) = all.get_mut(&self.about).filter(|open| open.told < self.number) {
            open.told = self.number;
            tell();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut all = self.turns.0.lock();
        if let Some(open) = all.get_mut(&self.about) {
            open.count -= 1;
            if open.count == 0 {
                all.remove(&self.about);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_earlier_does_not_replace_what_was_read_later() {
        let (turns, mut told) = (Turns::default(), Vec::new());
        let (first, second) = (turns.take("f".to_owned()), turns.take("f".to_owned()));
        let other = turns.take("g".to_owned());
        second.tell(|| told.push("second"));
        first.tell(|| told.push("first"));
        other.tell(|| told.push("other"));
        turns.take("f".to_owned()).tell(|| told.push("third"));
        drop(turns.take("f".to_owned()));
        assert_eq!(told, ["second", "other", "third"]);
        assert!(turns.0.lock().is_empty(), "what is over is forgotten");
    }

    #[test]
    fn a_turn_in_the_middle_tells_after_the_first_and_not_after_the_last() {
        let (turns, mut told) = (Turns::default(), Vec::new());
        let [first, second, third] = [(); 3].map(|()| turns.take("f".to_owned()));
        first.tell(|| told.push(1));
        third.tell(|| told.push(3));
        second.tell(|| told.push(2));
        assert_eq!(told, [1, 3]);
    }
}
