//! The identity service as the gateway sees it: two closures that the binary gives.

use std::sync::Arc;

use http::request::Parts;
use wire::service::BoxFuture;
use wire::shape::Protocol;
use wire::sigv4::Claim;
use wire::{ApiError, Asked, Cx, Principal};

use crate::authenticate::{Authenticator, Holder, request_parts};
use crate::identify::access_key_id;
use crate::{Entry, Gateway, Peer};

/// Finds who holds an access key id, given the session token that came along. `None`: unknown, inactive, expired.
pub type FindCredential =
    Arc<dyn Fn(String, Option<String>) -> BoxFuture<Result<Option<Entry>, ApiError>> + Send + Sync>;

/// Decides whether the caller may do all of this; the refusal is `AccessDenied` with AWS's message.
pub type MayDo = Arc<dyn Fn(Cx, Vec<Asked>) -> BoxFuture<Result<(), ApiError>> + Send + Sync>;

/// What the gateway asks of the identity service. Without one only the root user may do anything.
#[derive(Clone)]
pub struct Identity {
    /// Keys that are not in the [`CredentialStore`](crate::CredentialStore): those of users and sessions.
    pub credential: FindCredential,
    /// Rights.
    pub authorize: MayDo,
}

impl Gateway {
    /// Looks up who holds the key that the request names, and checks the second witness.
    ///
    /// # Errors
    /// When the identity service cannot be asked.
    pub(crate) async fn authenticator(&self, peer: &Peer, head: &Parts) -> Result<Authenticator<'_>, ApiError> {
        let key = access_key_id(head);
        let claim = Claim::read(&request_parts(head)).ok().flatten();
        let token = claim.and_then(|claim| claim.session_token);
        let entry = self.entry(&key, token, peer).await?;
        let holder = entry.map(|entry| Holder { access_key_id: key, entry });
        let bucket = self.0.directory.bucket_in_host(head);
        Ok(Authenticator { config: &self.0.config, holder, bucket, now: self.clock().now() })
    }

    /// Who holds a key, if it may be used from where the request comes from.
    ///
    /// # Errors
    /// When the identity service cannot be asked.
    pub(crate) async fn entry(
        &self,
        key: &str,
        session_token: Option<String>,
        peer: &Peer,
    ) -> Result<Option<Entry>, ApiError> {
        let wiring = &self.0.wiring;
        let entry = match (wiring.credentials.get(key), &wiring.identity) {
            (None, Some(identity)) if !key.is_empty() => (identity.credential)(key.to_owned(), session_token).await?,
            (entry, _) => entry,
        };
        Ok(entry.filter(|entry| may_come_from(&entry.principal, peer)))
    }
}

/// A function's socket is the second witness of its identity: keys that were issued to one function are unknown in the
/// sandbox of another. Keys that were issued to no function (a role that the code assumed, a user's) come from anywhere.
fn may_come_from(principal: &Principal, peer: &Peer) -> bool {
    let issued_to = match principal {
        Principal::AssumedRole { source_function, .. } => source_function.as_ref(),
        Principal::Function { function_arn } => Some(function_arn),
        Principal::Anonymous | Principal::Root { .. } | Principal::User { .. } | Principal::FederatedUser { .. } => {
            None
        }
    };
    match (issued_to, peer) {
        (Some(issued_to), Peer::Sandbox { function_arn }) => issued_to == function_arn,
        _ => true,
    }
}

/// A refusal under the code and status that the protocol's services use.
/// Sources: the common errors of the IAM, Lambda and CloudWatch Logs API references.
pub(crate) fn in_protocol(error: ApiError, protocol: Protocol) -> ApiError {
    if error.code != "AccessDenied" {
        return error;
    }
    let (code, status) = match protocol {
        Protocol::RestJson1 => ("AccessDeniedException", 403),
        Protocol::AwsJson1_0 | Protocol::AwsJson1_1 | Protocol::RpcV2Cbor => ("AccessDeniedException", 400),
        Protocol::AwsQuery | Protocol::RestXml => ("AccessDenied", 403),
    };
    ApiError::client(code, status, error.message)
}
