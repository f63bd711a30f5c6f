//! Random topics, subscriptions and messages beside a plain model: which queue gets what.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::{Fixture, borrowed, fixture, queue_arn, took_all, topic_arn};

#[derive(Clone, Debug)]
enum Step {
    Create(u8),
    Delete(u8),
    /// Topic, queue, the value of `a` that it wants.
    Subscribe(u8, u8, Option<u8>),
    Unsubscribe(u8, u8),
    Filter(u8, u8, Option<u8>),
    /// Topic, the value of `a`.
    Publish(u8, u8),
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    let (topic, queue, value) = (0_u8..3, 0_u8..4, 0_u8..3);
    let filter = proptest::option::of(value.clone());
    prop_oneof![
        2 => topic.clone().prop_map(Step::Create),
        1 => topic.clone().prop_map(Step::Delete),
        4 => (topic.clone(), queue.clone(), filter.clone()).prop_map(|(topic, queue, f)| Step::Subscribe(topic, queue, f)),
        1 => (topic.clone(), queue.clone()).prop_map(|(topic, queue)| Step::Unsubscribe(topic, queue)),
        1 => (topic.clone(), queue, filter).prop_map(|(topic, queue, f)| Step::Filter(topic, queue, f)),
        6 => (topic, value).prop_map(|(topic, value)| Step::Publish(topic, value)),
        2 => Just(Step::Wait),
    ]
}

/// By topic: what each subscribed queue wants. And what every queue got.
#[derive(Default)]
struct Model {
    topics: BTreeMap<u8, BTreeMap<u8, Option<u8>>>,
    got: Vec<(u8, String)>,
}

impl Model {
    /// The status that AWS would answer.
    fn apply(&mut self, step: &Step, place: usize) -> u16 {
        match *step {
            Step::Create(topic) => {
                self.topics.entry(topic).or_default();
                200
            }
            Step::Delete(topic) => {
                self.topics.remove(&topic);
                200
            }
            Step::Subscribe(topic, queue, wanted) => match self.topics.get_mut(&topic) {
                None => 404,
                Some(queues) => match queues.get(&queue) {
                    // Subscribing without a policy asks for nothing else.
                    Some(had) if wanted.is_some() && *had != wanted => 400,
                    Some(_) => 200,
                    None => {
                        queues.insert(queue, wanted);
                        200
                    }
                },
            },
            Step::Unsubscribe(topic, queue) => {
                self.topics.entry(topic).and_modify(|queues| {
                    queues.remove(&queue);
                });
                200
            }
            Step::Filter(topic, queue, wanted) => {
                match self.topics.get_mut(&topic).and_then(|queues| queues.get_mut(&queue)) {
                    None => 404,
                    Some(had) => {
                        *had = wanted;
                        200
                    }
                }
            }
            Step::Publish(topic, value) => match self.topics.get(&topic) {
                None => 404,
                Some(queues) => {
                    let wants = |(_, wanted): &(&u8, &Option<u8>)| wanted.is_none_or(|wanted| wanted == value);
                    let text = format!("{place}");
                    self.got.extend(queues.iter().filter(wants).map(|(queue, _)| (*queue, text.clone())));
                    200
                }
            },
            Step::Wait => 200,
        }
    }
}

fn policy(wanted: Option<u8>) -> String {
    wanted.map_or_else(|| "{}".to_owned(), |value| format!("{{\"a\":[\"v{value}\"]}}"))
}

/// ARNs of the subscriptions that were made, by topic and queue.
type Arns = BTreeMap<(u8, u8), String>;

async fn run(at: &Fixture, arns: &mut Arns, step: &Step, place: usize) -> u16 {
    let name = |topic: u8| format!("t{topic}");
    let arn = |topic: u8| topic_arn(&name(topic));
    let of = |topic: u8, queue: u8| {
        let unknown = || format!("{}:00000000-0000-0000-0000-000000000000", arn(topic));
        arns.get(&(topic, queue)).cloned().unwrap_or_else(unknown)
    };
    let (operation, input): (&str, Vec<(&str, String)>) = match *step {
        Step::Create(topic) => ("CreateTopic", vec![("Name", name(topic))]),
        Step::Delete(topic) => ("DeleteTopic", vec![("TopicArn", arn(topic))]),
        Step::Subscribe(topic, queue, wanted) => {
            let mut input = vec![
                ("TopicArn", arn(topic)),
                ("Protocol", "sqs".into()),
                ("Endpoint", queue_arn(&format!("q{queue}"))),
            ];
            input.push(("Attributes.entry.1.key", "RawMessageDelivery".into()));
            input.push(("Attributes.entry.1.value", "true".into()));
            if wanted.is_some() {
                input.push(("Attributes.entry.2.key", "FilterPolicy".into()));
                input.push(("Attributes.entry.2.value", policy(wanted)));
            }
            ("Subscribe", input)
        }
        Step::Unsubscribe(topic, queue) => ("Unsubscribe", vec![("SubscriptionArn", of(topic, queue))]),
        Step::Filter(topic, queue, wanted) => {
            let value = ("AttributeValue", policy(wanted));
            (
                "SetSubscriptionAttributes",
                vec![("SubscriptionArn", of(topic, queue)), ("AttributeName", "FilterPolicy".into()), value],
            )
        }
        Step::Publish(topic, value) => {
            let mut input = vec![("TopicArn", arn(topic)), ("Message", place.to_string())];
            let attribute =
                [("Name", "a".into()), ("Value.DataType", "String".into()), ("Value.StringValue", format!("v{value}"))];
            let members = [
                "MessageAttributes.entry.1.Name",
                "MessageAttributes.entry.1.Value.DataType",
                "MessageAttributes.entry.1.Value.StringValue",
            ];
            input.extend(members.into_iter().zip(attribute).map(|(member, (_, value))| (member, value)));
            ("Publish", input)
        }
        Step::Wait => return 200,
    };
    let owned: Vec<(String, String)> = input.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let (status, body) = at.call_as(crate::cx_of(crate::ACCOUNT), operation, &borrowed(&owned)).await;
    if let (Step::Subscribe(topic, queue, _), 200) = (step, status) {
        arns.insert((*topic, *queue), crate::text(&body, "SubscriptionArn"));
    }
    status
}

async fn compare(steps: Vec<Step>) {
    let at = fixture();
    let (mut model, mut arns) = (Model::default(), Arns::new());
    let deliveries = at.deliver(took_all);
    for (place, step) in steps.iter().enumerate() {
        // What is published is expanded behind it: a change of subscriptions waits until that is done.
        if !matches!(step, Step::Publish(..)) {
            deliveries.first(model.got.len()).await;
        }
        let wanted = model.apply(step, place);
        assert_eq!(run(&at, &mut arns, step, place).await, wanted, "step {place}: {step:?} of {steps:?}");
    }
    let mut got: Vec<(u8, String)> = deliveries
        .first(model.got.len())
        .await
        .iter()
        .map(|sent| {
            let to = sent.queue();
            (to.queue_arn.as_bytes()[to.queue_arn.len() - 1] - b'0', to.body.clone())
        })
        .collect();
    got.sort();
    model.got.sort();
    assert_eq!(got, model.got, "{steps:?}");
    let mut count = 0;
    for topic in model.topics.keys() {
        let body = at.ok("ListSubscriptionsByTopic", &[("TopicArn", &topic_arn(&format!("t{topic}")))]).await;
        count += crate::texts(&body, "Endpoint").len();
    }
    assert_eq!(count, model.topics.values().map(BTreeMap::len).sum::<usize>());
    assert_eq!(crate::texts(&at.ok("ListSubscriptions", &[]).await, "Endpoint").len(), count);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn random_histories_deliver_as_the_plain_model(steps in proptest::collection::vec(step(), 1..50)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(compare(steps));
    }
}
