//! The seams: every source of time, chance and spawning, real and simulated.
//!
//! No other crate may ask the operating system for the time, for randomness or for a new task
//! (`clippy.toml` bans the calls and names the replacements). Whoever holds a [`Clock`] and an
//! [`Rng`] made from one seed replays a scenario exactly.
//!
//! ```text
//!   Clock ── wall time, monotonic time, sleep      system | manual (tests advance it)
//!   Rng   ── bytes, numbers, shuffles              operating system | seed
//!   behind ─ a queue in front of one task that writes behind
//!   net   ── what accepted sockets are given
//!   hex   ── bytes as text
//!   id    ── request ids, UUIDs, trace ids         made from an Rng
//!   task  ── spawn with a name, cancellation, panics reported
//!   turns ── heavy work, a few at once, a share for each who asks
//! ```

pub mod behind;
pub mod clock;
mod hex;
pub mod id;
pub mod net;
pub mod rng;
pub mod size;
pub mod task;
pub mod turns;

pub use clock::{Clock, Timestamp};
pub use hex::{hex, hex_into};
pub use rng::Rng;
pub use size::ByteSize;
