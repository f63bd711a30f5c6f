//! Where a package comes from: in the request, or as an object of S3.

use std::sync::Arc;

use bytes::Bytes;
use model::lambda as m;
use tokio::sync::OwnedSemaphorePermit;
use wire::{ApiError, Cx, Permission, Resource};

use crate::error::LambdaError;
use crate::function::CodeRef;
use crate::invoke::BoxFuture;
use crate::keys::{self, Key, UsageRecord};
use crate::limits::PACKAGE_UNZIPPED_BYTES_MAX;
use crate::ops::functions::check_zip_length;
use crate::state::Lambda;

/// Packages out of S3 that are in memory at the same time: each takes up to [`PACKAGE_UNZIPPED_BYTES_MAX`].
pub(crate) const OBJECTS_AT_ONCE: usize = 2;

/// An object that a package is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeObject {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The version's id; `None`: the current one.
    pub version: Option<String>,
    /// More bytes than this are refused.
    pub bytes_max: u64,
}

/// Reads an object whole. Whether the caller may do what [`CodeObject::permission`] says was asked before; what only the
/// object tells, such as the key that it is under, is asked for this caller while it is read.
pub type ReadObject = Arc<dyn Fn(Cx, CodeObject) -> BoxFuture<Result<Bytes, ApiError>> + Send + Sync>;

impl CodeObject {
    /// The object that three members of an input name; `None` when they name none.
    fn of(bucket: Option<&str>, key: Option<&str>, version: Option<&str>) -> Option<Self> {
        Some(Self {
            bucket: bucket?.to_owned(),
            key: key?.to_owned(),
            version: version.map(str::to_owned),
            bytes_max: PACKAGE_UNZIPPED_BYTES_MAX,
        })
    }

    pub(crate) fn of_code(code: &m::FunctionCode) -> Option<Self> {
        Self::of(code.s3_bucket.as_deref(), code.s3_key.as_deref(), code.s3_object_version.as_deref())
    }

    pub(crate) fn of_update(input: &m::UpdateFunctionCodeInput) -> Option<Self> {
        Self::of(input.s3_bucket.as_deref(), input.s3_key.as_deref(), input.s3_object_version.as_deref())
    }

    pub(crate) fn of_layer(content: &m::LayerVersionContentInput) -> Option<Self> {
        Self::of(content.s3_bucket.as_deref(), content.s3_key.as_deref(), content.s3_object_version.as_deref())
    }

    /// What the caller must be allowed to do (API CreateFunction: the package is read with the caller's rights).
    pub(crate) fn permission(&self) -> Permission {
        let action = if self.version.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject" };
        Permission::new(action, Resource::arn(format!("arn:aws:s3:::{}/{}", self.bucket, self.key)))
    }
}

/// A package that has not been looked into yet.
#[derive(Debug)]
pub(crate) struct Package {
    zip: Bytes,
    /// One of [`OBJECTS_AT_ONCE`]. What came in a request counts among the gateway's bodies.
    _turn: Option<OwnedSemaphorePermit>,
}

impl Lambda {
    /// The package that a request carries or names. Ask it last: an object may be large, and others wait for its turn.
    ///
    /// # Errors
    /// `InvalidParameterValueException` for none, for two, and for an object that cannot be read or that the caller may not;
    /// `RequestEntityTooLargeException`.
    pub(crate) async fn package(
        &self,
        cx: &Cx,
        zip: Option<Bytes>,
        object: Option<CodeObject>,
        operation: &'static str,
    ) -> Result<Package, LambdaError> {
        match (zip, object) {
            (Some(_), Some(_)) => Err(LambdaError::invalid(
                "Please do not provide other FunctionCode parameters when providing a ZipFile.",
            )),
            (None, None) => Err(LambdaError::invalid(match operation {
                "PublishLayerVersion" => "Please provide a source for layer content.",
                _ => "Please provide a source for function code.",
            })),
            (Some(zip), None) => check_zip_length(&zip, operation).map(|()| Package { zip, _turn: None }),
            (None, Some(object)) => {
                let turn = Arc::clone(&self.object_turns).acquire_owned().await.map_err(LambdaError::internal)?;
                let zip = (self.read_object)(cx.clone(), object).await.map_err(|error| {
                    let ApiError { code, message, .. } = error;
                    LambdaError::invalid(format!(
                        "Error occurred while GetObject. S3 Error Code: {code}. S3 Error Message: {message}"
                    ))
                })?;
                Ok(Package { zip, _turn: Some(turn) })
            }
        }
    }

    /// Checks a package and stores it, in place of one of `freed` bytes.
    ///
    /// # Errors
    /// What is wrong with the package, and `CodeStorageExceededException`: then nothing is stored. The transaction that
    /// names the package counts again; what it refuses is collected later, as what no record names is. What is not collected
    /// yet counts as well ([`crate::lately`]): new packages of some two hours are together as large as all that an account
    /// may use.
    pub(crate) async fn store(&self, cx: &Cx, package: Package, freed: u64) -> Result<CodeRef, LambdaError> {
        let key = Key::Usage { account: cx.account.as_str(), region: &cx.region };
        let usage = self.kv.read(|tx| async { keys::get::<UsageRecord>(&{ tx }, &key).await }).await?;
        let others = usage.unwrap_or_default().code_bytes.saturating_sub(freed);
        let length = package.zip.len() as u64;
        if length > freed && others + length > self.config.account_code_bytes_max {
            return Err(LambdaError::CodeStorageExceededException);
        }
        let max = self.config.account_code_bytes_max;
        let counted = self.lately.count(cx.account.as_str(), length, max);
        if counted.is_none() && !self.packages.is_here(&package.zip).await? {
            return Err(LambdaError::CodeStorageExceededException);
        }
        let stored = self.packages.store(package.zip).await?;
        if let Some(counted) = counted.filter(|_| stored.is_new) {
            counted.keep();
        }
        Ok(stored.code)
    }

    /// Checks a package without keeping anything of it (`DryRun`).
    ///
    /// # Errors
    /// What is wrong with the package.
    pub(crate) async fn try_package(&self, package: Package) -> Result<CodeRef, LambdaError> {
        Ok(self.packages.check(package.zip).await?)
    }
}
