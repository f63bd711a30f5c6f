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

/// Runs `future` to its end here, in the caller's own task. When the caller is dropped before that, the rest goes on in the
/// background. It costs no hop between threads, which [`spawn`] does. `None` when it panicked.
pub async fn to_the_end<F>(name: &'static str, future: F) -> Option<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let mut rest = Rest { name, future: Some(CatchUnwind { future: Box::pin(future) }) };
    let outcome = std::future::poll_fn(|cx| match &mut rest.future {
        Some(future) => std::pin::Pin::new(future).poll(cx),
        None => std::task::Poll::Ready(None),
    })
    .await;
    rest.future = None;
    if outcome.is_none() {
        tracing::error!(task = name, "a task panicked");
    }
    outcome
}

/// What is left of a future whose caller may go away.
struct Rest<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    name: &'static str,
    future: Option<CatchUnwind<F>>,
}

impl<F> Drop for Rest<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn drop(&mut self) {
        // Without a runtime the process is ending, and so does everything that ran in it.
        if let Some(future) = self.future.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            drop(spawn(self.name, future));
        }
    }
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
    async fn what_was_begun_goes_on_when_its_caller_is_dropped() {
        let (start, started) = tokio::sync::oneshot::channel::<()>();
        let (end, ended) = tokio::sync::oneshot::channel();
        let mut caller = Box::pin(to_the_end("test", async move {
            started.await.expect("the test starts it");
            end.send(1).expect("the test waits");
        }));
        std::future::poll_fn(|cx| {
            assert!(caller.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        drop(caller);
        start.send(()).expect("the rest runs in the background");
        assert_eq!(ended.await, Ok(1));
        assert_eq!(to_the_end("test", async { 2 }).await, Some(2));
        assert_eq!(to_the_end("test", async { panic!("on purpose") }).await, None::<()>);
    }

    #[tokio::test]
    async fn a_panic_becomes_none_and_leaves_others_alone() {
        assert_eq!(catch_panic(async { 1 }).await, Some(1));
        assert_eq!(catch_panic(async { panic!("on purpose") }).await, None::<()>);
        let handle = spawn("test", async { panic!("on purpose") });
        assert_eq!(handle.await.expect("the wall held"), None::<()>);
    }
}
