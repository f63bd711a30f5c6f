//! Making access keys of the form that AWS's have.

use sys::Rng;

/// The alphabet of access key ids (base 32).
const BASE32: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The alphabet of our secrets: AWS's without the characters that shells and URLs mind.
const BASE62: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// An access key id: `prefix` (`AKIA` for lasting keys, `ASIA` for temporary ones) and 16 characters.
pub(crate) fn id(prefix: &str, rng: &Rng) -> String {
    format!("{prefix}{}", rng.string(BASE32, 16))
}

/// A secret of `length` characters, 5.95 bits each: 40 for a secret access key.
pub(crate) fn secret(length: usize, rng: &Rng) -> String {
    rng.string(BASE62, length)
}
