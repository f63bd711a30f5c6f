//! Conditions: operators, compiled values, evaluation.
//!
//! Source: IAM User Guide, "IAM JSON policy elements: Condition operators" and "Multivalued context keys".

use super::malformed::Malformed;
use super::pattern::{ArnPattern, Pattern, Syntax};
use super::request::{Key, Request};
use super::value::{Cidr, date, number};

/// How the values of a multivalued key are taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    /// No qualifier: some value must match, or with a negated operator none may.
    Single,
    ForAllValues,
    ForAnyValue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn holds<T: PartialOrd>(self, have: T, wanted: T) -> bool {
        match self {
            Order::Equal => have == wanted,
            Order::Less => have < wanted,
            Order::LessOrEqual => have <= wanted,
            Order::Greater => have > wanted,
            Order::GreaterOrEqual => have >= wanted,
        }
    }
}

/// The positive comparison of an operator with the policy's values. Values that cannot be read match nothing.
#[derive(Debug)]
enum Test {
    Text(Vec<Pattern>),
    Arn(Vec<ArnPattern>),
    Number(Order, Vec<f64>),
    /// Milliseconds since 1970.
    Date(Order, Vec<i64>),
    Bool(Vec<bool>),
    Binary(Vec<Box<str>>),
    Address(Vec<Cidr>),
    /// `true`: the key must be missing.
    Null(Vec<bool>),
}

/// One operator on one key.
#[derive(Debug)]
pub(super) struct Condition {
    /// As the document writes it, for explanations.
    pub(super) operator: Box<str>,
    pub(super) name: Box<str>,
    pub(super) written: Vec<String>,
    key: Key,
    test: Test,
    negated: bool,
    if_exists: bool,
    set: Set,
}

impl Condition {
    /// Compiles `operator: {name: values}` of a document whose `${…}` are variables if `variables`.
    pub(super) fn new(
        operator: &str,
        name: &str,
        values: Vec<String>,
        variables: bool,
    ) -> Result<Condition, Malformed> {
        let unknown = || Malformed::Operator(operator.to_owned());
        let lower = operator.to_ascii_lowercase();
        let (set, base) = match lower.split_once(':') {
            None => (Set::Single, lower.as_str()),
            Some(("forallvalues", base)) => (Set::ForAllValues, base),
            Some(("foranyvalue", base)) => (Set::ForAnyValue, base),
            Some(_) => return Err(unknown()),
        };
        let (base, if_exists) = base.strip_suffix("ifexists").map_or((base, false), |base| (base, true));
        if base == "null" && if_exists {
            return Err(unknown());
        }
        let (test, negated) = test(base, &values, variables).ok_or_else(unknown)?;
        let (key, operator, name) = (Key::new(name), operator.into(), name.into());
        Ok(Condition { operator, name, written: values, key, test, negated, if_exists, set })
    }

    /// Whether the request meets it.
    pub(super) fn holds(&self, request: &Request<'_>) -> bool {
        let values = request.values(&self.key);
        if let Test::Null(wanted) = &self.test {
            return wanted.contains(&values.is_empty());
        }
        if values.is_empty() {
            return self.if_exists
                || match self.set {
                    Set::Single => self.negated,
                    Set::ForAllValues => true,
                    Set::ForAnyValue => false,
                };
        }
        let matches = |value: &str| self.test.matches(value, request);
        match self.set {
            Set::Single => values.iter().any(matches) != self.negated,
            Set::ForAllValues => values.iter().all(|value| matches(value) != self.negated),
            Set::ForAnyValue => values.iter().any(|value| matches(value) != self.negated),
        }
    }

    /// What the request says of the key.
    pub(super) fn found(&self, request: &Request<'_>) -> Vec<String> {
        request.values(&self.key).iter().map(str::to_owned).collect()
    }
}

impl Test {
    fn matches(&self, value: &str, request: &Request<'_>) -> bool {
        match self {
            Test::Text(patterns) => patterns.iter().any(|pattern| pattern.matches(value, request)),
            Test::Arn(patterns) => {
                super::pattern::is_arn(value) && patterns.iter().any(|pattern| pattern.matches(value, request))
            }
            Test::Number(order, wanted) => {
                number(value).is_some_and(|have| wanted.iter().any(|wanted| order.holds(have, *wanted)))
            }
            Test::Date(order, wanted) => {
                date(value).is_some_and(|have| wanted.iter().any(|wanted| order.holds(have, *wanted)))
            }
            Test::Bool(wanted) => boolean(value).is_some_and(|have| wanted.contains(&have)),
            Test::Binary(wanted) => wanted.iter().any(|wanted| **wanted == *value),
            Test::Address(ranges) => {
                value.parse().is_ok_and(|address| ranges.iter().any(|range| range.contains(address)))
            }
            Test::Null(_) => false,
        }
    }
}

/// The comparison that `base` (in lower case) stands for, and whether the operator negates it.
fn test(base: &str, values: &[String], variables: bool) -> Option<(Test, bool)> {
    let text = |wildcards: bool, fold: bool| {
        let syntax = Syntax { wildcards, variables, fold };
        Test::Text(values.iter().map(|value| Pattern::new(value, syntax)).collect())
    };
    let arn = || Test::Arn(values.iter().map(|value| ArnPattern::new(value, variables)).collect());
    let booleans = || values.iter().filter_map(|value| boolean(value)).collect();
    let address = || Test::Address(values.iter().filter_map(|value| Cidr::parse(value)).collect());
    Some(match base {
        "stringequals" => (text(false, false), false),
        "stringnotequals" => (text(false, false), true),
        "stringequalsignorecase" => (text(false, true), false),
        "stringnotequalsignorecase" => (text(false, true), true),
        "stringlike" => (text(true, false), false),
        "stringnotlike" => (text(true, false), true),
        "arnequals" | "arnlike" => (arn(), false),
        "arnnotequals" | "arnnotlike" => (arn(), true),
        "bool" => (Test::Bool(booleans()), false),
        "null" => (Test::Null(booleans()), false),
        "binaryequals" => (Test::Binary(values.iter().map(|value| value.as_str().into()).collect()), false),
        "ipaddress" => (address(), false),
        "notipaddress" => (address(), true),
        _ => return ordered(base, values),
    })
}

/// The comparisons of numbers and dates.
fn ordered(base: &str, values: &[String]) -> Option<(Test, bool)> {
    let (numeric, comparison) = match base.strip_prefix("numeric") {
        Some(comparison) => (true, comparison),
        None => (false, base.strip_prefix("date")?),
    };
    let (order, negated) = match comparison {
        "equals" => (Order::Equal, false),
        "notequals" => (Order::Equal, true),
        "lessthan" => (Order::Less, false),
        "lessthanequals" => (Order::LessOrEqual, false),
        "greaterthan" => (Order::Greater, false),
        "greaterthanequals" => (Order::GreaterOrEqual, false),
        _ => return None,
    };
    let test = if numeric {
        Test::Number(order, values.iter().filter_map(|value| number(value)).collect())
    } else {
        Test::Date(order, values.iter().filter_map(|value| date(value)).collect())
    };
    Some((test, negated))
}

fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") { Some(true) } else { text.eq_ignore_ascii_case("false").then_some(false) }
}
