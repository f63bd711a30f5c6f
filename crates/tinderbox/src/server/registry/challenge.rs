//! `WWW-Authenticate` of registries (RFC 9110, section 11.6.1; the token protocol of the CNCF distribution project).

use std::fmt::Write as _;

/// How a registry wants to be spoken to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// With user and password.
    Basic,
    /// With a token from `realm`.
    Bearer { realm: String, service: Option<String> },
}

impl Challenge {
    /// Reads the first challenge of a header; `None` for schemes that no registry uses.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let realm = parameter(rest, "realm")?;
        Some(Self::Bearer { realm, service: parameter(rest, "service") })
    }
}

/// The value of `name` among `a="x",b="y"`.
fn parameter(mut rest: &str, name: &str) -> Option<String> {
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim().trim_start_matches(',').trim();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        if key.eq_ignore_ascii_case(name) {
            return Some(value.to_owned());
        }
        rest = next.trim_start().trim_start_matches(',');
    }
    None
}

/// Where a token to pull from `repository` is had. The scope is ours, not what the registry names: no more than needed.
pub(super) fn token_url(realm: &str, service: Option<&str>, repository: &str) -> Option<String> {
    let mut url = realm.split('#').next().filter(|realm| !realm.is_empty())?.to_owned();
    url.push(if url.contains('?') { '&' } else { '?' });
    if let Some(service) = service {
        url.push_str("service=");
        encode(&mut url, service);
        url.push('&');
    }
    url.push_str("scope=");
    encode(&mut url, &format!("repository:{repository}:pull"));
    Some(url)
}

fn encode(url: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => url.push(char::from(byte)),
            _ => write!(url, "%{byte:02X}").expect("a String takes whatever is written"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_of_registries_are_read() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a:pull""#,
                bearer("https://auth.docker.io/token", Some("registry.docker.io")),
            ),
            (r#"bearer service=x, realm="http://h/t?a=b,c""#, bearer("http://h/t?a=b,c", Some("x"))),
            (r#"Basic realm="Registry""#, Some(Challenge::Basic)),
            ("Basic", Some(Challenge::Basic)),
            (r#"Bearer service="x""#, None),
            (r#"Bearer realm="unended"#, None),
            ("Negotiate abc", None),
            ("", None),
        ] {
            assert_eq!(Challenge::parse(header), expected, "{header}");
        }
    }

    #[test]
    fn a_token_is_for_pulling_from_one_repository() {
        let url = token_url("https://h/token", Some("a b&c"), "team/app").expect("a URL");
        assert_eq!(url, "https://h/token?service=a%20b%26c&scope=repository%3Ateam%2Fapp%3Apull");
        assert_eq!(
            token_url("https://h/t?x=1#f", None, "a").expect("a URL"),
            "https://h/t?x=1&scope=repository%3Aa%3Apull"
        );
        assert_eq!(token_url("", None, "a"), None);
    }
}
