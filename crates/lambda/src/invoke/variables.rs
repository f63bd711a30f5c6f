//! The environment variables of an execution environment (ecosystem.md, section 5.3).

use super::{Credentials, Invoker};
use crate::runtimes::{LaunchPlan, RUNTIME_DIR};
use crate::{FunctionVersion, LogFormat};

/// Where the package is seen inside: `LAMBDA_TASK_ROOT`.
pub(crate) const TASK_ROOT: &str = "/var/task";

/// Where the layers are seen inside.
pub(crate) const LAYERS_ROOT: &str = "/opt";

impl Invoker {
    /// Every variable but the two addresses. Names come once; what the platform needs wins over what the user set
    /// (the control plane refuses reserved names anyway), and the user wins over mere defaults.
    pub(super) fn variables(
        function: &FunctionVersion,
        plan: &LaunchPlan,
        log_stream: &str,
        credentials: &Credentials,
    ) -> Vec<(String, String)> {
        let mut variables = std::collections::BTreeMap::new();
        for (name, value) in defaults() {
            variables.insert(name.to_owned(), value);
        }
        variables.extend(plan.environment.iter().cloned());
        variables.extend(function.environment.0.clone());
        for (name, value) in reserved(function, log_stream, credentials) {
            variables.insert(name.to_owned(), value);
        }
        variables.into_iter().collect()
    }
}

/// What the user may change (Lambda developer guide, "Defined runtime environment variables", the unreserved ones).
fn defaults() -> [(&'static str, String); 6] {
    [
        ("LANG", "en_US.UTF-8".to_owned()),
        ("TZ", ":UTC".to_owned()),
        ("PATH", "/usr/local/bin:/usr/bin:/bin:/opt/bin".to_owned()),
        (
            "LD_LIBRARY_PATH",
            format!("/lib64:/usr/lib64:{RUNTIME_DIR}:{RUNTIME_DIR}/lib:{TASK_ROOT}:{TASK_ROOT}/lib:/opt/lib"),
        ),
        ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR".to_owned()),
        ("AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1:2000".to_owned()),
    ]
}

/// What the user may not change.
fn reserved(function: &FunctionVersion, log_stream: &str, credentials: &Credentials) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("_HANDLER", function.handler.clone()),
        ("LAMBDA_TASK_ROOT", TASK_ROOT.to_owned()),
        ("LAMBDA_RUNTIME_DIR", RUNTIME_DIR.to_owned()),
        ("AWS_LAMBDA_FUNCTION_NAME", function.name.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", function.version.clone()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", function.memory_mb.to_string()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", function.logging.group.clone()),
        ("AWS_LAMBDA_LOG_STREAM_NAME", log_stream.to_owned()),
        (
            "AWS_LAMBDA_INITIALIZATION_TYPE",
            if function.concurrency.provisioned { "provisioned-concurrency" } else { "on-demand" }.to_owned(),
        ),
        ("AWS_EXECUTION_ENV", format!("AWS_Lambda_{}", function.runtime)),
        ("AWS_REGION", function.region.clone()),
        ("AWS_DEFAULT_REGION", function.region.clone()),
        ("AWS_ACCESS_KEY_ID", credentials.access_key_id.clone()),
        ("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key.clone()),
        ("AWS_SESSION_TOKEN", credentials.session_token.clone()),
        ("_TINDERBOX_CHANNEL_FD", "3".to_owned()),
        ("_LAMBDA_TELEMETRY_LOG_FD", "4".to_owned()),
    ];
    let format = match function.logging.format {
        LogFormat::Text => "Text",
        LogFormat::Json => "JSON",
    };
    variables.push(("AWS_LAMBDA_LOG_FORMAT", format.to_owned()));
    if let (LogFormat::Json, Some(level)) = (function.logging.format, &function.logging.application_level) {
        variables.push(("AWS_LAMBDA_LOG_LEVEL", level.clone()));
    }
    variables
}
