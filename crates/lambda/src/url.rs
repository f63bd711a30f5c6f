//! Function URLs: an HTTP request in, an HTTP response out.

pub mod cors;
pub mod event;
pub mod result;
