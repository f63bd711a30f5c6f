//! A function version as the data plane sees it: everything an execution environment is made from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wire::AccountId;

/// The name of the version that can still be changed.
pub const LATEST: &str = "$LATEST";

/// One version of one function. The control plane makes it from its records; the data plane never reads records.
///
/// Two values with the same [`FunctionVersion::environment_key`] may share an execution environment, for the same tenant (L12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionVersion {
    /// The account that owns the function.
    pub account: AccountId,
    /// The region that the function lives in.
    pub region: String,
    /// The function's name: 1–64 characters of `[a-zA-Z0-9-_]`.
    pub name: String,
    /// Unqualified ARN, `arn:aws:lambda:REGION:ACCOUNT:function:NAME`.
    pub arn: String,
    /// [`LATEST`], or a published number.
    pub version: String,
    /// UUID that changes with every change of code or configuration.
    pub revision_id: String,
    /// ARN of the role that it runs as.
    pub role: String,
    /// Runtime identifier as the user gave it, such as `nodejs24.x`.
    pub runtime: String,
    /// Handler as the user gave it, such as `index.handler`.
    pub handler: String,
    /// The package.
    pub code: CodeRef,
    /// Where the package lies unpacked and read-only on this node: the source of `/var/task`.
    pub unpacked_dir: PathBuf,
    /// The user's environment variables.
    pub environment: EnvironmentVariables,
    /// Memory, 128–10,240 MB.
    pub memory_mb: u32,
    /// Time for one invocation, 1–900 s.
    pub timeout_s: u32,
    /// Size of `/tmp`, 512–10,240 MB.
    pub ephemeral_mb: u32,
    /// X-Ray mode.
    pub tracing: TracingMode,
    /// Where and how the function's lines are logged.
    pub logging: Logging,
    /// The instruction set that the package is for. Only the host's is accepted at create.
    pub architecture: Architecture,
    /// Set when the host runs another version of the runtime than asked for; shown in configuration and log.
    pub runtime_warning: Option<String>,
    /// Packages of the layers, in merge order: together they are `/opt`.
    pub layers: Vec<CodeRef>,
    /// Its share of the account's concurrency.
    pub concurrency: Concurrency,
    /// `TenancyConfig.TenantIsolationMode` is `PER_TENANT`: every invocation names its tenant, and no two tenants share an
    /// environment.
    pub per_tenant: bool,
    /// A published version with SnapStart: its environments are initialised ahead.
    pub snap_start: bool,
    /// Of a function on a capacity provider (Lambda Managed Instances): its environments serve several events at once.
    pub managed: Option<Managed>,
    /// The container image that stands in place of the package, the layers and the runtime.
    pub image: Option<ImageUse>,
}

/// How the environments of a function on a capacity provider are made and shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Managed {
    /// Events that one environment serves at once, 1–1,600 (`PerExecutionEnvironmentMaxConcurrency`).
    pub slots: u32,
    /// Memory for which an environment gets one CPU, in MB (`ExecutionEnvironmentMemoryGiBPerVCpu`).
    pub memory_mb_per_cpu: u32,
}

/// A container image that a function runs from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageUse {
    /// Its manifest in the blob store.
    pub manifest: CodeRef,
    /// What the function changes about it.
    pub overrides: ImageOverrides,
}

/// `ImageConfig`. What is empty is the image's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageOverrides {
    /// In place of the image's `ENTRYPOINT`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entry_point: Vec<String>,
    /// In place of the image's `CMD`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// In place of the image's `WORKDIR`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_directory: String,
}

/// What admission needs to know of a function (L10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Concurrency {
    /// Concurrency that is the function's alone: floor and cap.
    pub reserved: Option<u32>,
    /// Concurrency that all functions of the account have reserved together: what is left is everybody's.
    pub account_reserved: u32,
    /// Environments of this version are kept initialised.
    pub provisioned: bool,
    /// Environments of this version that there may be at the same time (`MaxExecutionEnvironments`).
    pub environments_max: Option<u32>,
}

impl FunctionVersion {
    /// ARN with the version, as `Context.invokedFunctionArn` shows it for a qualified call.
    pub fn qualified_arn(&self) -> String {
        format!("{}:{}", self.arn, self.version)
    }

    /// `AWS_LAMBDA_INITIALIZATION_TYPE`: how its environments come to be initialised.
    pub fn initialization_type(&self) -> &'static str {
        if self.managed.is_some() {
            return "lambda-managed-instances";
        }
        match (self.snap_start, self.concurrency.provisioned) {
            (true, _) => "snap-start",
            (false, true) => "provisioned-concurrency",
            (false, false) => "on-demand",
        }
    }

    /// What execution environments are kept by: same key, same code and configuration.
    pub fn environment_key(&self) -> (&str, &str, &str) {
        (&self.arn, &self.version, &self.revision_id)
    }
}

/// A package in the blob store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CodeRef {
    /// SHA-256 of the zip file (or of an image's manifest), 64 lower-case hexadecimal digits.
    pub digest: String,
    /// Length of the zip file (or of all blobs of an image) in bytes.
    pub length: u64,
}

/// The user's environment variables, sorted by name. `Debug` shows names only: values are secrets.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EnvironmentVariables(pub BTreeMap<String, String>);

impl fmt::Debug for EnvironmentVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// `TracingConfig.Mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TracingMode {
    /// Sample what Lambda itself decides to sample.
    Active,
    /// Follow the caller's decision.
    #[default]
    PassThrough,
}

/// `LoggingConfig`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logging {
    /// Log group, by default `/aws/lambda/NAME`.
    pub group: String,
    /// How lines are written.
    pub format: LogFormat,
    /// Lowest level of the function's own lines (`TRACE` … `FATAL`); only with [`LogFormat::Json`].
    pub application_level: Option<String>,
    /// Lowest level of the platform's lines (`DEBUG`, `INFO`, `WARN`); only with [`LogFormat::Json`].
    pub system_level: Option<String>,
}

/// `LoggingConfig.LogFormat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFormat {
    /// Plain lines.
    #[default]
    Text,
    /// One JSON object a line.
    #[serde(rename = "JSON")]
    Json,
}

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit ARM.
    #[serde(rename = "arm64")]
    Arm64,
}

impl Architecture {
    /// The instruction set of this machine; `None` on one that Lambda does not know.
    pub fn host() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Arm64),
            _ => None,
        }
    }

    /// AWS's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_environment_variables_shows_no_value() {
        let variables = EnvironmentVariables([("TOKEN".to_owned(), "s3cret".to_owned())].into());
        let text = format!("{variables:?}");
        assert_eq!(text, r#"{"TOKEN"}"#);
    }
}
