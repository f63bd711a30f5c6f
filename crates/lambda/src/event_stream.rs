//! The framing of event streams, `application/vnd.amazon.eventstream`.
//!
//! ```text
//!   u32 length of all │ u32 length of the headers │ CRC-32 of the two │ headers │ payload │ CRC-32 of everything before
//!   header: u8 length, name, u8 kind (7: text), u16 length, value
//! ```
//! Source: Smithy specification, "Amazon Event Stream".

use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::Crc;

/// Bytes around headers and payload.
const FRAME: usize = 4 + 4 + 4 + 4;
/// Header values that are text.
const TEXT: u8 = 7;

/// One message: an event of this type.
pub(crate) fn event(event_type: &str, content_type: &str, payload: &[u8]) -> Bytes {
    let mut headers = BytesMut::new();
    for (name, value) in [(":event-type", event_type), (":content-type", content_type), (":message-type", "event")] {
        headers.put_u8(u8::try_from(name.len()).expect("the names above are short"));
        headers.put_slice(name.as_bytes());
        headers.put_u8(TEXT);
        headers.put_u16(u16::try_from(value.len()).expect("event and content types are short"));
        headers.put_slice(value.as_bytes());
    }
    let length = FRAME + headers.len() + payload.len();
    let mut message = BytesMut::with_capacity(length);
    message.put_u32(u32::try_from(length).expect("a chunk is far below 4 GiB"));
    message.put_u32(u32::try_from(headers.len()).expect("headers are short"));
    message.put_u32(crc(&message));
    message.put_slice(&headers);
    message.put_slice(payload);
    message.put_u32(crc(&message));
    message.freeze()
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_lengths_and_checksums_that_clients_verify() {
        let message = event("PayloadChunk", "application/octet-stream", b"hello");
        let number = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap());
        assert_eq!(usize::try_from(number(0)).unwrap(), message.len());
        let headers = usize::try_from(number(4)).unwrap();
        assert_eq!(number(8), crc(&message[..8]));
        assert_eq!(&message[12 + headers..message.len() - 4], b"hello");
        assert_eq!(number(message.len() - 4), crc(&message[..message.len() - 4]));
        let text = String::from_utf8_lossy(&message[12..12 + headers]).into_owned();
        assert!(text.starts_with("\u{b}:event-type\u{7}\0\u{c}PayloadChunk"), "{text:?}");
    }

    #[test]
    fn the_checksum_is_the_crc_32_of_ieee() {
        assert_eq!(crc(b"123456789"), 0xcbf4_3926);
    }
}
