//! How a service is put together: a line for each operation, then the columns that not every line has.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use super::{Action, Call, Check, Facts, Further, HeadCheck, Keys, Line, Output, Service, typed};
use crate::error::to_api_error;
use crate::shape::ServiceShape;
use crate::{
    ApiError, Asked, Body, ConditionKeys, Cx, IntoValue, Operation, Permission, Resource, ResourceFacts, ServiceError,
};

/// Puts a column there. A second one would silently take the place of a right that the first asks for.
fn put<T>(place: &mut Option<T>, column: T, name: &str) {
    assert!(place.is_none(), "a line has two columns `{name}`");
    *place = Some(column);
}

/// A [`Service`] under construction.
pub struct Table<S> {
    shape: &'static ServiceShape,
    state: S,
    lines: Vec<Line>,
    facts: Option<Facts>,
    is_open_to_grants: bool,
}

impl<S: Clone + Send + Sync + 'static> Table<S> {
    pub(super) fn new(shape: &'static ServiceShape, state: S) -> Self {
        Self { shape, state, lines: Vec::new(), facts: None, is_open_to_grants: false }
    }

    /// Adds a line: the operation, its handler, its IAM action and the resources it touches.
    #[must_use]
    pub fn op<O, Fut, E>(
        mut self,
        handler: fn(S, Cx, O::Input) -> Fut,
        action: &'static str,
        resource: fn(&Cx, &O::Input) -> Resource,
    ) -> Self
    where
        O: Operation,
        Fut: Future<Output = Result<O::Output, E>> + Send + 'static,
        E: ServiceError,
    {
        let state = self.state.clone();
        let call: Call = Box::new(move |cx, input, _| {
            let state = state.clone();
            Box::pin(async move {
                let output = handler(state, cx, typed::<O>(input)?).await.map_err(to_api_error)?;
                Ok(Output { value: output.into_value(), body: None })
            })
        });
        self.lines.push(Line::of::<O>(action, resource, false, call));
        self
    }

    /// Adds a line whose payload streams: the handler gets the request's body as it arrives and answers with one.
    /// The typed structs have no member for a streaming payload. An operation that streams in one direction only gets,
    /// or answers with, [`Body::empty`] in the other.
    #[must_use]
    pub fn stream<O, Fut, E>(
        mut self,
        handler: fn(S, Cx, O::Input, Body) -> Fut,
        action: &'static str,
        resource: fn(&Cx, &O::Input) -> Resource,
    ) -> Self
    where
        O: Operation,
        Fut: Future<Output = Result<(O::Output, Body), E>> + Send + 'static,
        E: ServiceError,
    {
        let state = self.state.clone();
        let streams_out = O::SHAPE.output_streams();
        let call: Call = Box::new(move |cx, input, body| {
            let state = state.clone();
            Box::pin(async move {
                let (output, body) = handler(state, cx, typed::<O>(input)?, body).await.map_err(to_api_error)?;
                Ok(Output { value: output.into_value(), body: streams_out.then_some(body) })
            })
        });
        self.lines.push(Line::of::<O>(action, resource, true, call));
        self
    }

    /// What an input of the line of `O`, which stands already, must be within before anybody is asked about it: bounds
    /// that the model does not state on lists that become one question for each element, such as S3's 1,000 keys.
    ///
    /// # Panics
    /// When no line serves `O`, or it has a check.
    #[must_use]
    pub fn check<O: Operation, E: ServiceError>(mut self, check: fn(&O::Input) -> Result<(), E>) -> Self {
        let column: Check = Box::new(move |input| match input.downcast_ref::<O::Input>() {
            Some(input) => check(input).map_err(to_api_error),
            None => Err(ApiError::internal("an input reached another operation's check")),
        });
        put(&mut self.line_of::<O>().check, column, "check");
        self
    }

    /// What the headers of a request to the line of `O`, which stands already, must not be, where the model has no member
    /// for them: S3 refuses reads that name an encryption.
    ///
    /// # Panics
    /// When no line serves `O`, or it has this column.
    #[must_use]
    pub fn head_check<O: Operation, E: ServiceError>(mut self, check: fn(&HeaderMap) -> Result<(), E>) -> Self {
        let column: HeadCheck = Box::new(move |head| check(head).map_err(to_api_error));
        put(&mut self.line_of::<O>().head_check, column, "head_check");
        self
    }

    /// The line of `O`, which stands already, is for callers of the resource's account alone: whatever the resource's
    /// policy says, others and strangers are denied. AWS documents such operations with "cross-account permissions don't
    /// apply to this action" (SQS API reference, `SetQueueAttributes` and others).
    ///
    /// # Panics
    /// When no line serves `O`.
    #[must_use]
    pub fn owners_only<O: Operation>(mut self) -> Self {
        self.line_of::<O>().is_owners_only = true;
        self
    }

    /// The line of `O`, which stands already, makes its resource: no facts of whatever has the name already are looked
    /// up, and the handler answers that the name is taken (`BucketAlreadyExists`).
    ///
    /// # Panics
    /// When no line serves `O`.
    #[must_use]
    pub fn makes<O: Operation>(mut self) -> Self {
        self.line_of::<O>().makes_resource = true;
        self
    }

    /// Which questions of the line of `O`, which stands already, are about reading something: that it is absent is told
    /// to whoever could list it, also without the right that is asked about, and to nobody else ([`Absence::known_to`]).
    ///
    /// # Panics
    /// When no line serves `O`.
    #[must_use]
    pub fn tells_absence<O: Operation>(mut self, tells: fn(&Asked) -> bool) -> Self {
        self.line_of::<O>().tells_absence = tells;
        self
    }

    /// Which questions of the line of `O`, which stands already, need no answer once the facts are known, such as that
    /// about reading the tags of an object that has none. The handler finds them in [`Cx::unasked`].
    ///
    /// # Panics
    /// When no line serves `O`.
    #[must_use]
    pub fn moot<O: Operation>(mut self, is_moot: fn(&Asked) -> bool) -> Self {
        self.line_of::<O>().is_moot = is_moot;
        self
    }

    /// Names what the line of `O`, which stands already, needs beside its action: dependent actions such as
    /// `iam:PassRole` wherever a role is attached ([`Permission::pass_role`]), or `s3:GetObject` on a copy's source.
    ///
    /// # Panics
    /// When no line serves `O`, or it has this column: a mistake in the table, found at start.
    #[must_use]
    pub fn also<O: Operation>(mut self, further: fn(&Cx, &O::Input) -> Vec<Permission>) -> Self {
        let column: Further = Box::new(move |cx, input| {
            input.downcast_ref::<O::Input>().map(|input| further(cx, input)).unwrap_or_default()
        });
        put(&mut self.line_of::<O>().further, column, "also");
        self
    }

    /// As [`Self::also`], for what depends on the service's state too, such as its clock.
    ///
    /// # Panics
    /// As [`Self::also`].
    #[must_use]
    pub fn also_by<O: Operation>(mut self, further: fn(&S, &Cx, &O::Input) -> Vec<Permission>) -> Self {
        let state = self.state.clone();
        let column: Further = Box::new(move |cx, input| {
            input.downcast_ref::<O::Input>().map(|input| further(&state, cx, input)).unwrap_or_default()
        });
        put(&mut self.line_of::<O>().further, column, "also");
        self
    }

    /// The condition keys of the line of `O`, which stands already: `aws:RequestTag/…`, `s3:prefix`, `sns:Protocol` …
    ///
    /// # Panics
    /// When no line serves `O`, or it has this column.
    #[must_use]
    pub fn keys<O: Operation>(mut self, keys: fn(&Cx, &O::Input) -> ConditionKeys) -> Self {
        let column: Keys = Box::new(move |cx, input| {
            input.downcast_ref::<O::Input>().map(|input| keys(cx, input)).unwrap_or_default()
        });
        put(&mut self.line_of::<O>().keys, column, "keys");
        self
    }

    /// As [`Self::keys`], for what depends on the service's state too, such as its clock.
    ///
    /// # Panics
    /// As [`Self::keys`].
    #[must_use]
    pub fn keys_by<O: Operation>(mut self, keys: fn(&S, &Cx, &O::Input) -> ConditionKeys) -> Self {
        let state = self.state.clone();
        let column: Keys = Box::new(move |cx, input| {
            input.downcast_ref::<O::Input>().map(|input| keys(&state, cx, input)).unwrap_or_default()
        });
        put(&mut self.line_of::<O>().keys, column, "keys");
        self
    }

    /// Another action than the line's own for some inputs, such as `s3:GetObjectVersion` when one is named.
    ///
    /// # Panics
    /// When no line serves `O`, or it has this column.
    #[must_use]
    pub fn instead<O: Operation>(mut self, action: fn(&O::Input) -> Option<&'static str>) -> Self {
        let column: Action = Box::new(move |input| input.downcast_ref::<O::Input>().and_then(action));
        put(&mut self.line_of::<O>().instead, column, "instead");
        self
    }

    /// The content type of the payload that the line of `O`, which stands already, answers with, where the model says no more
    /// than "a blob": Lambda's Invoke gives back the function's JSON.
    ///
    /// # Panics
    /// When no line serves `O`, or it has this column.
    #[must_use]
    pub fn payload_type<O: Operation>(mut self, content_type: &'static str) -> Self {
        put(&mut self.line_of::<O>().payload_type, HeaderValue::from_static(content_type), "payload_type");
        self
    }

    /// Where the facts of a resource come from: its owner when the ARN does not name it (buckets), its policy, its
    /// tags. Asked before authorisation with the ARN that a line names, also by other services' dependent actions, so
    /// it says nothing of what does not exist; an error is the answer to the request.
    #[must_use]
    pub fn facts<Fut, E>(mut self, facts: fn(S, String) -> Fut) -> Self
    where
        Fut: Future<Output = Result<ResourceFacts, E>> + Send + 'static,
        E: ServiceError,
    {
        let state = self.state.clone();
        self.facts = Some(Arc::new(move |arn, _| {
            let found = facts(state.clone(), arn);
            Box::pin(async move { found.await.map_err(to_api_error) })
        }));
        self
    }

    /// The same for a service whose facts depend on more than the ARN: on the condition keys of its own lines.
    #[must_use]
    pub fn facts_in<Fut, E>(mut self, facts: fn(S, String, ConditionKeys) -> Fut) -> Self
    where
        Fut: Future<Output = Result<ResourceFacts, E>> + Send + 'static,
        E: ServiceError,
    {
        let state = self.state.clone();
        self.facts = Some(Arc::new(move |arn, keys| {
            let found = facts(state.clone(), arn, keys);
            Box::pin(async move { found.await.map_err(to_api_error) })
        }));
        self
    }

    /// Requests without a signature get as far as authorisation, as of S3, SQS and SNS: a resource's policy decides.
    #[must_use]
    pub fn open_to_grants(mut self) -> Self {
        self.is_open_to_grants = true;
        self
    }

    fn line_of<O: Operation>(&mut self) -> &mut Line {
        let line = self.lines.iter_mut().find(|line| line.shape.name == O::SHAPE.name);
        line.expect("a further column follows the line that it belongs to")
    }

    /// The finished service.
    ///
    /// # Panics
    /// When two lines serve the same operation: a mistake in the table, found at start.
    pub fn build(self) -> Service {
        for (at, line) in self.lines.iter().enumerate() {
            let again = self.lines[..at].iter().any(|earlier| earlier.shape.name == line.shape.name);
            assert!(!again, "{} stands twice in the table of {}", line.shape.name, self.shape.name);
        }
        let Self { shape, lines, facts, is_open_to_grants, .. } = self;
        Service { shape, is_open_to_grants, lines: Arc::new(lines), facts }
    }
}
