//! Whose names managed policies have: one policy of an account for each name, whatever its path, so that a new one asks one
//! key and does not read all the others.

use kv::Txn;

use crate::error::IamError;
use crate::keys::{self, Managed};

/// Gives the policy its name.
///
/// # Errors
/// `EntityAlreadyExists`.
pub(crate) async fn take(tx: &Txn, policy: &Managed) -> Result<(), IamError> {
    let account = policy.account.as_str();
    enter(tx, account).await?;
    let key = keys::policy_name(account, &policy.name);
    let holder: Option<String> = keys::get(tx, &key).await?;
    // An older program deletes a policy and leaves its name, and makes one without entering it.
    for arn in holder.into_iter().chain([policy.arn()]) {
        if tx.get(keys::managed(account, &arn)).await?.is_some() {
            let message = format!("A policy called {} already exists. Duplicate names are not allowed.", policy.name);
            return Err(IamError::EntityAlreadyExists(message));
        }
    }
    keys::set(tx, key, &policy.arn());
    Ok(())
}

/// The policy of this ARN is about to be cleared.
pub(crate) async fn free(tx: &Txn, policy: &Managed) -> Result<(), IamError> {
    let key = keys::policy_name(&policy.account, &policy.name);
    if keys::get::<String>(tx, &key).await?.is_some_and(|holder| holder == policy.arn()) {
        tx.clear(key);
    }
    Ok(())
}

/// Older programs entered no names: the first new policy of an account enters those of all.
async fn enter(tx: &Txn, account: &str) -> Result<(), IamError> {
    let entered = keys::policy_names_entered(account);
    if tx.get(&entered).await?.is_some() {
        return Ok(());
    }
    let named = |policy: Managed| Some((keys::policy_name(account, &policy.name), policy.arn()));
    for (key, arn) in keys::pick(tx, &keys::all_managed(account), named).await? {
        keys::set(tx, key, &arn);
    }
    keys::set(tx, entered, &());
    Ok(())
}
