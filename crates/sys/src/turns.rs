//! Heavy work, a few at once: whoever asks for much of it waits behind themselves, not in front of others.
//!
//! ```text
//!   take(whose) ─► one of their own places ─► one of the places of all ─► Turn
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Of each who asks: how many wait or work, and their own places.
type Own = Arc<Mutex<HashMap<String, (usize, Arc<Semaphore>)>>>;

/// Turns of all. However many somebody asks for, only as many as they have places stand in the common row.
pub struct Turns {
    all: Arc<Semaphore>,
    own: Own,
    own_max: usize,
}

/// A turn, until dropped.
pub struct Turn {
    _place: Option<OwnedSemaphorePermit>,
    _own_place: Option<OwnedSemaphorePermit>,
    _asking: Asking,
}

/// Somebody waits or works.
struct Asking {
    own: Own,
    whose: String,
}

impl Turns {
    /// At most `max` turns at a time, of which `own_max` are of one and the same.
    pub fn new(max: usize, own_max: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(max)), own: Own::default(), own_max }
    }

    /// Waits for a turn of `whose`.
    pub async fn take(&self, whose: &str) -> Turn {
        let places = {
            let mut own = self.own.lock();
            let entry = own.entry(whose.to_owned());
            let (asking, places) = entry.or_insert_with(|| (0, Arc::new(Semaphore::new(self.own_max))));
            *asking += 1;
            Arc::clone(places)
        };
        let asking = Asking { own: Arc::clone(&self.own), whose: whose.to_owned() };
        // No semaphore is ever closed: a permit always comes.
        let own_place = places.acquire_owned().await.ok();
        let place = Arc::clone(&self.all).acquire_owned().await.ok();
        Turn { _place: place, _own_place: own_place, _asking: asking }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut own = self.own.lock();
        let Some((asking, _)) = own.get_mut(&self.whose) else { return };
        *asking -= 1;
        if *asking == 0 {
            own.remove(&self.whose);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::pin::Pin;
    use std::task::Poll;

    use super::*;

    /// What comes at once.
    async fn at_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        poll_fn(|cx| {
            Poll::Ready(match Pin::new(&mut *future).poll(cx) {
                Poll::Ready(outcome) => Some(outcome),
                Poll::Pending => None,
            })
        })
        .await
    }

    #[tokio::test]
    async fn who_asks_for_much_waits_for_themselves_and_leaves_nothing_behind() {
        let turns = Turns::new(3, 2);
        let (first, second) = (turns.take("a").await, turns.take("a").await);
        let mut many: Vec<_> = (0..100).map(|_| Box::pin(turns.take("a"))).collect();
        for one in &mut many {
            assert!(at_once(one).await.is_none(), "two at a time for one");
        }
        let other = at_once(&mut Box::pin(turns.take("b"))).await.expect("others do not wait for them");
        let mut last = Box::pin(turns.take("c"));
        assert!(at_once(&mut last).await.is_none(), "three at a time for all");
        drop(first);
        let last = at_once(&mut last).await.expect("it came before the rest of the first");
        for one in &mut many {
            assert!(at_once(one).await.is_none());
        }
        drop(many);
        assert_eq!(turns.own.lock().len(), 3);
        drop((second, other, last));
        assert!(turns.own.lock().is_empty());
        assert_eq!(turns.all.available_permits(), 3);
    }
}
