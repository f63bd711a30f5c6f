use wire::{SpanId, TraceId};

use super::*;
use crate::{Attribute, COST_USD};

/// A span of the test trace: id and parent are small numbers, times are microseconds from its start.
fn span(id: u64, parent: Option<u64>, name: &str, start_us: i64, end_us: i64) -> Span {
    let id_of = |id: u64| SpanId::parse(&format!("{id:016x}")).unwrap();
    let at = |us: i64| Timestamp::from_unix_us(1_700_000_000_000_000 + us);
    Span {
        trace_id: TraceId::parse("1-6553f100-000000000000000000000001").unwrap(),
        span_id: id_of(id),
        parent: parent.map(id_of),
        name: name.to_owned().into(),
        start: at(start_us),
        end: at(end_us),
        attributes: Vec::new(),
        error: None,
    }
}

fn costing(mut span: Span, usd: f64) -> Span {
    span.attributes.push((COST_USD.into(), Attribute::Double(usd)));
    span
}

fn failing(mut span: Span, error: &str) -> Span {
    span.error = Some(error.to_owned());
    span
}

fn cold_invoke() -> Vec<Span> {
    vec![
        costing(span(1, None, "POST /2015-03-31/functions/f/invocations", 0, 182_300), 4.2e-7),
        span(2, Some(1), "admission", 300, 420),
        span(3, Some(1), "sandbox start", 500, 38_500),
        span(4, Some(3), "mounts", 1_000, 13_500),
        span(5, Some(3), "cgroup", 13_500, 14_100),
        span(6, Some(1), "runtime init", 38_500, 81_000),
        span(7, Some(1), "user init", 81_000, 99_250),
        costing(failing(span(8, Some(1), "handler", 99_300, 181_900), "Error: boom\n  at f.js:1"), 1.05e-6),
    ]
}

#[test]
fn a_cold_invoke_draws_as_a_tree_with_bars_durations_costs_and_errors() {
    insta::assert_snapshot!(waterfall(&cold_invoke(), 110, false));
}

#[test]
fn the_order_of_recording_does_not_matter() {
    let mut shuffled = cold_invoke();
    shuffled.reverse();
    assert_eq!(waterfall(&shuffled, 110, false), waterfall(&cold_invoke(), 110, false));
}

#[test]
fn colours_mark_bars_guides_and_errors_and_nothing_else_changes() {
    let colored = waterfall(&cold_invoke()[..4], 80, true);
    insta::assert_snapshot!(colored.replace('\u{1b}', "␛"));
    let codes = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[2m", "\u{1b}[31m", "\u{1b}[33m", "\u{1b}[36m"];
    let stripped = codes.iter().fold(colored, |text, code| text.replace(code, ""));
    assert_eq!(stripped, waterfall(&cold_invoke()[..4], 80, false));
}

#[test]
fn a_one_span_trace_draws_well_also_without_any_duration() {
    insta::assert_snapshot!("one_span", waterfall(&[span(1, None, "Invoke", 0, 1_250_000)], 70, false));
    insta::assert_snapshot!("one_moment", waterfall(&[span(1, None, "Invoke", 0, 0)], 70, false));
    assert_eq!(waterfall(&[], 70, false), "no spans\n");
}

#[test]
fn orphans_stand_at_the_root_and_say_so() {
    let spans = [
        span(1, Some(99), "Invoke", 0, 10_000),
        span(2, Some(1), "handler", 1_000, 9_000),
        span(3, Some(98), "late write", 9_500, 12_000),
    ];
    insta::assert_snapshot!(waterfall(&spans, 90, false));
}

#[test]
fn clock_skew_is_drawn_and_noted() {
    let spans = [
        span(1, None, "Invoke", 0, 10_000),
        span(2, Some(1), "other node", -3_000, 4_000),
        span(3, Some(1), "backwards", 8_000, 6_000),
    ];
    insta::assert_snapshot!(waterfall(&spans, 90, false));
}

#[test]
fn cycles_and_spans_that_are_their_own_parent_are_drawn_once() {
    let spans = [
        span(1, Some(2), "a", 0, 10),
        span(2, Some(1), "b", 1, 9),
        span(3, Some(3), "self", 2, 8),
        span(3, Some(1), "same id", 3, 8),
    ];
    insta::assert_snapshot!(waterfall(&spans, 90, false));
}

#[test]
fn long_names_are_cut_deep_trees_stay_readable_and_long_traces_end_with_a_count() {
    let mut spans: Vec<Span> = (1..=30).map(|id| span(id, id.checked_sub(1), "deeper", 0, 1_000)).collect();
    spans[0].parent = None;
    spans[29].name = "x".repeat(300).into();
    insta::assert_snapshot!(waterfall(&spans, 90, false));
    let many: Vec<Span> = (1..=1_000).map(|id| span(id, None, "n", 0, 1)).collect();
    let picture = waterfall(&many, 90, false);
    assert_eq!(picture.lines().count(), limits::ROWS_MAX + 2);
    assert!(picture.ends_with("… and 500 more spans\n"));
}

#[test]
fn names_and_errors_cannot_steer_the_terminal() {
    let evil = failing(span(1, None, "\u{1b}[2Jname\n", 0, 10), "\u{1b}]0;title\u{7}");
    assert!(!waterfall(&[evil], 80, false).contains(['\u{1b}', '\u{7}']));
}

#[test]
fn any_times_and_any_width_draw() {
    for (start, end) in [(i64::MIN / 2, i64::MAX / 2), (0, 0), (10, -10)] {
        for width in [0, 1, 59, 60, 61, 500] {
            let picture = waterfall(&[span(1, None, "n", start, end), span(2, Some(1), "m", 0, 5)], width, false);
            assert_eq!(picture.lines().count(), 3, "{start} {end} {width}");
        }
    }
}

#[test]
fn durations_fit_their_column() {
    for (us, text) in [
        (0, "0 µs"),
        (999, "999 µs"),
        (1_000, "1.0 ms"),
        (999_949, "999.9 ms"),
        (1_250_000, "1.25 s"),
        (59_990_000, "59.99 s"),
        (125_000_000, "2 m 05 s"),
    ] {
        assert_eq!(duration(Duration::from_micros(us)), text);
        assert!(text.chars().count() <= DURATION_WIDTH);
    }
}
