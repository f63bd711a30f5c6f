//! The identity service as the rest of the server asks it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use gateway::{Entry, Identity, Lookup, Question};
use iam::{Asking, Decisions, Extras, Iam};
use kv::Kv;
use sys::{Clock, Rng};
use wire::error::to_api_error;
use wire::{Act, ApiError, Asked, Cx, MayAct, MayDo, Service};

use super::function_keys::FunctionKeys;
use super::issuer_keys;
use crate::config::{Auth, Config};

/// The identity service, with its record of decisions in the data folder and the keys of the configured issuers.
///
/// # Errors
/// When the folder or the store cannot be read.
pub(super) async fn open(
    config: &Config,
    data: &Path,
    kv: Kv,
    clock: Clock,
    rng: Rng,
) -> anyhow::Result<(Iam, Decisions)> {
    let folder = data.join("decisions");
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let decisions =
        Decisions::open(&folder, clock.clone()).with_context(|| format!("could not write in {}", folder.display()))?;
    let issuer_keys = Some(issuer_keys::of(config.oidc_keys.clone(), clock.clone()));
    let permissive = config.auth == Auth::Permissive;
    let extras = Extras { decisions: Some(decisions.clone()), issuer_keys, permissive };
    let iam = Iam::open_with(kv, clock, rng, extras).await.context("identities cannot be read")?;
    Ok((iam, decisions))
}

/// Keys of users and sessions, and what their policies allow.
pub(super) fn of(iam: Iam, auth: Auth) -> Identity {
    let (finds, decides, notes) = (iam.clone(), iam.clone(), iam);
    Identity {
        credential: Arc::new(move |access_key_id, session_token| {
            let iam = finds.clone();
            Box::pin(async move { lookup(&iam, &access_key_id, session_token.as_deref()).await })
        }),
        authorize: Arc::new(move |question| {
            let iam = decides.clone();
            Box::pin(async move {
                let Question { cx, mut asked, objection } = question;
                asked.retain(|one| !sns::needs_no_permission(&cx.principal, one.action));
                let asking = Asking { cx: &cx, objection: objection.as_deref(), enforced: auth == Auth::Enforced };
                iam.rule(asking, &asked).await
            })
        }),
        note_use: Arc::new(move |key, region, service| {
            // Asked here, not in the task: nearly always there is nothing to do.
            if !notes.use_is_due(key) {
                return;
            }
            let (iam, key, region, service) = (notes.clone(), key.to_owned(), region.to_owned(), service.to_owned());
            sys::task::spawn("note the use of a key", async move {
                if let Err(error) = iam.note_use(&key, &region, &service).await {
                    tracing::warn!(%error, "the use of a key could not be noted");
                }
            });
        }),
    }
}

async fn lookup(iam: &Iam, access_key_id: &str, session_token: Option<&str>) -> Result<Lookup, ApiError> {
    let found = iam.credential(access_key_id, session_token).await.map_err(to_api_error)?;
    Ok(match found {
        Some(found) => {
            Lookup::Found(Entry { credential: found.credential, principal: found.principal, account: found.account })
        }
        None if session_token.is_some_and(|token| iam.has_expired(access_key_id, token)) => Lookup::Expired,
        None => Lookup::Unknown,
    })
}

/// What Lambda asks: about roles that are attached, about callers of function URLs, about roles that send results.
pub(super) fn for_lambda(iam: Iam, keys: FunctionKeys, auth: Auth, may_act: MayAct) -> lambda::Identity {
    lambda::Identity {
        may_assume: Arc::new(move |role, function_arn| {
            let keys = keys.clone();
            Box::pin(async move { keys.may_assume(&role, &function_arn).await.map_err(to_api_error) })
        }),
        authorize: may_do(iam, auth),
        may_act,
    }
}

/// What services ask about callers by themselves.
pub(super) fn may_do(iam: Iam, auth: Auth) -> MayDo {
    Arc::new(move |cx: Cx, asked: Vec<Asked>| {
        let iam = iam.clone();
        Box::pin(async move {
            let asking = Asking { cx: &cx, objection: None, enforced: auth == Auth::Enforced };
            let answer = iam.rule(asking, &asked).await;
            in_mode(auth, &asked, answer)
        })
    })
}

/// What the platform may do by itself: the question of [`Iam::may_act`], with what the resource's service knows of it.
pub(super) fn may_act(iam: Iam, services: Vec<Service>, auth: Auth) -> MayAct {
    let services = Arc::new(services);
    Arc::new(move |act: Act| {
        let (iam, services) = (iam.clone(), Arc::clone(&services));
        Box::pin(async move {
            let facts = wire::service::facts_of(&services, &act.action, &act.resource).await?;
            let answer = iam.may_act(&act, &facts).await;
            in_mode(auth, &act, answer)
        })
    })
}

/// Permissive mode lets through what it would deny, and says so in the log.
fn in_mode(auth: Auth, what: &dyn std::fmt::Debug, answer: Result<(), ApiError>) -> Result<(), ApiError> {
    match (auth, answer) {
        (Auth::Permissive, Err(error)) if error.internal.is_none() => {
            tracing::warn!(?what, reason = %error.message, "enforcement would have denied this");
            Ok(())
        }
        (_, answer) => answer,
    }
}
