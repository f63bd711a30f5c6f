//! The decision engine: policy documents compiled once, decisions without input, output or allocation.
//!
//! ```text
//!   text ─ json ─ document ─▶ Policy {Statement…}            parse, once per policy version
//!                                 │
//!   Request {principal, action, resource, keys}
//!                                 ▼
//!   service control · resource · identity · boundary · session   scan: any deny? strongest allow?
//!                                 ▼
//!                        decide ─▶ Decision      explain ─▶ Explanation (only on demand)
//! ```
//!
//! Source: IAM User Guide, "Policy evaluation logic" and "IAM JSON policy elements reference".

mod condition;
mod decide;
mod document;
mod explain;
mod json;
pub mod limits;
mod malformed;
mod pattern;
mod principal;
mod request;
mod services;
mod statement;
mod value;

use std::sync::Arc;

pub use decide::{At, Decision, Outcome, decide};
pub use explain::{ConditionMiss, Explanation, Finding, Step, explain};
pub use malformed::Malformed;
pub use request::{Keys, Principal, PrincipalKind, Request};
pub use statement::Effect;

pub(crate) use request::same_letters;
use services::Services;
use statement::Statement;

/// What a policy is attached to. It decides which elements are valid and how the policy takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Attached to a user, group or role.
    Identity,
    /// Attached to a function, bucket, queue, topic …
    Resource,
    /// A role's trust policy: the resource policy of `sts:AssumeRole*`, without which nobody assumes the role.
    Trust,
    /// A permissions boundary of a user or role.
    Boundary,
    /// Passed to `AssumeRole*` or `GetFederationToken`.
    Session,
    /// A service control policy of the account or of one of its parents.
    ServiceControl,
}

impl Kind {
    /// The kind in the words of AWS's denial messages, after "because no" and with its article after "deny in".
    pub(crate) const fn words(self) -> (&'static str, &'static str) {
        match self {
            Kind::Identity => ("identity-based policy", "an identity-based policy"),
            Kind::Resource => ("resource-based policy", "a resource-based policy"),
            Kind::Trust => ("role trust policy", "the role trust policy"),
            Kind::Boundary => ("permissions boundary", "a permissions boundary"),
            Kind::Session => ("session policy", "a session policy"),
            Kind::ServiceControl => ("service control policy", "a service control policy"),
        }
    }
}

/// A compiled policy document. Make it once per policy version and share it.
#[derive(Debug)]
pub struct Policy {
    kind: Kind,
    statements: Vec<Statement>,
    /// Length of the text that it was compiled from.
    bytes: usize,
}

impl Policy {
    /// Compiles `text`.
    ///
    /// # Errors
    /// [`Malformed`], whose text is the message of AWS's `MalformedPolicyDocument`.
    pub fn parse(text: &str, kind: Kind) -> Result<Policy, Malformed> {
        Ok(Policy { kind, statements: document::parse(text, kind)?, bytes: text.len() })
    }

    /// What the policy was compiled for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Bytes of the text that it was compiled from: a decision takes at most so many steps for each byte of what is asked.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many statements it has.
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// Whether it has no statement at all; only resource policies may.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }
}

/// A policy under the name that explanations show: its ARN, or the name of an inline policy.
#[derive(Clone, Debug)]
pub struct Named {
    pub name: Arc<str>,
    pub policy: Arc<Policy>,
    /// Those that its statements speak of, here so that a decision does not have to look into the policy.
    services: Services,
}

impl Named {
    /// `policy` under `name`.
    pub fn new(name: impl Into<Arc<str>>, policy: Arc<Policy>) -> Self {
        let services = policy.statements.iter().fold(Services::NONE, |all, statement| all.or(statement.services));
        Self { name: name.into(), policy, services }
    }
}

/// Every policy that takes part in one decision. Absent parts do not restrict.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policies<'a> {
    /// The principal's own policies and those of its groups.
    pub identity: &'a [Named],
    /// The resource's policy, or the trust policy of the role to be assumed.
    pub resource: Option<&'a Named>,
    /// The permissions boundary of the user or role.
    pub boundary: Option<&'a Named>,
    /// The session's policies; `Some(&[])` allows nothing.
    pub session: Option<&'a [Named]>,
    /// One list per level, organisation root first, account last; each level must allow. Empty: no organisation.
    pub service_control: &'a [&'a [Named]],
}
