//! Reads XML into a small tree: no entities but the five that XML has, no document types, bounded in depth and in
//! number (test:F5).

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::DEPTH_MAX;

/// Elements and attributes of one document: each takes a hundred bytes and more where `<a/>` has four.
/// CompleteMultipartUpload's 10,000 parts with a checksum each have 40,001.
const NODES_MAX: usize = 100_000;
/// Attributes of one element: the reader compares each with all before it.
const ATTRIBUTES_MAX: usize = 32;

/// An element. Names are without their prefix, which clients choose as they like.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Element {
    pub(super) name: String,
    /// Names with their prefix, such as `xsi:type`.
    pub(super) attributes: Vec<(String, String)>,
    /// The character data, all pieces joined.
    pub(super) text: String,
    pub(super) children: Vec<Element>,
}

impl Element {
    /// The first child of that name.
    pub(super) fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    pub(super) fn children_named<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(attribute, _)| attribute == name).map(|(_, value)| value.as_str())
    }
}

/// The root element; `None` when the text is not one well-formed document.
pub(super) fn parse(text: &[u8]) -> Option<Element> {
    let text = std::str::from_utf8(text).ok()?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    reader.config_mut().expand_empty_elements = true;
    let mut stack: Vec<Element> = Vec::new();
    let mut root = None;
    let mut nodes = 0;
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => {
                // A second root, or one too deep.
                if root.is_some() || stack.len() >= DEPTH_MAX {
                    return None;
                }
                stack.push(open(&start, &mut nodes)?);
            }
            Event::End(_) => {
                let done = stack.pop()?;
                match stack.last_mut() {
                    Some(parent) => parent.children.push(done),
                    None => root = Some(done),
                }
            }
            Event::Text(piece) => push(&mut stack, &piece.decode().ok()?)?,
            Event::CData(piece) => push(&mut stack, &piece.decode().ok()?)?,
            Event::GeneralRef(name) => push(&mut stack, &resolve(&name.decode().ok()?)?)?,
            Event::DocType(_) => return None,
            Event::Eof => return root.filter(|_| stack.is_empty()),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) | Event::Empty(_) => {}
        }
    }
}

/// An element without its content; `nodes` counts it and its attributes.
fn open(start: &BytesStart<'_>, nodes: &mut usize) -> Option<Element> {
    *nodes += 1;
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.ok()?;
        *nodes += 1;
        if *nodes > NODES_MAX || attributes.len() == ATTRIBUTES_MAX {
            return None;
        }
        let name = std::str::from_utf8(attribute.key.as_ref()).ok()?.to_owned();
        let raw = std::str::from_utf8(&attribute.value).ok()?;
        attributes.push((name, quick_xml::escape::unescape(raw).ok()?.into_owned()));
    }
    if *nodes > NODES_MAX {
        return None;
    }
    let name = std::str::from_utf8(start.local_name().into_inner()).ok()?.to_owned();
    Some(Element { name, attributes, ..Element::default() })
}

/// Outside the root only white space may stand.
fn push(stack: &mut [Element], text: &str) -> Option<()> {
    match stack.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return None,
    }
    Some(())
}

/// `amp` → `&`, `#65` → `A`; nothing that a document could declare.
fn resolve(name: &str) -> Option<String> {
    quick_xml::escape::unescape(&format!("&{name};")).ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_become_trees() {
        let root = parse(
            b"<?xml version=\"1.0\"?>\n<a xmlns='u' x:t=\"1 &amp; 2\"><b>x&lt;&#65;<![CDATA[<&]]></b><x:b/> <!-- c --></a>\n",
        );
        let root = root.expect("well formed");
        assert_eq!((root.name.as_str(), root.attribute("x:t")), ("a", Some("1 & 2")));
        let texts: Vec<&str> = root.children_named("b").map(|child| child.text.as_str()).collect();
        assert_eq!(texts, ["x<A<&", ""]);
    }

    #[test]
    fn f5_the_number_of_nodes_is_bounded() {
        let elements = |number: usize| format!("<r>{}</r>", "<a/>".repeat(number));
        let attributes = |number: usize| format!("<r>{}</r>", "<a x='' y=''/>".repeat(number));
        assert!(parse(elements(NODES_MAX - 1).as_bytes()).is_some());
        assert_eq!(parse(elements(NODES_MAX).as_bytes()), None);
        assert!(parse(attributes(NODES_MAX / 3).as_bytes()).is_some());
        assert_eq!(parse(attributes(NODES_MAX / 3 + 1).as_bytes()), None);
        let of_one = |number: usize| format!("<r {}/>", (0..number).map(|n| format!("a{n}='' ")).collect::<String>());
        assert!(parse(of_one(ATTRIBUTES_MAX).as_bytes()).is_some());
        assert_eq!(parse(of_one(ATTRIBUTES_MAX + 1).as_bytes()), None);
    }

    #[test]
    fn f5_what_is_no_plain_document_is_refused() {
        let deep = "<a>".repeat(200) + &"</a>".repeat(200);
        for text in [
            "",
            "text",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "<a/>text",
            "<a x='1' x='2'/>",
            "<a>&unknown;</a>",
            "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
            "<!DOCTYPE a SYSTEM 'file:///etc/hostname'><a/>",
            "<a>\u{0}<",
            deep.as_str(),
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:.60}");
        }
        assert_eq!(parse(b"<a>\xff</a>"), None);
    }
}
