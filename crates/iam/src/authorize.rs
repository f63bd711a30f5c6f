//! May this caller do this? The condition keys of a request, and the question to the engine.

use std::borrow::Cow;

use sys::Timestamp;
use wire::{ApiError, Arn, Cx, Principal, Resource};

use crate::error::IamError;
use crate::keys::IdentityKind;
use crate::policy::{self, Keys, Kind, Named, Policies, PrincipalKind, Request, decide};
use crate::state::{Iam, PolicySet};

impl Iam {
    /// Whether `cx.principal` may do `action` to every ARN of `resource`. `resource_policy` is the resource's own
    /// policy; `extra` are the keys that only the service knows (`aws:RequestTag/…`, `iam:PassedToService`,
    /// `aws:CalledVia`, `s3:prefix` …), which win over the general ones.
    ///
    /// # Errors
    /// `AccessDenied`, 403, in AWS's words; each protocol gives the code its shape. `ServiceFailure` from the store.
    pub async fn authorize(
        &self,
        cx: &Cx,
        action: &str,
        resource: &Resource,
        resource_policy: Option<&Named>,
        extra: &Keys,
    ) -> Result<(), ApiError> {
        let keys = self.request_keys(cx, extra);
        let set = self.policies_of(&cx.principal).await.map_err(wire::error::to_api_error)?;
        for arn in &resource.0 {
            let arn = self.with_path(arn).await.map_err(wire::error::to_api_error)?;
            let denial = with_request(cx, &set, action, &arn, &keys, |request| {
                let policies = policies(&set, resource_policy);
                let decision = decide(&policies, request);
                (!decision.allowed()).then(|| decision.denial_message(request))
            });
            if let Some(message) = denial {
                return Err(ApiError::client("AccessDenied", 403, message));
            }
        }
        Ok(())
    }

    /// The ARN of a user, group or role with the path that it really has: names are unique without their paths, so an
    /// input names none, and a policy about `user/admins/*` must hold all the same. Anything else stays as it is.
    async fn with_path<'a>(&self, arn: &'a str) -> Result<Cow<'a, str>, IamError> {
        let Some(parsed) = Arn::parse(arn).filter(|parsed| parsed.service == "iam") else { return Ok(arn.into()) };
        let (kind, name) = match parsed.resource.split_once('/') {
            Some(("user", name)) => (IdentityKind::User, name),
            Some(("group", name)) => (IdentityKind::Group, name),
            Some(("role", name)) => (IdentityKind::Role, name),
            _ => return Ok(arn.into()),
        };
        let found = self.identity(&parsed.account, kind, name.rsplit('/').next().unwrap_or_default()).await?;
        Ok(found.map_or_else(|| arn.into(), |found| found.arn().into()))
    }

    /// The condition keys of a request that follow from `cx`, with `extra` over them. Those of the principal
    /// (`aws:PrincipalArn`, `aws:PrincipalTag/…`, `aws:userid` …) the engine takes from the principal itself.
    pub fn request_keys(&self, cx: &Cx, extra: &Keys) -> Keys {
        let now = self.0.clock.now();
        let mut keys = Keys::new();
        keys.set("aws:CurrentTime", iso(now));
        keys.set("aws:EpochTime", now.unix_s().to_string());
        keys.set("aws:RequestedRegion", cx.region.as_str());
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
        Ok(with_request(cx, &set, action, arn, keys, |request| ask(&policies(&set, resource_policy), request)))
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

fn with_request<T>(
    cx: &Cx,
    set: &PolicySet,
    action: &str,
    resource: &str,
    keys: &Keys,
    ask: impl FnOnce(&Request<'_>) -> T,
) -> T {
    let (arn, id) = (cx.principal.arn(), cx.principal.user_id());
    let account = cx.principal.account().map_or_else(String::new, ToString::to_string);
    let kind = match &cx.principal {
        Principal::Anonymous => PrincipalKind::Anonymous,
        Principal::Root { .. } => PrincipalKind::Root,
        Principal::User { name, .. } => PrincipalKind::User { name },
        Principal::AssumedRole { role_arn, .. } => PrincipalKind::AssumedRole { role_arn },
        Principal::FederatedUser { user_arn, .. } => PrincipalKind::FederatedUser { user_arn },
        // No policy speaks for it, so everything is denied under its ARN.
        Principal::Function { .. } => PrincipalKind::AssumedRole { role_arn: "" },
    };
    let principal = match &cx.principal {
        Principal::Anonymous => policy::Principal::ANONYMOUS,
        _ => policy::Principal { kind, arn: &arn, account: &account, id: &id, tags: &set.tags },
    };
    let owner = Arn::parse(resource).map(|arn| arn.account).filter(|account| !account.is_empty() && account != "aws");
    let owner = owner.unwrap_or_else(|| cx.account.to_string());
    ask(&Request { principal, action, resource, resource_account: Some(&owner), keys })
}

/// `2026-01-31T12:00:00Z`, as condition keys carry times.
pub(crate) fn iso(moment: Timestamp) -> String {
    jiff::Timestamp::from_second(moment.unix_s()).map_or_else(|_| String::new(), |moment| moment.to_string())
}
