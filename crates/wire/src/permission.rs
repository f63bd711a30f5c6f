//! What authorisation is asked about: actions, resources, the circumstances, and what a service knows of a resource.
//!
//! ```text
//!   table line ─► Permission {action, resources, keys} ─┐
//!   service.facts_in(arn, keys) ─► ResourceFacts {owner, policy, tags} ─┴─► Asked ─► the identity service
//!   triggers ─► Act {role or service principal, action, resource, keys} ─► MayAct
//! ```

use std::sync::Arc;

use crate::service::BoxFuture;
use crate::{AccountId, ApiError, Cx};

/// The ARNs that an operation touches: what authorisation is asked about. `*` when the action has no resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource(pub Vec<String>);

impl Resource {
    /// The action names no single resource.
    pub fn any() -> Self {
        Self(vec!["*".to_owned()])
    }

    /// One resource.
    pub fn arn(arn: impl Into<String>) -> Self {
        Self(vec![arn.into()])
    }
}

/// Condition keys that only the service knows: `aws:RequestTag/…`, `iam:PassedToService`, `s3:prefix` … Those that
/// follow from the caller and the connection (`aws:SourceIp`, `aws:PrincipalArn` …) are never set here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConditionKeys(Vec<(String, Vec<String>)>);

impl ConditionKeys {
    /// No keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key with one value.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.push((name.into(), vec![value.into()]));
        self
    }

    /// Adds a key with one value when there is a value; an absent parameter is an absent key.
    #[must_use]
    pub fn with_some(self, name: impl Into<String>, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds a key with several values; none of them leaves the key absent.
    #[must_use]
    pub fn with_all(mut self, name: impl Into<String>, values: impl IntoIterator<Item = String>) -> Self {
        let values: Vec<String> = values.into_iter().collect();
        if !values.is_empty() {
            self.0.push((name.into(), values));
        }
        self
    }

    /// The tags that the request gives to something: `aws:RequestTag/KEY` for each, and `aws:TagKeys`.
    #[must_use]
    pub fn with_request_tags<'t>(mut self, tags: impl IntoIterator<Item = (&'t str, &'t str)>) -> Self {
        let mut names = Vec::new();
        for (name, value) in tags {
            self = self.with(format!("aws:RequestTag/{name}"), value);
            names.push(name.to_owned());
        }
        self.with_all("aws:TagKeys", names)
    }

    /// The only value of a key; `None` when it is absent or has several.
    pub fn one(&self, name: &str) -> Option<&str> {
        match self.0.iter().find(|(have, _)| have == name) {
            Some((_, values)) if values.len() == 1 => Some(&values[0]),
            _ => None,
        }
    }

    /// Every key with its values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(name, values)| (name.as_str(), values.as_slice()))
    }
}

/// One thing that a caller must be allowed to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The IAM action, such as `iam:PassRole`.
    pub action: &'static str,
    /// What it is done to.
    pub resources: Resource,
    /// The circumstances.
    pub keys: ConditionKeys,
}

impl Permission {
    /// `action` on `resources`, without condition keys of its own.
    pub fn new(action: &'static str, resources: Resource) -> Self {
        Self { action, resources, keys: ConditionKeys::new() }
    }

    /// Adds a condition key.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.keys = self.keys.with(name, value);
        self
    }

    /// Whoever attaches a role must be allowed to hand it to the service (IAM user guide, "iam:PassRole").
    /// `service` is the service principal, such as `lambda.amazonaws.com`.
    pub fn pass_role(role_arn: &str, service: &str) -> Self {
        Self::new("iam:PassRole", Resource::arn(role_arn)).with("iam:PassedToService", service)
    }
}

/// What a service knows of one of its resources before anybody may touch it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceFacts {
    /// Whose it is; `None`: of the account that the ARN names, or of the caller's when it names none.
    pub owner: Option<AccountId>,
    /// Its resource-based policy, a JSON document; `None` when it has none or does not exist.
    pub policy: Option<Arc<str>>,
    /// Its tags (`aws:ResourceTag/…`).
    pub tags: Vec<(String, String)>,
    /// What is answered because it does not exist, before it matters what the caller may do to it.
    pub absence: Option<Box<Absence>>,
}

/// The answer about a resource that is not there, and who may hear it. Everybody else is denied as if it were there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absence {
    /// AWS's error code.
    pub code: &'static str,
    /// HTTP status.
    pub status: u16,
    /// What the client reads.
    pub message: String,
    /// Whoever may do this could find out anyway, such as `s3:ListBucket`; `None`: everybody hears it.
    pub known_to: Option<Permission>,
}

impl Absence {
    /// The answer.
    pub fn answer(&self) -> ApiError {
        ApiError::client(self.code, self.status, self.message.clone())
    }
}

/// One question to the identity service: may the caller do `action` to `resource`?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The IAM action.
    pub action: &'static str,
    /// An ARN, or `*`.
    pub resource: String,
    /// The circumstances.
    pub keys: ConditionKeys,
    /// What the resource's service knows of it.
    pub facts: ResourceFacts,
}

/// On whose authority the platform itself acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A role, such as a function's execution role while its event source mapping polls a queue.
    Role {
        /// `arn:aws:iam::ACCOUNT:role/…`
        arn: String,
    },
    /// A service principal, such as `s3.amazonaws.com` while a bucket notifies a queue: only the resource's policy
    /// can allow it.
    Service {
        /// `NAME.amazonaws.com`
        name: String,
    },
}

/// Something that the platform is about to do for somebody, without a request of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// On whose authority.
    pub actor: Actor,
    /// The IAM action, such as `sqs:SendMessage`.
    pub action: String,
    /// ARN of what it is done to.
    pub resource: String,
    /// Region in which it happens.
    pub region: String,
    /// Of a service principal always `aws:SourceArn` and `aws:SourceAccount`: see [`Act::on_behalf_of`].
    pub keys: ConditionKeys,
}

impl Act {
    /// A service principal's act on behalf of a resource (semantics I6): `source_arn` is the bucket, topic or rule
    /// whose event it is, `source_account` its owner.
    pub fn on_behalf_of(
        service: &str,
        action: &str,
        resource: &str,
        region: &str,
        source_arn: &str,
        source_account: &AccountId,
    ) -> Self {
        let keys = ConditionKeys::new().with("aws:SourceArn", source_arn);
        Self {
            actor: Actor::Service { name: service.to_owned() },
            action: action.to_owned(),
            resource: resource.to_owned(),
            region: region.to_owned(),
            keys: keys.with("aws:SourceAccount", source_account.as_str()),
        }
    }

    /// An act with the rights of a role.
    pub fn as_role(role_arn: &str, action: &str, resource: &str, region: &str) -> Self {
        Self {
            actor: Actor::Role { arn: role_arn.to_owned() },
            action: action.to_owned(),
            resource: resource.to_owned(),
            region: region.to_owned(),
            keys: ConditionKeys::new(),
        }
    }
}

/// Whether an [`Act`] is allowed; the refusal is `AccessDenied` with AWS's message. Given by the binary.
pub type MayAct = Arc<dyn Fn(Act) -> BoxFuture<Result<(), ApiError>> + Send + Sync>;

/// Whether `cx.principal` may do all that is asked; the refusal is `AccessDenied` with AWS's message. Asked by handlers
/// about what only they find out, such as the key that an object is under. Given by the binary.
pub type MayDo = Arc<dyn Fn(Cx, Vec<Asked>) -> BoxFuture<Result<(), ApiError>> + Send + Sync>;

/// Whether a text is a resource-based policy; the error is the message of AWS's `MalformedPolicyDocument`. Given by the
/// binary (`Iam::check_resource_policy`) to services that store such policies.
pub type CheckPolicy = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_parameters_are_absent_keys() {
        let keys = ConditionKeys::new()
            .with_some("s3:prefix", None::<&str>)
            .with_all("aws:TagKeys", [])
            .with_request_tags([("team", "a"), ("cost", "b")]);
        let names: Vec<_> = keys.iter().map(|(name, values)| format!("{name}={}", values.join(","))).collect();
        assert_eq!(names, ["aws:RequestTag/team=a", "aws:RequestTag/cost=b", "aws:TagKeys=team,cost"]);
    }
}
