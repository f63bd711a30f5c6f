//! The runtimes of the functions that are there: one of each stands by for the next cold start (ADR 0007).

use std::collections::BTreeSet;

use crate::error::LambdaError;
use crate::keys::{self, FunctionRecord};
use crate::pages;
use crate::state::Lambda;

impl Lambda {
    /// Has the runtimes of all functions stand by. Call it at start.
    ///
    /// # Errors
    /// `ServiceException` when the records cannot be read.
    pub async fn expect_runtimes(&self) -> Result<(), LambdaError> {
        let found = self.kv.read(|tx| async move {
            let mut found = BTreeSet::new();
            pages::each(&tx, &keys::all_functions(), |_, record: FunctionRecord| {
                found.insert(record.runtime);
                Ok(())
            })
            .await?;
            Ok::<_, LambdaError>(found)
        });
        found.await?.iter().for_each(|runtime| self.plane.expect_runtime(runtime));
        Ok(())
    }
}
