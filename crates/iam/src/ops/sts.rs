//! STS: who am I, and keys for a while.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::sts as m;
use wire::{AccountId, Arn, Cx, Principal, SessionFacts};

use super::{check_document, merge_tag, merge_tags};
use crate::authorize::{Asking, Ruling, asker, ruling};
use crate::decisions::{Answered, Answers};
use crate::error::IamError;
use crate::keys::{Identity, IdentityKind, RoleFacts};
use crate::limits::{
    CHAINED_SESSION_S_MAX, SESSION_POLICY_ARNS_MAX, SESSION_POLICY_CHARS_MAX, SESSION_S_DEFAULT, SESSION_S_MAX,
    TAGS_MAX, USER_SESSION_S_DEFAULT,
};
use crate::policy::{Keys, Kind, Named, same_letters};
use crate::session::{TemporaryKeys, account_of};
use crate::state::Iam;

pub(crate) async fn caller(
    _: Iam,
    cx: Cx,
    _: m::GetCallerIdentityInput,
) -> Result<m::GetCallerIdentityOutput, IamError> {
    let account = cx.principal.account().unwrap_or(&cx.account).to_string();
    let (arn, user_id) = (cx.principal.arn(), cx.principal.user_id());
    Ok(m::GetCallerIdentityOutput { account: Some(account), arn: Some(arn), user_id: Some(user_id) })
}

pub(crate) async fn key_info(
    _: Iam,
    _: Cx,
    input: m::GetAccessKeyInfoInput,
) -> Result<m::GetAccessKeyInfoOutput, IamError> {
    let account = account_of(&input.access_key_id);
    let account = account.ok_or_else(|| IamError::ValidationError("Invalid access key".to_owned()))?;
    Ok(m::GetAccessKeyInfoOutput { account: Some(account.to_string()) })
}

pub(crate) fn shown(keys: &TemporaryKeys) -> m::Credentials {
    m::Credentials {
        access_key_id: keys.access_key_id.clone(),
        expiration: keys.expires,
        secret_access_key: keys.credential.secret.expose().to_owned(),
        session_token: keys.credential.session_token.as_ref().map_or("", |token| token.expose()).to_owned(),
    }
}

/// What restricts and describes a session, checked.
pub(crate) struct Restrictions {
    pub(crate) policy: Option<String>,
    pub(crate) policy_arns: Vec<String>,
    tags: BTreeMap<String, String>,
}

pub(crate) fn restrictions(
    policy: Option<String>,
    arns: Option<Vec<m::PolicyDescriptorType>>,
    tags: Option<Vec<m::Tag>>,
) -> Result<Restrictions, IamError> {
    if let Some(text) = &policy {
        // Before it is compiled: a long text is long work.
        if text.chars().count() > SESSION_POLICY_CHARS_MAX {
            let message = format!("Packed size of session policy exceeds {SESSION_POLICY_CHARS_MAX} characters.");
            return Err(IamError::PackedPolicyTooLarge(message));
        }
        check_document(text, Kind::Session)?;
    }
    let policy_arns: Vec<String> = arns.unwrap_or_default().into_iter().filter_map(|one| one.arn).collect();
    if policy_arns.len() > SESSION_POLICY_ARNS_MAX {
        let message = format!("The number of managed session policies exceeds {SESSION_POLICY_ARNS_MAX}.");
        return Err(IamError::ValidationError(message));
    }
    let mut given = BTreeMap::new();
    merge_tags(&mut given, tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)))?;
    Ok(Restrictions { policy, policy_arns, tags: given })
}

fn lifetime(seconds: i32) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// How long a role session lives.
pub(crate) fn role_lifetime(cx: &Cx, role: &Identity, wanted: Option<i32>) -> Result<Duration, IamError> {
    let seconds = wanted.unwrap_or(SESSION_S_DEFAULT);
    let max = role.role.as_ref().map_or(SESSION_S_DEFAULT, |facts| facts.max_session_s);
    if matches!(cx.principal, Principal::AssumedRole { .. }) && seconds > CHAINED_SESSION_S_MAX {
        let message = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role \
                       chaining";
        return Err(IamError::ValidationError(message.to_owned()));
    }
    match seconds > max {
        true => Err(IamError::ValidationError(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.".to_owned(),
        )),
        false => Ok(lifetime(seconds)),
    }
}

impl Iam {
    /// The role, when the caller may do each of `actions` to it under its trust policy. What was decided is recorded.
    async fn trusted(&self, cx: &Cx, arn: &str, actions: &[&'static str], extra: &Keys) -> Result<Identity, IamError> {
        let keys = self.request_keys(cx, extra);
        let (mut answers, mut denial, mut found) = (Answers::default(), None, None);
        for action in actions {
            let (ruling, role) = self.admits(cx, arn, action, &keys).await?;
            answers.add(ruling.denial.is_some(), || assumption(action, arn, &keys, &ruling));
            denial = denial.or(ruling.denial);
            found = role.or(found);
            if denial.is_some() && !self.0.permissive {
                break;
            }
        }
        self.record(Asking { cx, objection: None, enforced: !self.0.permissive }, asker(cx), answers);
        match (denial, found) {
            (None, Some(role)) => Ok(role),
            (denial, _) => {
                let refused = denial.map_or_else(|| denied(cx, "sts:AssumeRole", arn), IamError::AccessDenied);
                self.anyones_role(arn).await?.ok_or(refused)
            }
        }
    }

    /// Permissive mode: the role of this ARN, or one made up, which nothing speaks for. `None` where policies are
    /// enforced, and for what is no role's ARN.
    pub(crate) async fn anyones_role(&self, arn: &str) -> Result<Option<Identity>, IamError> {
        if !self.0.permissive {
            return Ok(None);
        }
        if let Some(role) = self.role_by_arn(arn).await? {
            return Ok(Some(role));
        }
        let Some(parsed) = Arn::parse(arn).filter(|arn| arn.service == "iam" && arn.region.is_empty()) else {
            return Ok(None);
        };
        let place = parsed.resource.strip_prefix("role").filter(|place| place.starts_with('/'));
        let place = place.and_then(|place| place.rsplit_once('/'));
        let account = AccountId::parse(&parsed.account);
        let Some(((path, name), account)) = place.filter(|(_, name)| !name.is_empty()).zip(account) else {
            return Ok(None);
        };
        let mut role = self.fresh(account.as_str(), IdentityKind::Role, name, Some(format!("{path}/")));
        role.role = Some(RoleFacts { max_session_s: SESSION_S_MAX, ..RoleFacts::default() });
        Ok(Some(role).filter(|role| role.arn() == arn))
    }

    /// Whether the caller may do `action` to the role, by its own policies and the role's trust policy.
    async fn admits(
        &self,
        cx: &Cx,
        arn: &str,
        action: &str,
        keys: &Keys,
    ) -> Result<(Ruling, Option<Identity>), IamError> {
        let refused = |message: String| Ok((Ruling { by: None, denial: Some(message) }, None));
        if matches!(cx.principal, Principal::Root { .. }) {
            return refused("Roles may not be assumed by root accounts.".to_owned());
        }
        // Whether a role exists is nobody's business: the same words as for a closed door.
        let Some(role) = self.role_by_arn(arn).await? else { return refused(denied(cx, action, arn).to_string()) };
        let trust = self.trust_of(&role)?;
        let mut ruling = self.ask(cx, action, arn, Some(&trust), keys, ruling).await?;
        if ruling.denial.is_some() {
            ruling.denial = Some(denied(cx, action, arn).to_string());
        }
        Ok((ruling, Some(role)))
    }

    /// A role's trust policy, compiled.
    pub(crate) fn trust_of(&self, role: &Identity) -> Result<Named, IamError> {
        self.named("trust policy", role.role.as_ref().map_or("", |facts| facts.trust.as_str()), Kind::Trust)
    }
}

fn denied(cx: &Cx, action: &str, arn: &str) -> IamError {
    let who = cx.principal.arn();
    IamError::AccessDenied(format!("User: {who} is not authorized to perform: {action} on resource: {arn}"))
}

/// The record of one decision about a role.
pub(crate) fn assumption(action: &'static str, role_arn: &str, keys: &Keys, ruling: &Ruling) -> Answered {
    Answered {
        action: action.into(),
        resource: role_arn.to_owned(),
        owner: Arn::parse(role_arn).map(|arn| arn.account).unwrap_or_default(),
        keys: keys.clone().into_entries(),
        by: ruling.by.clone(),
        denial: ruling.denial.clone(),
    }
}

/// A session's tags, and the keys of those that it passes on.
type Chained = (Vec<(String, String)>, Vec<String>);

/// The tags of a session that `before` begins with the tags `given`, and which of them it passes on in its turn. What
/// was passed on to `before` cannot be set anew: the chain would lose who began it.
fn chained(
    before: Option<&Arc<SessionFacts>>,
    given: &BTreeMap<String, String>,
    transitive: Option<&[String]>,
) -> Result<Chained, IamError> {
    let mut passed_on = transitive.unwrap_or_default().to_vec();
    if !passed_on.iter().all(|key| given.keys().any(|had| same_letters(had, key))) {
        let message = "The specified transitive tag key must be included in the requested tags.";
        return Err(IamError::InvalidParameterValue(message.to_owned()));
    }
    let mut tags = given.clone();
    let is_passed_on =
        |facts: &SessionFacts, key: &str| facts.transitive_tag_keys.iter().any(|one| same_letters(one, key));
    let inherited = before.into_iter().flat_map(|facts| facts.tags.iter().filter(|(key, _)| is_passed_on(facts, key)));
    for (key, value) in inherited {
        if given.keys().any(|had| same_letters(had, key)) {
            let message = "One of the specified transitive tag keys can't be set because it conflicts with a \
                           transitive tag key from the calling session.";
            return Err(IamError::InvalidParameterValue(message.to_owned()));
        }
        passed_on.push(key.clone());
        merge_tag(&mut tags, key.clone(), value.clone());
    }
    match tags.len() > TAGS_MAX {
        true => Err(IamError::InvalidParameterValue(format!("A session has at most {TAGS_MAX} tags."))),
        false => Ok((tags.into_iter().collect(), passed_on)),
    }
}

/// The condition keys that only this operation knows, and the actions that it stands for.
fn assume_keys(input: &m::AssumeRoleInput, tags: &BTreeMap<String, String>) -> (Keys, Vec<&'static str>) {
    let (mut keys, mut actions) = (Keys::new(), vec!["sts:AssumeRole"]);
    keys.set("sts:RoleSessionName", input.role_session_name.as_str());
    if let Some(id) = &input.external_id {
        keys.set("sts:ExternalId", id.as_str());
    }
    if let Some(identity) = &input.source_identity {
        keys.set("sts:SourceIdentity", identity.as_str());
        actions.push("sts:SetSourceIdentity");
    }
    if !tags.is_empty() {
        keys.set_all("aws:TagKeys", tags.keys().cloned());
        for (key, value) in tags {
            keys.set(&format!("aws:RequestTag/{key}"), value.as_str());
        }
        actions.push("sts:TagSession");
    }
    if let Some(passed_on) = &input.transitive_tag_keys {
        keys.set_all("sts:TransitiveTagKeys", passed_on.iter().cloned());
    }
    (keys, actions)
}

pub(crate) async fn assume_role(iam: Iam, cx: Cx, input: m::AssumeRoleInput) -> Result<m::AssumeRoleOutput, IamError> {
    let given = restrictions(input.policy.clone(), input.policy_arns.clone(), input.tags.clone())?;
    let (tags, passed_on) = chained(cx.principal.session(), &given.tags, input.transitive_tag_keys.as_deref())?;
    let (extra, actions) = assume_keys(&input, &given.tags);
    let role = iam.trusted(&cx, &input.role_arn, &actions, &extra).await?;
    let lives = role_lifetime(&cx, &role, input.duration_seconds)?;

    let inherited = cx.principal.session().and_then(|before| before.source_identity.clone());
    let issued = iam.0.clock.now();
    let facts = SessionFacts {
        issued,
        expires: issued + lives,
        policy: given.policy,
        policy_arns: given.policy_arns,
        tags,
        transitive_tag_keys: passed_on,
        source_identity: inherited.or(input.source_identity),
        maker_id: None,
        is_permissive: iam.0.permissive,
    };
    let account = AccountId::parse(&role.account).ok_or_else(|| kv::Error::corrupt("a role without an account"))?;
    let principal = Principal::AssumedRole {
        account,
        role_arn: role.arn(),
        role_id: role.id,
        session_name: input.role_session_name,
        source_function: None,
        session: Arc::new(facts),
    };
    let keys = issue(&iam, &principal)?;
    let user = m::AssumedRoleUser { arn: principal.arn(), assumed_role_id: principal.user_id() };
    Ok(m::AssumeRoleOutput {
        assumed_role_user: Some(user),
        credentials: Some(shown(&keys)),
        packed_policy_size: None,
        session_token_size: None,
        session_token_utilization: None,
        source_identity: principal.session().and_then(|session| session.source_identity.clone()),
    })
}

pub(crate) fn issue(iam: &Iam, principal: &Principal) -> Result<TemporaryKeys, IamError> {
    let issued = iam.0.seal.issue(&iam.0.rng, principal);
    issued.ok_or_else(|| IamError::AccessDenied("These credentials cannot make a session.".to_owned()))
}

/// The caller, if it is a user with a long-term key: nobody else may ask for such sessions.
fn long_term_user(cx: &Cx, operation: &str) -> Result<(AccountId, String, String, String), IamError> {
    match &cx.principal {
        Principal::User { account, arn, id, name, session: None } => {
            Ok((account.clone(), arn.clone(), id.clone(), name.clone()))
        }
        _ => Err(IamError::AccessDenied(format!("Cannot call {operation} with session credentials"))),
    }
}

pub(crate) async fn session_token(
    iam: Iam,
    cx: Cx,
    input: m::GetSessionTokenInput,
) -> Result<m::GetSessionTokenOutput, IamError> {
    let (account, arn, id, name) = long_term_user(&cx, "GetSessionToken")?;
    let issued = iam.0.clock.now();
    let expires = issued + lifetime(input.duration_seconds.unwrap_or(USER_SESSION_S_DEFAULT));
    let facts = SessionFacts { issued, expires, is_permissive: iam.0.permissive, ..SessionFacts::default() };
    let session = Some(Arc::new(facts));
    let keys = issue(&iam, &Principal::User { account, arn, id, name, session })?;
    let credentials = Some(shown(&keys));
    Ok(m::GetSessionTokenOutput { credentials, session_token_size: None, session_token_utilization: None })
}

pub(crate) async fn federation_token(
    iam: Iam,
    cx: Cx,
    input: m::GetFederationTokenInput,
) -> Result<m::GetFederationTokenOutput, IamError> {
    let (account, user_arn, maker_id, _) = long_term_user(&cx, "GetFederationToken")?;
    let given = restrictions(input.policy, input.policy_arns, input.tags)?;
    let issued = iam.0.clock.now();
    let facts = SessionFacts {
        issued,
        expires: issued + lifetime(input.duration_seconds.unwrap_or(USER_SESSION_S_DEFAULT)),
        policy: given.policy,
        policy_arns: given.policy_arns,
        tags: given.tags.into_iter().collect(),
        maker_id: Some(maker_id),
        is_permissive: iam.0.permissive,
        ..SessionFacts::default()
    };
    let principal = Principal::FederatedUser { account, name: input.name, user_arn, session: Arc::new(facts) };
    let keys = issue(&iam, &principal)?;
    let user = m::FederatedUser { arn: principal.arn(), federated_user_id: principal.user_id() };
    Ok(m::GetFederationTokenOutput {
        credentials: Some(shown(&keys)),
        federated_user: Some(user),
        packed_policy_size: None,
        session_token_size: None,
        session_token_utilization: None,
    })
}
