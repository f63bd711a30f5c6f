//! What an account has, in numbers.

use std::collections::BTreeMap;

use model::iam as m;
use wire::Cx;

use crate::error::IamError;
use crate::keys::{self, Managed};
use crate::limits;
use crate::quotas::{self, Counted};
use crate::state::Iam;

const COUNTED: [(&str, &str, Counted); 5] = [
    ("Users", "UsersQuota", Counted::Users),
    ("Groups", "GroupsQuota", Counted::Groups),
    ("Roles", "RolesQuota", Counted::Roles),
    ("Policies", "PoliciesQuota", Counted::Policies),
    ("InstanceProfiles", "InstanceProfilesQuota", Counted::Profiles),
];

pub(crate) async fn summary(
    iam: Iam,
    cx: Cx,
    _: m::GetAccountSummaryInput,
) -> Result<m::GetAccountSummaryOutput, IamError> {
    let account = cx.account.as_str();
    let all = keys::all_managed(account);
    let read = iam.0.kv.read(|tx| async move {
        let mut numbers = BTreeMap::new();
        for (name, quota, counted) in COUNTED {
            numbers.insert(name, quotas::number(&tx, account, counted).await?);
            numbers.insert(quota, counted.quota().1);
        }
        let versions = keys::pick(&tx, &all, |policy: Managed| Some(policy.versions.len())).await?;
        numbers.insert("PolicyVersionsInUse", versions.into_iter().sum());
        Ok::<_, IamError>(numbers)
    });
    let mut numbers = read.await?;
    numbers.insert("AccessKeysPerUserQuota", limits::ACCESS_KEYS_MAX);
    numbers.insert("AttachedPoliciesPerRoleQuota", limits::ATTACHED_POLICIES_MAX);
    numbers.insert("AttachedPoliciesPerUserQuota", limits::ATTACHED_POLICIES_MAX);
    numbers.insert("AttachedPoliciesPerGroupQuota", limits::ATTACHED_POLICIES_MAX);
    numbers.insert("GroupsPerUserQuota", limits::GROUPS_PER_USER_MAX);
    numbers.insert("PolicySizeQuota", limits::MANAGED_POLICY_CHARS_MAX);
    numbers.insert("VersionsPerPolicyQuota", limits::POLICY_VERSIONS_MAX);
    let shown = |(name, number): (&str, usize)| (name.to_owned(), i32::try_from(number).unwrap_or(i32::MAX));
    Ok(m::GetAccountSummaryOutput { summary_map: Some(numbers.into_iter().map(shown).collect()) })
}
