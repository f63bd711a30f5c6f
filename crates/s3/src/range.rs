//! The `Range` header. Source: RFC 9110 section 14; S3 serves one range and takes anything else for none.

use crate::error::S3Error;

/// Part of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Span {
    /// `bytes FIRST-LAST/SIZE`.
    pub(crate) fn content_range(self, size: u64) -> String {
        format!("bytes {}-{}/{size}", self.offset, (self.offset + self.length).saturating_sub(1))
    }
}

/// The span of an object of `size` bytes; `None` when the header is not one range of bytes and so does not count.
///
/// # Errors
/// `InvalidRange` when it does not touch the object.
pub(crate) fn parse(header: &str, size: u64) -> Result<Option<Span>, S3Error> {
    let Some((first, last)) = header.trim().strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Ok(None);
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let span = match (first.trim().is_empty(), last.trim().is_empty()) {
        (true, _) => match number(last) {
            None => return Ok(None),
            Some(length) => {
                let length = length.min(size);
                Span { offset: size - length, length }
            }
        },
        (false, open) => match (number(first), if open { Some(u64::MAX) } else { number(last) }) {
            (Some(first), Some(last)) if first <= last => {
                Span { offset: first, length: last.min(size.saturating_sub(1)).saturating_add(1).saturating_sub(first) }
            }
            _ => return Ok(None),
        },
    };
    match span.length > 0 && span.offset < size {
        true => Ok(Some(span)),
        false => Err(S3Error::InvalidRange),
    }
}

/// The span of a copy's source, which must lie inside: `bytes=FIRST-LAST`.
///
/// # Errors
/// `InvalidArgument` when it has another form, `InvalidRange` when it reaches beyond the source.
pub(crate) fn of_copy(header: &str, size: u64) -> Result<Span, S3Error> {
    let malformed = || {
        S3Error::argument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the \
             zero-based offsets of the first and last bytes to copy",
        )
    };
    let (first, last) = header.strip_prefix("bytes=").and_then(|range| range.split_once('-')).ok_or_else(malformed)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| malformed());
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(malformed());
    }
    if last >= size {
        let message = format!("Range specified is not valid for source object of size: {size}");
        return Err(S3Error::argument(message));
    }
    Ok(Span { offset: first, length: last - first + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_object() {
        let span = |offset, length| Some(Span { offset, length });
        for (header, size, expected) in [
            ("bytes=0-4", 10, Some(span(0, 5))),
            ("bytes=4-", 10, Some(span(4, 6))),
            ("bytes=-3", 10, Some(span(7, 3))),
            ("bytes=-30", 10, Some(span(0, 10))),
            ("bytes=8-100", 10, Some(span(8, 2))),
            ("bytes=9-9", 10, Some(span(9, 1))),
            ("bytes=10-", 10, None),
            ("bytes=10-20", 10, None),
            ("bytes=-0", 10, None),
            ("bytes=0-", 0, None),
            ("bytes=-5", 0, None),
            ("bytes=5-2", 10, Some(None)),
            ("bytes=0-1,3-4", 10, Some(None)),
            ("bytes=a-b", 10, Some(None)),
            ("lines=0-4", 10, Some(None)),
            ("bytes=0-18446744073709551615", 10, Some(span(0, 10))),
        ] {
            assert_eq!(parse(header, size).ok(), expected, "{header} of {size}");
        }
        assert_eq!(Span { offset: 4, length: 6 }.content_range(10), "bytes 4-9/10");
    }

    #[test]
    fn the_range_of_a_copy_lies_inside() {
        assert_eq!(of_copy("bytes=0-9", 10).ok(), Some(Span { offset: 0, length: 10 }));
        for bad in ["bytes=0-10", "bytes=0-", "bytes=-5", "0-5", "bytes=3-2", "bytes=a-b", "bytes=1"] {
            assert!(of_copy(bad, 10).is_err(), "{bad}");
        }
    }
}
