//! From a document's text to statements, with AWS's complaints.
//!
//! Source: IAM User Guide, "Grammar of the IAM JSON policy language".

use std::collections::HashSet;

use super::Kind;
use super::condition::Condition;
use super::json::Json;
use super::limits::DOCUMENT_BYTES;
use super::malformed::Malformed;
use super::pattern::{self, ArnPattern, Pattern};
use super::principal::{Principals, Who, who};
use super::services::Services;
use super::statement::{Effect, Statement};

/// Elements of a statement; anything else is a syntax error.
const ELEMENTS: [&str; 9] =
    ["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"];

/// Compiles `text`.
pub(super) fn parse(text: &str, kind: Kind) -> Result<Vec<Statement>, Malformed> {
    if text.len() > DOCUMENT_BYTES {
        return Err(Malformed::Syntax);
    }
    let Some(Json::Object(members)) = Json::parse(text) else { return Err(Malformed::Syntax) };
    if members.iter().any(|(name, _)| !matches!(name.as_str(), "Version" | "Id" | "Statement")) {
        return Err(Malformed::Syntax);
    }
    if !matches!(member(&members, "Id"), None | Some(Json::Text(_))) {
        return Err(Malformed::Syntax);
    }
    let current = match member(&members, "Version") {
        None => false,
        Some(Json::Text(version)) if version == "2008-10-17" => false,
        Some(Json::Text(version)) if version == "2012-10-17" => true,
        Some(_) => return Err(Malformed::Syntax),
    };
    let written = match member(&members, "Statement") {
        Some(Json::Array(list)) => list.as_slice(),
        Some(one @ Json::Object(_)) => std::slice::from_ref(one),
        _ => return Err(Malformed::Syntax),
    };
    if written.is_empty() && kind != Kind::Resource {
        return Err(Malformed::Syntax);
    }
    if !current && matches!(kind, Kind::Identity | Kind::Boundary | Kind::ServiceControl) {
        return Err(Malformed::Version);
    }
    let statements: Vec<Statement> =
        written.iter().map(|statement| compile(statement, kind, current)).collect::<Result<_, _>>()?;
    let mut seen = HashSet::new();
    if !statements.iter().filter_map(|statement| statement.sid.as_deref()).all(|sid| seen.insert(sid)) {
        return Err(Malformed::DuplicateSid);
    }
    Ok(statements)
}

fn member<'a>(members: &'a [(String, Json)], name: &str) -> Option<&'a Json> {
    members.iter().find(|(have, _)| have == name).map(|(_, value)| value)
}

fn compile(statement: &Json, kind: Kind, variables: bool) -> Result<Statement, Malformed> {
    let Json::Object(members) = statement else { return Err(Malformed::Syntax) };
    if members.iter().any(|(name, _)| !ELEMENTS.contains(&name.as_str())) {
        return Err(Malformed::Syntax);
    }
    let effect = match member(members, "Effect") {
        Some(Json::Text(text)) if text == "Allow" => Effect::Allow,
        Some(Json::Text(text)) if text == "Deny" => Effect::Deny,
        _ => return Err(Malformed::Syntax),
    };
    let (not_action, actions, services) = actions(members, kind)?;
    let (not_resource, resources) = resources(members, kind, variables)?;
    Ok(Statement {
        sid: sid(members, kind)?,
        effect,
        principals: principals(members, kind)?,
        not_action,
        actions,
        services,
        not_resource,
        resources,
        conditions: conditions(members, variables)?,
    })
}

fn sid(members: &[(String, Json)], kind: Kind) -> Result<Option<Box<str>>, Malformed> {
    match member(members, "Sid") {
        None => Ok(None),
        Some(Json::Text(sid)) if sid.is_empty() => Ok(None),
        Some(Json::Text(sid)) => {
            // The resource policies of services allow more characters.
            let plain = kind == Kind::Resource || sid.bytes().all(|b| b.is_ascii_alphanumeric());
            if plain { Ok(Some(sid.as_str().into())) } else { Err(Malformed::Sid) }
        }
        Some(_) => Err(Malformed::Syntax),
    }
}

/// The one of `name` and `Not{name}` that is present: whether it is the negated one, and its value.
fn either<'a>(members: &'a [(String, Json)], name: &str, not: &str) -> Result<Option<(bool, &'a Json)>, Malformed> {
    match (member(members, name), member(members, not)) {
        (Some(_), Some(_)) => Err(Malformed::Syntax),
        (Some(value), None) => Ok(Some((false, value))),
        (None, Some(value)) => Ok(Some((true, value))),
        (None, None) => Ok(None),
    }
}

/// A text or a list of texts.
fn texts(value: &Json) -> Result<Vec<&str>, Malformed> {
    match value {
        Json::Array(list) => list.iter().map(text).collect(),
        value => Ok(vec![text(value)?]),
    }
}

fn text(value: &Json) -> Result<&str, Malformed> {
    match value {
        Json::Text(text) => Ok(text),
        _ => Err(Malformed::Syntax),
    }
}

fn actions(members: &[(String, Json)], kind: Kind) -> Result<(bool, Vec<Pattern>, Services), Malformed> {
    let (not, value) = either(members, "Action", "NotAction")?.ok_or(Malformed::NoActions)?;
    let written = texts(value)?;
    if written.is_empty() {
        return Err(Malformed::NoActions);
    }
    for action in &written {
        check_action(action)?;
        let assumes = ["sts:assumerole", "sts:tagsession", "sts:setsourceidentity", "sts:setcontext"];
        let lower = action.to_ascii_lowercase();
        if kind == Kind::Trust && !(lower == "sts:*" || assumes.iter().any(|start| lower.starts_with(start))) {
            return Err(Malformed::NotAssumeRole);
        }
    }
    let services = match not {
        true => Services::ALL,
        false => written.iter().fold(Services::NONE, |all, action| all.or(Services::of_pattern(action))),
    };
    Ok((not, written.into_iter().map(pattern::action).collect(), services))
}

fn check_action(action: &str) -> Result<(), Malformed> {
    if action == "*" {
        return Ok(());
    }
    let (vendor, name) = action.split_once(':').ok_or(Malformed::NoVendor)?;
    if name.contains(':') {
        return Err(Malformed::Colons);
    }
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'*' | b'?');
    if vendor.is_empty() || !vendor.bytes().all(letter) {
        return Err(Malformed::Vendor(vendor.to_owned()));
    }
    if name.is_empty() {
        return Err(Malformed::LegacyParsing);
    }
    Ok(())
}

fn resources(
    members: &[(String, Json)],
    kind: Kind,
    variables: bool,
) -> Result<(bool, Option<Vec<ArnPattern>>), Malformed> {
    let found = either(members, "Resource", "NotResource")?;
    if kind == Kind::Trust {
        return found.map_or(Ok((false, None)), |_| Err(Malformed::Prohibited("Resource")));
    }
    let (not, value) = found.ok_or(Malformed::NoResources)?;
    let written = texts(value)?;
    if written.is_empty() {
        return Err(Malformed::NoResources);
    }
    written.iter().try_for_each(|resource| check_resource(resource))?;
    Ok((not, Some(written.into_iter().map(|resource| ArnPattern::new(resource, variables)).collect())))
}

fn check_resource(resource: &str) -> Result<(), Malformed> {
    if resource == "*" {
        return Ok(());
    }
    let parts = pattern::parts(resource);
    let ["arn", partition, rest @ ..] = parts.as_slice() else {
        return Err(Malformed::Resource(resource.to_owned()));
    };
    if rest.len() < 4 && !resource.ends_with('*') {
        return Err(Malformed::LegacyParsing);
    }
    let known = partition.contains(['*', '?']) || *partition == "aws" || partition.starts_with("aws-");
    if known {
        Ok(())
    } else {
        Err(Malformed::Partition { partition: (*partition).to_owned(), resource: resource.to_owned() })
    }
}

fn principals(members: &[(String, Json)], kind: Kind) -> Result<Option<Principals>, Malformed> {
    let found = either(members, "Principal", "NotPrincipal")?;
    if !matches!(kind, Kind::Resource | Kind::Trust) {
        return found.map_or(Ok(None), |_| Err(Malformed::PrincipalNotAllowed));
    }
    let (not, value) = found.ok_or(Malformed::NoPrincipal)?;
    if not && kind == Kind::Trust {
        return Err(Malformed::Prohibited("NotPrincipal"));
    }
    let entries = match value {
        Json::Text(text) if text == "*" => vec![Who::Everyone],
        Json::Text(text) => return Err(Malformed::Principal(format!("\"{text}\""))),
        Json::Object(families) => {
            let mut entries = Vec::new();
            for (family, value) in families {
                for text in texts(value)? {
                    let invalid = || Malformed::Principal(format!("\"{family}\":\"{text}\""));
                    entries.push(who(family, text).ok_or_else(invalid)?);
                }
            }
            entries
        }
        _ => return Err(Malformed::Syntax),
    };
    if entries.is_empty() {
        return Err(Malformed::NoPrincipal);
    }
    Ok(Some(Principals { not, who: entries }))
}

fn conditions(members: &[(String, Json)], variables: bool) -> Result<Vec<Condition>, Malformed> {
    let operators = match member(members, "Condition") {
        None => return Ok(Vec::new()),
        Some(Json::Object(operators)) => operators,
        Some(_) => return Err(Malformed::Syntax),
    };
    let mut conditions = Vec::new();
    for (operator, keys) in operators {
        let Json::Object(keys) = keys else { return Err(Malformed::Syntax) };
        for (key, values) in keys {
            conditions.push(Condition::new(operator, key, scalars(values)?, variables)?);
        }
    }
    Ok(conditions)
}

/// The values of a condition: texts, numbers and booleans, one or a list.
fn scalars(value: &Json) -> Result<Vec<String>, Malformed> {
    let one = |value: &Json| match value {
        Json::Text(text) | Json::Number(text) => Ok(text.clone()),
        Json::Bool(value) => Ok(value.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => Err(Malformed::Syntax),
    };
    match value {
        Json::Array(list) => list.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}
