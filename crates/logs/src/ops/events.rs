//! GetLogEvents and FilterLogEvents.

use std::collections::HashSet;

use model::logs::{
    FilterLogEventsInput, FilterLogEventsOutput, FilteredLogEvent, GetLogEventsInput, GetLogEventsOutput,
    OutputLogEvent,
};
use wire::Cx;

use super::{bad_token, group_name, page_size};
use crate::filter::Pattern;
use crate::keys::{Position, StreamName};
use crate::read::{self, Event, Scan};
use crate::{Logs, LogsError, limits};

/// The place after every event.
const END: Position = Position { timestamp_ms: i64::MAX, number: u64::MAX };

/// The events of one stream. A token is a place between two events and a direction: `f/` reads on from it, `b/` reads
/// back from it. At an end of the stream the answer carries the token that it was asked with.
pub(crate) async fn get(logs: Logs, cx: Cx, input: GetLogEventsInput) -> Result<GetLogEventsOutput, LogsError> {
    let group = group_name(&cx, input.log_group_name.as_deref(), input.log_group_identifier.as_deref())?;
    let size = page_size(input.limit, limits::PAGE_EVENTS_MAX)?;
    let from = Position::start_of(input.start_time.unwrap_or(0));
    // The end is excluded: "events with a timestamp equal to or later than this time are not included".
    let to = input.end_time.map_or(END, Position::start_of);
    let token = input.next_token.as_deref().map(parse_token).transpose()?;
    let (from, to, forwards, start) = match token {
        Some((true, place)) => (from.max(place), to, true, place),
        Some((false, place)) => (from, to.min(place), false, place),
        None => (from, to, input.start_from_head.unwrap_or(false), from),
    };
    let stream = StreamName { group, stream: input.log_stream_name };
    let kv = logs.flushed().await;
    let events = kv
        .read(|tx| async move {
            read::group(&tx, &stream.group).await?;
            read::check_stream(&tx, &stream.group, &stream.stream).await?;
            let mut scan = Scan::of_stream(tx, stream, from, to, !forwards);
            let (mut events, mut bytes) = (Vec::new(), 0);
            while events.len() < size
                && let Some(event) = scan.next().await?
            {
                bytes += event.bytes();
                if bytes > limits::PAGE_BYTES_MAX && !events.is_empty() {
                    break;
                }
                events.push(event);
            }
            if !forwards {
                events.reverse();
            }
            Ok::<_, LogsError>(events)
        })
        .await?;
    Ok(GetLogEventsOutput {
        next_forward_token: Some(token_text('f', events.last().map_or(start, |last| last.at.next()))),
        next_backward_token: Some(token_text('b', events.first().map_or(start, |first| first.at))),
        events: Some(events.into_iter().map(output_event).collect()),
    })
}

fn output_event(event: Event) -> OutputLogEvent {
    OutputLogEvent {
        timestamp: Some(event.at.timestamp_ms),
        ingestion_time: Some(event.ingestion_ms),
        message: Some(event.message),
    }
}

/// 56 digits: the time, then the number. AWS's tokens and event ids look the same.
fn digits(place: Position) -> String {
    format!("{:036}{:020}", place.timestamp_ms, place.number)
}

fn parse_digits(text: &str) -> Result<Position, LogsError> {
    if text.len() != 56 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad_token());
    }
    let (time, number) = text.split_at(36);
    let timestamp_ms = time.parse().map_err(|_| bad_token())?;
    Ok(Position { timestamp_ms, number: number.parse().map_err(|_| bad_token())? })
}

fn token_text(direction: char, place: Position) -> String {
    format!("{direction}/{}/s", digits(place))
}

/// Whether a token reads forwards, and from where.
fn parse_token(token: &str) -> Result<(bool, Position), LogsError> {
    let place = token.strip_suffix("/s").ok_or_else(bad_token)?;
    match place.split_once('/') {
        Some(("f", place)) => Ok((true, parse_digits(place)?)),
        Some(("b", place)) => Ok((false, parse_digits(place)?)),
        _ => Err(bad_token()),
    }
}

/// Which streams FilterLogEvents looks at.
enum Streams {
    All,
    Named(HashSet<String>),
    Prefix(String),
}

impl Streams {
    fn contain(&self, stream: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(stream),
            Self::Prefix(prefix) => stream.starts_with(prefix),
        }
    }
}

/// The events of a group that match a pattern, over all its streams in the order of time. The token is the place of
/// the next event to look at; a page may be empty although more follow.
pub(crate) async fn filter(
    logs: Logs,
    cx: Cx,
    input: FilterLogEventsInput,
) -> Result<FilterLogEventsOutput, LogsError> {
    let group = group_name(&cx, input.log_group_name.as_deref(), input.log_group_identifier.as_deref())?;
    let size = page_size(input.limit, limits::PAGE_EVENTS_MAX)?;
    let pattern = Pattern::parse(input.filter_pattern.as_deref().unwrap_or_default())?;
    let streams = match (input.log_stream_names, input.log_stream_name_prefix) {
        (None, None) => Streams::All,
        (Some(names), None) => Streams::Named(names.into_iter().collect()),
        (None, Some(prefix)) => Streams::Prefix(prefix),
        (Some(_), Some(_)) => {
            return Err(LogsError::invalid("logStreamNames and logStreamNamePrefix cannot be specified together."));
        }
    };
    let mut from = Position::start_of(input.start_time.unwrap_or(0));
    // The end is included: "events with a timestamp later than this time are not returned".
    let mut to = input.end_time.map_or(END, |end| Position { timestamp_ms: end, number: u64::MAX });
    let reverse = !input.start_from_head.unwrap_or(true);
    match input.next_token.as_deref().map(parse_digits).transpose()? {
        Some(place) if reverse => to = to.min(place.next()),
        Some(place) => from = from.max(place),
        None => {}
    }
    let kv = logs.flushed().await;
    let (events, next) = kv
        .read(|tx| async move {
            read::group(&tx, &group).await?;
            if let Streams::Named(names) = &streams {
                for name in names {
                    read::check_stream(&tx, &group, name).await?;
                }
            }
            let scan = match &streams {
                // The index of one stream spares reading all the others.
                Streams::Named(names) if names.len() == 1 => {
                    let stream = names.iter().cloned().collect();
                    Scan::of_stream(tx, StreamName { group, stream }, from, to, reverse)
                }
                _ => Scan::of_group(tx, group, from, to, reverse),
            };
            matching(scan, size, |event| streams.contain(&event.stream) && pattern.matches(&event.message)).await
        })
        .await?;
    Ok(FilterLogEventsOutput {
        events: Some(events.into_iter().map(filtered_event).collect()),
        next_token: next.map(digits),
        // Always empty since 2019, says the API reference.
        searched_log_streams: Some(Vec::new()),
    })
}

/// A page of the events that `wanted` takes, and the place where the next page starts, if there may be one.
async fn matching(
    mut scan: Scan,
    size: usize,
    wanted: impl Fn(&Event) -> bool,
) -> Result<(Vec<Event>, Option<Position>), LogsError> {
    let (mut events, mut page_bytes) = (Vec::new(), 0);
    let (mut scanned, mut scanned_bytes) = (0, 0);
    while let Some(event) = scan.next().await? {
        let full = events.len() == size || scanned == limits::SCAN_EVENTS_MAX || scanned_bytes > limits::SCAN_BYTES_MAX;
        if full {
            return Ok((events, Some(event.at)));
        }
        scanned += 1;
        scanned_bytes += event.bytes();
        if wanted(&event) {
            page_bytes += event.bytes();
            if page_bytes > limits::PAGE_BYTES_MAX && !events.is_empty() {
                return Ok((events, Some(event.at)));
            }
            events.push(event);
        }
    }
    Ok((events, None))
}

fn filtered_event(event: Event) -> FilteredLogEvent {
    FilteredLogEvent {
        event_id: Some(digits(event.at)),
        log_stream_name: Some(event.stream),
        timestamp: Some(event.at.timestamp_ms),
        ingestion_time: Some(event.ingestion_ms),
        message: Some(event.message),
    }
}
