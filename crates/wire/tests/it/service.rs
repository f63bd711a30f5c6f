//! A small service through [`wire::Service::call`]: raw bytes in, raw bytes out, in every protocol.

use std::fmt;

use bytes::Bytes;
use serde_json::{Value as Json, json};
use wire::shape::{
    ErrorShape, Kind, Location, Member, OperationName, OperationShape, Protocol, ServiceShape, Shape, ShapeId, Shapes,
    Structure,
};
use wire::{
    AccountId, ApiError, Cx, Fault, Fields, FromValue, IntoValue, Members, Operation, Principal, Resource, Service,
    ServiceError, TraceContext, Value,
};

static TABLE: [Shape; 4] = [
    // 0
    Shape::new("Name", Kind::TEXT).bounds(Some(1), Some(8)),
    // 1
    Shape::new(
        "GreetInput",
        Kind::Structure(Structure::of(&[
            Member::new("Name", ShapeId(0)).at(Location::Uri, "Name").required(),
            Member::new("Greeting", ShapeId(0)),
        ])),
    ),
    // 2
    Shape::new("GreetOutput", Kind::Structure(Structure::of(&[Member::new("Text", ShapeId(0))]))),
    // 3
    Shape::new(
        "NobodyThere",
        Kind::Structure(Structure::of(&[
            Member::new("Message", ShapeId(0)),
            Member::new("RetryAfter", ShapeId(0)).at(Location::Header, "Retry-After"),
            Member::new("Type", ShapeId(0)),
        ])),
    ),
];
static GREET: OperationShape = OperationShape {
    method: "POST",
    uri: "/greetings/{Name}",
    status: 201,
    input: Some(ShapeId(1)),
    output: Some(ShapeId(2)),
    errors: &[ErrorShape {
        name: "NobodyThere",
        code: "Greetings.NobodyThere",
        status: 404,
        fault: Fault::Client,
        shape: ShapeId(3),
    }],
    ..OperationShape::new("Greet", Shapes(&TABLE))
};
static SERVICE: ServiceShape = ServiceShape {
    name: "greetings",
    signing_name: "greetings",
    endpoint_prefix: "greetings",
    target_prefix: "Greetings_1",
    api_version: "2026-11-23",
    xml_namespace: "http://greetings/",
    protocols: &[Protocol::RestJson1, Protocol::AwsJson1_1, Protocol::AwsQuery],
    query_compatible: true,
    validation_code: "ValidationException",
    operations: &[
        OperationName::rest("Greet", "POST", "/greetings/{Name}"),
        OperationName::rest("Forget", "DELETE", "/greetings/{Name}"),
    ],
};

struct Greet;
struct GreetInput {
    name: String,
    greeting: Option<String>,
}
struct GreetOutput {
    text: String,
}

impl Operation for Greet {
    const SHAPE: &'static OperationShape = &GREET;
    type Input = GreetInput;
    type Output = GreetOutput;
}
impl FromValue for GreetInput {
    fn from_value(value: Value) -> Result<Self, ApiError> {
        let mut members = Members::open(value)?;
        Ok(Self { name: members.required("Name")?, greeting: members.optional("Greeting")? })
    }
}
impl IntoValue for GreetOutput {
    fn into_value(self) -> Value {
        let mut fields = Fields::with_capacity(1);
        fields.required("Text", self.text);
        fields.finish()
    }
}

#[derive(Debug)]
enum GreetError {
    NobodyThere,
    Broken,
}
impl fmt::Display for GreetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("There is <nobody> & nothing.")
    }
}
impl std::error::Error for GreetError {}
impl ServiceError for GreetError {
    fn code(&self) -> &'static str {
        match self {
            Self::NobodyThere => "NobodyThere",
            Self::Broken => "Broken",
        }
    }
    fn status(&self) -> u16 {
        match self {
            Self::NobodyThere => 404,
            Self::Broken => 500,
        }
    }
    fn members(&self) -> Vec<(&'static str, Value)> {
        vec![("Type", "User".to_owned().into_value()), ("RetryAfter", "3".to_owned().into_value())]
    }
}

async fn greet(_state: (), _cx: Cx, input: GreetInput) -> Result<GreetOutput, GreetError> {
    match input.name.as_str() {
        "nobody" => Err(GreetError::NobodyThere),
        "broken" => Err(GreetError::Broken),
        name => Ok(GreetOutput { text: format!("{} {name}", input.greeting.unwrap_or("Hello".to_owned())) }),
    }
}

fn service() -> Service {
    Service::table(&SERVICE, ())
        .op::<Greet, _, _>(greet, "greetings:Greet", |_, input| Resource::arn(input.name.clone()))
        .build()
}

#[test]
#[should_panic(expected = "two columns `also`")]
fn a_second_column_does_not_take_the_place_of_the_first() {
    let _ = Service::table(&SERVICE, ())
        .op::<Greet, _, _>(greet, "greetings:Greet", |_, input| Resource::arn(input.name.clone()))
        .also::<Greet>(|_, _| Vec::new())
        .also::<Greet>(|_, _| Vec::new());
}

fn cx() -> Cx {
    Cx {
        account: AccountId::parse("000000000000").unwrap(),
        region: "us-east-1".to_owned(),
        principal: Principal::Anonymous,
        request_id: "request-1".to_owned(),
        trace: TraceContext::new(sys::Timestamp::default(), &sys::Rng::seeded(1)),
        source_ip: None,
        host: "localhost".to_owned(),
        unasked: Vec::new(),
    }
}

async fn call(protocol: Protocol, name: &str, greeting: &str) -> http::Response<Bytes> {
    let (request, body) = match protocol {
        Protocol::RestJson1 => {
            (http::Request::post(format!("/greetings/{name}")), json!({"Greeting": greeting}).to_string())
        }
        Protocol::AwsQuery => {
            (http::Request::post("/"), format!("Action=Greet&Version=1&Name={name}&Greeting={greeting}"))
        }
        _ => {
            let request = http::Request::post("/").header("X-Amz-Target", "Greetings_1.Greet");
            (request, json!({"Name": name, "Greeting": greeting}).to_string())
        }
    };
    let (parts, ()) = request.body(()).unwrap().into_parts();
    service().call(cx(), protocol, &parts, Bytes::from(body)).await
}

fn body(answer: &http::Response<Bytes>) -> Json {
    serde_json::from_slice(answer.body()).expect("JSON")
}

fn header<'a>(answer: &'a http::Response<Bytes>, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn success_is_encoded_in_the_protocol_of_the_request() {
    let rest = call(Protocol::RestJson1, "you", "Hi").await;
    assert_eq!((rest.status().as_u16(), body(&rest)), (201, json!({"Text": "Hi you"})));
    assert_eq!((header(&rest, "content-type"), header(&rest, "x-amzn-requestid")), ("application/json", "request-1"));
    let json = call(Protocol::AwsJson1_1, "you", "Hi").await;
    assert_eq!((header(&json, "content-type"), body(&json)), ("application/x-amz-json-1.1", json!({"Text": "Hi you"})));
    let query = call(Protocol::AwsQuery, "you", "Hi").await;
    assert_eq!(
        std::str::from_utf8(query.body()).unwrap(),
        "<GreetResponse xmlns=\"http://greetings/\"><GreetResult><Text>Hi you</Text></GreetResult>\
         <ResponseMetadata><RequestId>request-1</RequestId></ResponseMetadata></GreetResponse>"
    );
}

#[tokio::test]
async fn w18_errors_have_the_shape_of_each_protocol() {
    let text = "There is <nobody> & nothing.";
    let rest = call(Protocol::RestJson1, "nobody", "Hi").await;
    assert_eq!((rest.status().as_u16(), body(&rest)), (404, json!({"Message": text, "Type": "User"})));
    assert_eq!((header(&rest, "x-amzn-errortype"), header(&rest, "retry-after")), ("NobodyThere", "3"));
    let json = call(Protocol::AwsJson1_1, "nobody", "Hi").await;
    let expect = json!({"__type": "NobodyThere", "Message": text, "Type": "User", "RetryAfter": "3"});
    assert_eq!((json.status().as_u16(), body(&json)), (404, expect));
    assert_eq!(header(&json, "x-amzn-query-error"), "Greetings.NobodyThere;Sender");
    let query = call(Protocol::AwsQuery, "nobody", "Hi").await;
    assert_eq!(
        std::str::from_utf8(query.body()).unwrap(),
        "<ErrorResponse xmlns=\"http://greetings/\"><Error><Type>Sender</Type><Code>Greetings.NobodyThere</Code>\
         <Message>There is &lt;nobody&gt; &amp; nothing.</Message><RetryAfter>3</RetryAfter><Type>User</Type></Error>\
         <RequestId>request-1</RequestId></ErrorResponse>"
    );
    // An error that the model does not list has a message all the same.
    let rest = call(Protocol::RestJson1, "broken", "Hi").await;
    assert_eq!((rest.status().as_u16(), body(&rest)["message"].as_str()), (500, Some(text)));
}

#[tokio::test]
async fn constraints_are_checked_before_the_handler_runs() {
    for protocol in [Protocol::RestJson1, Protocol::AwsJson1_1] {
        let answer = call(protocol, "a-long-name", "Hi").await;
        assert_eq!((answer.status().as_u16(), header(&answer, "x-amzn-errortype")), (400, "ValidationException"));
        assert_eq!(
            body(&answer)["message"],
            "1 validation error detected: Value 'a-long-name' at 'name' failed to satisfy constraint: \
             Member must have length less than or equal to 8"
        );
    }
}

#[tokio::test]
async fn w3_unknown_operations_and_those_not_served_are_told_apart() {
    for (method, path, status, code) in [
        ("DELETE", "/greetings/you", 501, "NotImplemented"),
        ("PATCH", "/greetings/you", 404, "UnknownOperationException"),
        ("POST", "/elsewhere", 404, "UnknownOperationException"),
    ] {
        let (parts, ()) = http::Request::builder().method(method).uri(path).body(()).unwrap().into_parts();
        let answer = service().call(cx(), Protocol::RestJson1, &parts, Bytes::new()).await;
        assert_eq!((answer.status().as_u16(), header(&answer, "x-amzn-errortype")), (status, code), "{method} {path}");
    }
}
