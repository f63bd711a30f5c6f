//! The platform's own log records, as text or as JSON (Lambda developer guide, "System log event messages").

use serde_json::json;
use sys::Timestamp;

use super::extensions::Standing;
use super::report::{Report, Status, milliseconds};
use super::telemetry::{Api, Terms, events};
use crate::{FunctionVersion, LogFormat, Logging};

/// Writes the platform's records of one execution environment.
#[derive(Clone, Debug)]
pub(crate) struct PlatformRecords {
    format: LogFormat,
    /// False when the function's `SystemLogLevel` hides what went well.
    shows_info: bool,
    version: String,
    runtime: String,
    initialization_type: &'static str,
    /// Whom the environment serves, where the function tells tenants apart: JSON records of invocations say it.
    tenant: Option<String>,
}

/// Whose init a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InitPhase {
    /// Before the first invocation.
    Init,
    /// Run again within the first invocation, because the first try went wrong.
    Invoke,
}

impl InitPhase {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Invoke => "invoke",
        }
    }
}

impl PlatformRecords {
    pub(crate) fn new(function: &FunctionVersion, runtime: &str, tenant: Option<String>) -> Self {
        let records = Self::of(&function.logging, &function.version, runtime);
        Self { initialization_type: function.initialization_type(), tenant, ..records }
    }

    fn of(logging: &Logging, version: &str, runtime: &str) -> Self {
        let json = logging.format == LogFormat::Json;
        let shows_info = !(json && logging.system_level.as_deref() == Some("WARN"));
        let (version, runtime) = (version.to_owned(), runtime.to_owned());
        Self { format: logging.format, shows_info, version, runtime, initialization_type: "on-demand", tenant: None }
    }

    /// Adds the tenant to a record about an invocation, where there is one.
    pub(super) fn set_tenant(&self, record: &mut serde_json::Value) {
        if let Some(tenant) = &self.tenant {
            record["tenantId"] = json!(tenant);
        }
    }

    /// What the runtime is called.
    pub(super) fn runtime(&self) -> &str {
        &self.runtime
    }

    pub(crate) fn init_start(&self, now: Timestamp) -> Option<String> {
        self.info(
            || format!("INIT_START Runtime Version: {}", self.runtime),
            || {
                let record = json!({
                    "initializationType": self.initialization_type,
                    "phase": "init",
                    "runtimeVersion": self.runtime,
                    "functionVersion": self.version,
                });
                event(now, "platform.initStart", record)
            },
        )
    }

    /// One extension, after init.
    pub(crate) fn extension(&self, standing: &Standing, now: Timestamp) -> Option<String> {
        let Standing { name, state, events, error_type } = standing;
        // The name is the function's own choice: it must not end the line.
        let name: String = name.chars().filter(|c| !c.is_control()).collect();
        let text = || {
            let error = error_type.as_ref().map(|error_type| format!("\tError Type: {error_type}")).unwrap_or_default();
            format!("EXTENSION\tName: {name}\tState: {state}\tEvents: [{}]{error}", events.join(", "))
        };
        let json = || {
            let mut record = json!({ "name": name, "state": state, "events": events });
            if let Some(error_type) = error_type {
                record["errorType"] = json!(error_type);
            }
            event(now, "platform.extension", record)
        };
        if error_type.is_none() { self.info(text, json) } else { Some(self.always(text, json)) }
    }

    /// A subscription to telemetry, after init.
    pub(super) fn subscription(&self, name: &str, terms: &Terms, now: Timestamp) -> Option<String> {
        let name: String = name.chars().filter(|c| !c.is_control()).collect();
        let (word, kind) = match terms.api {
            Api::Telemetry => ("TELEMETRY", "platform.telemetrySubscription"),
            Api::Logs { .. } => ("LOGS", "platform.logsSubscription"),
        };
        let types: Vec<&str> = terms.kinds.iter().map(|kind| kind.as_str()).collect();
        let text = || format!("{word}\tName: {name}\tState: Subscribed\tTypes: [{}]", types.join(", "));
        let json = || event(now, kind, json!({ "name": name, "state": "Subscribed", "types": types }));
        self.info(text, json)
    }

    pub(crate) fn start(&self, request_id: &str, now: Timestamp) -> Option<String> {
        self.info(
            || format!("START RequestId: {request_id} Version: {}", self.version),
            || {
                let mut record = json!({ "requestId": request_id, "version": self.version });
                self.set_tenant(&mut record);
                event(now, "platform.start", record)
            },
        )
    }

    /// JSON logs have no END record.
    pub(crate) fn end(&self, request_id: &str) -> Option<String> {
        (self.format == LogFormat::Text).then(|| format!("END RequestId: {request_id}"))
    }

    pub(crate) fn report(&self, request_id: &str, report: &Report, now: Timestamp) -> Option<String> {
        let text = || report.line(request_id);
        let json = || {
            let metrics = events::report_metrics(report);
            let mut record = json!({ "requestId": request_id, "metrics": metrics, "status": "success" });
            self.set_tenant(&mut record);
            match &report.status {
                Status::Answered => {}
                Status::TimedOut => record["status"] = json!("timeout"),
                Status::Failed(error_type) => {
                    record["status"] = json!("error");
                    record["errorType"] = json!(error_type);
                }
            }
            event(now, "platform.report", record)
        };
        if report.status == Status::Answered { self.info(text, json) } else { Some(self.always(text, json)) }
    }

    /// An environment that was initialised ahead is about to be used.
    pub(crate) fn restore_start(&self, now: Timestamp) -> Option<String> {
        self.info(
            || format!("RESTORE_START Runtime Version: {}", self.runtime),
            || {
                let record = json!({ "runtimeVersion": self.runtime, "functionVersion": self.version });
                event(now, "platform.restoreStart", record)
            },
        )
    }

    /// What it did before its first event.
    pub(crate) fn restore_report(
        &self,
        restore: std::time::Duration,
        status: &Status,
        now: Timestamp,
    ) -> Option<String> {
        let (word, error_type) = words(status);
        let text = || {
            let ending = match status {
                Status::Answered => String::new(),
                _ => format!("\tStatus: {word}{}", shown_error(error_type)),
            };
            format!("RESTORE_REPORT Restore Duration: {} ms{ending}", milliseconds(restore))
        };
        let json = || {
            let mut record = json!({ "status": word, "metrics": { "durationMs": events::ms(restore) } });
            if let Some(error_type) = error_type {
                record["errorType"] = json!(error_type);
            }
            event(now, "platform.restoreReport", record)
        };
        if *status == Status::Answered { self.info(text, json) } else { Some(self.always(text, json)) }
    }

    /// An init phase: one that did not end well, or one that ended before anybody waited for it.
    pub(crate) fn init_report(
        &self,
        phase: InitPhase,
        init: std::time::Duration,
        status: &Status,
        now: Timestamp,
    ) -> String {
        let (word, error_type) = words(status);
        self.always(
            || {
                let error = shown_error(error_type);
                let duration = milliseconds(init);
                format!("INIT_REPORT Init Duration: {duration} ms\tPhase: {}\tStatus: {word}{error}", phase.as_str())
            },
            || {
                let mut record = json!({
                    "initializationType": self.initialization_type,
                    "phase": phase.as_str(),
                    "status": word,
                    "metrics": { "durationMs": (init.as_secs_f64() * 1e5).round() / 1e2 },
                });
                if let Some(error_type) = error_type {
                    record["errorType"] = json!(error_type);
                }
                event(now, "platform.initReport", record)
            },
        )
    }

    /// Something that went wrong, in the platform's words.
    pub(crate) fn fault(&self, message: &str, now: Timestamp) -> String {
        self.always(|| message.to_owned(), || event(now, "platform.fault", json!(message)))
    }

    /// The function wrote more than it may.
    pub(crate) fn logs_dropped(&self, records: u64, bytes: u64, now: Timestamp) -> String {
        let reason = "The execution environment wrote more log than it may";
        self.always(
            || format!("LOGS_DROPPED Records: {records}\tBytes: {bytes}\tReason: {reason}"),
            || {
                let record = json!({ "droppedBytes": bytes, "droppedRecords": records, "reason": reason });
                event(now, "platform.logsDropped", record)
            },
        )
    }

    fn info(&self, text: impl FnOnce() -> String, json: impl FnOnce() -> String) -> Option<String> {
        self.shows_info.then(|| self.always(text, json))
    }

    fn always(&self, text: impl FnOnce() -> String, json: impl FnOnce() -> String) -> String {
        match self.format {
            LogFormat::Text => text(),
            LogFormat::Json => json(),
        }
    }
}

/// AWS's word for a status, and the error type behind it.
fn words(status: &Status) -> (&'static str, Option<&str>) {
    match status {
        Status::Answered => ("success", None),
        Status::TimedOut => ("timeout", None),
        Status::Failed(error_type) => ("error", Some(error_type)),
    }
}

fn shown_error(error_type: Option<&str>) -> String {
    error_type.map(|error_type| format!("\tError Type: {error_type}")).unwrap_or_default()
}

fn event(now: Timestamp, kind: &str, record: serde_json::Value) -> String {
    json!({ "time": iso_time(now), "type": kind, "record": record }).to_string()
}

/// `2026-11-23T09:30:00.123Z`
pub(crate) fn iso_time(time: Timestamp) -> String {
    format_time(time, "%Y-%m-%dT%H:%M:%S%.3fZ")
}

/// `2026/11/23`, the first part of a log stream's name.
pub(crate) fn stream_date(time: Timestamp) -> String {
    format_time(time, "%Y/%m/%d")
}

fn format_time(time: Timestamp, format: &str) -> String {
    jiff::Timestamp::from_millisecond(time.unix_ms()).unwrap_or_default().strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::invoke::report::{Measured, PriceTable};

    fn records(format: LogFormat, system_level: Option<&str>) -> PlatformRecords {
        let logging = Logging {
            group: "/aws/lambda/f".to_owned(),
            format,
            application_level: None,
            system_level: system_level.map(str::to_owned),
        };
        PlatformRecords::of(&logging, "$LATEST", "node 24.1.0")
    }

    fn report(status: Status) -> Report {
        let measured = Measured {
            duration: Duration::from_micros(1_234),
            init: Some(Duration::from_millis(50)),
            restore: None,
            cold: None,
            memory_peak_bytes: 1 << 20,
            memory_mb: 128,
            slots: 1,
            status,
        };
        measured.bill(&PriceTable::default())
    }

    const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_123);

    #[test]
    fn text_records_have_the_form_that_tools_parse() {
        let text = records(LogFormat::Text, Some("WARN"));
        assert_eq!(text.init_start(NOW).unwrap(), "INIT_START Runtime Version: node 24.1.0");
        assert_eq!(text.start("id", NOW).unwrap(), "START RequestId: id Version: $LATEST");
        assert_eq!(text.end("id").unwrap(), "END RequestId: id");
        assert_eq!(
            text.init_report(InitPhase::Init, Duration::from_millis(10_000), &Status::TimedOut, NOW),
            "INIT_REPORT Init Duration: 10000.00 ms\tPhase: init\tStatus: timeout"
        );
        let failed = Status::Failed("Runtime.ExitError".to_owned());
        assert_eq!(
            text.init_report(InitPhase::Invoke, Duration::from_millis(7), &failed, NOW),
            "INIT_REPORT Init Duration: 7.00 ms\tPhase: invoke\tStatus: error\tError Type: Runtime.ExitError"
        );
    }

    #[test]
    fn a_restore_has_records_of_its_own() {
        let (text, json) = (records(LogFormat::Text, None), records(LogFormat::Json, Some("WARN")));
        assert_eq!(text.restore_start(NOW).unwrap(), "RESTORE_START Runtime Version: node 24.1.0");
        let took = Duration::from_micros(1_234);
        let report = text.restore_report(took, &Status::Answered, NOW).unwrap();
        assert_eq!(report, "RESTORE_REPORT Restore Duration: 1.23 ms");
        assert_eq!(json.restore_report(took, &Status::Answered, NOW), None);
        let failed = Status::Failed("HookError".to_owned());
        let report = text.restore_report(took, &failed, NOW).unwrap();
        assert_eq!(report, "RESTORE_REPORT Restore Duration: 1.23 ms\tStatus: error\tError Type: HookError");
        let line = json.restore_report(took, &failed, NOW).unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["type"], &line["record"]["status"]), (&json!("platform.restoreReport"), &json!("error")));
    }

    #[test]
    fn json_records_are_one_object_with_time_type_and_record() {
        let json = records(LogFormat::Json, None);
        let start: serde_json::Value = serde_json::from_str(&json.start("id", NOW).unwrap()).unwrap();
        assert_eq!(start["time"], "2023-11-14T22:13:20.123Z");
        assert_eq!((&start["type"], &start["record"]["requestId"]), (&json!("platform.start"), &json!("id")));
        let line = json.report("id", &report(Status::TimedOut), NOW).unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["record"]["status"], "timeout");
        assert_eq!(line["record"]["metrics"]["durationMs"], 1.23);
        assert_eq!(line["record"]["metrics"]["initDurationMs"], 50.0);
        assert_eq!(json.end("id"), None);
    }

    #[test]
    fn the_level_warn_hides_what_went_well_and_shows_what_did_not() {
        let quiet = records(LogFormat::Json, Some("WARN"));
        assert_eq!(quiet.start("id", NOW), None);
        assert_eq!(quiet.report("id", &report(Status::Answered), NOW), None);
        assert!(quiet.report("id", &report(Status::TimedOut), NOW).is_some());
    }

    #[test]
    fn an_extension_has_a_record_of_its_own_and_cannot_forge_another() {
        let ready = Standing {
            name: "a\nSTART RequestId".to_owned(),
            state: "Ready",
            events: vec!["INVOKE", "SHUTDOWN"],
            error_type: None,
        };
        let text = records(LogFormat::Text, None);
        assert_eq!(
            text.extension(&ready, NOW).unwrap(),
            "EXTENSION\tName: aSTART RequestId\tState: Ready\tEvents: [INVOKE, SHUTDOWN]"
        );
        let failed = Standing { state: "InitError", error_type: Some("Fatal.X".to_owned()), ..ready.clone() };
        let quiet = records(LogFormat::Json, Some("WARN"));
        assert_eq!(quiet.extension(&ready, NOW), None);
        let line: serde_json::Value = serde_json::from_str(&quiet.extension(&failed, NOW).unwrap()).unwrap();
        assert_eq!((&line["type"], &line["record"]["errorType"]), (&json!("platform.extension"), &json!("Fatal.X")));
    }

    #[test]
    fn the_stream_date_has_slashes() {
        assert_eq!(stream_date(NOW), "2023/11/14");
    }
}
