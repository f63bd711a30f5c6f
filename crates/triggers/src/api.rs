//! The lines of the Lambda API that are served here: joined with `lambda`'s own table by the binary.

use model::lambda as m;
use wire::{ConditionKeys, Cx, Resource, Service};

use crate::state::Triggers;
use crate::{checks, ops};

/// The part of the Lambda service that is about event source mappings.
pub fn service(triggers: Triggers) -> Service {
    Service::table(&m::SERVICE, triggers)
        .op::<m::CreateEventSourceMapping, _, _>(ops::create, "lambda:CreateEventSourceMapping", |_, _| Resource::any())
        .keys::<m::CreateEventSourceMapping>(|cx, i| {
            let tags = i.tags.iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()));
            ConditionKeys::new()
                .with("lambda:FunctionArn", checks::function_arn(cx, &i.function_name))
                .with_request_tags(tags)
        })
        .op::<m::GetEventSourceMapping, _, _>(ops::get, "lambda:GetEventSourceMapping", |cx, i| at(cx, &i.uuid))
        .op::<m::ListEventSourceMappings, _, _>(ops::list, "lambda:ListEventSourceMappings", |_, _| Resource::any())
        .op::<m::UpdateEventSourceMapping, _, _>(ops::update, "lambda:UpdateEventSourceMapping", |cx, i| {
            at(cx, &i.uuid)
        })
        .op::<m::DeleteEventSourceMapping, _, _>(ops::delete, "lambda:DeleteEventSourceMapping", |cx, i| {
            at(cx, &i.uuid)
        })
        .build()
}

fn at(cx: &Cx, uuid: &str) -> Resource {
    Resource::arn(format!("arn:aws:lambda:{}:{}:event-source-mapping:{uuid}", cx.region, cx.account))
}
