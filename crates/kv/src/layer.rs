//! What several services need above plain keys: layers in the FoundationDB sense. All of them keep to transactions of
//! the caller, so that a service's change and what the layer writes happen together or not at all.

pub mod outbox;
