//! The operations, by noun. They parse nothing and encode nothing: that is the table's work.

pub(crate) mod account;
pub(crate) mod aliases;
pub(crate) mod capacity;
pub(crate) mod changes;
pub(crate) mod code_signing;
pub(crate) mod concurrency;
pub(crate) mod configuration;
pub(crate) mod event_invoke;
pub(crate) mod functions;
pub(crate) mod images;
pub(crate) mod invoke;
pub(crate) mod invoke_streaming;
pub(crate) mod layer_permissions;
pub(crate) mod layers;
pub(crate) mod listing;
pub(crate) mod permissions;
pub(crate) mod provisioned;
pub(crate) mod runtime_settings;
mod runtimes_in_use;
pub(crate) mod settings;
pub(crate) mod snap_start;
pub(crate) mod tags;
pub(crate) mod urls;
pub(crate) mod versions;
