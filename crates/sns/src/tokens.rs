//! Tokens of confirmations: good until their subscription ends by a signature, another one takes their place, their time
//! is over, or their topic is deleted.

use kv::{RangeOptions, Txn};

use crate::keys::{self, Key, Subscription, Token, Topic};
use crate::{SnsError, TopicName};

/// Ended tokens that one new one takes away: more than it adds.
const SWEPT_AT_ONCE: usize = 4;

/// Keeps a token, and takes ended ones of its topic away.
pub(crate) async fn keep(tx: &Txn, token: &str, known: &Token, now_us: i64) -> Result<(), SnsError> {
    sweep(tx, &known.topic, now_us).await?;
    keys::set(tx, &Key::Token(token.to_owned()), known);
    keys::set(tx, &end_of(token, known), &());
    if let Some(ended) = &known.ended {
        keys::set(tx, &offer_of(&known.topic, ended), &token);
    }
    Ok(())
}

/// What a token of the topic `arn` is good for, with that topic. Nothing when its time is over, nor when the topic was
/// deleted since: another one of its name numbers its subscriptions anew.
pub(crate) async fn find(tx: &Txn, token: &str, arn: &str, now_us: i64) -> Result<Option<(Token, Topic)>, SnsError> {
    let known = keys::get::<Token>(tx, &Key::Token(token.to_owned())).await?;
    let Some(known) = known.filter(|known| known.end_us > now_us && known.topic.arn() == arn) else { return Ok(None) };
    let of = keys::get::<Topic>(tx, &Key::Topic(known.topic.clone())).await?;
    let of = of.filter(|of| of.born == known.born && known.number < of.next);
    Ok(of.map(|of| (known, of)))
}

/// A token that brought its subscription back belongs to that from now on.
pub(crate) fn used(tx: &Txn, token: &str, known: &Token) {
    if let Some(ended) = &known.ended {
        tx.clear(offer_of(&known.topic, ended).pack());
    }
    keys::set(tx, &Key::Token(token.to_owned()), &Token { ended: None, ..known.clone() });
}

/// Makes a token worthless.
pub(crate) async fn forget(tx: &Txn, token: &str) -> Result<(), SnsError> {
    let key = Key::Token(token.to_owned());
    let Some(known) = keys::get::<Token>(tx, &key).await? else { return Ok(()) };
    tx.clear(key.pack());
    tx.clear(end_of(token, &known).pack());
    if let Some(ended) = &known.ended {
        tx.clear(offer_of(&known.topic, ended).pack());
    }
    Ok(())
}

/// Makes the token worthless that would bring an endpoint's last subscription back.
pub(crate) async fn withdraw(tx: &Txn, topic: &TopicName, protocol: &str, endpoint: &str) -> Result<(), SnsError> {
    let offer = Key::Offer(topic.clone(), protocol.to_owned(), endpoint.to_owned());
    match keys::get::<String>(tx, &offer).await? {
        Some(token) => forget(tx, &token).await,
        None => Ok(()),
    }
}

fn end_of(token: &str, known: &Token) -> Key {
    Key::TokenEnd(known.topic.clone(), known.end_us, token.to_owned())
}

fn offer_of(topic: &TopicName, ended: &Subscription) -> Key {
    Key::Offer(topic.clone(), ended.protocol.clone(), ended.endpoint.clone())
}

/// Takes away a few ended tokens, without a conflict with others that do the same.
async fn sweep(tx: &Txn, topic: &TopicName, now_us: i64) -> Result<(), SnsError> {
    let range = keys::ended_tokens(topic, now_us);
    let options = RangeOptions { limit: SWEPT_AT_ONCE, snapshot: true, ..RangeOptions::default() };
    for (key, _) in tx.range(&range.begin, &range.end, options).await? {
        if let Key::TokenEnd(_, _, token) = Key::unpack(&key)? {
            forget(tx, &token).await?;
            tx.clear(key);
        }
    }
    Ok(())
}
