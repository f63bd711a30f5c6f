//! Who stands behind an access key id.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use wire::sigv4::Credential;
use wire::{AccountId, Principal};

/// One access key.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Secret and session token.
    pub credential: Credential,
    /// Who acts with it.
    pub principal: Principal,
    /// The account that it acts in.
    pub account: AccountId,
}

/// The access keys that are valid now: the root key and the temporary keys of execution environments.
/// Cloning is cheap; clones share the keys. A removed key fails from the next request on.
#[derive(Clone, Debug, Default)]
pub struct CredentialStore {
    entries: Arc<RwLock<HashMap<String, Entry>>>,
}

impl CredentialStore {
    /// No keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the root key of `account`.
    pub fn insert_root(&self, access_key_id: impl Into<String>, credential: Credential, account: AccountId) {
        let principal = Principal::Root { account: account.clone() };
        self.insert(access_key_id, Entry { credential, principal, account });
    }

    /// Adds or replaces a key.
    pub fn insert(&self, access_key_id: impl Into<String>, entry: Entry) {
        self.entries.write().insert(access_key_id.into(), entry);
    }

    /// Forgets a key; `false` when it was not there.
    pub fn remove(&self, access_key_id: &str) -> bool {
        self.entries.write().remove(access_key_id).is_some()
    }

    /// The key's entry. Access key ids are public, so a plain lookup leaks nothing; secrets and tokens are compared
    /// in constant time by `wire::sigv4`.
    pub fn get(&self, access_key_id: &str) -> Option<Entry> {
        self.entries.read().get(access_key_id).cloned()
    }
}
