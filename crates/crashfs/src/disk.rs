//! The disk of a mount: the files as they are, what changed them, and whether there is power.

use std::sync::Arc;

use parking_lot::Mutex;
use sys::Rng;

use crate::image::{Crash, image, pending};
use crate::tree::{Change, Tree};

/// A disk takes so many bytes, with its log: beyond, writes find it full.
pub(crate) const BYTES_MAX: usize = 3 << 30;

/// A disk. Clones are the same one.
#[derive(Clone, Default)]
pub struct Disk(pub(crate) Arc<Mutex<State>>);

#[derive(Default)]
pub(crate) struct State {
    /// What was durable before the log.
    base: Tree,
    pub(crate) live: Tree,
    log: Vec<Change>,
    /// Bytes in the log.
    logged: usize,
    pub(crate) is_off: bool,
}

impl Disk {
    /// How many changes and barriers there were since the start, or since the last [`Disk::restore`]. What was answered
    /// when this was read is before it.
    pub fn position(&self) -> usize {
        self.0.lock().log.len()
    }

    /// Cuts the power: every access fails from now on. Returns the position.
    pub fn cut(&self) -> usize {
        let mut state = self.0.lock();
        state.is_off = true;
        state.log.len()
    }

    /// What was durable at the start, and the log since then.
    pub fn recorded(&self) -> (Tree, Vec<Change>) {
        let state = self.0.lock();
        (state.base.clone(), state.log.clone())
    }

    /// Gives the power back: what `crash` left of the disk is there, and durable. Returns how many changes were not, until then.
    pub fn restore(&self, crash: Crash, chance: &Rng) -> usize {
        let mut state = self.0.lock();
        let unsynced = pending(&state.log);
        let tree = image(&state.base, &state.log, crash, chance);
        *state = State { base: tree.clone(), live: tree, ..State::default() };
        unsynced
    }
}

impl State {
    /// Makes a change and writes it down.
    pub(crate) fn change(&mut self, change: Change) {
        if let Change::Write { bytes, .. } = &change {
            self.logged += bytes.len();
        }
        self.live.apply(&change);
        self.log.push(change);
    }

    /// Bytes that can still be written: a change is in the files and in the log.
    pub(crate) fn free(&self) -> usize {
        BYTES_MAX.saturating_sub(self.logged + self.live.bytes())
    }
}
