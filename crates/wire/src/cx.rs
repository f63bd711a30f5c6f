//! What every handler knows about the request it serves.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use sys::Timestamp;

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
    /// An IAM user, with a key of its own or with a session from `GetSessionToken`.
    User {
        /// The user's account.
        account: AccountId,
        /// `arn:aws:iam::ACCOUNT:user/PATH/NAME`.
        arn: String,
        /// The unique id, `AIDA…`.
        id: String,
        /// The name without the path.
        name: String,
        /// The facts of a session from `GetSessionToken`; `None` with a long-term key.
        session: Option<Arc<SessionFacts>>,
    },
    /// A session of a role.
    AssumedRole {
        /// The role's account.
        account: AccountId,
        /// `arn:aws:iam::ACCOUNT:role/PATH/NAME`.
        role_arn: String,
        /// The role's unique id, `AROA…`: a role that was deleted and made again is another one.
        role_id: String,
        /// The session's name.
        session_name: String,
        /// ARN (unqualified) of the function that these keys were made for: sent on as the source of its calls.
        source_function: Option<String>,
        /// When, until when and with what the session was made.
        session: Arc<SessionFacts>,
    },
    /// A session from `GetFederationToken`.
    FederatedUser {
        /// The account of the user who made it.
        account: AccountId,
        /// The name that was given.
        name: String,
        /// ARN of the user (or root) who made it: the session has at most its permissions.
        user_arn: String,
        /// When, until when and with what the session was made.
        session: Arc<SessionFacts>,
    },
    /// Code of a function that has no role in the identity service, known by its socket.
    Function {
        /// ARN of the function (unqualified).
        function_arn: String,
    },
}

/// What temporary keys carry beside the identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFacts {
    /// When the keys were issued (`aws:TokenIssueTime`).
    pub issued: Timestamp,
    /// From this moment on they are refused.
    pub expires: Timestamp,
    /// Session policy given as a document: intersects with the identity's policies.
    pub policy: Option<String>,
    /// ARNs of managed policies that act as session policies, at most 10.
    pub policy_arns: Vec<String>,
    /// Session tags, which win over the identity's own (`aws:PrincipalTag/KEY`).
    pub tags: Vec<(String, String)>,
    /// Keys of the session tags that pass on to the next role (role chaining).
    pub transitive_tag_keys: Vec<String>,
    /// `aws:SourceIdentity`, set once and kept through role chaining.
    pub source_identity: Option<String>,
    /// Of a session from `GetFederationToken`: the unique id of the user who made it.
    pub maker_id: Option<String>,
    /// Made in permissive mode, where nobody checks who asks: such keys are none where policies are enforced.
    pub is_permissive: bool,
}

impl Principal {
    /// The account that the principal belongs to; `None` for strangers and for functions without a role.
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Root { account }
            | Self::User { account, .. }
            | Self::AssumedRole { account, .. }
            | Self::FederatedUser { account, .. } => Some(account),
            Self::Anonymous | Self::Function { .. } => None,
        }
    }

    /// The ARN that error messages and `GetCallerIdentity` show; `anonymous` for strangers.
    pub fn arn(&self) -> String {
        match self {
            Self::Anonymous => "anonymous".to_owned(),
            Self::Root { account } => format!("arn:aws:iam::{account}:root"),
            Self::User { arn, .. } => arn.clone(),
            Self::AssumedRole { account, role_arn, session_name, .. } => {
                let role = role_arn.rsplit('/').next().unwrap_or_default();
                format!("arn:aws:sts::{account}:assumed-role/{role}/{session_name}")
            }
            Self::FederatedUser { account, name, .. } => format!("arn:aws:sts::{account}:federated-user/{name}"),
            Self::Function { function_arn } => function_arn.clone(),
        }
    }

    /// The id that `GetCallerIdentity` and `aws:userid` show; empty for strangers.
    pub fn user_id(&self) -> String {
        match self {
            Self::Anonymous => String::new(),
            Self::Root { account } => account.to_string(),
            Self::User { id, .. } => id.clone(),
            Self::AssumedRole { role_id, session_name, .. } => format!("{role_id}:{session_name}"),
            Self::FederatedUser { account, name, .. } => format!("{account}:{name}"),
            Self::Function { function_arn } => function_arn.clone(),
        }
    }

    /// The facts of the session, when the keys are temporary.
    pub fn session(&self) -> Option<&Arc<SessionFacts>> {
        match self {
            Self::User { session, .. } => session.as_ref(),
            Self::AssumedRole { session, .. } | Self::FederatedUser { session, .. } => Some(session),
            Self::Anonymous | Self::Root { .. } | Self::Function { .. } => None,
        }
    }
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
    /// Actions of questions that authorisation left out because of what was known then ([`crate::service::Table::moot`]).
    /// What is known changes until the handler looks: it does nothing that would have needed one of them.
    pub unasked: Vec<&'static str>,
}
