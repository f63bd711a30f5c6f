//! Access keys' secrets: wiped when dropped, never printed.

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret text. Its memory is wiped with the last clone; `Debug` never shows it.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(text.into())))
    }

    /// The text, for signing or for writing it to the key file.
    pub fn expose(&self) -> &str {
        self.0.as_str()
    }

    /// Equality in time that depends on the lengths only.
    pub fn matches(&self, other: &str) -> bool {
        self.expose().as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What belongs to an access key id.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The secret access key.
    pub secret: Secret,
    /// The session token of a temporary credential; a request must carry exactly this one.
    pub session_token: Option<Secret>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i9_a_secret_is_never_printed() {
        let credential = Credential { secret: Secret::new("hunter2"), session_token: Some(Secret::new("token3")) };
        let printed = format!("{credential:?}{:?}", credential.secret);
        assert!(!printed.contains("hunter2") && !printed.contains("token3"), "{printed}");
    }

    #[test]
    fn matching_needs_the_whole_text() {
        let secret = Secret::new("abc");
        assert!(secret.matches("abc"));
        for other in ["", "ab", "abd", "abcd"] {
            assert!(!secret.matches(other), "{other}");
        }
    }
}
