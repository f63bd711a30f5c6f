//! Bytes as text.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Two lower-case hexadecimal digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = vec![0; bytes.len() * 2];
    hex_into(bytes, &mut text);
    String::from_utf8(text).expect("digits")
}

/// The same, into a place of twice as many bytes.
pub fn hex_into(bytes: &[u8], text: &mut [u8]) {
    assert_eq!(text.len(), bytes.len() * 2, "two digits for each byte");
    for (byte, digits) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        digits[0] = DIGITS[usize::from(byte >> 4)];
        digits[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_what_the_formatter_writes_for_it() {
        for byte in 0..=u8::MAX {
            assert_eq!(hex(&[byte, 0]), format!("{byte:02x}00"));
        }
        assert_eq!(hex(&[]), "");
    }
}
