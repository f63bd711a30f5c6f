//! What an environment is waited for to say or do, and what was heard meanwhile.

use std::time::Duration;

use sandbox::Exit;

use super::ending::Ending;
use super::environment::Environment;
use super::extensions::{Extensions, Failure, runtime_end};
use super::line::{Line, Said};

/// How long a runtime that closed its line, or whose process ended, has for its last words to arrive.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Awaited {
    /// What the runtime says.
    Line,
    /// All external extensions have registered.
    Registered,
    /// All extensions have called `next` for the first time.
    Extensions,
    /// Runtime and extensions are done with an invocation that was answered.
    Rest,
}

/// What was heard while waiting.
pub(super) enum Heard {
    Said(Said),
    /// What was awaited of the extensions is the case.
    There,
    Exited(Exit),
    Extension(Failure),
    TimeUp,
    Shutdown,
}

impl Environment {
    /// What it means that something else than the awaited was heard.
    pub(super) fn ending_of(&self, heard: Heard, limit: Duration) -> Ending {
        match heard {
            Heard::Said(said) => Ending::Violation(format!("{} at the wrong time", name_of(&said))),
            Heard::There => Ending::Violation("an extension at the wrong time".to_owned()),
            Heard::Exited(exit) => Ending::Exited(exit),
            Heard::Extension(failure) => Ending::Extension(failure),
            Heard::TimeUp => Ending::TimedOut(limit),
            Heard::Shutdown => Ending::Exited(Exit::Signal(9)),
        }
    }

    /// Waits for something of the extensions.
    pub(super) async fn until(&mut self, awaited: Awaited, deadline: Duration, limit: Duration) -> Result<(), Ending> {
        match self.hear(awaited, deadline).await {
            Heard::There => Ok(()),
            other => Err(self.ending_of(other, limit)),
        }
    }

    /// Waits until what is awaited is there, the runtime or an extension ends, or time is up; logs what they write meanwhile.
    pub(super) async fn hear(&mut self, awaited: Awaited, deadline: Duration) -> Heard {
        let left = deadline.saturating_sub(self.clock.elapsed());
        let mut time_up = std::pin::pin!(self.clock.sleep(left));
        loop {
            tokio::select! {
                biased;
                heard = listen(&mut self.line, &self.extensions, awaited) => return heard,
                failure = self.extensions.failure(&self.sandbox) => return Heard::Extension(failure),
                exit = runtime_end(&self.sandbox) => {
                    // The last words may still be on the line: an answer counts, the close that follows does not.
                    let last_words = listen(&mut self.line, &self.extensions, awaited);
                    return match self.clock.timeout(LAST_WORDS, last_words).await {
                        Some(Heard::Said(said)) if !matches!(said, Said::Closed { undelivered: false }) => Heard::Said(said),
                        _ => Heard::Exited(exit),
                    };
                }
                () = &mut time_up => return Heard::TimeUp,
                () = self.shutdown.cancelled() => return Heard::Shutdown,
                () = self.logs.pump() => {}
            }
        }
    }

    /// The runtime closed its line: it has ended, or is about to, or it runs on without being able to answer.
    pub(super) async fn closed(&self) -> Ending {
        let exit = self.clock.timeout(LAST_WORDS, runtime_end(&self.sandbox)).await;
        Ending::Exited(exit.unwrap_or(Exit::Code(0)))
    }
}

async fn listen(line: &mut Line, extensions: &Extensions, awaited: Awaited) -> Heard {
    match awaited {
        Awaited::Line => return Heard::Said(line.listen().await),
        Awaited::Registered => extensions.registered().await,
        Awaited::Extensions => extensions.ready().await,
        Awaited::Rest => {
            line.idle().await;
            extensions.done().await;
        }
    }
    Heard::There
}

pub(super) fn name_of(said: &Said) -> &'static str {
    match said {
        Said::Standby { .. } => "STANDBY",
        Said::Loading => "LOADING",
        Said::Ready { .. } => "READY",
        Said::InitError(_) => "INIT_ERROR",
        Said::Suspended => "SUSPENDED",
        Said::Restored => "RESTORED",
        Said::Given(_) => "GIVEN",
        Said::RestoreError(_) => "RESTORE_ERROR",
        Said::Response { .. } => "an answer to another request id",
        Said::Error { .. } => "an error for another request id",
        Said::TooLarge { .. } => "a frame that is too long",
        Said::Violation(_) => "a malformed frame",
        Said::Closed { .. } => "the end",
    }
}
