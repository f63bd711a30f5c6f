//! The operator's routes about identity: accounts, and the record of decisions. All of them are signed with the root
//! key of the installation.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use gateway::{AdminRequest, AdminRoute};
use http::{Method, Response};
use iam::decisions::{Answered, Record};
use iam::{Decisions, Iam, IamError};
use serde::Deserialize;
use serde_json::{Value, json};
use wire::service::facts_of;
use wire::{AccountId, ResourceFacts, Service, ServiceError};

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
        let shown = json!({
            "account": made.id.as_str(),
            "accessKeyId": made.access_key_id,
            "secretAccessKey": made.secret_access_key,
        });
        Ok((201, shown))
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
        let id = request.rest;
        let found = self.records(move |record| record.request_id == id).await?;
        let Some(record) = found.first() else {
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
        Ok((200, json!({ "requests": records.len(), "denied": denied, "policy": policy })))
    }

    async fn simulate(self, request: AdminRequest) -> Outcome {
        #[derive(Deserialize)]
        struct Input {
            policy: Value,
            function: Option<String>,
            role: Option<String>,
        }
        let input: Input = parsed(&request.body)?;
        let role = input.role.map(|role| format!("/{}", role.rsplit('/').next().unwrap_or_default()));
        let records = match (&input.function, role) {
            (Some(function), _) => self.records_of(function).await?,
            (None, Some(role)) => self.records(move |record| record.asker.parent_arn.ends_with(&role)).await?,
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

    /// The requests of a function's code, by its name or ARN.
    async fn records_of(&self, function: &str) -> Result<Vec<Record>, IamError> {
        let end = format!(":function:{}", function.rsplit(':').next().unwrap_or_default());
        self.records(move |record| record.asker.function.as_ref().is_some_and(|arn| arn.ends_with(&end))).await
    }

    async fn records(&self, wanted: impl Fn(&Record) -> bool + Send + 'static) -> Result<Vec<Record>, IamError> {
        let read = self.decisions.read(wanted).await;
        read.map_err(|error| IamError::ServiceFailure(kv::Error::corrupt(format!("decisions cannot be read: {error}"))))
    }

    /// What the resource's service knows of it now; nothing when it does not exist any more.
    async fn facts(&self, answer: &Answered) -> Result<ResourceFacts, IamError> {
        Ok(facts_of(&self.services, &answer.action, &answer.resource).await.unwrap_or_default())
    }
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
