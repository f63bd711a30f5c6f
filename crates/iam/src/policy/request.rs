//! What is asked: by whom, to do what, to which resource, in which circumstances.

use std::borrow::Cow;

/// Who asks. Every text is empty when it does not apply.
#[derive(Clone, Copy, Debug)]
pub struct Principal<'a> {
    pub kind: PrincipalKind<'a>,
    /// The ARN that signed: of the user, of the role *session*, of the account's root.
    pub arn: &'a str,
    /// Twelve digits.
    pub account: &'a str,
    /// `aws:userid`: `AIDA…`, `AROA…:session`, the account of its root.
    pub id: &'a str,
    /// The tags of the user, or of the role and its session together.
    pub tags: &'a [(String, String)],
}

/// What kind of principal asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrincipalKind<'a> {
    /// The account's root user: may do everything in its account that no policy denies.
    Root,
    User {
        name: &'a str,
    },
    /// A session of a role.
    AssumedRole {
        role_arn: &'a str,
    },
    /// A session of `GetFederationToken` made by `user_arn`.
    FederatedUser {
        user_arn: &'a str,
    },
    /// Someone with a token of an identity issuer, before `AssumeRoleWithWebIdentity`.
    WebIdentity {
        issuer: &'a str,
    },
    /// A service such as `lambda.amazonaws.com` acting by itself.
    Service {
        name: &'a str,
    },
    Anonymous,
}

impl<'a> Principal<'a> {
    /// A caller without credentials.
    pub const ANONYMOUS: Principal<'static> =
        Principal { kind: PrincipalKind::Anonymous, arn: "", account: "", id: "", tags: &[] };

    /// The service principal `name`.
    pub const fn service(name: &'a str) -> Self {
        Principal { kind: PrincipalKind::Service { name }, arn: "", account: "", id: "", tags: &[] }
    }

    /// Whether identity-based policies speak for it.
    pub(super) fn has_account(&self) -> bool {
        match self.kind {
            PrincipalKind::Root
            | PrincipalKind::User { .. }
            | PrincipalKind::AssumedRole { .. }
            | PrincipalKind::FederatedUser { .. } => true,
            PrincipalKind::WebIdentity { .. } | PrincipalKind::Service { .. } | PrincipalKind::Anonymous => false,
        }
    }

    /// The principal in AWS's messages.
    pub(super) fn shown(&self) -> &'a str {
        match self.kind {
            PrincipalKind::Service { name } => name,
            PrincipalKind::WebIdentity { issuer } => issuer,
            PrincipalKind::Anonymous => "anonymous",
            _ => self.arn,
        }
    }
}

/// One question to the engine.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub principal: Principal<'a>,
    /// `service:Operation`.
    pub action: &'a str,
    /// An ARN, or `*` for actions without a resource.
    pub resource: &'a str,
    /// The account that owns the resource; `None` means the principal's own.
    pub resource_account: Option<&'a str>,
    /// Condition keys. Those that follow from the principal are taken from it and cannot be set here.
    pub keys: &'a Keys,
}

/// Condition keys of a request: names without regard to case, each with any number of values.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// Sorted by the name in lower case.
    entries: Vec<(Cow<'static, str>, Vec<String>)>,
}

impl Keys {
    /// No keys, and room for those that most requests have.
    pub fn new() -> Self {
        Self { entries: Vec::with_capacity(12) }
    }

    /// Gives `name` exactly `value`.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.set_all(name, [value.into()])
    }

    /// The same for a name that is known to be in lower case.
    pub(crate) fn set_known(&mut self, name: &'static str, value: impl Into<String>) -> &mut Self {
        debug_assert!(name.bytes().all(|byte| !byte.is_ascii_uppercase()), "{name}");
        *self.slot_of(Cow::Borrowed(name)) = vec![value.into()];
        self
    }

    /// Gives `name` exactly `values`; none of them leaves a key that is present and empty, which counts as missing.
    pub fn set_all(&mut self, name: &str, values: impl IntoIterator<Item = String>) -> &mut Self {
        *self.slot(name) = values.into_iter().collect();
        self
    }

    /// The tags of the resource: `aws:ResourceTag/…`.
    pub fn set_tags(&mut self, tags: &[(String, String)]) -> &mut Self {
        for (name, value) in tags {
            self.set(&format!("aws:ResourceTag/{name}"), value.as_str());
        }
        self
    }

    /// Puts these keys over those that are there.
    pub(crate) fn extend<'k>(&mut self, given: impl Iterator<Item = (&'k str, &'k [String])>) -> &mut Self {
        for (name, values) in given {
            self.set_all(name, values.iter().cloned());
        }
        self
    }

    /// Adds `value` to those of `name`.
    pub fn add(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.slot(name).push(value.into());
        self
    }

    /// The values of `name`; empty when it is missing.
    pub fn get(&self, name: &str) -> &[String] {
        self.get_lower(&name.to_lowercase())
    }

    /// Every key with its values, by name in lower case.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.entries.iter().map(|(name, values)| (&**name, values.as_slice()))
    }

    /// Every key with its values, by name in lower case.
    pub(crate) fn into_entries(self) -> Vec<(Cow<'static, str>, Vec<String>)> {
        self.entries
    }

    fn get_lower(&self, name: &str) -> &[String] {
        match self.entries.binary_search_by(|(have, _)| (**have).cmp(name)) {
            Ok(index) => &self.entries[index].1,
            Err(_) => &[],
        }
    }

    fn slot(&mut self, name: &str) -> &mut Vec<String> {
        self.slot_of(Cow::Owned(name.to_lowercase()))
    }

    fn slot_of(&mut self, name: Cow<'static, str>) -> &mut Vec<String> {
        let index = match self.entries.binary_search_by(|(have, _)| have.cmp(&name)) {
            Ok(index) => index,
            Err(index) => {
                self.entries.insert(index, (name, Vec::new()));
                index
            }
        };
        &mut self.entries[index].1
    }
}

/// The values of one key, without a copy.
#[derive(Clone, Copy, Debug)]
pub(super) enum Values<'a> {
    One(&'a str),
    Many(&'a [String]),
}

impl<'a> Values<'a> {
    const NONE: Values<'static> = Values::Many(&[]);

    fn present(text: &'a str) -> Values<'a> {
        if text.is_empty() { Values::NONE } else { Values::One(text) }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = &'a str> {
        let (one, many) = match self {
            Values::One(one) => (Some(one), [].as_slice()),
            Values::Many(many) => (None, many),
        };
        one.into_iter().chain(many.iter().map(String::as_str))
    }

    pub(super) fn is_empty(self) -> bool {
        matches!(self, Values::Many([]))
    }

    /// The value of a key that has exactly one: what a policy variable stands for.
    pub(super) fn single(self) -> Option<&'a str> {
        match self {
            Values::One(one) => Some(one),
            Values::Many([one]) => Some(one),
            Values::Many(_) => None,
        }
    }
}

/// The name of a condition key, resolved when the policy is compiled.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Key {
    PrincipalArn,
    PrincipalAccount,
    PrincipalType,
    PrincipalIsService,
    PrincipalServiceName,
    PrincipalTag(Box<str>),
    UserId,
    UserName,
    ResourceAccount,
    /// In lower case.
    Other(Box<str>),
}

impl Key {
    pub(super) fn new(name: &str) -> Key {
        let lower = name.to_lowercase();
        if let Some(tag) = lower.strip_prefix("aws:principaltag/") {
            return Key::PrincipalTag(tag.into());
        }
        match lower.as_str() {
            "aws:principalarn" => Key::PrincipalArn,
            "aws:principalaccount" => Key::PrincipalAccount,
            "aws:principaltype" => Key::PrincipalType,
            "aws:principalisawsservice" => Key::PrincipalIsService,
            "aws:principalservicename" => Key::PrincipalServiceName,
            "aws:userid" => Key::UserId,
            "aws:username" => Key::UserName,
            // S3 has a name of its own for the same (Service authorization reference, "Condition keys for Amazon S3").
            "aws:resourceaccount" | "s3:resourceaccount" => Key::ResourceAccount,
            _ => Key::Other(lower.into_boxed_str()),
        }
    }
}

impl<'a> Request<'a> {
    /// The values of `key`: from the principal where it knows them, else from [`Keys`].
    pub(super) fn values(&self, key: &Key) -> Values<'a> {
        let principal = &self.principal;
        match key {
            Key::PrincipalArn => Values::present(match principal.kind {
                PrincipalKind::AssumedRole { role_arn } => role_arn,
                _ if principal.has_account() => principal.arn,
                _ => "",
            }),
            Key::PrincipalAccount if principal.has_account() => Values::present(principal.account),
            Key::PrincipalType => Values::present(match principal.kind {
                PrincipalKind::Root => "Account",
                PrincipalKind::User { .. } => "User",
                PrincipalKind::AssumedRole { .. } => "AssumedRole",
                PrincipalKind::FederatedUser { .. } => "FederatedUser",
                PrincipalKind::Anonymous => "Anonymous",
                PrincipalKind::WebIdentity { .. } | PrincipalKind::Service { .. } => "",
            }),
            Key::PrincipalIsService => match principal.kind {
                PrincipalKind::Service { .. } => Values::One("true"),
                _ if principal.has_account() => Values::One("false"),
                _ => Values::NONE,
            },
            Key::PrincipalServiceName => match principal.kind {
                PrincipalKind::Service { name } => Values::present(name),
                _ => Values::NONE,
            },
            Key::PrincipalTag(tag) => {
                let mut tags = principal.tags.iter();
                tags.find(|(name, _)| same_letters(name, tag)).map_or(Values::NONE, |(_, value)| Values::One(value))
            }
            Key::UserId if principal.kind == PrincipalKind::Anonymous => Values::One("anonymous"),
            Key::UserId => Values::present(principal.id),
            Key::UserName => match principal.kind {
                PrincipalKind::User { name } => Values::present(name),
                _ => Values::NONE,
            },
            Key::ResourceAccount => self.resource_account.map_or(Values::NONE, Values::present),
            Key::Other(name) => Values::Many(self.keys.get_lower(name)),
            Key::PrincipalAccount => Values::NONE,
        }
    }
}

/// Equality without regard to case, for any script.
pub(crate) fn same_letters(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
        || one.chars().flat_map(char::to_lowercase).eq(other.chars().flat_map(char::to_lowercase))
}
