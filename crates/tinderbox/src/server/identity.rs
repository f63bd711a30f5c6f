//! The identity service as the gateway asks it.

use std::sync::Arc;

use gateway::{Entry, Identity};
use iam::Iam;
use wire::error::to_api_error;
use wire::{Act, MayAct, Service};

use super::function_keys::FunctionKeys;
use crate::config::Auth;

/// Keys of users and sessions, and what their policies allow.
pub(super) fn of(iam: Iam) -> Identity {
    let (finds, decides) = (iam.clone(), iam);
    Identity {
        credential: Arc::new(move |access_key_id, session_token| {
            let iam = finds.clone();
            Box::pin(async move {
                let found = iam.credential(&access_key_id, session_token.as_deref()).await.map_err(to_api_error)?;
                Ok(found.map(|found| Entry {
                    credential: found.credential,
                    principal: found.principal,
                    account: found.account,
                }))
            })
        }),
        authorize: Arc::new(move |cx, asked| {
            let iam = decides.clone();
            Box::pin(async move {
                let mut asked = asked;
                asked.retain(|one| !iam::api::SELF_AUTHORIZED.contains(&one.action));
                iam.authorize(&cx, &asked).await
            })
        }),
    }
}

/// What Lambda asks: about roles that are attached, and about callers of function URLs.
pub(super) fn for_lambda(iam: Iam, keys: FunctionKeys, auth: Auth) -> lambda::Identity {
    lambda::Identity {
        may_assume: Arc::new(move |role, function_arn| {
            let keys = keys.clone();
            Box::pin(async move { keys.may_assume(&role, &function_arn).await.map_err(to_api_error) })
        }),
        authorize: Arc::new(move |cx, asked| {
            let iam = iam.clone();
            Box::pin(async move {
                match (auth, iam.authorize(&cx, &asked).await) {
                    (_, Ok(())) => Ok(()),
                    (Auth::Enforced, Err(error)) => Err(error),
                    (Auth::Permissive, Err(error)) => {
                        let (principal, reason) = (&cx.principal, &error.message);
                        tracing::warn!(?asked, ?principal, reason, "enforcement would have denied this request");
                        Ok(())
                    }
                }
            })
        }),
    }
}

/// What the platform may do by itself: the question of [`Iam::may_act`], with what the resource's service knows of it.
pub(super) fn may_act(iam: Iam, services: Vec<Service>, auth: Auth) -> MayAct {
    let services = Arc::new(services);
    Arc::new(move |act: Act| {
        let (iam, services) = (iam.clone(), Arc::clone(&services));
        Box::pin(async move {
            let facts = wire::service::facts_of(&services, &act.action, &act.resource).await?;
            match (auth, iam.may_act(&act, &facts).await) {
                (_, Ok(())) => Ok(()),
                (Auth::Enforced, Err(error)) => Err(error),
                (Auth::Permissive, Err(error)) => {
                    tracing::warn!(?act, reason = %error.message, "enforcement would have denied this");
                    Ok(())
                }
            }
        })
    })
}
