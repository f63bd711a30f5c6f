//! The shutdown phase of an environment with extensions.
//!
//! ```text
//!   0 ms   SIGTERM to the runtime
//!   300    SIGKILL to the runtime (500 when an internal extension has registered)
//!          SHUTDOWN to the external extensions that subscribed, SIGKILL to the others
//!   2,000  SIGKILL to all that is left (500 when there are no external ones)
//! ```
//! Without extensions there is no such phase. Source: Lambda developer guide, "Shutdown phase".

use std::time::Duration;

use futures_util::FutureExt as _;
use sandbox::{Sandbox, Stop};

use super::environment::Environment;
use super::extensions::{ShutdownReason, companions_end, runtime_end};

/// What the shutdown phase waits for.
#[derive(Clone, Copy, Debug)]
enum End {
    Runtime,
    Companions(usize),
}

impl Environment {
    /// Lets runtime and extensions end by themselves, within their time. Whoever calls this kills the rest.
    pub(super) async fn wind_down(&mut self, reason: ShutdownReason) {
        let Some(time) = self.extensions.shutdown_time() else { return };
        // It has ended altogether, or does not run.
        if self.sandbox.exited().now_or_never().is_some() || self.sandbox.thaw().await.is_err() {
            return;
        }
        self.telemetry.flush();
        let start = self.clock.elapsed();
        if self.held.is_none() {
            self.sandbox.stop(0, Stop::Ask);
            if !self.ends(End::Runtime, start + time.runtime).await {
                self.sandbox.stop(0, Stop::Kill);
            }
        }
        if self.companions == 0 {
            return;
        }
        let left = (start + time.whole).saturating_sub(self.clock.elapsed());
        let deadline_ms = (self.clock.now() + left).unix_ms();
        for program in self.extensions.shut_down(reason, deadline_ms) {
            self.sandbox.stop(program, Stop::Kill);
        }
        self.ends(End::Companions(self.companions), start + time.whole).await;
    }

    /// Waits for an end, until `deadline`, and logs what is written meanwhile. False when time was up.
    async fn ends(&mut self, end: End, deadline: Duration) -> bool {
        let left = deadline.saturating_sub(self.clock.elapsed());
        let mut time_up = std::pin::pin!(self.clock.sleep(left));
        loop {
            tokio::select! {
                biased;
                () = reached(end, &self.sandbox) => return true,
                () = &mut time_up => return false,
                () = self.logs.pump() => {}
            }
        }
    }
}

async fn reached(end: End, sandbox: &Sandbox) {
    match end {
        End::Runtime => drop(runtime_end(sandbox).await),
        End::Companions(count) => companions_end(sandbox, count).await,
    }
}
