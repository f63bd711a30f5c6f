//! The Lambda service over raw wire bytes (memory engine, manual clock, a data plane that answers from a script), and
//! its data plane with real sandboxes.

mod data_plane;
mod functions;
mod invoke;
mod listing;
mod stage;
mod urls;
