//! Three services by hand, one for each family of protocols, with the same operations.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use wire::shape::{
    Auth, Kind, Location, Member, OperationName, OperationShape, Protocol, ServiceShape, Shape, ShapeId, Shapes,
    Structure,
};
use wire::{
    AccountId, ApiError, Body, ConditionKeys, Cx, Fields, FromValue, IntoValue, Members, Operation, Permission,
    Resource, ResourceFacts, Service, ServiceError, Value,
};

const TEXT: ShapeId = ShapeId(0);

static SHAPES: Shapes = Shapes(&[
    Shape::new("Text", Kind::TEXT),
    Shape::new(
        "RestInput",
        Kind::Structure(Structure::of(&[
            Member::new("Name", TEXT).at(Location::Uri, "Name").required(),
            Member::new("Text", TEXT),
        ])),
    ),
    Shape::new(
        "Input",
        Kind::Structure(Structure::of(&[Member::new("Name", TEXT).required(), Member::new("Text", TEXT)])),
    ),
    Shape::new(
        "Output",
        Kind::Structure(Structure::of(&[
            Member::new("Account", TEXT),
            Member::new("Name", TEXT),
            Member::new("Region", TEXT),
            Member::new("Text", TEXT),
            Member::new("Trace", TEXT),
        ])),
    ),
]);

const fn rest(name: &'static str, method: &'static str, uri: &'static str) -> OperationShape {
    let mut shape = OperationShape::new(name, SHAPES);
    shape.method = method;
    shape.uri = uri;
    shape.input = Some(ShapeId(1));
    shape.output = Some(ShapeId(3));
    shape
}

const fn rpc(name: &'static str, result_element: &'static str) -> OperationShape {
    let mut shape = OperationShape::new(name, SHAPES);
    shape.input = Some(ShapeId(2));
    shape.output = Some(ShapeId(3));
    shape.result_element = result_element;
    shape
}

const fn open() -> OperationShape {
    let mut shape = rest("Open", "POST", "/open/{Name}");
    shape.auth = Auth::None;
    shape
}

static ECHO: OperationShape = rest("Echo", "POST", "/echo/{Name}");
static PANIC: OperationShape = rest("Panic", "POST", "/panic/{Name}");
static FAIL: OperationShape = rest("Fail", "POST", "/fail/{Name}");
static WAIT: OperationShape = rest("Wait", "POST", "/wait/{Name}");
static OPEN: OperationShape = open();
static RPC_ECHO: OperationShape = rpc("Echo", "EchoResult");
static RPC_OWN: OperationShape = rpc("Own", "OwnResult");

const REST_OPERATIONS: &[OperationName] = &[
    OperationName::rest("Echo", "POST", "/echo/{Name}"),
    OperationName::rest("Panic", "POST", "/panic/{Name}"),
    OperationName::rest("Fail", "POST", "/fail/{Name}"),
    OperationName::rest("Wait", "POST", "/wait/{Name}"),
    OperationName::rest("Open", "POST", "/open/{Name}"),
    OperationName::rest("Later", "GET", "/later"),
];

const JSON_OPERATIONS: &[OperationName] =
    &[OperationName::rpc("Echo"), OperationName::rpc("Later"), OperationName::rpc("Own")];

const fn service(
    name: &'static str,
    target_prefix: &'static str,
    protocols: &'static [Protocol],
    operations: &'static [OperationName],
) -> ServiceShape {
    ServiceShape {
        name,
        signing_name: name,
        endpoint_prefix: name,
        target_prefix,
        api_version: "2020-01-01",
        xml_namespace: "",
        protocols,
        query_compatible: false,
        validation_code: "ValidationException",
        operations,
    }
}

static REST: ServiceShape = service("rest", "", &[Protocol::RestJson1], REST_OPERATIONS);
static JSON: ServiceShape = service("json", "Json_2020", &[Protocol::AwsJson1_1], JSON_OPERATIONS);
static QUERY: ServiceShape =
    service("query", "", &[Protocol::AwsQuery], &[OperationName::rpc("Echo"), OperationName::rpc("Later")]);
static UNSERVED: ServiceShape =
    service("unserved", "Unserved_1", &[Protocol::AwsJson1_0], &[OperationName::rpc("Anything")]);

/// Models that the gateway knows beside the served ones.
pub(crate) static KNOWN: &[&ServiceShape] = &[&REST, &JSON, &QUERY, &UNSERVED];

pub(crate) struct EchoInput {
    name: String,
    text: Option<String>,
}

impl FromValue for EchoInput {
    fn from_value(value: Value) -> Result<Self, ApiError> {
        let mut members = Members::open(value)?;
        Ok(Self { name: members.required("Name")?, text: members.optional("Text")? })
    }
}

pub(crate) struct EchoOutput {
    cx: Cx,
    input: EchoInput,
}

impl IntoValue for EchoOutput {
    fn into_value(self) -> Value {
        let mut fields = Fields::with_capacity(5);
        fields.required("Account", self.cx.account.to_string());
        fields.required("Name", self.input.name);
        fields.required("Region", self.cx.region);
        fields.optional("Text", self.input.text);
        fields.required("Trace", self.cx.trace.header());
        fields.finish()
    }
}

/// Binds a shape to the echo's types.
struct Bound<const AT: usize>;

const BOUND: [&OperationShape; 7] = [&ECHO, &PANIC, &FAIL, &WAIT, &OPEN, &RPC_ECHO, &RPC_OWN];

impl<const AT: usize> Operation for Bound<AT> {
    const SHAPE: &'static OperationShape = BOUND[AT];
    type Input = EchoInput;
    type Output = EchoOutput;
}

#[derive(Debug)]
struct Failure;

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the disk said: secret path /data/x")
    }
}

impl std::error::Error for Failure {}

impl ServiceError for Failure {
    fn code(&self) -> &'static str {
        "TeapotException"
    }
    fn status(&self) -> u16 {
        418
    }
}

#[derive(Debug)]
struct Never(Infallible);

impl std::fmt::Display for Never {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {}
    }
}

impl std::error::Error for Never {}

impl ServiceError for Never {
    fn code(&self) -> &'static str {
        match self.0 {}
    }
    fn status(&self) -> u16 {
        match self.0 {}
    }
}

/// What tests see of the operations that ran.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) begun: Arc<AtomicUsize>,
    pub(crate) ended: Arc<AtomicUsize>,
    /// How often the json service was asked for facts.
    pub(crate) asked: Arc<AtomicUsize>,
    /// What PutObject stored: bucket, key, canned ACL, region, size.
    pub(crate) stored: Arc<parking_lot::Mutex<Vec<String>>>,
    /// `Wait` takes one permit.
    pub(crate) gate: Arc<Semaphore>,
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            begun: Arc::default(),
            ended: Arc::default(),
            asked: Arc::default(),
            stored: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
        }
    }

    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }
}

async fn echo(state: State, cx: Cx, input: EchoInput) -> Result<EchoOutput, Never> {
    state.begun.fetch_add(1, Ordering::SeqCst);
    state.ended.fetch_add(1, Ordering::SeqCst);
    Ok(EchoOutput { cx, input })
}

async fn panics(_: State, _: Cx, _: EchoInput) -> Result<EchoOutput, Never> {
    panic!("on purpose")
}

async fn fails(_: State, _: Cx, _: EchoInput) -> Result<EchoOutput, Failure> {
    Err(Failure)
}

async fn waits(state: State, cx: Cx, input: EchoInput) -> Result<EchoOutput, Never> {
    state.begun.fetch_add(1, Ordering::SeqCst);
    state.gate.acquire().await.expect("the gate stays").forget();
    state.ended.fetch_add(1, Ordering::SeqCst);
    Ok(EchoOutput { cx, input })
}

fn resource(_: &Cx, input: &EchoInput) -> Resource {
    Resource::arn(format!("arn:aws:rest:us-east-1:000000000000:echo:{}", input.name))
}

/// Names of the text, a comma between two: a list that becomes a question for each.
fn resources(cx: &Cx, input: &EchoInput) -> Resource {
    match &input.text {
        Some(names) if input.name == "several" => {
            Resource(names.split(',').map(|name| format!("arn:aws:rest:us-east-1:000000000000:echo:{name}")).collect())
        }
        _ => resource(cx, input),
    }
}

/// What the json service knows: the policy of a resource says its ARN; there is nothing called `gone`, and what is
/// called `theirs` is another account's than its ARN says. That `nowhere` does not exist everybody may know, and that
/// `hidden` does not, whoever may `json:List`.
async fn facts(state: State, arn: String) -> Result<ResourceFacts, Failure> {
    state.asked.fetch_add(1, Ordering::SeqCst);
    match arn.ends_with(":gone") {
        true => Err(Failure),
        false => Ok(ResourceFacts {
            owner: arn.ends_with(":theirs").then(other_account),
            policy: Some(format!("policy of {arn}").into()),
            absence: absence(&arn),
            ..ResourceFacts::default()
        }),
    }
}

fn absence(arn: &str) -> Option<Box<wire::Absence>> {
    let listing = || Permission::new("json:List", Resource::arn("arn:aws:rest:us-east-1:000000000000:echo:all"));
    let known_to = match arn.rsplit(':').next()? {
        "nowhere" => None,
        "hidden" => Some(listing()),
        _ => return None,
    };
    Some(Box::new(wire::Absence { code: "NoSuchEcho", status: 404, message: "There is none".to_owned(), known_to }))
}

pub(crate) fn other_account() -> AccountId {
    AccountId::parse("111111111111").expect("12 digits")
}

/// At most three names.
fn few(input: &EchoInput) -> Result<(), Failure> {
    let names = input.text.as_deref().map_or(0, |names| names.split(',').count());
    if input.name == "few" && names > 3 { Err(Failure) } else { Ok(()) }
}

async fn put_object(
    state: State,
    cx: Cx,
    input: model::s3::PutObjectInput,
    body: Body,
) -> Result<(model::s3::PutObjectOutput, Body), Failure> {
    let size = body.collect(1 << 20).await.map_err(|_| Failure)?.len();
    let acl = input.acl.map_or("-", |acl| acl.as_str());
    state.stored.lock().push(format!("{}/{} {acl} {} {size}", input.bucket, input.key, cx.region));
    Ok((model::s3::PutObjectOutput::default(), Body::empty()))
}

/// S3 as far as forms reach.
pub(crate) fn objects(state: &State) -> Service {
    Service::table(&model::s3::SERVICE, state.clone())
        .stream::<model::s3::PutObject, _, _>(put_object, "s3:PutObject", |_, input| {
            Resource::arn(format!("arn:aws:s3:::{}/{}", input.bucket, input.key))
        })
        .open_to_grants()
        .build()
}

pub(crate) fn services(state: &State) -> Vec<Service> {
    let rest = Service::table(&REST, state.clone())
        .op::<Bound<0>, _, _>(echo, "rest:Echo", resource)
        .op::<Bound<1>, _, _>(panics, "rest:Panic", resource)
        .op::<Bound<2>, _, _>(fails, "rest:Fail", resource)
        .op::<Bound<3>, _, _>(waits, "rest:Wait", resource)
        .op::<Bound<4>, _, _>(echo, "rest:Open", resource)
        .also::<Bound<2>>(|_, _| vec![Permission::new("iam:PassRole", Resource::any())]);
    let json = Service::table(&JSON, state.clone())
        .op::<Bound<5>, _, _>(echo, "json:Echo", resources)
        .check::<Bound<5>, _>(few)
        .keys::<Bound<5>>(|_, input| ConditionKeys::new().with_some("json:Text", input.text.as_deref()))
        .instead::<Bound<5>>(|input| (input.name == "another").then_some("json:Another"))
        .op::<Bound<6>, _, _>(echo, "json:Own", resource)
        .owners_only::<Bound<6>>()
        .tells_absence::<Bound<5>>(|_| true)
        .moot::<Bound<6>>(|asked| asked.resource.ends_with(":moot"))
        .also::<Bound<6>>(|cx, input| vec![Permission::new("json:Echo", resource(cx, input))])
        .facts(facts)
        .open_to_grants();
    let query = Service::table(&QUERY, state.clone()).op::<Bound<5>, _, _>(echo, "query:Echo", resource);
    vec![rest.build(), json.build(), query.build()]
}
