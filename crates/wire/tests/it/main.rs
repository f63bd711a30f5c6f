//! Integration tests of `wire`: protocols against Smithy's protocol tests, properties, strictness, services.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests fail by panicking and say on stderr what they skip"
)]

mod botocore;
mod compare;
mod event_ruler;
mod properties;
mod protocol_suite;
mod service;
mod strictness;
mod validation;
