//! May this caller do this? Until the identity service exists: the root user may, functions and strangers may not.

use wire::shape;
use wire::{ApiError, Principal, Resource};

use crate::Auth;
use crate::authenticate::Caller;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) caller: &'a Caller,
    /// IAM action, such as `lambda:InvokeFunction`.
    pub(crate) action: &'a str,
    pub(crate) resources: &'a Resource,
}

/// Enforced: the answer. Permissive: yes, and what enforcement would have denied goes to the log.
/// Operations that the model opens to everyone (wire:W10) are not asked about.
///
/// # Errors
/// `AccessDeniedException`, 403, in AWS's words.
pub(crate) fn authorize(auth: Auth, model: shape::Auth, question: Question<'_>) -> Result<(), ApiError> {
    if model == shape::Auth::None {
        return Ok(());
    }
    let denial = match &question.caller.objection {
        Some(objection) => Some(objection.to_string()),
        None => decide(question),
    };
    match (auth, denial) {
        (_, None) => Ok(()),
        (Auth::Enforced, Some(message)) => Err(ApiError::client("AccessDeniedException", 403, message)),
        (Auth::Permissive, Some(reason)) => {
            let Question { caller, action, resources } = question;
            let (principal, resources) = (&caller.principal, &resources.0);
            tracing::warn!(action, ?resources, ?principal, reason, "enforcement would have denied this request");
            Ok(())
        }
    }
}

/// `None` when it is allowed, else AWS's message.
fn decide(question: Question<'_>) -> Option<String> {
    let Question { caller, action, resources } = question;
    let user = match &caller.principal {
        Principal::Root { .. } => return None,
        other => other.arn(),
    };
    let resource = resources.0.first().map_or("*", String::as_str);
    Some(format!(
        "User: {user} is not authorized to perform: {action} on resource: {resource} because no identity-based policy \
         allows the {action} action"
    ))
}

#[cfg(test)]
mod tests {
    use wire::AccountId;

    use super::*;

    fn ask(auth: Auth, principal: Principal) -> Result<(), ApiError> {
        let account = AccountId::parse("000000000000").expect("12 digits");
        let caller = Caller { principal, account, region: "us-east-1".to_owned(), objection: None };
        let resources = Resource::arn("arn:aws:lambda:us-east-1:000000000000:function:g");
        authorize(
            auth,
            shape::Auth::Signature,
            Question { caller: &caller, action: "lambda:InvokeFunction", resources: &resources },
        )
    }

    #[test]
    fn i1_default_deny_in_awss_words() {
        let function_arn = "arn:aws:lambda:us-east-1:000000000000:function:f".to_owned();
        let denial =
            ask(Auth::Enforced, Principal::Function { function_arn: function_arn.clone() }).expect_err("denied");
        assert_eq!((&*denial.code, denial.status), ("AccessDeniedException", 403));
        assert_eq!(
            denial.message,
            "User: arn:aws:lambda:us-east-1:000000000000:function:f is not authorized to perform: lambda:InvokeFunction \
             on resource: arn:aws:lambda:us-east-1:000000000000:function:g because no identity-based policy allows the \
             lambda:InvokeFunction action"
        );
        ask(Auth::Enforced, Principal::Anonymous).expect_err("denied");
        ask(Auth::Permissive, Principal::Function { function_arn }).expect("permissive");
    }

    #[test]
    fn the_root_user_may_do_everything() {
        let account = AccountId::parse("000000000000").expect("12 digits");
        ask(Auth::Enforced, Principal::Root { account }).expect("allowed");
    }
}
