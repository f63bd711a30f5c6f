//! Timestamps in the three formats of the models (wire:W19).

use jiff::fmt::rfc2822::DateTimeParser;
use jiff::tz::TimeZone;
use sys::Timestamp;

use crate::shape::TimestampFormat;

/// The moment that `text` names; `None` when it is malformed or out of range (years -9999 to 9999).
pub(super) fn parse(format: TimestampFormat, text: &str) -> Option<Timestamp> {
    match format {
        TimestampFormat::Iso8601 => text.parse::<jiff::Timestamp>().ok().map(from_jiff),
        TimestampFormat::Rfc822 => parse_http_date(text),
        TimestampFormat::UnixTimestamp => parse_seconds(text),
    }
}

/// HTTP dates may carry a fraction (`20:34:56.123 GMT`), which RFC 2822 does not know.
fn parse_http_date(text: &str) -> Option<Timestamp> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    let (whole, fraction_us) = match text.split_once('.') {
        None => (text.to_owned(), 0),
        Some((before, after)) => {
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            (format!("{before}{}", &after[digits..]), fraction_us(&after[..digits])?)
        }
    };
    let moment = PARSER.parse_timestamp(&whole).ok()?;
    Some(Timestamp::from_unix_us(moment.as_microsecond() + fraction_us))
}

fn parse_seconds(text: &str) -> Option<Timestamp> {
    if text.contains(['e', 'E']) {
        return from_seconds(super::scalar::parse_double(text)?);
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    if whole.is_empty() || !whole.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let us = whole.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(fraction_us(fraction)?)?;
    Some(Timestamp::from_unix_us(if negative { -us } else { us }))
}

/// Microseconds of the digits after the point; what is finer is cut off.
fn fraction_us(digits: &str) -> Option<i64> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    format!("{digits:0<6}")[..6].parse().ok()
}

/// The moment `seconds` after 1970; `None` when that is not a number or does not fit.
pub(super) fn from_seconds(seconds: f64) -> Option<Timestamp> {
    let us = (seconds * 1e6).round();
    (us.abs() < 9.2e18).then_some(Timestamp::from_unix_us(us as i64))
}

fn from_jiff(moment: jiff::Timestamp) -> Timestamp {
    Timestamp::from_unix_us(moment.as_microsecond())
}

/// The text form. Fractions are written only where there are any; HTTP dates have none.
pub(super) fn format(format: TimestampFormat, moment: Timestamp) -> String {
    if format == TimestampFormat::UnixTimestamp {
        return seconds(moment);
    }
    // Out of range only for moments that no calendar with four-digit years has.
    let clamped = jiff::Timestamp::from_microsecond(moment.unix_us()).unwrap_or_default();
    match format {
        TimestampFormat::Rfc822 => clamped.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string(),
        _ => clamped.to_string(),
    }
}

fn seconds(moment: Timestamp) -> String {
    let us = moment.unix_us();
    let (sign, us) = (if us < 0 { "-" } else { "" }, us.unsigned_abs());
    match us % 1_000_000 {
        0 => format!("{sign}{}", us / 1_000_000),
        fraction => format!("{sign}{}.{fraction:06}", us / 1_000_000).trim_end_matches('0').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TimestampFormat::{Iso8601, Rfc822, UnixTimestamp};

    #[test]
    fn w19_each_format_reads_what_it_writes() {
        for (kind, text, us) in [
            (Iso8601, "2014-04-29T18:30:38Z", 1_398_796_238_000_000),
            (Iso8601, "2000-01-02T20:34:56.123Z", 946_845_296_123_000),
            (Rfc822, "Tue, 29 Apr 2014 18:30:38 GMT", 1_398_796_238_000_000),
            (UnixTimestamp, "1398796238", 1_398_796_238_000_000),
            (UnixTimestamp, "-1.5", -1_500_000),
            (UnixTimestamp, "0.000001", 1),
        ] {
            let moment = Timestamp::from_unix_us(us);
            assert_eq!(parse(kind, text), Some(moment), "{text}");
            assert_eq!(format(kind, moment), text);
        }
    }

    #[test]
    fn w19_other_spellings_are_read() {
        let moment = Timestamp::from_unix_s(1_576_540_098);
        assert_eq!(parse(Iso8601, "2019-12-17T00:48:18+01:00"), Some(moment));
        assert_eq!(parse(UnixTimestamp, "1.576540098E9"), Some(moment));
        let fraction = Timestamp::from_unix_us(946_845_296_456_000);
        assert_eq!(parse(Rfc822, "Sun, 02 Jan 2000 20:34:56.456 GMT"), Some(fraction));
    }

    #[test]
    fn malformed_moments_are_refused() {
        for (kind, text) in [
            (Iso8601, "2014-04-29"),
            (Iso8601, "2014-13-29T18:30:38Z"),
            (Rfc822, "yesterday"),
            (Rfc822, "Tue, 29 Apr 2014.x"),
            (UnixTimestamp, ""),
            (UnixTimestamp, "1.x"),
            (UnixTimestamp, "NaN"),
            (UnixTimestamp, "1e99"),
            (UnixTimestamp, "99999999999999999999"),
        ] {
            assert_eq!(parse(kind, text), None, "{text}");
        }
    }
}
