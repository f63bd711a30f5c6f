//! Amazon Resource Names: `arn:aws:service:region:account:resource`.
//!
//! This platform is one partition, `aws`. Policies are compared with the text of an ARN: an ARN that named the same
//! thing under another partition would slip through every statement that names it.
//!
//! Source: AWS general reference, "Amazon Resource Names (ARNs)".

use std::fmt;

/// The only partition.
const PARTITION: &str = "aws";

/// A parsed ARN of the partition `aws`. Region and account may be empty (S3 buckets, IAM).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arn {
    /// Service, such as `lambda`.
    pub service: String,
    /// Region or empty.
    pub region: String,
    /// Account or empty.
    pub account: String,
    /// The rest, with its own separators.
    pub resource: String,
}

impl Arn {
    /// An ARN of these parts.
    pub fn new(service: &str, region: &str, account: &str, resource: impl Into<String>) -> Self {
        Self {
            service: service.to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
            resource: resource.into(),
        }
    }

    /// Parses the text form; `None` when it does not start with `arn:aws:`, has fewer than six parts, or names no
    /// service or resource. What parses is written back as it was.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        if parts.next()? != "arn" || parts.next()? != PARTITION {
            return None;
        }
        let mut next = || parts.next().map(str::to_owned);
        let arn = Self { service: next()?, region: next()?, account: next()?, resource: next()? };
        let named = !(arn.service.is_empty() || arn.resource.is_empty());
        named.then_some(arn)
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, region, account, resource } = self;
        write!(f, "arn:{PARTITION}:{service}:{region}:{account}:{resource}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_the_round_trip() {
        for text in ["arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST", "arn:aws:s3:::bucket/a:b/c"] {
            assert_eq!(Arn::parse(text).expect("well formed").to_string(), text);
        }
    }

    #[test]
    fn i1_another_partition_names_nothing() {
        for partition in ["aws-cn", "aws-us-gov", "AWS", "x", "", " aws"] {
            assert_eq!(Arn::parse(&format!("arn:{partition}:sns:us-east-1:000000000000:t")), None, "{partition}");
        }
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in ["", "arn", "arn:aws:lambda:us-east-1:1", "urn:aws:lambda:r:a:x", "arn:aws::r:a:x", "arn:aws:s3:::"]
        {
            assert_eq!(Arn::parse(text), None, "{text}");
        }
    }
}
