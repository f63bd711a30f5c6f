//! Writes the shape tables of a service.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Context, bail};
use serde_json::{Map, Value};

use super::botocore::{Model, shape_name, text};
use super::names;
use super::served::Served;
use super::types::{enumeration, errors, is_document, members, reach, required, text_of};

/// Rust's name of a protocol.
fn protocol(model: &Model, name: &str) -> anyhow::Result<&'static str> {
    Ok(match (name, model.metadata("jsonVersion")) {
        ("json", "1.0") => "Protocol::AwsJson1_0",
        ("json", _) => "Protocol::AwsJson1_1",
        ("query", _) => "Protocol::AwsQuery",
        ("rest-json", _) => "Protocol::RestJson1",
        ("rest-xml", _) => "Protocol::RestXml",
        ("smithy-rpc-v2-cbor", _) => "Protocol::RpcV2Cbor",
        (other, _) => bail!("unknown protocol {other}"),
    })
}

/// The `SERVICE` constant: what identifies the service and its operations.
pub(super) fn write_service(out: &mut String, model: &Model, served: &Served) -> anyhow::Result<()> {
    let listed: Vec<&str> = match model.metadata_value("protocols").as_array() {
        Some(names) => names.iter().filter_map(Value::as_str).collect(),
        None => vec![model.metadata("protocol")],
    };
    let mut protocols = Vec::new();
    for name in listed {
        protocols.push(protocol(model, name)?);
    }
    let rest = protocols.iter().any(|protocol| protocol.starts_with("Protocol::Rest"));
    let prefix = model.metadata("endpointPrefix");
    let signing = match model.metadata("signingName") {
        "" => prefix,
        name => name,
    };
    let query_compatible = model.metadata_value("awsQueryCompatible").is_object();
    writeln!(out, "/// {}: what identifies the service and its operations.", model.metadata("serviceFullName"))?;
    writeln!(
        out,
        "pub static SERVICE: ServiceShape = ServiceShape {{ name: {:?}, signing_name: {signing:?},",
        served.name
    )?;
    writeln!(out, "endpoint_prefix: {prefix:?}, target_prefix: {:?},", model.metadata("targetPrefix"))?;
    writeln!(
        out,
        "api_version: {:?}, xml_namespace: {:?},",
        model.metadata("apiVersion"),
        served.xml.map_or(model.metadata("xmlNamespace"), |documents| documents.namespace)
    )?;
    writeln!(out, "protocols: &[{}], query_compatible: {query_compatible},", protocols.join(", "))?;
    writeln!(out, "validation_code: {:?}, operations: &[", served.validation_code)?;
    for name in names(model, served, rest)? {
        out.push_str(&name);
    }
    out.push_str("] };\n\n");
    Ok(())
}

/// The lines that identify the operations. Several operations of S3 share method and path: what else tells them apart
/// are the parameters and, among those that are still alike, the headers that one of them requires.
fn names(model: &Model, served: &Served, rest: bool) -> anyhow::Result<Vec<String>> {
    let listed = || model.operations().filter(|(name, _)| !served.hidden.contains(&name.as_str()));
    if !rest {
        return Ok(listed().map(|(name, _)| format!("OperationName::rpc({name:?}),\n")).collect());
    }
    let restxml = model.metadata("protocol") == "rest-xml";
    // By method and URI: the operations and the headers that they require.
    type Alike<'m> = BTreeMap<(&'m str, String), Vec<(&'m str, Vec<&'m str>)>>;
    let mut alike = Alike::new();
    for (name, operation) in listed().filter(|(_, operation)| !restxml || operation["deprecated"] != true) {
        let http = &operation["http"];
        let mut uri = text(http, "requestUri").to_owned();
        for parameter in demanded(model, operation, "querystring")?.iter().filter(|_| restxml) {
            uri.push(if uri.contains('?') { '&' } else { '?' });
            uri.push_str(parameter);
        }
        let headers = demanded(model, operation, "header")?;
        alike.entry((text(http, "method"), uri)).or_default().push((name, headers));
    }
    let mut lines: BTreeMap<&str, String> = BTreeMap::new();
    for ((method, uri), operations) in &alike {
        let is_shared = operations.len() > 1;
        for (name, headers) in operations {
            let header = headers.first().filter(|_| is_shared && restxml);
            let with = header.map(|header| format!(".with_header({header:?})")).unwrap_or_default();
            lines.insert(name, format!("OperationName::rest({name:?}, {method:?}, {uri:?}){with},\n"));
        }
        if restxml && operations.iter().filter(|(_, headers)| headers.is_empty()).count() > 1 {
            bail!("nothing tells these operations apart: {operations:?}");
        }
    }
    Ok(lines.into_values().collect())
}

/// The required members of an operation's input that travel in that place, by their names there.
fn demanded<'m>(model: &'m Model, operation: &'m Value, location: &str) -> anyhow::Result<Vec<&'m str>> {
    let Some(input) = operation.get("input") else { return Ok(Vec::new()) };
    let shape = model.shape(shape_name(input)?)?;
    let required = required(shape);
    let members = members(shape).into_iter();
    let there = members.filter(|(name, of)| required.contains(name.as_str()) && text(of, "location") == location);
    Ok(there.filter_map(|(_, of)| of["locationName"].as_str()).collect())
}

/// The shape table and the operations that point into it.
pub(super) fn write_tables(out: &mut String, model: &Model, served: &Served) -> anyhow::Result<()> {
    let mut reached = BTreeSet::new();
    for name in served.operations {
        let operation = model.operation(name)?;
        for side in ["input", "output"] {
            if let Some(reference) = operation.get(side) {
                reach(model, shape_name(reference)?, &mut reached)?;
            }
        }
        for error in errors(operation)? {
            reach(model, error, &mut reached)?;
        }
    }
    let tables = Tables { model, ids: reached.iter().enumerate().map(|(id, name)| (*name, id)).collect() };
    for name in served.operations {
        tables.write_operation(out, name, model.operation(name)?, served)?;
    }
    tables.write_shapes(out)
}

/// Statuses that AWS answers where its models say nothing (S3 API reference, the sample responses of these operations).
const STATUSES: [(&str, u64); 2] = [("PutBucketPolicy", 204), ("PutBucketTagging", 204)];

struct Tables<'m> {
    model: &'m Model,
    ids: BTreeMap<&'m str, usize>,
}

impl Tables<'_> {
    fn id(&self, reference: &Value) -> anyhow::Result<usize> {
        let name = shape_name(reference)?;
        self.ids.get(name).copied().with_context(|| format!("{name} was not reached"))
    }

    fn write_operation(&self, out: &mut String, name: &str, operation: &Value, served: &Served) -> anyhow::Result<()> {
        let http = &operation["http"];
        writeln!(out, "static {}: OperationShape = OperationShape {{", names::constant(name))?;
        writeln!(out, "method: {:?}, uri: {:?},", text(http, "method"), text(http, "requestUri"))?;
        let status = STATUSES.iter().find(|(of, _)| *of == name).map(|(_, status)| *status);
        writeln!(out, "status: {},", status.or(http["responseCode"].as_u64()).unwrap_or(200))?;
        for side in ["input", "output"] {
            if let Some(reference) = operation.get(side) {
                writeln!(out, "{side}: Some(ShapeId({})),", self.id(reference)?)?;
            }
        }
        let root = served.xml.and_then(|documents| documents.roots.iter().find(|(of, _)| *of == name));
        if let Some(element) = operation["output"]["resultWrapper"].as_str().or(root.map(|(_, element)| *element)) {
            writeln!(out, "result_element: {element:?},")?;
        }
        let errors = errors(operation)?;
        if !errors.is_empty() {
            out.push_str("errors: &[");
            for error in errors {
                self.write_error(out, error)?;
            }
            out.push_str("],");
        }
        if operation["idempotent"] == true || operation["readonly"] == true {
            out.push_str("idempotent: true,");
        }
        if let Some(prefix) = operation["endpoint"]["hostPrefix"].as_str() {
            writeln!(out, "host_prefix: {prefix:?},")?;
        }
        if text(operation, "authtype") == "none" {
            out.push_str("auth: Auth::None,");
        }
        writeln!(out, "..OperationShape::new({name:?}, SHAPES) }};\n")?;
        Ok(())
    }

    fn write_error(&self, out: &mut String, name: &str) -> anyhow::Result<()> {
        let shape = self.model.shape(name)?;
        let error = shape.get("error").unwrap_or(&Value::Null);
        let code = error["code"].as_str().unwrap_or(name);
        let server = shape.get("fault") == Some(&Value::Bool(true));
        let status = error["httpStatusCode"].as_u64().unwrap_or(if server { 500 } else { 400 });
        let fault = if server { "Server" } else { "Client" };
        writeln!(
            out,
            "ErrorShape {{ name: {name:?}, code: {code:?}, status: {status}, fault: Fault::{fault}, shape: ShapeId({}) }},",
            self.ids[name]
        )?;
        Ok(())
    }

    fn write_shapes(&self, out: &mut String) -> anyhow::Result<()> {
        let mut patterns: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.ids.keys() {
            if let Some(pattern) = self.model.shape(name)?.get("pattern").and_then(Value::as_str) {
                let next = patterns.len();
                patterns.entry(pattern).or_insert(next);
            }
        }
        let mut by_number: Vec<(&usize, &&str)> = patterns.iter().map(|(pattern, number)| (number, pattern)).collect();
        by_number.sort();
        for (number, pattern) in by_number {
            writeln!(out, "static PATTERN_{number}: Pattern = Pattern::new({pattern:?});")?;
        }
        out.push_str(
            "\n/// Every shape that the served operations reach.\npub const SHAPES: Shapes = Shapes(&TABLE);\n\n",
        );
        writeln!(out, "static TABLE: [Shape; {}] = [", self.ids.len())?;
        for (name, id) in &self.ids {
            let shape = self.model.shape(name)?;
            write!(out, "// {id}\nShape::new({name:?}, {})", self.kind(name, shape)?)?;
            if let (min, max) = (bound(shape, "min"), bound(shape, "max"))
                && (min != "None" || max != "None")
            {
                write!(out, ".bounds({min}, {max})")?;
            }
            if let Some(pattern) = shape.get("pattern").and_then(Value::as_str) {
                write!(out, ".pattern(&PATTERN_{})", patterns[pattern])?;
            }
            if shape.get("sensitive") == Some(&Value::Bool(true)) {
                out.push_str(".sensitive()");
            }
            out.push_str(",\n");
        }
        out.push_str("];\n");
        Ok(())
    }

    fn kind(&self, name: &str, shape: &Map<String, Value>) -> anyhow::Result<String> {
        Ok(match text_of(shape, "type") {
            "boolean" => "Kind::Boolean".to_owned(),
            "byte" => "Kind::BYTE".to_owned(),
            "short" => "Kind::SHORT".to_owned(),
            "integer" => "Kind::INTEGER".to_owned(),
            "long" => "Kind::LONG".to_owned(),
            "float" | "double" => "Kind::Double".to_owned(),
            "string" if shape.contains_key("enum") => format!("Kind::String(&{:?})", enumeration(shape)),
            "string" => "Kind::TEXT".to_owned(),
            "blob" => format!("Kind::Blob {{ streaming: {} }}", flag(shape, "streaming")),
            "timestamp" => format!("Kind::Timestamp({})", timestamp(text_of(shape, "timestampFormat"))?),
            "list" => self.list(shape)?,
            "map" => self.map(shape)?,
            "structure" if is_document(shape) => "Kind::Document".to_owned(),
            "structure" => self.structure(shape)?,
            other => bail!("shape {name} has the unknown type {other}"),
        })
    }

    fn list(&self, shape: &Map<String, Value>) -> anyhow::Result<String> {
        let member = &shape["member"];
        let mut changes = String::new();
        if let Some(name) = member["locationName"].as_str() {
            write!(changes, "member_name: {name:?}, ")?;
        }
        push_flags(&mut changes, shape, &["flattened"]);
        let of = format!("List::of(ShapeId({}))", self.id(member)?);
        Ok(if changes.is_empty() {
            format!("Kind::List({of})")
        } else {
            format!("Kind::List(List {{ {changes}..{of} }})")
        })
    }

    fn map(&self, shape: &Map<String, Value>) -> anyhow::Result<String> {
        let mut changes = String::new();
        for part in ["key", "value"] {
            if let Some(name) = shape[part]["locationName"].as_str() {
                write!(changes, "{part}_name: {name:?}, ")?;
            }
        }
        if let Some(name) = shape.get("locationName").and_then(Value::as_str) {
            write!(changes, "entry_name: {name:?}, ")?;
        }
        push_flags(&mut changes, shape, &["flattened"]);
        let of = format!("Map::of(ShapeId({}), ShapeId({}))", self.id(&shape["key"])?, self.id(&shape["value"])?);
        Ok(if changes.is_empty() {
            format!("Kind::Map({of})")
        } else {
            format!("Kind::Map(Map {{ {changes}..{of} }})")
        })
    }

    fn structure(&self, shape: &Map<String, Value>) -> anyhow::Result<String> {
        let required = required(shape);
        let mut list = String::new();
        for (name, definition) in members(shape) {
            write!(list, "{},", self.member(name, definition, required.contains(name.as_str()))?)?;
        }
        let mut changes = String::new();
        if let Some(payload) = shape.get("payload").and_then(Value::as_str) {
            write!(changes, "payload: Some({payload:?}), ")?;
        }
        push_flags(&mut changes, shape, &["union"]);
        if flag(shape, "eventstream") {
            changes.push_str("event_stream: true, ");
        }
        changes.push_str(&namespace(shape.get("xmlNamespace")));
        let of = format!("Structure::of(&[{list}])");
        Ok(match changes.is_empty() {
            true => format!("Kind::Structure({of})"),
            false => format!("Kind::Structure(Structure {{ {changes}..{of} }})"),
        })
    }

    fn member(&self, name: &str, definition: &Value, required: bool) -> anyhow::Result<String> {
        let mut of = format!("Member::new({name:?}, ShapeId({}))", self.id(definition)?);
        let wire_name = definition["locationName"].as_str().unwrap_or(name);
        let location = match text(definition, "location") {
            "" => "Body",
            "header" => "Header",
            "headers" => "Headers",
            "querystring" => "QueryString",
            "uri" => "Uri",
            "statusCode" => "StatusCode",
            other => bail!("member {name} has the unknown location {other}"),
        };
        if location != "Body" || wire_name != name {
            write!(of, ".at(Location::{location}, {wire_name:?})")?;
        }
        if required {
            of.push_str(".required()");
        }
        let mut changes = String::new();
        let format = timestamp(text(definition, "timestampFormat"))?;
        if format != "None" {
            write!(changes, "timestamp: {format}, ")?;
        }
        for (key, field) in [
            ("flattened", "flattened"),
            ("jsonvalue", "json_value"),
            ("xmlAttribute", "xml_attribute"),
            ("idempotencyToken", "idempotency_token"),
            ("hostLabel", "host_label"),
        ] {
            if definition[key] == true {
                write!(changes, "{field}: true, ")?;
            }
        }
        changes.push_str(&namespace(definition.get("xmlNamespace")));
        Ok(if changes.is_empty() { of } else { format!("Member {{ {changes}..{of} }}") })
    }
}

/// The namespace that an element declares.
fn namespace(declared: Option<&Value>) -> String {
    let uri = declared.and_then(|declared| declared["uri"].as_str().or(declared.as_str()));
    let prefix = declared.and_then(|declared| declared["prefix"].as_str()).unwrap_or_default();
    uri.map(|uri| format!("xml_namespace: Some(({prefix:?}, {uri:?})), ")).unwrap_or_default()
}

fn timestamp(format: &str) -> anyhow::Result<&'static str> {
    Ok(match format {
        "" => "None",
        "iso8601" => "Some(TimestampFormat::Iso8601)",
        "rfc822" => "Some(TimestampFormat::Rfc822)",
        "unixTimestamp" => "Some(TimestampFormat::UnixTimestamp)",
        other => bail!("unknown timestamp format {other}"),
    })
}

fn bound(shape: &Map<String, Value>, key: &str) -> String {
    match shape.get(key).and_then(Value::as_f64) {
        Some(number) if text_of(shape, "type") != "double" && text_of(shape, "type") != "float" => {
            format!("Some({number:.0})")
        }
        _ => "None".to_owned(),
    }
}

fn flag(shape: &Map<String, Value>, key: &str) -> bool {
    shape.get(key) == Some(&Value::Bool(true))
}

fn push_flags(changes: &mut String, shape: &Map<String, Value>, keys: &[&str]) {
    for key in keys.iter().filter(|key| flag(shape, key)) {
        changes.push_str(key);
        changes.push_str(": true, ");
    }
}
