//! The environment variables of an execution environment (ecosystem.md, section 5.3).

use super::{Credentials, Invoker, image};
use crate::runtimes::{LaunchPlan, RUNTIME_DIR, TASK_ROOT, USUAL_PATH};
use crate::{FunctionVersion, LogFormat};

/// Where our bootstraps find the channel and the log pipe.
const DESCRIPTORS: [(&str, &str); 2] = [("_TINDERBOX_CHANNEL_FD", "3"), ("_LAMBDA_TELEMETRY_LOG_FD", "4")];

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
        let of_image = function.image.is_some();
        for (name, value) in defaults() {
            variables.insert(name.to_owned(), value);
        }
        if of_image {
            image::change_defaults(&mut variables);
        }
        variables.extend(plan.environment.iter().cloned());
        variables.extend(function.environment.0.clone());
        for (name, value) in reserved(function, log_stream, credentials) {
            if !(of_image && image::is_not_reserved(name)) {
                variables.insert(name.to_owned(), value);
            }
        }
        variables.into_iter().collect()
    }
}

/// The variables that a runtime is started ahead with: those that every function has with the same value.
pub(super) fn of_stem(plan: &LaunchPlan) -> Vec<(String, String)> {
    let mut variables = fixed(plan);
    variables.extend(DESCRIPTORS.map(|(name, value)| (name.to_owned(), value.to_owned())));
    variables
}

fn fixed(plan: &LaunchPlan) -> Vec<(String, String)> {
    let defaults = defaults().map(|(name, value)| (name.to_owned(), value));
    // Each name once: what the runtime needs wins.
    let fixed: std::collections::BTreeMap<_, _> =
        defaults.into_iter().chain(plan.environment.iter().cloned()).collect();
    fixed.into_iter().collect()
}

/// True when one of `variables` only counts at the start of a process, and differs from what every runtime of this plan
/// is started with: such a function cannot be given to a process that runs already.
pub(super) fn counts_at_start(plan: &LaunchPlan, variables: &[(String, String)]) -> bool {
    let fixed = fixed(plan);
    variables.iter().any(|variable| is_read_at_start(&variable.0) && !fixed.contains(variable))
}

/// True when the user has set a variable that an AWS SDK may read when it is loaded: one loaded before would not know it. (botocore 1.43
/// reads `AWS_NEW_RETRIES_2026` and `HOME` then, `@aws-sdk` 3.1175 two that begin with `AWS_LAMBDA_`.)
pub(super) fn counts_for_sdk(function: &FunctionVersion) -> bool {
    function.environment.0.keys().any(|name| name == "HOME" || name.starts_with("AWS_") || name.starts_with("BOTO"))
}

/// Whether only our own bootstraps look at the variable.
pub(super) fn is_descriptor(name: &str) -> bool {
    DESCRIPTORS.iter().any(|(descriptor, _)| *descriptor == name)
}

/// Names that the dynamic linker, the C library, node, OpenSSL or python read once, when they start.
fn is_read_at_start(name: &str) -> bool {
    const FAMILIES: [&str; 11] =
        ["LD_", "NODE_", "PYTHON", "LC_", "MALLOC_", "GLIBC_", "UV_", "SSL_", "OPENSSL_", "GCONV_", "V8_"];
    const NAMES: [&str; 4] = ["LANG", "LANGUAGE", "TZ", "AWS_LAMBDA_EXEC_WRAPPER"];
    NAMES.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family))
}

/// What the user may change (Lambda developer guide, "Defined runtime environment variables", the unreserved ones).
fn defaults() -> [(&'static str, String); 8] {
    [
        ("LANG", "en_US.UTF-8".to_owned()),
        ("TZ", ":UTC".to_owned()),
        ("PATH", USUAL_PATH.to_owned()),
        (
            "LD_LIBRARY_PATH",
            format!("/lib64:/usr/lib64:{RUNTIME_DIR}:{RUNTIME_DIR}/lib:{TASK_ROOT}:{TASK_ROOT}/lib:/opt/lib"),
        ),
        // The platform listens inside; no proxy leads there.
        ("NO_PROXY", "127.0.0.1,localhost,::1".to_owned()),
        ("no_proxy", "127.0.0.1,localhost,::1".to_owned()),
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
        ("AWS_LAMBDA_INITIALIZATION_TYPE", function.initialization_type().to_owned()),
        ("AWS_EXECUTION_ENV", format!("AWS_Lambda_{}", function.runtime)),
        ("AWS_REGION", function.region.clone()),
        ("AWS_DEFAULT_REGION", function.region.clone()),
        ("AWS_ACCESS_KEY_ID", credentials.access_key_id.clone()),
        ("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key.clone()),
        ("AWS_SESSION_TOKEN", credentials.session_token.clone()),
    ];
    variables.extend(DESCRIPTORS.map(|(name, value)| (name, value.to_owned())));
    if let Some(managed) = function.managed {
        variables.push(("AWS_LAMBDA_MAX_CONCURRENCY", managed.slots.to_string()));
    }
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::runtimes::Protocol;

    fn plan() -> LaunchPlan {
        LaunchPlan {
            argv: vec!["/node".to_owned()],
            mounts: vec![(PathBuf::from("/a"), PathBuf::from("/b"))],
            links: Vec::new(),
            environment: vec![("NODE_PATH".to_owned(), "/opt/nodejs".to_owned())],
            protocol: Protocol::Frames,
            generic_argv: None,
            description: String::new(),
        }
    }

    #[test]
    fn what_a_process_reads_at_its_start_needs_a_start() {
        for (name, value, needs) in [
            ("TABLE", "t", false),
            ("PATH", "/opt/bin", false),
            ("AWS_REGION", "eu-west-1", false),
            ("NODE_PATH", "/opt/nodejs", false),
            ("TZ", ":UTC", false),
            ("NODE_PATH", "/elsewhere", true),
            ("TZ", "Europe/Berlin", true),
            ("NODE_OPTIONS", "--enable-source-maps", true),
            ("PYTHONHASHSEED", "0", true),
            ("LD_PRELOAD", "/opt/x.so", true),
            ("AWS_LAMBDA_EXEC_WRAPPER", "/opt/wrap", true),
        ] {
            let variables = [(name.to_owned(), value.to_owned())];
            assert_eq!(counts_at_start(&plan(), &variables), needs, "{name}={value}");
        }
    }

    #[test]
    fn a_stem_starts_with_no_variable_of_any_function() {
        let stem = of_stem(&plan());
        for name in ["_HANDLER", "AWS_ACCESS_KEY_ID", "AWS_REGION", "AWS_LAMBDA_FUNCTION_NAME"] {
            assert!(!stem.iter().any(|(stem_name, _)| stem_name == name), "{name}");
        }
        assert!(stem.contains(&("_TINDERBOX_CHANNEL_FD".to_owned(), "3".to_owned())));
    }
}
