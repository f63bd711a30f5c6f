//! What the generated code promises: tables that hold together, patterns that compile, secrets that stay secret.

use std::borrow::Cow;

use model::{lambda, logs};
use sys::Timestamp;
use wire::shape::{Kind, OperationShape, Protocol, ServiceShape, Shape, ShapeId, Shapes};
use wire::{FromValue, IntoValue, Operation, Value, protocol, validation};

/// A value of the shape with every member set; recursion ends where a shape comes again.
fn full(shapes: Shapes, id: ShapeId, above: &mut Vec<ShapeId>) -> Option<Value> {
    if above.contains(&id) {
        return None;
    }
    above.push(id);
    let value = match &shapes.get(id).kind {
        Kind::Boolean => Value::Boolean(true),
        Kind::Integer(..) => Value::Integer(shapes.get(id).min.unwrap_or(7)),
        Kind::Double => Value::Double(0.5),
        Kind::String(values) => Value::String(values.first().copied().unwrap_or("text").to_owned()),
        Kind::Blob { .. } => Value::Blob("bytes".into()),
        Kind::Timestamp(_) => Value::Timestamp(Timestamp::from_unix_s(1)),
        Kind::Document => Value::Document(serde_json::json!({"a": 1})),
        Kind::List(list) => Value::List(full(shapes, list.member, above).into_iter().collect()),
        Kind::Map(map) => {
            let value = full(shapes, map.value, above);
            Value::Map(value.map(|value| (Cow::Borrowed("key"), value)).into_iter().collect())
        }
        Kind::Structure(structure) => {
            let members = structure.members.iter();
            let present = members.filter_map(|m| Some((Cow::Borrowed(m.name), full(shapes, m.shape, above)?)));
            Value::Map(present.collect())
        }
    };
    above.pop();
    Some(value)
}

fn full_side(operation: &OperationShape, side: Option<ShapeId>) -> Value {
    side.and_then(|id| full(operation.shapes, id, &mut Vec::new())).unwrap_or(Value::empty())
}

/// The typed form keeps every member, in both directions, and the output can be encoded.
fn check<O: Operation>(service: &ServiceShape)
where
    O::Input: IntoValue,
    O::Output: FromValue,
{
    let shape = O::SHAPE;
    let input = full_side(shape, shape.input);
    assert_eq!(O::Input::from_value(input.clone()).expect("fits").into_value(), input, "input of {}", shape.name);
    let output = full_side(shape, shape.output);
    assert_eq!(O::Output::from_value(output.clone()).expect("fits").into_value(), output, "output of {}", shape.name);
    let answer = protocol::encode(service.protocols[0], service, shape, "id", output).expect("fits");
    assert!(answer.headers().contains_key("x-amzn-requestid"));
}

#[test]
fn typed_inputs_and_outputs_keep_every_member() {
    check::<lambda::CreateFunction>(&lambda::SERVICE);
    check::<lambda::CreateFunctionUrlConfig>(&lambda::SERVICE);
    check::<lambda::DeleteFunction>(&lambda::SERVICE);
    check::<lambda::DeleteFunctionUrlConfig>(&lambda::SERVICE);
    check::<lambda::GetAccountSettings>(&lambda::SERVICE);
    check::<lambda::GetFunction>(&lambda::SERVICE);
    check::<lambda::GetFunctionConfiguration>(&lambda::SERVICE);
    check::<lambda::GetFunctionUrlConfig>(&lambda::SERVICE);
    check::<lambda::Invoke>(&lambda::SERVICE);
    check::<lambda::ListFunctionUrlConfigs>(&lambda::SERVICE);
    check::<lambda::ListFunctions>(&lambda::SERVICE);
    check::<lambda::UpdateFunctionCode>(&lambda::SERVICE);
    check::<lambda::UpdateFunctionConfiguration>(&lambda::SERVICE);
    check::<lambda::UpdateFunctionUrlConfig>(&lambda::SERVICE);
    check::<logs::DescribeLogGroups>(&logs::SERVICE);
    check::<logs::DescribeLogStreams>(&logs::SERVICE);
    check::<logs::FilterLogEvents>(&logs::SERVICE);
    check::<logs::GetLogEvents>(&logs::SERVICE);
}

/// Patterns that the `regex` crate cannot express and that therefore constrain nothing, with the reason.
const NOT_EXPRESSIBLE: &[(&str, &str)] = &[(
    r"(^(?!(system\x2e)))(^[_a-zA-Z0-9])([^$]*)",
    "looks ahead; it constrains collections of document databases, whose mappings are refused by name",
)];

#[test]
fn every_pattern_compiles_or_is_listed() {
    for (service, Shapes(table)) in [("lambda", lambda::SHAPES), ("logs", logs::SHAPES)] {
        for shape in table {
            let Some(pattern) = shape.pattern else { continue };
            let listed = NOT_EXPRESSIBLE.iter().any(|(text, _)| *text == pattern.text);
            assert_eq!(pattern.regex().is_none(), listed, "{service} {}: {}", shape.name, pattern.text);
        }
    }
}

#[test]
fn every_reference_points_into_its_table() {
    for Shapes(table) in [lambda::SHAPES, logs::SHAPES] {
        let inside = |id: ShapeId| assert!(usize::from(id.0) < table.len(), "{id:?}");
        for shape in table {
            match &shape.kind {
                Kind::List(list) => inside(list.member),
                Kind::Map(map) => [map.key, map.value].into_iter().for_each(inside),
                _ => shape.members().iter().for_each(|member| inside(member.shape)),
            }
        }
    }
}

#[test]
fn every_service_is_there_once_and_has_operations() {
    let mut names: Vec<&str> = model::SERVICES.iter().map(|service| service.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), model::SERVICES.len());
    for service in model::SERVICES {
        assert!(!service.operations.is_empty() && !service.protocols.is_empty(), "{}", service.name);
        let json = matches!(service.protocols[0], Protocol::AwsJson1_0 | Protocol::AwsJson1_1);
        assert!(!json || !service.target_prefix.is_empty(), "{} has no target prefix", service.name);
    }
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let secret = "geheim";
    let environment = lambda::Environment { variables: Some([(secret.to_owned(), secret.to_owned())].into()) };
    let code = lambda::FunctionCode { zip_file: Some(secret.into()), ..lambda::FunctionCode::default() };
    let invoke = lambda::InvokeOutput { payload: Some(secret.into()), ..lambda::InvokeOutput::default() };
    for shown in [format!("{environment:?}"), format!("{code:?}"), format!("{invoke:?}")] {
        assert!(shown.contains("[redacted]") && !shown.contains(secret), "{shown}");
    }
}

#[test]
fn enumerations_read_what_they_write() {
    for runtime in lambda::Runtime::ALL {
        assert_eq!(runtime.as_str().parse(), Ok(*runtime));
        assert_eq!(runtime.to_string(), runtime.as_str());
    }
    assert!("nodejs99.x".parse::<lambda::Runtime>().is_err());
}

fn decode(operation: &OperationShape, method: &str, uri: &str, body: &'static str) -> Value {
    let (parts, ()) = http::Request::builder().method(method).uri(uri).body(()).expect("valid").into_parts();
    protocol::decode(Protocol::RestJson1, operation, &parts, &body.into()).expect("well formed")
}

/// The texts that AWS answers (recorded against AWS by several public test suites).
#[test]
fn violations_read_as_on_aws() {
    let operation = lambda::CreateFunction::SHAPE;
    let body = r#"{"FunctionName": "f", "Role": "arn:aws:iam::000000000000:role/r", "Code": {}, "MemorySize": 122}"#;
    let input = decode(operation, "POST", "/2015-03-31/functions", body);
    let error = validation::validate(&lambda::SERVICE, operation, &input).expect_err("too small");
    assert_eq!(
        (error.code.as_ref(), error.status, error.message.as_str()),
        (
            "ValidationException",
            400,
            "1 validation error detected: Value '122' at 'memorySize' failed to satisfy constraint: \
             Member must have value greater than or equal to 128"
        )
    );
    let body =
        r#"{"FunctionName": "f", "Role": "arn:aws:iam::000000000000:role/r", "Code": {}, "Architectures": ["x"]}"#;
    let input = decode(operation, "POST", "/2015-03-31/functions", body);
    let error = validation::validate(&lambda::SERVICE, operation, &input).expect_err("unknown");
    assert_eq!(
        error.message,
        "1 validation error detected: Value '[x]' at 'architectures' failed to satisfy constraint: Member must satisfy \
         constraint: [Member must satisfy enum value set: [x86_64, arm64], Member must not be null]"
    );
}

#[test]
fn names_and_arns_satisfy_the_models_patterns() {
    let operation = lambda::GetFunction::SHAPE;
    for (name, valid) in [
        ("f", true),
        ("f:1", true),
        ("000000000000:function:f", true),
        ("arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST", true),
        ("my function", false),
        ("arn:aws:lambda:us-east-1:123:function:f", false),
    ] {
        let encoded = name.replace(':', "%3A").replace(' ', "%20");
        let input = decode(operation, "GET", &format!("/2015-03-31/functions/{encoded}"), "");
        assert_eq!(input.get("FunctionName").and_then(Value::as_str), Some(name));
        assert_eq!(validation::validate(&lambda::SERVICE, operation, &input).is_ok(), valid, "{name}");
    }
}

/// Shapes are found by name for messages; a table never holds one twice.
#[test]
fn shapes_have_distinct_names() {
    for Shapes(table) in [lambda::SHAPES, logs::SHAPES] {
        let mut names: Vec<&str> = table.iter().map(|shape: &Shape| shape.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
