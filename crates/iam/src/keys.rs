//! Every key and value of IAM and STS.
//!
//! | key | value |
//! |---|---|
//! | `("iam", 1, account, kind, name in lower case)` | [`Identity`]: a user, group or role |
//! | `("iam", 2, account, ARN)` | [`Managed`]: a customer's managed policy |
//! | `("iam", 3, access key id)` | [`AccessKeyRecord`], with the secret |
//! | `("iam", 4, account, name in lower case)` | [`Profile`]: an instance profile |
//! | `("iam", 5)` | [`Master`]: the secret that session keys are derived from |
//! | `("iam", 6)` | a counter that every change moves: its watch empties the caches |
//! | `("iam", 7, access key id)` | [`LastUsed`] |
//! | `("iam", 8, account, URL)` | [`Issuer`]: an OpenID Connect issuer that the account trusts |
//! | `("iam", 9, account)` | [`Account`]: what the operator said of an account |
//! | `("iam", 10, unique id of a user, access key id)` | nothing: which access keys are the user's |
//! | `("iam", 11)` | nothing: keys that are older than (10) have been entered there |
//! | `("iam", 12, account, what)` | how many users (1), groups (2), roles (3), policies (4) or profiles (5) it has |
//! | `("iam", 13, account, name in lower case)` | ARN of the managed policy that has this name |
//! | `("iam", 14, account)` | nothing: the names of policies that are older than (13) have been entered there |
//!
//! Ordinals never change their meaning. Values are JSON with a format version; a newer format than this program
//! knows is refused, never guessed. The store's folder is readable by the server's user only; records with secrets
//! show none of them in `Debug`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use kv::key::{Element, pack, subspace};
use kv::{KeyRange, Txn};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const SERVICE: &str = "iam";
/// Below this path are the roles that belong to services, and nothing else.
pub(crate) const LINKED_PATH: &str = "/aws-service-role/";
const FORMAT: u32 = 1;

/// What kind of identity a record is; the ordinal stands in keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum IdentityKind {
    User = 1,
    Group = 2,
    Role = 3,
}

impl IdentityKind {
    /// The word of ARNs and of messages: `user`, `group`, `role`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Role => "role",
        }
    }

    /// The word at the start of a message.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
            Self::Role => "Role",
        }
    }

    /// The first letters of the unique id.
    pub(crate) fn id_prefix(self) -> &'static str {
        match self {
            Self::User => "AIDA",
            Self::Group => "AGPA",
            Self::Role => "AROA",
        }
    }
}

/// A user, group or role with all that belongs to it: AWS's quotas keep it well under the size of a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) kind: IdentityKind,
    pub(crate) account: String,
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) created_us: i64,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) boundary: Option<String>,
    /// ARNs of attached managed policies.
    pub(crate) attached: BTreeSet<String>,
    /// Inline policies by name, in the text that was given.
    pub(crate) inline: BTreeMap<String, String>,
    /// Of a user: the names of its groups.
    pub(crate) groups: BTreeSet<String>,
    /// Of a role: what only roles have.
    pub(crate) role: Option<RoleFacts>,
}

/// What only roles have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RoleFacts {
    pub(crate) trust: String,
    pub(crate) description: Option<String>,
    pub(crate) max_session_s: i32,
}

impl Identity {
    /// `arn:aws:iam::ACCOUNT:KIND/PATH/NAME`.
    pub(crate) fn arn(&self) -> String {
        format!("arn:aws:iam::{}:{}{}{}", self.account, self.kind.word(), self.path, self.name)
    }

    /// Without what lists do not show and what may be long: inline policies and the trust policy.
    pub(crate) fn sketched(self) -> Self {
        let role = self.role.map(|facts| RoleFacts { trust: String::new(), ..facts });
        Self { inline: BTreeMap::new(), tags: BTreeMap::new(), role, ..self }
    }

    /// Whether it is a service-linked role. A user or group is none, whatever its path.
    pub(crate) fn is_linked(&self) -> bool {
        self.kind == IdentityKind::Role && self.path.starts_with(LINKED_PATH)
    }
}

/// A customer's managed policy with its versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Managed {
    pub(crate) account: String,
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) description: Option<String>,
    pub(crate) created_us: i64,
    pub(crate) updated_us: i64,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) default_version: u32,
    /// The number of the next version: numbers are never used again.
    pub(crate) next_version: u32,
    pub(crate) versions: BTreeMap<u32, Version>,
}

/// One version of a managed policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Version {
    pub(crate) document: String,
    pub(crate) created_us: i64,
}

impl Managed {
    /// `arn:aws:iam::ACCOUNT:policy/PATH/NAME`.
    pub(crate) fn arn(&self) -> String {
        format!("arn:aws:iam::{}:policy{}{}", self.account, self.path, self.name)
    }

    /// Without the documents.
    pub(crate) fn sketched(mut self) -> Self {
        self.versions.values_mut().for_each(|version| version.document = String::new());
        self
    }

    /// The document in force.
    pub(crate) fn document(&self) -> &str {
        self.versions.get(&self.default_version).map_or("", |version| version.document.as_str())
    }
}

/// A user's long-term access key.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct AccessKeyRecord {
    pub(crate) account: String,
    pub(crate) user: String,
    /// The user's unique id: a user who was deleted and made again has none of the old keys.
    pub(crate) user_id: String,
    pub(crate) secret: String,
    pub(crate) active: bool,
    pub(crate) created_us: i64,
    /// Whether it is the account's root key: it has no user then.
    #[serde(default)]
    pub(crate) root: bool,
}

impl fmt::Debug for AccessKeyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKeyRecord")
            .field("user", &self.user)
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

/// When and for what an access key was last used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LastUsed {
    pub(crate) at_us: i64,
    pub(crate) region: String,
    pub(crate) service: String,
}

/// An instance profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) account: String,
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) created_us: i64,
    pub(crate) role: Option<String>,
}

impl Profile {
    /// `arn:aws:iam::ACCOUNT:instance-profile/PATH/NAME`.
    pub(crate) fn arn(&self) -> String {
        format!("arn:aws:iam::{}:instance-profile{}{}", self.account, self.path, self.name)
    }
}

/// An OpenID Connect issuer whose tokens `AssumeRoleWithWebIdentity` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Issuer {
    pub(crate) account: String,
    /// Without `https://`: what the ARN and the condition keys carry.
    pub(crate) url: String,
    pub(crate) client_ids: BTreeSet<String>,
    pub(crate) thumbprints: Vec<String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) created_us: i64,
}

impl Issuer {
    /// `arn:aws:iam::ACCOUNT:oidc-provider/URL`.
    pub(crate) fn arn(&self) -> String {
        format!("arn:aws:iam::{}:oidc-provider/{}", self.account, self.url)
    }
}

/// An account, as the operator made it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) name: String,
    /// `None` for the installation's own account, whose root key is in no database.
    pub(crate) root_key_id: Option<String>,
    pub(crate) created_us: i64,
    /// Service control policies by name: all of them together are one level above the account.
    pub(crate) service_control: BTreeMap<String, String>,
}

/// The secret behind all temporary keys, in hexadecimal digits.
#[derive(Serialize, Deserialize)]
pub(crate) struct Master {
    pub(crate) secret: String,
}

fn key(ordinal: u64, words: &[Element]) -> Bytes {
    let head = [Element::Text(SERVICE.to_owned()), Element::Uint(ordinal)];
    pack(&head.into_iter().chain(words.iter().cloned()).collect::<Vec<_>>())
}

fn all(ordinal: u64, words: &[Element]) -> KeyRange {
    let head = [Element::Text(SERVICE.to_owned()), Element::Uint(ordinal)];
    subspace(&head.into_iter().chain(words.iter().cloned()).collect::<Vec<_>>())
}

/// A user, group or role. Names that differ in case only are the same.
pub(crate) fn identity(account: &str, kind: IdentityKind, name: &str) -> Bytes {
    key(1, &[account.into(), Element::Uint(kind as u64), name.to_ascii_lowercase().into()])
}

/// All users, groups or roles of an account.
pub(crate) fn identities(account: &str, kind: IdentityKind) -> KeyRange {
    all(1, &[account.into(), Element::Uint(kind as u64)])
}

/// A customer's managed policy.
pub(crate) fn managed(account: &str, arn: &str) -> Bytes {
    key(2, &[account.into(), arn.into()])
}

/// All managed policies of an account.
pub(crate) fn all_managed(account: &str) -> KeyRange {
    all(2, &[account.into()])
}

/// A long-term access key.
pub(crate) fn access_key(id: &str) -> Bytes {
    key(3, &[id.into()])
}

/// All long-term access keys of all accounts.
pub(crate) fn access_keys() -> KeyRange {
    all(3, &[])
}

/// That an access key is a user's.
pub(crate) fn access_key_of(user_id: &str, id: &str) -> Bytes {
    key(10, &[user_id.into(), id.into()])
}

/// Which access keys are a user's.
pub(crate) fn access_keys_of(user_id: &str) -> KeyRange {
    all(10, &[user_id.into()])
}

/// That every access key is entered with its user.
pub(crate) fn access_keys_entered() -> Bytes {
    key(11, &[])
}

/// How many of something an account has.
pub(crate) fn count(account: &str, what: u64) -> Bytes {
    key(12, &[account.into(), Element::Uint(what)])
}

/// Whose the name of a managed policy is. Names that differ in case only are the same, on all paths.
pub(crate) fn policy_name(account: &str, name: &str) -> Bytes {
    key(13, &[account.into(), name.to_ascii_lowercase().into()])
}

/// That the names of all managed policies of an account are entered.
pub(crate) fn policy_names_entered(account: &str) -> Bytes {
    key(14, &[account.into()])
}

/// An instance profile.
pub(crate) fn profile(account: &str, name: &str) -> Bytes {
    key(4, &[account.into(), name.to_ascii_lowercase().into()])
}

/// All instance profiles of an account.
pub(crate) fn profiles(account: &str) -> KeyRange {
    all(4, &[account.into()])
}

/// The secret behind all temporary keys.
pub(crate) fn master() -> Bytes {
    key(5, &[])
}

/// The counter of changes.
pub(crate) fn generation() -> Bytes {
    key(6, &[])
}

/// The last use of an access key.
pub(crate) fn last_used(id: &str) -> Bytes {
    key(7, &[id.into()])
}

/// An issuer of web identity tokens; `url` is without its scheme.
pub(crate) fn issuer(account: &str, url: &str) -> Bytes {
    key(8, &[account.into(), url.into()])
}

/// All issuers of an account.
pub(crate) fn issuers(account: &str) -> KeyRange {
    all(8, &[account.into()])
}

/// What the operator said of an account.
pub(crate) fn account(id: &str) -> Bytes {
    key(9, &[id.into()])
}

/// All accounts of which the operator said something.
pub(crate) fn accounts() -> KeyRange {
    all(9, &[])
}

#[derive(Serialize)]
struct Written<'a, T> {
    format: u32,
    record: &'a T,
}

#[derive(Deserialize)]
struct Read<T> {
    record: T,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// A record as a value.
pub(crate) fn encode<T: Serialize>(record: &T) -> Bytes {
    let json = serde_json::to_vec(&Written { format: FORMAT, record });
    Bytes::from(json.expect("records are structs of strings, numbers, lists and maps with string or number keys"))
}

/// A record out of a value.
///
/// # Errors
/// `Corrupt` when the value is no such record or was written by a newer program.
pub(crate) fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, kv::Error> {
    // The text of a JSON error may quote a secret: it is not passed on.
    let unreadable = |_| kv::Error::corrupt("a record of the identity service cannot be read");
    let Format { format } = serde_json::from_slice(value).map_err(unreadable)?;
    if format != FORMAT {
        return Err(kv::Error::corrupt(format!("a record of format {format}; this program knows {FORMAT}")));
    }
    Ok(serde_json::from_slice::<Read<T>>(value).map_err(unreadable)?.record)
}

/// The record at `key`.
pub(crate) async fn get<T: DeserializeOwned>(tx: &Txn, key: &Bytes) -> Result<Option<T>, kv::Error> {
    tx.get(key).await?.map(|value| decode(&value)).transpose()
}

/// Records read at once: of the largest that the store takes (white space counts for no quota), below what one range may
/// hold.
const PAGE: usize = kv::limits::TRANSACTION_BYTES_MAX / (2 * kv::limits::VALUE_BYTES_MAX);

/// All records of a range, in the order of their keys.
pub(crate) async fn list<T: DeserializeOwned>(tx: &Txn, range: &KeyRange) -> Result<Vec<T>, kv::Error> {
    pick(tx, range, Some).await
}

/// What `pick` makes of the records of a range, in the order of their keys. Besides, a page of them is in memory.
pub(crate) async fn pick<T: DeserializeOwned, U>(
    tx: &Txn,
    range: &KeyRange,
    mut pick: impl FnMut(T) -> Option<U>,
) -> Result<Vec<U>, kv::Error> {
    let mut found = Vec::new();
    walk(tx, range, |value| {
        found.extend(pick(decode(value)?));
        Ok(())
    })
    .await?;
    Ok(found)
}

/// How many records a range has.
pub(crate) async fn number(tx: &Txn, range: &KeyRange) -> Result<usize, kv::Error> {
    let mut number = 0;
    walk(tx, range, |_| {
        number += 1;
        Ok(())
    })
    .await?;
    Ok(number)
}

async fn walk(
    tx: &Txn,
    range: &KeyRange,
    mut visit: impl FnMut(&Bytes) -> Result<(), kv::Error>,
) -> Result<(), kv::Error> {
    let mut begin = range.begin.clone();
    loop {
        let pairs = tx.range(&begin, &range.end, kv::RangeOptions { limit: PAGE, ..Default::default() }).await?;
        for (_, value) in &pairs {
            visit(value)?;
        }
        match pairs.last() {
            Some((last, _)) if pairs.len() == PAGE => begin = [last.as_ref(), &[0]].concat().into(),
            _ => return Ok(()),
        }
    }
}

/// Writes the record at `key`.
pub(crate) fn set<T: Serialize>(tx: &Txn, key: Bytes, record: &T) {
    tx.set(key, encode(record));
}

/// Tells every cache on every node that something has changed. Part of each transaction that changes who may do what.
pub(crate) fn touch(tx: &Txn) {
    tx.atomic(kv::Atomic::Add, generation(), Bytes::copy_from_slice(&1_u64.to_le_bytes()));
}
