//! Properties over random values of random shapes.

use std::borrow::Cow;
use std::fmt::Write;

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use sys::Timestamp;
use wire::shape::{
    Kind, List, Location, Map, Member, OperationShape, Protocol, ServiceShape, Shape, ShapeId, Shapes, Structure,
    TimestampFormat,
};
use wire::{Value, protocol};

use crate::botocore::leak;
use crate::compare::same;
use crate::strictness::{decode, kitchen_sink};

/// A random shape, before it gets its place in a table.
#[derive(Clone, Debug)]
enum Plan {
    Boolean,
    Integer,
    Double,
    Text,
    Blob,
    Timestamp(TimestampFormat),
    Document,
    List(Box<Plan>),
    Map(Box<Plan>),
    Structure(Vec<Plan>),
}

fn scalar() -> impl Strategy<Value = Plan> {
    prop_oneof![
        Just(Plan::Boolean),
        Just(Plan::Integer),
        Just(Plan::Double),
        Just(Plan::Text),
        Just(Plan::Blob),
        Just(Plan::Timestamp(TimestampFormat::UnixTimestamp)),
        Just(Plan::Timestamp(TimestampFormat::Iso8601)),
        Just(Plan::Timestamp(TimestampFormat::Rfc822)),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let leaf = prop_oneof![8 => scalar(), 1 => Just(Plan::Document)];
    let inner = leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|plan| Plan::List(Box::new(plan))),
            inner.clone().prop_map(|plan| Plan::Map(Box::new(plan))),
            vec(inner, 0..4).prop_map(Plan::Structure),
        ]
    });
    vec(inner, 1..5).prop_map(Plan::Structure)
}

const MEMBERS: [&str; 5] = ["A", "B", "C", "D", "E"];

/// A value of a plan; absent members and empty collections included.
fn value(plan: &Plan) -> BoxedStrategy<Value> {
    match plan {
        Plan::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        Plan::Integer => any::<i64>().prop_map(Value::Integer).boxed(),
        Plan::Double => any::<f64>().prop_map(Value::Double).boxed(),
        Plan::Text => any::<String>().prop_map(Value::String).boxed(),
        Plan::Blob => vec(any::<u8>(), 0..20).prop_map(|bytes| Value::Blob(bytes.into())).boxed(),
        // HTTP dates have whole seconds; f64 holds microseconds of these years.
        Plan::Timestamp(TimestampFormat::Rfc822) => {
            (0..4_000_000_000i64).prop_map(|s| Value::Timestamp(Timestamp::from_unix_s(s))).boxed()
        }
        Plan::Timestamp(_) => (-4_000_000_000_000_000..4_000_000_000_000_000i64)
            .prop_map(|us| Value::Timestamp(Timestamp::from_unix_us(us)))
            .boxed(),
        Plan::Document => any::<(bool, i64, String)>()
            .prop_map(|(flag, number, text)| Value::Document(serde_json::json!([flag, {text: number}, null])))
            .boxed(),
        Plan::List(of) => vec(value(of), 0..4).prop_map(Value::List).boxed(),
        Plan::Map(of) => btree_map(any::<String>(), value(of), 0..4)
            .prop_map(|entries| Value::Map(entries.into_iter().map(|(key, value)| (Cow::Owned(key), value)).collect()))
            .boxed(),
        Plan::Structure(members) => {
            let members: Vec<_> = members.iter().map(|plan| proptest::option::of(value(plan))).collect();
            members
                .prop_map(|values| {
                    let named = MEMBERS.iter().zip(values);
                    Value::Map(named.filter_map(|(name, value)| Some((Cow::Borrowed(*name), value?))).collect())
                })
                .boxed()
        }
    }
}

fn add(plan: &Plan, location: Location, table: &mut Vec<Shape>) -> ShapeId {
    let kind = match plan {
        Plan::Boolean => Kind::Boolean,
        Plan::Integer => Kind::LONG,
        Plan::Double => Kind::Double,
        Plan::Text => Kind::TEXT,
        Plan::Blob => Kind::Blob { streaming: false },
        Plan::Timestamp(format) => Kind::Timestamp(Some(*format)),
        Plan::Document => Kind::Document,
        Plan::List(of) => Kind::List(List::of(add(of, Location::Body, table))),
        Plan::Map(of) => {
            let key = add(&Plan::Text, Location::Body, table);
            Kind::Map(Map::of(key, add(of, Location::Body, table)))
        }
        Plan::Structure(members) => {
            let members: Vec<Member> = MEMBERS
                .iter()
                .zip(members)
                .map(|(name, plan)| Member::new(name, add(plan, Location::Body, table)).at(location, name))
                .collect();
            Kind::Structure(Structure::of(leak(members.into_boxed_slice())))
        }
    };
    table.push(Shape::new("Random", kind));
    ShapeId(u16::try_from(table.len() - 1).unwrap())
}

fn operation(plan: &Plan, location: Location) -> OperationShape {
    let mut table = Vec::new();
    let shape = add(plan, location, &mut table);
    let shapes = Shapes(leak(table.into_boxed_slice()));
    OperationShape { input: Some(shape), output: Some(shape), ..OperationShape::new("Random", shapes) }
}

static SERVICE: ServiceShape = ServiceShape {
    name: "random",
    signing_name: "random",
    endpoint_prefix: "random",
    target_prefix: "",
    api_version: "1",
    xml_namespace: "",
    protocols: &[],
    query_compatible: false,
    validation_code: "ValidationException",
    operations: &[],
};

/// The form that a client would send: the inverse of the query decoder.
fn form(name: &str, value: &Value, shape: &Shape, shapes: Shapes, out: &mut String) {
    match (value, &shape.kind) {
        (Value::Map(members), Kind::Structure(structure)) => {
            for (member, value) in members {
                let of = structure.members.iter().find(|of| of.name == member).unwrap();
                let name = if name.is_empty() { member.to_string() } else { format!("{name}.{member}") };
                form(&name, value, shapes.get(of.shape), shapes, out);
            }
        }
        (Value::Map(entries), Kind::Map(map)) => {
            for (at, (key, value)) in entries.iter().enumerate() {
                pair(&format!("{name}.entry.{}.key", at + 1), key, out);
                form(&format!("{name}.entry.{}.value", at + 1), value, shapes.get(map.value), shapes, out);
            }
        }
        (Value::List(elements), Kind::List(list)) => {
            pair(name, "", out);
            for (at, element) in elements.iter().enumerate() {
                form(&format!("{name}.member.{}", at + 1), element, shapes.get(list.member), shapes, out);
            }
        }
        (Value::Boolean(flag), _) => pair(name, &flag.to_string(), out),
        (Value::Integer(number), _) => pair(name, &number.to_string(), out),
        (Value::String(text), _) => pair(name, text, out),
        other => panic!("not in this test: {other:?}"),
    }
}

fn pair(name: &str, value: &str, out: &mut String) {
    out.push('&');
    out.push_str(name);
    out.push('=');
    for byte in value.bytes() {
        write!(out, "%{byte:02X}").unwrap();
    }
}

/// Plans that a form can carry without loss: an empty map or structure leaves no trace there.
fn in_forms(plan: &Plan) -> bool {
    match plan {
        Plan::Boolean | Plan::Integer | Plan::Text => true,
        Plan::List(of) => matches!(**of, Plan::Text | Plan::Integer),
        Plan::Structure(members) => members.iter().all(in_forms),
        _ => false,
    }
}

/// Drops empty structures, which leave no trace in a form.
fn traced(value: Value) -> Value {
    match value {
        Value::Map(members) => Value::Map(
            members
                .into_iter()
                .map(|(name, value)| (name, traced(value)))
                .filter(|(_, value)| *value != Value::empty())
                .collect(),
        ),
        other => other,
    }
}

fn plan_and_value() -> impl Strategy<Value = (Plan, Value)> {
    plan().prop_flat_map(|plan| {
        let value = value(&plan);
        (Just(plan), value)
    })
}

/// Members that stand in headers: scalars and lists of integers.
fn in_headers() -> impl Strategy<Value = (Plan, Value)> {
    let text = "[!-~]([ -~]{0,8}[!-~])?";
    let member = prop_oneof![
        Just(Plan::Boolean),
        Just(Plan::Integer),
        Just(Plan::Double),
        Just(Plan::Timestamp(TimestampFormat::Rfc822)),
        Just(Plan::Timestamp(TimestampFormat::UnixTimestamp)),
        Just(Plan::Text),
        Just(Plan::List(Box::new(Plan::Text))),
    ];
    vec(member, 1..5).prop_flat_map(move |plans| {
        let values: Vec<BoxedStrategy<Value>> = plans
            .iter()
            .map(|plan| match plan {
                Plan::Text => text.prop_map(Value::String).boxed(),
                Plan::List(_) => vec(text.prop_map(Value::String), 1..4).prop_map(Value::List).boxed(),
                other => value(other),
            })
            .collect();
        let structure = values.prop_map(|values| {
            Value::Map(MEMBERS.iter().zip(values).map(|(name, value)| (Cow::Borrowed(*name), value)).collect())
        });
        (Just(Plan::Structure(plans)), structure)
    })
}

proptest! {
    #[test]
    fn json_reads_what_it_writes((plan, value) in plan_and_value()) {
        let operation = operation(&plan, Location::Body);
        let (parts, ()) = http::Request::post("/").body(()).unwrap().into_parts();
        for protocol in [Protocol::AwsJson1_0, Protocol::AwsJson1_1, Protocol::RestJson1] {
            let answer = protocol::encode(protocol, &SERVICE, &operation, "id", value.clone()).unwrap();
            let back = protocol::decode(protocol, &operation, &parts, answer.body()).unwrap();
            prop_assert!(same(&back, &value), "{protocol:?}: {back:?} is not {value:?}");
        }
    }

    #[test]
    fn headers_read_what_they_write((plan, value) in in_headers()) {
        let operation = operation(&plan, Location::Header);
        let answer = protocol::encode(Protocol::RestJson1, &SERVICE, &operation, "id", value.clone()).unwrap();
        let (mut parts, ()) = http::Request::post("/").body(()).unwrap().into_parts();
        parts.headers = answer.headers().clone();
        let back = protocol::decode(Protocol::RestJson1, &operation, &parts, &Bytes::new()).unwrap();
        prop_assert!(same(&back, &value), "{back:?} is not {value:?}");
    }

    #[test]
    fn forms_are_read_as_clients_write_them(
        (plan, value) in plan_and_value().prop_filter("in forms", |(plan, _)| in_forms(plan))
    ) {
        let operation = operation(&plan, Location::Body);
        let mut body = "Action=Random".to_owned();
        form("", &value, operation.shapes.get(operation.input.unwrap()), operation.shapes, &mut body);
        let (parts, ()) = http::Request::post("/").body(()).unwrap().into_parts();
        let back = protocol::decode(Protocol::AwsQuery, &operation, &parts, &body.into()).unwrap();
        prop_assert!(same(&traced(back.clone()), &traced(value.clone())), "{back:?} is not {value:?}");
    }

    #[test]
    fn xml_is_well_formed_whatever_the_value((plan, value) in plan_and_value()) {
        let operation = operation(&plan, Location::Body);
        let answer = protocol::encode(Protocol::AwsQuery, &SERVICE, &operation, "id", value).unwrap();
        crate::compare::parse_xml(std::str::from_utf8(answer.body()).unwrap());
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(
        bytes in prop_oneof![
            vec(any::<u8>(), 0..200),
            // Nearly well-formed texts reach deeper.
            r#"(\{|\}|\[|\]|"(Text|Count|Bytes|List|Map|Inner|Any|When|Choice|a)":?|,|[0-9.eE-]{1,4}|null|true|\\u[d8-f]{4}){0,40}"#
                .prop_map(String::into_bytes),
            "((Text|Count|List|Map|Inner|member|entry|key|value|[0-9])[.=&%]?){0,40}".prop_map(String::into_bytes),
        ]
    ) {
        for protocol in [Protocol::AwsJson1_1, Protocol::RestJson1, Protocol::AwsQuery] {
            let _ = decode(protocol, bytes.clone());
        }
    }

    #[test]
    fn no_path_query_or_header_makes_rest_json_panic(path in "/[!-~]{0,40}", header in "[ -~]{0,30}") {
        let Ok(request) = http::Request::post(path).header("A", header).body(()) else { return Ok(()) };
        let (parts, ()) = request.into_parts();
        for plan in [Plan::Text, Plan::Integer, Plan::List(Box::new(Plan::Timestamp(TimestampFormat::Rfc822)))] {
            for location in [Location::Header, Location::QueryString, Location::Headers] {
                let operation = operation(&Plan::Structure(vec![plan.clone()]), location);
                let _ = protocol::decode(Protocol::RestJson1, &operation, &parts, &Bytes::new());
            }
        }
        let _ = protocol::decode(Protocol::RestJson1, kitchen_sink(), &parts, &Bytes::new());
        for template in ["/{A}", "/{A+}", "/a/{B}/c", "/{A}/{B+}/c?x=1"] {
            let _ = wire::uri::fits(template, parts.uri.path(), parts.uri.query().unwrap_or_default());
            let _ = wire::uri::labels(template, parts.uri.path());
        }
    }
}
