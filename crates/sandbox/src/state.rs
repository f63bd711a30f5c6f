//! The states of a sandbox, as far as this crate knows them.

/// Where a sandbox is in its life.
///
/// ```text
///            prepared            assigned             started
///   Empty ───────────▶ Prepared ──────────▶ Assigned ─────────▶ Running ⇄ Frozen
///     │                   │                    │                   │        │
///     │ a step failed     │ pool closed        │ a step failed     │ ended  │ killed
///     ▼                   ▼                    ▼                   ▼        ▼
///   Failed             Stopped              Failed              Stopped  Stopped
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Asked for; nothing exists that outlives a failure.
    Empty,
    /// Namespaces, cgroup and base root exist; no foreign byte is inside.
    Prepared,
    /// It has a spec; mounts, limits and listeners are being made.
    Assigned,
    /// The program runs.
    Running,
    /// The program exists but gets no CPU.
    Frozen,
    /// Over: every process is gone.
    Stopped,
    /// A step failed: every process is gone.
    Failed,
}

impl State {
    /// True when the diagram has an arrow from `self` to `next`.
    pub fn may_become(self, next: State) -> bool {
        use State::{Assigned, Empty, Failed, Frozen, Prepared, Running, Stopped};
        matches!(
            (self, next),
            (Empty, Prepared | Failed)
                | (Prepared, Assigned | Stopped)
                | (Assigned, Running | Failed)
                | (Running, Frozen | Stopped)
                | (Frozen, Running | Stopped)
        )
    }

    /// Moves to `next`.
    ///
    /// # Panics
    /// When the diagram has no such arrow: a bug in this crate.
    pub(crate) fn become_(&mut self, next: State) {
        assert!(self.may_become(next), "a sandbox cannot go from {self:?} to {next:?}");
        *self = next;
    }
}

#[cfg(test)]
mod tests {
    use super::State::{Assigned, Empty, Failed, Frozen, Prepared, Running, Stopped};

    #[test]
    fn only_the_arrows_of_the_diagram_exist() {
        let all = [Empty, Prepared, Assigned, Running, Frozen, Stopped, Failed];
        let arrows =
            all.iter().flat_map(|from| all.iter().map(move |to| from.may_become(*to))).filter(|yes| *yes).count();
        assert_eq!(arrows, 10);
        assert!(all.iter().all(|to| !Stopped.may_become(*to) && !Failed.may_become(*to)));
    }

    #[test]
    #[should_panic(expected = "cannot go from Prepared to Running")]
    fn a_program_never_runs_before_it_is_assigned() {
        let mut state = Prepared;
        state.become_(Running);
    }
}
