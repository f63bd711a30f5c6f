//! Tags of objects and buckets. Source: S3 user guide, "Categorizing your storage using tags".

use std::collections::BTreeMap;

use model::s3 as m;

use crate::error::S3Error;
use crate::limits::{BUCKET_TAGS_MAX, OBJECT_TAGS_MAX, TAG_KEY_MAX, TAG_VALUE_MAX};

/// Tags by key.
pub(crate) type Tags = BTreeMap<String, String>;

/// Tags of an object out of a document.
///
/// # Errors
/// `InvalidTag`.
pub(crate) fn of_object(tags: Vec<m::Tag>) -> Result<Tags, S3Error> {
    checked(tags.into_iter().map(|tag| (tag.key, tag.value)), OBJECT_TAGS_MAX)
}

/// Tags of a bucket out of a document.
///
/// # Errors
/// `InvalidTag`.
pub(crate) fn of_bucket(tags: Vec<m::Tag>) -> Result<Tags, S3Error> {
    checked(tags.into_iter().map(|tag| (tag.key, tag.value)), BUCKET_TAGS_MAX)
}

/// Tags out of the `x-amz-tagging` header, which has the form of a query.
///
/// # Errors
/// `InvalidArgument` when it is no query, `InvalidTag`.
pub(crate) fn of_header(header: &str) -> Result<Tags, S3Error> {
    let invalid = || {
        S3Error::argument(
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
        )
    };
    let mut pairs = Vec::new();
    for pair in header.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.push((unescaped(key).ok_or_else(invalid)?, unescaped(value).ok_or_else(invalid)?));
    }
    checked(pairs.into_iter(), OBJECT_TAGS_MAX)
}

/// Text of a query: percent escapes, and `+` for a space.
fn unescaped(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

fn checked(pairs: impl Iterator<Item = (String, String)>, count_max: usize) -> Result<Tags, S3Error> {
    let invalid = |message: &str| S3Error::InvalidTag(message.to_owned());
    let mut tags = Tags::new();
    for (key, value) in pairs {
        if key.is_empty() || key.chars().count() > TAG_KEY_MAX {
            return Err(invalid("The TagKey you have provided is invalid"));
        }
        if value.chars().count() > TAG_VALUE_MAX {
            return Err(invalid("The TagValue you have provided is invalid"));
        }
        if key.starts_with("aws:") {
            return Err(invalid("System tags cannot be added/updated by requester"));
        }
        if tags.insert(key, value).is_some() {
            return Err(invalid("Cannot provide multiple Tags with the same key"));
        }
    }
    match tags.len() <= count_max {
        true => Ok(tags),
        false if count_max == OBJECT_TAGS_MAX => Err(invalid("Object tags cannot be greater than 10")),
        false => Err(invalid("Bucket tag count cannot be greater than 50")),
    }
}

/// Tags as documents have them.
pub(crate) fn to_list(tags: &Tags) -> Vec<m::Tag> {
    tags.iter().map(|(key, value)| m::Tag { key: key.clone(), value: value.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_queries() {
        let tags = of_header("a=1&b%20c=x%2By+z&d").expect("sound");
        let expected = [("a", "1"), ("b c", "x+y z"), ("d", "")];
        assert_eq!(tags, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        for bad in
            ["a=1&a=2", "a=%zz", "=x", "aws:x=1", &format!("{}=1", "k".repeat(129)), &format!("k={}", "v".repeat(257))]
        {
            assert!(of_header(bad).is_err(), "{bad}");
        }
        let eleven = (0..11).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join("&");
        assert!(matches!(of_header(&eleven), Err(S3Error::InvalidTag(_))));
    }
}
