//! What Lambda asks of the identity service: closures that the binary gives, for services do not know each other.

use std::sync::Arc;

use wire::{Act, ApiError, Arn, Asked, ConditionKeys, Cx, MayAct, MayDo, Principal};

use crate::error::LambdaError;
use crate::invoke::BoxFuture;
use crate::keys::UrlAuth;
use crate::state::Lambda;

/// AWS's text about a role that does not exist or does not trust Lambda.
pub(crate) const NOT_ASSUMABLE: &str = "The role defined for the function cannot be assumed by Lambda.";

/// Whether the role (first) may be assumed by `lambda.amazonaws.com` for the function of this ARN (second).
pub type MayAssume = Arc<dyn Fn(String, String) -> BoxFuture<Result<bool, ApiError>> + Send + Sync>;

/// The identity service as Lambda sees it.
#[derive(Clone)]
pub struct Identity {
    /// Asked before a role is attached to a function.
    pub may_assume: MayAssume,
    /// Asked before a request to a function URL reaches the function.
    pub authorize: MayDo,
    /// Asked before a destination is set: what the function's role may.
    pub may_act: MayAct,
}

impl Lambda {
    /// Refuses a role that the function could not run with.
    ///
    /// # Errors
    /// `InvalidParameterValueException` in AWS's words; `ServiceException` when the identity service does not answer.
    pub(crate) async fn check_role(&self, role: &str, function_arn: &str) -> Result<(), LambdaError> {
        match (self.identity.may_assume)(role.to_owned(), function_arn.to_owned()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(LambdaError::invalid(NOT_ASSUMABLE)),
            Err(error) => Err(LambdaError::internal(error)),
        }
    }

    /// Refuses a destination to which the function's role may not send (developer guide, "Capturing records of Lambda
    /// asynchronous invocations", "Required permission"). Of a bucket AWS wants the right to write everywhere in it.
    ///
    /// # Errors
    /// `InvalidParameterValueException`; `ServiceException` when the identity service does not answer.
    pub(crate) async fn check_may_send(&self, cx: &Cx, role: &str, arn: &str) -> Result<(), LambdaError> {
        let service = Arn::parse(arn).map(|arn| arn.service).unwrap_or_default();
        let needed = match service.as_str() {
            "s3" => vec![("s3:PutObject", format!("{arn}/*")), ("s3:ListBucket", arn.to_owned())],
            "sqs" => vec![("sqs:SendMessage", arn.to_owned())],
            "sns" => vec![("sns:Publish", arn.to_owned())],
            _ => vec![("lambda:InvokeFunction", arn.strip_suffix(":$LATEST").unwrap_or(arn).to_owned())],
        };
        for (action, resource) in needed {
            let act = Act::as_role(role, action, &resource, &cx.region);
            match (self.identity.may_act)(act).await {
                Ok(()) => {}
                Err(error) if error.status >= 500 => return Err(LambdaError::internal(error)),
                Err(_) => return Err(LambdaError::invalid(format!("The destination ARN {arn} is invalid."))),
            }
        }
        Ok(())
    }

    /// Whether the caller may call the URL of the function `arn`.
    ///
    /// # Errors
    /// `AccessDenied`, or what hinders the answer.
    pub(crate) async fn may_call_url(&self, cx: &Cx, arn: &str, auth: UrlAuth) -> Result<(), ApiError> {
        let cx = match (auth, &cx.principal) {
            // An open URL asks nobody who he is, but the function's policy must open it to everyone all the same
            // (developer guide, "Security and auth model").
            (UrlAuth::None, _) => Cx { principal: Principal::Anonymous, ..cx.clone() },
            // A request that is unsigned or forged comes from nobody. A policy for "*" opens such a URL to every
            // principal, and not to strangers: AWS checks the signature first.
            (UrlAuth::AwsIam, Principal::Anonymous) => {
                return Err(ApiError::client("AccessDenied", 403, "The request is not signed."));
            }
            (UrlAuth::AwsIam, _) => cx.clone(),
        };
        let facts = self.facts(arn).await.map_err(wire::error::to_api_error)?;
        let asked = Asked {
            action: "lambda:InvokeFunctionUrl",
            resource: arn.to_owned(),
            keys: ConditionKeys::new().with("lambda:FunctionUrlAuthType", auth.as_str()),
            facts,
        };
        (self.identity.authorize)(cx, vec![asked]).await
    }
}
