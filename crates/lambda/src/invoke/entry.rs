//! The program that an environment begins with: the runtime's, or the user's own script around it.
//!
//! `AWS_LAMBDA_EXEC_WRAPPER` names a script of the package or of a layer that is executed in the runtime's place; its arguments are the
//! runtime's whole command, which it ends with (`exec "$@"`). Only managed runtimes know it: what a package brings itself
//! (`provided.*`) is started as it is. Everything runs inside the sandbox, where the runtime would.
//! Source: Lambda developer guide, "Modifying the runtime environment", "Using wrapper scripts".

use crate::FunctionVersion;
use crate::runtimes::{LaunchPlan, Protocol};

/// The name of the variable.
const SCRIPT: &str = "AWS_LAMBDA_EXEC_WRAPPER";

/// What AWS's runtimes do with the variable: statuses and texts are theirs. The shell also runs scripts without a first
/// line that names their interpreter.
const START: &str = r#"script="$AWS_LAMBDA_EXEC_WRAPPER"
if [ ! -f "$script" ]; then echo "$script: does not exist"; exit 127; fi
if [ ! -x "$script" ]; then echo "$script: is not an executable"; exit 126; fi
exec "$script" "$@""#;

/// Program and arguments that `function` begins with.
pub(super) fn argv(function: &FunctionVersion, plan: &LaunchPlan) -> Vec<String> {
    if !begins_with_script(function, plan) {
        return plan.argv.clone();
    }
    let shell = ["/bin/sh", "-c", START, "bootstrap"].map(str::to_owned);
    shell.into_iter().chain(plan.argv.iter().cloned()).collect()
}

/// How what `function` begins with is talked to: a script may end with the runtime's command, or with any other. Frames are for
/// one event at a time: our bootstraps, too, ask for events that run side by side.
pub(super) fn protocol(function: &FunctionVersion, plan: &LaunchPlan) -> Protocol {
    match (function.managed, begins_with_script(function, plan)) {
        (Some(_), _) => Protocol::RuntimeApi,
        (None, true) => Protocol::Either,
        (None, false) => plan.protocol,
    }
}

fn begins_with_script(function: &FunctionVersion, plan: &LaunchPlan) -> bool {
    plan.protocol == Protocol::Frames && function.environment.0.get(SCRIPT).is_some_and(|script| !script.is_empty())
}
