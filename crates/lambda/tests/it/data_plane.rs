//! The data plane with real sandboxes and real processes.

mod egress;
mod endpoint;
mod extensions;
mod faults;
mod lifecycle;
mod load;
mod logging;
mod managed;
mod protocol;
mod provisioned;
mod room;
mod runtimes;
mod snap_start;
mod stage;
mod stems;
mod tenancy;
