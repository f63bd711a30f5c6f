//! The identity service as the gateway sees it: two closures that the binary gives.

use std::sync::Arc;

use http::request::Parts;
use wire::service::BoxFuture;
use wire::shape::Protocol;
use wire::sigv4::Claim;
use wire::{ApiError, Asked, Cx, Principal};

use crate::authenticate::{Authenticator, Caller, Holder, request_parts};
use crate::identify::access_key_id;
use crate::{Entry, Gateway, Peer};

/// What is known of an access key id.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// Somebody holds it.
    Found(Entry),
    /// It was temporary and has come to its end.
    Expired,
    /// It is unknown or inactive, or the session token does not belong to it.
    Unknown,
}

/// Finds who holds an access key id, given the session token that came along.
pub type FindCredential = Arc<dyn Fn(String, Option<String>) -> BoxFuture<Result<Lookup, ApiError>> + Send + Sync>;

/// What the identity service is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// Who asks, in which request.
    pub cx: Arc<Cx>,
    /// Everything that must be allowed.
    pub asked: Vec<Asked>,
    /// Permissive mode: why enforcement would have refused the signature.
    pub objection: Option<String>,
}

/// Decides whether the caller may do all of this; the refusal is `AccessDenied` with AWS's message. What would be
/// refused is asked about in permissive mode too.
pub type MayDo = Arc<dyn Fn(Question) -> BoxFuture<Result<(), ApiError>> + Send + Sync>;

/// Hears of an access key id that was used well, with the region and the service. Must not wait.
pub type NoteUse = Arc<dyn Fn(&str, &str, &str) + Send + Sync>;

/// What the gateway asks of the identity service. Without one only the root user may do anything.
#[derive(Clone)]
pub struct Identity {
    /// Keys that are not in the [`CredentialStore`](crate::CredentialStore): those of users and sessions.
    pub credential: FindCredential,
    /// Rights.
    pub authorize: MayDo,
    /// Uses of keys.
    pub note_use: NoteUse,
}

impl Gateway {
    /// Tells the identity service that a user's own key was used, and used well.
    pub(crate) fn note_use(&self, head: &Parts, caller: &Caller, service: &str) {
        let is_lasting = matches!(caller.principal, Principal::User { session: None, .. });
        let Some(identity) = self.0.wiring.identity.as_ref().filter(|_| is_lasting && caller.objection.is_none())
        else {
            return;
        };
        (identity.note_use)(&access_key_id(head), &caller.region, service);
    }

    /// Looks up who holds the key that the request names, and checks the second witness.
    ///
    /// # Errors
    /// When the identity service cannot be asked.
    pub(crate) async fn authenticator(&self, peer: &Peer, head: &Parts) -> Result<Authenticator<'_>, ApiError> {
        let key = access_key_id(head);
        let claim = Claim::read(&request_parts(head)).ok().flatten();
        let token = claim.and_then(|claim| claim.session_token);
        let lookup = self.lookup(&key, token, peer).await?;
        let is_expired = matches!(lookup, Lookup::Expired);
        let holder = match lookup {
            Lookup::Found(entry) => Some(Holder { access_key_id: key, entry }),
            Lookup::Expired | Lookup::Unknown => None,
        };
        let bucket = self.0.directory.bucket_in_host(head);
        Ok(Authenticator { config: &self.0.config, holder, is_expired, bucket, now: self.clock().now() })
    }

    /// Who holds a key, if it may be used from where the request comes from.
    ///
    /// # Errors
    /// When the identity service cannot be asked.
    pub(crate) async fn lookup(
        &self,
        key: &str,
        session_token: Option<String>,
        peer: &Peer,
    ) -> Result<Lookup, ApiError> {
        let wiring = &self.0.wiring;
        let lookup = match (wiring.credentials.get(key), &wiring.identity) {
            (None, Some(identity)) if !key.is_empty() => (identity.credential)(key.to_owned(), session_token).await?,
            (entry, _) => entry.map_or(Lookup::Unknown, Lookup::Found),
        };
        Ok(match lookup {
            Lookup::Found(entry) if !may_come_from(&entry.principal, peer) => Lookup::Unknown,
            lookup => lookup,
        })
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
    ApiError { code: code.into(), status, ..error }
}
