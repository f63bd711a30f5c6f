//! GetAccountSettings.

use model::lambda as m;
use wire::Cx;

use crate::error::LambdaError;
use crate::keys::{self, Key, UsageRecord};
use crate::limits;
use crate::state::Lambda;

pub(crate) async fn get_settings(
    lambda: Lambda,
    cx: Cx,
    _input: m::GetAccountSettingsInput,
) -> Result<m::GetAccountSettingsOutput, LambdaError> {
    let key = Key::Usage { account: cx.account.as_str(), region: &cx.region };
    let key = &key;
    let usage = lambda.kv.read(|tx| async move { keys::get::<UsageRecord>(&tx, key).await }).await?;
    let UsageRecord { code_bytes, functions, reserved } = usage.unwrap_or_default();
    let long = |bytes: u64| i64::try_from(bytes).ok();
    Ok(m::GetAccountSettingsOutput {
        account_limit: Some(m::AccountLimit {
            code_size_unzipped: long(limits::PACKAGE_UNZIPPED_BYTES_MAX),
            code_size_zipped: long(limits::PACKAGE_ZIPPED_BYTES_MAX),
            concurrent_executions: Some(lambda.config.account_concurrency_max),
            total_code_size: long(lambda.config.account_code_bytes_max),
            unreserved_concurrent_executions: Some(
                lambda.config.account_concurrency_max.saturating_sub_unsigned(reserved),
            ),
        }),
        account_usage: Some(m::AccountUsage { function_count: long(functions), total_code_size: long(code_bytes) }),
    })
}
