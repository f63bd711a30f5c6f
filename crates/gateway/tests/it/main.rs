//! The gateway over real sockets, with a tiny service of its own.

mod abuse;
mod answers;
mod auth;
mod connections;
mod fake;
mod forms;
mod identity;
mod server;
mod traces;
mod urls;
