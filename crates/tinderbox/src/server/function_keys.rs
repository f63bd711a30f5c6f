//! The temporary keys of execution environments: those of the function's role.

use std::sync::Arc;

use gateway::CredentialStore;
use iam::{Iam, IamError};
use lambda::invoke::{Credentials, IssueCredentials};
use lambda::{EnvironmentPeer, FunctionVersion, InvokeError};
use sys::Rng;
use wire::sigv4::{Credential, Secret};

use crate::access_key;
use crate::config::Auth;

/// The service principal that functions are run by.
const LAMBDA: &str = "lambda.amazonaws.com";

/// Where the keys of environments come from.
#[derive(Clone)]
pub(super) struct FunctionKeys {
    pub(super) iam: Iam,
    /// Holds the keys of functions whose roles do not exist, which only permissive mode lets run.
    pub(super) placeholders: CredentialStore,
    pub(super) rng: Rng,
    pub(super) auth: Auth,
}

impl FunctionKeys {
    /// For the data plane.
    pub(super) fn issuer(self) -> IssueCredentials {
        Arc::new(move |function, peer| {
            let keys = self.clone();
            Box::pin(async move { keys.issue(&function, &peer).await })
        })
    }

    /// Whether Lambda may assume `role` for the function. Permissive mode takes every role, as emulators do.
    pub(super) async fn may_assume(&self, role: &str, function_arn: &str) -> Result<bool, IamError> {
        let trusted = self.iam.service_may_assume(role, LAMBDA, Some(function_arn)).await? == Some(true);
        if !trusted && self.auth == Auth::Permissive {
            tracing::warn!(role, function_arn, "enforcement would have refused this role: Lambda may not assume it");
            return Ok(true);
        }
        Ok(trusted)
    }

    async fn issue(&self, function: &FunctionVersion, peer: &EnvironmentPeer) -> Result<Credentials, InvokeError> {
        let unavailable = |error: IamError| {
            tracing::error!(%error, function = function.arn, "a role cannot be read");
            InvokeError::Unavailable { cause: "the function's role cannot be read".to_owned() }
        };
        let trusted = self.iam.service_may_assume(&function.role, LAMBDA, Some(&function.arn)).await;
        let issued = match trusted.map_err(unavailable)? {
            Some(true) => {
                let issued = self.iam.issue_function_session(&function.role, &function.arn, &peer.environment_id);
                issued.await.map_err(unavailable)?
            }
            Some(false) | None => None,
        };
        match issued {
            Some(keys) => Ok(Credentials {
                access_key_id: keys.access_key_id,
                secret_access_key: keys.credential.secret.expose().to_owned(),
                session_token: keys
                    .credential
                    .session_token
                    .map_or_else(String::new, |token| token.expose().to_owned()),
                expires: Some(keys.expires),
            }),
            None if self.auth == Auth::Permissive => Ok(self.placeholder(peer)),
            None => Err(InvokeError::RoleNotAssumable),
        }
    }

    /// Keys of no role: they name the function, so that what it does is recorded as its own.
    fn placeholder(&self, peer: &EnvironmentPeer) -> Credentials {
        let made = Credentials {
            access_key_id: access_key::id("ASIA", &self.rng),
            secret_access_key: access_key::secret(40, &self.rng),
            session_token: access_key::secret(128, &self.rng),
            expires: None,
        };
        let entry = gateway::Entry {
            credential: Credential {
                secret: Secret::new(made.secret_access_key.as_str()),
                session_token: Some(Secret::new(made.session_token.as_str())),
            },
            principal: wire::Principal::Function { function_arn: peer.function_arn.clone() },
            account: peer.account.clone(),
        };
        self.placeholders.insert(&made.access_key_id, entry);
        made
    }
}
