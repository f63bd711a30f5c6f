//! Writes XML, guided by shapes (answers of awsQuery and restXml).

use super::{misfit, scalar};
use crate::shape::{Kind, List, Location, Map, Member, Shape, Shapes, TimestampFormat};
use crate::{ApiError, Value};

/// XML text under construction.
pub(super) struct Xml {
    text: String,
    shapes: Shapes,
}

type Namespace = Option<(&'static str, &'static str)>;

impl Xml {
    pub(super) fn new(shapes: Shapes) -> Self {
        Self { text: String::with_capacity(512), shapes }
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    /// Takes over what another one wrote.
    pub(super) fn append(&mut self, other: Xml) {
        self.text.push_str(&other.text);
    }

    /// `<name>`, with a namespace if there is one.
    pub(super) fn open(&mut self, name: &str, namespace: Namespace) {
        self.start(name, namespace);
        self.text.push('>');
    }

    /// Text as content.
    pub(super) fn text(&mut self, text: &str) {
        escape(text, &mut self.text);
    }

    /// A whole document of restXml: members that travel elsewhere are left out.
    pub(super) fn root(
        &mut self,
        name: &str,
        namespace: Namespace,
        shape: &Shape,
        value: &Value,
    ) -> Result<(), ApiError> {
        let Value::Map(members) = value else { return Err(misfit("structure", value)) };
        self.start(name, namespace);
        self.attributes(shape, value);
        self.text.push('>');
        let in_body = |member: &&Member| member.location == Location::Body && !member.xml_attribute;
        for member in shape.members().iter().filter(in_body) {
            if let Some((_, value)) = members.iter().find(|(of, value)| of == member.name && *value != Value::Null) {
                self.member(member, value)?;
            }
        }
        self.close(name);
        Ok(())
    }

    /// `<name` with its namespace, still open for attributes.
    fn start(&mut self, name: &str, namespace: Namespace) {
        self.text.push('<');
        self.text.push_str(name);
        if let Some((prefix, uri)) = namespace {
            self.text.push_str(" xmlns");
            if !prefix.is_empty() {
                self.text.push(':');
                self.text.push_str(prefix);
            }
            self.text.push_str("=\"");
            escape(uri, &mut self.text);
            self.text.push('"');
        }
    }

    fn attributes(&mut self, shape: &Shape, value: &Value) {
        for member in shape.members().iter().filter(|member| member.xml_attribute) {
            let of = self.shapes.get(member.shape);
            let text = value
                .get(member.name)
                .and_then(|value| scalar::format(of, member.timestamp, TimestampFormat::Iso8601, value));
            if let Some(text) = text {
                self.text.push(' ');
                self.text.push_str(member.wire_name);
                self.text.push_str("=\"");
                escape(&text, &mut self.text);
                self.text.push('"');
            }
        }
    }

    pub(super) fn close(&mut self, name: &str) {
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push('>');
    }

    /// `<name>text</name>`
    pub(super) fn element(&mut self, name: &str, text: &str) {
        self.open(name, None);
        escape(text, &mut self.text);
        self.close(name);
    }

    /// The members of a structure, without an element of its own.
    pub(super) fn members(&mut self, shape: &Shape, value: &Value) -> Result<(), ApiError> {
        let Value::Map(members) = value else { return Err(misfit("structure", value)) };
        for member in shape.members().iter().filter(|member| !member.xml_attribute) {
            if let Some((_, value)) = members.iter().find(|(name, value)| name == member.name && *value != Value::Null)
            {
                self.member(member, value)?;
            }
        }
        Ok(())
    }

    fn member(&mut self, member: &Member, value: &Value) -> Result<(), ApiError> {
        let shape = self.shapes.get(member.shape);
        let name = member.body_name();
        match (&shape.kind, value) {
            (Kind::List(list), Value::List(elements)) => {
                if list.flattened || member.flattened {
                    return self.elements(list, flat_name(member, list), elements);
                }
                self.open(name, member.xml_namespace);
                self.elements(list, inner_name(list.member_name, "member"), elements)?;
                self.close(name);
                Ok(())
            }
            (Kind::Map(map), Value::Map(_)) => {
                if map.flattened || member.flattened {
                    return self.entries(map, inner_name(map.entry_name, name), value);
                }
                self.open(name, member.xml_namespace);
                self.entries(map, "entry", value)?;
                self.close(name);
                Ok(())
            }
            _ => self.value(name, shape, member.timestamp, member.xml_namespace, value),
        }
    }

    fn value(
        &mut self,
        name: &str,
        shape: &Shape,
        format: Option<TimestampFormat>,
        namespace: Namespace,
        value: &Value,
    ) -> Result<(), ApiError> {
        let of_shape = match &shape.kind {
            Kind::Structure(structure) => structure.xml_namespace,
            _ => None,
        };
        self.start(name, namespace.or(of_shape));
        self.attributes(shape, value);
        self.text.push('>');
        match (&shape.kind, value) {
            (Kind::Structure(_), Value::Map(_)) => self.members(shape, value)?,
            (Kind::List(list), Value::List(elements)) => {
                self.elements(list, inner_name(list.member_name, "member"), elements)?;
            }
            (Kind::Map(map), Value::Map(_)) => self.entries(map, "entry", value)?,
            _ => {
                let text = scalar::format(shape, format, TimestampFormat::Iso8601, value);
                escape(&text.ok_or_else(|| misfit(shape.name, value))?, &mut self.text);
            }
        }
        self.close(name);
        Ok(())
    }

    fn elements(&mut self, list: &List, name: &str, elements: &[Value]) -> Result<(), ApiError> {
        let of = self.shapes.get(list.member);
        for element in elements.iter().filter(|element| **element != Value::Null) {
            self.value(name, of, None, None, element)?;
        }
        Ok(())
    }

    fn entries(&mut self, map: &Map, name: &str, value: &Value) -> Result<(), ApiError> {
        let Value::Map(entries) = value else { return Err(misfit("map", value)) };
        let of = self.shapes.get(map.value);
        for (key, value) in entries.iter().filter(|(_, value)| *value != Value::Null) {
            self.open(name, None);
            self.element(inner_name(map.key_name, "key"), key);
            self.value(inner_name(map.value_name, "value"), of, None, None, value)?;
            self.close(name);
        }
        Ok(())
    }
}

/// The element name of a flattened list. Old models flatten the list itself and name its elements there (SQS); newer ones
/// flatten the member that holds it, whose name then counts.
pub(super) fn flat_name<'m>(member: &'m Member, list: &'m List) -> &'m str {
    if list.flattened { inner_name(list.member_name, member.body_name()) } else { member.body_name() }
}

/// The model's name or the protocol's default.
pub(super) fn inner_name<'m>(of_model: &'m str, default: &'m str) -> &'m str {
    if of_model.is_empty() { default } else { of_model }
}

/// Text as XML content or attribute. Characters that XML 1.0 cannot hold become U+FFFD.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // A parser would turn a plain one into a line feed.
            '\r' => out.push_str("&#xD;"),
            '\t' | '\n' => out.push(c),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn text_is_escaped() {
        let mut out = String::new();
        escape("<a href=\"x\">&\r\n\u{1}", &mut out);
        assert_eq!(out, "&lt;a href=&quot;x&quot;&gt;&amp;&#xD;\n\u{fffd}");
    }
}
