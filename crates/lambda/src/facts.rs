//! What authorisation hears about a function, a layer or a code signing configuration before anybody touches it: its policy and its tags.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::{AccountId, Arn, Cx, ResourceFacts};

use crate::error::LambdaError;
use crate::keys::{self, CodeSigningRecord, Key, LayerRecord, Place, PolicyRecord};
use crate::limits::NAME_LENGTH_MAX;
use crate::mapping_tags::MappingName;
use crate::ops::layers::{LayerName, split_arn};
use crate::qualifier::Qualifier;
use crate::remembered::Records;
use crate::state::Lambda;

/// The column of the table.
pub(crate) async fn facts(lambda: Lambda, arn: String) -> Result<ResourceFacts, LambdaError> {
    lambda.facts(&arn).await
}

impl Lambda {
    /// Owner, policy and tags of the function, layer version or code signing configuration that `arn` names; nothing when there is none.
    ///
    /// # Errors
    /// `ServiceException` when the store does not answer.
    pub(crate) async fn facts(&self, arn: &str) -> Result<ResourceFacts, LambdaError> {
        let Some(parsed) = Arn::parse(arn).filter(|parsed| parsed.service == "lambda") else {
            return Ok(ResourceFacts::default());
        };
        let Some(account) = AccountId::parse(&parsed.account) else { return Ok(ResourceFacts::default()) };
        match parsed.resource.split_once(':') {
            Some(("function", name)) => {
                let (name, qualifier) = name.split_once(':').map_or((name, None), |(name, rest)| (name, Some(rest)));
                if name.is_empty() || name.len() > NAME_LENGTH_MAX {
                    return Ok(ResourceFacts::default());
                }
                let place = Place { account: account.as_str(), region: &parsed.region, name };
                self.function_facts(arn, place, qualifier, &account).await
            }
            Some(("capacity-provider", name)) => {
                let place = Place { account: account.as_str(), region: &parsed.region, name };
                let found =
                    self.kv.read(|tx| async move { keys::get::<Tagged>(&tx, &Key::Capacity(place)).await }).await?;
                Ok(ResourceFacts {
                    owner: found.is_some().then(|| account.clone()),
                    tags: found.map(|found| found.tags.into_iter().collect()).unwrap_or_default(),
                    ..ResourceFacts::default()
                })
            }
            Some(("event-source-mapping", uuid)) => {
                let name =
                    MappingName { account: account.clone(), region: parsed.region.clone(), uuid: uuid.to_owned() };
                self.mapping_facts(name).await
            }
            Some(("layer", _)) => layer(self, &self.own_cx(account, parsed.region.clone()), arn).await,
            Some(("code-signing-config", name)) => {
                let key = Key::CodeSigning(Place { account: account.as_str(), region: &parsed.region, name });
                let found: Option<CodeSigningRecord> =
                    self.kv.read(|tx| async { keys::get(&{ tx }, &key).await }).await?;
                let tags = found.map(|config| config.tags.into_iter().collect()).unwrap_or_default();
                Ok(ResourceFacts { tags, ..ResourceFacts::default() })
            }
            _ => Ok(ResourceFacts::default()),
        }
    }

    async fn mapping_facts(&self, name: MappingName) -> Result<ResourceFacts, LambdaError> {
        let Some(mappings) = self.mapping_tags.get() else { return Ok(ResourceFacts::default()) };
        let account = name.account.clone();
        match mappings.tags(name).await {
            Ok(tags) => {
                Ok(ResourceFacts { owner: Some(account), tags: tags.into_iter().collect(), ..ResourceFacts::default() })
            }
            Err(LambdaError::ResourceNotFoundException(_)) => Ok(ResourceFacts::default()),
            Err(error) => Err(error),
        }
    }

    /// A qualifier has a policy of its own; `$LATEST` is guarded by the function's. Every invocation asks, so what
    /// follows from the two records is remembered; the records themselves are read each time.
    async fn function_facts(
        &self,
        arn: &str,
        place: Place<'_>,
        qualifier: Option<&str>,
        account: &AccountId,
    ) -> Result<ResourceFacts, LambdaError> {
        let qualifier = match Qualifier::of(qualifier) {
            Qualifier::Latest => "",
            Qualifier::Number(_) | Qualifier::Alias(_) => qualifier.unwrap_or_default(),
        };
        let keys = [Key::Policy(place, qualifier).pack(), Key::Function(place).pack()];
        let [policy_key, function_key] = &keys;
        let records: Records = self
            .kv
            .read(|tx| async move { Ok::<_, LambdaError>([tx.get(policy_key).await?, tx.get(function_key).await?]) })
            .await?;
        if let Some(known) = self.remembered_facts.get(arn, &records) {
            return Ok(known);
        }
        let [policy, function] = &records;
        let policy: Option<PolicyRecord> = policy.as_deref().map(keys::decode).transpose()?;
        let function: Option<Tagged> = function.as_deref().map(keys::decode).transpose()?;
        let facts = ResourceFacts {
            owner: function.is_some().then(|| account.clone()),
            policy: policy.and_then(|policy| policy.document()).map(Arc::from),
            tags: function.map(|function| function.tags.into_iter().collect()).unwrap_or_default(),
            absence: None,
        };
        // Who asks about what does not exist drives nothing out.
        if records.iter().any(Option::is_some) {
            self.remembered_facts.insert(arn, &records, facts.clone());
        }
        Ok(facts)
    }
}

/// What a function's record says to authorisation.
#[derive(serde::Deserialize)]
struct Tagged {
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

async fn layer(lambda: &Lambda, cx: &Cx, arn: &str) -> Result<ResourceFacts, LambdaError> {
    let Some((layer, version)) = split_arn(arn) else { return Ok(ResourceFacts::default()) };
    let Ok(name) = LayerName::parse(cx, layer) else { return Ok(ResourceFacts::default()) };
    let place = name.place(cx);
    let found = lambda.kv.read(|tx| async move { keys::get::<LayerRecord>(&tx, &Key::Layer(place, version)).await });
    let policy = found.await?.and_then(|layer| layer.policy.document()).map(Arc::from);
    Ok(ResourceFacts { policy, ..ResourceFacts::default() })
}
