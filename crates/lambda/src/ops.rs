//! The handlers, by noun. They parse nothing and encode nothing.

pub(crate) mod account;
pub(crate) mod changes;
pub(crate) mod configuration;
pub(crate) mod functions;
pub(crate) mod invoke;
pub(crate) mod settings;
pub(crate) mod urls;
