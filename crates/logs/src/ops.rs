//! The operations, by noun.

pub(crate) mod events;
pub(crate) mod groups;
pub(crate) mod streams;

use wire::{Arn, Cx};

use crate::keys::GroupName;
use crate::{LogsError, limits};

/// The group that an operation names, by name or by identifier: a name or an ARN, which the model does not let end in `:*`.
///
/// # Errors
/// [`LogsError::InvalidParameterException`] unless exactly one is given and well formed;
/// [`LogsError::GroupNotFound`] for a group of another account or region.
fn group_name(cx: &Cx, name: Option<&str>, identifier: Option<&str>) -> Result<GroupName, LogsError> {
    let name = match (name, identifier) {
        (Some(name), None) => name.to_owned(),
        (None, Some(identifier)) => name_of_identifier(cx, identifier)?,
        (Some(_), Some(_)) => {
            return Err(LogsError::invalid("logGroupName and logGroupIdentifier cannot be specified together."));
        }
        (None, None) => return Err(LogsError::invalid("Either logGroupName or logGroupIdentifier must be specified.")),
    };
    Ok(GroupName { account: cx.account.as_str().to_owned(), region: cx.region.clone(), group: name })
}

fn name_of_identifier(cx: &Cx, identifier: &str) -> Result<String, LogsError> {
    if !identifier.starts_with("arn:") {
        return Ok(identifier.to_owned());
    }
    let arn = Arn::parse(identifier).filter(|arn| arn.service == "logs");
    let name = arn.as_ref().and_then(|arn| arn.resource.strip_prefix("log-group:"));
    let (Some(arn), Some(name)) = (&arn, name) else {
        return Err(LogsError::invalid(format!("'{identifier}' is not the ARN of a log group.")));
    };
    if arn.region != cx.region || arn.account != cx.account.as_str() {
        return Err(LogsError::GroupNotFound);
    }
    Ok(name.to_owned())
}

/// The ARN of a group, without the `:*` that some operations put behind it.
pub(crate) fn group_arn(cx: &Cx, group: &str) -> String {
    Arn::new("logs", &cx.region, cx.account.as_str(), format!("log-group:{group}")).to_string()
}

/// What the operations of a group or stream are authorised on: `arn:…:log-group:NAME:log-stream:STREAM`, also without
/// a stream, as AWS's own messages of denial show it.
pub(crate) fn stream_arn(cx: &Cx, name: Option<&str>, identifier: Option<&str>, stream: &str) -> String {
    let group = match (name, identifier) {
        (Some(name), _) => name.to_owned(),
        (None, Some(identifier)) => name_of_identifier(cx, identifier).unwrap_or_else(|_| identifier.to_owned()),
        (None, None) => String::new(),
    };
    format!("{}:log-stream:{stream}", group_arn(cx, &group))
}

/// How many items an answer may have.
fn page_size(limit: Option<i32>, max: usize) -> Result<usize, LogsError> {
    let Some(limit) = limit else { return Ok(max) };
    usize::try_from(limit)
        .ok()
        .filter(|limit| (1..=max).contains(limit))
        .ok_or_else(|| LogsError::invalid(format!("limit must be between 1 and {max}.")))
}

/// Tokens of ours end in a name. One that is longer would be no key of the store.
fn check_token(token: &str) -> Result<(), LogsError> {
    if token.len() > limits::TOKEN_BYTES_MAX { Err(bad_token()) } else { Ok(()) }
}

fn bad_token() -> LogsError {
    LogsError::invalid("The specified nextToken is invalid.")
}
