//! MD5 digests of bodies and attributes, which every SDK checks (sem:Q8).
//!
//! Source: SQS developer guide, "Calculating the MD5 message digest for message attributes": attributes sorted by name;
//! of each the name, the type and the value, each after its length in four bytes big-endian, and before the value a
//! byte 1 for text and numbers, 2 for bytes.

use md5::{Digest, Md5};

use crate::message::{AttributeValue, Attributes};

/// MD5 of bytes, in hexadecimal.
pub(crate) fn md5_hex(bytes: &[u8]) -> String {
    sys::hex(&Md5::digest(bytes))
}

/// MD5 of attributes, in hexadecimal; `None` without any.
pub(crate) fn md5_of_attributes(attributes: &Attributes) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let mut md5 = Md5::new();
    for (name, attribute) in attributes {
        let (kind, value): (u8, &[u8]) = match &attribute.value {
            AttributeValue::Text(text) => (1, text.as_bytes()),
            AttributeValue::Bytes(bytes) => (2, bytes),
        };
        for part in [name.as_bytes(), attribute.data_type.as_bytes()] {
            update_sized(&mut md5, part);
        }
        md5.update([kind]);
        update_sized(&mut md5, value);
    }
    Some(sys::hex(&md5.finalize()))
}

fn update_sized(md5: &mut Md5, part: &[u8]) {
    md5.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    md5.update(part);
}
