//! How much an account may have: counted in the store, so that nobody has to look through it all.
//!
//! Source: IAM user guide, "IAM and AWS STS quotas".

use kv::{KeyRange, Txn};

use crate::error::IamError;
use crate::keys::{self, IdentityKind};
use crate::limits::{
    ACCOUNT_GROUPS_MAX, ACCOUNT_POLICIES_MAX, ACCOUNT_PROFILES_MAX, ACCOUNT_ROLES_MAX, ACCOUNT_USERS_MAX,
};

/// What is counted; the ordinal stands in keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    Users = 1,
    Groups = 2,
    Roles = 3,
    /// Customer managed ones.
    Policies = 4,
    Profiles = 5,
}

impl From<IdentityKind> for Counted {
    fn from(kind: IdentityKind) -> Self {
        match kind {
            IdentityKind::User => Self::Users,
            IdentityKind::Group => Self::Groups,
            IdentityKind::Role => Self::Roles,
        }
    }
}

impl Counted {
    /// The quota's name in messages, and how many an account may have.
    pub(crate) fn quota(self) -> (&'static str, usize) {
        match self {
            Self::Users => ("UsersPerAccount", ACCOUNT_USERS_MAX),
            Self::Groups => ("GroupsPerAccount", ACCOUNT_GROUPS_MAX),
            Self::Roles => ("RolesPerAccount", ACCOUNT_ROLES_MAX),
            Self::Policies => ("PoliciesPerAccount", ACCOUNT_POLICIES_MAX),
            Self::Profiles => ("InstanceProfilesPerAccount", ACCOUNT_PROFILES_MAX),
        }
    }

    fn range(self, account: &str) -> KeyRange {
        match self {
            Self::Users => keys::identities(account, IdentityKind::User),
            Self::Groups => keys::identities(account, IdentityKind::Group),
            Self::Roles => keys::identities(account, IdentityKind::Role),
            Self::Policies => keys::all_managed(account),
            Self::Profiles => keys::profiles(account),
        }
    }
}

/// How many the account has, as far as the count knows. Older programs did not count: then they are counted now.
pub(crate) async fn number(tx: &Txn, account: &str, of: Counted) -> Result<usize, IamError> {
    match keys::get::<usize>(tx, &keys::count(account, of as u64)).await? {
        Some(number) => Ok(number),
        None => Ok(keys::number(tx, &of.range(account)).await?),
    }
}

/// One more is about to be stored. A count that says no is not believed before everything is counted anew: a program that
/// did not count, in between, must not lock the account out for good.
///
/// # Errors
/// `LimitExceeded` when the account has as many as it may.
pub(crate) async fn add(tx: &Txn, account: &str, of: Counted) -> Result<(), IamError> {
    let (mut number, (name, max)) = (number(tx, account, of).await?, of.quota());
    if number >= max {
        number = keys::number(tx, &of.range(account)).await?;
    }
    if number >= max {
        return Err(IamError::quota(name, max));
    }
    keys::set(tx, keys::count(account, of as u64), &(number + 1));
    Ok(())
}

/// One is about to be cleared.
pub(crate) async fn remove(tx: &Txn, account: &str, of: Counted) -> Result<(), IamError> {
    let number = number(tx, account, of).await?;
    keys::set(tx, keys::count(account, of as u64), &number.saturating_sub(1));
    Ok(())
}
