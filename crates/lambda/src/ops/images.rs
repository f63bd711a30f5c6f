//! What CreateFunction, UpdateFunctionCode and UpdateFunctionConfiguration do with container images.

use model::lambda as m;
use wire::Cx;

use crate::error::LambdaError;
use crate::function::{Architecture, ImageOverrides};
use crate::image::ImageName;
use crate::image::found::{Found, look_up};
use crate::image::pull::Awaited;
use crate::keys::{self, FunctionRecord, ImageRecord, Key, Pull, UsageRecord};
use crate::state::Lambda;

/// What managed runtimes need and images bring themselves.
const NO_RUNTIME: &str =
    "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image.";

/// The image of an input, looked up.
pub(crate) struct Image {
    pub(crate) found: Found,
    pub(crate) record: ImageRecord,
}

/// Checks which members of CreateFunction stand together; true for an image.
///
/// # Errors
/// `InvalidParameterValueException` in AWS's words.
pub(crate) fn check_new(input: &m::CreateFunctionInput) -> Result<bool, LambdaError> {
    let code = &input.code;
    let zipped = code.zip_file.is_some() || code.s3_bucket.is_some() || code.s3_key.is_some();
    match (input.package_type == Some(m::PackageType::Image), &code.image_uri) {
        (false, None) if input.image_config.is_some() => {
            Err(LambdaError::invalid("Please don't provide ImageConfig when the intended function PackageType is Zip."))
        }
        (false, None) => Ok(false),
        (false, Some(_)) => {
            Err(LambdaError::invalid("Please do not provide ImageUri when creating a function with packageType Zip."))
        }
        (true, None) => {
            Err(LambdaError::invalid("Please provide ImageUri when creating a function with packageType Image."))
        }
        (true, Some(_)) if zipped => {
            Err(LambdaError::invalid("Please do not provide other FunctionCode parameters when providing an ImageUri."))
        }
        (true, Some(_)) => {
            let layers = input.layers.as_ref().is_some_and(|layers| !layers.is_empty());
            match input.runtime.is_some() || input.handler.is_some() || layers {
                true => Err(LambdaError::invalid(NO_RUNTIME)),
                false if wants_snap_start(input) => {
                    Err(LambdaError::invalid("SnapStart is not supported for functions of PackageType Image."))
                }
                false => Ok(true),
            }
        }
    }
}

fn wants_snap_start(input: &m::CreateFunctionInput) -> bool {
    super::settings::wants_snap_start(input.snap_start.as_ref())
}

/// Checks which members of UpdateFunctionCode fit the function.
///
/// # Errors
/// `InvalidParameterValueException` in AWS's words.
pub(crate) fn check_code(before: &FunctionRecord, input: &m::UpdateFunctionCodeInput) -> Result<(), LambdaError> {
    let zipped = input.zip_file.is_some() || input.s3_bucket.is_some() || input.s3_key.is_some();
    match (before.image.is_some(), input.image_uri.is_some()) {
        (false, false) => Ok(()),
        (false, true) => {
            Err(LambdaError::invalid("Please do not provide ImageUri when updating a function with packageType Zip."))
        }
        (true, false) => {
            Err(LambdaError::invalid("Please provide ImageUri when updating a function with packageType Image."))
        }
        (true, true) if zipped => {
            Err(LambdaError::invalid("Please do not provide other FunctionCode parameters when providing an ImageUri."))
        }
        (true, true) => Ok(()),
    }
}

/// Checks which members of UpdateFunctionConfiguration fit the function.
///
/// # Errors
/// `InvalidParameterValueException` in AWS's words.
pub(crate) fn check_configuration(
    before: &FunctionRecord,
    input: &m::UpdateFunctionConfigurationInput,
) -> Result<(), LambdaError> {
    let layers = input.layers.as_ref().is_some_and(|layers| !layers.is_empty());
    match before.image {
        Some(_) if input.runtime.is_some() || input.handler.is_some() || layers => {
            Err(LambdaError::invalid(NO_RUNTIME))
        }
        Some(_) if super::settings::wants_snap_start(input.snap_start.as_ref()) => {
            Err(LambdaError::invalid("SnapStart is not supported for functions of PackageType Image."))
        }
        None if input.image_config.is_some() => {
            Err(LambdaError::invalid("Please don't provide ImageConfig when the intended function PackageType is Zip."))
        }
        _ => Ok(()),
    }
}

/// `ImageConfig`. An empty list, and an empty text, take an override back.
///
/// # Errors
/// `InvalidParameterValueException` for what no program can be started with.
pub(crate) fn overrides(given: m::ImageConfig) -> Result<ImageOverrides, LambdaError> {
    let m::ImageConfig { command, entry_point, working_directory } = given;
    let given = ImageOverrides {
        entry_point: entry_point.unwrap_or_default(),
        command: command.unwrap_or_default(),
        working_directory: working_directory.unwrap_or_default(),
    };
    let texts = given.entry_point.iter().chain(&given.command).chain([&given.working_directory]);
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(LambdaError::invalid("ImageConfig must not contain a NUL."));
    }
    let folder = &given.working_directory;
    match folder.is_empty() || folder.starts_with('/') {
        true => Ok(given),
        false => Err(LambdaError::invalid(format!("ImageConfig.WorkingDirectory {folder:?} is no absolute path."))),
    }
}

impl Lambda {
    /// Finds the image of a request. Nothing is stored yet.
    ///
    /// # Errors
    /// `InvalidParameterValueException` in AWS's words, `CodeStorageExceededException`.
    pub(crate) async fn look_up_image(
        &self,
        cx: &Cx,
        uri: &str,
        (architecture, overrides): (Architecture, ImageOverrides),
        freed: u64,
    ) -> Result<Image, LambdaError> {
        let name = ImageName::parse(uri).ok_or_else(|| {
            LambdaError::invalid(format!("Source image {uri} is not valid. Provide a valid source image."))
        })?;
        let limits = self.packages.image_limits();
        let turn = self.look_ups.take(cx.account.as_str()).await;
        let found = look_up((&self.images, &self.clock), &name, architecture, limits).await;
        drop(turn);
        let found = found.map_err(|error| error.refuse(uri))?;
        let key = Key::Usage { account: cx.account.as_str(), region: &cx.region };
        let usage = self.kv.read(|tx| async { keys::get::<UsageRecord>(&{ tx }, &key).await }).await?;
        let others = usage.unwrap_or_default().code_bytes.saturating_sub(freed);
        if found.code.length > freed && others + found.code.length > self.config.account_code_bytes_max {
            return Err(LambdaError::CodeStorageExceededException);
        }
        let record = ImageRecord {
            uri: uri.to_owned(),
            resolved_uri: found.resolved.to_string(),
            manifest_bytes: found.manifest.length,
            parts: found.parts.clone(),
            overrides,
        };
        Ok(Image { found, record })
    }

    /// Stores what is known of an image, so that its layers can follow, and puts it into `record`: with its blobs named
    /// there, and as one that is awaited. The caller holds [`crate::state::State::naming`] until the record is written.
    ///
    /// # Errors
    /// `CodeStorageExceededException`; ours.
    pub(crate) async fn begin_image(
        &self,
        cx: &Cx,
        image: Image,
        record: &mut FunctionRecord,
    ) -> Result<(), LambdaError> {
        let Image { found, record: image } = image;
        let max = self.config.account_code_bytes_max;
        let counted = self.lately.count(cx.account.as_str(), found.code.length, max);
        counted.ok_or(LambdaError::CodeStorageExceededException)?.keep();
        self.packages.store_documents(&found).await?;
        record.code = found.code;
        record.image = Some(image);
        record.pull = Some(Pull::Going { before: None });
        Ok(())
    }

    /// Begins to bring the image of a record here, when one is awaited.
    pub(crate) fn pull_for(&self, cx: &Cx, name: &str, record: &FunctionRecord) {
        if let Some(awaited) = self.awaited(cx, name, record) {
            self.start_pull(awaited);
        }
    }

    /// The same when nobody knows whether the record was written. Nothing comes of it where it was not.
    pub(crate) fn resume_for(&self, cx: &Cx, name: &str, record: &FunctionRecord) {
        if let Some(awaited) = self.awaited(cx, name, record) {
            self.resume_pull(awaited);
        }
    }

    fn awaited(&self, cx: &Cx, name: &str, record: &FunctionRecord) -> Option<Awaited> {
        let (Some(image), Some(Pull::Going { .. })) = (&record.image, &record.pull) else { return None };
        let cx = self.own_cx(cx.account.clone(), cx.region.clone());
        Some(Awaited { cx, name: name.to_owned(), code: record.code.clone(), image: image.clone() })
    }
}
