//! The platform's events for subscribers (Lambda developer guide, "Lambda Telemetry API Event schema reference").

use std::time::Duration;

use serde_json::{Value, json};
use sys::Timestamp;

use super::{Api, Event, Kind, Terms};
use crate::invoke::extensions::Standing;
use crate::invoke::log_records::{InitPhase, iso_time};
use crate::invoke::report::{Report, Status};

/// What init events say in common.
#[derive(Clone, Copy, Debug)]
pub(in crate::invoke) struct Init<'a> {
    pub(in crate::invoke) initialization_type: &'a str,
    pub(in crate::invoke) phase: InitPhase,
}

fn platform(name: &'static str, record: Value) -> Event {
    Event { kind: Kind::Platform, name, record }
}

/// Milliseconds with two decimals, as a number.
pub(in crate::invoke) fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 1e2
}

fn set_status(record: &mut Value, status: &Status) {
    let (word, error_type) = match status {
        Status::Answered => ("success", None),
        Status::TimedOut => ("timeout", None),
        Status::Failed(error_type) => ("error", Some(error_type)),
    };
    record["status"] = json!(word);
    if let Some(error_type) = error_type {
        record["errorType"] = json!(error_type);
    }
}

fn tracing(trace_header: &str) -> Value {
    json!({ "type": "X-Amzn-Trace-Id", "value": trace_header })
}

pub(in crate::invoke) fn init_start(init: Init<'_>, facts: Value) -> Event {
    let mut record = facts;
    record["initializationType"] = json!(init.initialization_type);
    record["phase"] = json!(init.phase.as_str());
    platform("platform.initStart", record)
}

pub(in crate::invoke) fn init_runtime_done(init: Init<'_>, status: &Status) -> Event {
    let mut record = json!({ "initializationType": init.initialization_type, "phase": init.phase.as_str() });
    set_status(&mut record, status);
    platform("platform.initRuntimeDone", record)
}

pub(in crate::invoke) fn init_report(init: Init<'_>, status: &Status, lasted: Duration) -> Event {
    let mut record = json!({
        "initializationType": init.initialization_type,
        "phase": init.phase.as_str(),
        "metrics": { "durationMs": ms(lasted) },
    });
    set_status(&mut record, status);
    platform("platform.initReport", record)
}

pub(in crate::invoke) fn restore_start(facts: Value) -> Event {
    platform("platform.restoreStart", facts)
}

pub(in crate::invoke) fn restore_runtime_done(status: &Status) -> Event {
    let mut record = json!({});
    set_status(&mut record, status);
    platform("platform.restoreRuntimeDone", record)
}

pub(in crate::invoke) fn restore_report(status: &Status, lasted: Duration) -> Event {
    let mut record = json!({ "metrics": { "durationMs": ms(lasted) } });
    set_status(&mut record, status);
    platform("platform.restoreReport", record)
}

pub(in crate::invoke) fn extension(standing: &Standing) -> Event {
    let mut record = json!({ "name": standing.name, "state": standing.state, "events": standing.events });
    if let Some(error_type) = &standing.error_type {
        record["errorType"] = json!(error_type);
    }
    platform("platform.extension", record)
}

pub(super) fn subscription(name: &str, terms: &Terms) -> Event {
    let types: Vec<_> = terms.kinds.iter().map(|kind| kind.as_str()).collect();
    let event = match terms.api {
        Api::Telemetry => "platform.telemetrySubscription",
        Api::Logs { .. } => "platform.logsSubscription",
    };
    platform(event, json!({ "name": name, "state": "Subscribed", "types": types }))
}

pub(in crate::invoke) fn start(request_id: &str, version: &str, trace_header: &str) -> Event {
    let record = json!({ "requestId": request_id, "version": version, "tracing": tracing(trace_header) });
    platform("platform.start", record)
}

pub(in crate::invoke) fn runtime_done(
    request_id: &str,
    status: &Status,
    lasted: Duration,
    produced_bytes: usize,
    trace_header: &str,
) -> Event {
    let mut record = json!({
        "requestId": request_id,
        "metrics": { "durationMs": ms(lasted), "producedBytes": produced_bytes },
        "tracing": tracing(trace_header),
    });
    set_status(&mut record, status);
    platform("platform.runtimeDone", record)
}

/// The end of an invocation, for the Logs API.
pub(in crate::invoke) fn end(request_id: &str) -> Event {
    platform("platform.end", json!({ "requestId": request_id }))
}

/// Something that went wrong, in the platform's words, for the Logs API.
pub(in crate::invoke) fn fault(message: &str) -> Event {
    platform("platform.fault", json!(message))
}

/// `overhead` is the time that extensions took after the answer, and when it began.
pub(in crate::invoke) fn report(
    request_id: &str,
    report: &Report,
    overhead: Option<(Timestamp, Duration)>,
    trace_header: &str,
) -> Event {
    let mut record = json!({
        "requestId": request_id,
        "metrics": report_metrics(report),
        "tracing": tracing(trace_header),
    });
    if let Some((began, lasted)) = overhead {
        record["spans"] = json!([{ "name": "extensionOverhead", "start": iso_time(began), "durationMs": ms(lasted) }]);
    }
    set_status(&mut record, &report.status);
    platform("platform.report", record)
}

/// What an invocation used, as the log's JSON form and the event show it.
pub(in crate::invoke) fn report_metrics(report: &Report) -> Value {
    let mut metrics = json!({
        "durationMs": ms(report.duration),
        "billedDurationMs": report.billed_ms,
        "memorySizeMB": report.memory_mb,
        "maxMemoryUsedMB": report.max_memory_mb,
    });
    if let Some(init) = report.init {
        metrics["initDurationMs"] = json!(ms(init));
    }
    if let Some(restore) = report.restore {
        metrics["restoreDurationMs"] = json!(ms(restore.duration));
        metrics["billedRestoreDurationMs"] = json!(restore.billed_ms());
    }
    metrics
}

/// A record of the function or of an extension. One that is JSON stays JSON where `structured`.
pub(in crate::invoke) fn line(kind: Kind, message: &str, structured: bool) -> Event {
    let parsed = structured.then(|| serde_json::from_str::<serde_json::Map<String, Value>>(message).ok()).flatten();
    let record = parsed.map_or_else(|| json!(message), Value::Object);
    Event { kind, name: kind.as_str(), record }
}
