//! Links to a function's package: `Code.Location` of GetFunction.
//!
//! ```text
//!  TOKEN = expiry . digest . length . HMAC-SHA-256 over the three, with a key of this process
//! ```
//! Nothing is stored: a link is valid until it expires or the server restarts, as AWS's presigned links are for ten minutes.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use sys::{Rng, Timestamp};

use crate::function::CodeRef;
use crate::limits::CODE_LINK_S_MAX;

/// Makes and checks links.
pub(crate) struct CodeLinks {
    key: [u8; 32],
}

impl CodeLinks {
    /// Links under a new key.
    pub(crate) fn new(rng: &Rng) -> Self {
        Self { key: rng.bytes() }
    }

    /// The token for `code`.
    pub(crate) fn token(&self, code: &CodeRef, now: Timestamp) -> String {
        let claim = format!("{}.{}.{}", now.unix_s() + CODE_LINK_S_MAX, code.digest, code.length);
        let tag = sys::hex(&self.mac(&claim).finalize().into_bytes());
        format!("{claim}.{tag}")
    }

    /// What a token is for; `None` when it is forged, altered or expired.
    pub(crate) fn open(&self, token: &str, now: Timestamp) -> Option<CodeRef> {
        let (claim, tag) = token.rsplit_once('.')?;
        // Compares in constant time.
        self.mac(claim).verify_slice(&from_hex(tag)?).ok()?;
        let mut parts = claim.split('.');
        let expires_s: i64 = parts.next()?.parse().ok()?;
        let code = CodeRef { digest: parts.next()?.to_owned(), length: parts.next()?.parse().ok()? };
        (now.unix_s() < expires_s).then_some(code)
    }

    fn mac(&self, claim: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(claim.as_bytes());
        mac
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pair = |pair: &[u8]| u8::try_from(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?).ok();
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_open_until_they_expire_and_only_under_their_key() {
        let links = CodeLinks::new(&Rng::seeded(1));
        let now = Timestamp::from_unix_s(1_000);
        let code = CodeRef { digest: "ab".repeat(32), length: 7 };
        let token = links.token(&code, now);
        assert_eq!(links.open(&token, now), Some(code.clone()));
        assert_eq!(links.open(&token, Timestamp::from_unix_s(1_599)), Some(code.clone()));
        assert_eq!(links.open(&token, Timestamp::from_unix_s(1_600)), None);
        assert_eq!(CodeLinks::new(&Rng::seeded(2)).open(&token, now), None);
        for at in 0..token.len() {
            let mut altered = token.clone().into_bytes();
            altered[at] = if altered[at] == b'0' { b'1' } else { b'0' };
            let altered = String::from_utf8(altered).unwrap();
            assert_eq!(links.open(&altered, now), None, "{altered}");
        }
        for noise in ["", ".", "...", "a.b.c.d", &token[..token.len() - 1]] {
            assert_eq!(links.open(noise, now), None, "{noise}");
        }
    }
}
