//! Managed policies and their versions.

use std::collections::BTreeMap;

use model::iam as m;
use sys::Timestamp;
use wire::Cx;

use super::{Page, check_document, counted, encoded, find_managed, is_below, merge_tags, page, tag_list, tag_map};
use crate::aws_managed;
use crate::error::IamError;
use crate::keys::{self, Identity, IdentityKind, Managed, Version};
use crate::limits::{MANAGED_POLICY_CHARS_MAX, POLICY_VERSIONS_MAX};
use crate::policy::Kind;
use crate::policy_names;
use crate::quotas::{self, Counted};
use crate::session::unique_id;
use crate::state::Iam;

/// Checks a managed policy's document.
fn check(document: &str) -> Result<(), IamError> {
    check_document(document, Kind::Identity)?;
    match counted(document) > MANAGED_POLICY_CHARS_MAX {
        true => Err(IamError::quota("PolicySize", MANAGED_POLICY_CHARS_MAX)),
        false => Ok(()),
    }
}

/// How often a policy is attached, and how often it is a boundary.
pub(crate) struct Uses {
    pub(crate) attached: BTreeMap<String, i32>,
    bounds: BTreeMap<String, i32>,
}

impl Uses {
    pub(crate) fn of(identities: &[Identity]) -> Self {
        let mut uses = Self { attached: BTreeMap::new(), bounds: BTreeMap::new() };
        for identity in identities {
            for arn in &identity.attached {
                *uses.attached.entry(arn.clone()).or_default() += 1;
            }
            if let Some(arn) = &identity.boundary {
                *uses.bounds.entry(arn.clone()).or_default() += 1;
            }
        }
        uses
    }
}

impl Iam {
    /// Every user, group and role that is `wanted`, [sketched](Identity::sketched).
    pub(crate) async fn everyone(
        &self,
        account: &str,
        wanted: impl Fn(&Identity) -> bool + Send + Sync,
    ) -> Result<Vec<Identity>, IamError> {
        let mut all = Vec::new();
        for kind in [IdentityKind::User, IdentityKind::Group, IdentityKind::Role] {
            all.extend(self.all(account, kind, &wanted).await?);
        }
        Ok(all)
    }

    async fn uses(&self, account: &str) -> Result<Uses, IamError> {
        let is_held = |one: &Identity| !one.attached.is_empty() || one.boundary.is_some();
        Ok(Uses::of(&self.everyone(account, is_held).await?))
    }

    /// A policy of the account or of AWS's table.
    pub(crate) async fn policy(&self, account: &str, arn: &str) -> Result<Managed, IamError> {
        if let Some(document) = aws_managed::document(arn) {
            return Ok(aws_policy(arn, document));
        }
        self.0.kv.read(|tx| async move { find_managed(&tx, account, arn).await }).await
    }

    /// Changes one of the account's policies.
    async fn edit_policy<T, F>(&self, account: &str, arn: &str, edit: F) -> Result<T, IamError>
    where
        T: Send,
        F: Fn(&mut Managed) -> Result<T, IamError> + Send + Sync,
    {
        let edit = &edit;
        self.change(move |tx| async move {
            let mut policy = find_managed(&tx, account, arn).await?;
            let value = edit(&mut policy)?;
            keys::set(&tx, keys::managed(account, arn), &policy);
            Ok(value)
        })
        .await
    }
}

/// A policy of AWS's as if it were a record. AWS's policies have had the same creation for ever: the epoch.
fn aws_policy(arn: &str, document: String) -> Managed {
    let name = arn.rsplit('/').next().unwrap_or_default();
    let path = arn.strip_prefix("arn:aws:iam::aws:policy").and_then(|rest| rest.strip_suffix(name)).unwrap_or("/");
    Managed {
        account: "aws".to_owned(),
        path: path.to_owned(),
        name: name.to_owned(),
        id: format!("ANPA{:A<17.17}", name.to_ascii_uppercase()),
        description: None,
        created_us: 0,
        updated_us: 0,
        tags: BTreeMap::new(),
        default_version: 1,
        next_version: 2,
        versions: BTreeMap::from([(1, Version { document, created_us: 0 })]),
    }
}

pub(crate) fn shown(policy: &Managed, uses: &Uses) -> m::Policy {
    let arn = policy.arn();
    m::Policy {
        attachment_count: Some(uses.attached.get(&arn).copied().unwrap_or(0)),
        create_date: Some(Timestamp::from_unix_us(policy.created_us)),
        default_version_id: Some(format!("v{}", policy.default_version)),
        description: policy.description.clone(),
        is_attachable: Some(true),
        path: Some(policy.path.clone()),
        permissions_boundary_usage_count: Some(uses.bounds.get(&arn).copied().unwrap_or(0)),
        policy_id: Some(policy.id.clone()),
        policy_name: Some(policy.name.clone()),
        tags: tag_list(&policy.tags),
        update_date: Some(Timestamp::from_unix_us(policy.updated_us)),
        arn: Some(arn),
    }
}

pub(crate) fn shown_version(policy: &Managed, number: u32, with_document: bool) -> Option<m::PolicyVersion> {
    let version = policy.versions.get(&number)?;
    Some(m::PolicyVersion {
        create_date: Some(Timestamp::from_unix_us(version.created_us)),
        document: with_document.then(|| encoded(&version.document)),
        is_default_version: Some(number == policy.default_version),
        version_id: Some(format!("v{number}")),
    })
}

fn number(policy: &Managed, id: &str) -> Result<u32, IamError> {
    let number = id.strip_prefix('v').and_then(|digits| digits.parse().ok());
    number.filter(|number| policy.versions.contains_key(number)).ok_or_else(|| {
        let message = format!("Policy {} version {id} does not exist or is not attachable.", policy.arn());
        IamError::NoSuchEntity(message)
    })
}

pub(crate) async fn create(iam: Iam, cx: Cx, input: m::CreatePolicyInput) -> Result<m::CreatePolicyOutput, IamError> {
    check(&input.policy_document)?;
    let (account, now) = (cx.account.as_str(), iam.now_us());
    let made = Managed {
        account: account.to_owned(),
        path: input.path.unwrap_or_else(|| "/".to_owned()),
        name: input.policy_name,
        id: unique_id("ANPA", &iam.0.rng),
        description: input.description,
        created_us: now,
        updated_us: now,
        tags: tag_map(input.tags)?,
        default_version: 1,
        next_version: 2,
        versions: BTreeMap::from([(1, Version { document: input.policy_document, created_us: now })]),
    };
    let new = &made;
    iam.change(move |tx| async move {
        policy_names::take(&tx, new).await?;
        quotas::add(&tx, account, Counted::Policies).await?;
        keys::set(&tx, keys::managed(account, &new.arn()), new);
        Ok(())
    })
    .await?;
    let none = Uses::of(&[]);
    Ok(m::CreatePolicyOutput { policy: Some(shown(&made, &none)) })
}

pub(crate) async fn get(iam: Iam, cx: Cx, input: m::GetPolicyInput) -> Result<m::GetPolicyOutput, IamError> {
    let policy = iam.policy(cx.account.as_str(), &input.policy_arn).await?;
    Ok(m::GetPolicyOutput { policy: Some(shown(&policy, &iam.uses(cx.account.as_str()).await?)) })
}

pub(crate) async fn list(iam: Iam, cx: Cx, input: m::ListPoliciesInput) -> Result<m::ListPoliciesOutput, IamError> {
    let account = cx.account.as_str();
    let range = keys::all_managed(account);
    let pick = |policy: Managed| Some(policy.sketched());
    let mut all = iam.0.kv.read(|tx| async move { keys::pick(&tx, &range, pick).await }).await?;
    let scope = input.scope.unwrap_or(m::PolicyScopeType::All);
    if scope == m::PolicyScopeType::Aws {
        all.clear();
    }
    if scope != m::PolicyScopeType::Local {
        let arns = aws_managed::POLICIES.iter().map(|(name, _)| format!("arn:aws:iam::aws:policy/{name}"));
        all.extend(arns.filter_map(|arn| aws_managed::document(&arn).map(|document| aws_policy(&arn, document))));
    }
    let uses = iam.uses(account).await?;
    let prefix = input.path_prefix.as_deref().unwrap_or("/");
    all.retain(|policy| policy.path.starts_with(prefix));
    if input.only_attached == Some(true) {
        all.retain(|policy| uses.attached.contains_key(&policy.arn()));
    }
    let page = page(all, input.marker.as_deref(), input.max_items, Managed::arn)?;
    // As on AWS, lists show no tags.
    let policies = page.items.iter().map(|policy| m::Policy { tags: None, ..shown(policy, &uses) }).collect();
    Ok(m::ListPoliciesOutput { is_truncated: page.is_truncated, marker: page.marker, policies: Some(policies) })
}

pub(crate) async fn delete(iam: Iam, cx: Cx, input: m::DeletePolicyInput) -> Result<m::DeletePolicyOutput, IamError> {
    let (account, arn) = (cx.account.as_str(), input.policy_arn.as_str());
    iam.change(move |tx| async move {
        let policy = find_managed(&tx, account, arn).await?;
        for kind in [IdentityKind::User, IdentityKind::Group, IdentityKind::Role] {
            let holds =
                |one: Identity| (one.attached.contains(arn) || one.boundary.as_deref() == Some(arn)).then_some(());
            if !keys::pick(&tx, &keys::identities(account, kind), holds).await?.is_empty() {
                let message = "Cannot delete a policy attached to entities.";
                return Err(IamError::DeleteConflict(message.to_owned()));
            }
        }
        if policy.versions.len() > 1 {
            let message = "This policy has more than one version. Before you delete a policy, you must delete the \
                           policy's versions. The default version is deleted with the policy.";
            return Err(IamError::DeleteConflict(message.to_owned()));
        }
        quotas::remove(&tx, account, Counted::Policies).await?;
        policy_names::free(&tx, &policy).await?;
        tx.clear(keys::managed(account, arn));
        Ok(())
    })
    .await?;
    Ok(m::DeletePolicyOutput {})
}

pub(crate) async fn create_version(
    iam: Iam,
    cx: Cx,
    input: m::CreatePolicyVersionInput,
) -> Result<m::CreatePolicyVersionOutput, IamError> {
    check(&input.policy_document)?;
    let created_us = iam.now_us();
    let made = iam.edit_policy(cx.account.as_str(), &input.policy_arn, |policy| {
        if policy.versions.len() >= POLICY_VERSIONS_MAX {
            return Err(IamError::LimitExceeded(format!(
                "A managed policy can have up to {POLICY_VERSIONS_MAX} versions. Before you create a new version, you \
                 must delete an existing version."
            )));
        }
        let number = policy.next_version;
        policy.next_version += 1;
        policy.updated_us = created_us;
        policy.versions.insert(number, Version { document: input.policy_document.clone(), created_us });
        if input.set_as_default == Some(true) {
            policy.default_version = number;
        }
        Ok(shown_version(policy, number, false))
    });
    Ok(m::CreatePolicyVersionOutput { policy_version: made.await? })
}

pub(crate) async fn get_version(
    iam: Iam,
    cx: Cx,
    input: m::GetPolicyVersionInput,
) -> Result<m::GetPolicyVersionOutput, IamError> {
    let policy = iam.policy(cx.account.as_str(), &input.policy_arn).await?;
    let number = number(&policy, &input.version_id)?;
    Ok(m::GetPolicyVersionOutput { policy_version: shown_version(&policy, number, true) })
}

pub(crate) async fn delete_version(
    iam: Iam,
    cx: Cx,
    input: m::DeletePolicyVersionInput,
) -> Result<m::DeletePolicyVersionOutput, IamError> {
    iam.edit_policy(cx.account.as_str(), &input.policy_arn, |policy| {
        let number = number(policy, &input.version_id)?;
        if number == policy.default_version {
            let message = "Cannot delete the default version of a policy.";
            return Err(IamError::DeleteConflict(message.to_owned()));
        }
        policy.versions.remove(&number);
        Ok(())
    })
    .await?;
    Ok(m::DeletePolicyVersionOutput {})
}

pub(crate) async fn versions(
    iam: Iam,
    cx: Cx,
    input: m::ListPolicyVersionsInput,
) -> Result<m::ListPolicyVersionsOutput, IamError> {
    let policy = iam.policy(cx.account.as_str(), &input.policy_arn).await?;
    // The newest first.
    let all: Vec<u32> = policy.versions.keys().copied().collect();
    let page = page(all, input.marker.as_deref(), input.max_items, |number| format!("{:010}", u32::MAX - number))?;
    let versions = page.items.iter().filter_map(|number| shown_version(&policy, *number, false)).collect();
    Ok(m::ListPolicyVersionsOutput { is_truncated: page.is_truncated, marker: page.marker, versions: Some(versions) })
}

pub(crate) async fn set_default(
    iam: Iam,
    cx: Cx,
    input: m::SetDefaultPolicyVersionInput,
) -> Result<m::SetDefaultPolicyVersionOutput, IamError> {
    let now = iam.now_us();
    iam.edit_policy(cx.account.as_str(), &input.policy_arn, |policy| {
        policy.default_version = number(policy, &input.version_id)?;
        policy.updated_us = now;
        Ok(())
    })
    .await?;
    Ok(m::SetDefaultPolicyVersionOutput {})
}

pub(crate) async fn tag(iam: Iam, cx: Cx, input: m::TagPolicyInput) -> Result<m::TagPolicyOutput, IamError> {
    let edit = |policy: &mut Managed| {
        let given = input.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone()));
        merge_tags(&mut policy.tags, given)
    };
    iam.edit_policy(cx.account.as_str(), &input.policy_arn, edit).await?;
    Ok(m::TagPolicyOutput {})
}

pub(crate) async fn untag(iam: Iam, cx: Cx, input: m::UntagPolicyInput) -> Result<m::UntagPolicyOutput, IamError> {
    iam.edit_policy(cx.account.as_str(), &input.policy_arn, |policy| {
        policy.tags.retain(|key, _| !input.tag_keys.iter().any(|gone| gone.eq_ignore_ascii_case(key)));
        Ok(())
    })
    .await?;
    Ok(m::UntagPolicyOutput {})
}

pub(crate) async fn tags(iam: Iam, cx: Cx, input: m::ListPolicyTagsInput) -> Result<m::ListPolicyTagsOutput, IamError> {
    let policy = iam.policy(cx.account.as_str(), &input.policy_arn).await?;
    let tags = tag_list(&policy.tags).unwrap_or_default();
    let page = page(tags, input.marker.as_deref(), input.max_items, |tag| tag.key.clone())?;
    Ok(m::ListPolicyTagsOutput { is_truncated: page.is_truncated, marker: page.marker, tags: page.items })
}

pub(crate) async fn entities(
    iam: Iam,
    cx: Cx,
    input: m::ListEntitiesForPolicyInput,
) -> Result<m::ListEntitiesForPolicyOutput, IamError> {
    let account = cx.account.as_str();
    iam.policy(account, &input.policy_arn).await?;
    let arn = &input.policy_arn;
    let as_boundary = input.policy_usage_filter == Some(m::PolicyUsageType::PermissionsBoundary);
    let wanted = |one: &Identity| {
        let holds = if as_boundary { one.boundary.as_ref() == Some(arn) } else { one.attached.contains(arn) };
        let kind = input.entity_filter.as_ref();
        holds
            && is_below(&one.path, input.path_prefix.as_deref())
            && kind.is_none_or(|kind| kind.as_str().eq_ignore_ascii_case(one.kind.word()))
    };
    let all = iam.everyone(account, wanted).await?;
    let order = |one: &Identity| format!("{}/{}", one.kind.word(), one.name.to_ascii_lowercase());
    let Page { items, is_truncated, marker } = page(all, input.marker.as_deref(), input.max_items, order)?;
    let (mut users, mut groups, mut roles) = (Vec::new(), Vec::new(), Vec::new());
    for one in items {
        let (id, name) = (Some(one.id), Some(one.name));
        match one.kind {
            IdentityKind::User => users.push(m::PolicyUser { user_id: id, user_name: name }),
            IdentityKind::Group => groups.push(m::PolicyGroup { group_id: id, group_name: name }),
            IdentityKind::Role => roles.push(m::PolicyRole { role_id: id, role_name: name }),
        }
    }
    let (policy_users, policy_groups, policy_roles) = (Some(users), Some(groups), Some(roles));
    Ok(m::ListEntitiesForPolicyOutput { is_truncated, marker, policy_groups, policy_roles, policy_users })
}
