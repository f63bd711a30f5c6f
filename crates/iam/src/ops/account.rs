//! What an account has, in numbers.

use std::collections::BTreeMap;

use model::iam as m;
use wire::Cx;

use crate::error::IamError;
use crate::keys::{self, IdentityKind, Managed, Profile};
use crate::limits;
use crate::state::Iam;

pub(crate) async fn summary(
    iam: Iam,
    cx: Cx,
    _: m::GetAccountSummaryInput,
) -> Result<m::GetAccountSummaryOutput, IamError> {
    let account = cx.account.as_str();
    let mut numbers = BTreeMap::new();
    let kinds = [("Users", IdentityKind::User), ("Groups", IdentityKind::Group), ("Roles", IdentityKind::Role)];
    for (name, kind) in kinds {
        numbers.insert(name, iam.all(account, kind, None).await?.len());
    }
    let (policies, profiles) = (keys::all_managed(account), keys::profiles(account));
    let read = iam.0.kv.read(|tx| async move {
        let policies = keys::list::<Managed>(&tx, &policies).await?;
        Ok::<_, IamError>((policies, keys::list::<Profile>(&tx, &profiles).await?.len()))
    });
    let (policies, profiles) = read.await?;
    numbers.insert("Policies", policies.len());
    numbers.insert("PolicyVersionsInUse", policies.iter().map(|policy| policy.versions.len()).sum());
    numbers.insert("InstanceProfiles", profiles);
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
