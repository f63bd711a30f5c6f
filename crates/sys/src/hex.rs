//! Bytes as text.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Two lower-case hexadecimal digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
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
