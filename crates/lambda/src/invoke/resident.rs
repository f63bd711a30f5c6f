//! What of the runtime's AWS SDK a generic runtime has loaded while it stands by.
//!
//! Our bootstraps say at the end of an init what it has loaded of the SDK that comes with the runtime (never of one that the
//! package or a layer brings), and the later environments of the version come from runtimes that have loaded it already. A function
//! can only choose among the modules of the host's own SDK, and what it says counts for its own version alone.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Clients of one function; whoever uses more starts without.
const NAMES_MAX: usize = 8;
/// What a runtime with the SDK takes, in MB, and each of its names on top. Measured with boto3: 32 MB alone, 47 with the models of S3, 108
/// with those of the seven services that have the largest.
const SDK_MB: u32 = 48;
const NAME_MB: u32 = 8;
/// The longest name of a package of the AWS SDK for node is half of it.
const NAME_BYTES_MAX: usize = 96;
/// Where a generic runtime reads what to load. A function cannot have a variable that begins with an underscore.
const VARIABLE: &str = "_TINDERBOX_RESIDENT";

/// Names of modules, as the language has them: packages `@aws-sdk/client-…` and `@aws-sdk/lib-…`, or `boto3` and, as `boto3/SERVICE`,
/// the models from which it makes clients of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Resident(Arc<BTreeSet<String>>);

impl Resident {
    /// Reads what a bootstrap says, a JSON array of names. Empty where that is anything else than a few names of SDK modules.
    pub(super) fn read(json: &[u8]) -> Self {
        let names: BTreeSet<String> = serde_json::from_slice(json).unwrap_or_default();
        let fit = names.len() <= NAMES_MAX && names.iter().all(|name| is_of_an_sdk(name));
        if fit { Self(Arc::new(names)) } else { Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Memory that a runtime takes which has loaded these, in MB.
    pub(super) fn memory_mb(&self) -> u32 {
        SDK_MB + self.0.iter().map(|_| NAME_MB).sum::<u32>()
    }

    /// How many names this has, if it has any and `other` has them all.
    pub(super) fn part_of(&self, other: &Self) -> Option<usize> {
        (!self.is_empty() && self.0.is_subset(&other.0)).then(|| self.0.len())
    }

    /// The variable that tells a generic runtime what to load.
    pub(super) fn variable(&self) -> Option<(String, String)> {
        (!self.is_empty()).then(|| (VARIABLE.to_owned(), self.to_string()))
    }
}

impl fmt::Display for Resident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.0.iter().enumerate() {
            write!(f, "{}{name}", if at == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

/// No path leads out of the SDK's folder by such a name.
fn is_of_an_sdk(name: &str) -> bool {
    let kinds = ["@aws-sdk/client-", "@aws-sdk/lib-", "boto3/"];
    let package = kinds.iter().find_map(|prefix| name.strip_prefix(prefix));
    let is_word = |rest: &str| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    name.len() <= NAME_BYTES_MAX && (name == "boto3" || package.is_some_and(is_word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn names_of_sdk_modules_are_taken_in_any_order_and_once() {
        for (json, text) in [
            (r#"["boto3"]"#, "boto3"),
            (r#"["boto3", "boto3/s3", "boto3/apigatewayv2"]"#, "boto3 boto3/apigatewayv2 boto3/s3"),
            (
                r#"["@aws-sdk/lib-dynamodb", "@aws-sdk/client-s3", "@aws-sdk/client-s3"]"#,
                "@aws-sdk/client-s3 @aws-sdk/lib-dynamodb",
            ),
        ] {
            let resident = Resident::read(json.as_bytes());
            assert_eq!(resident.variable(), Some(("_TINDERBOX_RESIDENT".to_owned(), text.to_owned())));
        }
    }

    #[test]
    fn what_is_no_name_of_an_sdk_module_makes_it_nothing() {
        let many: Vec<String> = (0..9).map(|n| format!("@aws-sdk/client-{n}")).collect();
        let many = serde_json::to_string(&many).expect("names are JSON");
        let long = format!(r#"["@aws-sdk/client-{}"]"#, "s".repeat(96));
        for json in [
            "",
            "null",
            "[]",
            "{}",
            r#"["boto3", 1]"#,
            r#"["boto3", "os"]"#,
            r#"["boto3", "boto3/../s3"]"#,
            r#"["boto3", "boto3/"]"#,
            r#"["@aws-sdk/client-"]"#,
            r#"["@aws-sdk/client-s3/../../../../tmp/mine"]"#,
            r#"["@aws-sdk/client-s3 /tmp/mine"]"#,
            r#"["/tmp/@aws-sdk/client-s3"]"#,
            r#"["@aws-sdk/core"]"#,
            &many,
            &long,
        ] {
            assert!(Resident::read(json.as_bytes()).is_empty(), "{json}");
        }
    }

    #[test]
    fn each_name_takes_memory() {
        let names: Vec<String> = (1..NAMES_MAX).map(|n| format!("boto3/s{n}")).chain(["boto3".to_owned()]).collect();
        let most = Resident::read(serde_json::to_string(&names).expect("names are JSON").as_bytes());
        assert_eq!((Resident::read(br#"["boto3"]"#).memory_mb(), most.memory_mb()), (56, 112));
    }

    #[test]
    fn a_part_has_nothing_that_the_whole_has_not() {
        let of = |json: &str| Resident::read(json.as_bytes());
        let whole = of(r#"["boto3", "boto3/s3", "boto3/sqs"]"#);
        assert_eq!(whole.part_of(&whole), Some(3));
        assert_eq!(of(r#"["boto3", "boto3/s3"]"#).part_of(&whole), Some(2));
        for other in [of(r#"["boto3", "boto3/sns"]"#), Resident::default()] {
            assert_eq!(other.part_of(&whole), None, "{other}");
        }
    }

    proptest! {
        /// The peer is untrusted.
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Resident::read(&bytes);
        }
    }
}
