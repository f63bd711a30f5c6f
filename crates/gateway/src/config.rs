//! Settings of the gateway.

use std::time::Duration;

use wire::AccountId;

use crate::Limits;

/// How signatures are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// A request must verify and be allowed.
    Enforced,
    /// For people who move from an emulator: any signature or none acts, and what enforcement would have denied is
    /// logged. A 12-digit access key id acts in that account. Every answer says `x-tinderbox-auth: permissive`.
    Permissive,
}

/// Settings of one gateway.
#[derive(Clone, Debug)]
pub struct Config {
    /// How signatures are treated.
    pub auth: Auth,
    /// The installation's own account: its root user is the operator, and strangers act in it.
    pub account: AccountId,
    /// Regions that a signature may be scoped to, the default one first. Not empty.
    pub regions: Vec<String>,
    /// The domain that our host names end in: `BUCKET.DOMAIN` is a bucket. `localhost` always is one as well.
    pub domain: String,
    /// Takes presigned URLs and forms of signature version 2. Permissive mode always does.
    pub signature_v2: bool,
    /// Largest difference of clocks; [`wire::sigv4::SKEW_DEFAULT`] unless set.
    pub skew: Duration,
    /// Sizes and deadlines.
    pub limits: Limits,
    /// The version that `GET /_tinderbox/health` tells.
    pub version: &'static str,
}

impl Config {
    /// Enforced, one region, AWS's limits.
    pub fn new(account: AccountId, region: impl Into<String>, version: &'static str) -> Self {
        Self {
            auth: Auth::Enforced,
            account,
            regions: vec![region.into()],
            domain: "localhost".to_owned(),
            signature_v2: false,
            skew: wire::sigv4::SKEW_DEFAULT,
            limits: Limits::default(),
            version,
        }
    }

    /// The region of requests that name none.
    pub fn default_region(&self) -> &str {
        self.regions.first().map_or("us-east-1", String::as_str)
    }
}
