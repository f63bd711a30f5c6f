//! One file per subcommand.

pub(crate) mod account;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod functions;
pub(crate) mod iam;
pub(crate) mod invoke;
pub(crate) mod logs;
pub(crate) mod s3;
pub(crate) mod serve;
pub(crate) mod trace;
