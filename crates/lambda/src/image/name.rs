//! The URI of an image: `HOST[:PORT]/REPOSITORY:TAG`, or `…@sha256:DIGEST`.
//! Source: OCI distribution specification 1.1, "Pulling manifests"; Amazon ECR user guide, "Pulling an image".

use std::fmt;

/// Longest repository name in bytes (distribution specification).
const REPOSITORY_BYTES_MAX: usize = 255;
/// Longest tag in bytes (distribution specification).
const TAG_BYTES_MAX: usize = 128;
/// Longest host name with its port in bytes.
const HOST_BYTES_MAX: usize = 260;

/// An image, and where it is looked for. Every part is free of what a path or a request could be changed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageName {
    /// Host name or address in lower case, with its port where one was given.
    pub host: String,
    /// One or more names between slashes: each begins and ends with a lower-case letter or a digit.
    pub repository: String,
    /// Which of the repository's images.
    pub reference: Reference,
}

/// An image of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A name that may mean another image tomorrow.
    Tag(String),
    /// SHA-256 of its manifest: 64 lower-case hexadecimal digits.
    Digest(String),
}

impl ImageName {
    /// Reads a URI; `None` when it is none. As on AWS there is no default: neither for the host, nor for the tag.
    pub fn parse(uri: &str) -> Option<Self> {
        let (host, rest) = uri.split_once('/')?;
        let host = host.to_ascii_lowercase();
        if !is_host(&host) {
            return None;
        }
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest_hex(digest)?)),
            None => (rest, None),
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        if !is_repository(repository) || tag.is_some_and(|tag| !is_tag(tag)) {
            return None;
        }
        let reference = match (digest, tag) {
            (Some(digest), _) => Reference::Digest(digest.to_owned()),
            (None, Some(tag)) => Reference::Tag(tag.to_owned()),
            (None, None) => return None,
        };
        Some(Self { host, repository: repository.to_owned(), reference })
    }

    /// The same repository's image with this digest.
    pub fn at(&self, digest: &str) -> Self {
        Self { reference: Reference::Digest(digest.to_owned()), ..self.clone() }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        match &self.reference {
            Reference::Tag(tag) => write!(f, ":{tag}"),
            Reference::Digest(digest) => write!(f, "@sha256:{digest}"),
        }
    }
}

/// The 64 digits of `sha256:…`; `None` for everything else.
pub(crate) fn digest_hex(text: &str) -> Option<&str> {
    let hex = text.strip_prefix("sha256:")?;
    let plain = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    plain.then_some(hex)
}

/// A name, an IPv4 address or an IPv6 address in brackets; a port may follow.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", port),
            _ => return false,
        },
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port_fits =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok_and(|n| n > 0));
    let label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        !label.is_empty() && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    host.len() <= HOST_BYTES_MAX && port_fits && name.split('.').all(label)
}

fn is_repository(text: &str) -> bool {
    let part = |part: &str| {
        let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
        edge(part.bytes().next()) && edge(part.bytes().last()) && part.bytes().all(inner) && !part.contains("..")
    };
    text.len() <= REPOSITORY_BYTES_MAX && text.split('/').all(part)
}

fn is_tag(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    first && text.len() <= TAG_BYTES_MAX && text.bytes().all(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn uris_are_taken_apart() {
        let digest = "a".repeat(64);
        let name = ImageName::parse("123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app:v1.2").expect("a URI");
        assert_eq!(name.host, "123456789012.dkr.ecr.us-east-1.amazonaws.com");
        assert_eq!((name.repository.as_str(), &name.reference), ("team/app", &Reference::Tag("v1.2".to_owned())));
        let name = ImageName::parse(&format!("LOCALHOST:5000/app:v1@sha256:{digest}")).expect("a URI");
        assert_eq!((name.host.as_str(), &name.reference), ("localhost:5000", &Reference::Digest(digest.clone())));
        assert_eq!(name.to_string(), format!("localhost:5000/app@sha256:{digest}"));
        assert!(ImageName::parse("[::1]:5000/app:v1").is_some());
    }

    #[test]
    fn what_is_no_uri_is_none() {
        let long = format!("h/{}:t", "a".repeat(256));
        for bad in [
            "",
            "app",
            "app:latest",
            "h/app",
            "h/app:",
            "h/App:t",
            "h/../etc:t",
            "h/a/../b:t",
            "h/a//b:t",
            "h/.a:t",
            "h/a..b:t",
            "h/a:t?x=1",
            "h/a:t/x",
            "h/a:t#x",
            "h/a:t\r\nHost: x",
            "h/a%2f:t",
            "u@h/a:t",
            "http://h/a:t",
            "h:0/a:t",
            "h:99999/a:t",
            "-h/a:t",
            "h./a:t",
            "[::1/a:t",
            "[x]/a:t",
            "h/a@sha256:abc",
            "h/a@md5:d41d8cd98f00b204e9800998ecf8427e",
            &long,
        ] {
            assert_eq!(ImageName::parse(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_taken_holds_nothing_but_plain_names(uri in "[ -~]{0,40}|[a-z]{1,5}(:[0-9]{1,5})?/[a-z./_-]{1,9}:[a-zA-Z0-9._-]{1,9}") {
            if let Some(name) = ImageName::parse(&uri) {
                prop_assert!(!name.repository.contains("..") && !name.repository.starts_with('/'));
                prop_assert!(name.repository.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"./_-".contains(&b)));
                prop_assert_eq!(ImageName::parse(&name.to_string()), Some(name));
            }
        }
    }
}
