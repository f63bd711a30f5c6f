//! GetAccountAuthorizationDetails: everything that decides over an account, page by page.

use model::iam as m;
use sys::Timestamp;
use wire::Cx;

use super::attachments::attached_policy;
use super::policies::{Uses, shown, shown_version};
use super::{Filling, boundary, encoded, page, profiles, tag_list};
use crate::error::IamError;
use crate::keys::{self, Identity, IdentityKind, Managed};
use crate::state::Iam;

/// One entry of the lists, which are paged together.
enum Entry {
    Identity(Box<Identity>),
    Policy(Box<Managed>),
}

impl Entry {
    fn kind(&self) -> m::EntityType {
        match self {
            Self::Identity(one) => match one.kind {
                IdentityKind::User => m::EntityType::User,
                IdentityKind::Group => m::EntityType::Group,
                IdentityKind::Role => m::EntityType::Role,
            },
            Self::Policy(policy) if policy.account == "aws" => m::EntityType::AWSManagedPolicy,
            Self::Policy(_) => m::EntityType::LocalManagedPolicy,
        }
    }

    /// Users, groups, roles, policies, each by name: also the place where the next page begins.
    fn place(&self) -> String {
        match self {
            Self::Identity(one) => format!("{}/{}", one.kind as u8, one.name.to_ascii_lowercase()),
            Self::Policy(policy) => format!("4/{}", policy.arn()),
        }
    }
}

fn attached(identity: &Identity) -> Option<Vec<m::AttachedPolicy>> {
    Some(identity.attached.iter().map(|arn| attached_policy(arn)).collect())
}

fn inline(identity: &Identity) -> Option<Vec<m::PolicyDetail>> {
    let shown = identity
        .inline
        .iter()
        .map(|(name, text)| m::PolicyDetail { policy_document: Some(encoded(text)), policy_name: Some(name.clone()) });
    Some(shown.collect())
}

fn user(one: &Identity) -> m::UserDetail {
    m::UserDetail {
        arn: Some(one.arn()),
        attached_managed_policies: attached(one),
        create_date: Some(Timestamp::from_unix_us(one.created_us)),
        group_list: Some(one.groups.iter().cloned().collect()),
        path: Some(one.path.clone()),
        permissions_boundary: boundary(one),
        tags: tag_list(&one.tags),
        user_id: Some(one.id.clone()),
        user_name: Some(one.name.clone()),
        user_policy_list: inline(one),
    }
}

fn group(one: &Identity) -> m::GroupDetail {
    m::GroupDetail {
        arn: Some(one.arn()),
        attached_managed_policies: attached(one),
        create_date: Some(Timestamp::from_unix_us(one.created_us)),
        group_id: Some(one.id.clone()),
        group_name: Some(one.name.clone()),
        group_policy_list: inline(one),
        path: Some(one.path.clone()),
    }
}

fn role(one: &Identity, instance_profiles: Vec<m::InstanceProfile>) -> m::RoleDetail {
    m::RoleDetail {
        arn: Some(one.arn()),
        assume_role_policy_document: one.role.as_ref().map(|facts| encoded(&facts.trust)),
        attached_managed_policies: attached(one),
        create_date: Some(Timestamp::from_unix_us(one.created_us)),
        instance_profile_list: Some(instance_profiles),
        path: Some(one.path.clone()),
        permissions_boundary: boundary(one),
        role_id: Some(one.id.clone()),
        role_last_used: None,
        role_name: Some(one.name.clone()),
        role_policy_list: inline(one),
        tags: tag_list(&one.tags),
    }
}

pub(crate) async fn get(
    iam: Iam,
    cx: Cx,
    input: m::GetAccountAuthorizationDetailsInput,
) -> Result<m::GetAccountAuthorizationDetailsOutput, IamError> {
    let account = cx.account.as_str();
    let identities = iam.everyone(account, |_| true).await?;
    let uses = Uses::of(&identities);
    let policies = policies(&iam, account, &uses).await?;
    let mut entries: Vec<Entry> = identities.into_iter().map(|one| Entry::Identity(Box::new(one))).collect();
    entries.extend(policies.into_iter().map(|one| Entry::Policy(Box::new(one))));
    if let Some(wanted) = input.filter.filter(|wanted| !wanted.is_empty()) {
        entries.retain(|entry| wanted.contains(&entry.kind()));
    }
    let mut filling = Filling::new(page(entries, input.marker.as_deref(), input.max_items, Entry::place)?);
    while let Some(entry) = filling.next() {
        if let Some((entry, bytes)) = iam.whole_entry(entry).await? {
            filling.push(entry, bytes);
        }
    }
    let page = filling.end(Entry::place);
    let profiles = profiles::by_role(&iam, account).await?;
    let (mut users, mut groups, mut roles, mut managed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for entry in &page.items {
        match entry {
            Entry::Identity(one) => match one.kind {
                IdentityKind::User => users.push(user(one)),
                IdentityKind::Group => groups.push(group(one)),
                IdentityKind::Role => {
                    let holding = profiles.get(&one.name).map(|all| profiles::holding(all, one));
                    roles.push(role(one, holding.unwrap_or_default()));
                }
            },
            Entry::Policy(policy) => managed.push(details(policy, &uses)),
        }
    }
    Ok(m::GetAccountAuthorizationDetailsOutput {
        group_detail_list: Some(groups),
        is_truncated: page.is_truncated,
        marker: page.marker,
        policies: Some(managed),
        role_detail_list: Some(roles),
        user_detail_list: Some(users),
    })
}

impl Iam {
    /// What a sketch stands for, with the bytes of its record; nothing when it has gone since.
    async fn whole_entry(&self, entry: Entry) -> Result<Option<(Entry, usize)>, IamError> {
        let key = match &entry {
            Entry::Identity(one) => keys::identity(&one.account, one.kind, &one.name),
            // AWS's own are in no store.
            Entry::Policy(policy) if policy.account == "aws" => return Ok(Some((entry, 0))),
            Entry::Policy(policy) => keys::managed(&policy.account, &policy.arn()),
        };
        let Some(value) = self.0.kv.read(|tx| async move { tx.get(&key).await }).await? else { return Ok(None) };
        let whole = match entry {
            Entry::Identity(_) => Entry::Identity(Box::new(keys::decode(&value)?)),
            Entry::Policy(_) => Entry::Policy(Box::new(keys::decode(&value)?)),
        };
        Ok(Some((whole, value.len())))
    }
}

/// The account's policies, sketched, and those of AWS's that are attached to somebody.
async fn policies(iam: &Iam, account: &str, uses: &Uses) -> Result<Vec<Managed>, IamError> {
    let range = keys::all_managed(account);
    let pick = |policy: Managed| Some(policy.sketched());
    let mut found = iam.0.kv.read(|tx| async move { keys::pick(&tx, &range, pick).await }).await?;
    for arn in uses.attached.keys().filter(|arn| arn.starts_with("arn:aws:iam::aws:")) {
        found.push(iam.policy(account, arn).await?);
    }
    Ok(found)
}

fn details(policy: &Managed, uses: &Uses) -> m::ManagedPolicyDetail {
    let shown = shown(policy, uses);
    let versions = policy.versions.keys().rev().filter_map(|number| shown_version(policy, *number, true));
    m::ManagedPolicyDetail {
        arn: shown.arn,
        attachment_count: shown.attachment_count,
        create_date: shown.create_date,
        default_version_id: shown.default_version_id,
        description: shown.description,
        is_attachable: shown.is_attachable,
        path: shown.path,
        permissions_boundary_usage_count: shown.permissions_boundary_usage_count,
        policy_id: shown.policy_id,
        policy_name: shown.policy_name,
        policy_version_list: Some(versions.collect()),
        update_date: shown.update_date,
    }
}
