//! Temporary keys: everything about a session travels, sealed, in its session token, so issuing one writes nothing.
//!
//! ```text
//!   claims (JSON) ──► base64 ─┬─► HMAC(master, "token")  ──► token = claims.seal
//!                             └─► HMAC(master, "secret") ──► secret access key
//! ```
//!
//! The master secret lives in the store and never leaves it. Revocation needs no list: every use asks whether the
//! user or role with that unique id still exists.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use sys::{Rng, Timestamp};
use wire::sigv4::{Credential, Secret};
use wire::{AccountId, Principal, SessionFacts};

/// Keys that die at a known moment. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct TemporaryKeys {
    /// `ASIA…`
    pub access_key_id: String,
    /// Secret access key and session token.
    pub credential: Credential,
    /// From this moment on they are refused.
    pub expires: Timestamp,
}

/// What a session token says. Nothing of it is secret; the seal keeps it as it is.
#[derive(Serialize, Deserialize)]
struct Claims {
    key: String,
    who: Who,
    issued_us: i64,
    expires_us: i64,
    policy: Option<String>,
    policy_arns: Vec<String>,
    tags: Vec<(String, String)>,
    transitive: Vec<String>,
    source_identity: Option<String>,
    /// Tokens of older programs do not say: permissive mode may have made them.
    permissive: Option<bool>,
}

#[derive(Serialize, Deserialize)]
enum Who {
    User { account: String, arn: String, id: String, name: String },
    Role { account: String, arn: String, id: String, session: String, function: Option<String> },
    Federated { account: String, name: String, user: String, maker: String },
}

/// Makes and opens session tokens.
pub(crate) struct Seal {
    master: Secret,
}

impl Seal {
    pub(crate) fn new(master: Secret) -> Self {
        Self { master }
    }

    /// New keys for `principal`, which must have a session; `None` when it has none.
    pub(crate) fn issue(&self, rng: &Rng, principal: &Principal) -> Option<TemporaryKeys> {
        let facts = principal.session()?;
        let access_key_id = access_key_id("ASIA", principal.account()?, rng);
        let claims = Claims {
            key: access_key_id.clone(),
            who: who(principal)?,
            issued_us: facts.issued.unix_us(),
            expires_us: facts.expires.unix_us(),
            policy: facts.policy.clone(),
            policy_arns: facts.policy_arns.clone(),
            tags: facts.tags.clone(),
            transitive: facts.transitive_tag_keys.clone(),
            source_identity: facts.source_identity.clone(),
            permissive: Some(facts.is_permissive),
        };
        let json = serde_json::to_vec(&claims).expect("claims are strings, numbers and lists");
        let payload = URL_SAFE_NO_PAD.encode(json);
        let seal = URL_SAFE_NO_PAD.encode(self.mac("token", &payload).finalize().into_bytes());
        let token = Secret::new(format!("{payload}.{seal}"));
        let credential = Credential { secret: self.secret(&payload), session_token: Some(token) };
        Some(TemporaryKeys { access_key_id, credential, expires: facts.expires })
    }

    /// Who holds `token` together with `access_key_id`; `None` when the token is not ours or belongs to another key.
    /// Says nothing about time.
    pub(crate) fn open(&self, access_key_id: &str, token: &str) -> Option<(Credential, Principal)> {
        let (payload, seal) = token.split_once('.')?;
        let seal = URL_SAFE_NO_PAD.decode(seal).ok()?;
        self.mac("token", payload).verify_slice(&seal).ok()?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        let credential = Credential { secret: self.secret(payload), session_token: Some(Secret::new(token)) };
        let same = claims.key == access_key_id;
        Some((credential, principal(claims)?)).filter(|_| same)
    }

    /// What a denial hands to its caller in place of the decision: the request's id, sealed.
    pub(crate) fn reference(&self, request_id: &str, account: &str) -> String {
        let payload = URL_SAFE_NO_PAD.encode(format!("{account}/{request_id}"));
        let seal = URL_SAFE_NO_PAD.encode(self.mac("reference", &payload).finalize().into_bytes());
        format!("{payload}.{seal}")
    }

    /// Account and request id behind a reference of ours.
    pub(crate) fn open_reference(&self, text: &str) -> Option<(String, String)> {
        let (payload, seal) = text.split_once('.')?;
        self.mac("reference", payload).verify_slice(&URL_SAFE_NO_PAD.decode(seal).ok()?).ok()?;
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        text.split_once('/').map(|(account, id)| (account.to_owned(), id.to_owned()))
    }

    fn secret(&self, payload: &str) -> Secret {
        let mac = self.mac("secret", payload).finalize().into_bytes();
        Secret::new(&STANDARD.encode(mac)[..40])
    }

    fn mac(&self, purpose: &str, payload: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.master.expose().as_bytes()).expect("HMAC takes any key");
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(payload.as_bytes());
        mac
    }
}

fn who(principal: &Principal) -> Option<Who> {
    Some(match principal.clone() {
        Principal::User { account, arn, id, name, .. } => Who::User { account: account.to_string(), arn, id, name },
        Principal::AssumedRole { account, role_arn, role_id, session_name, source_function, .. } => Who::Role {
            account: account.to_string(),
            arn: role_arn,
            id: role_id,
            session: session_name,
            function: source_function,
        },
        Principal::FederatedUser { account, name, user_arn, session } => {
            Who::Federated { account: account.to_string(), name, user: user_arn, maker: session.maker_id.clone()? }
        }
        Principal::Anonymous | Principal::Root { .. } | Principal::Function { .. } => return None,
    })
}

fn principal(claims: Claims) -> Option<Principal> {
    let maker_id = match &claims.who {
        Who::Federated { maker, .. } => Some(maker.clone()),
        Who::User { .. } | Who::Role { .. } => None,
    };
    let session = Arc::new(SessionFacts {
        issued: Timestamp::from_unix_us(claims.issued_us),
        expires: Timestamp::from_unix_us(claims.expires_us),
        policy: claims.policy,
        policy_arns: claims.policy_arns,
        tags: claims.tags,
        transitive_tag_keys: claims.transitive,
        source_identity: claims.source_identity,
        maker_id,
        is_permissive: claims.permissive.unwrap_or(true),
    });
    Some(match claims.who {
        Who::User { account, arn, id, name } => {
            Principal::User { account: AccountId::parse(&account)?, arn, id, name, session: Some(session) }
        }
        Who::Role { account, arn, id, session: session_name, function } => Principal::AssumedRole {
            account: AccountId::parse(&account)?,
            role_arn: arn,
            role_id: id,
            session_name,
            source_function: function,
            session,
        },
        Who::Federated { account, name, user, maker: _ } => {
            Principal::FederatedUser { account: AccountId::parse(&account)?, name, user_arn: user, session }
        }
    })
}

const BASE32: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A fresh access key id. As on AWS, the first characters after the prefix hold the account's number, so
/// `GetAccessKeyInfo` needs no look-up.
pub(crate) fn access_key_id(prefix: &str, account: &AccountId, rng: &Rng) -> String {
    let number: u64 = account.as_str().parse().expect("an account id is 12 digits");
    // 47 bits of account and filler under a set top bit: ten characters of five bits hold 50, the last two are filler.
    let head = (1 << 47 | number << 7 | rng.below(128)) << 2 | rng.below(4);
    let letters = BASE32.as_bytes();
    let digits = (0..10).rev().map(|place| char::from(letters[(head >> (place * 5) & 31) as usize]));
    format!("{prefix}{}{}", digits.collect::<String>(), rng.string(BASE32, 6))
}

/// The account that an access key id names; `None` when it has not the form of one.
pub(crate) fn account_of(access_key_id: &str) -> Option<AccountId> {
    let digits = access_key_id.get(4..14)?;
    let mut head = 0_u64;
    for digit in digits.bytes() {
        head = head << 5 | BASE32.bytes().position(|letter| letter == digit)? as u64;
    }
    AccountId::parse(&format!("{:012}", head >> 9 & ((1 << 40) - 1)))
}

/// A fresh unique id such as `AIDA…`.
pub(crate) fn unique_id(prefix: &str, rng: &Rng) -> String {
    format!("{prefix}{}", rng.string(BASE32, 17))
}

/// A fresh secret access key: 40 characters, 238 bits.
pub(crate) fn secret_access_key(rng: &Rng) -> String {
    rng.string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", 40)
}
