//! Who calls: from the signature, in two steps, so that strangers are refused before their body is read.

use http::request::Parts;
use sys::Timestamp;
use wire::shape;
use wire::sigv4::{
    Admitted, Claim, Expectations, Payload, PayloadCheck, RegionPolicy, RequestParts, SigV4Error, SignedV2, Verified,
};
use wire::{AccountId, ApiError, Principal};

use crate::identify::{access_key_id, is_signed_as_of_old, scope};
use crate::{Auth, Config, Entry};

/// Who calls, and what enforcement would have said.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    pub(crate) account: AccountId,
    pub(crate) region: String,
    /// Permissive mode: why enforcement would have refused the signature.
    pub(crate) objection: Option<SigV4Error>,
}

/// Who calls, and what the body still has to pass.
pub(crate) type Headed = (Caller, Result<PayloadCheck, ApiError>);

/// A request whose signature's scope, key and time are in order; or one that needs none.
#[derive(Debug)]
pub(crate) enum Admission {
    /// The signature is still to be checked over the body.
    Signed { admitted: Admitted, entry: Entry },
    /// Nothing is left to check.
    Decided(Caller),
}

impl Admission {
    /// Whether an operation takes such a request: all must be signed but those that the model opens (wire:W10), and
    /// those where a resource's policy may grant something to everyone, which authorisation decides.
    ///
    /// # Errors
    /// [`SigV4Error::Missing`] for a stranger.
    pub(crate) fn suffices_for(&self, model: shape::Auth, is_open_to_grants: bool) -> Result<(), SigV4Error> {
        match self {
            Self::Decided(Caller { principal: Principal::Anonymous, .. })
                if model == shape::Auth::Signature && !is_open_to_grants =>
            {
                Err(SigV4Error::Missing)
            }
            Self::Signed { .. } | Self::Decided(_) => Ok(()),
        }
    }
}

/// The key that the request names, and who holds it.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) access_key_id: String,
    pub(crate) entry: Entry,
}

/// What the two steps look at.
#[derive(Clone, Debug)]
pub(crate) struct Authenticator<'a> {
    pub(crate) config: &'a Config,
    /// `None` when nobody holds the key, or may not use it from where the request came.
    pub(crate) holder: Option<Holder>,
    /// Nobody holds it any more.
    pub(crate) is_expired: bool,
    /// The bucket that the host names: signature version 2 covers it.
    pub(crate) bucket: Option<String>,
    pub(crate) now: Timestamp,
}

impl Authenticator<'_> {
    /// Step 1, without the body. `service` is what the scope must name, `uri` the operation's template.
    pub(crate) fn admit(&self, head: &Parts, service: &str, uri: &str) -> Result<Admission, SigV4Error> {
        let admission = self.admit_enforced(head, service, uri);
        match (self.config.auth, admission) {
            (Auth::Permissive, Err(objection)) => Ok(Admission::Decided(self.permit(head, objection))),
            (_, admission) => admission,
        }
    }

    /// Step 2, with the body.
    pub(crate) fn verify(&self, admission: Admission, head: &Parts, body: &[u8]) -> Result<Caller, SigV4Error> {
        let (admitted, entry) = match admission {
            Admission::Decided(caller) => return Ok(caller),
            Admission::Signed { admitted, entry } => (admitted, entry),
        };
        match (self.config.auth, admitted.check(&request_parts(head), body)) {
            (_, Ok(verified)) => Ok(of(entry, verified)),
            (Auth::Permissive, Err(objection)) => Ok(self.permit(head, objection)),
            (Auth::Enforced, Err(error)) => Err(error),
        }
    }

    /// Step 2 without the body, which still has to pass the check of its payload; `None` when only the whole body can
    /// tell.
    pub(crate) fn verify_head(&self, admission: &Admission, head: &Parts) -> Result<Option<Headed>, SigV4Error> {
        let parts = request_parts(head);
        let unproven = |caller: Caller| {
            let payload = Payload::stated(&parts, "s3", None)?.unwrap_or(Payload::Unsigned);
            Ok(Some((caller, payload.unsigned(&head.headers))))
        };
        match admission {
            Admission::Decided(caller) => unproven(caller.clone()),
            Admission::Signed { admitted, entry } => match (self.config.auth, admitted.clone().check_head(&parts)) {
                (_, Ok(None)) => Ok(None),
                (_, Ok(Some((verified, check)))) => Ok(Some((of(entry.clone(), verified), check))),
                (Auth::Permissive, Err(objection)) => unproven(self.permit(head, objection)),
                (Auth::Enforced, Err(error)) => Err(error),
            },
        }
    }

    fn admit_enforced(&self, head: &Parts, service: &str, uri: &str) -> Result<Admission, SigV4Error> {
        let Some(claim) = Claim::read(&request_parts(head))? else {
            return match is_signed_as_of_old(head) {
                true => self.admit_version_2(head, service, uri).map(Admission::Decided),
                false => Ok(Admission::Decided(self.anonymous())),
            };
        };
        let entry = self.entry(&claim.access_key_id).ok_or_else(|| self.refusal())?;
        let expect =
            Expectations { service, regions: RegionPolicy::Only(&self.config.regions), skew: self.config.skew };
        let admitted = claim.admit(|_| Some(entry.credential.clone()), self.now, &expect)?;
        Ok(Admission::Signed { admitted, entry })
    }

    /// A request or a presigned URL of signature version 2, where it is switched on.
    fn admit_version_2(&self, head: &Parts, service: &str, uri: &str) -> Result<Caller, SigV4Error> {
        let parts = request_parts(head);
        let is_taken = service == "s3" && self.config.signature_v2 && SignedV2::can_sign(uri);
        let claim = if is_taken { SignedV2::read(&parts)? } else { None };
        let claim = claim.ok_or(SigV4Error::Unsupported)?;
        let Entry { credential, principal, account } =
            self.entry(&claim.access_key_id).ok_or(SigV4Error::UnknownKey)?;
        claim.check(&parts, self.bucket.as_deref(), &credential, self.now, self.config.skew)?;
        Ok(Caller { principal, account, region: self.config.default_region().to_owned(), objection: None })
    }

    fn entry(&self, access_key_id: &str) -> Option<Entry> {
        let holder = self.holder.as_ref().filter(|holder| holder.access_key_id == access_key_id);
        holder.map(|holder| holder.entry.clone())
    }

    fn refusal(&self) -> SigV4Error {
        if self.is_expired { SigV4Error::ExpiredToken } else { SigV4Error::UnknownKey }
    }

    fn anonymous(&self) -> Caller {
        let (account, region) = (self.config.account.clone(), self.config.default_region().to_owned());
        match self.config.auth {
            Auth::Enforced => Caller { principal: Principal::Anonymous, account, region, objection: None },
            Auth::Permissive => {
                let principal = Principal::Root { account: account.clone() };
                Caller { principal, account, region, objection: Some(SigV4Error::Missing) }
            }
        }
    }

    /// Permissive mode believes what the signature says without checking it.
    fn permit(&self, head: &Parts, objection: SigV4Error) -> Caller {
        let scope = scope(&head.headers, head.uri.query().unwrap_or_default());
        let region = scope.as_deref().and_then(|scope| scope.split('/').nth(2));
        let key = access_key_id(head);
        permitted(self.config, (&key, self.entry(&key)), region, objection)
    }
}

/// Who a request acts as that permissive mode lets through: the key's holder, where there is one, in the region that it
/// names.
pub(crate) fn permitted(
    config: &Config,
    (key, entry): (&str, Option<Entry>),
    region: Option<&str>,
    objection: SigV4Error,
) -> Caller {
    let region = region.filter(|region| is_region(region)).unwrap_or(config.default_region()).to_owned();
    let (principal, account) = match (entry, AccountId::parse(key)) {
        (Some(entry), _) => (entry.principal, entry.account),
        // wire:W5: emulators take a 12-digit access key id as the account.
        (None, account) => {
            let account = account.unwrap_or_else(|| config.account.clone());
            (Principal::Root { account: account.clone() }, account)
        }
    };
    Caller { principal, account, region, objection: Some(objection) }
}

fn of(entry: Entry, verified: Verified) -> Caller {
    let Entry { principal, account, .. } = entry;
    Caller { principal, account, region: verified.region, objection: None }
}

/// Regions end up in ARNs and keys: only what looks like one is taken unverified.
fn is_region(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

pub(crate) fn request_parts(head: &Parts) -> RequestParts<'_> {
    RequestParts {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
    }
}
