//! RestoreObject: there is no archive to restore from.

use model::s3 as m;
use wire::Cx;

use super::tagging::target;
use crate::error::S3Error;
use crate::state::S3;

/// RestoreObject: nothing is ever archived, so an object of an archive class is there already and any other one is in
/// the wrong class, as on AWS.
pub(crate) async fn restore(s3: S3, _cx: Cx, input: m::RestoreObjectInput) -> Result<m::RestoreObjectOutput, S3Error> {
    let (_, version) = target!(input).find(&s3).await?;
    match version.storage_class.as_deref() {
        Some("GLACIER" | "DEEP_ARCHIVE") => Ok(m::RestoreObjectOutput::default()),
        _ => Err(S3Error::InvalidObjectState),
    }
}
