//! What would be allowed: the engine asked without anybody calling.

use std::sync::Arc;

use model::iam as m;
use wire::{AccountId, Arn, Cx, Principal};

use crate::authorize::with_policies;
use crate::error::IamError;
use crate::keys::IdentityKind;
use crate::limits::{
    SIMULATED_CONTEXT_MAX, SIMULATED_MAX, SIMULATED_POLICIES_MAX, SIMULATED_STEPS_MAX, SIMULATED_VALUE_BYTES_MAX,
    SIMULATED_VALUES_MAX,
};
use crate::policy::{self, Keys, Kind, Named, Outcome, Policy, PrincipalKind, Request, decide};
use crate::state::{Iam, PolicySet};

/// What both operations ask, as it was given.
struct Question {
    caller: String,
    actions: Vec<String>,
    resources: Vec<String>,
    policies: Vec<String>,
    boundary: Vec<String>,
    resource_policy: Option<String>,
    context: Vec<m::ContextEntry>,
}

impl Question {
    /// The answers for a principal with the policies `set` beside those of the question: in turn, and off the threads
    /// that serve others.
    async fn answer(self, iam: &Iam, cx: &Cx, set: PolicySet) -> Result<m::SimulatePolicyResponse, IamError> {
        let turn = iam.0.simulations.take(cx.account.as_str()).await;
        let answered = sys::task::blocking(move || {
            let _until_the_end = turn;
            self.answered(set)
        });
        answered.await.unwrap_or_else(|| Err(kv::Error::unavailable("a simulation was not finished").into()))
    }

    fn answered(self, mut set: PolicySet) -> Result<m::SimulatePolicyResponse, IamError> {
        set.identity.extend(compiled(&self.policies, Kind::Identity)?);
        set.boundary = compiled(&self.boundary, Kind::Boundary)?.into_iter().next().or(set.boundary);
        let tried = |text: &String| tried("ResourcePolicy", text, Kind::Resource);
        let resource_policy = self.resource_policy.as_ref().map(tried).transpose()?;
        self.check_work(set.bytes() + resource_policy.as_ref().map_or(0, |named| named.policy.bytes()))?;
        let keys = keys(self.context);
        Ok(simulated(&set, (&self.caller, &self.actions, &self.resources), resource_policy.as_ref(), &keys))
    }

    /// One request may not ask for more work than this server does for anybody else.
    fn check_work(&self, policy_bytes: usize) -> Result<(), IamError> {
        let pairs = self.actions.len().saturating_mul(self.resources.len());
        at_most("pairs of action and resource", pairs, SIMULATED_MAX)?;
        at_most("context entries", self.context.len(), SIMULATED_CONTEXT_MAX)?;
        let mut longest_entry = 0;
        for entry in &self.context {
            let values = entry.context_key_values.as_deref().unwrap_or_default();
            at_most("values of a context entry", values.len(), SIMULATED_VALUES_MAX)?;
            let longest = values.iter().map(String::len).max().unwrap_or(0);
            at_most("bytes of a context value", longest, SIMULATED_VALUE_BYTES_MAX)?;
            longest_entry = longest_entry.max(bytes(values));
        }
        // Each action stands in as many pairs as there are resources, and each resource in as many as there are actions.
        let compared = bytes(&self.actions) * self.resources.len()
            + bytes(&self.resources) * self.actions.len()
            + longest_entry * pairs;
        at_most("steps (bytes of policies times bytes of pairs)", policy_bytes * compared, SIMULATED_STEPS_MAX)
    }
}

/// What texts cost: one byte more each, because a comparison with nothing is one too.
fn bytes(texts: &[String]) -> usize {
    texts.iter().map(|text| text.len() + 1).sum()
}

fn at_most(what: &str, given: usize, max: usize) -> Result<(), IamError> {
    match given > max {
        true => Err(IamError::InvalidInput(format!("A simulation takes at most {max} {what}; {given} were given."))),
        false => Ok(()),
    }
}

/// What is only tried is compiled for this one request: it must not drive what is in force out of the cache.
fn tried(name: &str, text: &str, kind: Kind) -> Result<Named, IamError> {
    let malformed = |error: policy::Malformed| IamError::MalformedPolicyDocument(error.to_string());
    Ok(Named::new(name, Arc::new(Policy::parse(text, kind).map_err(malformed)?)))
}

fn compiled(texts: &[String], kind: Kind) -> Result<Vec<Named>, IamError> {
    at_most("policies", texts.len(), SIMULATED_POLICIES_MAX)?;
    let one = |(at, text): (usize, &String)| tried(&format!("PolicyInputList.{}", at + 1), text, kind);
    texts.iter().enumerate().map(one).collect()
}

fn simulated(
    set: &PolicySet,
    (caller, actions, resources): (&str, &[String], &[String]),
    resource_policy: Option<&Named>,
    keys: &Keys,
) -> m::SimulatePolicyResponse {
    let mut results = Vec::new();
    let account = Arn::parse(caller).map_or_else(String::new, |arn| arn.account);
    for action in actions {
        for resource in resources {
            let principal = policy::Principal {
                kind: PrincipalKind::User { name: caller.rsplit('/').next().unwrap_or_default() },
                arn: caller,
                account: &account,
                id: "",
                tags: &set.tags,
            };
            let request = Request { principal, action, resource, resource_account: None, keys };
            with_policies(set, resource_policy, |policies| {
                results.push(result(action, resource, decide(policies, &request).outcome));
            });
        }
    }
    m::SimulatePolicyResponse { evaluation_results: Some(results), is_truncated: Some(false), marker: None }
}

fn result(action: &str, resource: &str, outcome: Outcome<'_>) -> m::EvaluationResult {
    let (decision, by) = match outcome {
        Outcome::Allow { by } => (m::PolicyEvaluationDecisionType::Allowed, by),
        Outcome::ExplicitDeny { by } => (m::PolicyEvaluationDecisionType::ExplicitDeny, Some(by)),
        Outcome::ImplicitDeny { .. } => (m::PolicyEvaluationDecisionType::ImplicitDeny, None),
    };
    let matched = by.map(|at| m::Statement {
        end_position: None,
        source_policy_id: Some(at.name.to_string()),
        source_policy_type: None,
        start_position: None,
    });
    m::EvaluationResult {
        eval_action_name: action.to_owned(),
        eval_decision: decision,
        eval_decision_details: None,
        eval_resource_name: Some(resource.to_owned()),
        matched_statements: Some(matched.into_iter().collect()),
        missing_context_values: Some(Vec::new()),
        organizations_decision_detail: None,
        permissions_boundary_decision_detail: None,
        resource_specific_results: None,
    }
}

fn keys(context: Vec<m::ContextEntry>) -> Keys {
    let mut keys = Keys::new();
    for entry in context {
        if let Some(name) = entry.context_key_name {
            keys.set_all(&name, entry.context_key_values.unwrap_or_default());
        }
    }
    keys
}

fn resources(given: Option<Vec<String>>) -> Vec<String> {
    given.filter(|arns| !arns.is_empty()).unwrap_or_else(|| vec!["*".to_owned()])
}

pub(crate) async fn custom(
    iam: Iam,
    cx: Cx,
    input: m::SimulateCustomPolicyInput,
) -> Result<m::SimulateCustomPolicyOutput, IamError> {
    let question = Question {
        caller: input.caller_arn.unwrap_or_else(|| format!("arn:aws:iam::{}:user/simulated", cx.account)),
        actions: input.action_names,
        resources: resources(input.resource_arns),
        policies: input.policy_input_list,
        boundary: input.permissions_boundary_policy_input_list.unwrap_or_default(),
        resource_policy: input.resource_policy,
        context: input.context_entries.unwrap_or_default(),
    };
    question.answer(&iam, &cx, PolicySet { alive: true, ..PolicySet::default() }).await
}

pub(crate) async fn principal(
    iam: Iam,
    cx: Cx,
    input: m::SimulatePrincipalPolicyInput,
) -> Result<m::SimulatePrincipalPolicyOutput, IamError> {
    let set = iam.policies_of_arn(&cx.account, &input.policy_source_arn).await?;
    let question = Question {
        caller: input.caller_arn.unwrap_or(input.policy_source_arn),
        actions: input.action_names,
        resources: resources(input.resource_arns),
        policies: input.policy_input_list.unwrap_or_default(),
        boundary: input.permissions_boundary_policy_input_list.unwrap_or_default(),
        resource_policy: input.resource_policy,
        context: input.context_entries.unwrap_or_default(),
    };
    question.answer(&iam, &cx, set).await
}

impl Iam {
    /// The policies of the user or role of this ARN.
    async fn policies_of_arn(&self, account: &AccountId, arn: &str) -> Result<PolicySet, IamError> {
        let missing = || IamError::NoSuchEntity(format!("The entity {arn} cannot be found."));
        let name = arn.rsplit('/').next().unwrap_or_default();
        let kind = if arn.contains(":user/") { IdentityKind::User } else { IdentityKind::Role };
        let found = self.identity(account.as_str(), kind, name).await?.filter(|found| found.arn() == arn);
        let found = found.ok_or_else(missing)?;
        let principal = match kind {
            IdentityKind::User => Principal::User {
                account: account.clone(),
                arn: arn.to_owned(),
                id: found.id,
                name: found.name,
                session: None,
            },
            IdentityKind::Group | IdentityKind::Role => Principal::AssumedRole {
                account: account.clone(),
                role_arn: arn.to_owned(),
                role_id: found.id,
                session_name: String::new(),
                source_function: None,
                session: Default::default(),
            },
        };
        Ok((*self.policies_of(&principal).await?).clone())
    }
}
