//! May this caller do this? The identity service decides; without one the root user may, and nobody else.

use std::sync::Arc;

use wire::service::Line;
use wire::{Absence, ApiError, Arn, Asked, Cx, Permission, Principal, ResourceFacts, service};

use crate::authenticate::Caller;
use crate::identity::Question;
use crate::{Auth, Gateway};

/// Most questions of one request: S3's 1,000 keys, each with two dependent actions. Inputs that may ask for more are
/// bounded by their table ([`wire::service::Table::check`]); this is the bound of those that were forgotten.
const QUESTIONS_MAX: usize = 3_000;

impl Gateway {
    /// Enforced: the answer. Permissive: yes, and what enforcement would have denied goes to the log.
    /// Operations that the model opens to everyone (wire:W10) are not asked about. The context comes back with what was
    /// moot, which the handler must not do ([`Cx::unasked`]); where nothing is enforced, that is nothing.
    ///
    /// # Errors
    /// `AccessDenied` in AWS's words, what a service answers about a resource, or the identity service's own failure.
    pub(crate) async fn authorize(
        &self,
        caller: &Caller,
        cx: Cx,
        line: &Line,
        permissions: Vec<Permission>,
    ) -> Result<Cx, ApiError> {
        let cx = Arc::new(cx);
        let Questions { asked, own, moot } = self.questions(&cx, line, permissions).await?;
        let mut gone = asked.iter().enumerate().filter_map(|(at, one)| {
            let reads = (line.tells_absence)(one);
            Some((reads, one.facts.absence.as_deref()?)).filter(|_| reads || at < own)
        });
        if let Some((_, absence)) = gone.clone().find(|(_, absence)| absence.known_to.is_none()) {
            return Err(absence.answer());
        }
        let hidden = match gone.find(|(reads, _)| *reads) {
            Some((_, absence)) => self.listing(absence).await?.map(|listing| (absence.clone(), listing)),
            None => None,
        };
        let outsider = match line.is_owners_only {
            true => asked[..own].iter().find(|one| !is_of_owner(&cx, &one.resource, &one.facts)),
            false => None,
        };
        let outsider = outsider.map_or(Ok(()), |one| Err(denied(&cx.principal, one, "resource-based policy")));
        let listing = hidden.iter().map(|(_, listing)| listing.clone());
        let all = asked.into_iter().chain(listing).collect();
        let mut answer = self.decide(caller, &cx, all).await.and(outsider);
        if let (Err(_), Some((absence, listing))) = (&answer, hidden)
            && self.decide(caller, &cx, vec![listing]).await.is_ok()
        {
            answer = Err(absence.answer());
        }
        let unasked = match (self.0.config.auth, answer) {
            (Auth::Enforced, answer) => answer.map(|()| moot)?,
            (Auth::Permissive, Ok(())) => Vec::new(),
            (Auth::Permissive, Err(error)) => {
                let (principal, reason) = (&cx.principal, &error.message);
                tracing::warn!(action = line.action, ?principal, reason, "enforcement would have denied this request");
                Vec::new()
            }
        };
        Ok(Cx { unasked, ..Arc::unwrap_or_clone(cx) })
    }

    /// What the identity service says to all of these together.
    async fn decide(&self, caller: &Caller, cx: &Arc<Cx>, asked: Vec<Asked>) -> Result<(), ApiError> {
        let objection = caller.objection.as_ref().map(ToString::to_string);
        match (&self.0.wiring.identity, objection) {
            (Some(identity), objection) => {
                (identity.authorize)(Question { cx: Arc::clone(cx), asked, objection }).await
            }
            (None, Some(objection)) => Err(ApiError::client("AccessDenied", 403, objection)),
            (None, None) => root_only(&cx.principal, &asked),
        }
    }

    /// The question whether somebody may find out that a resource is absent.
    async fn listing(&self, absence: &Absence) -> Result<Option<Asked>, ApiError> {
        let Some(Permission { action, resources, keys }) = &absence.known_to else { return Ok(None) };
        let Some(resource) = resources.0.first() else { return Ok(None) };
        let facts = service::facts_in(&self.0.wiring.services, action, resource, keys).await?;
        Ok(Some(Asked { action, resource: resource.clone(), keys: keys.clone(), facts }))
    }

    /// One question for each resource of each permission, with what the resource's service knows of it.
    ///
    /// # Errors
    /// Past the bound, and what a service answers about a resource.
    async fn questions(&self, cx: &Cx, line: &Line, permissions: Vec<Permission>) -> Result<Questions, ApiError> {
        let number = permissions.iter().map(|permission| permission.resources.0.len()).sum();
        if number > QUESTIONS_MAX {
            let message =
                format!("The request is about {number} resources; at most {QUESTIONS_MAX} can be authorized.");
            return Err(ApiError::client("InvalidRequest", 400, message));
        }
        let own = permissions.first().map_or(0, |permission| permission.resources.0.len());
        let (mut asked, mut moot) = (Vec::<Asked>::with_capacity(number), Vec::new());
        for permission in permissions {
            for resource in permission.resources.0 {
                let (action, keys) = (permission.action, permission.keys.clone());
                let mut facts = match line.makes_resource {
                    true => ResourceFacts::default(),
                    false => service::facts_in(&self.0.wiring.services, action, &resource, &keys).await?,
                };
                // What the policy says to outsiders does not count here: unseen, the denial is decided and recorded as
                // that of a resource without one.
                if line.is_owners_only && asked.len() < own && !is_of_owner(cx, &resource, &facts) {
                    facts.policy = None;
                }
                let one = Asked { action, resource, keys, facts };
                match asked.len() >= own && (line.is_moot)(&one) {
                    true => moot.push(one.action),
                    false => asked.push(one),
                }
            }
        }
        Ok(Questions { asked, own, moot })
    }
}

/// What a request is asked about.
struct Questions {
    asked: Vec<Asked>,
    /// How many of them, from the first on, are about the line's own action.
    own: usize,
    /// Actions of those that needed no answer.
    moot: Vec<&'static str>,
}

/// Whether the caller belongs to the account whose resource it is.
fn is_of_owner(cx: &Cx, resource: &str, facts: &ResourceFacts) -> bool {
    let named = Arn::parse(resource).map(|arn| arn.account).filter(|account| !account.is_empty());
    let is_own = match (&facts.owner, named) {
        (Some(owner), _) => *owner == cx.account,
        (None, Some(named)) => named == cx.account.as_str(),
        (None, None) => true,
    };
    is_own && cx.principal != Principal::Anonymous
}

/// AWS's answer where nobody but the root user has any policy.
fn root_only(principal: &Principal, asked: &[Asked]) -> Result<(), ApiError> {
    match asked.first().filter(|_| !matches!(principal, Principal::Root { .. })) {
        Some(first) => Err(denied(principal, first, "identity-based policy")),
        None => Ok(()),
    }
}

/// AWS's text. Source: IAM User Guide, "Troubleshoot access denied error messages".
fn denied(principal: &Principal, asked: &Asked, policy: &str) -> ApiError {
    let (user, Asked { action, resource, .. }) = (principal.arn(), asked);
    let message = format!(
        "User: {user} is not authorized to perform: {action} on resource: {resource} because no {policy} allows the \
         {action} action"
    );
    ApiError::client("AccessDenied", 403, message)
}
