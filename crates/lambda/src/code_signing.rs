//! Code signing configurations, and the gate that they are.
//!
//! There is no AWS Signer here: no package and no layer carries a signature, so none passes. A configuration with `Enforce`
//! keeps every new deployment out; one with `Warn` lets it in and says so in the server's log. An account that relies on
//! "signed code only" thus never runs new code that nobody signed.
//!
//! As on AWS, what is checked is deployments: CreateFunction, UpdateFunctionCode, and the layers that
//! UpdateFunctionConfiguration adds. Code that is there runs on, a layer is checked when a function gets it and not when it
//! is published, and images are never signed. Source: developer guide, "Using code signing to verify code integrity with Lambda".

use kv::Txn;
use sys::Rng;
use wire::{Arn, Cx};

use crate::error::LambdaError;
use crate::function::LATEST;
use crate::keys::{self, CodeSigningRecord, CodeSigningUse, FunctionRecord, Key, LayerUse, Place, SettingsRecord};
use crate::name::FunctionName;
use crate::state::Lambda;

const KIND: &str = "code-signing-config:";
const ID_ALPHABET: &str = "abcdef0123456789";
const ID_LENGTH: usize = 17;

/// A code signing configuration of the caller's account and region, by its id: `csc-` and 17 letters and digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigId(String);

impl ConfigId {
    /// A new one.
    pub(crate) fn random(rng: &Rng) -> Self {
        Self(format!("csc-{}", rng.string(ID_ALPHABET, ID_LENGTH)))
    }

    /// The one in a record.
    pub(crate) fn of_record(id: String) -> Self {
        Self(id)
    }

    /// The one that an ARN names, whose pattern the model has checked; `None` when it is of another partition, account or region.
    pub(crate) fn parse(cx: &Cx, arn: &str) -> Option<Self> {
        let own = Arn::parse(arn).filter(|arn| arn.region == cx.region && arn.account == cx.account.as_str())?;
        own.resource.strip_prefix(KIND).map(|id| Self(id.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn arn(&self, cx: &Cx) -> String {
        Arn::new("lambda", &cx.region, cx.account.as_str(), format!("{KIND}{}", self.0)).to_string()
    }

    pub(crate) fn place<'a>(&'a self, cx: &'a Cx) -> Place<'a> {
        Place { account: cx.account.as_str(), region: &cx.region, name: &self.0 }
    }

    /// That the function `name` uses it.
    pub(crate) fn use_by<'a>(&'a self, cx: &'a Cx, name: &'a FunctionName) -> Key<'a> {
        Key::CodeSigningUse(self.place(cx), &name.name)
    }
}

/// The configuration that a function is to get. It is asked about before the function is.
///
/// # Errors
/// `CodeSigningConfigNotFoundException` when there is none.
pub(crate) async fn wanted(tx: &Txn, cx: &Cx, arn: &str) -> Result<(ConfigId, CodeSigningRecord), LambdaError> {
    if let Some(id) = ConfigId::parse(cx, arn)
        && let Some(record) = keys::get(tx, &Key::CodeSigning(id.place(cx))).await?
    {
        return Ok((id, record));
    }
    Err(LambdaError::CodeSigningConfigNotFoundException(format!(
        "The code signing configuration cannot be found. Check that the provided configuration is not deleted: {arn}."
    )))
}

/// The configuration of a function; `None` when it has none.
pub(crate) async fn of_function(
    tx: &Txn,
    cx: &Cx,
    name: &FunctionName,
) -> Result<Option<(ConfigId, CodeSigningRecord)>, LambdaError> {
    let settings: SettingsRecord = keys::get(tx, &Key::Settings(name.place(cx))).await?.unwrap_or_default();
    let Some(id) = settings.code_signing.map(ConfigId::of_record) else { return Ok(None) };
    let found = keys::get(tx, &Key::CodeSigning(id.place(cx))).await?;
    let record = found.ok_or_else(|| kv::Error::corrupt("a function has a code signing configuration that is gone"))?;
    Ok(Some((id, record)))
}

/// Gives a function a configuration in place of the one that it has; `None` takes that away. `settings` are written by the
/// caller.
pub(crate) fn change(tx: &Txn, cx: &Cx, name: &FunctionName, settings: &mut SettingsRecord, next: Option<&ConfigId>) {
    if let Some(before) = settings.code_signing.take().map(ConfigId::of_record) {
        tx.clear(before.use_by(cx, name).pack());
    }
    if let Some(next) = next {
        keys::set(tx, &next.use_by(cx, name), &CodeSigningUse {});
        settings.code_signing = Some(next.as_str().to_owned());
    }
}

/// Fails where `config` lets nothing in that nobody signed.
///
/// # Errors
/// `CodeVerificationFailedException`.
pub(crate) fn check(function: &str, config: Option<&(ConfigId, CodeSigningRecord)>) -> Result<(), LambdaError> {
    match config.is_some_and(|(_, config)| config.enforce) {
        true => Err(LambdaError::CodeVerificationFailedException { function: function.to_owned() }),
        false => Ok(()),
    }
}

/// Whether `after` has layers that `before` has not: those are deployed, the others are there already.
pub(crate) fn adds_layers(before: &FunctionRecord, after: &[LayerUse]) -> bool {
    after.iter().any(|layer| before.layers.iter().all(|other| other.arn != layer.arn))
}

impl Lambda {
    /// [`check`], with a line in the log either way. The transaction that deploys asks again, and says nothing.
    ///
    /// # Errors
    /// `CodeVerificationFailedException`.
    pub(crate) fn check_signature(
        &self,
        cx: &Cx,
        name: &FunctionName,
        config: Option<&(ConfigId, CodeSigningRecord)>,
    ) -> Result<(), LambdaError> {
        let verdict = check(&name.name, config);
        if let Some((id, _)) = config {
            tracing::warn!(
                function = name.at(LATEST).qualified_arn(cx),
                code_signing_config = id.arn(cx),
                refused = verdict.is_err(),
                "code without a signature is deployed to a function with a code signing configuration"
            );
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::tests::cx;

    #[test]
    fn an_arn_names_a_configuration_of_this_account_and_region_only() {
        let id = ConfigId::random(&Rng::seeded(1));
        assert_eq!(id.as_str().len(), "csc-".len() + 17);
        assert_eq!(ConfigId::parse(&cx(), &id.arn(&cx())), Some(id.clone()));
        for (part, other) in [("us-west-2", "eu-west-1"), ("123456789012", "999999999999"), (":aws:", ":aws-cn:")] {
            assert_eq!(ConfigId::parse(&cx(), &id.arn(&cx()).replace(part, other)), None, "{other}");
        }
    }
}
