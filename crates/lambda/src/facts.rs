//! What authorisation needs to know of a function before anybody touches it.

use wire::{AccountId, Arn, ResourceFacts};

use crate::error::LambdaError;
use crate::keys::{self, FunctionRecord, Key};
use crate::state::Lambda;

/// The column of the table.
pub(crate) async fn facts(lambda: Lambda, arn: String) -> Result<ResourceFacts, LambdaError> {
    lambda.facts(&arn).await
}

impl Lambda {
    /// Owner and tags of the function that `arn` names, with or without a qualifier; nothing when there is none.
    ///
    /// # Errors
    /// `ServiceException` when the store does not answer.
    pub(crate) async fn facts(&self, arn: &str) -> Result<ResourceFacts, LambdaError> {
        let Some(Arn { region, account, resource, .. }) = Arn::parse(arn) else {
            return Ok(ResourceFacts::default());
        };
        let name = match resource.split(':').collect::<Vec<_>>().as_slice() {
            ["function", name, ..] => (*name).to_owned(),
            _ => return Ok(ResourceFacts::default()),
        };
        let key = Key::Function { account: &account, region: &region, name: &name };
        let found: Option<FunctionRecord> = self.kv.read(|tx| async move { keys::get(&tx, &key).await }).await?;
        let Some(record) = found else { return Ok(ResourceFacts::default()) };
        Ok(ResourceFacts { owner: AccountId::parse(&account), policy: None, tags: record.tags.into_iter().collect() })
    }
}
