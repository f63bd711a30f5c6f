//! What every handler knows about the request it serves.

use std::fmt;
use std::net::IpAddr;

use crate::TraceContext;

/// An AWS account id: 12 decimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(String);

impl AccountId {
    /// Parses an account id; `None` unless `text` is exactly 12 ASCII digits.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())).then(|| Self(text.to_owned()))
    }

    /// The 12 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who calls. The signature check decides; a handler only reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// No signature was sent. Only what a policy opens to everyone is allowed.
    Anonymous,
    /// The account's root user.
    Root {
        /// The account that the root key belongs to.
        account: AccountId,
    },
    /// Code inside an execution environment, known by its socket and its keys.
    Function {
        /// ARN of the function (unqualified).
        function_arn: String,
    },
}

/// The context of one request: account, region, principal, request id, deadline, trace.
#[derive(Clone, Debug)]
pub struct Cx {
    /// The account that the request acts in.
    pub account: AccountId,
    /// The region from the signature's scope, such as `us-east-1`.
    pub region: String,
    /// Who calls.
    pub principal: Principal,
    /// The id that the client sees as `x-amzn-RequestId`.
    pub request_id: String,
    /// Where the request stands in its trace.
    pub trace: TraceContext,
    /// Address of the peer, from the socket and never from a header.
    pub source_ip: Option<IpAddr>,
    /// The `Host` that the client used, for URLs in answers.
    pub host: String,
}
