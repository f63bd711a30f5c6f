//! `tinderbox logs FUNCTION [-f]`: a function's log, once or as it grows.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use sys::{Clock, Timestamp};

use crate::client::{self, Client};
use crate::print::{self, Print};

/// How often `-f` asks for more, in milliseconds.
const FOLLOW_EVERY_MS: u64 = 500;

/// How far behind the newest event `-f` asks again: events may be written late, and with an older time.
const LATE_MS: i64 = 10_000;

/// Events of the newest that a follower remembers, so that none of the same millisecond is shown twice.
const REMEMBERED: usize = 10_000;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A function's name, or a log group such as `/aws/lambda/NAME`
    target: String,

    /// Goes on printing as the log grows
    #[arg(short, long)]
    follow: bool,

    /// How far back to begin, such as `90s`, `10m`, `2h`, `1d`
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    since: Duration,

    /// Only events that match this CloudWatch Logs filter pattern
    #[arg(long, default_value = "")]
    filter: String,

    #[command(flatten)]
    client: client::Options,
}

pub(crate) async fn run(args: Args, print: Print) -> anyhow::Result<ExitCode> {
    let client = Client::new(args.client)?;
    let clock = Clock::system();
    let group = if args.target.starts_with('/') { args.target } else { format!("/aws/lambda/{}", args.target) };
    let first_ms = (clock.now().unix_ms() - i64::try_from(args.since.as_millis())?).max(0);
    let mut newest_ms = first_ms;
    let mut shown: VecDeque<String> = VecDeque::new();
    loop {
        let events = match fetch(&client, &group, &args.filter, first_ms.max(newest_ms - LATE_MS)).await {
            // A follower may come before the first log line.
            Err(error) if args.follow && error.to_string().contains("ResourceNotFoundException") => Vec::new(),
            other => other?,
        };
        for event in events {
            let id = event["eventId"].as_str().unwrap_or_default().to_owned();
            if shown.contains(&id) {
                continue;
            }
            // A function may claim any time: one from the future must not hide what comes next.
            newest_ms = newest_ms.max(event["timestamp"].as_i64().unwrap_or_default().min(clock.now().unix_ms()));
            shown.push_back(id);
            show(&event, print);
        }
        let excess = shown.len().saturating_sub(REMEMBERED);
        shown.drain(..excess);
        if !args.follow {
            return Ok(ExitCode::SUCCESS);
        }
        clock.sleep(Duration::from_millis(FOLLOW_EVERY_MS)).await;
    }
}

async fn fetch(client: &Client, group: &str, filter: &str, start_ms: i64) -> anyhow::Result<Vec<Value>> {
    let mut events = Vec::new();
    let mut token = Value::Null;
    loop {
        let mut input = json!({ "logGroupName": group, "startTime": start_ms });
        if !filter.is_empty() {
            input["filterPattern"] = json!(filter);
        }
        if !token.is_null() {
            input["nextToken"] = token;
        }
        let mut page = client.call_json("logs", "Logs_20140328.FilterLogEvents", &input).await?;
        events.extend(page["events"].as_array().cloned().unwrap_or_default());
        token = page["nextToken"].take();
        if token.is_null() {
            return Ok(events);
        }
    }
}

fn show(event: &Value, print: Print) {
    let at = Timestamp::from_unix_ms(event["timestamp"].as_i64().unwrap_or_default());
    let message = event["message"].as_str().unwrap_or_default().trim_end();
    print.text(&format!("{} {message}", clock_time(at)));
    if print.json {
        print::line(&event.to_string());
    }
}

/// `HH:MM:SS.mmm` in UTC.
fn clock_time(at: Timestamp) -> String {
    let ms = at.unix_ms().rem_euclid(86_400_000);
    format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
}

/// A number with a unit: `s`, `m`, `h` or `d`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a number with s, m, h or d");
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let seconds_a_unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds_a_unit).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7_200)));
        for bad in ["", "5", "m", "-1s", "1w", "99999999999999999999s", "18446744073709551615d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_of_day_are_utc() {
        assert_eq!(clock_time(Timestamp::from_unix_ms(86_400_000 + 3_723_004)), "01:02:03.004");
    }
}
