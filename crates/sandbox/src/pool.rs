//! Prepared, empty sandboxes: made off the request path, handed out on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sys::Clock;

use crate::connection::Connection;
use crate::protocol::Request;
use crate::tree::Tree;
use crate::{Isolation, LaunchError, StepError};

/// An empty sandbox and how long it took to make.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) tree: Tree,
    pub(crate) took: Duration,
}

/// Up to `size` prepared sandboxes. A model of it: a counter that `take` lowers and `refill` raises to `size`.
#[derive(Debug)]
pub(crate) struct Pool {
    connection: Arc<Connection>,
    clock: Clock,
    size: usize,
    ready: Mutex<Vec<Prepared>>,
    /// Being made by `refill`.
    coming: AtomicUsize,
}

impl Pool {
    pub(crate) fn new(connection: Arc<Connection>, clock: Clock, size: usize) -> Self {
        Self { connection, clock, size, ready: Mutex::new(Vec::new()), coming: AtomicUsize::new(0) }
    }

    /// A living prepared sandbox, if one waits.
    pub(crate) fn take(&self) -> Option<Prepared> {
        let mut ready = self.ready.lock();
        std::iter::from_fn(|| ready.pop()).find(|prepared| !prepared.tree.has_ended())
    }

    /// Number of prepared sandboxes that wait.
    pub(crate) fn ready(&self) -> usize {
        self.ready.lock().len()
    }

    /// Makes what is missing, one at a time. Ends early when one cannot be made: the next launch will say why.
    pub(crate) async fn refill(&self) {
        loop {
            {
                let ready = self.ready.lock();
                if ready.len() + self.coming.load(Ordering::Relaxed) >= self.size {
                    return;
                }
                self.coming.fetch_add(1, Ordering::Relaxed);
            }
            let coming = Coming(&self.coming);
            match self.prepare().await {
                Ok(prepared) => {
                    let mut ready = self.ready.lock();
                    drop(coming);
                    ready.push(prepared);
                }
                Err(error) => {
                    tracing::warn!(%error, "a sandbox for the pool could not be prepared");
                    return;
                }
            }
        }
    }

    /// Makes one empty sandbox.
    pub(crate) async fn prepare(&self) -> Result<Prepared, LaunchError> {
        let started = self.clock.elapsed();
        let seat = self.connection.seat()?;
        let unclaimed = Unclaimed { connection: &self.connection, id: seat.id };
        self.connection.send(&Request::Prepare { id: seat.id }, &[]).await?;
        let (handles, files) = seat.prepared.await.map_err(|_| LaunchError::LauncherGone)??;
        if handles.len() != files.len() {
            let detail =
                "the launcher sent handles without descriptors (is the limit of open files reached?)".to_owned();
            return Err(StepError { step: "handles".to_owned(), detail, errno: 0 }.into());
        }
        let files = handles.into_iter().zip(files).collect();
        let tree = Tree::new(seat.id, Arc::clone(&self.connection), Isolation::Process, files, seat.end, seat.programs);
        std::mem::forget(unclaimed);
        Ok(Prepared { tree, took: self.clock.elapsed() - started })
    }
}

/// Ends a sandbox whose maker gives up before there is a tree that could be dropped.
struct Unclaimed<'pool> {
    connection: &'pool Connection,
    id: u64,
}

impl Drop for Unclaimed<'_> {
    fn drop(&mut self) {
        self.connection.send_now(&Request::Kill { id: self.id });
    }
}

/// Counts one sandbox as being made, also when making it is given up.
struct Coming<'pool>(&'pool AtomicUsize);

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
