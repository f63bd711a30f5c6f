//! AssumeRoleWithWebIdentity, DecodeAuthorizationMessage.

use std::sync::Arc;

use model::sts as m;
use serde_json::json;
use wire::{AccountId, Arn, Cx, Principal, SessionFacts};

use super::sts::{assumption, issue, restrictions, role_lifetime, shown};
use crate::authorize::{Asking, Ruling, ruling};
use crate::decisions::{Answered, Answers, Asker, Record};
use crate::error::IamError;
use crate::keys::{Identity, Issuer};
use crate::policy::{self, Keys, Policies, PrincipalKind, Request};
use crate::state::Iam;
use crate::web_identity::{Claims, Token};

/// The token's claims, the issuer that the role's account trusts, and the audience that both agree on.
struct Identified {
    claims: Claims,
    issuer: Issuer,
    audience: String,
}

impl Iam {
    async fn identified(&self, account: &str, text: &str) -> Result<Identified, IamError> {
        let invalid = |message: String| IamError::InvalidIdentityToken(message);
        let token = Token::parse(text)?;
        let url = token.claimed_issuer().to_owned();
        let bare = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or(&url);
        let issuer = self.issuer(account, bare.trim_end_matches('/')).await?;
        let issuer =
            issuer.ok_or_else(|| invalid(format!("No OpenIDConnect provider found in your account for {url}")))?;
        let Some(fetch) = &self.0.issuer_keys else {
            return Err(invalid("This server was given no keys of identity providers.".to_owned()));
        };
        let key_set = fetch(url.clone()).await.map_err(|reason| {
            tracing::warn!(issuer = url, reason, "the keys of an identity provider cannot be had");
            invalid("Couldn't retrieve verification key from your identity provider.".to_owned())
        })?;
        let claims = token.verify(&key_set, self.0.clock.now().unix_s())?;
        let audience = claims.aud.all().iter().find(|audience| issuer.client_ids.contains(*audience)).cloned();
        let audience = audience.ok_or_else(|| invalid("Incorrect token audience".to_owned()))?;
        Ok(Identified { claims, issuer, audience })
    }

    /// Whether the role's trust policy lets the bearer in. What was decided is recorded.
    fn admits_bearer(&self, cx: &Cx, role: &Identity, who: &Identified, session_name: &str) -> Result<bool, IamError> {
        let Identified { claims, issuer, audience } = who;
        let mut extra = Keys::new();
        extra.set("sts:RoleSessionName", session_name);
        // `azp` wins over `aud` (user guide, "Available keys for AWS OIDC federation").
        extra.set(&format!("{}:aud", issuer.url), claims.azp.as_ref().unwrap_or(audience).as_str());
        extra.set(&format!("{}:sub", issuer.url), claims.sub.as_str());
        extra.set_all(&format!("{}:amr", issuer.url), claims.amr.iter().cloned());
        let keys = self.request_keys(cx, &extra);
        let trust = self.trust_of(role)?;
        let (issuer_arn, role_arn) = (issuer.arn(), role.arn());
        let kind = PrincipalKind::WebIdentity { issuer: &issuer_arn };
        let request = Request {
            principal: policy::Principal { kind, ..policy::Principal::ANONYMOUS },
            action: ACTION,
            resource: &role_arn,
            resource_account: Some(&role.account),
            keys: &keys,
        };
        let ruling = ruling(&Policies { resource: Some(&trust), ..Policies::default() }, &request);
        let is_admitted = ruling.denial.is_none();
        self.record_bearer(cx, who, assumption(ACTION, &role_arn, &keys, &ruling));
        Ok(is_admitted)
    }

    /// Permissive mode: the role, whoever the bearer is.
    async fn anyones(&self, cx: &Cx, arn: &str, refused: IamError) -> Result<Identity, IamError> {
        let Some(role) = self.anyones_role(arn).await? else { return Err(refused) };
        tracing::warn!(%refused, role = arn, request = cx.request_id, "enforcement would have denied this");
        Ok(role)
    }

    fn record_bearer(&self, cx: &Cx, who: &Identified, answered: Answered) {
        let asker = Asker {
            kind: "web".into(),
            arn: who.issuer.arn(),
            account: who.issuer.account.clone(),
            id: who.claims.sub.clone(),
            ..Asker::default()
        };
        let mut answers = Answers::default();
        answers.add(answered.denial.is_some(), || answered);
        self.record(Asking { cx, objection: None, enforced: !self.0.permissive }, asker, answers);
    }

    /// The role, when the bearer may have it. What was decided about a token that is good is recorded.
    async fn role_for_bearer(
        &self,
        cx: &Cx,
        input: &m::AssumeRoleWithWebIdentityInput,
    ) -> Result<(Identity, Option<Identified>), IamError> {
        let (arn, denied) = (&input.role_arn, || IamError::AccessDenied(format!("Not authorized to perform {ACTION}")));
        let account = Arn::parse(arn).map(|arn| arn.account).unwrap_or_default();
        let who = match self.identified(&account, &input.web_identity_token).await {
            Ok(who) => who,
            Err(failure @ IamError::ServiceFailure(_)) => return Err(failure),
            Err(refused) => return Ok((self.anyones(cx, arn, refused).await?, None)),
        };
        let Some(role) = self.role_by_arn(arn).await? else {
            let ruling = Ruling { by: None, denial: Some(denied().to_string()) };
            self.record_bearer(cx, &who, assumption(ACTION, arn, &Keys::new(), &ruling));
            return Ok((self.anyones(cx, arn, denied()).await?, Some(who)));
        };
        match self.admits_bearer(cx, &role, &who, &input.role_session_name)? {
            true => Ok((role, Some(who))),
            false => Ok((self.anyones(cx, arn, denied()).await?, Some(who))),
        }
    }
}

const ACTION: &str = "sts:AssumeRoleWithWebIdentity";

pub(crate) async fn assume_role(
    iam: Iam,
    cx: Cx,
    input: m::AssumeRoleWithWebIdentityInput,
) -> Result<m::AssumeRoleWithWebIdentityOutput, IamError> {
    let given = restrictions(input.policy.clone(), input.policy_arns.clone(), None)?;
    let (role, who) = iam.role_for_bearer(&cx, &input).await?;
    let lives = role_lifetime(&cx, &role, input.duration_seconds)?;
    let issued = iam.0.clock.now();
    let facts = SessionFacts {
        issued,
        expires: issued + lives,
        policy: given.policy,
        policy_arns: given.policy_arns,
        is_permissive: iam.0.permissive,
        ..SessionFacts::default()
    };
    let principal = Principal::AssumedRole {
        account: AccountId::parse(&role.account).ok_or_else(|| kv::Error::corrupt("a role without an account"))?,
        role_arn: role.arn(),
        role_id: role.id,
        session_name: input.role_session_name,
        source_function: None,
        session: Arc::new(facts),
    };
    let keys = issue(&iam, &principal)?;
    Ok(m::AssumeRoleWithWebIdentityOutput {
        assumed_role_user: Some(m::AssumedRoleUser { arn: principal.arn(), assumed_role_id: principal.user_id() }),
        audience: who.as_ref().map(|who| who.audience.clone()),
        credentials: Some(shown(&keys)),
        packed_policy_size: None,
        provider: who.as_ref().map(|who| who.issuer.arn()),
        session_token_size: None,
        session_token_utilization: None,
        source_identity: None,
        subject_from_web_identity_token: who.map(|who| who.claims.sub),
    })
}

/// The decision behind a denial, in the form that AWS documents; it is kept as long as the record of decisions is.
pub(crate) async fn decode(
    iam: Iam,
    cx: Cx,
    input: m::DecodeAuthorizationMessageInput,
) -> Result<m::DecodeAuthorizationMessageOutput, IamError> {
    let invalid = || IamError::InvalidAuthorizationMessageException("Message is not valid".to_owned());
    let (account, request_id) = iam.0.seal.open_reference(&input.encoded_message).ok_or_else(invalid)?;
    let decisions = iam.0.decisions.as_ref().filter(|_| account == cx.account.as_str()).ok_or_else(invalid)?;
    let found = decisions.of_request_for(&account, &request_id).await;
    let found = found.map_err(|error| kv::Error::unavailable(format_args!("decisions cannot be read: {error}")))?;
    let record = found.into_iter().find(|record| !record.is_allowed()).ok_or_else(invalid)?;
    Ok(m::DecodeAuthorizationMessageOutput { decoded_message: Some(decoded(&record).to_string()) })
}

fn decoded(record: &Record) -> serde_json::Value {
    let denied = record.answers.iter().find(|answer| answer.denial.is_some()).or(record.answers.first());
    let denial = denied.and_then(|answer| answer.denial.as_deref()).unwrap_or_default();
    let by = denied.and_then(|answer| answer.by.as_deref());
    let items = denied.iter().flat_map(|answer| &answer.keys).map(|(key, values)| {
        let values = values.iter().map(|value| json!({ "value": value })).collect::<Vec<_>>();
        json!({ "key": key, "values": { "items": values } })
    });
    json!({
        "allowed": record.is_allowed(),
        "explicitDeny": denial.contains("with an explicit deny"),
        "matchedStatements": { "items": by.map(|by| json!({ "sourcePolicyId": by })).into_iter().collect::<Vec<_>>() },
        "failures": { "items": record.objection.iter().collect::<Vec<_>>() },
        "context": {
            "principal": { "id": record.asker.id, "arn": record.asker.arn },
            "action": denied.map(|answer| &*answer.action),
            "resource": denied.map(|answer| answer.resource.as_str()),
            "conditions": { "items": items.collect::<Vec<_>>() },
        },
    })
}
