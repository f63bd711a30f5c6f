//! The handlers, by noun.

pub(crate) mod applications;
pub(crate) mod endpoints;
pub(crate) mod permissions;
pub(crate) mod protection;
pub(crate) mod publishing;
pub(crate) mod sms;
pub(crate) mod subscription_attributes;
pub(crate) mod subscriptions;
pub(crate) mod tags;
pub(crate) mod topic_attributes;
pub(crate) mod topics;
