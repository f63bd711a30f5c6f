//! Recorded requests asked again: to explain them, and to see what another policy would do to them.

use std::sync::Arc;

use serde::Serialize;
use wire::{AccountId, Principal, ResourceFacts};

use crate::api::NEED_NO_PERMISSION;
use crate::authorize::{Caller, with_caller, with_policies};
use crate::decisions::{Answered, Asker, Record};
use crate::error::IamError;
use crate::ops::check_document;
use crate::policy::{Keys, Kind, Named, decide, explain};
use crate::state::{Iam, PolicySet};

/// A recorded answer that another policy would turn round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Of the recorded request.
    pub request_id: String,
    /// Who asked.
    pub principal: String,
    /// The IAM action.
    pub action: String,
    /// What it was done to.
    pub resource: String,
    /// `true`: it would break; `false`: it would be allowed where it was denied.
    pub breaks: bool,
    /// AWS's message, of a request that would break.
    pub message: Option<String>,
}

impl Iam {
    /// How the policies that are in force now answer a recorded question, statement by statement. `facts` are those of
    /// the resource. What only the session knew (session policies) is not in it.
    ///
    /// # Errors
    /// The store's.
    pub async fn explain(&self, asker: &Asker, answer: &Answered, facts: &ResourceFacts) -> Result<String, IamError> {
        let Some((principal, account)) = principal(asker) else {
            return Ok("the caller cannot be told any more".to_owned());
        };
        let set = self.policies_of(&principal).await?;
        let Some(resource) = self.resource_side(answer, facts).await? else {
            return Ok("the role does not exist any more".to_owned());
        };
        let caller = Caller { principal: &principal, account: &account };
        let keys = keys(answer);
        Ok(with_caller(caller, &set, &answer.action, &answer.resource, Some(&answer.owner), &keys, |request| {
            with_policies(&set, resource.as_ref(), |policies| explain(policies, request).to_string())
        }))
    }

    /// What would be different if the caller's identity-based policies were `policy` alone. The root user, who needs no
    /// policy, and strangers are never affected.
    ///
    /// # Errors
    /// `MalformedPolicyDocument`; the store's.
    pub async fn replay(
        &self,
        record: &Record,
        policy: &str,
        facts: &[ResourceFacts],
    ) -> Result<Vec<Change>, IamError> {
        check_document(policy, Kind::Identity)?;
        let Some((principal, account)) = principal(&record.asker) else { return Ok(Vec::new()) };
        if matches!(principal, Principal::Root { .. } | Principal::Anonymous) {
            return Ok(Vec::new());
        }
        let policy = self.named("the changed policy", policy, Kind::Identity)?;
        let before = self.policies_of(&principal).await?;
        let set = PolicySet { identity: vec![policy], alive: true, ..(*before).clone() };
        let mut changes = Vec::new();
        for (answer, facts) in record.answers.iter().zip(facts) {
            // What is decided without policies stays as it is; so does what became of a role that is gone.
            let is_open = NEED_NO_PERMISSION.contains(&&*answer.action);
            let resource = if is_open { None } else { self.resource_side(answer, facts).await? };
            let Some(resource) = resource else { continue };
            let caller = Caller { principal: &principal, account: &account };
            let keys = keys(answer);
            let message =
                with_caller(caller, &set, &answer.action, &answer.resource, Some(&answer.owner), &keys, |request| {
                    with_policies(&set, resource.as_ref(), |policies| {
                        let decision = decide(policies, request);
                        (!decision.allowed()).then(|| decision.denial_message(request))
                    })
                });
            if message.is_some() != answer.denial.is_some() {
                changes.push(Change {
                    request_id: record.request_id.clone(),
                    principal: record.asker.arn.clone(),
                    action: answer.action.to_string(),
                    resource: answer.resource.clone(),
                    breaks: message.is_some(),
                    message,
                });
            }
        }
        Ok(changes)
    }

    /// The policy on the side of what was asked about: a role's trust policy where the role was to be assumed. The
    /// outer `None`: there is no such role any more.
    async fn resource_side(&self, answer: &Answered, facts: &ResourceFacts) -> Result<Option<Option<Named>>, IamError> {
        if !ASSUMPTIONS.contains(&&*answer.action) {
            return Ok(Some(self.resource_policy_of(facts)?));
        }
        let role = self.role_by_arn(&answer.resource).await?;
        role.map(|role| self.trust_of(&role).map(Some)).transpose()
    }
}

/// Actions that a role's trust policy speaks of.
const ASSUMPTIONS: &[&str] = &["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"];

fn keys(answer: &Answered) -> Keys {
    let mut keys = Keys::new();
    for (name, values) in &answer.keys {
        keys.set_all(name, values.iter().cloned());
    }
    keys
}

/// The caller of a recorded request, and the account that it acted in.
fn principal(asker: &Asker) -> Option<(Principal, AccountId)> {
    let account = AccountId::parse(&asker.account)?;
    let (id, session_name) = asker.id.split_once(':').unwrap_or((&asker.id, ""));
    let role = |role_arn: String, role_id: &str| Principal::AssumedRole {
        account: account.clone(),
        role_arn,
        role_id: role_id.to_owned(),
        session_name: session_name.to_owned(),
        source_function: asker.function.clone(),
        session: Arc::default(),
    };
    let principal = match &*asker.kind {
        "root" => Principal::Root { account: account.clone() },
        "user" => Principal::User {
            account: account.clone(),
            arn: asker.arn.clone(),
            id: asker.id.clone(),
            name: asker.arn.rsplit('/').next().unwrap_or_default().to_owned(),
            session: None,
        },
        "role" => role(asker.parent_arn.clone(), id),
        // It had no role: one of its own is what it will get.
        "function" => {
            let name = asker.function.as_deref().and_then(|arn| arn.rsplit(':').next()).unwrap_or_default();
            role(format!("arn:aws:iam::{account}:role/{name}"), "")
        }
        "federated" => Principal::FederatedUser {
            account: account.clone(),
            name: session_name.to_owned(),
            user_arn: asker.parent_arn.clone(),
            session: Arc::default(),
        },
        "anonymous" => Principal::Anonymous,
        _ => return None,
    };
    Some((principal, account))
}
