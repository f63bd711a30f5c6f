//! The table: one line for each operation → handler, IAM action, resource of the input.

use model::logs as m;
use wire::{Resource, Service};

use crate::Logs;
use crate::ops::{events, groups, stream_arn, streams};

/// The service over `logs`, for the gateway.
pub fn service(logs: Logs) -> Service {
    Service::table(&m::SERVICE, logs)
        .op::<m::DescribeLogGroups, _, _>(groups::describe, "logs:DescribeLogGroups", |cx, i| {
            Resource::arn(stream_arn(cx, i.log_group_name_prefix.as_deref(), None, ""))
        })
        .op::<m::DescribeLogStreams, _, _>(streams::describe, "logs:DescribeLogStreams", |cx, i| {
            Resource::arn(stream_arn(cx, i.log_group_name.as_deref(), i.log_group_identifier.as_deref(), ""))
        })
        .op::<m::GetLogEvents, _, _>(events::get, "logs:GetLogEvents", |cx, i| {
            let (name, identifier) = (i.log_group_name.as_deref(), i.log_group_identifier.as_deref());
            Resource::arn(stream_arn(cx, name, identifier, &i.log_stream_name))
        })
        .op::<m::FilterLogEvents, _, _>(events::filter, "logs:FilterLogEvents", |cx, i| {
            Resource::arn(stream_arn(cx, i.log_group_name.as_deref(), i.log_group_identifier.as_deref(), ""))
        })
        .build()
}
