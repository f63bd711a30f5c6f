//! Static shape tables: what the protocols interpret. Filled by `model`, generated; tests build them at run time.
//!
//! ```text
//!  ServiceShape ── operations: name, method, path of every operation of the model
//!  OperationShape ── method, path, status, input ─┐
//!                                       output ──┤ ShapeId: an index into the service's table of Shapes
//!                                       errors ──┘ (indices, so that shapes may be recursive)
//! ```
//!
//! Source of the vocabulary: botocore's `service-2.json` and the Smithy traits that it is made from.

use std::ops::Index;
use std::sync::OnceLock;

use regex::Regex;

use crate::error::Fault;

/// A wire protocol of AWS services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `application/x-amz-json-1.0`, operation in `X-Amz-Target`.
    AwsJson1_0,
    /// `application/x-amz-json-1.1`, operation in `X-Amz-Target`.
    AwsJson1_1,
    /// Form in, XML out, operation in `Action`.
    AwsQuery,
    /// REST with JSON bodies, operation in method and path.
    RestJson1,
    /// REST with XML bodies (S3).
    RestXml,
    /// CBOR, operation in the path. Only errors can be encoded so far.
    RpcV2Cbor,
}

/// What a model says about a service as a whole.
#[derive(Debug)]
pub struct ServiceShape {
    /// Our name of the service, also the name of its module in `model`: `lambda`, `logs`.
    pub name: &'static str,
    /// The service's name in a signature's scope.
    pub signing_name: &'static str,
    /// The first label of the service's host name on AWS, such as `monitoring` for CloudWatch.
    pub endpoint_prefix: &'static str,
    /// The prefix of `X-Amz-Target` before the dot; empty where the protocol has none.
    pub target_prefix: &'static str,
    /// The API version, such as `2015-03-31`.
    pub api_version: &'static str,
    /// The XML namespace of answers in XML; empty when the model has none.
    pub xml_namespace: &'static str,
    /// Protocols in order of preference.
    pub protocols: &'static [Protocol],
    /// The service once spoke query: errors also carry `x-amzn-query-error`.
    pub query_compatible: bool,
    /// The code under which violations of constraints are reported, such as `ValidationException`.
    pub validation_code: &'static str,
    /// Every operation of the model: name, method, path. Those without a line in the table are not served yet.
    pub operations: &'static [OperationName],
}

/// Name and HTTP binding of an operation, for identification.
#[derive(Debug, PartialEq, Eq)]
pub struct OperationName {
    /// Name, such as `CreateFunction`.
    pub name: &'static str,
    /// HTTP method.
    pub method: &'static str,
    /// URI template, such as `/2015-03-31/functions/{FunctionName}`; may end in a query string that must be there.
    pub uri: &'static str,
    /// A header that must be there, such as `x-amz-copy-source`; empty for none.
    pub header: &'static str,
}

impl OperationName {
    /// An operation whose name travels in a header or in the body: `POST /`.
    pub const fn rpc(name: &'static str) -> Self {
        Self { name, method: "POST", uri: "/", header: "" }
    }

    /// An operation that is known by its method and path.
    pub const fn rest(name: &'static str, method: &'static str, uri: &'static str) -> Self {
        Self { name, method, uri, header: "" }
    }

    /// Tells it from an operation with the same method and path by a header.
    #[must_use]
    pub const fn with_header(mut self, header: &'static str) -> Self {
        self.header = header;
        self
    }
}

/// Name, HTTP binding and shapes of an operation that we serve.
#[derive(Debug)]
pub struct OperationShape {
    /// Name, such as `CreateFunction`.
    pub name: &'static str,
    /// HTTP method.
    pub method: &'static str,
    /// URI template; `{Name}` is a label, `{Name+}` a greedy one.
    pub uri: &'static str,
    /// HTTP status of success.
    pub status: u16,
    /// The table that all [`ShapeId`]s of this operation point into.
    pub shapes: Shapes,
    /// The input structure, if there is one.
    pub input: Option<ShapeId>,
    /// The output structure, if there is one.
    pub output: Option<ShapeId>,
    /// The element that awsQuery wraps the output in, such as `CreateTopicResult`; restXml's root element, such as
    /// `ListBucketResult`. Empty for the protocol's default.
    pub result_element: &'static str,
    /// The errors that the model lists.
    pub errors: &'static [ErrorShape],
    /// Clients may repeat it.
    pub idempotent: bool,
    /// What clients put before the host, such as `sync-`; empty for none.
    pub host_prefix: &'static str,
    /// Who may call.
    pub auth: Auth,
}

impl OperationShape {
    /// An operation without members: `POST /`, status 200, signed.
    pub const fn new(name: &'static str, shapes: Shapes) -> Self {
        Self {
            name,
            method: "POST",
            uri: "/",
            status: 200,
            shapes,
            input: None,
            output: None,
            result_element: "",
            errors: &[],
            idempotent: false,
            host_prefix: "",
            auth: Auth::Signature,
        }
    }

    /// Whether the request's body is the bytes of a streaming member, which stays out of the decoded input.
    pub fn input_streams(&self) -> bool {
        self.streams(self.input)
    }

    /// Whether the answer's body is the bytes of a streaming member or a stream of events.
    pub fn output_streams(&self) -> bool {
        self.streams(self.output)
    }

    fn streams(&self, side: Option<ShapeId>) -> bool {
        let Some(Kind::Structure(structure)) = side.map(|id| &self.shapes.get(id).kind) else { return false };
        let payload = structure.payload.and_then(|name| structure.members.iter().find(|member| member.name == name));
        payload.is_some_and(|member| match &self.shapes.get(member.shape).kind {
            Kind::Blob { streaming } => *streaming,
            Kind::Structure(payload) => payload.event_stream,
            _ => false,
        })
    }

    /// The error of the model with this name or wire code.
    pub fn error(&self, code: &str) -> Option<&'static ErrorShape> {
        self.errors.iter().find(|error| error.name == code || error.code == code)
    }
}

/// Whether an operation takes unsigned requests (the model's `authtype`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Must be signed.
    Signature,
    /// `authtype: none`, such as AssumeRoleWithWebIdentity.
    None,
}

/// An error of a model.
#[derive(Debug)]
pub struct ErrorShape {
    /// The shape's name: the code of the JSON protocols.
    pub name: &'static str,
    /// The code of the query protocols; often equal to `name`.
    pub code: &'static str,
    /// HTTP status.
    pub status: u16,
    /// Whose fault it is.
    pub fault: Fault,
    /// Its members.
    pub shape: ShapeId,
}

/// A service's table of shapes.
#[derive(Clone, Copy, Debug)]
pub struct Shapes(pub &'static [Shape]);

impl Index<ShapeId> for Shapes {
    type Output = Shape;
    fn index(&self, id: ShapeId) -> &Shape {
        &self.0[usize::from(id.0)]
    }
}

impl Shapes {
    /// Like indexing, but the answer outlives this handle.
    pub fn get(self, id: ShapeId) -> &'static Shape {
        &self.0[usize::from(id.0)]
    }
}

/// The place of a shape in its service's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShapeId(pub u16);

/// A type of a model.
#[derive(Debug)]
pub struct Shape {
    /// The model's name of it.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Smallest length (characters, bytes, elements) or value.
    pub min: Option<i64>,
    /// Largest length or value.
    pub max: Option<i64>,
    /// What a string must match as a whole.
    pub pattern: Option<&'static Pattern>,
    /// Must not appear in logs or messages.
    pub sensitive: bool,
}

impl Shape {
    /// A shape without constraints.
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, min: None, max: None, pattern: None, sensitive: false }
    }

    /// Sets bounds of length or value.
    #[must_use]
    pub const fn bounds(mut self, min: Option<i64>, max: Option<i64>) -> Self {
        self.min = min;
        self.max = max;
        self
    }

    /// Sets the pattern of a string.
    #[must_use]
    pub const fn pattern(mut self, pattern: &'static Pattern) -> Self {
        self.pattern = Some(pattern);
        self
    }

    /// Marks it as not to be shown.
    #[must_use]
    pub const fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    /// The members of a structure; none for any other kind.
    pub fn members(&self) -> &'static [Member] {
        match &self.kind {
            Kind::Structure(structure) => structure.members,
            _ => &[],
        }
    }
}

/// What a shape is.
#[derive(Debug)]
pub enum Kind {
    /// true, false
    Boolean,
    /// A whole number within these bounds (both included): byte, short, integer, long.
    Integer(i64, i64),
    /// float, double: NaN and the infinities travel as strings.
    Double,
    /// Any text, or one of the listed values.
    String(&'static [&'static str]),
    /// Bytes; `streaming` payloads are not bounded by the usual body limit.
    Blob {
        /// The model's `streaming` flag.
        streaming: bool,
    },
    /// A moment; the format is the protocol's default when the model names none.
    Timestamp(Option<TimestampFormat>),
    /// list, set
    List(List),
    /// Keys are strings.
    Map(Map),
    /// structure, union
    Structure(Structure),
    /// Untyped JSON.
    Document,
}

impl Kind {
    /// byte
    pub const BYTE: Kind = Kind::Integer(i8::MIN as i64, i8::MAX as i64);
    /// short
    pub const SHORT: Kind = Kind::Integer(i16::MIN as i64, i16::MAX as i64);
    /// integer
    pub const INTEGER: Kind = Kind::Integer(i32::MIN as i64, i32::MAX as i64);
    /// long
    pub const LONG: Kind = Kind::Integer(i64::MIN, i64::MAX);
    /// string without an enumeration
    pub const TEXT: Kind = Kind::String(&[]);
}

/// The parts of a list.
#[derive(Debug)]
pub struct List {
    /// Shape of the elements.
    pub member: ShapeId,
    /// Element name in XML and query; empty for the default `member`.
    pub member_name: &'static str,
    /// Elements stand directly in the parent, in XML and query.
    pub flattened: bool,
}

impl List {
    /// A list of `member` with default names.
    pub const fn of(member: ShapeId) -> Self {
        Self { member, member_name: "", flattened: false }
    }
}

/// The parts of a map.
#[derive(Debug)]
pub struct Map {
    /// Shape of the keys: a string.
    pub key: ShapeId,
    /// Shape of the values.
    pub value: ShapeId,
    /// Key name in XML and query; empty for the default `key`.
    pub key_name: &'static str,
    /// Value name in XML and query; empty for the default `value`.
    pub value_name: &'static str,
    /// Name of the entries of a flattened map in XML and query; empty for the name of the member that holds it.
    pub entry_name: &'static str,
    /// Entries stand directly in the parent, in XML and query.
    pub flattened: bool,
}

impl Map {
    /// A map with default names.
    pub const fn of(key: ShapeId, value: ShapeId) -> Self {
        Self { key, value, key_name: "", value_name: "", entry_name: "", flattened: false }
    }
}

/// The parts of a structure.
#[derive(Debug)]
pub struct Structure {
    /// Members, sorted by name.
    pub members: &'static [Member],
    /// The member that is the whole HTTP body.
    pub payload: Option<&'static str>,
    /// Exactly one member is set.
    pub union: bool,
    /// A stream of events (its members are the event types).
    pub event_stream: bool,
    /// The namespace that its XML element declares: prefix (may be empty) and URI.
    pub xml_namespace: Option<(&'static str, &'static str)>,
}

impl Structure {
    /// A plain structure.
    pub const fn of(members: &'static [Member]) -> Self {
        Self { members, payload: None, union: false, event_stream: false, xml_namespace: None }
    }
}

/// A member of a structure.
#[derive(Debug)]
pub struct Member {
    /// The model's name: the key in [`crate::Value::Map`].
    pub name: &'static str,
    /// Its shape.
    pub shape: ShapeId,
    /// Where it travels.
    pub location: Location,
    /// Its name there; equal to `name` unless the model has a `locationName`.
    pub wire_name: &'static str,
    /// Must be present.
    pub required: bool,
    /// Overrides the shape's and the protocol's timestamp format.
    pub timestamp: Option<TimestampFormat>,
    /// A list or map whose elements stand directly in the parent, in XML and query.
    pub flattened: bool,
    /// A header that carries base64 of JSON.
    pub json_value: bool,
    /// An attribute of the XML element.
    pub xml_attribute: bool,
    /// The namespace that its XML element declares: prefix (may be empty) and URI.
    pub xml_namespace: Option<(&'static str, &'static str)>,
    /// Clients fill it with a UUID when it is absent.
    pub idempotency_token: bool,
    /// Also stands in the host name.
    pub host_label: bool,
}

impl Member {
    /// An optional member of the body.
    pub const fn new(name: &'static str, shape: ShapeId) -> Self {
        Self {
            name,
            shape,
            location: Location::Body,
            wire_name: name,
            required: false,
            timestamp: None,
            flattened: false,
            json_value: false,
            xml_attribute: false,
            xml_namespace: None,
            idempotency_token: false,
            host_label: false,
        }
    }

    /// Its name in a body: HTTP bindings mean nothing to protocols that put every member there.
    pub fn body_name(&self) -> &'static str {
        if self.location == Location::Body { self.wire_name } else { self.name }
    }

    /// Marks it as required.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Moves it to another place of the message, under the name that it has there.
    #[must_use]
    pub const fn at(mut self, location: Location, wire_name: &'static str) -> Self {
        self.location = location;
        self.wire_name = wire_name;
        self
    }
}

/// Where a member travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// In the body's structure.
    Body,
    /// In a header of that name.
    Header,
    /// A map, in all headers with that prefix.
    Headers,
    /// In the query string; a map takes all remaining parameters.
    QueryString,
    /// A label of the path.
    Uri,
    /// The HTTP status itself.
    StatusCode,
}

/// How a timestamp is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampFormat {
    /// `2015-01-25T08:00:00Z`
    Iso8601,
    /// `Sun, 25 Jan 2015 08:00:00 GMT` (RFC 7231 IMF-fixdate)
    Rfc822,
    /// Seconds since 1970, with a fraction.
    UnixTimestamp,
}

/// A regular expression of a model, compiled on first use.
#[derive(Debug)]
pub struct Pattern {
    /// As the model writes it; messages show this.
    pub text: &'static str,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// A pattern that will be compiled when it is first needed.
    pub const fn new(text: &'static str) -> Self {
        Self { text, compiled: OnceLock::new() }
    }

    /// The compiled form, anchored at both ends; `None` when the `regex` crate cannot express it (look-around).
    /// Such a pattern constrains nothing; a test of `model` lists them.
    pub fn regex(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| crate::pattern::compile(self.text)).as_ref()
    }
}
