//! The data plane with real sandboxes and real processes.

mod ahead;
mod code_cache;
mod egress;
mod endpoint;
mod extensions;
mod faults;
mod init_runs;
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
