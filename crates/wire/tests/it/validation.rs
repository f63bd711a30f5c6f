//! Constraints and their messages, as AWS words them.

use std::borrow::Cow;

use wire::shape::{
    Kind, List, Map, Member, OperationShape, Pattern, Protocol, ServiceShape, Shape, ShapeId, Shapes, Structure,
};
use wire::validation::validate;
use wire::{ApiError, Value};

static NAME: Pattern = Pattern::new("[a-z]+");
static SERVICE: ServiceShape = ServiceShape {
    name: "test",
    signing_name: "test",
    endpoint_prefix: "test",
    target_prefix: "",
    api_version: "1",
    xml_namespace: "",
    protocols: &[Protocol::RestJson1],
    query_compatible: false,
    validation_code: "ValidationException",
    operations: &[],
};
static TABLE: [Shape; 10] = [
    // 0
    Shape::new(
        "Input",
        Kind::Structure(Structure::of(&[
            Member::new("FunctionName", ShapeId(1)).required(),
            Member::new("KMSKeyArn", ShapeId(1)),
            Member::new("MemorySize", ShapeId(2)),
            Member::new("Mode", ShapeId(3)),
            Member::new("Layers", ShapeId(4)),
            Member::new("Secrets", ShapeId(5)),
            Member::new("Inner", ShapeId(0)),
            Member::new("Inners", ShapeId(7)),
            Member::new("Key", ShapeId(8)),
            Member::new("Tags", ShapeId(9)),
        ])),
    ),
    // 1
    Shape::new("Name", Kind::TEXT).bounds(Some(1), Some(4)).pattern(&NAME),
    // 2
    Shape::new("Size", Kind::INTEGER).bounds(Some(128), Some(10240)),
    // 3
    Shape::new("Mode", Kind::String(&["Active", "PassThrough"])),
    // 4
    Shape::new("Layers", Kind::List(List::of(ShapeId(3)))).bounds(None, Some(2)),
    // 5
    Shape::new("Secrets", Kind::Map(Map::of(ShapeId(1), ShapeId(6)))).sensitive(),
    // 6
    Shape::new("Secret", Kind::TEXT).bounds(None, Some(2)).sensitive(),
    // 7
    Shape::new("Inners", Kind::List(List::of(ShapeId(0)))),
    // 8
    Shape::new("Key", Kind::TEXT).bounds(Some(8), None).sensitive(),
    // 9
    Shape::new("Tags", Kind::Map(Map::of(ShapeId(1), ShapeId(1)))),
];
static OPERATION: OperationShape =
    OperationShape { input: Some(ShapeId(0)), ..OperationShape::new("Test", Shapes(&TABLE)) };

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn map(members: Vec<(&'static str, Value)>) -> Value {
    Value::Map(members.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect())
}

fn check(members: Vec<(&'static str, Value)>) -> Result<(), ApiError> {
    validate(&SERVICE, &OPERATION, &map(members))
}

fn message(mut members: Vec<(&'static str, Value)>) -> String {
    if !members.iter().any(|(name, _)| *name == "FunctionName") {
        members.push(("FunctionName", text("f")));
    }
    let error = check(members).expect_err("violated");
    assert_eq!((error.code.as_ref(), error.status), ("ValidationException", 400));
    error.message
}

#[test]
fn what_satisfies_every_constraint_passes() {
    check(vec![
        ("FunctionName", text("abcd")),
        ("MemorySize", Value::Integer(128)),
        ("Mode", text("Active")),
        ("Layers", Value::List(vec![text("Active"), text("PassThrough")])),
        ("Unknown", Value::Null),
        ("Mode", Value::Null),
    ])
    .expect("valid");
}

#[test]
fn each_violation_has_awss_words() {
    let one = "1 validation error detected: Value";
    let must = "failed to satisfy constraint: Member must";
    for (member, value, expect) in [
        ("FunctionName", Value::Null, format!("{one} null at 'functionName' {must} not be null")),
        (
            "FunctionName",
            text("A"),
            format!("{one} 'A' at 'functionName' {must} satisfy regular expression pattern: [a-z]+"),
        ),
        (
            "KMSKeyArn",
            text("abcde"),
            format!("{one} 'abcde' at 'kMSKeyArn' {must} have length less than or equal to 4"),
        ),
        (
            "MemorySize",
            Value::Integer(1),
            format!("{one} '1' at 'memorySize' {must} have value greater than or equal to 128"),
        ),
        (
            "MemorySize",
            Value::Integer(10241),
            format!("{one} '10241' at 'memorySize' {must} have value less than or equal to 10240"),
        ),
        ("Mode", text("x"), format!("{one} 'x' at 'mode' {must} satisfy enum value set: [Active, PassThrough]")),
        (
            "Layers",
            Value::List(vec![text("Active"); 3]),
            format!("{one} '[Active, Active, Active]' at 'layers' {must} have length less than or equal to 2"),
        ),
        (
            "Layers",
            Value::List(vec![text("x")]),
            format!(
                "{one} '[x]' at 'layers' {must} satisfy constraint: [Member must satisfy enum value set: [Active, PassThrough], Member must not be null]"
            ),
        ),
        (
            "Tags",
            map(vec![("A", text("b"))]),
            format!(
                "{one} '{{A=b}}' at 'tags' failed to satisfy constraint: Map keys must satisfy constraint: [Member must have length less than or equal to 4, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: [a-z]+, Member must not be null]"
            ),
        ),
        ("Inner", map(vec![]), format!("{one} null at 'inner.functionName' {must} not be null")),
        (
            "Inners",
            Value::List(vec![map(vec![("FunctionName", text("a"))]), map(vec![])]),
            format!("{one} null at 'inners.2.member.functionName' {must} not be null"),
        ),
    ] {
        assert_eq!(message(vec![(member, value)]), expect);
    }
}

#[test]
fn several_violations_are_counted_and_joined() {
    assert_eq!(
        message(vec![("FunctionName", text("")), ("MemorySize", Value::Integer(0))]),
        "3 validation errors detected: \
         Value '' at 'functionName' failed to satisfy constraint: Member must have length greater than or equal to 1; \
         Value '' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+; \
         Value '0' at 'memorySize' failed to satisfy constraint: Member must have value greater than or equal to 128"
    );
    let many = message(vec![("Inners", Value::List(vec![map(vec![]); 1000]))]);
    assert!(many.starts_with("1000 validation errors detected: "), "{many}");
    assert_eq!(many.matches("; ").count(), 9, "the message stays readable");
}

#[test]
fn sensitive_values_are_not_echoed() {
    let shown = message(vec![("Key", text("geheim")), ("Secrets", map(vec![("a", text("geheim"))]))]);
    assert!(!shown.contains("geheim"), "{shown}");
    assert!(shown.contains("Value '***' at 'key'"), "{shown}");
}

#[test]
fn long_values_are_cut() {
    let shown = message(vec![("KMSKeyArn", text(&"x".repeat(1_000_000)))]);
    assert!(shown.len() < 2000);
}
