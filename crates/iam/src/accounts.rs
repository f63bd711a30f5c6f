//! Accounts: made by the operator, each with a root key of its own, fully separate in every service because every
//! key of every service begins with the account.

use std::collections::BTreeMap;

use serde::Serialize;
use wire::AccountId;

use crate::error::IamError;
use crate::keys::{self, AccessKeyRecord, Account};
use crate::ops::check_document;
use crate::policy::{Kind, Named};
use crate::session::{access_key_id, secret_access_key};
use crate::state::Iam;

/// An account and its new root key, which is shown only once. `Debug` shows no secret.
#[derive(Clone)]
pub struct NewAccount {
    /// Twelve digits.
    pub id: AccountId,
    /// `AKIA…`
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
}

impl std::fmt::Debug for NewAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewAccount").field("id", &self.id).finish_non_exhaustive()
    }
}

/// An account as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownAccount {
    /// Twelve digits.
    pub id: String,
    /// What the operator calls it.
    pub name: String,
    /// `None` for the installation's own account.
    pub root_access_key_id: Option<String>,
    /// Names of its service control policies.
    pub service_control_policies: Vec<String>,
}

fn root_key(account: &str, secret: &str, created_us: i64) -> AccessKeyRecord {
    AccessKeyRecord {
        account: account.to_owned(),
        user: String::new(),
        user_id: String::new(),
        secret: secret.to_owned(),
        active: true,
        created_us,
        root: true,
    }
}

impl Iam {
    /// Makes an account with a root key. Without `id` a free number is drawn.
    ///
    /// # Errors
    /// `EntityAlreadyExists` when the account exists, or is `own`, the installation's.
    pub async fn create_account(
        &self,
        own: &AccountId,
        id: Option<AccountId>,
        name: &str,
    ) -> Result<NewAccount, IamError> {
        let id = match id {
            Some(id) => id,
            None => AccountId::parse(&format!("{:012}", 100_000_000_000 + self.0.rng.below(900_000_000_000)))
                .ok_or_else(|| IamError::InvalidInput("An account id has 12 digits.".to_owned()))?,
        };
        let key_id = access_key_id("AKIA", &id, &self.0.rng);
        let (secret, created_us) = (secret_access_key(&self.0.rng), self.now_us());
        let (account, own, key, made) = (id.as_str(), own.as_str(), &key_id, &secret);
        self.change(move |tx| async move {
            if account == own || tx.get(keys::account(account)).await?.is_some() {
                return Err(IamError::EntityAlreadyExists(format!("Account {account} already exists.")));
            }
            let record = Account {
                id: account.to_owned(),
                name: name.to_owned(),
                root_key_id: Some(key.clone()),
                created_us,
                service_control: BTreeMap::new(),
            };
            keys::set(&tx, keys::account(account), &record);
            keys::set(&tx, keys::access_key(key), &root_key(account, made, created_us));
            Ok(())
        })
        .await?;
        Ok(NewAccount { id, access_key_id: key_id, secret_access_key: secret })
    }

    /// Gives an account another root key in place of the one that it has, which is refused from now on: it was lost, or
    /// somebody else has it.
    ///
    /// # Errors
    /// `NoSuchEntity` when the operator made no such account: the installation's own root key is in its folder.
    pub async fn rotate_root_key(&self, id: &AccountId) -> Result<NewAccount, IamError> {
        let key_id = access_key_id("AKIA", id, &self.0.rng);
        let (secret, created_us) = (secret_access_key(&self.0.rng), self.now_us());
        let (account, key, made) = (id.as_str(), &key_id, &secret);
        self.change(move |tx| async move {
            let missing = || IamError::NoSuchEntity(format!("There is no account {account} that was created here."));
            let mut record = keys::get::<Account>(&tx, &keys::account(account)).await?.ok_or_else(missing)?;
            let old = record.root_key_id.replace(key.clone()).ok_or_else(missing)?;
            tx.clear(keys::access_key(&old));
            keys::set(&tx, keys::account(account), &record);
            keys::set(&tx, keys::access_key(key), &root_key(account, made, created_us));
            Ok(())
        })
        .await?;
        Ok(NewAccount { id: id.clone(), access_key_id: key_id, secret_access_key: secret })
    }

    /// All accounts that the operator made or bound by service control policies, by number.
    ///
    /// # Errors
    /// The store's.
    pub async fn accounts(&self) -> Result<Vec<ShownAccount>, IamError> {
        let range = keys::accounts();
        let found = self.0.kv.read(|tx| async move { keys::list::<Account>(&tx, &range).await }).await?;
        let shown = found.into_iter().map(|account| ShownAccount {
            id: account.id,
            name: account.name,
            root_access_key_id: account.root_key_id,
            service_control_policies: account.service_control.into_keys().collect(),
        });
        Ok(shown.collect())
    }

    /// Binds an account by these service control policies (by name) in place of those that it had.
    ///
    /// # Errors
    /// `MalformedPolicyDocument`; `NoSuchEntity` when nobody made the account and it is not `own`.
    pub async fn set_service_control(
        &self,
        own: &AccountId,
        account: &AccountId,
        policies: BTreeMap<String, String>,
    ) -> Result<(), IamError> {
        for text in policies.values() {
            check_document(text, Kind::ServiceControl)?;
        }
        let (own, account, policies) = (own.as_str(), account.as_str(), &policies);
        self.change(move |tx| async move {
            let mut record = match keys::get::<Account>(&tx, &keys::account(account)).await? {
                Some(record) => record,
                None if account == own => Account { id: own.to_owned(), ..Account::default() },
                None => return Err(IamError::NoSuchEntity(format!("There is no account {account}."))),
            };
            record.service_control.clone_from(policies);
            keys::set(&tx, keys::account(account), &record);
            Ok(())
        })
        .await
    }

    /// The service control policies over an account, compiled; `None` when it has none.
    pub(crate) async fn service_control_of(&self, account: &str) -> Result<Option<Vec<Named>>, IamError> {
        let key = keys::account(account);
        let found = self.0.kv.read(|tx| async move { keys::get::<Account>(&tx, &key).await }).await?;
        let policies = found.map(|found| found.service_control).filter(|policies| !policies.is_empty());
        let Some(policies) = policies else { return Ok(None) };
        let compiled = policies.iter().map(|(name, text)| self.named(name, text, Kind::ServiceControl));
        compiled.collect::<Result<_, _>>().map(Some)
    }
}
