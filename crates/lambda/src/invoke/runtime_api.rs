//! The Lambda Runtime API, version 2018-06-01, on a listener inside the execution environment.
//!
//! ```text
//!            GET next            (event)          POST {id}/response | error
//!   Starting ────────▶ Waiting ─────────▶ Running ────────────────────────▶ Answered
//!      │ POST init/error  ▲                                                   │
//!      ▼                  └───────────────────── GET next ────────────────────┘
//!   InitFailed
//!
//!   Starting ─GET restore/next─▶ Suspended ─(it answers)─▶ Restoring ─GET next─▶ Waiting
//!                                                             └─POST restore/error─▶ RestoreFailed
//! ```
//! `restore/next` is SnapStart's: what a runtime has to do before its first event it does after that call, and what it must
//! not do before a snapshot. The calls are in no guide; they are as Lambda's own runtime clients for Java, Python and .NET make
//! them.
//!
//! An environment that serves several events at once (Lambda Managed Instances) has one state for all of them: any number of
//! calls to `next` wait side by side, and each event that was taken is answered by its id, in any order (`many.rs`).
//!
//! Strict, as AWS is: an answer to another request id gets 400, a step that the diagram has not gets 403, an answer
//! above the limit 413. A refused call changes nothing. Source: Lambda developer guide, "Using the Lambda runtime API".

pub(super) mod http;
mod many;

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use sys::Clock;
use sys::task::CancellationToken;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

use super::apis::{self, Apis, Refused};
use super::channel::InvokeHeader;
use super::extensions::Extensions;
use super::line::Said;
use super::telemetry::Telemetry;
use super::{PayloadLimits, StreamSink};
use many::Many;

/// The platform's end of the API of one environment. Dropping it closes every connection.
#[derive(Debug)]
pub(crate) struct RuntimeApi {
    shared: Arc<Shared>,
    said: mpsc::Receiver<Said>,
    open: CancellationToken,
}

#[derive(Debug)]
pub(super) struct Shared {
    conversation: Mutex<Conversation>,
    /// Wakes the call to `next` that waits.
    event: Notify,
    /// Wakes the call to `restore/next` that waits.
    restoring: Notify,
    /// Wakes the platform when the runtime asks for its next event.
    moved: Notify,
    said: mpsc::Sender<Said>,
    limits: PayloadLimits,
}

#[derive(Debug)]
struct Conversation {
    phase: Phase,
    /// The event that waits for a call to `next`.
    pending: Option<(InvokeHeader, Bytes)>,
    /// True while a call to `next` waits.
    asked: bool,
    /// Where the answer to the running event goes, if it streams.
    sink: Option<StreamSink>,
    /// In an environment that serves several events at once: all of them, in place of the three fields above.
    many: Option<Many>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Waiting,
    Running {
        request_id: String,
    },
    Answered {
        request_id: String,
    },
    InitFailed,
    Suspended,
    Restoring {
        /// The call to `restore/next` has been answered.
        told: bool,
    },
    RestoreFailed,
    /// The runtime speaks frames: nobody else may take its place here.
    Elsewhere,
}

impl Phase {
    fn name(&self) -> &'static str {
        match self {
            Self::Starting => "Started",
            Self::Waiting => "Ready",
            Self::Running { .. } => "Running",
            Self::Answered { .. } => "InvocationResponseSent",
            Self::InitFailed => "InitError",
            Self::Suspended => "RestoreReady",
            Self::Restoring { .. } => "Restoring",
            Self::RestoreFailed => "RestoreError",
            Self::Elsewhere => "Elsewhere",
        }
    }
}

impl Refused {
    fn transition(from: &Phase, to: &str) -> Self {
        let message = format!(
            "State transition from {} to {to} failed for runtime. Error: State transition is not allowed",
            from.name()
        );
        Self { status: 403, error_type: "InvalidStateTransition", message }
    }

    fn request_id() -> Self {
        Self { status: 400, error_type: "InvalidRequestID", message: "Invalid request ID".to_owned() }
    }
}

/// How an invocation was answered.
#[derive(Debug)]
enum Answer {
    Response(Bytes),
    Error(Bytes),
    TooLarge { bytes_max: u64 },
}

/// More events than this wait only when a runtime misbehaves; what comes after is refused by the diagram anyway.
const SAID_MAX: usize = 8;

impl RuntimeApi {
    /// Serves the API on `listener`, beside those of `extensions` and `telemetry`, until it is dropped. `slots`: how many events
    /// at once, where that may be several.
    pub(super) fn serve(
        listener: TcpListener,
        clock: Clock,
        extensions: Extensions,
        telemetry: Telemetry,
        limits: PayloadLimits,
        slots: Option<usize>,
    ) -> Self {
        // Of each event one answer is said.
        let (sender, said) = mpsc::channel(SAID_MAX + slots.unwrap_or(0));
        let many = slots.map(Many::new);
        let conversation = Conversation { phase: Phase::Starting, pending: None, asked: false, sink: None, many };
        let shared = Arc::new(Shared {
            conversation: Mutex::new(conversation),
            event: Notify::new(),
            restoring: Notify::new(),
            moved: Notify::new(),
            said: sender,
            limits,
        });
        let open = CancellationToken::new();
        let apis = Apis { runtime: Some(Arc::clone(&shared)), extensions, telemetry };
        let serving = apis::serve(listener, clock, apis, open.clone(), slots.unwrap_or(1));
        drop(sys::task::spawn("runtime api", serving));
        Self { shared, said, open }
    }

    pub(crate) async fn listen(&mut self) -> Said {
        self.said.recv().await.unwrap_or(Said::Closed { undelivered: false })
    }

    /// Refuses every call of a runtime from now on; the APIs of the extensions go on.
    pub(crate) fn close_to_the_runtime(&self) {
        self.shared.conversation.lock().phase = Phase::Elsewhere;
    }

    /// Puts the event where the next call to `next` finds it.
    pub(crate) fn deliver(&self, header: InvokeHeader, event: Bytes) {
        let mut conversation = self.shared.conversation.lock();
        match &mut conversation.many {
            Some(many) => many.deliver(header, event),
            None => {
                conversation.sink = header.stream.clone();
                conversation.pending = Some((header, event));
            }
        }
        drop(conversation);
        self.shared.event.notify_one();
    }

    /// Takes back an event that no call to `next` has taken. False when one has. Among several only.
    pub(crate) fn withdraw(&self, request_id: &str) -> bool {
        self.shared.conversation.lock().many.as_mut().is_some_and(|many| many.withdraw(request_id))
    }

    /// Answers the call to `restore/next` that waits.
    pub(crate) fn restore(&self) {
        let mut conversation = self.shared.conversation.lock();
        if conversation.phase == Phase::Suspended {
            conversation.phase = Phase::Restoring { told: false };
        }
        drop(conversation);
        self.shared.restoring.notify_one();
    }

    /// Waits until the runtime has asked for its next event.
    pub(crate) async fn idle(&self) {
        loop {
            let moved = self.shared.moved.notified();
            if self.shared.conversation.lock().phase == Phase::Waiting {
                return;
            }
            moved.await;
        }
    }

    pub(crate) fn holds_restore(&self) -> bool {
        matches!(self.shared.conversation.lock().phase, Phase::Restoring { told: false })
    }

    pub(crate) fn holds_event(&self) -> bool {
        self.shared.conversation.lock().pending.is_some()
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.open.cancel();
    }
}

impl Shared {
    /// `GET /runtime/invocation/next`: waits for an event.
    async fn next(self: &Arc<Self>) -> Result<(InvokeHeader, Bytes), Refused> {
        let asked = Asked::begin(Arc::clone(self))?;
        loop {
            // Stands in the queue before it looks: of two that look side by side, each is woken by an event of its own.
            let mut woken = std::pin::pin!(self.event.notified());
            woken.as_mut().enable();
            if let Some(event) = asked.take() {
                return Ok(event);
            }
            woken.await;
        }
    }

    /// `POST /runtime/invocation/{id}/response` and `/error`: checked before the body is read and again after.
    fn may_answer(&self, request_id: &str) -> Result<(), Refused> {
        self.conversation.lock().may_answer(request_id)
    }

    /// Where an answer that streams goes; `None` when nobody asked for a stream.
    fn sink(&self, request_id: &str) -> Option<StreamSink> {
        let conversation = self.conversation.lock();
        match &conversation.many {
            Some(many) => many.sink(request_id),
            None => conversation.sink.clone(),
        }
    }

    fn answer(&self, request_id: &str, answer: Answer) -> Result<(), Refused> {
        let mut conversation = self.conversation.lock();
        conversation.may_answer(request_id)?;
        match &mut conversation.many {
            Some(many) => return many.answer(request_id, answer, |said| self.say(said)),
            None => conversation.phase = Phase::Answered { request_id: request_id.to_owned() },
        }
        let request_id = request_id.to_owned();
        self.say(match answer {
            Answer::Response(body) => Said::Response { request_id, body },
            Answer::Error(json) => Said::Error { request_id, json },
            Answer::TooLarge { bytes_max } => Said::TooLarge { bytes_max },
        });
        Ok(())
    }

    /// `POST /runtime/init/error`
    fn init_error(&self, json: Bytes) -> Result<(), Refused> {
        let mut conversation = self.conversation.lock();
        if conversation.phase != Phase::Starting {
            return Err(Refused::transition(&conversation.phase, Phase::InitFailed.name()));
        }
        conversation.phase = Phase::InitFailed;
        self.say(Said::InitError(json));
        Ok(())
    }

    /// `GET /runtime/restore/next`: waits until the environment is about to be used.
    async fn restore_next(&self) -> Result<(), Refused> {
        {
            let mut conversation = self.conversation.lock();
            match conversation.phase {
                Phase::Starting => self.say(Said::Suspended),
                // It hung up, and asks again.
                Phase::Suspended => {}
                _ => return Err(Refused::transition(&conversation.phase, Phase::Suspended.name())),
            }
            conversation.phase = Phase::Suspended;
        }
        loop {
            let woken = self.restoring.notified();
            {
                let mut conversation = self.conversation.lock();
                if let Phase::Restoring { told } = &mut conversation.phase {
                    *told = true;
                }
                if conversation.phase != Phase::Suspended {
                    return Ok(());
                }
            }
            woken.await;
        }
    }

    /// `POST /runtime/restore/error`
    fn restore_error(&self, json: Bytes) -> Result<(), Refused> {
        let mut conversation = self.conversation.lock();
        if !matches!(conversation.phase, Phase::Restoring { .. }) {
            return Err(Refused::transition(&conversation.phase, Phase::RestoreFailed.name()));
        }
        conversation.phase = Phase::RestoreFailed;
        self.say(Said::RestoreError(json));
        Ok(())
    }

    fn say(&self, said: Said) {
        // The diagram allows one thing to be said for each event, and an event is delivered only after the last answer
        // was heard; so the queue never fills. A closed queue means that the environment is being stopped.
        let _ = self.said.try_send(said);
    }
}

impl Conversation {
    fn may_answer(&self, request_id: &str) -> Result<(), Refused> {
        if let (Some(many), Phase::Waiting) = (&self.many, &self.phase) {
            return many.may_answer(request_id);
        }
        match &self.phase {
            Phase::Running { request_id: running } if running == request_id => Ok(()),
            Phase::Answered { request_id: answered } if answered == request_id => {
                Err(Refused::transition(&self.phase, "InvocationResponse"))
            }
            Phase::Starting
            | Phase::InitFailed
            | Phase::Suspended
            | Phase::Restoring { .. }
            | Phase::RestoreFailed
            | Phase::Elsewhere => Err(Refused::transition(&self.phase, "InvocationResponse")),
            _ => Err(Refused::request_id()),
        }
    }
}

/// One waiting call to `next`. A client that hangs up while it waits leaves no trace.
struct Asked(Arc<Shared>);

impl Asked {
    fn begin(shared: Arc<Shared>) -> Result<Self, Refused> {
        let mut conversation = shared.conversation.lock();
        let allowed = matches!(
            conversation.phase,
            Phase::Starting | Phase::Waiting | Phase::Answered { .. } | Phase::Restoring { .. }
        );
        let asked = match &conversation.many {
            Some(many) => many.is_asked_enough(),
            None => conversation.asked,
        };
        if !allowed || asked {
            return Err(Refused::transition(&conversation.phase, Phase::Waiting.name()));
        }
        match conversation.phase {
            Phase::Starting => shared.say(Said::Ready { used: Bytes::new() }),
            Phase::Restoring { .. } => shared.say(Said::Restored),
            _ => {}
        }
        conversation.phase = Phase::Waiting;
        match &mut conversation.many {
            Some(many) => many.asked += 1,
            None => conversation.asked = true,
        }
        drop(conversation);
        shared.moved.notify_one();
        Ok(Self(shared))
    }

    fn take(&self) -> Option<(InvokeHeader, Bytes)> {
        let mut conversation = self.0.conversation.lock();
        if let Some(many) = &mut conversation.many {
            return many.take();
        }
        let (header, event) = conversation.pending.take()?;
        conversation.phase = Phase::Running { request_id: header.request_id.clone() };
        Some((header, event))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut conversation = self.0.conversation.lock();
        match &mut conversation.many {
            Some(many) => many.asked = many.asked.saturating_sub(1),
            None => conversation.asked = false,
        }
    }
}

#[cfg(test)]
mod tests;
