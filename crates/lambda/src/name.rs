//! The ways to name a function: `name`, partial ARN, full ARN, each with or without a qualifier.
//!
//! Source: API model, `FunctionName` and `NamespacedFunctionName`.

use wire::{AccountId, Arn, Cx, Resource};

use crate::error::LambdaError;
use crate::keys::Place;
use crate::limits::NAME_LENGTH_MAX;

/// A function of the caller's account and region, and the version or alias that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FunctionName {
    /// The name alone.
    pub(crate) name: String,
    /// What stood behind the name, or in `Qualifier`.
    pub(crate) qualifier: Option<String>,
}

/// The parts of a name as given; absent ones were not given.
#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    /// Of a full ARN; any but `aws` leads nowhere ([`wire::Arn`]).
    partition: Option<&'a str>,
    region: Option<&'a str>,
    account: Option<&'a str>,
    name: &'a str,
    qualifier: Option<&'a str>,
}

impl FunctionName {
    /// Reads what the client gave as `FunctionName` and `Qualifier`. The model has checked the pattern.
    ///
    /// # Errors
    /// Another partition's or region's function is not reachable, another account's is denied, contradicting qualifiers are invalid.
    pub(crate) fn parse(cx: &Cx, given: &str, qualifier: Option<&str>) -> Result<Self, LambdaError> {
        let parts = split(given);
        let length = parts.name.len();
        if length > NAME_LENGTH_MAX || length == 0 {
            return Err(LambdaError::ValidationException(format!(
                "1 validation error detected: Value '{}' at 'functionName' failed to satisfy constraint: Member must have \
                 length less than or equal to {NAME_LENGTH_MAX}",
                parts.name
            )));
        }
        if let Some(partition) = parts.partition.filter(|partition| *partition != "aws") {
            return Err(LambdaError::ResourceNotFoundException(format!(
                "Functions from partition '{partition}' are not reachable in this partition ('aws')"
            )));
        }
        if let Some(region) = parts.region.filter(|region| *region != cx.region) {
            return Err(LambdaError::ResourceNotFoundException(format!(
                "Functions from '{region}' are not reachable in this region ('{}')",
                cx.region
            )));
        }
        if parts.account.is_some_and(|account| account != cx.account.as_str()) {
            return Err(LambdaError::AccessDeniedException(format!(
                "The function {given} belongs to another account, and no policy opens it to {}",
                cx.account
            )));
        }
        let qualifier = match (parts.qualifier, qualifier) {
            (Some(named), Some(asked)) if named != asked => {
                return Err(LambdaError::invalid(
                    "The derived qualifier from the function name does not match the specified qualifier.",
                ));
            }
            (named, asked) => named.or(asked),
        };
        Ok(Self { name: parts.name.to_owned(), qualifier: qualifier.map(str::to_owned) })
    }

    /// The unqualified ARN.
    pub(crate) fn arn(&self, cx: &Cx) -> String {
        function_arn(&cx.region, cx.account.as_str(), &self.name)
    }

    /// The ARN with the qualifier, where one was given.
    pub(crate) fn qualified_arn(&self, cx: &Cx) -> String {
        match &self.qualifier {
            Some(qualifier) => format!("{}:{qualifier}", self.arn(cx)),
            None => self.arn(cx),
        }
    }

    /// Where the function's records are.
    pub(crate) fn place<'a>(&'a self, cx: &'a Cx) -> Place<'a> {
        Place { account: cx.account.as_str(), region: &cx.region, name: &self.name }
    }

    /// The function with the qualifier `version` or alias.
    pub(crate) fn at(&self, qualifier: &str) -> Self {
        Self { name: self.name.clone(), qualifier: Some(qualifier.to_owned()) }
    }

    /// The function without a qualifier.
    pub(crate) fn unqualified(self) -> Self {
        Self { qualifier: None, ..self }
    }
}

/// The ARN of a function.
pub(crate) fn function_arn(region: &str, account: &str, name: &str) -> String {
    Arn::new("lambda", region, account, format!("function:{name}")).to_string()
}

/// The context of a request in the account of the function that it names: where a policy opens a function to others,
/// they name it by its ARN.
pub(crate) fn in_account_of(cx: Cx, given: &str) -> Cx {
    match split(given).account.and_then(AccountId::parse) {
        Some(account) => Cx { account, ..cx },
        None => cx,
    }
}

/// The resource column of the table: the function's ARN as the caller means it, also where it is not reachable.
pub(crate) fn resource(cx: &Cx, given: &str) -> Resource {
    let parts = split(given);
    Resource::arn(meant(cx, &parts))
}

/// [`resource`] of the operations that reach one version or alias: with its qualifier, where one is given.
pub(crate) fn qualified_resource(cx: &Cx, given: &str, qualifier: Option<&str>) -> Resource {
    let parts = split(given);
    match parts.qualifier.or(qualifier) {
        Some(qualifier) => Resource::arn(format!("{}:{qualifier}", meant(cx, &parts))),
        None => Resource::arn(meant(cx, &parts)),
    }
}

/// The resource of the operations that are about one alias: the alias that they change, whatever qualifier the function's
/// name carries. One that contradicts is refused afterwards, by [`FunctionName::parse`].
pub(crate) fn alias_resource(cx: &Cx, given: &str, alias: &str) -> Resource {
    Resource::arn(format!("{}:{alias}", meant(cx, &split(given))))
}

fn meant(cx: &Cx, parts: &Parts<'_>) -> String {
    let region = parts.region.unwrap_or(&cx.region);
    let account = parts.account.unwrap_or(cx.account.as_str());
    function_arn(region, account, parts.name)
}

/// `[arn:PARTITION:lambda:][REGION:][ACCOUNT:][function:]NAME[:QUALIFIER]`
fn split(given: &str) -> Parts<'_> {
    let words: Vec<&str> = given.split(':').collect();
    let mut rest = words.as_slice();
    let mut partition = None;
    if let ["arn", named, _service, after @ ..] = rest
        && !after.is_empty()
    {
        (partition, rest) = (Some(*named), after);
    }
    // A word is only a prefix when something follows: the last but the qualifier is always the name. `my-function-1:live`
    // could begin with a region by its looks; a region is one only before an account or the word `function`.
    let mut prefix = |is_one: fn(&str, &str) -> bool| match rest {
        [first, after @ ..] if after.first().is_some_and(|next| is_one(first, next)) => {
            rest = after;
            Some(*first)
        }
        _ => None,
    };
    let region = prefix(|word, next| is_region(word) && (is_account(next) || next == "function"));
    let account = prefix(|word, _| is_account(word));
    prefix(|word, _| word == "function");
    Parts { partition, region, account, name: rest[0], qualifier: rest.get(1).copied() }
}

fn is_account(word: &str) -> bool {
    word.len() == 12 && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// `us-east-1`, `us-gov-west-1`: two letters, words, one digit.
fn is_region(word: &str) -> bool {
    let mut parts = word.split('-');
    let country = parts.next().is_some_and(|part| part.len() == 2 || part == "eusc");
    let digit = parts.next_back().is_some_and(|part| part.len() == 1 && part.bytes().all(|b| b.is_ascii_digit()));
    country && digit && parts.next().is_some()
}

#[cfg(test)]
pub(crate) mod tests {
    use wire::{Principal, TraceContext};

    use super::*;

    /// Of somebody in account 123456789012, in us-west-2.
    pub(crate) fn cx() -> Cx {
        let account = AccountId::parse("123456789012").unwrap();
        Cx {
            account: account.clone(),
            region: "us-west-2".to_owned(),
            principal: Principal::Root { account },
            request_id: "r".to_owned(),
            trace: TraceContext::new(sys::Timestamp::default(), &sys::Rng::seeded(1)),
            source_ip: None,
            host: "localhost".to_owned(),
            unasked: Vec::new(),
        }
    }

    #[test]
    fn every_form_of_a_name_means_the_same_function() {
        for (given, qualifier) in [
            ("my-function", None),
            ("my-function:v1", Some("v1")),
            ("my-function:$LATEST", Some("$LATEST")),
            ("function:my-function", None),
            ("123456789012:function:my-function", None),
            ("123456789012:my-function:v1", Some("v1")),
            ("us-west-2:123456789012:function:my-function", None),
            ("arn:aws:lambda:us-west-2:123456789012:function:my-function", None),
            ("arn:aws:lambda:us-west-2:123456789012:function:my-function:$LATEST", Some("$LATEST")),
        ] {
            let parsed = FunctionName::parse(&cx(), given, None).unwrap();
            assert_eq!((parsed.name.as_str(), parsed.qualifier.as_deref()), ("my-function", qualifier), "{given}");
        }
        for like_a_region in ["my-function-1", "fn-5367-1", "us-west-2"] {
            let parsed = FunctionName::parse(&cx(), &format!("{like_a_region}:live"), None).unwrap();
            assert_eq!((parsed.name.as_str(), parsed.qualifier.as_deref()), (like_a_region, Some("live")));
        }
        for odd in ["function", "123456789012", "us-west-2"] {
            assert_eq!(FunctionName::parse(&cx(), odd, None).unwrap().name, odd);
        }
    }

    #[test]
    fn other_regions_accounts_and_qualifiers_are_refused() {
        let code = |given: &str, qualifier| {
            use wire::ServiceError as _;
            FunctionName::parse(&cx(), given, qualifier).map_err(|error| error.code())
        };
        let here = "arn:aws:lambda:us-west-2:123456789012:function:f:a";
        let region = "arn:aws:lambda:eu-west-1:123456789012:function:f";
        let account = "arn:aws:lambda:us-west-2:999999999999:function:f";
        for partition in ["aws-cn", ""] {
            let elsewhere = format!("arn:{partition}:lambda:us-west-2:123456789012:function:f");
            assert_eq!(code(&elsewhere, None).unwrap_err(), "ResourceNotFoundException");
        }
        assert_eq!(code(here, Some("b")).unwrap_err(), "InvalidParameterValueException");
        assert_eq!(code(here, Some("a")).unwrap().qualifier.as_deref(), Some("a"));
        assert_eq!(code(region, None).unwrap_err(), "ResourceNotFoundException");
        assert_eq!(code(account, None).unwrap_err(), "AccessDeniedException");
        assert_eq!(code(&"x".repeat(65), None).unwrap_err(), "ValidationException");
    }

    #[test]
    fn the_resource_is_what_the_caller_means() {
        let resource = |given: &str| resource(&cx(), given).0[0].clone();
        assert_eq!(resource("f:v1"), "arn:aws:lambda:us-west-2:123456789012:function:f");
        let foreign = "arn:aws:lambda:eu-west-1:999999999999:function:f";
        assert_eq!(resource(foreign), foreign);
        let qualified = |given: &str, qualifier| qualified_resource(&cx(), given, qualifier).0[0].clone();
        let here = "arn:aws:lambda:us-west-2:123456789012:function:f";
        assert_eq!(qualified("f:v1", None), format!("{here}:v1"));
        assert_eq!(qualified("f", Some("v1")), format!("{here}:v1"));
        assert_eq!(qualified("f", None), here);
        for given in ["f", "f:dev", &format!("{here}:dev")] {
            assert_eq!(alias_resource(&cx(), given, "prod").0, [format!("{here}:prod")], "{given}");
        }
    }
}
