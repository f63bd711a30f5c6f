//! Inits that are run for what they tell about a function: `tinderbox functions report`.

use std::sync::Arc;

use wire::AccountId;

use crate::FunctionVersion;
use crate::error::LambdaError;
use crate::invoke::NotInitialised;
use crate::invoke::init_run::{Asked, InitRun};
use crate::name::{FunctionName, in_account_of};
use crate::state::Lambda;

impl Lambda {
    /// The version that `given` (a name or an ARN, with a qualifier or without) would run in this account and region, or in those of the ARN's account.
    ///
    /// # Errors
    /// As Invoke's.
    pub async fn version_named(
        &self,
        account: AccountId,
        region: &str,
        given: &str,
    ) -> Result<Arc<FunctionVersion>, LambdaError> {
        let cx = in_account_of(self.own_cx(account, region.to_owned()), given);
        let name = FunctionName::parse(&cx, given, None)?;
        let trace = cx.trace.clone();
        Ok(self.version_to_run(&cx, &name, trace).await?.0)
    }

    /// Runs the init of a version, in an environment that serves nobody, for what is asked of it.
    ///
    /// # Errors
    /// See [`NotInitialised`].
    pub async fn run_init(&self, function: Arc<FunctionVersion>, asked: Asked) -> Result<InitRun, NotInitialised> {
        self.plane.run_init(function, asked).await
    }
}
