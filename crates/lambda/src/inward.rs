//! What `triggers` asks of this service: the handlers behind the table, without a request. Nobody is authorised here;
//! who calls has asked for permission itself.

use model::lambda as m;
use wire::Cx;

use crate::error::LambdaError;
use crate::ops::{functions, invoke};
use crate::state::Lambda;

impl Lambda {
    /// As the operation `Invoke`.
    ///
    /// # Errors
    /// Those of the operation.
    pub async fn invoke(&self, cx: Cx, input: m::InvokeInput) -> Result<m::InvokeOutput, LambdaError> {
        invoke::invoke(self.clone(), cx, input).await
    }

    /// As the operation `GetFunctionConfiguration`.
    ///
    /// # Errors
    /// Those of the operation.
    pub async fn configuration(
        &self,
        cx: Cx,
        input: m::GetFunctionConfigurationInput,
    ) -> Result<m::GetFunctionConfigurationOutput, LambdaError> {
        functions::get_configuration(self.clone(), cx, input).await
    }
}
