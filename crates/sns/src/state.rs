//! The service's state and what every operation looks up.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kv::{KeyRange, Kv, RangeOptions, Txn};
use serde_json::json;
use sys::{Clock, Rng};
use wire::{AccountId, CheckPolicy, ResourceFacts};

use crate::arn::SubscriptionName;
use crate::keys::{self, Key, Subscription, Topic};
use crate::limits::PAGE_ITEMS;
use crate::ops::subscriptions::has_filter;
use crate::sign::Signer;
use crate::{SnsError, TopicName, tokens};

/// Topics, subscriptions and applications of all accounts. Cloning is cheap.
#[derive(Clone)]
pub struct Sns(pub(crate) Arc<SnsParts>, pub(crate) Signer);

/// What the service is made of.
pub struct SnsParts {
    /// Where everything is stored.
    pub kv: Kv,
    /// Time.
    pub clock: Clock,
    /// Ids, tokens, jitter and the signing key.
    pub rng: Rng,
    /// Whether a text is a resource-based policy.
    pub check_policy: CheckPolicy,
}

/// One page of a list.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<String>,
}

impl Sns {
    /// The service over its parts.
    pub fn new(parts: SnsParts) -> Self {
        let signer = Signer::new(parts.kv.clone(), parts.clock.clone(), parts.rng.clone());
        Self(Arc::new(parts), signer)
    }

    /// What signs its messages.
    pub fn signer(&self) -> &Signer {
        &self.1
    }

    /// Now, in µs.
    pub(crate) fn now_us(&self) -> i64 {
        self.0.clock.now().unix_us()
    }

    /// What is known of the topic or subscription `arn`: whose it is, its policy and tags.
    pub(crate) async fn facts(self, arn: String) -> Result<ResourceFacts, SnsError> {
        if let Some(name) = &SubscriptionName::of_arn(&arn) {
            let found = self.0.kv.read(|tx| async move { subscription(&tx, name).await }).await?;
            return Ok(found.map(|(_, found)| subscription_facts(name, &found)).unwrap_or_default());
        }
        let Some(name) = TopicName::of_arn(&arn) else { return Ok(ResourceFacts::default()) };
        let key = Key::Topic(name.clone());
        let found = self.0.kv.read(|tx| async move { keys::get::<Topic>(&tx, &key).await }).await?;
        let Some(topic) = found else { return Ok(ResourceFacts::default()) };
        let policy = topic.attributes.get("Policy").cloned().unwrap_or_else(|| default_policy(&name));
        Ok(ResourceFacts {
            owner: None,
            policy: Some(policy.into()),
            tags: topic.tags.into_iter().collect(),
            absence: None,
        })
    }

    /// Reads one topic.
    pub(crate) async fn topic(&self, name: &TopicName) -> Result<Topic, SnsError> {
        self.0.kv.read(|tx| async move { topic(&tx, name).await }).await
    }

    /// Changes one topic.
    pub(crate) async fn edit<T, F>(&self, name: &TopicName, edit: F) -> Result<T, SnsError>
    where
        F: Fn(&mut Topic) -> Result<T, SnsError>,
    {
        let edit = &edit;
        self.0
            .kv
            .transact(|tx| async move {
                let mut found = topic(&tx, name).await?;
                let value = edit(&mut found)?;
                keys::put(&tx, &Key::Topic(name.clone()), &found)?;
                Ok(value)
            })
            .await
    }

    /// The page of a range behind `token`, its items made of keys and values.
    pub(crate) async fn page<T, F>(&self, range: KeyRange, token: Option<&str>, make: F) -> Result<Page<T>, SnsError>
    where
        F: Fn(Key, &[u8]) -> Result<T, SnsError>,
    {
        let invalid = || SnsError::invalid("NextToken Reason: Invalid value");
        let begin = match token {
            None => range.begin,
            Some(token) => {
                let key = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
                if key.len() > kv::limits::KEY_BYTES_MAX || !(range.begin[..] <= key[..] && key[..] < range.end[..]) {
                    return Err(invalid());
                }
                key.into()
            }
        };
        let end = range.end;
        let options = RangeOptions { limit: PAGE_ITEMS + 1, ..RangeOptions::default() };
        let pairs = self.0.kv.read(|tx| async move { tx.range(&begin, &end, options).await }).await?;
        let next = pairs.get(PAGE_ITEMS).map(|(key, _)| URL_SAFE_NO_PAD.encode(key));
        let items = pairs.iter().take(PAGE_ITEMS).map(|(key, value)| make(Key::unpack(key)?, value));
        Ok(Page { items: items.collect::<Result<_, SnsError>>()?, next })
    }
}

/// The topic `name`.
///
/// # Errors
/// `NotFound`.
pub(crate) async fn topic(tx: &Txn, name: &TopicName) -> Result<Topic, SnsError> {
    keys::get(tx, &Key::Topic(name.clone())).await?.ok_or(SnsError::NotFound("Topic"))
}

/// The subscription `name` with its number; `None` when there is none.
pub(crate) async fn subscription(tx: &Txn, name: &SubscriptionName) -> Result<Option<(u64, Subscription)>, SnsError> {
    let Some(number) = name.number() else { return Ok(None) };
    let found = keys::get::<Subscription>(tx, &Key::Subscription(name.topic.clone(), number)).await?;
    Ok(found.filter(|found| found.id == name.id).map(|found| (number, found)))
}

/// Takes away everything of a subscription but the topic's counts.
pub(crate) async fn clear_subscription(
    tx: &Txn,
    topic: &TopicName,
    number: u64,
    gone: &Subscription,
) -> Result<(), SnsError> {
    tx.clear(Key::Subscription(topic.clone(), number).pack());
    tx.clear(Key::Owned(gone.owner.clone(), topic.region.clone(), topic.clone(), number).pack());
    tx.clear(Key::Endpoint(topic.clone(), gone.protocol.clone(), gone.endpoint.clone()).pack());
    match &gone.token {
        Some(token) => tokens::forget(tx, token).await,
        None => Ok(()),
    }
}

/// The topic's counts without a subscription.
pub(crate) fn count_out(of: &mut Topic, gone: &Subscription) {
    match gone.pending {
        true => of.pending = of.pending.saturating_sub(1),
        false => of.confirmed = of.confirmed.saturating_sub(1),
    }
    of.deleted += 1;
    of.filters = of.filters.saturating_sub(u64::from(has_filter(&gone.attributes)));
}

/// A subscription is its subscriber's; the topic's owner may end it (API reference, Unsubscribe).
fn subscription_facts(name: &SubscriptionName, found: &Subscription) -> ResourceFacts {
    let (topic_owner, arn) = (&name.topic.account, name.arn());
    let policy = (found.owner != *topic_owner).then(|| {
        json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Sid": "TopicOwner",
                "Effect": "Allow",
                "Principal": {"AWS": format!("arn:aws:iam::{topic_owner}:root")},
                "Action": "sns:Unsubscribe",
                "Resource": arn,
            }],
        })
    });
    ResourceFacts {
        owner: AccountId::parse(&found.owner),
        policy: policy.map(|policy| policy.to_string().into()),
        tags: Vec::new(),
        absence: None,
    }
}

/// The policy that a topic has from the start: its owner's account (API reference, CreateTopic).
pub(crate) fn default_policy(name: &TopicName) -> String {
    let actions = [
        "GetTopicAttributes",
        "SetTopicAttributes",
        "AddPermission",
        "RemovePermission",
        "DeleteTopic",
        "Subscribe",
        "ListSubscriptionsByTopic",
        "Publish",
    ];
    let actions = actions.map(|action| format!("\"SNS:{action}\"")).join(",");
    let (arn, account) = (name.arn(), &name.account);
    format!(
        "{{\"Version\":\"2008-10-17\",\"Id\":\"__default_policy_ID\",\"Statement\":[{{\"Sid\":\"__default_statement_ID\",\
         \"Effect\":\"Allow\",\"Principal\":{{\"AWS\":\"*\"}},\"Action\":[{actions}],\"Resource\":\"{arn}\",\
         \"Condition\":{{\"StringEquals\":{{\"AWS:SourceOwner\":\"{account}\"}}}}}}]}}"
    )
}

/// A map as answers carry it.
pub(crate) fn map<const N: usize>(entries: [(&str, String); N]) -> BTreeMap<String, String> {
    entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
