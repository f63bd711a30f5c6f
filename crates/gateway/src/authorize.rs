//! May this caller do this? The identity service decides; without one the root user may, and nobody else.

use wire::{ApiError, Asked, Cx, Permission, Principal, service};

use crate::authenticate::Caller;
use crate::identity::Question;
use crate::{Auth, Gateway};

impl Gateway {
    /// Enforced: the answer. Permissive: yes, and what enforcement would have denied goes to the log.
    /// Operations that the model opens to everyone (wire:W10) are not asked about.
    ///
    /// # Errors
    /// `AccessDenied` in AWS's words, what a service answers about a resource, or the identity service's own failure.
    pub(crate) async fn authorize(
        &self,
        caller: &Caller,
        cx: &Cx,
        permissions: Vec<Permission>,
    ) -> Result<(), ApiError> {
        let objection = caller.objection.as_ref().map(ToString::to_string);
        let answer = match (&self.0.wiring.identity, objection) {
            (Some(identity), objection) => {
                let asked = self.questions(&permissions).await?;
                (identity.authorize)(Question { cx: cx.clone(), asked, objection }).await
            }
            (None, Some(objection)) => Err(ApiError::client("AccessDenied", 403, objection)),
            (None, None) => root_only(&cx.principal, &permissions),
        };
        match (self.0.config.auth, answer) {
            (_, Ok(())) => Ok(()),
            (Auth::Enforced, Err(error)) => Err(error),
            (Auth::Permissive, Err(error)) => {
                let (principal, reason) = (&cx.principal, &error.message);
                tracing::warn!(?permissions, ?principal, reason, "enforcement would have denied this request");
                Ok(())
            }
        }
    }

    /// One question for each resource of each permission, with what the resource's service knows of it.
    async fn questions(&self, permissions: &[Permission]) -> Result<Vec<Asked>, ApiError> {
        let mut asked = Vec::with_capacity(permissions.len());
        for Permission { action, resources, keys } in permissions {
            for resource in &resources.0 {
                let facts = service::facts_in(&self.0.wiring.services, action, resource, keys).await?;
                asked.push(Asked { action, resource: resource.clone(), keys: keys.clone(), facts });
            }
        }
        Ok(asked)
    }
}

/// AWS's answer where nobody but the root user has any policy.
fn root_only(principal: &Principal, permissions: &[Permission]) -> Result<(), ApiError> {
    let Some(first) = permissions.first().filter(|_| !matches!(principal, Principal::Root { .. })) else {
        return Ok(());
    };
    let (user, action) = (principal.arn(), first.action);
    let resource = first.resources.0.first().map_or("*", String::as_str);
    let message = format!(
        "User: {user} is not authorized to perform: {action} on resource: {resource} because no identity-based policy \
         allows the {action} action"
    );
    Err(ApiError::client("AccessDenied", 403, message))
}
