//! Ids of requests and of other things that must be unique, made from an [`Rng`].

use crate::Rng;

/// A random (version 4) UUID in its usual form of 36 characters: the form of AWS request ids.
pub fn uuid(rng: &Rng) -> String {
    uuid::Builder::from_random_bytes(rng.bytes()).into_uuid().hyphenated().to_string()
}

/// `2 * N` lower-case hexadecimal digits.
pub fn hex<const N: usize>(rng: &Rng) -> String {
    crate::hex(&rng.bytes::<N>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_version_four_and_repeat_with_the_seed() {
        let id = uuid(&Rng::seeded(7));
        assert_eq!(id.len(), 36);
        assert_eq!(id.as_bytes()[14], b'4');
        assert_eq!(id, uuid(&Rng::seeded(7)));
    }

    #[test]
    fn hex_has_two_digits_a_byte() {
        assert_eq!(hex::<12>(&Rng::seeded(1)).len(), 24);
    }
}
