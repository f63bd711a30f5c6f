//! Tenant isolation mode: each invocation of such a function names a tenant, and an environment serves one tenant only (L12).
//!
//! Set when a function is created and never changed. As on AWS it goes neither with SnapStart, nor with provisioned
//! concurrency, function URLs or event sources: none of them knows for whom an event is. Source: Lambda developer guide,
//! "Tenant isolation". The two refusals of `Invoke` are as its troubleshooting page describes them; their words are not
//! confirmed.

use crate::error::LambdaError;
use crate::keys::FunctionRecord;

/// Fails when an invocation names a tenant where it must not, or none where it must.
pub(crate) fn check(per_tenant: bool, tenant: Option<&str>) -> Result<(), LambdaError> {
    match (per_tenant, tenant) {
        (true, None) => Err(LambdaError::invalid(
            "The invoked function is enabled with tenancy configuration. Add a valid tenant ID in your request and try again.",
        )),
        (false, Some(_)) => Err(LambdaError::invalid(
            "The invoked function is not enabled with tenancy configuration. Remove the tenant ID from your request and try \
             again.",
        )),
        _ => Ok(()),
    }
}

/// Fails when something is wanted for a function that goes with no function that tells tenants apart.
pub(crate) fn refuse(record: &FunctionRecord, what: &str) -> Result<(), LambdaError> {
    match record.per_tenant {
        true => Err(LambdaError::invalid(format!("{what} is not supported for functions with tenant isolation mode."))),
        false => Ok(()),
    }
}

/// Fails when a function would have both tenants and SnapStart.
pub(crate) fn check_snap_start(record: &FunctionRecord) -> Result<(), LambdaError> {
    if record.snap_start { refuse(record, "SnapStart") } else { Ok(()) }
}
