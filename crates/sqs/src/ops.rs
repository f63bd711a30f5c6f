//! The handlers, by noun. They parse nothing and encode nothing.

pub(crate) mod attributes;
pub(crate) mod batches;
pub(crate) mod messages;
pub(crate) mod permissions;
pub(crate) mod queues;
pub(crate) mod tags;
pub(crate) mod tasks;
