//! The values of the service.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ManagedRecord;
use crate::function::{Architecture, CodeRef, EnvironmentVariables, ImageOverrides, ImageUse, Logging, TracingMode};
use crate::url::cors::Cors;

/// A function: what `$LATEST` is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FunctionRecord {
    /// Role ARN.
    pub(crate) role: String,
    /// Runtime identifier.
    pub(crate) runtime: String,
    /// Handler.
    pub(crate) handler: String,
    /// The package.
    pub(crate) code: CodeRef,
    /// Free text of the user.
    pub(crate) description: String,
    /// 1–900 s.
    pub(crate) timeout_s: u32,
    /// 128–10,240 MB.
    pub(crate) memory_mb: u32,
    /// 512–10,240 MB.
    pub(crate) ephemeral_mb: u32,
    /// Absent when the user never gave any: then the answer has none either.
    pub(crate) environment: Option<EnvironmentVariables>,
    pub(crate) kms_key_arn: Option<String>,
    /// Target of `DeadLetterConfig`.
    pub(crate) dead_letter_arn: Option<String>,
    pub(crate) vpc: Option<VpcRecord>,
    pub(crate) file_systems: Vec<FileSystemRecord>,
    pub(crate) tracing: TracingMode,
    pub(crate) logging: Logging,
    pub(crate) architecture: Architecture,
    pub(crate) tags: BTreeMap<String, String>,
    /// UUID, new with every change: what environments are of. Clients see [`FunctionRecord::shown_revision`].
    pub(crate) revision_id: String,
    /// Milliseconds since the Unix epoch.
    pub(crate) last_modified_ms: i64,
    /// In merge order: a later layer's files lie over an earlier one's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) layers: Vec<LayerUse>,
    /// `SnapStart.ApplyOn` is `PublishedVersions`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) snap_start: bool,
    /// `TenancyConfig.TenantIsolationMode` is `PER_TENANT`: from creation on, for ever.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) per_tenant: bool,
    /// It runs on a capacity provider: from creation on, for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) managed: Option<ManagedRecord>,
    /// Of a published version with SnapStart: what came of its initialisation; absent while that goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) optimisation: Option<Optimisation>,
    /// `PackageType` is `Image`: then `code` is the image, and there is no runtime, handler or layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<ImageRecord>,
    /// Present while the image is being brought here, and when that went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pull: Option<Pull>,
    /// UUID, new with every update of code or configuration, also with one to what was there before: a version is only
    /// published when there was one since the last. Absent while there was none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) change_id: String,
    /// Of `$LATEST`, when it was published since it last changed: what clients have seen as its revision from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) published_revision_id: Option<String>,
}

/// What came of the initialisation of a version before its first invocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Optimisation {
    /// Its environments are initialised ahead.
    Active,
    /// Its init went wrong.
    Failed {
        /// `StateReasonCode`.
        code: String,
        /// `StateReason`.
        reason: String,
    },
}

/// A layer version that a function uses. It stays usable when the layer version is deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerUse {
    /// ARN of the layer version.
    pub(crate) arn: String,
    pub(crate) code: CodeRef,
}

/// The image of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    /// As the user gave it.
    pub(crate) uri: String,
    /// With the digest that it meant then.
    pub(crate) resolved_uri: String,
    /// Length of the manifest in bytes; its digest is the code's.
    pub(crate) manifest_bytes: u64,
    /// Digests of the configuration and the layers.
    pub(crate) parts: Vec<String>,
    #[serde(default)]
    pub(crate) overrides: ImageOverrides,
}

/// How far an image is on its way to this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Pull {
    /// It is being brought here. Until then the one before runs; nothing runs where there was none.
    Going { before: Option<Box<Before>> },
    /// It could not be had: `StateReasonCode` and reason. After an update the function has the image of before again.
    Failed { code: String, reason: String, update: bool },
}

/// What an update replaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Before {
    pub(crate) code: CodeRef,
    pub(crate) image: ImageRecord,
    pub(crate) architecture: Architecture,
}

impl ImageRecord {
    /// The image as the data plane uses it.
    pub(crate) fn used(self, code: &CodeRef) -> ImageUse {
        ImageUse { manifest: self.manifest(code), overrides: self.overrides }
    }

    /// The manifest's blob.
    pub(crate) fn manifest(&self, code: &CodeRef) -> CodeRef {
        CodeRef { digest: code.digest.clone(), length: self.manifest_bytes }
    }
}

impl FunctionRecord {
    /// `RevisionId`. AWS changes that of `$LATEST` when it is published, too (LocalStack's `test_function_revisions_version_and_alias`,
    /// recorded on AWS), though its environments run on.
    pub(crate) fn shown_revision(&self) -> &str {
        self.published_revision_id.as_ref().unwrap_or(&self.revision_id)
    }

    /// Takes on a new revision, in place of any before.
    pub(crate) fn revise(&mut self, revision_id: String) {
        (self.revision_id, self.published_revision_id) = (revision_id, None);
    }

    /// The record of what runs now: during an update that is what was there before.
    pub(crate) fn running(mut self) -> Self {
        if let Some(Pull::Going { before: Some(before) }) = &mut self.pull {
            // Overrides are configuration: they are changed at once.
            let overrides = self.image.take().map(|image| image.overrides).unwrap_or_default();
            self.code = before.code.clone();
            self.image = Some(ImageRecord { overrides, ..before.image.clone() });
            self.architecture = before.architecture;
        }
        self
    }

    /// Why nothing of this version can run: AWS's word for its state.
    pub(crate) fn unready(&self) -> Option<&'static str> {
        match &self.pull {
            Some(Pull::Going { before: None }) => Some("Pending"),
            Some(Pull::Failed { update: false, .. }) => Some("Failed"),
            _ => None,
        }
    }
}

/// `VpcConfig`: stored and given back; the sandbox has a network of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VpcRecord {
    pub(crate) subnet_ids: Vec<String>,
    pub(crate) security_group_ids: Vec<String>,
    pub(crate) ipv6: Option<bool>,
}

/// One of `FileSystemConfigs`: stored and given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileSystemRecord {
    pub(crate) arn: String,
    pub(crate) local_mount_path: String,
}

/// A function URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UrlRecord {
    /// 32 lower-case letters and digits.
    pub(crate) id: String,
    pub(crate) auth: UrlAuth,
    pub(crate) cors: Option<Cors>,
    /// Microseconds since the Unix epoch.
    pub(crate) created_us: i64,
    /// Microseconds since the Unix epoch.
    pub(crate) last_modified_us: i64,
    /// `InvokeMode` is `RESPONSE_STREAM`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) streams: bool,
}

/// Who may call a function URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum UrlAuth {
    /// Everyone.
    #[serde(rename = "NONE")]
    None,
    /// Whoever signs as a principal of the function's account.
    #[serde(rename = "AWS_IAM")]
    AwsIam,
}

impl UrlAuth {
    /// AWS's word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::AwsIam => "AWS_IAM",
        }
    }
}

/// The function behind a URL's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UrlOwner {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) name: String,
    /// The alias that the URL is for; absent for `$LATEST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) alias: Option<String>,
}

/// What an account uses in one region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UsageRecord {
    /// Zipped packages of all functions, versions and layers together, in bytes. A package that two share counts twice,
    /// as on AWS.
    pub(crate) code_bytes: u64,
    /// Number of functions.
    pub(crate) functions: u64,
    /// Concurrency that functions have reserved, together.
    #[serde(default)]
    pub(crate) reserved: u32,
}
