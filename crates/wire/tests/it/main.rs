//! Integration tests of `wire`: protocols against Smithy's protocol tests, properties, strictness, services.

mod botocore;
mod compare;
mod properties;
mod protocol_suite;
mod service;
mod strictness;
mod validation;
