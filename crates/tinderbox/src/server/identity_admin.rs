//! The operator's routes about identity: accounts, and the record of decisions. All of them are signed with the root
//! key of the installation.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use gateway::{AdminRequest, AdminRoute};
use http::{Method, Response};
use iam::decisions::{Answered, Record};
use iam::{Decisions, Iam, IamError, NewAccount};
use serde::Deserialize;
use serde_json::{Value, json};
use wire::service::facts_of;
use wire::{AccountId, Arn, ResourceFacts, Service, ServiceError};

use super::admin::answer;

/// What the routes stand on.
#[derive(Clone)]
pub(super) struct IdentityAdmin {
    pub(super) iam: Iam,
    pub(super) decisions: Decisions,
    pub(super) services: Vec<Service>,
    /// The installation's own account.
    pub(super) own: AccountId,
}

/// Status and JSON of an answer.
type Outcome = Result<(u16, Value), IamError>;

impl IdentityAdmin {
    pub(super) fn routes(self) -> Vec<AdminRoute> {
        vec![
            self.route(Method::POST, "/_tinderbox/accounts", |at, request| Box::pin(at.create_account(request))),
            self.route(Method::GET, "/_tinderbox/accounts", |at, _| Box::pin(at.accounts())),
            self.route(Method::POST, "/_tinderbox/accounts/", |at, request| Box::pin(at.rotate_root_key(request))),
            self.route(Method::PUT, "/_tinderbox/service-control/", |at, request| {
                Box::pin(at.set_service_control(request))
            }),
            self.route(Method::GET, "/_tinderbox/iam/decisions/", |at, request| Box::pin(at.explain(request))),
            self.route(Method::GET, "/_tinderbox/iam/suggest/", |at, request| Box::pin(at.suggest(request))),
            self.route(Method::POST, "/_tinderbox/iam/simulate", |at, request| Box::pin(at.simulate(request))),
        ]
    }

    fn route(
        &self,
        method: Method,
        path: &'static str,
        run: fn(Self, AdminRequest) -> wire::service::BoxFuture<Outcome>,
    ) -> AdminRoute {
        let at = self.clone();
        AdminRoute {
            method,
            path,
            open_to_loopback: false,
            handler: Arc::new(move |request| {
                let running = run(at.clone(), request);
                Box::pin(async move { shown(running.await) })
            }),
        }
    }

    async fn create_account(self, request: AdminRequest) -> Outcome {
        #[derive(Deserialize)]
        struct Input {
            id: Option<String>,
            #[serde(default)]
            name: String,
        }
        let input: Input = parsed(&request.body)?;
        let id = input.id.map(|id| AccountId::parse(&id).ok_or_else(|| invalid("an account id has 12 digits")));
        let made = self.iam.create_account(&self.own, id.transpose()?, &input.name).await?;
        Ok((201, with_key(&made)))
    }

    /// `ID/root-key`
    async fn rotate_root_key(self, request: AdminRequest) -> Outcome {
        let Some(id) = request.rest.strip_suffix("/root-key") else {
            return Ok((404, json!({ "message": "POST /_tinderbox/accounts/ID/root-key makes a new root key" })));
        };
        let id = AccountId::parse(id).ok_or_else(|| invalid("an account id has 12 digits"))?;
        Ok((201, with_key(&self.iam.rotate_root_key(&id).await?)))
    }

    async fn accounts(self) -> Outcome {
        Ok((200, json!({ "own": self.own.as_str(), "accounts": self.iam.accounts().await? })))
    }

    async fn set_service_control(self, request: AdminRequest) -> Outcome {
        let account = AccountId::parse(&request.rest).ok_or_else(|| invalid("an account id has 12 digits"))?;
        let policies: BTreeMap<String, Value> = parsed(&request.body)?;
        let policies = policies.into_iter().map(|(name, policy)| (name, policy.to_string())).collect();
        self.iam.set_service_control(&self.own, &account, policies).await?;
        Ok((200, json!({})))
    }

    async fn explain(self, request: AdminRequest) -> Outcome {
        let found = self.decisions.of_request(&request.rest).await.map_err(unreadable)?;
        // A request in permissive mode may be recorded twice: by its signature, and by what its handler decided.
        let denied = found.iter().find(|record| !record.is_allowed());
        let Some(record) = denied.or(found.first()) else {
            return Ok((404, json!({ "message": "no decision about such a request is recorded" })));
        };
        let mut explanations = Vec::new();
        for one in &record.answers {
            explanations.push(self.iam.explain(&record.asker, one, &self.facts(one).await?).await?);
        }
        Ok((200, json!({ "allowed": record.is_allowed(), "record": record, "now": explanations })))
    }

    async fn suggest(self, request: AdminRequest) -> Outcome {
        let records = self.records_of(&request.rest).await?;
        let policy = iam::suggest(&records);
        let denied = records.iter().filter(|record| !record.is_allowed()).count();
        let refused = records.iter().filter(|record| record.was_refused()).count();
        Ok((200, json!({ "requests": records.len(), "denied": denied, "refused": refused, "policy": policy })))
    }

    async fn simulate(self, request: AdminRequest) -> Outcome {
        #[derive(Deserialize)]
        struct Input {
            policy: Value,
            function: Option<String>,
            role: Option<String>,
        }
        let input: Input = parsed(&request.body)?;
        let own = self.own.clone();
        let records = match (&input.function, input.role) {
            (Some(function), _) => self.records_of(function).await?,
            (None, Some(role)) => self.records(move |record| names(&role, &record.asker.parent_arn, &own)).await?,
            (None, None) => self.records(|record| record.asker.kind != "root").await?,
        };
        let policy = input.policy.to_string();
        let mut changes = Vec::new();
        for record in &records {
            let mut facts = Vec::new();
            for one in &record.answers {
                facts.push(self.facts(one).await?);
            }
            changes.extend(self.iam.replay(record, &policy, &facts).await?);
        }
        let (breaks, opens): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| change.breaks);
        Ok((200, json!({ "requests": records.len(), "breaks": breaks, "opens": opens })))
    }

    /// The requests of a function's code, by its ARN, or by its name when it belongs to the operator's own account.
    async fn records_of(&self, function: &str) -> Result<Vec<Record>, IamError> {
        let (function, own) = (function.to_owned(), self.own.clone());
        self.records(move |record| record.asker.function.as_ref().is_some_and(|arn| names(&function, arn, &own))).await
    }

    async fn records(&self, wanted: impl Fn(&Record) -> bool + Send + 'static) -> Result<Vec<Record>, IamError> {
        self.decisions.read(wanted).await.map_err(unreadable)
    }

    /// What the resource's service knows of it now; nothing when it does not exist any more.
    async fn facts(&self, answer: &Answered) -> Result<ResourceFacts, IamError> {
        Ok(facts_of(&self.services, &answer.action, &answer.resource).await.unwrap_or_default())
    }
}

/// An account and the key that is shown only now.
fn with_key(made: &NewAccount) -> Value {
    json!({
        "account": made.id.as_str(),
        "accessKeyId": made.access_key_id,
        "secretAccessKey": made.secret_access_key,
    })
}

fn unreadable(error: std::io::Error) -> IamError {
    IamError::ServiceFailure(kv::Error::corrupt(format!("decisions cannot be read: {error}")))
}

/// Whether `given` means the function or role `arn`: it is the ARN, or the name of one in the account `own`. Tenants
/// choose names too: a name never means a thing of theirs.
fn names(given: &str, arn: &str, own: &AccountId) -> bool {
    if given.starts_with("arn:") {
        return given == arn;
    }
    let own = Arn::parse(arn).is_some_and(|arn| arn.account == own.as_str());
    own && arn.rsplit([':', '/']).next() == Some(given)
}

fn invalid(message: &str) -> IamError {
    IamError::ValidationError(message.to_owned())
}

fn parsed<T: for<'de> Deserialize<'de>>(body: &Bytes) -> Result<T, IamError> {
    serde_json::from_slice(body).map_err(|error| invalid(&format!("the body is not what is expected: {error}")))
}

fn shown(outcome: Outcome) -> Response<Bytes> {
    match outcome {
        Ok((status, body)) => answer(status, &body),
        Err(error) => {
            if error.status() >= 500 {
                tracing::error!(error = &error as &dyn std::error::Error, "an operator's request failed inside");
            }
            answer(error.status(), &json!({ "message": error.to_string() }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_a_thing_of_the_operators_and_an_arn_exactly_one() {
        let own = AccountId::parse("000000000000").expect("12 digits");
        let (mine, theirs) =
            ("arn:aws:lambda:eu-west-1:000000000000:function:f", "arn:aws:lambda:eu-west-1:111111111111:function:f");
        let role = "arn:aws:iam::000000000000:role/path/r";
        for (given, arn, expected) in [
            ("f", mine, true),
            ("f", theirs, false),
            (theirs, theirs, true),
            (theirs, mine, false),
            ("", mine, false),
            ("unction:f", mine, false),
            ("r", role, true),
            ("path/r", role, false),
            (role, role, true),
        ] {
            assert_eq!(names(given, arn, &own), expected, "{given} {arn}");
        }
    }
}
