//! The data plane with real sandboxes and real processes.

mod egress;
mod endpoint;
mod extensions;
mod faults;
mod lifecycle;
mod load;
mod logging;
mod protocol;
mod provisioned;
mod runtimes;
mod stage;
mod stems;
mod tenancy;
