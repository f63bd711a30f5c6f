//! A question to the engine as JSON: what the corpus holds, the generator makes and the naive evaluator reads.

use std::sync::Arc;

use iam::policy::{Decision, Keys, Kind, Named, Outcome, Policies, Policy, Principal, PrincipalKind, Request, decide};
use serde_json::Value;

/// The text of `case[name]`, or nothing.
pub(crate) fn text<'a>(case: &'a Value, name: &str) -> &'a str {
    case[name].as_str().unwrap_or("")
}

/// The list at `case[name]`, empty when absent.
pub(crate) fn list<'a>(case: &'a Value, name: &str) -> &'a [Value] {
    case[name].as_array().map_or(&[], Vec::as_slice)
}

/// The values of a key: one text or a list.
pub(crate) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::String(text) => vec![text.clone()],
        Value::Null => Vec::new(),
        other => vec![other.to_string()],
    }
}

fn named(policy: &Value, kind: Kind, index: usize) -> Named {
    let compiled = Policy::parse(&policy.to_string(), kind).unwrap_or_else(|error| panic!("{error}: {policy}"));
    Named::new(format!("{kind:?}-{index}"), Arc::new(compiled))
}

fn all(policies: &[Value], kind: Kind) -> Vec<Named> {
    policies.iter().enumerate().map(|(index, policy)| named(policy, kind, index)).collect()
}

/// Hands the compiled `case` to `ask`.
pub(crate) fn with<T>(case: &Value, ask: impl FnOnce(&Policies<'_>, &Request<'_>) -> T) -> T {
    let identity = all(list(case, "identity"), Kind::Identity);
    let resource_kind = if case["trust"] == true { Kind::Trust } else { Kind::Resource };
    let present = |name: &str, kind| case.get(name).map(|policy| named(policy, kind, 0));
    let (resource, boundary) = (present("resourcePolicy", resource_kind), present("boundary", Kind::Boundary));
    let session = case.get("session").map(|_| all(list(case, "session"), Kind::Session));
    let levels: Vec<Vec<Named>> = list(case, "serviceControl")
        .iter()
        .map(|level| all(level.as_array().expect("a level is a list"), Kind::ServiceControl))
        .collect();
    let levels: Vec<&[Named]> = levels.iter().map(Vec::as_slice).collect();
    let mut keys = Keys::new();
    for (name, values) in case["keys"].as_object().into_iter().flatten() {
        keys.set_all(name, texts(values));
    }
    let who = &case["principal"];
    let tags: Vec<(String, String)> = who["tags"].as_object().map_or_else(Vec::new, |tags| {
        tags.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap_or("").to_owned())).collect()
    });
    let kind = match text(who, "kind") {
        "user" => PrincipalKind::User { name: text(who, "name") },
        "role" => PrincipalKind::AssumedRole { role_arn: text(who, "parent") },
        "federated" => PrincipalKind::FederatedUser { user_arn: text(who, "parent") },
        "root" => PrincipalKind::Root,
        "service" => PrincipalKind::Service { name: text(who, "name") },
        "web" => PrincipalKind::WebIdentity { issuer: text(who, "name") },
        "anonymous" => PrincipalKind::Anonymous,
        other => panic!("no principal kind {other}"),
    };
    let request = Request {
        principal: Principal {
            kind,
            arn: text(who, "arn"),
            account: text(who, "account"),
            id: text(who, "id"),
            tags: &tags,
        },
        action: text(case, "action"),
        resource: text(case, "resource"),
        resource_account: case["resourceAccount"].as_str(),
        keys: &keys,
    };
    let policies = Policies {
        identity: &identity,
        resource: resource.as_ref(),
        boundary: boundary.as_ref(),
        session: session.as_deref(),
        service_control: &levels,
    };
    ask(&policies, &request)
}

/// `allow`, `explicit` or `implicit`.
pub(crate) fn word(decision: &Decision<'_>) -> &'static str {
    match decision.outcome {
        Outcome::Allow { .. } => "allow",
        Outcome::ExplicitDeny { .. } => "explicit",
        Outcome::ImplicitDeny { .. } => "implicit",
    }
}

/// The engine's answer in one word.
pub(crate) fn answer(case: &Value) -> &'static str {
    with(case, |policies, request| word(&decide(policies, request)))
}
