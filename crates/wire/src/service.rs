//! A service as a table of operations. The pipeline runs the columns.

mod table;

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};

use crate::shape::{OperationName, OperationShape, Protocol, ServiceShape};
use crate::{
    ApiError, Asked, Body, ConditionKeys, Cx, FromValue, Operation, Permission, Resource, ResourceFacts, Value,
    identify, protocol, validation,
};

pub use table::Table;

/// A decoded, typed input whose type only its own table line knows.
pub type Input = Box<dyn Any + Send>;

/// A future that the table can store.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

type Decode = fn(Value) -> Result<Input, ApiError>;
type HeadCheck = Box<dyn Fn(&HeaderMap) -> Result<(), ApiError> + Send + Sync>;
type Check = Box<dyn Fn(&Input) -> Result<(), ApiError> + Send + Sync>;
type Resources = Box<dyn Fn(&Cx, &Input) -> Resource + Send + Sync>;
type Keys = Box<dyn Fn(&Cx, &Input) -> ConditionKeys + Send + Sync>;
type Action = Box<dyn Fn(&Input) -> Option<&'static str> + Send + Sync>;
type Further = Box<dyn Fn(&Cx, &Input) -> Vec<Permission> + Send + Sync>;
type Facts = Arc<dyn Fn(String, ConditionKeys) -> BoxFuture<Result<ResourceFacts, ApiError>> + Send + Sync>;
type Call = Box<dyn Fn(Cx, Input, Body) -> BoxFuture<Result<Output, ApiError>> + Send + Sync>;

/// What a handler answered: the members, and for lines of [`Table::stream`] the bytes that follow.
#[derive(Debug)]
pub struct Output {
    /// The output structure without its streaming payload.
    pub value: Value,
    /// The streaming payload; `None` for lines of [`Table::op`].
    pub body: Option<Body>,
}

/// Longest body that [`Service::call`] collects, in bytes.
const COLLECTED_BYTES_MAX: usize = 64 << 20;

/// One line of a service's table.
pub struct Line {
    /// Name, HTTP binding and shapes.
    pub shape: &'static OperationShape,
    /// The IAM action, such as `lambda:InvokeFunction`; what an input may need instead is [`Line::permissions`]'.
    pub action: &'static str,
    /// Whether only callers of the resource's own account may: no policy of the resource opens it to others.
    pub is_owners_only: bool,
    /// Whether the resource is about to be made: what has its name already does not decide who may.
    pub makes_resource: bool,
    /// Questions about reading what may be absent; those only who could list it hear so ([`Absence::known_to`]).
    pub tells_absence: fn(&Asked) -> bool,
    /// Questions that need no answer once the facts of their resource are known.
    pub is_moot: fn(&Asked) -> bool,
    decode: Decode,
    head_check: Option<HeadCheck>,
    check: Option<Check>,
    resources: Resources,
    keys: Option<Keys>,
    instead: Option<Action>,
    further: Option<Further>,
    payload_type: Option<HeaderValue>,
    streams: bool,
    call: Call,
}

/// The typed input of a line; another line's input is our own mistake.
fn typed<O: Operation>(input: Input) -> Result<O::Input, ApiError> {
    let input = input.downcast::<O::Input>();
    input.map(|input| *input).map_err(|_| ApiError::internal("an input reached another operation's handler"))
}

impl Line {
    fn of<O: Operation>(
        action: &'static str,
        resource: fn(&Cx, &O::Input) -> Resource,
        streams: bool,
        call: Call,
    ) -> Self {
        Self {
            shape: O::SHAPE,
            action,
            is_owners_only: false,
            makes_resource: false,
            tells_absence: |_| false,
            is_moot: |_| false,
            decode: |value| Ok(Box::new(O::Input::from_value(value)?)),
            head_check: None,
            check: None,
            resources: Box::new(move |cx, input| match input.downcast_ref::<O::Input>() {
                Some(input) => resource(cx, input),
                None => Resource::any(),
            }),
            keys: None,
            instead: None,
            further: None,
            payload_type: None,
            streams,
            call,
        }
    }

    /// Column 1: the typed input, within the bounds that the table sets.
    ///
    /// # Errors
    /// `SerializationException` when the value does not fit the input's shape; what [`Table::check`] answers.
    pub fn decode(&self, value: Value) -> Result<Input, ApiError> {
        let input = (self.decode)(value)?;
        match &self.check {
            Some(check) => check(&input).map(|()| input),
            None => Ok(input),
        }
    }

    /// Column 2: what authorisation is asked about.
    pub fn resources(&self, cx: &Cx, input: &Input) -> Resource {
        (self.resources)(cx, input)
    }

    /// All that authorisation is asked about: the line's own action first, then those that depend on the input.
    pub fn permissions(&self, cx: &Cx, input: &Input) -> Vec<Permission> {
        let own = Permission {
            action: self.instead.as_ref().and_then(|instead| instead(input)).unwrap_or(self.action),
            resources: self.resources(cx, input),
            keys: self.keys.as_ref().map(|keys| keys(cx, input)).unwrap_or_default(),
        };
        let further = self.further.iter().flat_map(|further| further(cx, input));
        std::iter::once(own).chain(further).collect()
    }

    /// Whether the request's body is handed to the handler as a stream instead of being decoded.
    pub fn takes_stream(&self) -> bool {
        self.streams && self.shape.input_streams()
    }

    /// Column 3: the handler. `body` is the request's when the line [takes a stream](Self::takes_stream), else empty.
    ///
    /// # Errors
    /// Whatever the handler answers.
    pub fn call(&self, cx: Cx, input: Input, body: Body) -> BoxFuture<Result<Output, ApiError>> {
        (self.call)(cx, input, body)
    }
}

/// A service: its model's shape and the lines that it serves.
#[derive(Clone)]
pub struct Service {
    /// What the model knows: names, protocols, also the operations that are not served yet.
    pub shape: &'static ServiceShape,
    /// Whether requests without a signature get as far as authorisation, where a resource's policy may allow them.
    pub is_open_to_grants: bool,
    lines: Arc<Vec<Line>>,
    facts: Option<Facts>,
}

impl Service {
    /// Starts a table. `state` is cloned for each call: keep it behind an `Arc`.
    pub fn table<S: Clone + Send + Sync + 'static>(shape: &'static ServiceShape, state: S) -> Table<S> {
        Table::new(shape, state)
    }

    /// The line that serves `operation`; `None` when it is unknown or not served yet.
    pub fn line(&self, operation: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.shape.name == operation)
    }

    /// All lines, in table order.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Adds the lines of `other`, a table of the same model that another crate serves: of Lambda, `triggers` serves the
    /// event source mappings. Facts come from the table that has them.
    ///
    /// # Panics
    /// When the models differ or both serve the same operation: a mistake in the wiring, found at start.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        assert_eq!(self.shape.name, other.shape.name, "only tables of one model can be joined");
        let both = self.lines.iter().find(|line| other.line(line.shape.name).is_some());
        assert!(
            both.is_none(),
            "{} stands in two tables of {}",
            both.map_or("", |line| line.shape.name),
            self.shape.name
        );
        let own = |lines: Arc<Vec<Line>>| match Arc::try_unwrap(lines) {
            Ok(lines) => lines,
            Err(_) => panic!("a table is joined before it is shared"),
        };
        let lines = own(self.lines).into_iter().chain(own(other.lines)).collect();
        Self {
            shape: self.shape,
            is_open_to_grants: self.is_open_to_grants || other.is_open_to_grants,
            lines: Arc::new(lines),
            facts: self.facts.or(other.facts),
        }
    }

    /// What the service knows of the resource `arn` of an IAM action of its own; nothing when its resources have no
    /// policies.
    ///
    /// # Errors
    /// What the service answers instead of asking for permission, such as `NoSuchBucket`, or its store's failure.
    pub async fn facts_of(&self, arn: &str) -> Result<ResourceFacts, ApiError> {
        self.facts_in(arn, &ConditionKeys::new()).await
    }

    /// The same where the circumstances tell more than the ARN: `s3:VersionId` says which version of an object is
    /// meant.
    ///
    /// # Errors
    /// As [`Service::facts_of`].
    pub async fn facts_in(&self, arn: &str, keys: &ConditionKeys) -> Result<ResourceFacts, ApiError> {
        match &self.facts {
            Some(facts) if arn != "*" => facts(arn.to_owned(), keys.clone()).await,
            _ => Ok(ResourceFacts::default()),
        }
    }

    /// Whether `action` is about resources of this service, and it has facts of them.
    fn knows_resources_of(&self, action: &str) -> bool {
        let prefix = |action: &str| action.find(':').unwrap_or(action.len());
        let is_same = |known: &str| known[..prefix(known)] == action[..prefix(action)];
        self.facts.is_some() && self.lines.first().is_some_and(|line| is_same(line.action))
    }

    /// The line that serves the request.
    ///
    /// # Errors
    /// `UnknownOperationException`, 404, when the model has no such operation; `NotImplemented`, 501, naming the
    /// operation, when it is known but not served yet (wire:W3).
    pub fn identify(&self, protocol: Protocol, parts: &Parts, body: &[u8]) -> Result<&Line, ApiError> {
        match identify::operation(protocol, self.shape, parts, body) {
            Some(operation) => self.line(operation.name).ok_or_else(|| not_served(self.shape, operation)),
            None => Err(unknown_operation(self.shape)),
        }
    }

    /// One line's input out of a request: decoded, validated, typed.
    ///
    /// # Errors
    /// `SerializationException` or the service's validation code, 400.
    pub fn decode(&self, line: &Line, protocol: Protocol, parts: &Parts, body: &Bytes) -> Result<Input, ApiError> {
        if let Some(check) = &line.head_check {
            check(&parts.headers)?;
        }
        let value = protocol::decode(protocol, line.shape, parts, body)?;
        match protocol {
            Protocol::RestXml => protocol::rest_xml::validate(line.shape, &value)?,
            _ => validation::validate(self.shape, line.shape, &value)?,
        }
        line.decode(value)
    }

    /// The answer to a request, or to its failure.
    pub fn encode(
        &self,
        line: Option<&Line>,
        protocol: Protocol,
        request_id: &str,
        outcome: Result<Output, ApiError>,
    ) -> Response<Body> {
        let shape = line.map(|line| line.shape);
        let encoded = match (outcome, line) {
            (Ok(output), Some(line)) => encode_output(protocol, self.shape, line, request_id, output),
            (Ok(_), None) => Err(ApiError::internal("an output without an operation")),
            (Err(error), _) => Err(error),
        };
        encoded.unwrap_or_else(|error| {
            protocol::encode_error(protocol, self.shape, shape, request_id, &error).map(Body::from)
        })
    }

    /// From raw bytes to raw bytes, without authorisation: identify, decode, validate, call, encode. For tests of
    /// services; the gateway runs the same columns with authorisation in between. The answer of a streaming line is
    /// collected, up to 64 MiB.
    pub async fn call(&self, cx: Cx, protocol: Protocol, parts: &Parts, body: Bytes) -> Response<Bytes> {
        let request_id = cx.request_id.clone();
        let (head, body) = self.call_streaming(cx, protocol, parts, Body::from(body)).await.into_parts();
        match body.collect(COLLECTED_BYTES_MAX).await {
            Ok(bytes) => Response::from_parts(head, bytes),
            Err(error) => protocol::encode_error(protocol, self.shape, None, &request_id, &error),
        }
    }

    /// The same with the bodies of streaming lines as streams; of all other lines the body is collected first.
    pub async fn call_streaming(&self, cx: Cx, protocol: Protocol, parts: &Parts, body: Body) -> Response<Body> {
        let request_id = cx.request_id.clone();
        let refused = |line, error| self.encode(line, protocol, &request_id, Err(error));
        let in_head = self.identify(protocol, parts, &[]).ok().filter(|line| line.takes_stream());
        let (line, bytes, stream) = match in_head {
            Some(line) => (line, Bytes::new(), body),
            None => {
                let bytes = match body.collect(COLLECTED_BYTES_MAX).await {
                    Ok(bytes) => bytes,
                    Err(error) => return refused(None, error),
                };
                match self.identify(protocol, parts, &bytes) {
                    Ok(line) => (line, bytes, Body::empty()),
                    Err(error) => return refused(None, error),
                }
            }
        };
        match self.decode(line, protocol, parts, &bytes) {
            Ok(input) => self.encode(Some(line), protocol, &request_id, line.call(cx, input, stream).await),
            Err(error) => refused(Some(line), error),
        }
    }
}

/// The answer to a request that succeeded; the bytes of a streaming line follow its head.
///
/// # Errors
/// `InternalFailure` when the output does not have the operation's shape.
pub fn encode_output(
    protocol: Protocol,
    service: &ServiceShape,
    line: &Line,
    request_id: &str,
    output: Output,
) -> Result<Response<Body>, ApiError> {
    let mut head = protocol::encode(protocol, service, line.shape, request_id, output.value)?;
    if let (Some(place), Some(content_type)) = (head.headers_mut().get_mut(CONTENT_TYPE), &line.payload_type) {
        place.clone_from(content_type);
    }
    Ok(match output.body {
        None => head.map(Body::from),
        Some(body) => head.map(|_| body),
    })
}

/// What is known of the resource `arn` of `action`, from whichever of `services` it belongs to.
///
/// # Errors
/// As [`Service::facts_of`].
pub async fn facts_of(services: &[Service], action: &str, arn: &str) -> Result<ResourceFacts, ApiError> {
    facts_in(services, action, arn, &ConditionKeys::new()).await
}

/// The same in circumstances: see [`Service::facts_in`].
///
/// # Errors
/// As [`Service::facts_of`].
pub async fn facts_in(
    services: &[Service],
    action: &str,
    arn: &str,
    keys: &ConditionKeys,
) -> Result<ResourceFacts, ApiError> {
    match services.iter().find(|service| service.knows_resources_of(action)) {
        Some(service) => service.facts_in(arn, keys).await,
        None => Ok(ResourceFacts::default()),
    }
}

/// What a client hears about an operation that its service does not have.
pub fn unknown_operation(service: &ServiceShape) -> ApiError {
    let message = format!("The operation is not one of {} ({}).", service.name, service.api_version);
    ApiError::client("UnknownOperationException", 404, message)
}

/// What a client hears about an operation that we do not serve yet.
pub fn not_served(service: &ServiceShape, operation: &OperationName) -> ApiError {
    let message = format!("{}:{} is not implemented by Tinderbox yet.", service.name, operation.name);
    ApiError::client("NotImplemented", 501, message)
}
