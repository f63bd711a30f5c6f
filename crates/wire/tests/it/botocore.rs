//! botocore's shape format → our shape tables, at run time: foreign suites run through the very same interpreter.

use std::collections::BTreeMap;

use serde_json::{Map as Object, Value as Json};
use wire::Fault;
use wire::shape::{
    ErrorShape, Kind, List, Location, Map, Member, OperationName, OperationShape, Protocol, ServiceShape, Shape,
    ShapeId, Shapes, Structure, TimestampFormat,
};

/// Tests may leak: tables live as long as the process, like the generated ones.
pub(crate) fn leak<T: ?Sized>(value: Box<T>) -> &'static T {
    Box::leak(value)
}

fn text(value: &Json) -> &'static str {
    leak(value.as_str().unwrap_or_default().to_owned().into_boxed_str())
}

/// The shapes of a suite and where each name stands.
pub(crate) struct Table {
    pub(crate) shapes: Shapes,
    ids: BTreeMap<String, ShapeId>,
}

impl Table {
    pub(crate) fn new(shapes: &Object<String, Json>) -> Self {
        let ids: BTreeMap<String, ShapeId> =
            shapes.keys().enumerate().map(|(at, name)| (name.clone(), ShapeId(u16::try_from(at).unwrap()))).collect();
        let built: Vec<Shape> = shapes
            .iter()
            .map(|(name, shape)| Shape::new(leak(name.clone().into_boxed_str()), kind(&ids, shape)))
            .collect();
        Self { shapes: Shapes(leak(built.into_boxed_slice())), ids }
    }

    pub(crate) fn id(&self, reference: &Json) -> Option<ShapeId> {
        self.ids.get(reference["shape"].as_str()?).copied()
    }

    /// The operation of a case, and a service that has only this operation.
    pub(crate) fn operation(
        &self,
        metadata: &Json,
        given: &Json,
        definitions: &Json,
    ) -> (&'static ServiceShape, &'static OperationShape) {
        let http = &given["http"];
        let mut errors = Vec::new();
        for error in given["errors"].as_array().into_iter().flatten() {
            let name = text(&error["shape"]);
            let definition = &definitions[name];
            let code = definition["error"]["code"].as_str().unwrap_or(name);
            let server = definition["fault"] == true;
            let status = definition["error"]["httpStatusCode"].as_u64().unwrap_or(if server { 500 } else { 400 });
            errors.push(ErrorShape {
                name,
                code: leak(code.to_owned().into_boxed_str()),
                status: u16::try_from(status).unwrap(),
                fault: if server { Fault::Server } else { Fault::Client },
                shape: self.id(error).unwrap(),
            });
        }
        let operation = OperationShape {
            method: text(&http["method"]),
            uri: text(&http["requestUri"]),
            status: u16::try_from(http["responseCode"].as_u64().unwrap_or(200)).unwrap(),
            input: self.id(&given["input"]),
            output: self.id(&given["output"]),
            result_element: text(&given["output"]["resultWrapper"]),
            errors: leak(errors.into_boxed_slice()),
            ..OperationShape::new(text(&given["name"]), self.shapes)
        };
        let names = vec![OperationName::rest(operation.name, operation.method, operation.uri)];
        let service = ServiceShape {
            name: "suite",
            signing_name: "suite",
            endpoint_prefix: "suite",
            target_prefix: text(&metadata["targetPrefix"]),
            api_version: text(&metadata["apiVersion"]),
            xml_namespace: text(&metadata["xmlNamespace"]),
            protocols: leak(vec![protocol(metadata)].into_boxed_slice()),
            query_compatible: metadata["awsQueryCompatible"].is_object(),
            validation_code: "ValidationException",
            operations: leak(names.into_boxed_slice()),
        };
        (leak(Box::new(service)), leak(Box::new(operation)))
    }
}

pub(crate) fn protocol(metadata: &Json) -> Protocol {
    match (metadata["protocol"].as_str().unwrap(), metadata["jsonVersion"].as_str()) {
        ("json", Some("1.0")) => Protocol::AwsJson1_0,
        ("json", _) => Protocol::AwsJson1_1,
        ("query", _) => Protocol::AwsQuery,
        ("rest-json", _) => Protocol::RestJson1,
        ("rest-xml", _) => Protocol::RestXml,
        (other, _) => panic!("unknown protocol {other}"),
    }
}

fn kind(ids: &BTreeMap<String, ShapeId>, shape: &Json) -> Kind {
    let id = |reference: &Json| ids[reference["shape"].as_str().unwrap()];
    match shape["type"].as_str().unwrap() {
        "boolean" => Kind::Boolean,
        "byte" => Kind::BYTE,
        "short" => Kind::SHORT,
        "integer" => Kind::INTEGER,
        "long" => Kind::LONG,
        "float" | "double" => Kind::Double,
        "string" => Kind::String(strings(&shape["enum"])),
        "blob" => Kind::Blob { streaming: shape["streaming"] == true },
        "timestamp" => Kind::Timestamp(format(&shape["timestampFormat"])),
        "list" => Kind::List(List {
            member_name: text(&shape["member"]["locationName"]),
            flattened: shape["flattened"] == true,
            ..List::of(id(&shape["member"]))
        }),
        "map" => Kind::Map(Map {
            key_name: text(&shape["key"]["locationName"]),
            value_name: text(&shape["value"]["locationName"]),
            flattened: shape["flattened"] == true,
            ..Map::of(id(&shape["key"]), id(&shape["value"]))
        }),
        "structure" if shape["document"] == true => Kind::Document,
        "structure" => {
            let members: Vec<Member> = shape["members"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, definition)| member(name, definition, id(definition), &shape["required"]))
                .collect();
            Kind::Structure(Structure {
                payload: shape["payload"].as_str().map(|name| leak(name.to_owned().into_boxed_str()) as &'static str),
                union: shape["union"] == true,
                xml_namespace: namespace(&shape["xmlNamespace"]),
                ..Structure::of(leak(members.into_boxed_slice()))
            })
        }
        other => panic!("unknown type {other}"),
    }
}

fn member(name: &str, definition: &Json, shape: ShapeId, required: &Json) -> Member {
    let name = leak(name.to_owned().into_boxed_str());
    let wire_name = match definition["locationName"].as_str() {
        Some(_) => text(&definition["locationName"]),
        None => name,
    };
    let location = match definition["location"].as_str() {
        None => Location::Body,
        Some("header") => Location::Header,
        Some("headers") => Location::Headers,
        Some("querystring") => Location::QueryString,
        Some("uri") => Location::Uri,
        Some("statusCode") => Location::StatusCode,
        Some(other) => panic!("unknown location {other}"),
    };
    Member {
        required: required.as_array().is_some_and(|names| names.iter().any(|required| required == name)),
        timestamp: format(&definition["timestampFormat"]),
        flattened: definition["flattened"] == true,
        json_value: definition["jsonvalue"] == true,
        xml_attribute: definition["xmlAttribute"] == true,
        xml_namespace: namespace(&definition["xmlNamespace"]),
        ..Member::new(name, shape).at(location, wire_name)
    }
}

fn strings(values: &Json) -> &'static [&'static str] {
    let values: Vec<&'static str> = values.as_array().into_iter().flatten().map(text).collect();
    leak(values.into_boxed_slice())
}

fn format(name: &Json) -> Option<TimestampFormat> {
    Some(match name.as_str()? {
        "iso8601" => TimestampFormat::Iso8601,
        "rfc822" => TimestampFormat::Rfc822,
        "unixTimestamp" => TimestampFormat::UnixTimestamp,
        other => panic!("unknown timestamp format {other}"),
    })
}

fn namespace(namespace: &Json) -> Option<(&'static str, &'static str)> {
    Some((text(&namespace["prefix"]), namespace["uri"].as_str().map(|_| text(&namespace["uri"]))?))
}
