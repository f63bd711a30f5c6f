//! Operations that Tinderbox knows and does not do, by name.

use model::s3 as m;
use wire::Cx;

use super::tagging::target;
use crate::error::S3Error;
use crate::state::S3;

/// SelectObjectContent.
pub(crate) async fn select(
    _s3: S3,
    _cx: Cx,
    _input: m::SelectObjectContentInput,
) -> Result<m::SelectObjectContentOutput, S3Error> {
    let message =
        "s3:SelectObjectContent is not implemented by Tinderbox (AWS closed it to new customers in July 2024).";
    Err(S3Error::NotImplemented(message.to_owned()))
}

/// RestoreObject: nothing is ever archived, so an object of an archive class is there already and any other one is in
/// the wrong class, as on AWS.
pub(crate) async fn restore(s3: S3, _cx: Cx, input: m::RestoreObjectInput) -> Result<m::RestoreObjectOutput, S3Error> {
    let (_, version) = target!(input).find(&s3).await?;
    match version.storage_class.as_deref() {
        Some("GLACIER" | "DEEP_ARCHIVE") => Ok(m::RestoreObjectOutput::default()),
        _ => Err(S3Error::InvalidObjectState),
    }
}
