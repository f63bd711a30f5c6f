//! The identity service as the gateway asks it.

use std::sync::Arc;

use gateway::{Entry, Identity};
use iam::Iam;
use iam::policy::Keys;
use wire::error::to_api_error;

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
                for permission in asked.iter().filter(|asked| !iam::api::SELF_AUTHORIZED.contains(&asked.action)) {
                    iam.authorize(&cx, permission.action, &permission.resources, None, &Keys::default()).await?;
                }
                Ok(())
            })
        }),
    }
}
