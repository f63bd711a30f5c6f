//! What the handlers and the pollers hold.

use std::sync::{Arc, Weak};

use kv::Kv;
use sqs::Sqs;
use sys::{Clock, Rng};
use wire::{MayAct, TraceContext};

use crate::functions::Functions;

/// Everything that mappings are made from.
pub struct Parts {
    /// The store.
    pub kv: Kv,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub rng: Rng,
    /// The functions.
    pub functions: Functions,
    /// The queues.
    pub sqs: Sqs,
    /// Whether the platform may act for somebody.
    pub may_act: MayAct,
}

/// The event source mappings of all accounts. Cloning is cheap.
#[derive(Clone)]
pub struct Triggers(Arc<Parts>);

impl Triggers {
    /// The mappings over `parts`; [`Triggers::run`] makes them poll.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    pub(crate) fn downgrade(&self) -> Weak<Parts> {
        Arc::downgrade(&self.0)
    }

    pub(crate) fn kv(&self) -> &Kv {
        &self.0.kv
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn rng(&self) -> &Rng {
        &self.0.rng
    }

    pub(crate) fn functions(&self) -> &Functions {
        &self.0.functions
    }

    pub(crate) fn sqs(&self) -> &Sqs {
        &self.0.sqs
    }

    pub(crate) fn may_act(&self) -> &MayAct {
        &self.0.may_act
    }

    /// The root of a trace that begins with a message without one.
    pub(crate) fn new_trace(&self) -> TraceContext {
        TraceContext::new(self.0.clock.now(), &self.0.rng)
    }
}
