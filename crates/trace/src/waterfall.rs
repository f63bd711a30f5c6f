//! A trace as a picture for the terminal: the tree of spans, a bar on the time axis for each, durations, costs.
//!
//! ```text
//!   trace 1-65…-…   4 spans   182.3 ms   $0.00000042
//!   Invoke            ████████████████████████  182.3 ms  $0.00000042
//!   ├─ sandbox start  █████                      38.0 ms
//!   │  └─ mounts       ██                        12.5 ms
//!   └─ handler               █████████████       98.0 ms              ! boom
//! ```

mod tree;

use std::time::Duration;

use sys::Timestamp;

use self::tree::{Orphan, Row};
use crate::{Span, limits};

/// Narrowest picture, in columns.
const WIDTH_MIN: usize = 60;
/// Columns of a duration.
const DURATION_WIDTH: usize = 9;
/// Columns of a cost.
const COST_WIDTH: usize = 12;

/// Draws the spans of one trace, `width` columns wide (at least 60), with ANSI colours if `color`. Notes (errors,
/// clock skew, a parent that was not recorded) follow a row and may pass the width. Any spans draw: orphans and
/// cycles become roots, and times that run backwards are drawn as they are and noted.
pub fn waterfall(spans: &[Span], width: usize, color: bool) -> String {
    let Some(first) = spans.first() else { return "no spans\n".to_owned() };
    let rows = tree::rows(spans, limits::ROWS_MAX);
    let paint = Paint { color };
    let axis = Axis::of(spans);
    let costs = spans.iter().any(|span| span.cost_usd().is_some());
    let fixed = DURATION_WIDTH + 4 + if costs { COST_WIDTH } else { 0 };
    let free = width.max(WIDTH_MIN) - fixed;
    let longest = rows.iter().map(Row::label_width).max().unwrap_or(0);
    let label_width = longest.min(free / 2);
    let bar_width = free - label_width;
    let mut picture = headline(first, spans, &axis, costs, &paint);
    for row in &rows {
        picture.push_str(&line(row, &axis, label_width, bar_width, costs, &paint));
    }
    if spans.len() > rows.len() {
        picture.push_str(&format!("… and {} more spans\n", spans.len() - rows.len()));
    }
    picture
}

fn headline(first: &Span, spans: &[Span], axis: &Axis, costs: bool, paint: &Paint) -> String {
    let count = if spans.len() == 1 { "1 span".to_owned() } else { format!("{} spans", spans.len()) };
    let mut headline = format!("trace {}   {count}   {}", first.trace_id, duration(axis.length()));
    if costs {
        let total: f64 = spans.iter().filter_map(Span::cost_usd).sum();
        headline.push_str(&format!("   {}", cost(total)));
    }
    format!("{}\n", paint.bold(&headline))
}

fn line(row: &Row<'_>, axis: &Axis, label_width: usize, bar_width: usize, costs: bool, paint: &Paint) -> String {
    let (guides, name) = row.label(label_width);
    let padding = " ".repeat(label_width - guides.chars().count() - name.chars().count());
    let (before, filled, after) = axis.bar(row.span, bar_width);
    let failed = row.span.error.is_some();
    let glyph = if row.span.duration().is_zero() { "▏" } else { "█" };
    let bar = paint.bar(&glyph.repeat(filled), failed);
    let mut line = format!("{}{name}{padding}  ", paint.dim(&guides));
    line.push_str(&format!("{}{bar}{}", " ".repeat(before), " ".repeat(after)));
    line.push_str(&format!("  {:>DURATION_WIDTH$}", duration(row.span.duration())));
    if costs {
        line.push_str(&format!("{:>COST_WIDTH$}", row.span.cost_usd().map(cost).unwrap_or_default()));
    }
    for note in notes(row) {
        line.push_str(&format!("  {}", paint.note(&note, failed)));
    }
    format!("{}\n", line.trim_end())
}

/// What a reader must know about a row beside its bar.
fn notes(row: &Row<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(error) = &row.span.error {
        notes.push(format!("! {}", printable(error.lines().next().unwrap_or_default())));
    }
    if let (Some(orphan), Some(parent)) = (row.orphan, &row.span.parent) {
        notes.push(match orphan {
            Orphan::Missing => format!("(parent {parent} is not in this trace)"),
            Orphan::Cycle => format!("(parent {parent} hangs under this span)"),
        });
    }
    if row.span.end < row.span.start {
        let back = row.span.start.since(row.span.end);
        notes.push(format!("(clock skew: ends {} before it starts)", duration(back)));
    }
    if let Some(parent) = row.parent
        && row.span.start < parent.start
    {
        let early = parent.start.since(row.span.start);
        notes.push(format!("(clock skew: starts {} before its parent)", duration(early)));
    }
    notes
}

/// From the first to the last moment of a trace.
struct Axis {
    first_us: i64,
    last_us: i64,
}

impl Axis {
    fn of(spans: &[Span]) -> Self {
        let times = || spans.iter().flat_map(|span| [span.start.unix_us(), span.end.unix_us()]);
        Self { first_us: times().min().unwrap_or(0), last_us: times().max().unwrap_or(0) }
    }

    fn length(&self) -> Duration {
        Timestamp::from_unix_us(self.last_us).since(Timestamp::from_unix_us(self.first_us))
    }

    /// Columns before, in and after the bar of `span`. Every bar has at least one column.
    fn bar(&self, span: &Span, width: usize) -> (usize, usize, usize) {
        let start = self.column(span.start.unix_us(), width).min(width - 1);
        let end = self.column(span.end.unix_us(), width).max(start + 1);
        (start, end - start, width - end)
    }

    fn column(&self, at_us: i64, width: usize) -> usize {
        let length = i128::from(self.last_us) - i128::from(self.first_us);
        let offset = i128::from(at_us) - i128::from(self.first_us);
        let column = (offset * width as i128 + length / 2).checked_div(length).unwrap_or(0);
        usize::try_from(column).unwrap_or(0).min(width)
    }
}

/// A duration in at most nine columns: `850 µs`, `182.3 ms`, `1.25 s`, `2 m 05 s`.
fn duration(duration: Duration) -> String {
    let us = duration.as_micros();
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        1_000_000..60_000_000 => format!("{:.2} s", us as f64 / 1e6),
        _ => format!("{} m {:02} s", us / 60_000_000, us / 1_000_000 % 60),
    }
}

fn cost(usd: f64) -> String {
    format!("${usd:.8}")
}

/// `text` without characters that could steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

/// ANSI colours, or none.
struct Paint {
    color: bool,
}

impl Paint {
    fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn bar(&self, text: &str, failed: bool) -> String {
        self.paint(if failed { "31" } else { "36" }, text)
    }

    fn note(&self, text: &str, failed: bool) -> String {
        self.paint(if failed { "31" } else { "33" }, text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color && !text.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests;
