//! The `Principal` and `NotPrincipal` elements.
//!
//! Source: IAM User Guide, "AWS JSON policy elements: Principal" and "NotPrincipal".

use super::request::{Principal, PrincipalKind};

/// How directly a statement names the principal, weakest first. It decides which implicit denies cut a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Directness {
    /// The account: it may pass the permission on by identity-based policies.
    Account,
    /// The role of the session, or the user of a federated session: boundary and session policy still cut.
    Parent,
    /// Everyone, the user, the session itself, the service.
    Direct,
}

/// One entry of a principal element.
#[derive(Debug, PartialEq)]
pub(super) enum Who {
    Everyone,
    Account(Box<str>),
    /// A user, role, role session or federated user; by exact ARN.
    Arn(Box<str>),
    /// A user or role id that IAM put in place of the ARN of something deleted; it matches nobody.
    Gone,
    Service(Box<str>),
    Federated(Box<str>),
    /// An S3 canonical user; no request carries one, so it matches nobody.
    Canonical,
}

impl Who {
    fn names(&self, principal: &Principal<'_>) -> Option<Directness> {
        let direct = |matching: bool| matching.then_some(Directness::Direct);
        match self {
            Who::Everyone => Some(Directness::Direct),
            Who::Account(account) => {
                (principal.has_account() && **account == *principal.account).then_some(Directness::Account)
            }
            Who::Arn(arn) => match principal.kind {
                PrincipalKind::AssumedRole { role_arn: parent } | PrincipalKind::FederatedUser { user_arn: parent }
                    if **arn == *parent =>
                {
                    Some(Directness::Parent)
                }
                _ => direct(principal.has_account() && **arn == *principal.arn),
            },
            Who::Service(wanted) => {
                direct(matches!(principal.kind, PrincipalKind::Service { name } if *name == **wanted))
            }
            Who::Federated(wanted) => {
                direct(matches!(principal.kind, PrincipalKind::WebIdentity { issuer } if *issuer == **wanted))
            }
            Who::Gone | Who::Canonical => None,
        }
    }
}

/// A compiled `Principal` or `NotPrincipal` element.
#[derive(Debug)]
pub(super) struct Principals {
    pub(super) not: bool,
    pub(super) who: Vec<Who>,
}

impl Principals {
    /// How the element covers `principal`, if it does. `NotPrincipal` covers whom none of its entries names.
    pub(super) fn cover(&self, principal: &Principal<'_>) -> Option<Directness> {
        let named = self.who.iter().filter_map(|who| who.names(principal)).max();
        match (self.not, named) {
            (false, named) => named,
            (true, None) => Some(Directness::Direct),
            (true, Some(_)) => None,
        }
    }
}

/// The entry `"AWS": text`, `"Service": text` …; `None` if it cannot name anyone.
pub(super) fn who(family: &str, text: &str) -> Option<Who> {
    match family {
        "AWS" => aws(text),
        "Service" if text.contains('.') => Some(Who::Service(text.into())),
        "Federated" if !text.is_empty() => Some(Who::Federated(text.into())),
        "CanonicalUser" if !text.is_empty() => Some(Who::Canonical),
        _ => None,
    }
}

fn aws(text: &str) -> Option<Who> {
    if text == "*" {
        return Some(Who::Everyone);
    }
    if is_account(text) {
        return Some(Who::Account(text.into()));
    }
    let is_id = |text: &str| text.len() >= 16 && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if is_id(text) && (text.starts_with("AIDA") || text.starts_with("AROA")) {
        return Some(Who::Gone);
    }
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    // One partition, as `wire::Arn`.
    let ["arn", "aws", service @ ("iam" | "sts"), "", account, resource] = parts.as_slice() else { return None };
    if !is_account(account) || resource.contains(['*', '?']) {
        return None;
    }
    match (*service, resource.split_once('/')) {
        ("iam", None) if *resource == "root" => Some(Who::Account((*account).into())),
        ("iam", Some(("user" | "role", name))) | ("sts", Some(("assumed-role" | "federated-user", name)))
            if !name.is_empty() =>
        {
            Some(Who::Arn(text.into()))
        }
        _ => None,
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}
