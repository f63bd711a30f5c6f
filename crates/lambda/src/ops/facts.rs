//! What authorisation hears about a function or a layer before anybody touches it: its policy and its tags.

use std::sync::Arc;

use wire::{AccountId, Arn, ResourceFacts};

use super::layers::LayerName;
use crate::error::LambdaError;
use crate::keys::{self, FunctionRecord, Key, LayerRecord, PolicyRecord};
use crate::name::FunctionName;
use crate::qualifier::Qualifier;
use crate::state::Lambda;

/// The facts of an ARN; of what does not exist there are none.
pub(crate) async fn of(lambda: Lambda, arn: String) -> Result<ResourceFacts, LambdaError> {
    let Some(parsed) = Arn::parse(&arn) else { return Ok(ResourceFacts::default()) };
    let Some(account) = AccountId::parse(&parsed.account) else { return Ok(ResourceFacts::default()) };
    let cx = lambda.own_cx(account, parsed.region.clone());
    match parsed.resource.split(':').next() {
        Some("function") => match FunctionName::parse(&cx, &arn, None) {
            Ok(name) => function(&lambda, &cx, name).await,
            Err(_) => Ok(ResourceFacts::default()),
        },
        Some("layer") => layer(&lambda, &cx, &arn).await,
        _ => Ok(ResourceFacts::default()),
    }
}

/// A qualifier has a policy of its own; `$LATEST` is guarded by the function's.
async fn function(lambda: &Lambda, cx: &wire::Cx, name: FunctionName) -> Result<ResourceFacts, LambdaError> {
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
        owner: None,
        policy: policy.and_then(|policy| policy.document()).map(Arc::from),
        tags: function.map(|function| function.tags.into_iter().collect()).unwrap_or_default(),
    })
}

async fn layer(lambda: &Lambda, cx: &wire::Cx, arn: &str) -> Result<ResourceFacts, LambdaError> {
    let Some((layer, version)) = super::layers::split_arn(arn) else { return Ok(ResourceFacts::default()) };
    let Ok(name) = LayerName::parse(cx, layer) else { return Ok(ResourceFacts::default()) };
    let place = name.place(cx);
    let found = lambda.kv.read(|tx| async move { keys::get::<LayerRecord>(&tx, &Key::Layer(place, version)).await });
    let policy = found.await?.and_then(|layer| layer.policy.document()).map(Arc::from);
    Ok(ResourceFacts { policy, ..ResourceFacts::default() })
}
