//! The handlers, by noun, and what they share.

pub(crate) mod access_keys;
pub(crate) mod account;
pub(crate) mod attachments;
pub(crate) mod details;
pub(crate) mod groups;
pub(crate) mod inline;
pub(crate) mod issuers;
pub(crate) mod policies;
pub(crate) mod profiles;
pub(crate) mod roles;
pub(crate) mod simulate;
pub(crate) mod sts;
pub(crate) mod tags;
pub(crate) mod users;
pub(crate) mod web_identity;

use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kv::Txn;
use model::iam as m;
use sys::Timestamp;

use crate::aws_managed;
use crate::error::IamError;
use crate::keys::{self, Identity, IdentityKind, LINKED_PATH, Managed};
use crate::limits::{PAGE_BYTES_MAX, PAGE_DEFAULT, TAGS_MAX};
use crate::policy::{Kind, Policy, same_letters};
use crate::quotas;
use crate::session::unique_id;
use crate::state::Iam;

/// One page of a list.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) is_truncated: Option<bool>,
    pub(crate) marker: Option<String>,
}

/// The page behind `marker` of at most `max` items, in the order of their names.
pub(crate) fn page<T>(
    mut items: Vec<T>,
    marker: Option<&str>,
    max: Option<i32>,
    name: impl Fn(&T) -> String,
) -> Result<Page<T>, IamError> {
    items.sort_by_cached_key(|item| name(item));
    if let Some(marker) = marker {
        let bytes = URL_SAFE_NO_PAD.decode(marker).ok();
        let after = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let after = after.ok_or_else(|| IamError::ValidationError("Invalid Marker.".to_owned()))?;
        items.retain(|item| name(item) > after);
    }
    let max = max.and_then(|max| usize::try_from(max).ok()).unwrap_or(PAGE_DEFAULT);
    let is_truncated = items.len() > max;
    items.truncate(max);
    let last = items.last().filter(|_| is_truncated);
    let marker = last.map(|last| URL_SAFE_NO_PAD.encode(name(last)));
    Ok(Page { items, is_truncated: Some(is_truncated), marker })
}

/// A page whose items are looked up one by one, and which ends early where they are long: as on AWS, a page may hold less
/// than was asked for and still not be the last.
pub(crate) struct Filling<T, U> {
    rest: std::vec::IntoIter<T>,
    items: Vec<U>,
    bytes: usize,
    is_truncated: Option<bool>,
    marker: Option<String>,
}

impl<T, U> Filling<T, U> {
    pub(crate) fn new(page: Page<T>) -> Self {
        let Page { items, is_truncated, marker } = page;
        Self { rest: items.into_iter(), items: Vec::new(), bytes: 0, is_truncated, marker }
    }

    /// What is to be looked up next; nothing when the page is full.
    pub(crate) fn next(&mut self) -> Option<T> {
        if self.bytes >= PAGE_BYTES_MAX { None } else { self.rest.next() }
    }

    /// Takes what was found, which has so many bytes.
    pub(crate) fn push(&mut self, item: U, bytes: usize) {
        self.items.push(item);
        self.bytes += bytes;
    }

    /// The page; `name` as for [`page`].
    pub(crate) fn end(self, name: impl Fn(&U) -> String) -> Page<U> {
        if self.rest.len() == 0 {
            return Page { items: self.items, is_truncated: self.is_truncated, marker: self.marker };
        }
        let marker = self.items.last().map(|last| URL_SAFE_NO_PAD.encode(name(last)));
        Page { items: self.items, is_truncated: Some(true), marker }
    }
}

/// The order of lists of users, groups or roles.
pub(crate) fn by_name(identity: &Identity) -> String {
    identity.name.to_ascii_lowercase()
}

/// Whether a path is below the prefix that was asked for.
pub(crate) fn is_below(path: &str, prefix: Option<&str>) -> bool {
    path.starts_with(prefix.unwrap_or("/"))
}

/// The user, group or role with exactly this name.
pub(crate) async fn find(tx: &Txn, account: &str, kind: IdentityKind, name: &str) -> Result<Identity, IamError> {
    let found = keys::get::<Identity>(tx, &keys::identity(account, kind, name)).await?;
    found.filter(|found| found.name == name).ok_or_else(|| IamError::missing(kind.word(), name))
}

/// Stores an identity.
pub(crate) fn put(tx: &Txn, identity: &Identity) {
    keys::set(tx, keys::identity(&identity.account, identity.kind, &identity.name), identity);
}

/// A managed policy of the account.
pub(crate) async fn find_managed(tx: &Txn, account: &str, arn: &str) -> Result<Managed, IamError> {
    let found = keys::get::<Managed>(tx, &keys::managed(account, arn)).await?;
    found.ok_or_else(|| IamError::NoSuchEntity(format!("Policy {arn} was not found.")))
}

/// Whether a managed policy, AWS's or the account's, can be attached.
pub(crate) async fn check_attachable(tx: &Txn, account: &str, arn: &str) -> Result<(), IamError> {
    let known = aws_managed::document(arn).is_some() || tx.get(keys::managed(account, arn)).await?.is_some();
    match known {
        true => Ok(()),
        false => Err(IamError::NoSuchEntity(format!("Policy {arn} does not exist or is not attachable."))),
    }
}

impl Iam {
    /// Changes one user, group or role.
    pub(crate) async fn edit<T, F>(&self, account: &str, kind: IdentityKind, name: &str, edit: F) -> Result<T, IamError>
    where
        T: Send,
        F: Fn(&mut Identity) -> Result<T, IamError> + Send + Sync,
    {
        let edit = &edit;
        self.change(move |tx| async move {
            let mut identity = find(&tx, account, kind, name).await?;
            let value = edit(&mut identity)?;
            put(&tx, &identity);
            Ok(value)
        })
        .await
    }

    /// Reads one user, group or role.
    pub(crate) async fn one(&self, account: &str, kind: IdentityKind, name: &str) -> Result<Identity, IamError> {
        self.0.kv.read(|tx| async move { find(&tx, account, kind, name).await }).await
    }

    /// All users, groups or roles that are `wanted`, [sketched](Identity::sketched): an account may have thousands, and
    /// each may be long.
    pub(crate) async fn all(
        &self,
        account: &str,
        kind: IdentityKind,
        wanted: impl Fn(&Identity) -> bool + Send,
    ) -> Result<Vec<Identity>, IamError> {
        let range = keys::identities(account, kind);
        let pick = |one: Identity| wanted(&one).then(|| one.sketched());
        Ok(self.0.kv.read(|tx| async move { keys::pick(&tx, &range, pick).await }).await?)
    }

    /// The identities of a page as they are stored. The page ends early where they are long; what has gone since is left
    /// out.
    pub(crate) async fn whole(&self, page: Page<Identity>) -> Result<Page<Identity>, IamError> {
        let mut filling = Filling::new(page);
        while let Some(one) = filling.next() {
            let key = keys::identity(&one.account, one.kind, &one.name);
            if let Some(value) = self.0.kv.read(|tx| async move { tx.get(&key).await }).await? {
                filling.push(keys::decode::<Identity>(&value)?, value.len());
            }
        }
        Ok(filling.end(by_name))
    }

    /// An identity as it is born.
    pub(crate) fn fresh(&self, account: &str, kind: IdentityKind, name: &str, path: Option<String>) -> Identity {
        Identity {
            kind,
            account: account.to_owned(),
            path: path.unwrap_or_else(|| "/".to_owned()),
            name: name.to_owned(),
            id: unique_id(kind.id_prefix(), &self.0.rng),
            created_us: self.now_us(),
            tags: BTreeMap::new(),
            boundary: None,
            attached: Default::default(),
            inline: BTreeMap::new(),
            groups: Default::default(),
            role: None,
        }
    }

    /// Stores a new identity under a free name.
    pub(crate) async fn create(&self, identity: &Identity) -> Result<(), IamError> {
        self.change(move |tx| async move {
            let key = keys::identity(&identity.account, identity.kind, &identity.name);
            if tx.get(&key).await?.is_some() {
                return Err(IamError::exists(identity.kind.title(), &identity.name));
            }
            if let Some(boundary) = &identity.boundary {
                check_attachable(&tx, &identity.account, boundary).await?;
            }
            quotas::add(&tx, &identity.account, identity.kind.into()).await?;
            put(&tx, identity);
            Ok(())
        })
        .await
    }
}

/// Refuses the path that only service-linked roles have.
pub(crate) fn check_path(kind: IdentityKind, path: Option<&str>) -> Result<(), IamError> {
    match path.is_some_and(|path| path.starts_with(LINKED_PATH)) {
        true => Err(IamError::InvalidInput(format!("The {} path is reserved for service-linked roles.", kind.word()))),
        false => Ok(()),
    }
}

/// Refuses to change what a service-linked role may do and who may be it: that is its service's to say.
pub(crate) fn check_unlinked(identity: &Identity) -> Result<(), IamError> {
    let message = || format!("Cannot perform the operation on the protected role '{}'", identity.name);
    if identity.is_linked() { Err(IamError::UnmodifiableEntity(message())) } else { Ok(()) }
}

/// Refuses to delete what still has policies.
pub(crate) fn check_bare(identity: &Identity) -> Result<(), IamError> {
    let conflict = |what: &str| Err(IamError::DeleteConflict(format!("Cannot delete entity, must {what} first.")));
    if !identity.attached.is_empty() {
        return conflict("detach all policies");
    }
    if !identity.inline.is_empty() {
        return conflict("delete policies");
    }
    if !identity.groups.is_empty() {
        return conflict("remove users from group");
    }
    Ok(())
}

/// Refuses what is no policy of this kind, in AWS's words.
pub(crate) fn check_document(text: &str, kind: Kind) -> Result<(), IamError> {
    match Policy::parse(text, kind) {
        Ok(_) => Ok(()),
        Err(malformed) => Err(IamError::MalformedPolicyDocument(malformed.to_string())),
    }
}

/// The characters that quotas count: all but white space.
pub(crate) fn counted(text: &str) -> usize {
    text.chars().filter(|c| !c.is_whitespace()).count()
}

/// A document as answers carry it: percent-encoded after RFC 3986.
pub(crate) fn encoded(document: &str) -> String {
    let mut text = String::with_capacity(document.len() * 2);
    for byte in document.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => text.push(char::from(byte)),
            _ => write!(text, "%{byte:02X}").expect("writing to a string does not fail"),
        }
    }
    text
}

/// Tags as they are stored.
///
/// # Errors
/// `InvalidInput` for a key given twice or reserved; `LimitExceeded` beyond 50.
pub(crate) fn tag_map(given: Option<Vec<m::Tag>>) -> Result<BTreeMap<String, String>, IamError> {
    let mut tags = BTreeMap::new();
    merge_tags(&mut tags, given.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)))?;
    Ok(tags)
}

/// Adds tags to those that are there.
///
/// # Errors
/// As [`tag_map`].
pub(crate) fn merge_tags(
    tags: &mut BTreeMap<String, String>,
    given: impl IntoIterator<Item = (String, String)>,
) -> Result<(), IamError> {
    let mut seen = BTreeMap::new();
    for (count, (key, value)) in given.into_iter().enumerate() {
        if key.to_ascii_lowercase().starts_with("aws:") {
            let message = "System tags cannot be added or updated by requester.";
            return Err(IamError::InvalidInput(message.to_owned()));
        }
        merge_tag(&mut seen, key.clone(), String::new());
        if seen.len() <= count {
            let message = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
            return Err(IamError::InvalidInput(message.to_owned()));
        }
        merge_tag(tags, key, value);
    }
    match tags.len() > TAGS_MAX {
        true => Err(IamError::LimitExceeded(format!("The number of tags has reached the maximum limit: {TAGS_MAX}"))),
        false => Ok(()),
    }
}

/// Puts one tag over those that are there. Keys differ not by case alone: the new spelling wins.
pub(crate) fn merge_tag(tags: &mut BTreeMap<String, String>, key: String, value: String) {
    tags.retain(|had, _| !same_letters(had, &key));
    tags.insert(key, value);
}

/// Tags as answers carry them; absent when there are none.
pub(crate) fn tag_list(tags: &BTreeMap<String, String>) -> Option<Vec<m::Tag>> {
    let list = tags.iter().map(|(key, value)| m::Tag { key: key.clone(), value: value.clone() });
    (!tags.is_empty()).then(|| list.collect())
}

/// A permissions boundary as answers carry it.
pub(crate) fn boundary(identity: &Identity) -> Option<m::AttachedPermissionsBoundary> {
    identity.boundary.clone().map(|arn| m::AttachedPermissionsBoundary {
        permissions_boundary_arn: Some(arn),
        permissions_boundary_type: Some(m::PermissionsBoundaryAttachmentType::PermissionsBoundaryPolicy),
    })
}

/// A user as answers carry it.
pub(crate) fn user(identity: &Identity) -> m::User {
    m::User {
        arn: identity.arn(),
        create_date: Timestamp::from_unix_us(identity.created_us),
        password_last_used: None,
        path: identity.path.clone(),
        permissions_boundary: boundary(identity),
        tags: tag_list(&identity.tags),
        user_id: identity.id.clone(),
        user_name: identity.name.clone(),
    }
}

/// A group as answers carry it.
pub(crate) fn group(identity: &Identity) -> m::Group {
    m::Group {
        arn: identity.arn(),
        create_date: Timestamp::from_unix_us(identity.created_us),
        group_id: identity.id.clone(),
        group_name: identity.name.clone(),
        path: identity.path.clone(),
    }
}

/// A role as answers carry it.
pub(crate) fn role(identity: &Identity) -> m::Role {
    let facts = identity.role.clone().unwrap_or_default();
    m::Role {
        arn: identity.arn(),
        assume_role_policy_document: Some(encoded(&facts.trust)),
        create_date: Timestamp::from_unix_us(identity.created_us),
        description: facts.description,
        max_session_duration: Some(facts.max_session_s),
        path: identity.path.clone(),
        permissions_boundary: boundary(identity),
        role_id: identity.id.clone(),
        role_last_used: None,
        role_name: identity.name.clone(),
        source_role_template: None,
        tags: tag_list(&identity.tags),
    }
}
