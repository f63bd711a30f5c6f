//! The table: one line for each operation → handler, IAM action, resource of the input.
//!
//! Batches have the actions of their single operations, as on AWS.

use std::collections::BTreeMap;

use model::sqs as m;
use wire::service::Table;
use wire::{ConditionKeys, Cx, Permission, Resource, Service};

use crate::Sqs;
use crate::name::QueueName;
use crate::ops::{attributes, batches, messages, permissions, queues, tags, tasks};

/// The service over `sqs`, for the gateway.
pub fn service(sqs: Sqs) -> Service {
    let table = Service::table(&m::SERVICE, sqs);
    owner_lines(task_lines(message_lines(queue_lines(table)))).facts(Sqs::facts).open_to_grants().build()
}

/// What a queue's policy opens to nobody: "cross-account permissions don't apply to this action" (API reference).
fn owner_lines(table: Table<Sqs>) -> Table<Sqs> {
    table
        .owners_only::<m::CreateQueue>()
        .owners_only::<m::ListQueues>()
        .owners_only::<m::DeleteQueue>()
        .owners_only::<m::SetQueueAttributes>()
        .owners_only::<m::AddPermission>()
        .owners_only::<m::RemovePermission>()
        .owners_only::<m::TagQueue>()
        .owners_only::<m::UntagQueue>()
        .owners_only::<m::ListQueueTags>()
        .owners_only::<m::StartMessageMoveTask>()
        .owners_only::<m::ListMessageMoveTasks>()
        .owners_only::<m::CancelMessageMoveTask>()
}

/// The queue at a URL. A URL that leads to none is left to the handler: `*` keeps strangers out.
fn at(cx: &Cx, url: &str) -> Resource {
    QueueName::parse_url(cx, url).map_or_else(Resource::any, |queue| Resource::arn(queue.arn()))
}

/// The queue of an ARN in the one spelling that policies are written in. What is none is left to the handler.
fn of_arn(arn: &str) -> Resource {
    QueueName::of_arn(arn).map_or_else(Resource::any, |queue| Resource::arn(queue.arn()))
}

/// What work with move tasks takes beside its own action: a task receives and deletes (DG
/// sqs-configure-dead-letter-queue-redrive, "Configuring queue permissions").
fn of_task(source: &Resource) -> Vec<Permission> {
    let actions = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"];
    actions.map(|action| Permission::new(action, source.clone())).into()
}

/// What starting a task takes: also sending, to the destination. Without one, messages return to the queues that they
/// came from, whichever these are: so it takes the right to send to every queue of the source's account and region.
fn of_start(input: &m::StartMessageMoveTaskInput) -> Vec<Permission> {
    let to = match &input.destination_arn {
        Some(destination) => of_arn(destination),
        None => QueueName::of_arn(&input.source_arn)
            .map_or_else(Resource::any, |source| Resource::arn(QueueName { name: "*".to_owned(), ..source }.arn())),
    };
    let mut all = of_task(&of_arn(&input.source_arn));
    all.push(Permission::new("sqs:SendMessage", to));
    all
}

fn of_handle(handle: &str) -> Resource {
    crate::move_tasks::source_of(handle).map_or_else(Resource::any, |source| Resource::arn(source.arn()))
}

fn named(cx: &Cx, name: &str, account: Option<&str>) -> Resource {
    let mut queue = QueueName::own(cx, name);
    if let Some(account) = account {
        account.clone_into(&mut queue.account);
    }
    Resource::arn(queue.arn())
}

fn request_tags(tags: Option<&BTreeMap<String, String>>) -> ConditionKeys {
    let tags = tags.into_iter().flatten();
    ConditionKeys::new().with_request_tags(tags.map(|(key, value)| (key.as_str(), value.as_str())))
}

/// Making a queue with tags takes the right to tag it (API CreateQueue, `Tags`).
fn of_tags(cx: &Cx, input: &m::CreateQueueInput) -> Vec<Permission> {
    let tags: Vec<(&str, &str)> = input.tags.iter().flatten().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    if tags.is_empty() {
        return Vec::new();
    }
    let mut permission = Permission::new("sqs:TagQueue", named(cx, &input.queue_name, None));
    permission.keys = ConditionKeys::new().with_request_tags(tags);
    vec![permission]
}

fn queue_lines(table: Table<Sqs>) -> Table<Sqs> {
    table
        .op::<m::CreateQueue, _, _>(queues::create, "sqs:CreateQueue", |cx, i| named(cx, &i.queue_name, None))
        .keys::<m::CreateQueue>(|_, i| request_tags(i.tags.as_ref()))
        .also::<m::CreateQueue>(of_tags)
        .op::<m::GetQueueUrl, _, _>(queues::url, "sqs:GetQueueUrl", |cx, i| {
            named(cx, &i.queue_name, i.queue_owner_aws_account_id.as_deref())
        })
        .op::<m::ListQueues, _, _>(queues::list, "sqs:ListQueues", |cx, _| named(cx, "*", None))
        .op::<m::ListDeadLetterSourceQueues, _, _>(queues::list_sources, "sqs:ListDeadLetterSourceQueues", |cx, i| {
            at(cx, &i.queue_url)
        })
        .op::<m::DeleteQueue, _, _>(queues::delete, "sqs:DeleteQueue", |cx, i| at(cx, &i.queue_url))
        .op::<m::PurgeQueue, _, _>(queues::purge, "sqs:PurgeQueue", |cx, i| at(cx, &i.queue_url))
        .op::<m::GetQueueAttributes, _, _>(attributes::get, "sqs:GetQueueAttributes", |cx, i| at(cx, &i.queue_url))
        .op::<m::SetQueueAttributes, _, _>(attributes::set, "sqs:SetQueueAttributes", |cx, i| at(cx, &i.queue_url))
        .op::<m::AddPermission, _, _>(permissions::add, "sqs:AddPermission", |cx, i| at(cx, &i.queue_url))
        .op::<m::RemovePermission, _, _>(permissions::remove, "sqs:RemovePermission", |cx, i| at(cx, &i.queue_url))
        .op::<m::TagQueue, _, _>(tags::tag, "sqs:TagQueue", |cx, i| at(cx, &i.queue_url))
        .keys::<m::TagQueue>(|_, i| request_tags(Some(&i.tags)))
        .op::<m::UntagQueue, _, _>(tags::untag, "sqs:UntagQueue", |cx, i| at(cx, &i.queue_url))
        .keys::<m::UntagQueue>(|_, i| ConditionKeys::new().with_all("aws:TagKeys", i.tag_keys.clone()))
        .op::<m::ListQueueTags, _, _>(tags::list, "sqs:ListQueueTags", |cx, i| at(cx, &i.queue_url))
}

fn message_lines(table: Table<Sqs>) -> Table<Sqs> {
    table
        .op::<m::SendMessage, _, _>(messages::send, "sqs:SendMessage", |cx, i| at(cx, &i.queue_url))
        .op::<m::SendMessageBatch, _, _>(batches::send, "sqs:SendMessage", |cx, i| at(cx, &i.queue_url))
        .op::<m::ReceiveMessage, _, _>(messages::receive, "sqs:ReceiveMessage", |cx, i| at(cx, &i.queue_url))
        .op::<m::DeleteMessage, _, _>(messages::delete, "sqs:DeleteMessage", |cx, i| at(cx, &i.queue_url))
        .op::<m::DeleteMessageBatch, _, _>(batches::delete, "sqs:DeleteMessage", |cx, i| at(cx, &i.queue_url))
        .op::<m::ChangeMessageVisibility, _, _>(messages::change_visibility, "sqs:ChangeMessageVisibility", |cx, i| {
            at(cx, &i.queue_url)
        })
        .op::<m::ChangeMessageVisibilityBatch, _, _>(
            batches::change_visibility,
            "sqs:ChangeMessageVisibility",
            |cx, i| at(cx, &i.queue_url),
        )
}

fn task_lines(table: Table<Sqs>) -> Table<Sqs> {
    table
        .op::<m::StartMessageMoveTask, _, _>(tasks::start, "sqs:StartMessageMoveTask", |_, i| of_arn(&i.source_arn))
        .also::<m::StartMessageMoveTask>(|_, i| of_start(i))
        .op::<m::ListMessageMoveTasks, _, _>(tasks::list, "sqs:ListMessageMoveTasks", |_, i| of_arn(&i.source_arn))
        .also::<m::ListMessageMoveTasks>(|_, i| of_task(&of_arn(&i.source_arn)))
        .op::<m::CancelMessageMoveTask, _, _>(tasks::cancel, "sqs:CancelMessageMoveTask", |_, i| {
            of_handle(&i.task_handle)
        })
        .also::<m::CancelMessageMoveTask>(|_, i| of_task(&of_handle(&i.task_handle)))
}
