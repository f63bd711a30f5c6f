//! Subscriptions: made, confirmed, ended, listed.

use std::collections::BTreeMap;

use kv::Txn;
use model::sns as m;
use wire::{AccountId, Arn, Cx, Principal};

use crate::arn::{self, SubscriptionName};
use crate::delivery::{self, Notice};
use crate::keys::{self, Key, Subscription, Token, Topic};
use crate::limits::{ENDPOINT_BYTES_MAX, FIFO_SUBSCRIPTIONS_MAX, TOKEN_BYTES, TOKEN_US, TOPIC_FILTERS_MAX};
use crate::message::is_phone_number;
use crate::ops::{endpoints, subscription_attributes};
use crate::state::{clear_subscription, count_out, subscription, topic};
use crate::{Sns, SnsError, TopicName, filter, tokens};

const PREFIX: &str = "Attributes Reason: ";

pub(crate) async fn subscribe(sns: Sns, cx: Cx, input: m::SubscribeInput) -> Result<m::SubscribeOutput, SnsError> {
    let name = TopicName::of(&cx, "TopicArn", &input.topic_arn)?;
    let protocol = input.protocol.as_str();
    let Some(endpoint) = input.endpoint.filter(|endpoint| !endpoint.is_empty()) else {
        return Err(SnsError::invalid("Endpoint Reason: no value for required parameter"));
    };
    // A topic that is not there comes before an endpoint that is wrong (recorded from AWS by moto's tests).
    sns.topic(&name).await?;
    check_endpoint(&name, protocol, &endpoint)?;
    if protocol == "application" {
        endpoints::check_exists(&sns, &endpoint).await?;
    }
    let mut attributes = input.attributes.unwrap_or_default();
    subscription_attributes::check_all(&name, protocol, &endpoint, &mut attributes, PREFIX)?;
    let given = Subscription {
        id: String::new(),
        protocol: protocol.to_owned(),
        pending: !is_ones_own(&cx, protocol, &endpoint),
        endpoint,
        owner: cx.account.as_str().to_owned(),
        principal: cx.principal.arn(),
        host: cx.host.clone(),
        authenticated: true,
        keep: false,
        token: None,
        attributes,
    };
    let (random, token) = (sys::id::hex::<10>(&sns.0.rng), sys::id::hex::<TOKEN_BYTES>(&sns.0.rng));
    let made = New { name: &name, given: &given, random: &random, token: &token };
    let (arn, is_pending) = sns.0.kv.transact(|tx| sns.add(tx, made)).await?;
    let shown = match is_pending && input.return_subscription_arn != Some(true) {
        true => "pending confirmation".to_owned(),
        false => arn,
    };
    Ok(m::SubscribeOutput { subscription_arn: Some(shown) })
}

#[derive(Clone, Copy)]
struct New<'a> {
    name: &'a TopicName,
    given: &'a Subscription,
    random: &'a str,
    token: &'a str,
}

impl Sns {
    /// Stores a subscription, or finds the one that the endpoint already has.
    async fn add(&self, tx: Txn, new: New<'_>) -> Result<(String, bool), SnsError> {
        let New { name, given, random, token } = new;
        let mut of = topic(&tx, name).await?;
        let index = Key::Endpoint(name.clone(), given.protocol.clone(), given.endpoint.clone());
        if let Some(number) = keys::get::<u64>(&tx, &index).await? {
            let key = Key::Subscription(name.clone(), number);
            let found = keys::get::<Subscription>(&tx, &key).await?;
            let mut found = found.ok_or_else(|| SnsError::InternalError("an index leads nowhere".to_owned()))?;
            if given.attributes.iter().any(|(name, value)| found.attributes.get(name) != Some(value)) {
                return Err(SnsError::invalid(format!(
                    "{PREFIX}Subscription already exists with different attributes"
                )));
            }
            let arn = arn_of(name, &found.id);
            if found.pending {
                // Asked again, told again: with a new token, for the old one may have ended.
                if let Some(old) = found.token.replace(token.to_owned()) {
                    tokens::forget(&tx, &old).await?;
                }
                keys::set(&tx, &key, &found);
                self.ask_to_confirm(&tx, name, number, &found, &of, token).await?;
            }
            return Ok((arn, found.pending));
        }
        check_quotas(name, &of, given)?;
        // What a link had ended stays ended, whatever becomes of the new one.
        tokens::withdraw(&tx, name, &given.protocol, &given.endpoint).await?;
        let number = of.next;
        let subscription_name = SubscriptionName::new(name, number, random);
        let mut subscription = Subscription { id: subscription_name.id.clone(), ..given.clone() };
        if given.pending {
            subscription.token = Some(token.to_owned());
            subscription.authenticated = false;
            of.pending += 1;
        } else {
            of.confirmed += 1;
        }
        of.next += 1;
        of.filters += u64::from(has_filter(&subscription.attributes));
        keys::set(&tx, &Key::Topic(name.clone()), &of);
        keys::put(&tx, &Key::Subscription(name.clone(), number), &subscription)?;
        keys::set(&tx, &index, &number);
        keys::set(&tx, &Key::Owned(given.owner.clone(), name.region.clone(), name.clone(), number), &());
        if given.pending {
            self.ask_to_confirm(&tx, name, number, &subscription, &of, token).await?;
        }
        Ok((subscription_name.arn(), given.pending))
    }

    /// Stores the token and sends it to the endpoint, for protocols that can carry it.
    async fn ask_to_confirm(
        &self,
        tx: &Txn,
        name: &TopicName,
        number: u64,
        to: &Subscription,
        of: &Topic,
        token: &str,
    ) -> Result<(), SnsError> {
        let known = self.token(name, number, of, None);
        tokens::keep(tx, token, &known, self.now_us()).await?;
        delivery::push_notice(self, tx, name, to, of, &Notice::Confirm { token: token.to_owned() });
        Ok(())
    }

    /// A link in a message ended the subscription: whoever owns the endpoint can have it back.
    async fn offer_back(
        &self,
        tx: &Txn,
        name: &TopicName,
        number: u64,
        gone: &Subscription,
        of: &Topic,
        token: &str,
    ) -> Result<(), SnsError> {
        let known = self.token(name, number, of, Some(gone.clone()));
        tokens::keep(tx, token, &known, self.now_us()).await?;
        delivery::push_notice(self, tx, name, gone, of, &Notice::Ended { token: token.to_owned() });
        Ok(())
    }

    fn token(&self, topic: &TopicName, number: u64, of: &Topic, ended: Option<Subscription>) -> Token {
        Token { topic: topic.clone(), born: of.born.clone(), number, end_us: self.now_us() + TOKEN_US, ended }
    }
}

fn arn_of(topic: &TopicName, id: &str) -> String {
    SubscriptionName { topic: topic.clone(), id: id.to_owned() }.arn()
}

pub(crate) fn has_filter(attributes: &BTreeMap<String, String>) -> bool {
    attributes.get("FilterPolicy").is_some_and(|policy| !filter::is_none(policy))
}

fn check_quotas(name: &TopicName, of: &Topic, given: &Subscription) -> Result<(), SnsError> {
    if name.is_fifo() && of.confirmed + of.pending >= FIFO_SUBSCRIPTIONS_MAX {
        let message = format!("A FIFO topic can have at most {FIFO_SUBSCRIPTIONS_MAX} subscriptions");
        return Err(SnsError::SubscriptionLimitExceeded(message));
    }
    if has_filter(&given.attributes) {
        check_filters(of)?;
    }
    Ok(())
}

/// # Errors
/// `FilterPolicyLimitExceeded` when the topic has no room for one more filter policy.
pub(crate) fn check_filters(of: &Topic) -> Result<(), SnsError> {
    if of.filters < TOPIC_FILTERS_MAX {
        return Ok(());
    }
    let message = format!("A topic can have at most {TOPIC_FILTERS_MAX} filter policies");
    Err(SnsError::FilterPolicyLimitExceeded(message))
}

fn check_endpoint(topic: &TopicName, protocol: &str, endpoint: &str) -> Result<(), SnsError> {
    if endpoint.len() > ENDPOINT_BYTES_MAX {
        return Err(SnsError::invalid("Endpoint Reason: is too long"));
    }
    let arn_of = |service: &str| {
        Arn::parse(endpoint).is_some_and(|arn| arn.service == service && AccountId::parse(&arn.account).is_some())
    };
    let mismatch = || Err(SnsError::invalid("Endpoint must match the specified protocol"));
    match protocol {
        "http" | "https" if !endpoint.starts_with(&format!("{protocol}://")) => return mismatch(),
        "http" | "https" if endpoint.parse::<http_uri::Checked>().is_err() => {
            return Err(SnsError::invalid(format!("Endpoint Reason: {endpoint} is not a valid URL")));
        }
        "email" | "email-json" if !endpoint.contains('@') => {
            return Err(SnsError::invalid("Email address"));
        }
        "sms" if !is_phone_number(endpoint) => {
            return Err(SnsError::InvalidParameter(format!("Invalid SMS endpoint: {endpoint}")));
        }
        "sqs" if !arn_of("sqs") => return Err(SnsError::invalid("SQS endpoint ARN")),
        "lambda" if !arn_of("lambda") => return Err(SnsError::invalid("Lambda endpoint ARN")),
        "firehose" if !arn_of("firehose") => return Err(SnsError::invalid("Firehose endpoint ARN")),
        "application" if !arn_of("sns") => return Err(SnsError::invalid("ApplicationEndpoint ARN")),
        "http" | "https" | "email" | "email-json" | "sms" | "sqs" | "lambda" | "firehose" | "application" => {}
        other => {
            let message = format!("Amazon SNS does not support this protocol string: {other}");
            return Err(SnsError::invalid(message));
        }
    }
    if protocol == "sqs" && endpoint.ends_with(".fifo") && !topic.is_fifo() {
        return Err(SnsError::invalid(
            "Invalid parameter: Endpoint Reason: FIFO SQS Queues can not be subscribed to standard SNS topics",
        ));
    }
    if topic.is_fifo() && protocol != "sqs" {
        return Err(SnsError::invalid(format!(
            "Invalid parameter: Endpoint Reason: Please use a FIFO SQS queue; {protocol} can not be subscribed to FIFO topics"
        )));
    }
    Ok(())
}

/// A host and, perhaps, a port: all that a delivery needs of a URL.
mod http_uri {
    pub(super) struct Checked;

    impl std::str::FromStr for Checked {
        type Err = ();

        fn from_str(url: &str) -> Result<Self, ()> {
            let rest = url.split_once("://").ok_or(())?.1;
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let host = authority.rsplit('@').next().unwrap_or_default();
            let is_text = !url.chars().any(|c| c.is_whitespace() || c.is_control());
            if host.is_empty() || host.starts_with(':') || !is_text { Err(()) } else { Ok(Self) }
        }
    }
}

/// Whether the caller speaks for the endpoint: queues and functions of their own account, and what nobody has to confirm.
fn is_ones_own(cx: &Cx, protocol: &str, endpoint: &str) -> bool {
    match protocol {
        "http" | "https" | "email" | "email-json" => false,
        "sqs" | "lambda" => Arn::parse(endpoint).is_some_and(|arn| arn.account == cx.account.as_str()),
        _ => true,
    }
}

pub(crate) async fn confirm(
    sns: Sns,
    cx: Cx,
    input: m::ConfirmSubscriptionInput,
) -> Result<m::ConfirmSubscriptionOutput, SnsError> {
    let _ = arn::parse("Topic", &input.topic_arn).map_err(|_| SnsError::invalid("Topic"))?;
    let token = input.token;
    if token.len() != 2 * TOKEN_BYTES || !token.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(SnsError::InvalidParameter("Invalid token".to_owned()));
    }
    let keep = match input.authenticate_on_unsubscribe.as_deref() {
        None => false,
        Some(text) if text.eq_ignore_ascii_case("true") => true,
        Some(text) if text.eq_ignore_ascii_case("false") => false,
        Some(_) => return Err(SnsError::invalid("AuthenticateOnUnsubscribe")),
    };
    let is_signed = !matches!(cx.principal, Principal::Anonymous);
    let (now_us, wanted, token) = (sns.now_us(), &input.topic_arn, &token);
    let arn = sns.0.kv.transact(|tx| async move {
        let invalid = || SnsError::invalid("Token");
        let (known, mut of) = tokens::find(&tx, token, wanted, now_us).await?.ok_or_else(invalid)?;
        let key = Key::Subscription(known.topic.clone(), known.number);
        let Some(mut found) = keys::get::<Subscription>(&tx, &key).await? else {
            let id = restore(&tx, &known, of, token).await?;
            return Ok(arn_of(&known.topic, &id));
        };
        if found.token.as_ref() != Some(token) {
            return Err(invalid());
        }
        // Twice is fine: links are followed twice.
        if found.pending {
            of.pending = of.pending.saturating_sub(1);
            of.confirmed += 1;
            keys::set(&tx, &Key::Topic(known.topic.clone()), &of);
            found.pending = false;
            found.authenticated = is_signed;
            found.keep = keep && is_signed;
            keys::set(&tx, &key, &found);
        }
        Ok::<_, SnsError>(arn_of(&known.topic, &found.id))
    });
    Ok(m::ConfirmSubscriptionOutput { subscription_arn: Some(arn.await?) })
}

/// Brings back a subscription that a link had ended, unless its endpoint has subscribed again, or there is no room for it
/// any more. The token is its own from now on: what ends it, ends the token. Returns its id.
async fn restore(tx: &Txn, known: &Token, mut of: Topic, token: &str) -> Result<String, SnsError> {
    let invalid = || SnsError::invalid("Token");
    let (name, number) = (&known.topic, known.number);
    let ended = known.ended.clone().ok_or_else(invalid)?;
    let index = Key::Endpoint(name.clone(), ended.protocol.clone(), ended.endpoint.clone());
    if tx.get(index.pack()).await?.is_some() {
        return Err(invalid());
    }
    check_quotas(name, &of, &ended)?;
    of.confirmed += 1;
    of.deleted = of.deleted.saturating_sub(1);
    of.filters += u64::from(has_filter(&ended.attributes));
    keys::set(tx, &Key::Topic(name.clone()), &of);
    keys::set(tx, &index, &number);
    keys::set(tx, &Key::Owned(ended.owner.clone(), name.region.clone(), name.clone(), number), &());
    let back = Subscription { token: Some(token.to_owned()), ..ended };
    keys::set(tx, &Key::Subscription(name.clone(), number), &back);
    tokens::used(tx, token, known);
    Ok(back.id)
}

pub(crate) async fn unsubscribe(
    sns: Sns,
    cx: Cx,
    input: m::UnsubscribeInput,
) -> Result<m::UnsubscribeOutput, SnsError> {
    if input.subscription_arn.is_empty() {
        return Err(SnsError::invalid("SubscriptionArn Reason: no value for required parameter"));
    }
    arn::parse("SubscriptionArn", &input.subscription_arn)?;
    let Some(name) = SubscriptionName::of_arn(&input.subscription_arn) else {
        return Err(SnsError::invalid("SubscriptionId"));
    };
    let is_signed = !matches!(cx.principal, Principal::Anonymous);
    let (sns, name, token) = (&sns, &name, &sys::id::hex::<TOKEN_BYTES>(&sns.0.rng));
    sns.0
        .kv
        .transact(|tx| async move {
            let Some((number, gone)) = subscription(&tx, name).await? else { return Ok(()) };
            if !is_signed && (gone.keep || gone.pending) {
                let message = "The subscription can only be ended by an authenticated request of its owner";
                return Err(SnsError::AuthorizationError(message.to_owned()));
            }
            let mut of = topic(&tx, &name.topic).await?;
            count_out(&mut of, &gone);
            keys::set(&tx, &Key::Topic(name.topic.clone()), &of);
            clear_subscription(&tx, &name.topic, number, &gone).await?;
            if !is_signed {
                sns.offer_back(&tx, &name.topic, number, &gone, &of, token).await?;
            }
            Ok::<_, SnsError>(())
        })
        .await?;
    Ok(m::UnsubscribeOutput {})
}

fn listed(topic: &TopicName, found: Subscription) -> m::Subscription {
    let arn = match found.pending {
        true => "PendingConfirmation".to_owned(),
        false => arn_of(topic, &found.id),
    };
    m::Subscription {
        endpoint: Some(found.endpoint),
        owner: Some(found.owner),
        protocol: Some(found.protocol),
        subscription_arn: Some(arn),
        topic_arn: Some(topic.arn()),
    }
}

pub(crate) async fn list(
    sns: Sns,
    cx: Cx,
    input: m::ListSubscriptionsInput,
) -> Result<m::ListSubscriptionsOutput, SnsError> {
    let range = keys::owned(cx.account.as_str(), &cx.region);
    let page = sns.page(range, input.next_token.as_deref(), |key, _| match key {
        Key::Owned(_, _, topic, number) => Ok((topic, number)),
        _ => Err(SnsError::InternalError("a key in the range of owners is none".to_owned())),
    });
    let page = page.await?;
    let read = sns.0.kv.read(|tx| async move {
        let mut all = Vec::with_capacity(page.items.len());
        for (topic, number) in page.items {
            let found = keys::get::<Subscription>(&tx, &Key::Subscription(topic.clone(), number)).await?;
            // It may have ended since the page was read.
            all.extend(found.map(|found| listed(&topic, found)));
        }
        Ok::<_, SnsError>(all)
    });
    Ok(m::ListSubscriptionsOutput { next_token: page.next, subscriptions: Some(read.await?) })
}

pub(crate) async fn list_by_topic(
    sns: Sns,
    cx: Cx,
    input: m::ListSubscriptionsByTopicInput,
) -> Result<m::ListSubscriptionsByTopicOutput, SnsError> {
    let name = TopicName::of(&cx, "TopicArn", &input.topic_arn)?;
    sns.topic(&name).await?;
    let page = sns.page(keys::subscriptions(&name), input.next_token.as_deref(), |_, value| {
        Ok(listed(&name, keys::decode(value)?))
    });
    let page = page.await?;
    Ok(m::ListSubscriptionsByTopicOutput { next_token: page.next, subscriptions: Some(page.items) })
}
