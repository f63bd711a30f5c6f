//! May this caller do this? The condition keys of a request, and the question to the engine.

use std::borrow::Cow;

use sys::Timestamp;
use wire::error::to_api_error;
use wire::{AccountId, Act, Actor, ApiError, Arn, Asked, Cx, Principal, ResourceFacts};

use crate::api::{DECIDED_BY_HANDLERS, NEED_NO_PERMISSION};
use crate::decisions::{Answered, Answers, Asker, Record};
use crate::error::IamError;
use crate::keys::{self, IdentityKind, Profile};
use crate::policy::{self, Keys, Kind, Named, Outcome, Policies, PrincipalKind, Request, decide};
use crate::state::{Iam, PolicySet};

/// Whose request it is, and what speaks against it before policies are asked.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The request.
    pub cx: &'a Cx,
    /// Permissive mode: why enforcement would have refused the signature.
    pub objection: Option<&'a str>,
    /// Whether a denial is a refusal: then nothing is asked after the first. Permissive mode asks on, for the record.
    pub enforced: bool,
}

/// The answer's header that carries what `DecodeAuthorizationMessage` decodes.
const ENCODED_MESSAGE: &str = "x-tinderbox-authorization-message";

impl Iam {
    /// Whether `cx.principal` may do everything that is `asked`, by its own policies and those of the resources.
    ///
    /// # Errors
    /// `AccessDenied`, 403, in AWS's words; each protocol gives the code its shape. `ServiceFailure` from the store.
    pub async fn authorize(&self, cx: &Cx, asked: &[Asked]) -> Result<(), ApiError> {
        self.rule(Asking { cx, objection: None, enforced: true }, asked).await
    }

    /// The same; a signature that enforcement would have refused counts as a denial, and is recorded as one.
    ///
    /// # Errors
    /// As [`Iam::authorize`].
    pub async fn rule(&self, asking: Asking<'_>, asked: &[Asked]) -> Result<(), ApiError> {
        let Asking { cx, objection, enforced } = asking;
        let mut answers = Answers::default();
        let mut denial = objection.map(str::to_owned);
        let mut keys = self.keys_of(cx);
        for (index, one) in asked.iter().enumerate() {
            // What a handler decides, it also records.
            if objection.is_none() && DECIDED_BY_HANDLERS.contains(&one.action) {
                continue;
            }
            let is_last = index + 1 == asked.len();
            let keys = if is_last { std::mem::take(&mut keys) } else { keys.clone() };
            let answer = self.answer(cx, one, keys, objection.is_none()).await.map_err(to_api_error)?;
            if denial.is_none() {
                denial.clone_from(&answer.ruling.denial);
            }
            let is_over = enforced && answer.ruling.denial.is_some();
            if self.0.decisions.is_some() {
                answers.add(answer.ruling.denial.is_some(), || answered(cx, one, answer));
            }
            if is_over {
                break;
            }
        }
        let is_handlers = answers.is_empty() && asked.iter().any(|one| DECIDED_BY_HANDLERS.contains(&one.action));
        if !is_handlers {
            self.record(asking, asker(cx), answers);
        }
        match denial {
            None => Ok(()),
            Some(message) => {
                let mut error = ApiError::client("AccessDenied", 403, message);
                if self.0.decisions.is_some() {
                    error.headers.push((ENCODED_MESSAGE, self.0.seal.reference(&cx.request_id, cx.account.as_str())));
                }
                Err(error)
            }
        }
    }

    /// Records what was decided about one request.
    pub(crate) fn record(&self, asking: Asking<'_>, asker: Asker, answers: Answers) {
        let Some(decisions) = &self.0.decisions else { return };
        let Asking { cx, objection, enforced } = asking;
        let (answers, left_out) = answers.into_parts();
        decisions.record(Record {
            request_id: cx.request_id.clone(),
            at_us: self.now_us(),
            region: cx.region.clone(),
            asker,
            answers,
            left_out,
            objection: objection.map(str::to_owned),
            enforced,
        });
    }

    /// The circumstances of one question, and the answer. Nothing is decided where a signature was refused, nor about
    /// actions that need no permission. `keys` are those that follow from `cx`.
    async fn answer<'a>(
        &self,
        cx: &Cx,
        asked: &'a Asked,
        mut keys: Keys,
        decides: bool,
    ) -> Result<Answer<'a>, IamError> {
        keys.extend(asked.keys.iter());
        let arn = self.with_path(&asked.resource, &mut keys).await?;
        keys.set_tags(&asked.facts.tags);
        // S3 has a name of its own for the tags of an object (Service Authorization Reference, Amazon S3).
        if asked.resource.strip_prefix("arn:aws:s3:::").is_some_and(|path| path.contains('/')) {
            for (name, value) in &asked.facts.tags {
                keys.set(&format!("s3:ExistingObjectTag/{name}"), value.as_str());
            }
        }
        if !decides || NEED_NO_PERMISSION.contains(&asked.action) {
            return Ok(Answer { arn, keys, ruling: Ruling::default() });
        }
        let set = self.policies_of(&cx.principal).await?;
        let resource = self.resource_policy_of(&asked.facts)?;
        let owner = asked.facts.owner.as_ref().map(AccountId::as_str);
        let ruling = with_request(cx, &set, asked.action, &arn, owner, &keys, |request| {
            with_policies(&set, resource.as_ref(), |policies| ruling(policies, request))
        });
        Ok(Answer { arn, keys, ruling })
    }

    /// Whether the platform may do this on the authority of a role or as a service principal; `facts` are those of
    /// the resource.
    ///
    /// # Errors
    /// As [`Iam::authorize`]; a role that does not exist may do nothing.
    pub async fn may_act(&self, act: &Act, facts: &ResourceFacts) -> Result<(), ApiError> {
        let denial = match &act.actor {
            Actor::Role { arn } => self.role_denial(arn, act, facts).await,
            Actor::Service { name } => self.service_denial(name, act, facts),
        };
        match denial.map_err(to_api_error)? {
            None => Ok(()),
            Some(message) => Err(ApiError::client("AccessDenied", 403, message)),
        }
    }

    async fn role_denial(&self, role: &str, act: &Act, facts: &ResourceFacts) -> Result<Option<String>, IamError> {
        let Act { action, resource, .. } = act;
        let found = self.role_principal(role).await?;
        let Some((account, principal)) = found.and_then(|role| Some((role.account()?.clone(), role))) else {
            return Ok(Some(format!("User: {role} is not authorized to perform: {action} on resource: {resource}")));
        };
        let set = self.policies_of(&principal).await?;
        let policy = self.resource_policy_of(facts)?;
        let mut keys = self.platform_keys(act, facts);
        set_session_keys(&mut keys, &principal);
        let owner = facts.owner.as_ref().map(AccountId::as_str);
        let asks = Caller { principal: &principal, account: &account };
        Ok(with_caller(asks, &set, action, resource, owner, &keys, |request| {
            with_policies(&set, policy.as_ref(), |policies| ruling(policies, request)).denial
        }))
    }

    /// The role, as the platform is it when it acts with the role's rights: in a session that begins now, so that what
    /// revokes older ones (`aws:TokenIssueTime`) is not about it. `None` when there is no such role.
    ///
    /// # Errors
    /// The store's.
    pub async fn role_principal(&self, role_arn: &str) -> Result<Option<Principal>, IamError> {
        let found = self.role_by_arn(role_arn).await?;
        Ok(found.and_then(|role| {
            Some(Principal::AssumedRole {
                account: AccountId::parse(&role.account)?,
                role_arn: role.arn(),
                role_id: role.id,
                session_name: "tinderbox".to_owned(),
                source_function: None,
                session: self.new_session(),
            })
        }))
    }

    fn service_denial(&self, service: &str, act: &Act, facts: &ResourceFacts) -> Result<Option<String>, IamError> {
        let policy = self.resource_policy_of(facts)?;
        let keys = self.platform_keys(act, facts);
        let named = Arn::parse(&act.resource).map(|arn| arn.account);
        let owner = facts.owner.as_ref().map(|owner| owner.to_string()).or(named).unwrap_or_default();
        let request = Request {
            principal: policy::Principal::service(service),
            action: &act.action,
            resource: &act.resource,
            resource_account: Some(&owner),
            keys: &keys,
        };
        let decision = decide(&Policies { resource: policy.as_ref(), ..Policies::default() }, &request);
        Ok((!decision.allowed()).then(|| decision.denial_message(&request)))
    }

    /// A service that acts as itself or in a role that was passed to it calls on nobody's behalf: `aws:ViaAWSService` is about
    /// forward access sessions (IAM user guide, "AWS global condition context keys").
    fn platform_keys(&self, act: &Act, facts: &ResourceFacts) -> Keys {
        let mut keys = self.general_keys(&act.region);
        keys.set("aws:SecureTransport", "true").set("aws:ViaAWSService", "false").set_tags(&facts.tags);
        keys.extend(act.keys.iter());
        keys
    }

    /// The resource's own policy, compiled once for each text.
    pub(crate) fn resource_policy_of(&self, facts: &ResourceFacts) -> Result<Option<Named>, IamError> {
        facts.policy.as_deref().map(|text| self.named("resource policy", text, Kind::Resource)).transpose()
    }

    /// Whether `text` is a resource-based policy: what services ask before they store one.
    ///
    /// # Errors
    /// The message of AWS's `MalformedPolicyDocument`.
    pub fn check_resource_policy(text: &str) -> Result<(), String> {
        policy::Policy::parse(text, Kind::Resource).map(drop).map_err(|malformed| malformed.to_string())
    }

    /// The ARN of a user, group or role with the path that it really has: names are unique without their paths, so an
    /// input names none, and a policy about `user/admins/*` must hold all the same. Anything else stays as it is.
    ///
    /// Its tags become keys on the way: `aws:ResourceTag/…` and IAM's own `iam:ResourceTag/…`.
    async fn with_path<'a>(&self, arn: &'a str, keys: &mut Keys) -> Result<Cow<'a, str>, IamError> {
        if !arn.starts_with("arn:aws:iam::") {
            return Ok(arn.into());
        }
        let Some(parsed) = Arn::parse(arn).filter(|parsed| parsed.service == "iam") else { return Ok(arn.into()) };
        let (kind, name) = match parsed.resource.split_once('/') {
            Some(("user", name)) => (IdentityKind::User, name),
            Some(("group", name)) => (IdentityKind::Group, name),
            Some(("role", name)) => (IdentityKind::Role, name),
            Some(("instance-profile", name)) => {
                let key = keys::profile(&parsed.account, name.rsplit('/').next().unwrap_or_default());
                let found = self.0.kv.read(|tx| async move { keys::get::<Profile>(&tx, &key).await }).await?;
                return Ok(found.map_or_else(|| arn.into(), |found| found.arn().into()));
            }
            _ => return Ok(arn.into()),
        };
        let found = self.identity(&parsed.account, kind, name.rsplit('/').next().unwrap_or_default()).await?;
        let Some(found) = found else { return Ok(arn.into()) };
        for (name, value) in &found.tags {
            keys.set(&format!("aws:ResourceTag/{name}"), value.as_str());
            keys.set(&format!("iam:ResourceTag/{name}"), value.as_str());
        }
        Ok(found.arn().into())
    }

    /// The condition keys of a request that follow from `cx`, with `extra` over them. Those of the principal
    /// (`aws:PrincipalArn`, `aws:PrincipalTag/…`, `aws:userid` …) the engine takes from the principal itself.
    pub fn request_keys(&self, cx: &Cx, extra: &Keys) -> Keys {
        let mut keys = self.keys_of(cx);
        keys.extend(extra.iter());
        keys
    }

    fn keys_of(&self, cx: &Cx) -> Keys {
        let mut keys = self.general_keys(&cx.region);
        keys.set_known("aws:viaawsservice", "false");
        // Plain HTTP is only served on loopback, which nobody else can listen to.
        let is_loopback = cx.source_ip.is_none_or(|ip| ip.to_canonical().is_loopback());
        keys.set_known("aws:securetransport", if is_loopback { "true" } else { "false" });
        if let Some(ip) = cx.source_ip {
            keys.set_known("aws:sourceip", ip.to_canonical().to_string());
        }
        set_session_keys(&mut keys, &cx.principal);
        if let Principal::AssumedRole { source_function: Some(function), .. } = &cx.principal {
            keys.set_known("lambda:sourcefunctionarn", function.as_str());
        }
        keys
    }

    fn general_keys(&self, region: &str) -> Keys {
        let now = self.0.clock.now();
        let mut keys = Keys::new();
        keys.set_known("aws:currenttime", self.0.second.iso(now));
        keys.set_known("aws:epochtime", now.unix_s().to_string());
        keys.set_known("aws:requestedregion", region);
        keys
    }

    /// Whether the role's trust policy lets the service (such as `lambda.amazonaws.com`) assume it, on behalf of
    /// the resource `source_arn`. `None` when the role does not exist. Never a service-linked role: nobody may pass
    /// one on, or the code that runs under it would be above the organisation.
    ///
    /// # Errors
    /// The store's.
    pub async fn service_may_assume(
        &self,
        role_arn: &str,
        service: &str,
        source_arn: Option<&str>,
    ) -> Result<Option<bool>, IamError> {
        let Some(role) = self.role_by_arn(role_arn).await? else { return Ok(None) };
        if role.is_linked() {
            return Ok(Some(false));
        }
        let trust = role.role.as_ref().map_or("", |facts| facts.trust.as_str());
        let trust = self.named("trust policy", trust, Kind::Trust)?;
        let mut keys = Keys::new();
        if let Some(arn) = source_arn {
            keys.set("aws:SourceArn", arn);
            keys.set("aws:SourceAccount", Arn::parse(arn).map_or_else(String::new, |arn| arn.account));
        }
        let request = Request {
            principal: policy::Principal::service(service),
            action: "sts:AssumeRole",
            resource: role_arn,
            resource_account: Some(&role.account),
            keys: &keys,
        };
        let policies = Policies { resource: Some(&trust), ..Policies::default() };
        Ok(Some(decide(&policies, &request).allowed()))
    }

    /// Puts one question together and hands it to `ask`, such as [`policy::decide`] or [`policy::explain`].
    /// `keys` are those of [`Iam::request_keys`].
    ///
    /// # Errors
    /// The store's.
    pub async fn ask<T>(
        &self,
        cx: &Cx,
        action: &str,
        arn: &str,
        resource_policy: Option<&Named>,
        keys: &Keys,
        ask: impl FnOnce(&Policies<'_>, &Request<'_>) -> T,
    ) -> Result<T, IamError> {
        let set = self.policies_of(&cx.principal).await?;
        Ok(with_request(cx, &set, action, arn, None, keys, |request| {
            with_policies(&set, resource_policy, |policies| ask(policies, request))
        }))
    }

    /// Whether an ARN names a role or user that exists: what `Principal` elements of policies may name.
    ///
    /// # Errors
    /// The store's.
    pub async fn exists(&self, arn: &str) -> Result<bool, IamError> {
        let Some(parsed) = Arn::parse(arn).filter(|parsed| parsed.service == "iam") else { return Ok(false) };
        let kind = match parsed.resource.split('/').next() {
            Some("user") => IdentityKind::User,
            Some("role") => IdentityKind::Role,
            _ => return Ok(false),
        };
        let name = arn.rsplit('/').next().unwrap_or_default();
        Ok(self.identity(&parsed.account, kind, name).await?.is_some_and(|found| found.arn() == arn))
    }
}

/// One question, as it was put to the engine, and what came of it.
struct Answer<'a> {
    arn: Cow<'a, str>,
    keys: Keys,
    ruling: Ruling,
}

/// What came of one question.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ruling {
    pub(crate) by: Option<String>,
    pub(crate) denial: Option<String>,
}

pub(crate) fn ruling(policies: &Policies<'_>, request: &Request<'_>) -> Ruling {
    let decision = decide(policies, request);
    let by = match &decision.outcome {
        Outcome::Allow { by } => by.as_ref(),
        Outcome::ExplicitDeny { by } => Some(by),
        Outcome::ImplicitDeny { .. } => None,
    };
    Ruling {
        by: by.map(|at| format!("{} {} statement {}", at.kind.words().0, at.name, at.statement)),
        denial: (!decision.allowed()).then(|| decision.denial_message(request)),
    }
}

fn answered(cx: &Cx, asked: &Asked, answer: Answer<'_>) -> Answered {
    let Answer { arn, keys, ruling } = answer;
    let owner = asked.facts.owner.as_ref().map(AccountId::as_str).or(account_named(&arn));
    Answered {
        action: asked.action.into(),
        owner: owner.unwrap_or(cx.account.as_str()).to_owned(),
        resource: arn.into_owned(),
        keys: keys.into_entries(),
        by: ruling.by,
        denial: ruling.denial,
    }
}

/// The condition keys that follow from the principal's session, where it has one.
fn set_session_keys(keys: &mut Keys, principal: &Principal) {
    let Some(session) = principal.session() else { return };
    keys.set_known("aws:tokenissuetime", iso(session.issued));
    if let Some(identity) = &session.source_identity {
        keys.set_known("aws:sourceidentity", identity.as_str());
    }
}

/// `arn:partition:service:region:account:…`
fn account_named(arn: &str) -> Option<&str> {
    arn.split(':').nth(4).filter(|account| !account.is_empty() && *account != "aws")
}

/// Who asks, as it is recorded.
pub(crate) fn asker(cx: &Cx) -> Asker {
    let who = &cx.principal;
    let (kind, parent_arn, function) = match who {
        Principal::Anonymous => ("anonymous", String::new(), None),
        Principal::Root { .. } => ("root", String::new(), None),
        Principal::User { .. } => ("user", String::new(), None),
        Principal::AssumedRole { role_arn, source_function, .. } => ("role", role_arn.clone(), source_function.clone()),
        Principal::FederatedUser { user_arn, .. } => ("federated", user_arn.clone(), None),
        Principal::Function { function_arn } => ("function", String::new(), Some(function_arn.clone())),
    };
    Asker {
        kind: kind.into(),
        arn: who.arn(),
        parent_arn,
        account: cx.account.to_string(),
        id: who.user_id(),
        function,
    }
}

/// Puts the policies of one decision together.
pub(crate) fn with_policies<T>(set: &PolicySet, resource: Option<&Named>, ask: impl FnOnce(&Policies<'_>) -> T) -> T {
    let level = [set.service_control.as_deref().unwrap_or_default()];
    ask(&Policies {
        identity: &set.identity,
        resource,
        boundary: set.boundary.as_ref(),
        session: set.session.as_deref(),
        service_control: if set.service_control.is_some() { &level } else { &[] },
    })
}

/// Whose request it is, and the account that it acts in.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) principal: &'a Principal,
    pub(crate) account: &'a AccountId,
}

fn with_request<T>(
    cx: &Cx,
    set: &PolicySet,
    action: &str,
    resource: &str,
    owner: Option<&str>,
    keys: &Keys,
    ask: impl FnOnce(&Request<'_>) -> T,
) -> T {
    let caller = Caller { principal: &cx.principal, account: &cx.account };
    with_caller(caller, set, action, resource, owner, keys, ask)
}

/// `owner` is whose the resource is; without it the ARN tells.
pub(crate) fn with_caller<T>(
    caller: Caller<'_>,
    set: &PolicySet,
    action: &str,
    resource: &str,
    owner: Option<&str>,
    keys: &Keys,
    ask: impl FnOnce(&Request<'_>) -> T,
) -> T {
    let who = caller.principal;
    let (arn, id) = (who.arn(), who.user_id());
    let account = who.account().map_or("", AccountId::as_str);
    let kind = match who {
        Principal::Anonymous => PrincipalKind::Anonymous,
        Principal::Root { .. } => PrincipalKind::Root,
        Principal::User { name, .. } => PrincipalKind::User { name },
        Principal::AssumedRole { role_arn, .. } => PrincipalKind::AssumedRole { role_arn },
        Principal::FederatedUser { user_arn, .. } => PrincipalKind::FederatedUser { user_arn },
        // No policy speaks for it, so everything is denied under its ARN.
        Principal::Function { .. } => PrincipalKind::AssumedRole { role_arn: "" },
    };
    let principal = match who {
        Principal::Anonymous => policy::Principal::ANONYMOUS,
        _ => policy::Principal { kind, arn: &arn, account, id: &id, tags: &set.tags },
    };
    let owner = owner.or(account_named(resource)).unwrap_or(caller.account.as_str());
    ask(&Request { principal, action, resource, resource_account: Some(owner), keys })
}

/// `2026-01-31T12:00:00Z`, as condition keys carry times.
pub(crate) fn iso(moment: Timestamp) -> String {
    jiff::Timestamp::from_second(moment.unix_s()).map_or_else(|_| String::new(), |moment| moment.to_string())
}
