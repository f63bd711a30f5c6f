//! The table: one line for each operation → handler, IAM action, resource of the input.

use std::borrow::Cow;

use model::sns as m;
use wire::service::Table;
use wire::{ConditionKeys, Cx, Principal, Resource, Service};

use crate::Sns;
use crate::arn::SubscriptionName;
use crate::ops::{
    applications, endpoints, permissions, protection, publishing, sms, subscription_attributes, subscriptions, tags,
    topic_attributes, topics,
};

/// The service over `sns`, for the gateway.
pub fn service(sns: Sns) -> Service {
    let table = Service::table(&m::SERVICE, sns);
    let table = platform_lines(publish_lines(subscription_lines(topic_lines(table))));
    sms_lines(table).facts(Sns::facts).open_to_grants().build()
}

/// Whether the pipeline lets `principal` do `action` without asking: of ConfirmSubscription the token decides, and
/// of Unsubscribe without a signature the subscription itself (API reference, ConfirmSubscription:
/// `AuthenticateOnUnsubscribe`).
pub fn needs_no_permission(principal: &Principal, action: &str) -> bool {
    match action {
        "sns:ConfirmSubscription" => true,
        "sns:Unsubscribe" => matches!(principal, Principal::Anonymous),
        _ => false,
    }
}

fn named(cx: &Cx, name: &str) -> Resource {
    Resource::arn(format!("arn:aws:sns:{}:{}:{name}", cx.region, cx.account))
}

/// A subscription: its subscriber's, not its topic's. What is no ARN of one is left to the handler.
fn subscription(arn: &str) -> Resource {
    SubscriptionName::of_arn(arn).map_or_else(Resource::any, |name| Resource::arn(name.arn()))
}

/// An endpoint as policies and the record of decisions see it: the `user:password@` of a URL is nobody's business.
fn without_password(endpoint: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = endpoint.split_once("://") else { return endpoint.into() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]).into(),
        None => endpoint.into(),
    }
}

fn request_tags(tags: &[m::Tag]) -> ConditionKeys {
    ConditionKeys::new().with_request_tags(tags.iter().map(|tag| (tag.key.as_str(), tag.value.as_str())))
}

fn topic_lines(table: Table<Sns>) -> Table<Sns> {
    table
        .op::<m::CreateTopic, _, _>(topics::create, "sns:CreateTopic", |cx, i| named(cx, &i.name))
        .keys::<m::CreateTopic>(|_, i| request_tags(i.tags.as_deref().unwrap_or_default()))
        .op::<m::DeleteTopic, _, _>(topics::delete, "sns:DeleteTopic", |_, i| Resource::arn(i.topic_arn.as_str()))
        .op::<m::ListTopics, _, _>(topics::list, "sns:ListTopics", |_, _| Resource::any())
        .op::<m::GetTopicAttributes, _, _>(topic_attributes::get, "sns:GetTopicAttributes", |_, i| {
            Resource::arn(i.topic_arn.as_str())
        })
        .op::<m::SetTopicAttributes, _, _>(topic_attributes::set, "sns:SetTopicAttributes", |_, i| {
            Resource::arn(i.topic_arn.as_str())
        })
        .op::<m::AddPermission, _, _>(permissions::add, "sns:AddPermission", |_, i| Resource::arn(i.topic_arn.as_str()))
        .op::<m::RemovePermission, _, _>(permissions::remove, "sns:RemovePermission", |_, i| {
            Resource::arn(i.topic_arn.as_str())
        })
        .op::<m::GetDataProtectionPolicy, _, _>(protection::get, "sns:GetDataProtectionPolicy", |_, i| {
            Resource::arn(i.resource_arn.as_str())
        })
        .op::<m::PutDataProtectionPolicy, _, _>(protection::put, "sns:PutDataProtectionPolicy", |_, i| {
            Resource::arn(i.resource_arn.as_str())
        })
        .op::<m::TagResource, _, _>(tags::tag, "sns:TagResource", |_, i| Resource::arn(i.resource_arn.as_str()))
        .keys::<m::TagResource>(|_, i| request_tags(&i.tags))
        .op::<m::UntagResource, _, _>(tags::untag, "sns:UntagResource", |_, i| Resource::arn(i.resource_arn.as_str()))
        .keys::<m::UntagResource>(|_, i| ConditionKeys::new().with_all("aws:TagKeys", i.tag_keys.clone()))
        .op::<m::ListTagsForResource, _, _>(tags::list, "sns:ListTagsForResource", |_, i| {
            Resource::arn(i.resource_arn.as_str())
        })
}

fn subscription_lines(table: Table<Sns>) -> Table<Sns> {
    table
        .op::<m::Subscribe, _, _>(subscriptions::subscribe, "sns:Subscribe", |_, i| Resource::arn(i.topic_arn.as_str()))
        .keys::<m::Subscribe>(|_, i| {
            ConditionKeys::new()
                .with("sns:Protocol", i.protocol.as_str())
                .with_some("sns:Endpoint", i.endpoint.as_deref().map(without_password).as_deref())
        })
        .op::<m::ConfirmSubscription, _, _>(subscriptions::confirm, "sns:ConfirmSubscription", |_, i| {
            Resource::arn(i.topic_arn.as_str())
        })
        .op::<m::Unsubscribe, _, _>(subscriptions::unsubscribe, "sns:Unsubscribe", |_, i| {
            subscription(&i.subscription_arn)
        })
        .op::<m::ListSubscriptions, _, _>(subscriptions::list, "sns:ListSubscriptions", |_, _| Resource::any())
        .op::<m::ListSubscriptionsByTopic, _, _>(
            subscriptions::list_by_topic,
            "sns:ListSubscriptionsByTopic",
            |_, i| Resource::arn(i.topic_arn.as_str()),
        )
        .op::<m::GetSubscriptionAttributes, _, _>(
            subscription_attributes::get,
            "sns:GetSubscriptionAttributes",
            |_, i| subscription(&i.subscription_arn),
        )
        .op::<m::SetSubscriptionAttributes, _, _>(
            subscription_attributes::set,
            "sns:SetSubscriptionAttributes",
            |_, i| subscription(&i.subscription_arn),
        )
}

fn publish_lines(table: Table<Sns>) -> Table<Sns> {
    table
        .op::<m::Publish, _, _>(publishing::publish, "sns:Publish", |_, i| {
            let target = i.topic_arn.as_deref().or(i.target_arn.as_deref());
            target.map_or_else(Resource::any, Resource::arn)
        })
        .op::<m::PublishBatch, _, _>(publishing::publish_batch, "sns:Publish", |_, i| {
            Resource::arn(i.topic_arn.as_str())
        })
}

fn platform_lines(table: Table<Sns>) -> Table<Sns> {
    table
        .op::<m::CreatePlatformApplication, _, _>(applications::create, "sns:CreatePlatformApplication", |cx, i| {
            named(cx, &format!("app/{}/{}", i.platform, i.name))
        })
        .op::<m::DeletePlatformApplication, _, _>(applications::delete, "sns:DeletePlatformApplication", |_, i| {
            Resource::arn(i.platform_application_arn.as_str())
        })
        .op::<m::ListPlatformApplications, _, _>(applications::list, "sns:ListPlatformApplications", |_, _| {
            Resource::any()
        })
        .op::<m::GetPlatformApplicationAttributes, _, _>(
            applications::get,
            "sns:GetPlatformApplicationAttributes",
            |_, i| Resource::arn(i.platform_application_arn.as_str()),
        )
        .op::<m::SetPlatformApplicationAttributes, _, _>(
            applications::set,
            "sns:SetPlatformApplicationAttributes",
            |_, i| Resource::arn(i.platform_application_arn.as_str()),
        )
        .op::<m::CreatePlatformEndpoint, _, _>(endpoints::create, "sns:CreatePlatformEndpoint", |_, i| {
            Resource::arn(i.platform_application_arn.as_str())
        })
        .op::<m::DeleteEndpoint, _, _>(endpoints::delete, "sns:DeleteEndpoint", |_, i| {
            Resource::arn(i.endpoint_arn.as_str())
        })
        .op::<m::ListEndpointsByPlatformApplication, _, _>(
            endpoints::list,
            "sns:ListEndpointsByPlatformApplication",
            |_, i| Resource::arn(i.platform_application_arn.as_str()),
        )
        .op::<m::GetEndpointAttributes, _, _>(endpoints::get, "sns:GetEndpointAttributes", |_, i| {
            Resource::arn(i.endpoint_arn.as_str())
        })
        .op::<m::SetEndpointAttributes, _, _>(endpoints::set, "sns:SetEndpointAttributes", |_, i| {
            Resource::arn(i.endpoint_arn.as_str())
        })
}

fn sms_lines(table: Table<Sns>) -> Table<Sns> {
    table
        .op::<m::GetSMSAttributes, _, _>(sms::get, "sns:GetSMSAttributes", |_, _| Resource::any())
        .op::<m::SetSMSAttributes, _, _>(sms::set, "sns:SetSMSAttributes", |_, _| Resource::any())
        .op::<m::CheckIfPhoneNumberIsOptedOut, _, _>(
            sms::check_opted_out,
            "sns:CheckIfPhoneNumberIsOptedOut",
            |_, _| Resource::any(),
        )
        .op::<m::ListPhoneNumbersOptedOut, _, _>(sms::list_opted_out, "sns:ListPhoneNumbersOptedOut", |_, _| {
            Resource::any()
        })
        .op::<m::OptInPhoneNumber, _, _>(sms::opt_in, "sns:OptInPhoneNumber", |_, _| Resource::any())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_an_endpoint_reaches_no_policy_and_no_record() {
        for (endpoint, shown) in [
            ("https://user:s3cret@host/p?q=a@b", "https://host/p?q=a@b"),
            ("http://us@er:p@ss@host", "http://host"),
            ("https://host/a@b", "https://host/a@b"),
            ("me@example.com", "me@example.com"),
            ("arn:aws:sqs:us-east-1:1:q", "arn:aws:sqs:us-east-1:1:q"),
        ] {
            assert_eq!(without_password(endpoint), shown);
        }
    }
}
