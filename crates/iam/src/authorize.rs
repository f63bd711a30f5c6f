//! May this caller do this? The condition keys of a request, and the question to the engine.

use std::borrow::Cow;
use std::sync::Arc;

use sys::Timestamp;
use wire::error::to_api_error;
use wire::{AccountId, Act, Actor, ApiError, Arn, Asked, Cx, Principal, ResourceFacts};

use crate::error::IamError;
use crate::keys::IdentityKind;
use crate::policy::{self, Keys, Kind, Named, Policies, PrincipalKind, Request, decide};
use crate::state::{Iam, PolicySet};

impl Iam {
    /// Whether `cx.principal` may do everything that is `asked`, by its own policies and those of the resources.
    ///
    /// # Errors
    /// `AccessDenied`, 403, in AWS's words; each protocol gives the code its shape. `ServiceFailure` from the store.
    pub async fn authorize(&self, cx: &Cx, asked: &[Asked]) -> Result<(), ApiError> {
        for one in asked {
            let denial = self.denial(cx, one).await.map_err(to_api_error)?;
            if let Some(message) = denial {
                return Err(ApiError::client("AccessDenied", 403, message));
            }
        }
        Ok(())
    }

    /// Why `cx.principal` may not do this; `None` when it may.
    async fn denial(&self, cx: &Cx, asked: &Asked) -> Result<Option<String>, IamError> {
        let mut extra = Keys::from(&asked.keys);
        let arn = self.with_path(&asked.resource, &mut extra).await?;
        extra.set_tags(&asked.facts.tags);
        // S3 has a name of its own for the tags of an object (Service Authorization Reference, Amazon S3).
        if asked.resource.strip_prefix("arn:aws:s3:::").is_some_and(|path| path.contains('/')) {
            for (name, value) in &asked.facts.tags {
                extra.set(&format!("s3:ExistingObjectTag/{name}"), value.as_str());
            }
        }
        let keys = self.request_keys(cx, &extra);
        let set = self.policies_of(&cx.principal).await?;
        let resource = self.resource_policy_of(&asked.facts)?;
        let owner = asked.facts.owner.as_ref().map(AccountId::as_str);
        Ok(with_request(cx, &set, asked.action, &arn, owner, &keys, |request| {
            let policies = policies(&set, resource.as_ref());
            let decision = decide(&policies, request);
            (!decision.allowed()).then(|| decision.denial_message(request))
        }))
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
        let found = self.role_by_arn(role).await?;
        let Some((account, role)) = found.and_then(|role| Some((AccountId::parse(&role.account)?, role))) else {
            return Ok(Some(format!("User: {role} is not authorized to perform: {action} on resource: {resource}")));
        };
        let principal = Principal::AssumedRole {
            account: account.clone(),
            role_arn: role.arn(),
            role_id: role.id,
            session_name: "tinderbox".to_owned(),
            source_function: None,
            session: Arc::default(),
        };
        let set = self.policies_of(&principal).await?;
        let policy = self.resource_policy_of(facts)?;
        let keys = self.platform_keys(act, facts);
        let owner = facts.owner.as_ref().map(AccountId::as_str);
        let asks = Caller { principal: &principal, account: &account };
        Ok(with_caller(asks, &set, action, resource, owner, &keys, |request| {
            let decision = decide(&policies(&set, policy.as_ref()), request);
            (!decision.allowed()).then(|| decision.denial_message(request))
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

    fn platform_keys(&self, act: &Act, facts: &ResourceFacts) -> Keys {
        let mut keys = self.general_keys(&act.region);
        keys.set("aws:SecureTransport", "true").set("aws:ViaAWSService", "true").set_tags(&facts.tags);
        for (name, values) in act.keys.iter() {
            keys.set_all(name, values.to_vec());
        }
        keys
    }

    /// The resource's own policy, compiled once for each text.
    fn resource_policy_of(&self, facts: &ResourceFacts) -> Result<Option<Named>, IamError> {
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
        let mut keys = self.general_keys(&cx.region);
        keys.set("aws:ViaAWSService", "false");
        // Plain HTTP is only served on loopback, which nobody else can listen to.
        let is_loopback = cx.source_ip.is_none_or(|ip| ip.to_canonical().is_loopback());
        keys.set("aws:SecureTransport", is_loopback.to_string());
        if let Some(ip) = cx.source_ip {
            keys.set("aws:SourceIp", ip.to_canonical().to_string());
        }
        if let Some(session) = cx.principal.session() {
            keys.set("aws:TokenIssueTime", iso(session.issued));
            if let Some(identity) = &session.source_identity {
                keys.set("aws:SourceIdentity", identity.as_str());
            }
        }
        if let Principal::AssumedRole { source_function: Some(function), .. } = &cx.principal {
            keys.set("lambda:SourceFunctionArn", function.as_str());
        }
        for (name, values) in extra.iter() {
            keys.set_all(name, values.to_vec());
        }
        keys
    }

    fn general_keys(&self, region: &str) -> Keys {
        let now = self.0.clock.now();
        let mut keys = Keys::new();
        keys.set("aws:CurrentTime", iso(now));
        keys.set("aws:EpochTime", now.unix_s().to_string());
        keys.set("aws:RequestedRegion", region);
        keys
    }

    /// Whether the role's trust policy lets the service (such as `lambda.amazonaws.com`) assume it, on behalf of
    /// the resource `source_arn`. `None` when the role does not exist.
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
        Ok(with_request(cx, &set, action, arn, None, keys, |request| ask(&policies(&set, resource_policy), request)))
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

fn policies<'a>(set: &'a PolicySet, resource: Option<&'a Named>) -> Policies<'a> {
    Policies {
        identity: &set.identity,
        resource,
        boundary: set.boundary.as_ref(),
        session: set.session.as_deref(),
        service_control: &[],
    }
}

/// Whose request it is, and the account that it acts in.
#[derive(Clone, Copy)]
struct Caller<'a> {
    principal: &'a Principal,
    account: &'a AccountId,
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
fn with_caller<T>(
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
    // `arn:partition:service:region:account:…`
    let named = resource.split(':').nth(4).filter(|account| !account.is_empty() && *account != "aws");
    let owner = owner.or(named).unwrap_or(caller.account.as_str());
    ask(&Request { principal, action, resource, resource_account: Some(owner), keys })
}

/// `2026-01-31T12:00:00Z`, as condition keys carry times.
pub(crate) fn iso(moment: Timestamp) -> String {
    jiff::Timestamp::from_second(moment.unix_s()).map_or_else(|_| String::new(), |moment| moment.to_string())
}
