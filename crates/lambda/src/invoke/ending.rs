//! How an invocation ended, and what the caller and the log read about it (fault tests D1–D5; L6, L8, L9).

use std::time::Duration;

use bytes::Bytes;
use sandbox::Exit;
use serde_json::json;
use sys::Timestamp;

use super::InvokeError;
use super::extensions::{Failure, ShutdownReason};
use super::log_records::iso_time;
use super::report::Status;

/// How the work on an event, or an init phase, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// An answer.
    Response(Bytes),
    /// The handler's error, or the init error, in the runtime's words.
    Error(Bytes),
    /// The answer was too large.
    TooLarge {
        /// What it may be at most, in bytes.
        bytes_max: u64,
    },
    /// Time ran out; the limit that was passed.
    TimedOut(Duration),
    /// The runtime ended.
    Exited(Exit),
    /// The runtime's process could not be started at all.
    NoEntry(String),
    /// An extension failed.
    Extension(Failure),
    /// The runtime broke the protocol.
    Violation(String),
    /// The platform could not go on; why. Nothing of it is the function's fault.
    Platform(String),
}

/// What a caller reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) payload: Bytes,
    pub(crate) failed: bool,
    pub(crate) status: Status,
    /// A line that the platform adds to the log.
    pub(crate) log: Option<String>,
}

impl Ending {
    /// True when the environment can take another event.
    pub(crate) fn leaves_ready(&self) -> bool {
        matches!(self, Self::Response(_) | Self::Error(_))
    }

    /// AWS's error type; `None` for an answer.
    pub(crate) fn error_type(&self) -> Option<String> {
        let error_type = match self {
            Self::Response(_) => return None,
            Self::Error(json) => return Some(type_of(json)),
            Self::TooLarge { .. } => "Function.ResponseSizeTooLarge",
            Self::TimedOut(_) => "Sandbox.Timedout",
            Self::Exited(_) => "Runtime.ExitError",
            Self::NoEntry(_) => "Runtime.InvalidEntrypoint",
            Self::Extension(failure) => failure.error_type(),
            Self::Violation(_) => "Runtime.ProtocolError",
            Self::Platform(_) => "Sandbox.Failure",
        };
        Some(error_type.to_owned())
    }

    /// Why the platform could not run the function, where that is how it ended.
    pub(crate) fn refusal(&self) -> Option<InvokeError> {
        match self {
            Self::Platform(cause) => Some(InvokeError::Unavailable { cause: cause.clone() }),
            _ => None,
        }
    }

    /// What extensions hear of it.
    pub(crate) fn shutdown_reason(&self) -> ShutdownReason {
        match self {
            Self::TimedOut(_) => ShutdownReason::Timeout,
            _ => ShutdownReason::Failure,
        }
    }

    /// The status of an init phase that ended so.
    pub(crate) fn init_status(&self) -> Status {
        match self {
            Self::TimedOut(_) => Status::TimedOut,
            other => other.error_type().map_or(Status::Answered, Status::Failed),
        }
    }

    /// What the caller and the log read.
    pub(crate) fn tell(self, request_id: &str, now: Timestamp) -> Told {
        let error_type = self.error_type();
        let told = |payload: Bytes, failed, status, log| Told { payload, failed, status, log };
        let platform = |message: String, status| {
            let error_type = error_type.clone().unwrap_or_default();
            let text = format!("RequestId: {request_id} Error: {message}");
            let payload = json!({ "errorType": error_type, "errorMessage": text }).to_string();
            told(Bytes::from(payload), true, status, Some(format!("{text}\n{error_type}")))
        };
        let failed = || Status::Failed(error_type.clone().unwrap_or_default());
        match self {
            Self::Response(body) => told(body, false, Status::Answered, None),
            Self::Error(json) => told(json, true, Status::Answered, None),
            Self::TooLarge { bytes_max } => {
                let message =
                    format!("Response payload size exceeded maximum allowed payload size ({bytes_max} bytes).");
                let payload = json!({ "errorType": "Function.ResponseSizeTooLarge", "errorMessage": message });
                told(Bytes::from(payload.to_string()), true, Status::Answered, Some(message))
            }
            Self::TimedOut(limit) => {
                let message = format!("Task timed out after {:.2} seconds", limit.as_secs_f64());
                let line = format!("{} {request_id} {message}", iso_time(now));
                Told { log: Some(line), ..platform(message, Status::TimedOut) }
            }
            Self::Exited(exit) => platform(exit_text(exit), failed()),
            Self::NoEntry(message) => platform(message, failed()),
            Self::Extension(failure) => platform(failure.text, failed()),
            Self::Violation(message) => {
                platform(format!("The runtime does not speak its protocol: {message}"), failed())
            }
            Self::Platform(cause) => platform(format!("The sandbox failed: {cause}"), failed()),
        }
    }
}

/// `errorType` of an error document of a runtime; untrusted, so it is cut and cleaned for the log.
fn type_of(json: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Document {
        #[serde(rename = "errorType")]
        error_type: String,
    }
    let named = serde_json::from_slice::<Document>(json).ok().map(|document| document.error_type);
    let clean = |name: String| name.chars().filter(|c| !c.is_control()).take(128).collect::<String>();
    named.map(clean).filter(|name| !name.is_empty()).unwrap_or_else(|| "Runtime.Unknown".to_owned())
}

/// AWS's words for the end of a runtime.
fn exit_text(exit: Exit) -> String {
    match exit {
        Exit::Code(0) => "Runtime exited without providing a reason".to_owned(),
        other => format!("Runtime exited with error: {}", exit_words(other)),
    }
}

/// The end of a process in words; signal names are those of Go, in which Lambda's agent is written.
pub(crate) fn exit_words(exit: Exit) -> String {
    let signal = |name: &str| format!("signal: {name}");
    match exit {
        Exit::Code(code) => format!("exit status {code}"),
        Exit::OutOfMemory => signal("killed"),
        Exit::Signal(number) => match number {
            1 => signal("hangup"),
            2 => signal("interrupt"),
            3 => signal("quit"),
            4 => signal("illegal instruction"),
            6 => signal("aborted"),
            7 => signal("bus error"),
            8 => signal("floating point exception"),
            9 => signal("killed"),
            11 => signal("segmentation fault"),
            13 => signal("broken pipe"),
            15 => signal("terminated"),
            31 => signal("bad system call"),
            other => signal(&other.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_123);

    fn tell(ending: Ending) -> (serde_json::Value, Told) {
        let told = ending.tell("id", NOW);
        (serde_json::from_slice(&told.payload).expect("JSON"), told)
    }

    #[test]
    fn l8_a_timeout_has_awss_payload_and_line() {
        let (json, told) = tell(Ending::TimedOut(Duration::from_secs(3)));
        assert_eq!(
            json,
            json!({ "errorType": "Sandbox.Timedout", "errorMessage": "RequestId: id Error: Task timed out after 3.00 seconds" })
        );
        assert_eq!(told.log.unwrap(), "2023-11-14T22:13:20.123Z id Task timed out after 3.00 seconds");
        assert_eq!(told.status, Status::TimedOut);
    }

    #[test]
    fn l9_d5_the_end_of_a_process_has_awss_words() {
        for (exit, words) in [
            (Exit::Code(0), "Runtime exited without providing a reason"),
            (Exit::Code(1), "Runtime exited with error: exit status 1"),
            (Exit::Code(129), "Runtime exited with error: exit status 129"),
            (Exit::Signal(9), "Runtime exited with error: signal: killed"),
            (Exit::OutOfMemory, "Runtime exited with error: signal: killed"),
            (Exit::Signal(11), "Runtime exited with error: signal: segmentation fault"),
            (Exit::Signal(64), "Runtime exited with error: signal: 64"),
        ] {
            let (json, told) = tell(Ending::Exited(exit));
            assert_eq!(json["errorType"], "Runtime.ExitError");
            assert_eq!(json["errorMessage"], format!("RequestId: id Error: {words}"));
            assert_eq!(told.log.unwrap(), format!("RequestId: id Error: {words}\nRuntime.ExitError"));
        }
    }

    #[test]
    fn the_failure_of_an_extension_has_its_own_type() {
        use crate::invoke::extensions::FailureKind;
        for (kind, error_type) in [
            (FailureKind::Init, "Extension.InitError"),
            (FailureKind::Exit, "Extension.ExitError"),
            (FailureKind::Crash, "Extension.Crash"),
            (FailureKind::Launch, "Extension.LaunchError"),
        ] {
            let failure = Failure { kind, name: "e".to_owned(), text: "exit code 0".to_owned() };
            let (json, told) = tell(Ending::Extension(failure));
            assert_eq!(json, json!({ "errorType": error_type, "errorMessage": "RequestId: id Error: exit code 0" }));
            assert_eq!(told.status, Status::Failed(error_type.to_owned()));
        }
    }

    #[test]
    fn an_answer_over_the_limit_has_awss_text() {
        let (json, told) = tell(Ending::TooLarge { bytes_max: 6_291_556 });
        assert_eq!(json["errorType"], "Function.ResponseSizeTooLarge");
        assert_eq!(
            json["errorMessage"],
            "Response payload size exceeded maximum allowed payload size (6291556 bytes)."
        );
        assert!(told.failed);
    }

    #[test]
    fn answers_and_handler_errors_pass_byte_for_byte() {
        let body = Bytes::from_static(b" {\"a\" :1} ");
        let told = Ending::Response(body.clone()).tell("id", NOW);
        assert_eq!(told, Told { payload: body.clone(), failed: false, status: Status::Answered, log: None });
        assert!(Ending::Error(body.clone()).tell("id", NOW).failed);
    }

    #[test]
    fn the_error_type_of_a_hostile_document_cannot_break_the_log() {
        for (json, error_type) in [
            (r#"{"errorType":"Runtime.ImportModuleError"}"#.to_owned(), "Runtime.ImportModuleError".to_owned()),
            (r#"{"errorType":"a\nREPORT RequestId"}"#.to_owned(), "aREPORT RequestId".to_owned()),
            (format!(r#"{{"errorType":"{}"}}"#, "x".repeat(10_000)), "x".repeat(128)),
            ("[".repeat(100_000), "Runtime.Unknown".to_owned()),
            (r#"{"errorType":7}"#.to_owned(), "Runtime.Unknown".to_owned()),
        ] {
            assert_eq!(Ending::Error(Bytes::from(json)).error_type(), Some(error_type));
        }
    }
}
