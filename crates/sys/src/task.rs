//! Spawning named tasks; a panic in one is reported, never silent.

use std::panic::AssertUnwindSafe;

use tokio::task::JoinHandle;
pub use tokio_util::sync::{CancellationToken, DropGuard};

/// Starts `future` in the background under a name that logs show. A panic ends this task only and is logged.
#[expect(clippy::disallowed_methods, reason = "the one place that may spawn")]
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<Option<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(async move {
        let outcome = CatchUnwind { future: Box::pin(future) }.await;
        if outcome.is_none() {
            tracing::error!(task = name, "a background task panicked");
        }
        outcome
    })
}

/// Runs blocking work (file system calls, hashing of large inputs) off the async threads.
///
/// # Errors
/// `None` when the work panicked or the runtime is shutting down.
#[expect(clippy::disallowed_methods, reason = "the one place that may spawn")]
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// Runs `future` and turns a panic into `None`: the wall between one request and the server.
pub async fn catch_panic<F: Future>(future: F) -> Option<F::Output> {
    CatchUnwind { future: Box::pin(future) }.await
}

struct CatchUnwind<F: Future> {
    future: std::pin::Pin<Box<F>>,
}

impl<F: Future> Future for CatchUnwind<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        match std::panic::catch_unwind(AssertUnwindSafe(|| self.future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Some),
            Err(_) => std::task::Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_none_and_leaves_others_alone() {
        assert_eq!(catch_panic(async { 1 }).await, Some(1));
        assert_eq!(catch_panic(async { panic!("on purpose") }).await, None::<()>);
        let handle = spawn("test", async { panic!("on purpose") });
        assert_eq!(handle.await.expect("the wall held"), None::<()>);
    }
}
