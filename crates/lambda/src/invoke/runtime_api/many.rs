//! The events of an environment that serves several at once.
//!
//! ```text
//!   delivered ─▶ pending ──next──▶ taken ──response | error──▶ said
//!                   └─ time ran out before anybody took it: withdrawn
//! ```
//! What the diagram of one event says holds for each: an answer comes once, and only after the event was taken.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use serde_json::json;

use super::Answer;
use crate::invoke::StreamSink;
use crate::invoke::apis::Refused;
use crate::invoke::channel::InvokeHeader;
use crate::invoke::line::Said;

/// Calls to `next` that may wait for each event that may run: clients whose workers each keep one ask for all of them at once.
const ASKED_PER_SLOT: usize = 2;

#[derive(Debug)]
pub(super) struct Many {
    slots: usize,
    /// Calls to `next` that wait.
    pub(super) asked: usize,
    /// First in, first out. Bounded by the slots: an event is delivered only into one that is free.
    pending: VecDeque<(InvokeHeader, Bytes)>,
    /// By request id: where the answer goes, if it streams.
    taken: HashMap<String, Option<StreamSink>>,
}

impl Many {
    pub(super) fn new(slots: usize) -> Self {
        Self { slots, asked: 0, pending: VecDeque::new(), taken: HashMap::new() }
    }

    /// True when no further call to `next` may wait.
    pub(super) fn is_asked_enough(&self) -> bool {
        self.asked >= self.slots.saturating_mul(ASKED_PER_SLOT)
    }

    pub(super) fn deliver(&mut self, header: InvokeHeader, event: Bytes) {
        self.pending.push_back((header, event));
    }

    pub(super) fn take(&mut self) -> Option<(InvokeHeader, Bytes)> {
        let (header, event) = self.pending.pop_front()?;
        self.taken.insert(header.request_id.clone(), header.stream.clone());
        Some((header, event))
    }

    /// Takes an event back that nobody has taken. False when somebody has.
    pub(super) fn withdraw(&mut self, request_id: &str) -> bool {
        let at = self.pending.iter().position(|(header, _)| header.request_id == request_id);
        at.is_some_and(|at| self.pending.remove(at).is_some())
    }

    pub(super) fn may_answer(&self, request_id: &str) -> Result<(), Refused> {
        if self.taken.contains_key(request_id) { Ok(()) } else { Err(Refused::request_id()) }
    }

    pub(super) fn sink(&self, request_id: &str) -> Option<StreamSink> {
        self.taken.get(request_id).cloned().flatten()
    }

    /// Takes an answer, and passes on what it says. One that is too large is an error of its event, and of no other.
    pub(super) fn answer(&mut self, request_id: &str, answer: Answer, say: impl FnOnce(Said)) -> Result<(), Refused> {
        if self.taken.remove(request_id).is_none() {
            return Err(Refused::request_id());
        }
        let request_id = request_id.to_owned();
        say(match answer {
            Answer::Response(body) => Said::Response { request_id, body },
            Answer::Error(json) => Said::Error { request_id, json },
            Answer::TooLarge { bytes_max } => {
                let message =
                    format!("Response payload size exceeded maximum allowed payload size ({bytes_max} bytes).");
                let json = json!({ "errorType": "Function.ResponseSizeTooLarge", "errorMessage": message });
                Said::Error { request_id, json: Bytes::from(json.to_string()) }
            }
        });
        Ok(())
    }
}
