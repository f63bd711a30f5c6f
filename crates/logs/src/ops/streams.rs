//! DescribeLogStreams.

use kv::{KeyRange, RangeOptions, Txn};
use model::logs::{DescribeLogStreamsInput, DescribeLogStreamsOutput, LogStream, OrderBy};
use wire::Cx;

use super::{bad_token, check_token, group_arn, group_name, page_size};
use crate::keys::{self, GroupName, Key, StreamName, StreamRecord};
use crate::{Logs, LogsError, limits, read};

/// The streams of a group by name or by the time of their last event.
pub(crate) async fn describe(
    logs: Logs,
    cx: Cx,
    input: DescribeLogStreamsInput,
) -> Result<DescribeLogStreamsOutput, LogsError> {
    let group = group_name(&cx, input.log_group_name.as_deref(), input.log_group_identifier.as_deref())?;
    let size = page_size(input.limit, limits::PAGE_NAMES_MAX)?;
    let by_time = input.order_by == Some(OrderBy::LastEventTime);
    if by_time && input.log_stream_name_prefix.is_some() {
        return Err(LogsError::invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
    }
    let reverse = input.descending.unwrap_or(false);
    let range = match by_time {
        true => keys::streams_by_time(&group),
        false => keys::streams(&group, input.log_stream_name_prefix.as_deref().unwrap_or_default()),
    };
    let range = after_token(&group, range, by_time, reverse, input.next_token.as_deref())?;
    let kv = logs.flushed().await;
    kv.read(|tx| async move {
        read::group(&tx, &group).await?;
        page(&tx, &cx, &range, reverse, size).await
    })
    .await
}

/// The part of `range` that comes after the place of `token`.
fn after_token(
    group: &GroupName,
    range: KeyRange,
    by_time: bool,
    reverse: bool,
    token: Option<&str>,
) -> Result<KeyRange, LogsError> {
    let Some(token) = token else { return Ok(range) };
    check_token(token)?;
    let stream_of = |stream: &str| StreamName { group: group.clone(), stream: stream.to_owned() };
    let last = match by_time {
        false => Key::Stream(stream_of(token.strip_prefix("n:").ok_or_else(bad_token)?)),
        true => {
            let place = token.strip_prefix("t:").and_then(|place| place.split_once(':'));
            let (last_event_ms, stream) = place.ok_or_else(bad_token)?;
            let last_event_ms = last_event_ms.parse().map_err(|_| bad_token())?;
            Key::StreamByTime { stream: stream_of(stream), last_event_ms }
        }
    };
    let last = last.encode();
    match range.contains(&last) {
        false => Err(bad_token()),
        true if reverse => Ok(KeyRange { begin: range.begin, end: last }),
        true => Ok(KeyRange { begin: read::right_after(&last), end: range.end }),
    }
}

async fn page(
    tx: &Txn,
    cx: &Cx,
    range: &KeyRange,
    reverse: bool,
    size: usize,
) -> Result<DescribeLogStreamsOutput, LogsError> {
    // One more than fits tells whether there is more.
    let options = RangeOptions { limit: size + 1, reverse, snapshot: true };
    let pairs = tx.range(&range.begin, &range.end, options).await?;
    let (mut streams, mut token) = (Vec::new(), None);
    for (key, value) in pairs.iter().take(size) {
        let (name, record) = match Key::decode(key)? {
            Key::Stream(name) => {
                token = Some(format!("n:{}", name.stream));
                (name, keys::decode_record(value)?)
            }
            Key::StreamByTime { stream, last_event_ms } => {
                token = Some(format!("t:{last_event_ms}:{}", stream.stream));
                let record = tx.get_snapshot(Key::Stream(stream.clone()).encode()).await?;
                let record = record.ok_or_else(|| LogsError::corrupt("a stream of the index is missing"))?;
                (stream, keys::decode_record(&record)?)
            }
            _ => return Err(LogsError::corrupt("not a stream's key")),
        };
        streams.push(shown(cx, &name, &record));
    }
    let more = pairs.len() > size;
    Ok(DescribeLogStreamsOutput { log_streams: Some(streams), next_token: token.filter(|_| more) })
}

fn shown(cx: &Cx, name: &StreamName, record: &StreamRecord) -> LogStream {
    LogStream {
        arn: Some(format!("{}:log-stream:{}", group_arn(cx, &name.group.group), name.stream)),
        log_stream_name: Some(name.stream.clone()),
        creation_time: Some(record.created_ms),
        first_event_timestamp: Some(record.first_event_ms),
        last_event_timestamp: Some(record.last_event_ms),
        last_ingestion_time: Some(record.last_ingestion_ms),
        // AWS has answered 0 for every stream since 2019.
        stored_bytes: Some(0),
        ..LogStream::default()
    }
}
