//! The decision: which policies must allow, and which deny wins.
//!
//! Source: IAM User Guide, "Policy evaluation logic" (same account and cross-account).

use std::sync::Arc;

use super::principal::Directness;
use super::request::{PrincipalKind, Request};
use super::services::Services;
use super::statement::Effect;
use super::{Kind, Named, Policies};

/// A statement of a policy.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    pub kind: Kind,
    /// The policy's name or ARN.
    pub name: &'a Arc<str>,
    /// Its index in the document, from 0.
    pub statement: usize,
    pub sid: Option<&'a str>,
}

/// What was decided and because of what.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// By this statement, or by nothing but being the account's root.
    Allow {
        by: Option<At<'a>>,
    },
    ExplicitDeny {
        by: At<'a>,
    },
    /// No policy of this kind allows.
    ImplicitDeny {
        kind: Kind,
    },
}

/// An answer of the engine.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    pub outcome: Outcome<'a>,
}

impl Decision<'_> {
    /// Whether the request may go on.
    pub fn allowed(&self) -> bool {
        matches!(self.outcome, Outcome::Allow { .. })
    }

    /// AWS's text of the AccessDenied error for `request`, which this decision denied.
    /// Source: IAM User Guide, "Troubleshoot access denied error messages".
    pub fn denial_message(&self, request: &Request<'_>) -> String {
        let (who, action, resource) = (request.principal.shown(), request.action, request.resource);
        let start = format!("User: {who} is not authorized to perform: {action} on resource: {resource}");
        match self.outcome {
            Outcome::Allow { .. } => start,
            Outcome::ExplicitDeny { by } => format!("{start} with an explicit deny in {}", by.kind.words().1),
            Outcome::ImplicitDeny { kind } => {
                format!("{start} because no {} allows the {action} action", kind.words().0)
            }
        }
    }
}

/// The strongest allow and the first deny of some policies.
#[derive(Clone, Copy, Default)]
struct Verdict<'a> {
    allow: Option<(At<'a>, Directness)>,
    deny: Option<At<'a>>,
}

fn scan<'a>(policies: &'a [Named], kind: Kind, request: &Request<'_>) -> Verdict<'a> {
    let mut verdict = Verdict::default();
    let service = Services::of_action(request.action);
    for Named { name, policy, services } in policies {
        if !services.meets(service) {
            continue;
        }
        for (statement, compiled) in policy.statements.iter().enumerate() {
            let Ok(directness) = compiled.check(request) else { continue };
            let at = At { kind, name, statement, sid: compiled.sid.as_deref() };
            match compiled.effect {
                Effect::Deny => return Verdict { deny: Some(at), ..verdict },
                Effect::Allow if verdict.allow.is_none_or(|(_, best)| best < directness) => {
                    verdict.allow = Some((at, directness));
                }
                Effect::Allow => {}
            }
        }
    }
    verdict
}

/// Whether `request` is allowed under `policies`. Allocates nothing.
pub fn decide<'a>(policies: &Policies<'a>, request: &Request<'_>) -> Decision<'a> {
    Decision { outcome: outcome(policies, request).unwrap_or_else(|denied| denied) }
}

/// Explicit denies first, in AWS's order; then whether everyone who must allow does. `Err` is a denial.
fn outcome<'a>(policies: &Policies<'a>, request: &Request<'_>) -> Result<Outcome<'a>, Outcome<'a>> {
    let explicit = |verdict: Verdict<'a>| match verdict.deny {
        Some(by) => Err(Outcome::ExplicitDeny { by }),
        None => Ok(verdict.allow),
    };
    let resource_kind = policies.resource.map_or(Kind::Resource, |named| named.policy.kind);
    let resource_list = policies.resource.map_or([].as_slice(), std::slice::from_ref);
    if !request.principal.has_account() {
        // Services, token bearers and anonymous callers hold no policies: only the resource can speak for them.
        let granted = explicit(scan(resource_list, resource_kind, request))?;
        let (by, _) = granted.ok_or(Outcome::ImplicitDeny { kind: resource_kind })?;
        return Ok(Outcome::Allow { by: Some(by) });
    }
    let mut organisation_allows = true;
    for level in policies.service_control {
        organisation_allows &= explicit(scan(level, Kind::ServiceControl, request))?.is_some();
    }
    let resource = explicit(scan(resource_list, resource_kind, request))?;
    let identity = explicit(scan(policies.identity, Kind::Identity, request))?;
    let boundary = match policies.boundary {
        None => true,
        Some(named) => explicit(scan(std::slice::from_ref(named), Kind::Boundary, request))?.is_some(),
    };
    let session = match policies.session {
        None => true,
        Some(list) => explicit(scan(list, Kind::Session, request))?.is_some(),
    };
    let need = |allowed: bool, kind: Kind| if allowed { Ok(()) } else { Err(Outcome::ImplicitDeny { kind }) };
    need(organisation_allows, Kind::ServiceControl)?;

    let same_account = request.resource_account.is_none_or(|account| account == request.principal.account);
    if resource_kind == Kind::Trust {
        need(resource.is_some(), Kind::Trust)?;
    }
    let directness = resource.filter(|_| same_account).map(|(_, directness)| directness);
    if directness != Some(Directness::Direct) {
        let root = request.principal.kind == PrincipalKind::Root;
        let granted_to_parent = directness == Some(Directness::Parent);
        need(identity.is_some() || root || granted_to_parent, Kind::Identity)?;
        need(same_account || resource.is_some(), resource_kind)?;
        need(boundary || root, Kind::Boundary)?;
        need(session, Kind::Session)?;
    }
    let by = if directness >= Some(Directness::Parent) { resource } else { identity.or(resource) };
    Ok(Outcome::Allow { by: by.map(|(at, _)| at) })
}
