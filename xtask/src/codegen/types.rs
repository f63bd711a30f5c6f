//! Writes the Rust types of a service: operations, structures, enumerations.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Context, bail};
use serde_json::{Map, Value};

use super::botocore::{Model, shape_name, text};
use super::names;

/// The Rust names of the served shapes.
pub(super) struct Types<'m> {
    model: &'m Model,
    /// Model name → Rust name, of the structures that are an input or an output and nothing else.
    renamed: BTreeMap<&'m str, String>,
    /// All shapes that inputs and outputs reach, without those of errors.
    reached: BTreeSet<&'m str>,
    operations: Vec<(&'m str, &'m Value)>,
}

/// Names that generated types must not hide.
const TAKEN: &[&str] = &["Option", "Vec", "String", "BTreeMap", "Bytes", "Timestamp", "Value", "Result", "Box"];

impl<'m> Types<'m> {
    pub(super) fn new(model: &'m Model, served: &[&'m str]) -> anyhow::Result<Self> {
        let mut operations = Vec::new();
        let mut uses: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut reached = BTreeSet::new();
        for &name in served {
            let operation = model.operation(name)?;
            operations.push((name, operation));
            for (side, suffix) in [("input", "Input"), ("output", "Output")] {
                if let Some(reference) = operation.get(side) {
                    let shape = shape_name(reference)?;
                    uses.entry(shape).or_default().push(format!("{name}{suffix}"));
                    reach(model, shape, &mut reached)?;
                }
            }
        }
        let inner = referred_to(model, &reached)?;
        let renamed = uses
            .into_iter()
            .filter(|(shape, uses)| uses.len() == 1 && !inner.contains(shape))
            .filter_map(|(shape, mut uses)| Some((shape, uses.pop()?)))
            .collect();
        Ok(Self { model, renamed, reached, operations })
    }

    /// Every type of the service.
    pub(super) fn write(&self, out: &mut String) -> anyhow::Result<()> {
        for (name, operation) in &self.operations {
            self.write_operation(out, name, operation)?;
        }
        for &name in &self.reached {
            let shape = self.model.shape(name)?;
            match text_of(shape, "type") {
                "structure" if !is_document(shape) => self.write_structure(out, name, shape)?,
                "string" if shape.contains_key("enum") => self.write_enumeration(out, name, shape)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn write_operation(&self, out: &mut String, name: &str, operation: &Value) -> anyhow::Result<()> {
        let doc = names::doc(text(operation, "documentation"), name);
        let constant = names::constant(name);
        for (side, suffix) in [("input", "Input"), ("output", "Output")] {
            let expected = format!("{name}{suffix}");
            match operation.get(side) {
                None => write!(
                    out,
                    "/// {name} has no members here.\n#[derive(Clone, Debug, Default, PartialEq)]\npub struct {expected} {{}}\n\n\
                     impl FromValue for {expected} {{ fn from_value(value: Value) -> Result<Self, ApiError> {{ Members::open(value)?; Ok(Self {{}}) }} }}\n\n\
                     impl IntoValue for {expected} {{ fn into_value(self) -> Value {{ Value::empty() }} }}\n\n"
                )?,
                Some(reference) => {
                    let shape = shape_name(reference)?;
                    if !self.renamed.contains_key(shape) {
                        let shared = self.rust_name(shape);
                        write!(
                            out,
                            "/// What {name} shares with other operations.\npub type {expected} = {shared};\n\n"
                        )?;
                    }
                }
            }
        }
        write!(
            out,
            "/// {doc}\n#[derive(Clone, Copy, Debug)]\npub struct {name};\n\n\
             impl Operation for {name} {{\n    const SHAPE: &'static OperationShape = &{constant};\n    \
             type Input = {name}Input;\n    type Output = {name}Output;\n}}\n\n"
        )?;
        Ok(())
    }

    fn write_structure(&self, out: &mut String, name: &str, shape: &Map<String, Value>) -> anyhow::Result<()> {
        let rust = self.rust_name(name);
        if TAKEN.contains(&rust.as_str()) {
            bail!("a structure is called {rust}: rename it in codegen");
        }
        let streamed = self.streaming_payload(shape)?;
        let members: Vec<_> =
            members(shape).into_iter().filter(|(member, _)| Some(member.as_str()) != streamed).collect();
        let required = required(shape);
        let all_optional = required.is_empty();
        let mut secret = false;
        let (mut fields, mut reads, mut writes, mut shows) =
            (String::new(), String::new(), String::new(), String::new());
        for (member, definition) in &members {
            let of = shape_name(definition)?;
            let field = names::field(member);
            let ty = self.rust_type(of)?;
            let doc = names::doc(text(definition, "documentation"), member);
            let (ty, how) = match required.contains(member.as_str()) {
                true => (ty, "required"),
                false => (format!("Option<{ty}>"), "optional"),
            };
            let plain = field.trim_start_matches("r#");
            if self.sensitive(of)? {
                secret = true;
                let shown = if how == "required" {
                    "&Redacted".to_owned()
                } else {
                    format!("&self.{field}.as_ref().map(|_| Redacted)")
                };
                write!(shows, ".field(\"{plain}\", {shown})")?;
            } else {
                write!(shows, ".field(\"{plain}\", &self.{field})")?;
            }
            writeln!(fields, "    /// {doc}\n    pub {field}: {ty},")?;
            writeln!(reads, "{field}: members.{how}(\"{member}\")?,")?;
            writeln!(writes, "fields.{how}(\"{member}\", self.{field});")?;
        }
        let doc = names::doc(text_of(shape, "documentation"), name);
        let debug = if secret { "" } else { "Debug, " };
        let default = if all_optional { "Default, " } else { "" };
        let mutable = if members.is_empty() { "" } else { "mut " };
        let (read, fill) = if members.is_empty() {
            ("Members::open(value)?;".to_owned(), String::new())
        } else {
            ("let mut members = Members::open(value)?;".to_owned(), writes)
        };
        write!(
            out,
            "/// {doc}\n#[derive(Clone, {debug}{default}PartialEq)]\npub struct {rust} {{\n{fields}}}\n\n\
             impl FromValue for {rust} {{ fn from_value(value: Value) -> Result<Self, ApiError> {{ {read} Ok(Self {{ {reads} }}) }} }}\n\n\
             impl IntoValue for {rust} {{ fn into_value(self) -> Value {{ let {mutable}fields = Fields::with_capacity({}); {fill} fields.finish() }} }}\n\n",
            members.len()
        )?;
        if secret {
            write!(
                out,
                "impl fmt::Debug for {rust} {{ fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {{ f.debug_struct(\"{rust}\"){shows}.finish() }} }}\n\n"
            )?;
        }
        Ok(())
    }

    /// The payload that streams: it travels beside the struct, as a `wire::Body`.
    fn streaming_payload<'s>(&self, shape: &'s Map<String, Value>) -> anyhow::Result<Option<&'s str>> {
        let Some(payload) = shape.get("payload").and_then(Value::as_str) else { return Ok(None) };
        let of = self.model.shape(shape_name(&shape["members"][payload])?)?;
        let is_set = |flag: &str| of.get(flag) == Some(&Value::Bool(true));
        Ok(((text_of(of, "type") == "blob" && is_set("streaming")) || is_set("eventstream")).then_some(payload))
    }

    fn write_enumeration(&self, out: &mut String, name: &str, shape: &Map<String, Value>) -> anyhow::Result<()> {
        let name = &enumeration_name(name);
        let values: Vec<&str> = enumeration(shape);
        let variants: Vec<String> = values.iter().map(|value| names::variant(value)).collect();
        if variants.iter().collect::<BTreeSet<_>>().len() != variants.len() {
            bail!("two values of {name} have the same Rust name");
        }
        let doc = names::doc(text_of(shape, "documentation"), name);
        writeln!(
            out,
            "/// {doc}\n#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]\npub enum {name} {{"
        )?;
        for (variant, value) in variants.iter().zip(&values) {
            writeln!(out, "    /// `{value}`\n    {variant},")?;
        }
        let all = variants.iter().map(|variant| format!("Self::{variant}")).collect::<Vec<_>>().join(", ");
        write!(
            out,
            "}}\n\nimpl {name} {{\n    /// Every value, in the model's order.\n    pub const ALL: &'static [Self] = &[{all}];\n\n"
        )?;
        write!(out, "    /// As it travels.\n    pub const fn as_str(self) -> &'static str {{ match self {{")?;
        for (variant, value) in variants.iter().zip(&values) {
            writeln!(out, "Self::{variant} => \"{value}\",")?;
        }
        write!(
            out,
            "}} }}\n}}\n\nimpl fmt::Display for {name} {{ fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {{ f.write_str(self.as_str()) }} }}\n\n\
             impl FromStr for {name} {{ type Err = UnknownVariant; fn from_str(text: &str) -> Result<Self, UnknownVariant> {{\n\
             Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or_else(|| UnknownVariant {{ name: \"{name}\", text: text.to_owned() }}) }} }}\n\n\
             impl FromValue for {name} {{ fn from_value(value: Value) -> Result<Self, ApiError> {{ enum_from_value(value) }} }}\n\n\
             impl IntoValue for {name} {{ fn into_value(self) -> Value {{ Value::String(self.as_str().to_owned()) }} }}\n\n"
        )?;
        Ok(())
    }

    fn rust_name(&self, shape: &str) -> String {
        self.renamed.get(shape).cloned().unwrap_or_else(|| shape.to_owned())
    }

    fn rust_type(&self, name: &str) -> anyhow::Result<String> {
        let shape = self.model.shape(name)?;
        Ok(match text_of(shape, "type") {
            "boolean" => "bool".to_owned(),
            "byte" | "short" | "integer" => "i32".to_owned(),
            "long" => "i64".to_owned(),
            "float" | "double" => "f64".to_owned(),
            "blob" => "Bytes".to_owned(),
            "timestamp" => "Timestamp".to_owned(),
            "string" if shape.contains_key("enum") => enumeration_name(name),
            "string" => "String".to_owned(),
            "list" => format!("Vec<{}>", self.rust_type(shape_name(&shape["member"])?)?),
            "map" => format!("BTreeMap<String, {}>", self.rust_type(shape_name(&shape["value"])?)?),
            "structure" if is_document(shape) => "serde_json::Value".to_owned(),
            "structure" => self.rust_name(name),
            other => bail!("shape {name} has the unknown type {other}"),
        })
    }

    /// Whether values of the shape must not be shown, as a whole or in part.
    fn sensitive(&self, name: &str) -> anyhow::Result<bool> {
        let shape = self.model.shape(name)?;
        if shape.get("sensitive") == Some(&Value::Bool(true)) {
            return Ok(true);
        }
        for part in ["member", "key", "value"] {
            if let Some(reference) = shape.get(part)
                && self.sensitive(shape_name(reference)?)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Adds `name` and every shape that it refers to.
pub(super) fn reach<'m>(model: &'m Model, name: &'m str, reached: &mut BTreeSet<&'m str>) -> anyhow::Result<()> {
    if !reached.insert(name) {
        return Ok(());
    }
    for reference in references(model.shape(name)?) {
        reach(model, shape_name(reference)?, reached)?;
    }
    Ok(())
}

fn referred_to<'m>(model: &'m Model, reached: &BTreeSet<&'m str>) -> anyhow::Result<BTreeSet<&'m str>> {
    let mut inner = BTreeSet::new();
    for &name in reached {
        for reference in references(model.shape(name)?) {
            inner.insert(shape_name(reference)?);
        }
    }
    Ok(inner)
}

fn references(shape: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    let parts = ["member", "key", "value"].into_iter().filter_map(|part| shape.get(part));
    parts.chain(members(shape).into_iter().map(|(_, definition)| definition))
}

/// The members of a structure, sorted by name.
pub(super) fn members(shape: &Map<String, Value>) -> Vec<(&String, &Value)> {
    shape.get("members").and_then(Value::as_object).into_iter().flatten().collect()
}

/// The names of the members that must be there.
pub(super) fn required(shape: &Map<String, Value>) -> BTreeSet<&str> {
    shape.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Rust's name of an enumeration; it must not hide what the generated code imports.
fn enumeration_name(name: &str) -> String {
    let name = names::capitalised(name);
    let is_imported = super::IMPORTS.iter().any(|(_, imported)| imported.contains(&name.as_str()));
    if is_imported { format!("{name}Kind") } else { name }
}

/// The values of an enumeration; empty when it is none.
pub(super) fn enumeration(shape: &Map<String, Value>) -> Vec<&str> {
    shape.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether a structure stands for untyped JSON.
pub(super) fn is_document(shape: &Map<String, Value>) -> bool {
    shape.get("document") == Some(&Value::Bool(true))
}

/// A text of a shape; empty when absent.
pub(super) fn text_of<'s>(shape: &'s Map<String, Value>, key: &str) -> &'s str {
    shape.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The names of the error shapes that an operation lists.
pub(super) fn errors(operation: &Value) -> anyhow::Result<Vec<&str>> {
    operation["errors"].as_array().into_iter().flatten().map(shape_name).collect::<Result<_, _>>().context("errors")
}
