//! A bucket's CORS rules, as a browser meets them.
//!
//! Source: Amazon S3 user guide, "How does Amazon S3 evaluate the CORS configuration on a bucket?".

use model::s3 as m;

use crate::error::S3Error;
use crate::keys::{Setting, document};
use crate::state::S3;

/// Whether a page of `origin` may use `method` on the bucket and send `headers` (lower case, empty unless it is a
/// preflight): the headers of the answer by the first rule that allows it, else `None`. Names are in lower case.
///
/// # Errors
/// The store's.
pub async fn allowed(
    s3: &S3,
    bucket: &str,
    origin: &str,
    method: &str,
    headers: &[String],
) -> Result<Option<Vec<(&'static str, String)>>, S3Error> {
    let read = s3.kv.read(|tx| async move { document::get::<m::CORSConfiguration>(&tx, bucket, Setting::Cors).await });
    let found = read.await?;
    Ok(found.and_then(|found| answer(&found.cors_rules, origin, method, headers)))
}

fn answer(
    rules: &[m::CORSRule],
    origin: &str,
    method: &str,
    headers: &[String],
) -> Option<Vec<(&'static str, String)>> {
    let (rule, pattern) = rules.iter().find_map(|rule| {
        let pattern = rule.allowed_origins.iter().find(|pattern| matches(pattern, origin))?;
        let allows = |header: &String| {
            let patterns = rule.allowed_headers.iter().flatten();
            patterns.map(|pattern| pattern.to_ascii_lowercase()).any(|pattern| matches(&pattern, header))
        };
        let fits = rule.allowed_methods.iter().any(|allowed| allowed == method) && headers.iter().all(allows);
        fits.then_some((rule, pattern))
    })?;
    // Credentials may be sent to a named origin only.
    let anyone = pattern == "*";
    let mut answer = vec![
        ("access-control-allow-origin", if anyone { "*".to_owned() } else { origin.to_owned() }),
        ("access-control-allow-methods", rule.allowed_methods.join(", ")),
    ];
    if !anyone {
        answer.push(("access-control-allow-credentials", "true".to_owned()));
    }
    if !headers.is_empty() {
        answer.push(("access-control-allow-headers", headers.join(", ")));
    }
    if let Some(exposed) = rule.expose_headers.as_ref().filter(|exposed| !exposed.is_empty()) {
        answer.push(("access-control-expose-headers", exposed.join(", ")));
    }
    answer.extend(rule.max_age_seconds.map(|seconds| ("access-control-max-age", seconds.to_string())));
    Some(answer)
}

/// One `*` at most, for any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(origin: &str, methods: &[&str], headers: &[&str]) -> m::CORSRule {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        m::CORSRule {
            id: None,
            allowed_headers: Some(texts(headers)),
            allowed_methods: texts(methods),
            allowed_origins: vec![origin.to_owned()],
            expose_headers: Some(texts(&["etag"])),
            max_age_seconds: Some(60),
        }
    }

    #[test]
    fn the_first_rule_that_fits_answers() {
        let rules = [
            rule("https://*.example.com", &["GET"], &[]),
            rule("https://a.example.com", &["GET", "PUT"], &["X-Amz-*"]),
            rule("*", &["HEAD"], &["*"]),
        ];
        for (origin, method, headers, expected) in [
            ("https://a.example.com", "GET", &[][..], Some("GET")),
            ("https://a.example.com", "PUT", &["x-amz-meta-a"], Some("GET, PUT")),
            ("https://a.example.com", "GET", &["x-amz-meta-a"], Some("GET, PUT")),
            ("https://a.example.com", "PUT", &["content-type"], None),
            ("https://b.example.com", "PUT", &[], None),
            ("https://example.com", "GET", &[], None),
            ("null", "HEAD", &["anything"], Some("HEAD")),
            ("null", "GET", &[], None),
        ] {
            let headers: Vec<String> = headers.iter().map(|name| (*name).to_owned()).collect();
            let answer = answer(&rules, origin, method, &headers);
            let methods = answer.as_ref().and_then(|answer| answer.iter().find(|(name, _)| name.ends_with("methods")));
            assert_eq!(
                methods.map(|(_, methods)| methods.as_str()),
                expected,
                "{method} from {origin} with {headers:?}"
            );
        }
    }

    #[test]
    fn credentials_are_for_named_origins_only() {
        let allows = |origin: &str| {
            let answer = answer(&[rule(origin, &["GET"], &[])], "https://a", "GET", &[]).expect("allowed");
            let value = |name: &str| answer.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone());
            (value("access-control-allow-origin"), value("access-control-allow-credentials"))
        };
        assert_eq!(allows("*"), (Some("*".to_owned()), None));
        assert_eq!(allows("https://a"), (Some("https://a".to_owned()), Some("true".to_owned())));
    }
}
