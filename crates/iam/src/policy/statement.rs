//! A compiled statement and whether it speaks of a request.

use super::condition::Condition;
use super::pattern::{ArnPattern, Pattern};
use super::principal::{Directness, Principals};
use super::request::Request;
use super::services::Services;

/// What a matching statement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Allow,
    Deny,
}

#[derive(Debug)]
pub(super) struct Statement {
    pub(super) sid: Option<Box<str>>,
    pub(super) effect: Effect,
    /// Absent in policies that are attached to a principal.
    pub(super) principals: Option<Principals>,
    /// `NotAction` instead of `Action`.
    pub(super) not_action: bool,
    pub(super) actions: Vec<Pattern>,
    /// Those that the actions are of.
    pub(super) services: Services,
    /// `NotResource` instead of `Resource`.
    pub(super) not_resource: bool,
    /// Absent in trust policies, which speak of the role that they belong to.
    pub(super) resources: Option<Vec<ArnPattern>>,
    pub(super) conditions: Vec<Condition>,
}

/// The first element that does not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    Action,
    Resource,
    Principal,
    /// By index.
    Condition(usize),
}

impl Statement {
    /// How directly it speaks of `request`, or why it does not.
    pub(super) fn check(&self, request: &Request<'_>) -> Result<Directness, Miss> {
        if self.actions.iter().any(|action| action.matches(request.action, request)) == self.not_action {
            return Err(Miss::Action);
        }
        if let Some(resources) = &self.resources
            && resources.iter().any(|resource| resource.matches(request.resource, request)) == self.not_resource
        {
            return Err(Miss::Resource);
        }
        let directness = match &self.principals {
            None => Directness::Direct,
            Some(principals) => principals.cover(&request.principal).ok_or(Miss::Principal)?,
        };
        match self.conditions.iter().position(|condition| !condition.holds(request)) {
            Some(index) => Err(Miss::Condition(index)),
            None => Ok(directness),
        }
    }
}
