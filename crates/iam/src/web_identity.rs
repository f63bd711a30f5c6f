//! Tokens of OpenID Connect issuers: RS256 and ES256 signatures, checked against the issuer's published keys.
//!
//! Sources: RFC 7515 (JWS), RFC 7517 (JWK), RFC 7518 (algorithms), OpenID Connect Core 1.0 (claims).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Verifier;
use serde::Deserialize;
use sha2::Sha256;

use crate::error::IamError;

/// Sizes of RSA keys that are taken, in bits. RFC 7518, section 3.3: 2,048 or more.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=4_096;

/// What a token says, once its signature was checked.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Claims {
    /// The issuer's URL, with its scheme.
    pub(crate) iss: String,
    pub(crate) sub: String,
    pub(crate) aud: Audience,
    /// Who asked for the token, when that is not the audience.
    pub(crate) azp: Option<String>,
    #[serde(default)]
    pub(crate) amr: Vec<String>,
    exp: i64,
    nbf: Option<i64>,
    /// Session tags, which are refused: see [`Claims::check`].
    #[serde(rename = "https://aws.amazon.com/tags")]
    tags: Option<serde_json::Value>,
}

/// `aud` is one text or a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    pub(crate) fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Key>,
}

/// A public key; which members count is for `kty` to say.
#[derive(Deserialize)]
struct Key {
    kty: String,
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// A token taken apart. Nothing of it is to be believed before [`Token::verify`].
pub(crate) struct Token<'t> {
    header: Header,
    claims: Claims,
    signed: &'t str,
    signature: Vec<u8>,
}

fn invalid(message: impl Into<String>) -> IamError {
    IamError::InvalidIdentityToken(message.into())
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

impl<'t> Token<'t> {
    /// Takes `text` apart.
    ///
    /// # Errors
    /// `InvalidIdentityToken` when it is no signed JSON web token.
    pub(crate) fn parse(text: &'t str) -> Result<Self, IamError> {
        let broken = || invalid("The web identity token that was passed could not be validated by AWS.");
        let (signed, signature) = text.rsplit_once('.').ok_or_else(broken)?;
        let (header, claims) = signed.split_once('.').ok_or_else(broken)?;
        let read = |text: &str| decoded(text).ok_or_else(broken);
        Ok(Self {
            header: serde_json::from_slice(&read(header)?).map_err(|_| broken())?,
            claims: serde_json::from_slice(&read(claims)?).map_err(|_| broken())?,
            signed,
            signature: read(signature)?,
        })
    }

    /// Who claims to have issued it: says only whose keys to fetch.
    pub(crate) fn claimed_issuer(&self) -> &str {
        &self.claims.iss
    }

    /// What it says, if one of the issuer's keys signed it and its time has come and not passed.
    ///
    /// # Errors
    /// `InvalidIdentityToken`, `ExpiredTokenException`.
    pub(crate) fn verify(self, key_set: &str, now_s: i64) -> Result<Claims, IamError> {
        let keys: KeySet =
            serde_json::from_str(key_set).map_err(|_| invalid("The keys of the identity provider cannot be read."))?;
        let named = |key: &&Key| self.header.kid.is_none() || key.kid.is_none() || key.kid == self.header.kid;
        let is_signed = keys.keys.iter().filter(named).any(|key| self.is_signed_by(key));
        if !is_signed {
            return Err(invalid("Couldn't retrieve verification key from your identity provider, or it did not sign."));
        }
        self.claims.check(now_s)?;
        Ok(self.claims)
    }

    /// The algorithm is the key's own: a token cannot choose a weaker one (RFC 8725, section 3.1).
    fn is_signed_by(&self, key: &Key) -> bool {
        match (key.kty.as_str(), self.header.alg.as_str()) {
            ("RSA", "RS256") => self.rs256(key).unwrap_or(false),
            ("EC", "ES256") if key.crv.as_deref() == Some("P-256") => self.es256(key).unwrap_or(false),
            _ => false,
        }
    }

    fn rs256(&self, key: &Key) -> Option<bool> {
        let key = rsa_key(&decoded(key.n.as_ref()?)?, &decoded(key.e.as_ref()?)?)?;
        let signature = rsa::pkcs1v15::Signature::try_from(self.signature.as_slice()).ok()?;
        let key = rsa::pkcs1v15::VerifyingKey::<Sha256>::new(key);
        Some(key.verify(self.signed.as_bytes(), &signature).is_ok())
    }

    fn es256(&self, key: &Key) -> Option<bool> {
        let (x, y) = (decoded(key.x.as_ref()?)?, decoded(key.y.as_ref()?)?);
        let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&[&[4], x.as_slice(), y.as_slice()].concat()).ok()?;
        let signature = p256::ecdsa::Signature::from_slice(&self.signature).ok()?;
        Some(key.verify(self.signed.as_bytes(), &signature).is_ok())
    }
}

/// Modulus and exponent, big-endian. Short keys prove nothing, and long ones cost every stranger's token milliseconds.
fn rsa_key(n: &[u8], e: &[u8]) -> Option<rsa::PublicKey> {
    let [n, e] = [n, e].map(rsa::BoxedUint::from_be_slice_vartime);
    rsa::PublicKey::new_with_size_limits(n, e, RSA_BITS).ok()
}

impl Claims {
    fn check(&self, now_s: i64) -> Result<(), IamError> {
        if self.tags.is_some() {
            return Err(invalid("Session tags in web identity tokens are not supported by Tinderbox yet."));
        }
        if self.nbf.is_some_and(|from| from > now_s) {
            return Err(invalid("The web identity token is not valid yet."));
        }
        match self.exp > now_s {
            true => Ok(()),
            false => Err(IamError::ExpiredTokenException(format!(
                "Token expired: current date/time {now_s} must be before the expiration date/time {}",
                self.exp
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rsa_keys_have_2048_to_4096_bits() {
        for (bytes, is_taken) in [(128, false), (255, false), (256, true), (512, true), (513, false), (1_024, false)] {
            assert_eq!(rsa_key(&vec![0xff; bytes], &[1, 0, 1]).is_some(), is_taken, "{bytes} bytes");
        }
    }
}
