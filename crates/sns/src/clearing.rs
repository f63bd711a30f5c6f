//! Deletions of what may be larger than one transaction of the store: in steps, the name itself last. A crash in between
//! leaves the name, with less below it.

use bytes::Bytes;
use kv::{KeyRange, RangeOptions, Txn};

use crate::arn::ApplicationName;
use crate::keys::{self, Key, Subscription, Topic};
use crate::state::{clear_subscription, count_out};
use crate::{Sns, SnsError, TopicName};

/// Reads of one step.
const READS: usize = 20;
/// Records of one read: the largest ones are a tenth of what a read may return.
const READ_RECORDS: usize = 10;
/// Pairs of one read of those that are never large.
const READ_PAIRS: usize = 100;

impl Sns {
    /// Deletes everything of an account. For the suites of emulators, which start each test from nothing.
    ///
    /// # Errors
    /// The store's.
    pub async fn reset(&self, account: &str) -> Result<(), SnsError> {
        let topics = keys::topics_of(account);
        loop {
            let some = self.0.kv.read(|tx| some(tx, &topics, READ_RECORDS)).await?;
            for key in &some {
                if let Key::Topic(name) = key {
                    self.delete_topic(name).await?;
                }
            }
            if some.is_empty() {
                break;
            }
        }
        // Its subscriptions to others' topics.
        let owned = keys::owned_by(account);
        while !self.step(|tx| clear_owned(tx, &owned)).await? {}
        for range in keys::others_of(account) {
            self.thin(&range).await?;
        }
        Ok(())
    }

    /// Deletes a topic with everything below it; fine when there is none.
    pub(crate) async fn delete_topic(&self, name: &TopicName) -> Result<(), SnsError> {
        loop {
            while !self.step(|tx| clear_subscriptions(tx, name)).await? {}
            while !self.step(|tx| clear_tokens(tx, name)).await? {}
            for range in keys::below(name) {
                self.thin(&range).await?;
            }
            // What came in meanwhile is little, or subscriptions, which need the steps above.
            if self.step(|tx| clear_topic(tx, name)).await? {
                return Ok(());
            }
        }
    }

    /// Deletes a platform application with its endpoints; fine when there is none.
    pub(crate) async fn delete_application(&self, name: &ApplicationName) -> Result<(), SnsError> {
        let [endpoints, tokens] = keys::platform_endpoints(name);
        // An index entry must not lead nowhere: the index goes first.
        self.thin(&tokens).await?;
        self.thin(&endpoints).await?;
        let ranges = &[endpoints, tokens];
        self.step(|tx| async move {
            tx.clear(Key::Application(name.clone()).pack());
            for range in ranges {
                tx.clear_range(&range.begin, &range.end);
            }
            Ok(())
        })
        .await
    }

    /// Clears a range of small pairs, but perhaps for what is added meanwhile.
    async fn thin(&self, range: &KeyRange) -> Result<(), SnsError> {
        while !self.step(|tx| clear_some(tx, range)).await? {}
        Ok(())
    }

    async fn step<T, F, Fut>(&self, step: F) -> Result<T, SnsError>
    where
        F: Fn(Txn) -> Fut,
        Fut: Future<Output = Result<T, SnsError>>,
    {
        self.0.kv.transact(step).await
    }
}

/// The first keys of a range.
async fn some(tx: Txn, range: &KeyRange, limit: usize) -> Result<Vec<Key>, SnsError> {
    let options = RangeOptions { limit, ..RangeOptions::default() };
    let pairs = tx.range(&range.begin, &range.end, options).await?;
    pairs.iter().map(|(key, _)| Key::unpack(key)).collect()
}

fn behind(key: &[u8]) -> Bytes {
    Bytes::from([key, &[0]].concat())
}

/// Clears the first subscriptions of a topic and counts them out; whether those were all.
async fn clear_subscriptions(tx: Txn, name: &TopicName) -> Result<bool, SnsError> {
    let topic = Key::Topic(name.clone());
    let Some(mut of) = keys::get::<Topic>(&tx, &topic).await? else { return Ok(true) };
    let mut range = keys::subscriptions(name);
    let mut is_last = false;
    for _ in 0..READS {
        let found = keys::list::<Subscription>(&tx, &range, READ_RECORDS).await?;
        for (key, gone) in &found {
            if let Key::Subscription(_, number) = key {
                clear_subscription(&tx, name, *number, gone).await?;
                count_out(&mut of, gone);
            }
        }
        is_last = found.len() < READ_RECORDS;
        match found.last() {
            Some((last, _)) if !is_last => range.begin = behind(&last.pack()),
            _ => break,
        }
    }
    keys::set(&tx, &topic, &of);
    Ok(is_last)
}

/// Clears the first tokens of a topic; whether those were all.
async fn clear_tokens(tx: Txn, name: &TopicName) -> Result<bool, SnsError> {
    let found = some(tx.clone(), &keys::tokens(name), READ_PAIRS).await?;
    for key in &found {
        if let Key::TokenEnd(_, _, token) = key {
            tx.clear(Key::Token(token.clone()).pack());
            tx.clear(key.pack());
        }
    }
    Ok(found.len() < READ_PAIRS)
}

/// Clears a topic, unless subscriptions or tokens were added since its own were cleared.
async fn clear_topic(tx: Txn, name: &TopicName) -> Result<bool, SnsError> {
    for range in [keys::subscriptions(name), keys::tokens(name)] {
        if !some(tx.clone(), &range, 1).await?.is_empty() {
            return Ok(false);
        }
    }
    tx.clear(Key::Topic(name.clone()).pack());
    tx.clear(Key::Sequence(name.clone()).pack());
    for range in keys::below(name) {
        tx.clear_range(&range.begin, &range.end);
    }
    Ok(true)
}

/// Ends the first subscriptions of an index of owners; whether those were all.
async fn clear_owned(tx: Txn, owned: &KeyRange) -> Result<bool, SnsError> {
    // Few: each may write another topic.
    let found = some(tx.clone(), owned, READ_RECORDS).await?;
    for key in &found {
        if let Key::Owned(_, _, name, number) = key {
            let topic = Key::Topic(name.clone());
            let gone = keys::get::<Subscription>(&tx, &Key::Subscription(name.clone(), *number)).await?;
            if let (Some(gone), Some(mut of)) = (gone, keys::get::<Topic>(&tx, &topic).await?) {
                clear_subscription(&tx, name, *number, &gone).await?;
                count_out(&mut of, &gone);
                keys::set(&tx, &topic, &of);
            }
        }
        tx.clear(key.pack());
    }
    Ok(found.len() < READ_RECORDS)
}

/// Clears the first pairs of a range; whether those were all. Others may add to it.
async fn clear_some(tx: Txn, range: &KeyRange) -> Result<bool, SnsError> {
    let mut begin = range.begin.clone();
    let mut is_last = false;
    for _ in 0..READS {
        let options = RangeOptions { limit: READ_PAIRS, snapshot: true, ..RangeOptions::default() };
        let found = tx.range(&begin, &range.end, options).await?;
        is_last = found.len() < READ_PAIRS;
        match found.last() {
            Some((last, _)) => begin = behind(last),
            None => break,
        }
        if is_last {
            break;
        }
    }
    tx.clear_range(&range.begin, &begin);
    Ok(is_last)
}
