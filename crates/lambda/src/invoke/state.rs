//! The states of an execution environment.

/// Where an execution environment is in its life.
///
/// ```text
///          sandbox        given its     program
///          made           function      started          init done
///   Empty ───────▶ Prepared ────▶ Assigned ────▶ Initialising ────▶ Ready ⇄ Invoking
///                                                                    ⇅
///                                                                    ⇅ Restoring
///                                              Stopped ◀── Reclaimed ◀── Frozen
///                                                              ▲
///                                                              └──── Ready (retired, shutdown)
///   every state before Reclaimed ──▶ Failed (a step failed, init failed, timeout, exit, out of memory)
/// ```
///
/// User code runs in `Initialising`, `Ready`, `Restoring` and `Invoking`, and in the shutdown phase that extensions get at the end (`Reclaimed`,
/// `Failed`, for at most two seconds). `Stopped` and `Failed` are ends: an environment that
/// went wrong is never used again, so the next invocation gets a fresh one (L8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Asked for; nothing exists yet.
    Empty,
    /// The sandbox exists and has run no user code.
    Prepared,
    /// It belongs to one function version, from here to its end (L12).
    Assigned,
    /// The runtime starts and loads the function's code.
    Initialising,
    /// It can take an event.
    Ready,
    /// It works on an event.
    Invoking,
    /// It does what its runtime has to do before the first event of an environment that was initialised ahead.
    Restoring,
    /// It gets no CPU (L13).
    Frozen,
    /// It was taken out of use: after the extensions' shutdown phase it is killed.
    Reclaimed,
    /// Over, in good order.
    Stopped,
    /// Over, because something went wrong.
    Failed,
}

impl State {
    /// Every state.
    #[cfg(test)]
    const ALL: [Self; 11] = [
        Self::Empty,
        Self::Prepared,
        Self::Assigned,
        Self::Initialising,
        Self::Ready,
        Self::Invoking,
        Self::Restoring,
        Self::Frozen,
        Self::Reclaimed,
        Self::Stopped,
        Self::Failed,
    ];

    /// True when the diagram has an arrow from `self` to `next`.
    pub fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (Self::Empty, Self::Prepared)
            | (Self::Prepared, Self::Assigned)
            | (Self::Assigned, Self::Initialising)
            | (Self::Initialising | Self::Invoking | Self::Restoring, Self::Ready)
            | (Self::Ready, Self::Invoking | Self::Restoring | Self::Frozen | Self::Reclaimed)
            | (Self::Frozen, Self::Ready | Self::Reclaimed)
            | (Self::Reclaimed, Self::Stopped) => true,
            (from, Self::Failed) => !matches!(from, Self::Reclaimed | Self::Stopped | Self::Failed),
            _ => false,
        }
    }

    /// Moves to `next`.
    ///
    /// # Panics
    /// When the diagram has no such arrow: a bug in this crate.
    pub(crate) fn become_(&mut self, next: Self) {
        assert!(self.may_become(next), "an execution environment cannot go from {self:?} to {next:?}");
        *self = next;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, proptest};
    use proptest::sample::select;

    use super::*;

    fn any_state() -> impl Strategy<Value = State> {
        select(State::ALL.to_vec())
    }

    proptest! {
        /// Walks any sequence of wishes, taking only the allowed steps, and checks what the diagram promises.
        #[test]
        fn walks_keep_the_promises_of_the_diagram(wishes in proptest::collection::vec(any_state(), 0..200)) {
            let (mut state, mut path) = (State::Empty, vec![State::Empty]);
            for wish in wishes {
                let before = state;
                if before.may_become(wish) {
                    state.become_(wish);
                    path.push(state);
                }
                assert!(!matches!(before, State::Stopped | State::Failed) || state == before, "an end is an end");
            }
            for (at, state) in path.iter().enumerate() {
                let before = &path[..at];
                match state {
                    State::Invoking => assert_eq!(before.last(), Some(&State::Ready), "thawed and initialised"),
                    State::Frozen | State::Ready => assert!(before.contains(&State::Initialising)),
                    State::Stopped => assert_eq!(before.last(), Some(&State::Reclaimed)),
                    _ => {}
                }
            }
            for once in [State::Prepared, State::Assigned, State::Initialising, State::Reclaimed] {
                assert!(path.iter().filter(|state| **state == once).count() <= 1, "{once:?} happens once");
            }
        }
    }

    #[test]
    fn no_state_becomes_itself_and_every_state_but_the_first_can_be_reached() {
        for state in State::ALL {
            assert!(!state.may_become(state), "{state:?}");
            assert!(state == State::Empty || State::ALL.iter().any(|from| from.may_become(state)), "{state:?}");
        }
    }

    #[test]
    #[should_panic(expected = "cannot go from Frozen to Invoking")]
    fn an_arrow_that_is_not_in_the_diagram_panics() {
        let mut state = State::Frozen;
        state.become_(State::Invoking);
    }
}
