//! An evaluator in the plainest way: straight from the documents, rule by rule, without compiling anything.
//! It shares no code with the engine. Source: IAM User Guide, the pages named at each rule.

use std::net::IpAddr;

use serde_json::Value;

use crate::case::{list, text, texts};

/// "Policy evaluation logic": `allow`, `explicit` or `implicit`.
pub(crate) fn answer(case: &Value) -> &'static str {
    let kind = text(&case["principal"], "kind");
    let in_account = matches!(kind, "user" | "role" | "federated" | "root");
    let resource: Vec<(bool, u8)> = case.get("resourcePolicy").map_or(Vec::new(), |policy| speaking(case, policy));
    let own = |policies: &[Value]| -> Vec<(bool, u8)> {
        policies.iter().filter(|_| in_account).flat_map(|policy| speaking(case, policy)).collect()
    };
    let identity = own(list(case, "identity"));
    let session = own(list(case, "session"));
    let boundary = case.get("boundary").map_or(Vec::new(), |policy| own(std::slice::from_ref(policy)));
    let levels: Vec<Vec<(bool, u8)>> =
        list(case, "serviceControl").iter().map(|level| own(level.as_array().expect("a level is a list"))).collect();

    let denies = |found: &[(bool, u8)]| found.iter().any(|(allow, _)| !allow);
    if denies(&resource)
        || denies(&identity)
        || denies(&session)
        || denies(&boundary)
        || levels.iter().any(|l| denies(l))
    {
        return "explicit";
    }
    let allows = |found: &[(bool, u8)]| found.iter().any(|(allow, _)| *allow);
    let grants = |how: u8| resource.iter().any(|(allow, found)| *allow && *found == how);
    let yes_or_no = |yes: bool| if yes { "allow" } else { "implicit" };
    if !in_account {
        return yes_or_no(allows(&resource));
    }
    let root = kind == "root";
    let organisation = levels.iter().all(|level| allows(level));
    let identity = root || allows(&identity);
    let boundary = root || case.get("boundary").is_none() || allows(&boundary);
    let session = case.get("session").is_none() || allows(&session);
    let own_side = identity && boundary && session;
    let trusted = case["trust"] != true || allows(&resource);
    let foreign = case["resourceAccount"].as_str().is_some_and(|owner| owner != text(&case["principal"], "account"));
    yes_or_no(if foreign {
        organisation && own_side && allows(&resource)
    } else {
        organisation && trusted && (own_side || grants(DIRECT) || (grants(PARENT) && boundary && session))
    })
}

const ACCOUNT: u8 = 1;
const PARENT: u8 = 2;
const DIRECT: u8 = 3;

/// The statements of `policy` that match: whether each allows, and how it names the principal.
fn speaking(case: &Value, policy: &Value) -> Vec<(bool, u8)> {
    let current = policy["Version"] == "2012-10-17";
    let mut found = Vec::new();
    for statement in policy["Statement"].as_array().expect("a list") {
        let hows = principals(case, statement);
        if actions(case, statement) && resources(case, statement, current) && conditions(case, statement, current) {
            found.extend(hows.into_iter().map(|how| (statement["Effect"] == "Allow", how)));
        }
    }
    found
}

/// "Principal" and "NotPrincipal": every way in which the statement names the caller.
fn principals(case: &Value, statement: &Value) -> Vec<u8> {
    let (element, not) = match (statement.get("Principal"), statement.get("NotPrincipal")) {
        (None, None) => return vec![DIRECT],
        (Some(element), _) => (element, false),
        (None, Some(element)) => (element, true),
    };
    let who = &case["principal"];
    let kind = text(who, "kind");
    let in_account = matches!(kind, "user" | "role" | "federated" | "root");
    let mut hows = Vec::new();
    if element == "*" {
        hows.push(DIRECT);
    }
    for (family, names) in element.as_object().into_iter().flatten() {
        for name in texts(names) {
            let account_arn = format!("arn:aws:iam::{}:root", text(who, "account"));
            match family.as_str() {
                "AWS" if name == "*" => hows.push(DIRECT),
                "AWS" if in_account && (name == text(who, "account") || name == account_arn) => hows.push(ACCOUNT),
                "AWS" if matches!(kind, "role" | "federated") && name == text(who, "parent") => hows.push(PARENT),
                "AWS" if in_account && kind != "root" && name == text(who, "arn") => hows.push(DIRECT),
                "Service" if kind == "service" && name == text(who, "name") => hows.push(DIRECT),
                "Federated" if kind == "web" && name == text(who, "name") => hows.push(DIRECT),
                _ => {}
            }
        }
    }
    match (not, hows.is_empty()) {
        (false, _) => hows,
        (true, true) => vec![DIRECT],
        (true, false) => vec![],
    }
}

fn actions(case: &Value, statement: &Value) -> bool {
    let wanted = text(case, "action").to_lowercase();
    let any =
        |element: &Value| texts(element).iter().any(|pattern| glob(&tokens(&pattern.to_lowercase(), true), &wanted));
    match statement.get("Action") {
        Some(element) => any(element),
        None => !any(&statement["NotAction"]),
    }
}

fn resources(case: &Value, statement: &Value, current: bool) -> bool {
    let any = |element: &Value| {
        texts(element).iter().any(|pattern| pattern == "*" || arn_like(case, pattern, text(case, "resource"), current))
    };
    match (statement.get("Resource"), statement.get("NotResource")) {
        (Some(element), _) => any(element),
        (None, Some(element)) => !any(element),
        (None, None) => true,
    }
}

/// "Condition": all of them must hold.
fn conditions(case: &Value, statement: &Value, current: bool) -> bool {
    statement["Condition"].as_object().into_iter().flatten().all(|(operator, keys)| {
        keys.as_object()
            .expect("an object")
            .iter()
            .all(|(key, values)| condition(case, operator, key, &texts(values), current))
    })
}

fn condition(case: &Value, operator: &str, key: &str, wanted: &[String], current: bool) -> bool {
    let found = key_values(case, key);
    if operator == "Null" {
        return wanted.iter().any(|value| value == if found.is_empty() { "true" } else { "false" });
    }
    let (set, operator) = operator.split_once(':').unwrap_or(("", operator));
    let (operator, if_exists) = match operator.strip_suffix("IfExists") {
        Some(operator) => (operator, true),
        None => (operator, false),
    };
    let (operator, negated) = match operator {
        "NotIpAddress" => ("IpAddress".to_owned(), true),
        other if other.contains("Not") => (other.replacen("Not", "", 1), true),
        other => (other.to_owned(), false),
    };
    if found.is_empty() {
        return if_exists || set == "ForAllValues" || (set.is_empty() && negated);
    }
    let matches = |value: &String| wanted.iter().any(|wanted| compare(case, &operator, value, wanted, current));
    match set {
        "ForAllValues" => found.iter().all(|value| matches(value) ^ negated),
        "ForAnyValue" => found.iter().any(|value| matches(value) ^ negated),
        _ => found.iter().any(matches) ^ negated,
    }
}

/// One value of the request and one of the policy under a positive operator.
fn compare(case: &Value, operator: &str, have: &str, wanted: &str, current: bool) -> bool {
    match operator {
        "StringEquals" => substituted(case, wanted, current, false).is_some_and(|t| glob(&t, have)),
        "StringEqualsIgnoreCase" => {
            substituted(case, wanted, current, false).is_some_and(|t| glob(&lower(&t), &have.to_lowercase()))
        }
        "StringLike" => substituted(case, wanted, current, true).is_some_and(|t| glob(&t, have)),
        "ArnEquals" | "ArnLike" => arn_like(case, wanted, have, current),
        "Bool" => {
            let (have, wanted) = (have.to_lowercase(), wanted.to_lowercase());
            have == wanted && (have == "true" || have == "false")
        }
        "BinaryEquals" => have == wanted,
        "IpAddress" => in_range(have, wanted),
        other => {
            let (have, wanted) = match other.strip_prefix("Numeric") {
                Some(_) => (have.parse().ok(), wanted.parse().ok()),
                None => (moment(have), moment(wanted)),
            };
            let (Some(have), Some(wanted)) = (have, wanted) else { return false };
            match other.trim_start_matches("Numeric").trim_start_matches("Date") {
                "Equals" => have == wanted,
                "LessThan" => have < wanted,
                "LessThanEquals" => have <= wanted,
                "GreaterThan" => have > wanted,
                "GreaterThanEquals" => have >= wanted,
                _ => panic!("no operator {other}"),
            }
        }
    }
}

fn moment(text: &str) -> Option<f64> {
    if text.len() > 4 && text.chars().all(|c| c.is_ascii_digit()) {
        return text.parse().ok();
    }
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    Some(whole.parse::<jiff::Timestamp>().ok()?.as_millisecond() as f64 / 1e3)
}

/// The first `length` bits of the address must be those of the range.
fn in_range(have: &str, range: &str) -> bool {
    let bits = |text: &str| match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => Some(v4.octets().iter().map(|b| format!("{b:08b}")).collect::<String>()),
        Ok(IpAddr::V6(v6)) => Some(v6.octets().iter().map(|b| format!("{b:08b}")).collect::<String>()),
        Err(_) => None,
    };
    let (network, length) = range.split_once('/').unwrap_or((range, ""));
    let (Some(have), Some(network)) = (bits(have), bits(network)) else { return false };
    let length = if length.is_empty() { network.len() } else { length.parse().expect("a length") };
    have.len() == network.len() && length <= network.len() && have[..length] == network[..length]
}

/// "ArnLike": six parts, each matched for itself; missing parts of the pattern are `*`.
fn arn_like(case: &Value, pattern: &str, have: &str, current: bool) -> bool {
    let found: Vec<&str> = have.splitn(6, ':').collect();
    if found.len() < 6 || found[0] != "arn" {
        return false;
    }
    // Colons inside a variable do not part the ARN.
    let mut depth = 0;
    let mut parts = vec![String::new()];
    for c in pattern.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ':' && depth == 0 && parts.len() < 6 {
            parts.push(String::new());
        } else {
            parts.last_mut().expect("never empty").push(c);
        }
    }
    if parts.len() == 1 {
        return substituted(case, pattern, current, true).is_some_and(|tokens| glob(&tokens, have));
    }
    parts.resize(6, "*".to_owned());
    parts
        .iter()
        .zip(found)
        .all(|(part, have)| substituted(case, part, current, true).is_some_and(|tokens| glob(&tokens, have)))
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Any,
    One,
    Plain(char),
}

fn tokens(pattern: &str, wild: bool) -> Vec<Token> {
    let token = |c| match c {
        '*' if wild => Token::Any,
        '?' if wild => Token::One,
        c => Token::Plain(c),
    };
    pattern.chars().map(token).collect()
}

fn lower(tokens: &[Token]) -> Vec<Token> {
    let fold = |token: &Token| match token {
        Token::Plain(c) => c.to_lowercase().map(Token::Plain).collect(),
        other => vec![other.clone()],
    };
    tokens.iter().flat_map(fold).collect()
}

/// "Policy variables": the tokens of `pattern` with its variables replaced; nothing if one has no value.
fn substituted(case: &Value, pattern: &str, current: bool, wild: bool) -> Option<Vec<Token>> {
    if !current || !pattern.contains("${") {
        return Some(tokens(pattern, wild));
    }
    let (before, rest) = pattern.split_once("${").expect("just looked");
    let (name, after) = rest.split_once('}').expect("just looked");
    let value = if ["*", "?", "$"].contains(&name) {
        name.to_owned()
    } else {
        let (name, default) = match name.split_once(", ") {
            Some((name, default)) => (name, Some(default.trim_matches('\'').to_owned())),
            None => (name, None),
        };
        match key_values(case, name).as_slice() {
            [one] => one.clone(),
            _ => default?,
        }
    };
    let mut all = tokens(before, wild);
    all.extend(value.chars().map(Token::Plain));
    all.extend(substituted(case, after, current, wild)?);
    Some(all)
}

/// Which ends of `text` each beginning of the pattern reaches, one token after the other.
fn glob(tokens: &[Token], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for token in tokens {
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            match token {
                Token::Any => next[at] = reached[..=at].contains(&true),
                Token::One => next[at] = at > 0 && reached[at - 1],
                Token::Plain(c) => next[at] = at > 0 && reached[at - 1] && text[at - 1] == *c,
            }
        }
        reached = next;
    }
    reached[text.len()]
}

/// "Global condition keys": those of the principal come from it, the rest from the request.
fn key_values(case: &Value, key: &str) -> Vec<String> {
    let key = key.to_lowercase();
    let who = &case["principal"];
    let kind = text(who, "kind");
    let in_account = matches!(kind, "user" | "role" | "federated" | "root");
    let some = |text: &str| if text.is_empty() { vec![] } else { vec![text.to_owned()] };
    if let Some(tag) = key.strip_prefix("aws:principaltag/") {
        let tags = who["tags"].as_object().into_iter().flatten();
        return tags.filter(|(name, _)| name.to_lowercase() == tag).take(1).flat_map(|(_, v)| texts(v)).collect();
    }
    match key.as_str() {
        "aws:principalarn" if kind == "role" => some(text(who, "parent")),
        "aws:principalarn" if in_account => some(text(who, "arn")),
        "aws:principalaccount" if in_account => some(text(who, "account")),
        "aws:userid" if kind == "anonymous" => some("anonymous"),
        "aws:userid" => some(text(who, "id")),
        "aws:username" if kind == "user" => some(text(who, "name")),
        "aws:principalarn" | "aws:principalaccount" | "aws:username" => vec![],
        "aws:principaltype" => some(match kind {
            "user" => "User",
            "role" => "AssumedRole",
            "root" => "Account",
            "federated" => "FederatedUser",
            "anonymous" => "Anonymous",
            _ => "",
        }),
        "aws:resourceaccount" | "s3:resourceaccount" => some(text(case, "resourceAccount")),
        _ => case["keys"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(k, _)| k.to_lowercase() == key)
            .flat_map(|(_, v)| texts(v))
            .collect(),
    }
}
