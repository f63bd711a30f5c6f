//! Which services a policy may speak of, so that the others are passed over without a look: of a role's ten policies
//! mostly one or two speak of the service that is asked about.

/// A set of services. It may hold one too many (each is one of 64 bits), never one too few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Services(u64);

impl Services {
    pub(super) const ALL: Self = Self(u64::MAX);
    pub(super) const NONE: Self = Self(0);

    /// The service of an action: `s3` of `s3:GetObject`.
    pub(super) fn of_action(action: &str) -> Self {
        action.split_once(':').map_or(Self::ALL, |(service, _)| Self::one(service))
    }

    /// The services whose actions a pattern may match.
    pub(super) fn of_pattern(pattern: &str) -> Self {
        match pattern.split_once(':') {
            Some((service, _)) if !service.contains(['*', '?']) => Self::one(service),
            _ => Self::ALL,
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Without regard to case, as actions are compared (FNV-1a).
    fn one(service: &str) -> Self {
        let letters = service.chars().flat_map(char::to_lowercase);
        let hash = letters.fold(0xcbf2_9ce4_8422_2325, |hash: u64, letter| {
            (hash ^ u64::from(letter)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self(1 << (hash >> 58))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_meets_every_action_that_it_can_match() {
        for (pattern, action, meets) in [
            ("s3:Get*", "s3:GetObject", true),
            ("S3:*", "s3:GetObject", true),
            ("s3:*", "lambda:InvokeFunction", false),
            ("*", "lambda:InvokeFunction", true),
            ("*:GetObject", "s3:GetObject", true),
            ("s?:GetObject", "s3:GetObject", true),
            // The Kelvin sign is a K.
            ("\u{212a}ms:Decrypt", "kms:Decrypt", true),
            ("s3:*", "no-service", true),
        ] {
            assert_eq!(Services::of_pattern(pattern).meets(Services::of_action(action)), meets, "{pattern} {action}");
        }
        let both = Services::of_pattern("s3:*").or(Services::of_pattern("sqs:*"));
        assert!(both.meets(Services::of_action("sqs:SendMessage")) && both.meets(Services::of_action("s3:GetObject")));
        assert!(!Services::NONE.or(Services::of_pattern("s3:*")).meets(Services::of_action("sqs:SendMessage")));
    }
}
