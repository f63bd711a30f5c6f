//! One of those that are counted as long as they last: invocations that run, ends of environments, hosts.

use tokio::sync::watch;

/// Counts until it is dropped.
pub(super) struct Counted(watch::Sender<usize>);

impl Counted {
    /// One more.
    pub(super) fn one_of(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Waits until none is left. Whoever waits has the sender: it cannot close meanwhile.
pub(super) async fn none_left(count: &watch::Sender<usize>) {
    let _ = count.subscribe().wait_for(|count| *count == 0).await;
}
