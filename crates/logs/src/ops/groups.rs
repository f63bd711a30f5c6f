//! DescribeLogGroups.

use kv::RangeOptions;
use model::logs::{DescribeLogGroupsInput, DescribeLogGroupsOutput, LogGroup, LogGroupClass};
use wire::Cx;

use super::{bad_token, check_token, group_arn, group_name, page_size};
use crate::keys::{self, GroupRecord, Key};
use crate::{Logs, LogsError, limits, read};

/// Groups by name, or those named by identifiers.
pub(crate) async fn describe(
    logs: Logs,
    cx: Cx,
    input: DescribeLogGroupsInput,
) -> Result<DescribeLogGroupsOutput, LogsError> {
    let size = page_size(input.limit, limits::PAGE_NAMES_MAX)?;
    let of_others = |accounts: &Vec<String>| !accounts.iter().any(|account| account == cx.account.as_str());
    let other_class = |class: LogGroupClass| class != LogGroupClass::Standard;
    if input.account_identifiers.as_ref().is_some_and(of_others) || input.log_group_class.is_some_and(other_class) {
        return Ok(DescribeLogGroupsOutput { log_groups: Some(Vec::new()), next_token: None });
    }
    match (&input.log_group_identifiers, &input.log_group_name_prefix, &input.log_group_name_pattern) {
        (Some(identifiers), None, None) => named(&logs, &cx, identifiers).await,
        (None, prefix, None) => page(&logs, &cx, prefix.as_deref(), "", input.next_token.as_deref(), size).await,
        (None, None, Some(pattern)) => page(&logs, &cx, None, pattern, input.next_token.as_deref(), size).await,
        _ => Err(LogsError::invalid(
            "logGroupIdentifiers, logGroupNamePrefix and logGroupNamePattern are mutually exclusive parameters.",
        )),
    }
}

async fn named(logs: &Logs, cx: &Cx, identifiers: &[String]) -> Result<DescribeLogGroupsOutput, LogsError> {
    let kv = logs.flushed().await;
    let mut groups = Vec::new();
    for identifier in identifiers {
        let name = group_name(cx, None, Some(identifier))?;
        match kv.read(|tx| async move { read::group(&tx, &name).await.map(|record| (name, record)) }).await {
            Ok((name, record)) => groups.push(shown(cx, &name.group, &record)),
            Err(LogsError::GroupNotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(DescribeLogGroupsOutput { log_groups: Some(groups), next_token: None })
}

/// One page of the groups that start with `prefix` and contain `part`. The token is the last name looked at.
async fn page(
    logs: &Logs,
    cx: &Cx,
    prefix: Option<&str>,
    part: &str,
    token: Option<&str>,
    size: usize,
) -> Result<DescribeLogGroupsOutput, LogsError> {
    let mut range = keys::groups(cx.account.as_str(), &cx.region, prefix.unwrap_or_default());
    if let Some(token) = token {
        check_token(token)?;
        let after = Key::Group(group_name(cx, Some(token), None)?).encode();
        if !range.contains(&after) {
            return Err(bad_token());
        }
        range.begin = read::right_after(&after);
    }
    let options = RangeOptions { limit: limits::SCAN_NAMES_MAX, reverse: false, snapshot: true };
    let pairs = logs.flushed().await.read(async |tx| tx.range(&range.begin, &range.end, options).await).await?;
    let (mut groups, mut last) = (Vec::new(), String::new());
    let mut seen = 0;
    for (key, value) in &pairs {
        if groups.len() == size {
            break;
        }
        let Key::Group(name) = Key::decode(key)? else { return Err(LogsError::corrupt("not a group's key")) };
        if name.group.contains(part) {
            groups.push(shown(cx, &name.group, &keys::decode_record(value)?));
        }
        last = name.group;
        seen += 1;
    }
    let more = seen < pairs.len() || pairs.len() == limits::SCAN_NAMES_MAX;
    Ok(DescribeLogGroupsOutput { log_groups: Some(groups), next_token: more.then_some(last) })
}

fn shown(cx: &Cx, name: &str, record: &GroupRecord) -> LogGroup {
    let arn = group_arn(cx, name);
    LogGroup {
        arn: Some(format!("{arn}:*")),
        log_group_arn: Some(arn),
        log_group_name: Some(name.to_owned()),
        log_group_class: Some(LogGroupClass::Standard),
        creation_time: Some(record.created_ms),
        stored_bytes: Some(i64::try_from(record.stored_bytes).unwrap_or(i64::MAX)),
        metric_filter_count: Some(0),
        ..LogGroup::default()
    }
}
