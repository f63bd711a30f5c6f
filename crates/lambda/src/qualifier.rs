//! From a qualifier to the version that it means: `$LATEST`, a number, or an alias and its weights.

use bytes::Bytes;
use kv::Txn;
use wire::Cx;

use crate::LATEST;
use crate::error::LambdaError;
use crate::function::Concurrency;
use crate::keys::{self, AliasRecord, FunctionRecord, Key, ProvisionedRecord, SettingsRecord, UsageRecord};
use crate::name::FunctionName;
use crate::state::Lambda;

/// The version behind a name.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    /// [`LATEST`] or a number.
    pub(crate) version: String,
    pub(crate) record: FunctionRecord,
    /// The alias that led here, where one did.
    pub(crate) alias: Option<AliasRecord>,
}

/// A qualifier as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Qualifier<'a> {
    /// None, or `$LATEST`.
    Latest,
    /// A published version.
    Number(u64),
    /// An alias: the model keeps names that are numbers from being aliases.
    Alias(&'a str),
}

impl<'a> Qualifier<'a> {
    /// Reads a qualifier. A number that no version can have is an alias that cannot exist.
    pub(crate) fn of(qualifier: Option<&'a str>) -> Self {
        match qualifier {
            None | Some(LATEST) => Self::Latest,
            Some(text) => {
                let number = text.parse::<u64>().ok().filter(|number| number.to_string() == text);
                number.map_or(Self::Alias(text), Self::Number)
            }
        }
    }
}

/// The version that `name` means, as it is now. Of an alias with weights, `chance` (0–1) picks one.
///
/// # Errors
/// `ResourceNotFoundException` when there is none.
pub(crate) async fn resolve(tx: &Txn, cx: &Cx, name: &FunctionName, chance: f64) -> Result<Resolved, LambdaError> {
    let (version, alias) = version_meant(tx, cx, name, chance).await?;
    Ok(Resolved { record: version_record(tx, cx, name, &version).await?, version, alias })
}

/// The version that `name` means, whether it exists or not, and the alias that led there. Of an alias with weights, `chance`
/// (0–1) picks one.
///
/// # Errors
/// `ResourceNotFoundException` when there is no such alias.
pub(crate) async fn version_meant(
    tx: &Txn,
    cx: &Cx,
    name: &FunctionName,
    chance: f64,
) -> Result<(String, Option<AliasRecord>), LambdaError> {
    match Qualifier::of(name.qualifier.as_deref()) {
        Qualifier::Latest => Ok((LATEST.to_owned(), None)),
        Qualifier::Number(number) => Ok((number.to_string(), None)),
        Qualifier::Alias(alias) => {
            let found: Option<AliasRecord> = keys::get(tx, &Key::Alias(name.place(cx), alias)).await?;
            let found = found.ok_or_else(|| LambdaError::function_not_found(&name.qualified_arn(cx)))?;
            Ok((pick(&found, chance).to_owned(), Some(found)))
        }
    }
}

/// The record of one version of `name`, whatever qualifier `name` has.
///
/// # Errors
/// `ResourceNotFoundException` when there is none.
pub(crate) async fn version_record(
    tx: &Txn,
    cx: &Cx,
    name: &FunctionName,
    version: &str,
) -> Result<FunctionRecord, LambdaError> {
    Ok(keys::decode(&version_bytes(tx, cx, name, version).await?)?)
}

/// The same as it is stored.
///
/// # Errors
/// As [`version_record`].
pub(crate) async fn version_bytes(tx: &Txn, cx: &Cx, name: &FunctionName, version: &str) -> Result<Bytes, LambdaError> {
    let place = name.place(cx);
    let found = match Qualifier::of(Some(version)) {
        Qualifier::Latest => tx.get(Key::Function(place).pack()).await?,
        Qualifier::Number(number) => tx.get(Key::Version(place, number).pack()).await?,
        // `01`, or more digits than a number has: no version is called so.
        Qualifier::Alias(_) => None,
    };
    found.ok_or_else(|| {
        let qualified = match name.qualifier {
            None if version != LATEST => format!("{}:{version}", name.arn(cx)),
            _ => name.qualified_arn(cx),
        };
        LambdaError::function_not_found(&qualified)
    })
}

/// How much of the account's concurrency the function has, and how many of its environments are kept initialised.
pub(crate) async fn concurrency(
    tx: &Txn,
    cx: &Cx,
    name: &FunctionName,
    version: &str,
) -> Result<Concurrency, LambdaError> {
    let place = name.place(cx);
    let usage = Key::Usage { account: place.account, region: place.region };
    let usage: UsageRecord = keys::get(tx, &usage).await?.unwrap_or_default();
    let settings: SettingsRecord = keys::get(tx, &Key::Settings(place)).await?.unwrap_or_default();
    let mut provisioned = false;
    if version != LATEST {
        for qualifier in [Some(version), name.qualifier.as_deref()].into_iter().flatten() {
            let key = Key::Provisioned(place, qualifier);
            provisioned |= keys::get::<ProvisionedRecord>(tx, &key).await?.is_some();
        }
    }
    let environments_max = settings.environments.get(version).and_then(|environments| environments.max);
    Ok(Concurrency { reserved: settings.reserved, account_reserved: usage.reserved, provisioned, environments_max })
}

/// The version that one invocation of an alias goes to.
fn pick(alias: &AliasRecord, chance: f64) -> &str {
    let mut before = 0.0;
    for (version, weight) in &alias.weights {
        before += weight;
        if chance < before {
            return version;
        }
    }
    &alias.version
}

impl Lambda {
    /// A number of chance in 0–1, for the weights of an alias.
    pub(crate) fn chance(&self) -> f64 {
        const STEPS: u32 = 1 << 30;
        let step = u32::try_from(self.rng.below(u64::from(STEPS))).unwrap_or(0);
        f64::from(step) / f64::from(STEPS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qualifiers_are_told_apart() {
        for (text, expected) in [
            (None, Qualifier::Latest),
            (Some("$LATEST"), Qualifier::Latest),
            (Some("7"), Qualifier::Number(7)),
            (Some("prod"), Qualifier::Alias("prod")),
            (Some("7a"), Qualifier::Alias("7a")),
            (Some("07"), Qualifier::Alias("07")),
            (Some("99999999999999999999"), Qualifier::Alias("99999999999999999999")),
        ] {
            assert_eq!(Qualifier::of(text), expected);
        }
    }

    #[test]
    fn weights_share_out_the_invocations() {
        let alias = AliasRecord {
            version: "1".to_owned(),
            description: String::new(),
            weights: [("2".to_owned(), 0.25)].into(),
            revision_id: String::new(),
        };
        for (chance, version) in [(0.0, "2"), (0.249, "2"), (0.25, "1"), (0.999, "1")] {
            assert_eq!(pick(&alias, chance), version, "{chance}");
        }
    }
}
