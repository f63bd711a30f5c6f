//! Every key and value of the Lambda service.
//!
//! | key | value |
//! |---|---|
//! | `("lambda", 1, account, region, name)` | [`FunctionRecord`] |
//! | `("lambda", 2, account, region, name)` | [`UrlRecord`] of `$LATEST` |
//! | `("lambda", 3, url id)` | [`UrlOwner`] |
//! | `("lambda", 4, account, region)` | [`UsageRecord`] |
//!
//! Ordinals never change their meaning. Values are JSON with a format version; a newer format than this program
//! knows is refused, never guessed.

mod record;

use bytes::Bytes;
use kv::key::{Element, pack, subspace, unpack};
use kv::{KeyRange, Txn};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) use record::{FileSystemRecord, FunctionRecord, UrlAuth, UrlOwner, UrlRecord, UsageRecord, VpcRecord};

/// Every key starts with this word: one store serves all services.
const SERVICE: &str = "lambda";
/// Written into every value.
const FORMAT: u32 = 1;

const FUNCTION: u64 = 1;
const URL: u64 = 2;
const URL_OWNER: u64 = 3;
const USAGE: u64 = 4;

/// A key of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key<'a> {
    /// A function.
    Function { account: &'a str, region: &'a str, name: &'a str },
    /// The URL of a function's `$LATEST`.
    Url { account: &'a str, region: &'a str, name: &'a str },
    /// From a URL's id to its function.
    UrlOwner { id: &'a str },
    /// What an account uses in a region.
    Usage { account: &'a str, region: &'a str },
}

impl Key<'_> {
    /// The key's bytes.
    pub(crate) fn pack(&self) -> Bytes {
        match *self {
            Self::Function { account, region, name } => packed(FUNCTION, &[account, region, name]),
            Self::Url { account, region, name } => packed(URL, &[account, region, name]),
            Self::UrlOwner { id } => packed(URL_OWNER, &[id]),
            Self::Usage { account, region } => packed(USAGE, &[account, region]),
        }
    }
}

/// All functions of an account in a region, in the order of their names.
pub(crate) fn functions_of(account: &str, region: &str) -> KeyRange {
    subspace(&elements(FUNCTION, &[account, region]))
}

/// All functions of all accounts.
pub(crate) fn all_functions() -> KeyRange {
    subspace(&elements(FUNCTION, &[]))
}

/// The function's name in a key of [`functions_of`].
///
/// # Errors
/// `Corrupt` when the key is none.
pub(crate) fn function_name(key: &[u8]) -> Result<String, kv::Error> {
    match unpack(key)?.pop() {
        Some(Element::Text(name)) => Ok(name),
        _ => Err(kv::Error::corrupt("a key among the functions ends in no name")),
    }
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
    let Format { format } = serde_json::from_slice(value).map_err(kv::Error::corrupt)?;
    if format != FORMAT {
        return Err(kv::Error::corrupt(format!("a record of format {format}; this program knows {FORMAT}")));
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
