//! Why: every statement that was looked at and what became of it. Made on demand, never on the way of a call.

use std::fmt;

use super::request::Request;
use super::statement::{Effect, Miss, Statement};
use super::{Decision, Kind, Named, Policies, decide};

/// A decision with its whole trace.
#[derive(Clone, Debug)]
pub struct Explanation<'a> {
    pub decision: Decision<'a>,
    pub steps: Vec<Step>,
}

/// One statement of one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub kind: Kind,
    /// The policy's name or ARN.
    pub policy: String,
    /// Its index in the document, from 0.
    pub statement: usize,
    pub sid: Option<String>,
    pub effect: Effect,
    pub finding: Finding,
}

/// What a statement had to say.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// It speaks of the request: its effect counts.
    Matches,
    OtherAction,
    OtherResource,
    OtherPrincipal,
    /// These conditions failed.
    Conditions(Vec<ConditionMiss>),
}

/// A condition that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct ConditionMiss {
    pub operator: String,
    pub key: String,
    /// The policy's values.
    pub wanted: Vec<String>,
    /// The request's values; none when the key was missing.
    pub found: Vec<String>,
}

/// Decides as [`decide`] does and says why.
pub fn explain<'a>(policies: &Policies<'a>, request: &Request<'_>) -> Explanation<'a> {
    let mut steps = Vec::new();
    let mut add = |named: &Named, kind: Kind| {
        for (index, statement) in named.policy.statements.iter().enumerate() {
            steps.push(Step {
                kind,
                policy: named.name.to_string(),
                statement: index,
                sid: statement.sid.as_deref().map(str::to_owned),
                effect: statement.effect,
                finding: finding(statement, request),
            });
        }
    };
    if request.principal.has_account() {
        policies
            .service_control
            .iter()
            .flat_map(|level| level.iter())
            .for_each(|named| add(named, Kind::ServiceControl));
    }
    policies.resource.into_iter().for_each(|named| add(named, named.policy.kind));
    if request.principal.has_account() {
        policies.identity.iter().for_each(|named| add(named, Kind::Identity));
        policies.boundary.into_iter().for_each(|named| add(named, Kind::Boundary));
        policies.session.into_iter().flatten().for_each(|named| add(named, Kind::Session));
    }
    Explanation { decision: decide(policies, request), steps }
}

fn finding(statement: &Statement, request: &Request<'_>) -> Finding {
    match statement.check(request) {
        Ok(_) => Finding::Matches,
        Err(Miss::Action) => Finding::OtherAction,
        Err(Miss::Resource) => Finding::OtherResource,
        Err(Miss::Principal) => Finding::OtherPrincipal,
        Err(Miss::Condition(first)) => {
            let failed = statement.conditions[first..].iter().filter(|condition| !condition.holds(request));
            let miss = |condition: &super::condition::Condition| ConditionMiss {
                operator: condition.operator.to_string(),
                key: condition.name.to_string(),
                wanted: condition.written.clone(),
                found: condition.found(request),
            };
            Finding::Conditions(failed.map(miss).collect())
        }
    }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", if self.decision.allowed() { "allowed" } else { "denied" })?;
        self.steps.iter().try_for_each(|step| writeln!(out, "  {step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = if self.effect == Effect::Allow { "allow" } else { "deny" };
        write!(out, "{} {} statement {}", self.kind.words().0, self.policy, self.statement)?;
        if let Some(sid) = &self.sid {
            write!(out, " ({sid})")?;
        }
        match &self.finding {
            Finding::Matches => write!(out, ": {effect} applies"),
            Finding::OtherAction => write!(out, ": {effect} is about other actions"),
            Finding::OtherResource => write!(out, ": {effect} is about other resources"),
            Finding::OtherPrincipal => write!(out, ": {effect} is about other principals"),
            Finding::Conditions(misses) => {
                write!(out, ": {effect} does not apply")?;
                misses.iter().try_for_each(|miss| write!(out, "; {miss}"))
            }
        }
    }
}

impl fmt::Display for ConditionMiss {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} wants {:?}", self.operator, self.key, self.wanted)?;
        if self.found.is_empty() {
            write!(out, ", the key is missing")
        } else {
            write!(out, ", found {:?}", self.found)
        }
    }
}
