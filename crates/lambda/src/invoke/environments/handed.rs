//! What is on its way to somebody who waits for it: whoever goes away meanwhile gives it back.

use tokio::sync::oneshot;

/// Whom what nobody takes goes to.
pub(super) trait TakesBack<T> {
    /// Takes it back.
    fn take_back(self, handed: T);
}

/// The place of somebody who waits. What was handed over when it is dropped goes back: nothing of it is lost with its future.
pub(super) struct Handed<T, B: TakesBack<T>> {
    receiver: oneshot::Receiver<T>,
    /// Until it is over.
    back: Option<B>,
}

impl<T, B: TakesBack<T>> Handed<T, B> {
    pub(super) fn new(receiver: oneshot::Receiver<T>, back: B) -> Self {
        Self { receiver, back: Some(back) }
    }

    /// What it comes through.
    pub(super) fn receiver(&mut self) -> &mut oneshot::Receiver<T> {
        &mut self.receiver
    }

    /// Waits no longer. What has come and was not taken is the caller's.
    pub(super) fn end(mut self) -> (Option<T>, B) {
        self.receiver.close();
        let late = self.receiver.try_recv().ok();
        (late, self.back.take().expect("it is over only once"))
    }
}

impl<T, B: TakesBack<T>> Drop for Handed<T, B> {
    fn drop(&mut self) {
        let Some(back) = self.back.take() else { return };
        self.receiver.close();
        if let Ok(handed) = self.receiver.try_recv() {
            back.take_back(handed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Shelf(Arc<Mutex<Vec<u32>>>);

    impl TakesBack<u32> for Shelf {
        fn take_back(self, handed: u32) {
            self.0.lock().push(handed);
        }
    }

    /// Waits as a checkout does.
    async fn wait(mut handed: Handed<u32, Shelf>) -> Option<u32> {
        let taken = handed.receiver().await.ok();
        handed.end().0.or(taken)
    }

    #[test]
    fn what_comes_to_somebody_who_goes_away_goes_back() {
        let shelf = Shelf::default();
        // Between the last look and the end.
        let (sender, receiver) = oneshot::channel();
        let mut waiting = Box::pin(wait(Handed::new(receiver, shelf.clone())));
        assert!((&mut waiting).now_or_never().is_none());
        sender.send(7).expect("somebody waits");
        drop(waiting);
        assert_eq!(*shelf.0.lock(), [7]);
        // After the end nothing is taken any more.
        let (sender, receiver) = oneshot::channel();
        drop(Handed::new(receiver, shelf.clone()));
        assert_eq!(sender.send(8), Err(8));
        // Who takes it, or is told of it, has it.
        let (sender, receiver) = oneshot::channel();
        sender.send(9).expect("somebody waits");
        assert_eq!(wait(Handed::new(receiver, shelf.clone())).now_or_never(), Some(Some(9)));
        let (sender, receiver) = oneshot::channel();
        sender.send(10).expect("somebody waits");
        assert_eq!(Handed::new(receiver, shelf.clone()).end().0, Some(10));
        assert_eq!(*shelf.0.lock(), [7]);
    }
}
