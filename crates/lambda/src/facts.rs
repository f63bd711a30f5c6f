//! What authorisation hears about a function or a layer before anybody touches it: its policy and its tags.

use std::sync::Arc;

use wire::{AccountId, Arn, Cx, ResourceFacts};

use crate::error::LambdaError;
use crate::keys::{self, FunctionRecord, Key, LayerRecord, PolicyRecord};
use crate::name::FunctionName;
use crate::ops::layers::{LayerName, split_arn};
use crate::qualifier::Qualifier;
use crate::state::Lambda;

/// The column of the table.
pub(crate) async fn facts(lambda: Lambda, arn: String) -> Result<ResourceFacts, LambdaError> {
    lambda.facts(&arn).await
}

impl Lambda {
    /// Owner, policy and tags of the function or layer version that `arn` names; nothing when there is none.
    ///
    /// # Errors
    /// `ServiceException` when the store does not answer.
    pub(crate) async fn facts(&self, arn: &str) -> Result<ResourceFacts, LambdaError> {
        let Some(parsed) = Arn::parse(arn) else { return Ok(ResourceFacts::default()) };
        let Some(account) = AccountId::parse(&parsed.account) else { return Ok(ResourceFacts::default()) };
        let cx = self.own_cx(account, parsed.region.clone());
        match parsed.resource.split(':').next() {
            Some("function") => match FunctionName::parse(&cx, arn, None) {
                Ok(name) => function(self, &cx, name).await,
                Err(_) => Ok(ResourceFacts::default()),
            },
            Some("layer") => layer(self, &cx, arn).await,
            _ => Ok(ResourceFacts::default()),
        }
    }
}

/// A qualifier has a policy of its own; `$LATEST` is guarded by the function's.
async fn function(lambda: &Lambda, cx: &Cx, name: FunctionName) -> Result<ResourceFacts, LambdaError> {
    let name = match Qualifier::of(name.qualifier.as_deref()) {
        Qualifier::Latest => name.unqualified(),
        _ => name,
    };
    let (place, qualifier) = (name.place(cx), name.qualifier.as_deref().unwrap_or_default());
    let (policy, function) = lambda
        .kv
        .read(|tx| async move {
            let policy: Option<PolicyRecord> = keys::get(&tx, &Key::Policy(place, qualifier)).await?;
            let function: Option<FunctionRecord> = keys::get(&tx, &Key::Function(place)).await?;
            Ok::<_, LambdaError>((policy, function))
        })
        .await?;
    Ok(ResourceFacts {
        owner: function.is_some().then(|| cx.account.clone()),
        policy: policy.and_then(|policy| policy.document()).map(Arc::from),
        tags: function.map(|function| function.tags.into_iter().collect()).unwrap_or_default(),
    })
}

async fn layer(lambda: &Lambda, cx: &Cx, arn: &str) -> Result<ResourceFacts, LambdaError> {
    let Some((layer, version)) = split_arn(arn) else { return Ok(ResourceFacts::default()) };
    let Ok(name) = LayerName::parse(cx, layer) else { return Ok(ResourceFacts::default()) };
    let place = name.place(cx);
    let found = lambda.kv.read(|tx| async move { keys::get::<LayerRecord>(&tx, &Key::Layer(place, version)).await });
    let policy = found.await?.and_then(|layer| layer.policy.document()).map(Arc::from);
    Ok(ResourceFacts { policy, ..ResourceFacts::default() })
}
