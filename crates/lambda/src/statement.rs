//! Statements of resource policies, as AddPermission and AddLayerVersionPermission make them.
//!
//! Source: API AddPermission; Lambda developer guide, "Working with resource-based IAM policies in Lambda".

use serde_json::{Map, Value, json};
use wire::CheckPolicy;

use crate::error::LambdaError;
use crate::keys::PolicyRecord;
use crate::limits::POLICY_BYTES_MAX;

const INVALID_PRINCIPAL: &str = "The provided principal was invalid. Please check the principal and try again.";

/// Who a statement is about: everyone, a service, an account, or an ARN.
pub(crate) fn principal(given: &str) -> Result<Value, LambdaError> {
    let is_account = given.len() == 12 && given.bytes().all(|byte| byte.is_ascii_digit());
    match given {
        "*" => Ok(json!("*")),
        _ if is_account => Ok(json!({ "AWS": format!("arn:aws:iam::{given}:root") })),
        _ if given.starts_with("arn:") => Ok(json!({ "AWS": given })),
        _ if given.contains('.') => Ok(json!({ "Service": given })),
        _ => Err(LambdaError::invalid(INVALID_PRINCIPAL)),
    }
}

/// A condition block: operator, key and value, where a value is given.
pub(crate) fn conditions(given: &[(&str, &str, Option<&str>)]) -> Option<Value> {
    let mut block = Map::new();
    for (operator, key, value) in given {
        if let Some(value) = value {
            let keys = block.entry((*operator).to_owned()).or_insert_with(|| json!({}));
            keys[*key] = json!(value);
        }
    }
    (!block.is_empty()).then_some(Value::Object(block))
}

/// One statement that allows.
pub(crate) fn allow(id: &str, principal: Value, action: &str, resource: &str, condition: Option<Value>) -> Value {
    let mut statement = json!({
        "Sid": id,
        "Effect": "Allow",
        "Principal": principal,
        "Action": action,
        "Resource": resource,
    });
    if let Some(condition) = condition {
        statement["Condition"] = condition;
    }
    statement
}

/// Fails when the identity service cannot read the statement: one such statement would make every later question about the
/// function unanswerable, also that about removing it.
///
/// # Errors
/// `InvalidParameterValueException`, in AWS's words where the principal is at fault.
pub(crate) fn check(check_policy: &CheckPolicy, statement: &Value) -> Result<(), LambdaError> {
    let Err(why) = check_policy(&document([statement.to_string().as_str()])) else { return Ok(()) };
    let mut unconditional = statement.clone();
    // Id, action and resource fit the model's patterns: what is left beside the condition is the principal.
    if let Some(members) = unconditional.as_object_mut() {
        members.remove("Condition");
    }
    Err(LambdaError::invalid(match check_policy(&document([unconditional.to_string().as_str()])) {
        Ok(()) => why,
        Err(_) => INVALID_PRINCIPAL.to_owned(),
    }))
}

fn document<'a>(statements: impl IntoIterator<Item = &'a str>) -> String {
    let statements: Vec<&str> = statements.into_iter().collect();
    format!(r#"{{"Version":"2012-10-17","Id":"default","Statement":[{}]}}"#, statements.join(","))
}

impl PolicyRecord {
    /// The policy as a document; `None` without a statement.
    pub(crate) fn document(&self) -> Option<String> {
        if self.statements.is_empty() {
            return None;
        }
        Some(document(self.statements.iter().map(|(_, statement)| statement.as_str())))
    }

    /// Adds a statement.
    ///
    /// # Errors
    /// When its id is taken, or the policy becomes too long.
    pub(crate) fn add(&mut self, id: &str, statement: &Value) -> Result<(), LambdaError> {
        if self.statements.iter().any(|(known, _)| known == id) {
            return Err(LambdaError::ResourceConflictException(format!(
                "The statement id ({id}) provided already exists. Please provide a new statement id, or remove the \
                 existing statement."
            )));
        }
        self.statements.push((id.to_owned(), statement.to_string()));
        let length = self.document().map_or(0, |document| document.len());
        match length > POLICY_BYTES_MAX {
            true => Err(LambdaError::PolicyLengthExceededException { length }),
            false => Ok(()),
        }
    }

    /// Removes a statement; false when there is none of that id.
    pub(crate) fn remove(&mut self, id: &str) -> bool {
        let before = self.statements.len();
        self.statements.retain(|(known, _)| known != id);
        self.statements.len() < before
    }
}
