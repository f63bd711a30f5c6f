//! Every key and value of the service.
//!
//! All keys are tuples that start with `"sns"` and the variant's number; numbers are never reused. Every value is a
//! format version (one byte) and JSON.

use std::collections::BTreeMap;

use bytes::Bytes;
use kv::key::{Element, pack, subspace, unpack};
use kv::{KeyRange, RangeOptions, Txn};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::arn::ApplicationName;
use crate::limits::RECORD_BYTES_MAX;
use crate::{SnsError, TopicName};

const SERVICE: &str = "sns";
const FORMAT: u8 = 1;

/// What is stored, where, for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// 1 · A topic → [`Topic`]. From CreateTopic to DeleteTopic.
    Topic(TopicName),
    /// 2 · A subscription, by its number within the topic → [`Subscription`]. From Subscribe to Unsubscribe or
    /// DeleteTopic.
    Subscription(TopicName, u64),
    /// 3 · Index: account and region of the owner, topic, number → nothing. As long as the subscription.
    Owned(String, String, TopicName, u64),
    /// 4 · Index: topic, protocol, endpoint → number. As long as the subscription: an endpoint subscribes once.
    Endpoint(TopicName, String, String),
    /// 5 · A token of a confirmation → [`Token`]. Until the subscription or its topic is deleted, another token takes its
    /// place, or its time is over; later tokens of the topic take it away then.
    Token(String),
    /// 6 · FIFO: topic, group (empty when the whole topic deduplicates), deduplication id → [`Duplicate`]. At least
    /// 5 minutes; later publishes take it away.
    Duplicate(TopicName, String, String),
    /// 7 · Index of 6 by the end in µs: topic, end, group, id → nothing. As long as 6.
    DuplicateEnd(TopicName, i64, String, String),
    /// 8 · FIFO: the topic's last sequence number → number. As long as the topic.
    Sequence(TopicName),
    /// 9 · A platform application → [`Application`].
    Application(ApplicationName),
    /// 10 · A platform endpoint: application, id → [`PlatformEndpoint`].
    PlatformEndpoint(ApplicationName, String),
    /// 11 · Index: application, device token → endpoint id. As long as the endpoint.
    DeviceToken(ApplicationName, String),
    /// 12 · SMS attributes of an account and region → map.
    Sms(String, String),
    /// 13 · The key that signs messages, with its certificate → [`SigningKey`]. Made once.
    SigningKey,
    /// 14 · Index of 5 by the end in µs: topic, end, token → nothing. As long as 5.
    TokenEnd(TopicName, i64, String),
    /// 15 · Index of 5, of tokens that bring a subscription back: topic, protocol, endpoint → token. As long as 5.
    Offer(TopicName, String, String),
}

/// A topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// Random: tells it from others that had its name before, whose subscriptions had the same numbers.
    #[serde(default)]
    pub born: String,
    /// What was set, by AWS's names.
    pub attributes: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// The data protection policy.
    pub protection: Option<String>,
    /// The number of the next subscription: a message reaches those with lower ones.
    pub next: u64,
    /// Confirmed subscriptions.
    pub confirmed: u64,
    /// Subscriptions that wait for their confirmation.
    pub pending: u64,
    /// Subscriptions that were deleted.
    pub deleted: u64,
    /// Subscriptions with a filter policy.
    pub filters: u64,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// What its ARN ends in.
    pub id: String,
    /// `sqs`, `lambda`, `http` …
    pub protocol: String,
    /// An ARN, URL, address or number.
    pub endpoint: String,
    /// The account that subscribed.
    pub owner: String,
    /// ARN of who subscribed.
    pub principal: String,
    /// The host that the subscriber reached us by: for the URLs in messages.
    pub host: String,
    /// Whether it waits for its confirmation.
    pub pending: bool,
    /// Whether it was confirmed by a signed request (`ConfirmationWasAuthenticated`).
    pub authenticated: bool,
    /// Whether only signed requests may end it (`AuthenticateOnUnsubscribe`).
    pub keep: bool,
    /// The token that its endpoint was sent last, for a confirmation or to bring it back: the only one that is good for
    /// anything.
    pub token: Option<String>,
    /// What was set, by AWS's names.
    pub attributes: BTreeMap<String, String>,
}

/// What a confirmation's token is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The topic.
    pub topic: TopicName,
    /// [`Topic::born`] of it.
    #[serde(default)]
    pub born: String,
    /// The number of the subscription.
    pub number: u64,
    /// Not good any more from this moment on, in µs.
    pub end_us: i64,
    /// The subscription that it brings back, when a link had ended it.
    pub ended: Option<Subscription>,
}

/// A message that a FIFO topic knows again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duplicate {
    /// The id of the first one.
    pub message_id: String,
    /// Its sequence number.
    pub sequence: u64,
    /// Until when it is known, in µs.
    pub end_us: i64,
}

/// A platform application.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// What was set, credentials included; answers leave those out.
    pub attributes: BTreeMap<String, String>,
}

/// An endpoint of a platform application.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformEndpoint {
    /// `Enabled`, `Token`, `CustomUserData`.
    pub attributes: BTreeMap<String, String>,
}

/// The key that signs messages.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// The private key, PKCS #8 in DER, in base64.
    pub private: String,
    /// The certificate in PEM.
    pub certificate: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

fn topic(name: &TopicName) -> [Element; 3] {
    [name.account.as_str().into(), name.region.as_str().into(), name.name.as_str().into()]
}

fn application(name: &ApplicationName) -> [Element; 4] {
    let ApplicationName { account, region, platform, name } = name;
    [account.as_str(), region.as_str(), platform.as_str(), name.as_str()].map(Element::from)
}

fn elements(number: u64, rest: impl IntoIterator<Item = Element>) -> Vec<Element> {
    [Element::from(SERVICE), Element::Uint(number)].into_iter().chain(rest).collect()
}

impl Key {
    /// The key's bytes.
    pub fn pack(&self) -> Bytes {
        let text = |text: &String| Element::from(text.as_str());
        pack(&match self {
            Self::Topic(name) => elements(1, topic(name)),
            Self::Subscription(of, number) => elements(2, topic(of).into_iter().chain([Element::Uint(*number)])),
            Self::Owned(owner, region, of, number) => {
                let head = [text(owner), text(region)];
                elements(3, head.into_iter().chain(topic(of)).chain([Element::Uint(*number)]))
            }
            Self::Endpoint(of, protocol, endpoint) => {
                elements(4, topic(of).into_iter().chain([text(protocol), text(endpoint)]))
            }
            Self::Token(token) => elements(5, [text(token)]),
            Self::Duplicate(of, group, id) => elements(6, topic(of).into_iter().chain([text(group), text(id)])),
            Self::DuplicateEnd(of, end_us, group, id) => {
                elements(7, topic(of).into_iter().chain([Element::Int(*end_us), text(group), text(id)]))
            }
            Self::Sequence(name) => elements(8, topic(name)),
            Self::Application(name) => elements(9, application(name)),
            Self::PlatformEndpoint(of, id) => elements(10, application(of).into_iter().chain([text(id)])),
            Self::DeviceToken(of, token) => elements(11, application(of).into_iter().chain([text(token)])),
            Self::Sms(account, region) => elements(12, [text(account), text(region)]),
            Self::SigningKey => elements(13, []),
            Self::TokenEnd(of, end_us, token) => {
                elements(14, topic(of).into_iter().chain([Element::Int(*end_us), text(token)]))
            }
            Self::Offer(of, protocol, endpoint) => {
                elements(15, topic(of).into_iter().chain([text(protocol), text(endpoint)]))
            }
        })
    }

    /// The key whose bytes these are.
    ///
    /// # Errors
    /// `InternalError` when they are no key of this service.
    pub fn unpack(bytes: &[u8]) -> Result<Self, SnsError> {
        let foreign = || SnsError::InternalError("a key is none of ours".to_owned());
        let mut rest = unpack(bytes)?.into_iter();
        let mut next = || rest.next();
        if next() != Some(Element::from(SERVICE)) {
            return Err(foreign());
        }
        let Some(Element::Uint(number)) = next() else { return Err(foreign()) };
        let mut reader = Reader { rest };
        reader.key(number).ok_or_else(foreign)
    }
}

struct Reader {
    rest: std::vec::IntoIter<Element>,
}

impl Reader {
    fn text(&mut self) -> Option<String> {
        match self.rest.next()? {
            Element::Text(text) => Some(text),
            _ => None,
        }
    }

    fn uint(&mut self) -> Option<u64> {
        match self.rest.next()? {
            Element::Uint(number) => Some(number),
            _ => None,
        }
    }

    fn int(&mut self) -> Option<i64> {
        match self.rest.next()? {
            Element::Int(number) => Some(number),
            _ => None,
        }
    }

    fn topic(&mut self) -> Option<TopicName> {
        Some(TopicName { account: self.text()?, region: self.text()?, name: self.text()? })
    }

    fn application(&mut self) -> Option<ApplicationName> {
        let (account, region) = (self.text()?, self.text()?);
        Some(ApplicationName { account, region, platform: self.text()?, name: self.text()? })
    }

    fn key(&mut self, number: u64) -> Option<Key> {
        let key = match number {
            1 => Key::Topic(self.topic()?),
            2 => Key::Subscription(self.topic()?, self.uint()?),
            3 => Key::Owned(self.text()?, self.text()?, self.topic()?, self.uint()?),
            4 => Key::Endpoint(self.topic()?, self.text()?, self.text()?),
            5 => Key::Token(self.text()?),
            6 => Key::Duplicate(self.topic()?, self.text()?, self.text()?),
            7 => Key::DuplicateEnd(self.topic()?, self.int()?, self.text()?, self.text()?),
            8 => Key::Sequence(self.topic()?),
            9 => Key::Application(self.application()?),
            10 => Key::PlatformEndpoint(self.application()?, self.text()?),
            11 => Key::DeviceToken(self.application()?, self.text()?),
            12 => Key::Sms(self.text()?, self.text()?),
            13 => Key::SigningKey,
            14 => Key::TokenEnd(self.topic()?, self.int()?, self.text()?),
            15 => Key::Offer(self.topic()?, self.text()?, self.text()?),
            _ => return None,
        };
        self.rest.next().is_none().then_some(key)
    }
}

/// All topics of an account and region.
pub(crate) fn topics(account: &str, region: &str) -> KeyRange {
    subspace(&elements(1, [account.into(), region.into()]))
}

/// All subscriptions of a topic.
pub(crate) fn subscriptions(of: &TopicName) -> KeyRange {
    subspace(&elements(2, topic(of)))
}

/// All subscriptions that an account owns in a region.
pub(crate) fn owned(account: &str, region: &str) -> KeyRange {
    subspace(&elements(3, [account.into(), region.into()]))
}

/// What a topic's deletion takes along beside subscriptions and tokens: what a FIFO topic knows again, with its index, and
/// the index of offers.
pub(crate) fn below(of: &TopicName) -> [KeyRange; 3] {
    [6, 7, 15].map(|number| subspace(&elements(number, topic(of))))
}

/// What a FIFO topic need not know any more at `now_us`.
pub(crate) fn ended_duplicates(of: &TopicName, now_us: i64) -> KeyRange {
    ended(7, of, now_us)
}

/// The index of all tokens of a topic.
pub(crate) fn tokens(of: &TopicName) -> KeyRange {
    subspace(&elements(14, topic(of)))
}

/// The index of those that are over at `now_us`.
pub(crate) fn ended_tokens(of: &TopicName, now_us: i64) -> KeyRange {
    ended(14, of, now_us)
}

fn ended(number: u64, of: &TopicName, now_us: i64) -> KeyRange {
    let all = subspace(&elements(number, topic(of)));
    let end = pack(&elements(number, topic(of).into_iter().chain([Element::Int(now_us)])));
    KeyRange { begin: all.begin, end }
}

/// All platform applications of an account and region.
pub(crate) fn applications(account: &str, region: &str) -> KeyRange {
    subspace(&elements(9, [account.into(), region.into()]))
}

/// All endpoints of an application, and the index of their tokens.
pub(crate) fn platform_endpoints(of: &ApplicationName) -> [KeyRange; 2] {
    [10, 11].map(|number| subspace(&elements(number, application(of))))
}

/// All topics of an account.
pub(crate) fn topics_of(account: &str) -> KeyRange {
    subspace(&elements(1, [account.into()]))
}

/// All subscriptions that an account owns.
pub(crate) fn owned_by(account: &str) -> KeyRange {
    subspace(&elements(3, [account.into()]))
}

/// What an account has beside topics and subscriptions.
pub(crate) fn others_of(account: &str) -> [KeyRange; 4] {
    [9, 10, 11, 12].map(|number| subspace(&elements(number, [account.into()])))
}

/// A record as a value.
pub(crate) fn encode<T: Serialize>(record: &T) -> Bytes {
    let mut value = vec![FORMAT];
    serde_json::to_writer(&mut value, record)
        .expect("records are structs of strings, numbers and maps with string keys");
    Bytes::from(value)
}

/// A record out of a value.
pub(crate) fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, SnsError> {
    match value.split_first() {
        // The text of a JSON error may quote a secret: it is not passed on.
        Some((&FORMAT, json)) => {
            serde_json::from_slice(json).map_err(|_| SnsError::InternalError("a record cannot be read".to_owned()))
        }
        format => Err(SnsError::InternalError(format!("a record of format {:?}", format.map(|(first, _)| *first)))),
    }
}

/// The record at `key`.
pub(crate) async fn get<T: DeserializeOwned>(tx: &Txn, key: &Key) -> Result<Option<T>, SnsError> {
    tx.get(key.pack()).await?.map(|value| decode(&value)).transpose()
}

/// Writes the record at `key`.
pub(crate) fn set<T: Serialize>(tx: &Txn, key: &Key, record: &T) {
    tx.set(key.pack(), encode(record));
}

/// Writes a record of what a client chose.
///
/// # Errors
/// `InvalidParameter` when it is larger than what can be stored.
pub(crate) fn put<T: Serialize>(tx: &Txn, key: &Key, record: &T) -> Result<(), SnsError> {
    let value = encode(record);
    if value.len() > RECORD_BYTES_MAX {
        let reason = format!("{} bytes together, of which {RECORD_BYTES_MAX} can be stored", value.len());
        return Err(SnsError::invalid(format!("Attributes Reason: too large: {reason}")));
    }
    tx.set(key.pack(), value);
    Ok(())
}

/// Keys and records of a range, at most `limit`.
pub(crate) async fn list<T: DeserializeOwned>(
    tx: &Txn,
    range: &KeyRange,
    limit: usize,
) -> Result<Vec<(Key, T)>, SnsError> {
    let options = RangeOptions { limit, ..RangeOptions::default() };
    let pairs = tx.range(&range.begin, &range.end, options).await?;
    pairs.iter().map(|(key, value)| Ok((Key::unpack(key)?, decode(value)?))).collect()
}
