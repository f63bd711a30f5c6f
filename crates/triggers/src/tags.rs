//! Tags of mappings, for the operations of the Lambda service.

use std::sync::{Arc, Weak};

use lambda::invoke::BoxFuture;
use lambda::{LambdaError, MappingName, MappingTags, TagChange, Tags};

use crate::keys::{self, Key, MappingRecord, State};
use crate::ops::{check_fits, in_use};
use crate::state::{Parts, Triggers};

/// The mappings, as long as they are served: who is given this has given us the functions.
struct Mappings(Weak<Parts>);

impl Triggers {
    /// The tags of all mappings.
    pub fn tags(&self) -> impl MappingTags + use<> {
        Mappings(self.downgrade())
    }
}

impl Mappings {
    fn parts(&self) -> Result<Arc<Parts>, LambdaError> {
        self.0.upgrade().ok_or_else(|| LambdaError::internal("event source mappings are served no more"))
    }
}

fn key(mapping: &MappingName) -> bytes::Bytes {
    let MappingName { account, region, uuid } = mapping;
    Key::Mapping { account: account.as_str(), region, uuid }.pack()
}

fn found(value: Option<bytes::Bytes>) -> Result<MappingRecord, LambdaError> {
    Ok(keys::decode(&value.ok_or_else(MappingName::not_found)?)?)
}

impl MappingTags for Mappings {
    fn tags(&self, mapping: MappingName) -> BoxFuture<Result<Tags, LambdaError>> {
        let parts = self.parts();
        Box::pin(async move {
            let (parts, key) = (parts?, key(&mapping));
            let value = parts.kv.read(|tx| async move { tx.get(key).await }).await?;
            found(value).map(|record| record.tags)
        })
    }

    fn change(&self, mapping: MappingName, change: TagChange) -> BoxFuture<Result<(), LambdaError>> {
        let parts = self.parts();
        Box::pin(async move {
            let (parts, key, change) = (parts?, &key(&mapping), &change);
            let changed = parts.kv.transact(|tx| async move {
                let mut record = found(tx.get(key).await?)?;
                if record.state == State::Deleting {
                    return Err(in_use());
                }
                record.tags = change.of(record.tags)?;
                check_fits(&record)?;
                // No revision: a poller goes on, for which nothing has changed.
                tx.set(key.clone(), keys::encode(&record));
                Ok(())
            });
            changed.await
        })
    }
}
