//! Tags of event source mappings. The operations are this service's, and the mappings another crate's: this is the seam.

use std::collections::BTreeMap;

use wire::{AccountId, Arn, Cx};

use crate::error::LambdaError;
use crate::invoke::BoxFuture;
use crate::ops::settings;

/// Tags of a resource.
pub type Tags = BTreeMap<String, String>;

/// An event source mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingName {
    /// Whose it is.
    pub account: AccountId,
    /// Where it is.
    pub region: String,
    /// Its id.
    pub uuid: String,
}

impl MappingName {
    /// Reads an ARN of a mapping of the caller's.
    ///
    /// # Errors
    /// `ResourceNotFoundException` for what is none.
    pub(crate) fn parse(cx: &Cx, given: &str) -> Result<Self, LambdaError> {
        let own = Arn::parse(given).filter(|arn| arn.region == cx.region && arn.account == cx.account.as_str());
        match own.as_ref().and_then(|arn| arn.resource.strip_prefix("event-source-mapping:")) {
            Some(uuid) => Ok(Self { account: cx.account.clone(), region: cx.region.clone(), uuid: uuid.to_owned() }),
            None => Err(Self::not_found()),
        }
    }

    /// `arn:aws:lambda:REGION:ACCOUNT:event-source-mapping:UUID`.
    pub fn arn(&self) -> String {
        format!("arn:aws:lambda:{}:{}:event-source-mapping:{}", self.region, self.account, self.uuid)
    }

    /// There is none of that name.
    pub fn not_found() -> LambdaError {
        LambdaError::ResourceNotFoundException("The resource you requested does not exist.".to_owned())
    }
}

/// A change of a resource's tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagChange {
    /// These come to those that are there, or in their place.
    Add(Tags),
    /// Those with these keys go.
    Remove(Vec<String>),
}

impl TagChange {
    /// The tags after it.
    ///
    /// # Errors
    /// `InvalidParameterValueException` when they are too many.
    pub fn of(&self, mut tags: Tags) -> Result<Tags, LambdaError> {
        match self {
            Self::Add(added) => {
                tags.extend(added.clone());
                settings::tags(Some(tags))
            }
            Self::Remove(keys) => {
                tags.retain(|tag, _| !keys.contains(tag));
                Ok(tags)
            }
        }
    }
}

/// Whoever keeps event source mappings.
pub trait MappingTags: Send + Sync + 'static {
    /// The tags of a mapping.
    ///
    /// # Errors
    /// `ResourceNotFoundException` when there is none.
    fn tags(&self, mapping: MappingName) -> BoxFuture<Result<Tags, LambdaError>>;

    /// Changes them, durably.
    ///
    /// # Errors
    /// As [`MappingTags::tags`] and [`TagChange::of`].
    fn change(&self, mapping: MappingName, change: TagChange) -> BoxFuture<Result<(), LambdaError>>;
}
