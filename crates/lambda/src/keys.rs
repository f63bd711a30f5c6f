//! Every key and value of the Lambda service.
//!
//! | key | value |
//! |---|---|
//! | `("lambda", 1, account, region, name)` | [`FunctionRecord`] |
//! | `("lambda", 2, account, region, name)` | [`UrlRecord`] of `$LATEST` |
//! | `("lambda", 2, account, region, name, alias)` | [`UrlRecord`] of an alias |
//! | `("lambda", 3, url id)` | [`UrlOwner`] |
//! | `("lambda", 4, account, region)` | [`UsageRecord`] |
//! | `("lambda", 5, account, region, name, version)` | [`FunctionRecord`] of a published version |
//! | `("lambda", 6, account, region, name, alias)` | [`AliasRecord`] |
//! | `("lambda", 7, account, region, name)` | [`VersionCounter`]; outlives the function, because numbers are never used again |
//! | `("lambda", 8, account, region, name, qualifier)` | [`PolicyRecord`]; the empty qualifier is the function itself |
//! | `("lambda", 9, account, region, name, qualifier)` | [`EventInvokeRecord`]; the empty qualifier is `$LATEST` |
//! | `("lambda", 10, account, region, name, qualifier)` | [`ProvisionedRecord`] |
//! | `("lambda", 11, account, region, name)` | [`SettingsRecord`] |
//! | `("lambda", 12, account, region, layer)` | [`VersionCounter`] of a layer; outlives its versions |
//! | `("lambda", 13, account, region, layer, version)` | [`LayerRecord`] |
//! | `("lambda", 14, account, region, configuration)` | [`CodeSigningRecord`] |
//! | `("lambda", 15, account, region, configuration, function)` | [`CodeSigningUse`]; goes with the function |
//! | `("lambda", 16, account, region, capacity provider)` | [`CapacityRecord`] |
//! | `("lambda", 17, account, region, capacity provider, function, version)` | [`CapacityUse`]; version 0 is `$LATEST`; goes with the version |
//!
//! Ordinals never change their meaning. Values are JSON with a format version; a newer format than this program
//! knows is refused, never guessed.

mod capacity;
mod code_signing;
mod published;
mod record;

use bytes::Bytes;
use kv::key::{Element, pack, subspace, unpack};
use kv::{KeyRange, Txn};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) use capacity::{
    CapacityLoggingRecord, CapacityRecord, CapacityScalingRecord, CapacityUse, EnvironmentsRecord, ManagedRecord,
    PropagateTagsRecord, RequirementsRecord,
};
pub(crate) use code_signing::{CodeSigningRecord, CodeSigningUse};
pub(crate) use published::{
    AliasRecord, EventInvokeRecord, LayerRecord, PolicyRecord, ProvisionedRecord, RuntimeUpdate, SettingsRecord,
    VersionCounter,
};
pub(crate) use record::{
    Before, FileSystemRecord, FunctionRecord, ImageRecord, LayerUse, Optimisation, Pull, UrlAuth, UrlOwner, UrlRecord,
    UsageRecord, VpcRecord,
};

/// Every key starts with this word: one store serves all services.
const SERVICE: &str = "lambda";
/// Written into every value.
const FORMAT: u32 = 1;

const FUNCTION: u64 = 1;
const URL: u64 = 2;
const URL_OWNER: u64 = 3;
const USAGE: u64 = 4;
const VERSION: u64 = 5;
const ALIAS: u64 = 6;
const VERSION_COUNTER: u64 = 7;
const POLICY: u64 = 8;
const EVENT_INVOKE: u64 = 9;
const PROVISIONED: u64 = 10;
const SETTINGS: u64 = 11;
const LAYER_COUNTER: u64 = 12;
const LAYER: u64 = 13;
const CODE_SIGNING: u64 = 14;
const CODE_SIGNING_USE: u64 = 15;
const CAPACITY: u64 = 16;
const CAPACITY_USE: u64 = 17;

/// What belongs to one function and goes with it, beside its own record.
const OF_A_FUNCTION: [u64; 7] = [URL, VERSION, ALIAS, POLICY, EVENT_INVOKE, PROVISIONED, SETTINGS];

/// Where a function (or a layer, or a code signing configuration) lives, and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    pub(crate) account: &'a str,
    pub(crate) region: &'a str,
    pub(crate) name: &'a str,
}

impl<'a> Place<'a> {
    fn words(&self) -> [&'a str; 3] {
        [self.account, self.region, self.name]
    }
}

/// A key of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key<'a> {
    /// A function: its `$LATEST`.
    Function(Place<'a>),
    /// The URL of a function's `$LATEST`, or of an alias.
    Url(Place<'a>, Option<&'a str>),
    /// From a URL's id to its function.
    UrlOwner { id: &'a str },
    /// What an account uses in a region.
    Usage { account: &'a str, region: &'a str },
    /// A published version.
    Version(Place<'a>, u64),
    /// An alias.
    Alias(Place<'a>, &'a str),
    /// The last number that a version of the function got.
    VersionCounter(Place<'a>),
    /// The resource policy of a function, a version or an alias.
    Policy(Place<'a>, &'a str),
    /// How asynchronous invocations of a qualifier are retried, and where their records go.
    EventInvoke(Place<'a>, &'a str),
    /// How many environments of a version or an alias are kept initialised.
    Provisioned(Place<'a>, &'a str),
    /// What is set for a function as a whole, outside of its versions.
    Settings(Place<'a>),
    /// The last number that a version of the layer got.
    LayerCounter(Place<'a>),
    /// A version of a layer.
    Layer(Place<'a>, u64),
    /// A code signing configuration, by its id.
    CodeSigning(Place<'a>),
    /// That the function uses the configuration.
    CodeSigningUse(Place<'a>, &'a str),
    /// A capacity provider.
    Capacity(Place<'a>),
    /// That a version of the function, or its `$LATEST` (0), uses the capacity provider.
    CapacityUse(Place<'a>, &'a str, u64),
}

impl Key<'_> {
    /// The key's bytes.
    pub(crate) fn pack(&self) -> Bytes {
        match *self {
            Self::Function(place) => packed(FUNCTION, &place.words()),
            Self::Url(place, None) => packed(URL, &place.words()),
            Self::Url(place, Some(alias)) => below(URL, place, alias),
            Self::UrlOwner { id } => packed(URL_OWNER, &[id]),
            Self::Usage { account, region } => packed(USAGE, &[account, region]),
            Self::Version(place, version) => numbered(VERSION, place, version),
            Self::Alias(place, alias) => below(ALIAS, place, alias),
            Self::VersionCounter(place) => packed(VERSION_COUNTER, &place.words()),
            Self::Policy(place, qualifier) => below(POLICY, place, qualifier),
            Self::EventInvoke(place, qualifier) => below(EVENT_INVOKE, place, qualifier),
            Self::Provisioned(place, qualifier) => below(PROVISIONED, place, qualifier),
            Self::Settings(place) => packed(SETTINGS, &place.words()),
            Self::LayerCounter(place) => packed(LAYER_COUNTER, &place.words()),
            Self::Layer(place, version) => numbered(LAYER, place, version),
            Self::CodeSigning(place) => packed(CODE_SIGNING, &place.words()),
            Self::CodeSigningUse(place, function) => below(CODE_SIGNING_USE, place, function),
            Self::Capacity(place) => packed(CAPACITY, &place.words()),
            Self::CapacityUse(Place { account, region, name }, function, version) => {
                let mut elements = elements(CAPACITY_USE, &[account, region, name, function]);
                elements.push(Element::Uint(version));
                pack(&elements)
            }
        }
    }
}

/// All functions of an account in a region, in the order of their names.
pub(crate) fn functions_of(account: &str, region: &str) -> KeyRange {
    subspace(&elements(FUNCTION, &[account, region]))
}

/// The counters of all layers of an account in a region, in the order of their names.
pub(crate) fn layers_of(account: &str, region: &str) -> KeyRange {
    subspace(&elements(LAYER_COUNTER, &[account, region]))
}

/// All code signing configurations of an account in a region, in the order of their ids.
pub(crate) fn code_signing_of(account: &str, region: &str) -> KeyRange {
    subspace(&elements(CODE_SIGNING, &[account, region]))
}

/// The functions that use a code signing configuration, in the order of their names.
pub(crate) fn code_signing_uses_of(place: Place<'_>) -> KeyRange {
    subspace(&elements(CODE_SIGNING_USE, &place.words()))
}

/// All capacity providers of an account in a region, in the order of their names.
pub(crate) fn capacities_of(account: &str, region: &str) -> KeyRange {
    subspace(&elements(CAPACITY, &[account, region]))
}

/// The versions that use a capacity provider, in the order of the functions' names and their numbers.
pub(crate) fn capacity_uses_of(place: Place<'_>) -> KeyRange {
    subspace(&elements(CAPACITY_USE, &place.words()))
}

/// Function and version in a key of [`capacity_uses_of`].
///
/// # Errors
/// `Corrupt` when the key is none.
pub(crate) fn capacity_user(key: &[u8]) -> Result<(String, u64), kv::Error> {
    let function = texts(key)?.pop().ok_or_else(|| kv::Error::corrupt("a key of a use names no function"))?;
    Ok((function, last_number(key)?))
}

/// All records that hold a package: functions, their versions, layers; of all accounts.
pub(crate) fn all_with_packages() -> [KeyRange; 3] {
    [FUNCTION, VERSION, LAYER].map(|ordinal| subspace(&elements(ordinal, &[])))
}

/// What is unpublished of all functions of all accounts.
pub(crate) fn all_functions() -> KeyRange {
    subspace(&elements(FUNCTION, &[]))
}

/// All published versions of all functions of all accounts.
pub(crate) fn all_versions() -> KeyRange {
    subspace(&elements(VERSION, &[]))
}

/// Account, region and name, and the number, in a key of [`all_versions`].
///
/// # Errors
/// `Corrupt` when the key is none.
pub(crate) fn versioned(key: &[u8]) -> Result<([String; 3], u64), kv::Error> {
    let names: Vec<String> = texts(key)?;
    let names = names.try_into().map_err(|_| kv::Error::corrupt("a key of a version has other words"))?;
    Ok((names, last_number(key)?))
}

/// All provisioned concurrency of all accounts.
pub(crate) fn all_provisioned() -> KeyRange {
    subspace(&elements(PROVISIONED, &[]))
}

/// The settings of all functions of all accounts.
pub(crate) fn all_settings() -> KeyRange {
    subspace(&elements(SETTINGS, &[]))
}

/// All published versions of a function, in the order of their numbers.
pub(crate) fn versions_of(place: Place<'_>) -> KeyRange {
    subspace(&elements(VERSION, &place.words()))
}

/// All aliases of a function, in the order of their names.
pub(crate) fn aliases_of(place: Place<'_>) -> KeyRange {
    subspace(&elements(ALIAS, &place.words()))
}

/// All URLs of a function.
pub(crate) fn urls_of(place: Place<'_>) -> KeyRange {
    subspace(&elements(URL, &place.words()))
}

/// All event invoke configurations of a function.
pub(crate) fn event_invokes_of(place: Place<'_>) -> KeyRange {
    subspace(&elements(EVENT_INVOKE, &place.words()))
}

/// All provisioned concurrency of a function.
pub(crate) fn provisioned_of(place: Place<'_>) -> KeyRange {
    subspace(&elements(PROVISIONED, &place.words()))
}

/// All versions of a layer, in the order of their numbers.
pub(crate) fn layer_versions_of(place: Place<'_>) -> KeyRange {
    subspace(&elements(LAYER, &place.words()))
}

/// Everything that goes with a function, beside its own record.
pub(crate) fn belongings_of(place: Place<'_>) -> [KeyRange; OF_A_FUNCTION.len()] {
    OF_A_FUNCTION.map(|ordinal| subspace(&elements(ordinal, &place.words())))
}

/// Everything of one qualifier of a function that goes with it.
pub(crate) fn belongings_of_qualifier<'a>(place: Place<'a>, qualifier: &'a str) -> [Key<'a>; 4] {
    [
        Key::Policy(place, qualifier),
        Key::EventInvoke(place, qualifier),
        Key::Provisioned(place, qualifier),
        Key::Url(place, Some(qualifier)),
    ]
}

/// The last text in a key: a function's, a layer's or an alias's name, or a qualifier.
///
/// # Errors
/// `Corrupt` when the key ends otherwise.
pub(crate) fn last_text(key: &[u8]) -> Result<String, kv::Error> {
    match unpack(key)?.pop() {
        Some(Element::Text(name)) => Ok(name),
        _ => Err(kv::Error::corrupt("a key that should end in a name does not")),
    }
}

/// The version's number at the end of a key of [`versions_of`] or [`layer_versions_of`].
///
/// # Errors
/// `Corrupt` when the key ends otherwise.
pub(crate) fn last_number(key: &[u8]) -> Result<u64, kv::Error> {
    match unpack(key)?.pop() {
        Some(Element::Uint(number)) => Ok(number),
        _ => Err(kv::Error::corrupt("a key that should end in a number does not")),
    }
}

/// Account, region, name and qualifier in a key of [`all_provisioned`].
///
/// # Errors
/// `Corrupt` when the key is none.
pub(crate) fn qualified(key: &[u8]) -> Result<[String; 4], kv::Error> {
    texts(key)?.try_into().map_err(|_| kv::Error::corrupt("a key that should end in a qualifier does not"))
}

/// The texts of a key behind the service's name.
fn texts(key: &[u8]) -> Result<Vec<String>, kv::Error> {
    let texts = unpack(key)?
        .into_iter()
        .filter_map(|element| if let Element::Text(text) = element { Some(text) } else { None })
        .skip(1);
    Ok(texts.collect())
}

/// Account, region and name in a key of a function or of one of its versions.
///
/// # Errors
/// `Corrupt` when the key is none.
pub(crate) fn owner(key: &[u8]) -> Result<(String, String, String), kv::Error> {
    let [account, region, name] = <[String; 3]>::try_from(texts(key)?)
        .map_err(|_| kv::Error::corrupt("a key that should be a function's is not"))?;
    Ok((account, region, name))
}

fn below(ordinal: u64, place: Place<'_>, last: &str) -> Bytes {
    let [account, region, name] = place.words();
    packed(ordinal, &[account, region, name, last])
}

fn numbered(ordinal: u64, place: Place<'_>, number: u64) -> Bytes {
    let mut elements = elements(ordinal, &place.words());
    elements.push(Element::Uint(number));
    pack(&elements)
}

fn elements(ordinal: u64, words: &[&str]) -> Vec<Element> {
    let head = [Element::Text(SERVICE.to_owned()), Element::Uint(ordinal)];
    head.into_iter().chain(words.iter().map(|word| Element::Text((*word).to_owned()))).collect()
}

fn packed(ordinal: u64, words: &[&str]) -> Bytes {
    pack(&elements(ordinal, words))
}

#[derive(Serialize)]
struct Written<'a, T> {
    format: u32,
    #[serde(flatten)]
    record: &'a T,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// How [`encode`] begins: who finds it knows the format without a pass over the whole value.
const START: &[u8] = b"{\"format\":1,";

/// A record as a value.
pub(crate) fn encode<T: Serialize>(record: &T) -> Bytes {
    let json = serde_json::to_vec(&Written { format: FORMAT, record });
    Bytes::from(json.expect("records are structs of strings, numbers, lists and maps with string keys"))
}

/// A record out of a value.
///
/// # Errors
/// `Corrupt` when the value is no such record or was written by a newer program.
pub(crate) fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, kv::Error> {
    if !value.starts_with(START) {
        let Format { format } = serde_json::from_slice(value).map_err(kv::Error::corrupt)?;
        if format != FORMAT {
            return Err(kv::Error::corrupt(format!("a record of format {format}; this program knows {FORMAT}")));
        }
    }
    serde_json::from_slice(value).map_err(kv::Error::corrupt)
}

/// The record at `key`.
///
/// # Errors
/// The store's; `Corrupt` as [`decode`].
pub(crate) async fn get<T: DeserializeOwned>(tx: &Txn, key: &Key<'_>) -> Result<Option<T>, kv::Error> {
    tx.get(key.pack()).await?.map(|value| decode(&value)).transpose()
}

/// Writes the record at `key`.
pub(crate) fn set<T: Serialize>(tx: &Txn, key: &Key<'_>, record: &T) {
    tx.set(key.pack(), encode(record));
}

#[cfg(test)]
mod tests;
