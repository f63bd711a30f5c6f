//! Amazon Resource Names: `arn:partition:service:region:account:resource`.
//!
//! Source: AWS general reference, "Amazon Resource Names (ARNs)".

use std::fmt;

/// A parsed ARN. Region and account may be empty (S3 buckets, IAM).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arn {
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: String,
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
    /// An ARN in the partition `aws`.
    pub fn new(service: &str, region: &str, account: &str, resource: impl Into<String>) -> Self {
        Self {
            partition: "aws".to_owned(),
            service: service.to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
            resource: resource.into(),
        }
    }

    /// Parses the text form; `None` when it does not start with `arn:`, has fewer than six parts,
    /// or names no partition, service or resource.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        if parts.next()? != "arn" {
            return None;
        }
        let mut next = || parts.next().map(str::to_owned);
        let arn = Self { partition: next()?, service: next()?, region: next()?, account: next()?, resource: next()? };
        let named = !(arn.partition.is_empty() || arn.service.is_empty() || arn.resource.is_empty());
        named.then_some(arn)
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, service, region, account, resource } = self;
        write!(f, "arn:{partition}:{service}:{region}:{account}:{resource}")
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
    fn malformed_text_is_refused() {
        for text in
            ["", "arn", "arn:aws:lambda:us-east-1:1", "urn:aws:lambda:r:a:x", "arn::lambda:r:a:x", "arn:aws:s3:::"]
        {
            assert_eq!(Arn::parse(text), None, "{text}");
        }
    }
}
