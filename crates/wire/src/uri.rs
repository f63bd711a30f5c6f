//! Paths and query strings: percent-encoding and the URI templates of the models.

use std::borrow::Cow;

/// Percent-decodes; `None` when an escape is malformed or the result is not UTF-8.
pub fn percent_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                bytes.push(u8::try_from(high * 16 + low).ok()?);
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// The parameters of a query string or form, decoded, in order; a name without `=` has an empty value.
/// `None` when an escape is malformed.
pub fn parameters(query: &str) -> Option<Vec<(String, String)>> {
    let decode = |text: &str| percent_decode(&text.replace('+', " ")).map(Cow::into_owned);
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        })
        .collect()
}

/// How well a template fits a path: compared in order, bigger is more specific.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity {
    /// Per segment: 2 literal, 1 label, 0 greedy label.
    segments: Vec<u8>,
    /// Parameters and headers that the operation demands.
    parameters: usize,
}

impl Specificity {
    /// The operation also demands a header, which is there.
    #[must_use]
    pub(crate) fn and_a_header(mut self) -> Self {
        self.parameters += 1;
        self
    }
}

/// Whether `template` (such as `/functions/{Name}/url?list-type=2`) fits the raw path and query, and how closely.
/// A slash at the end is not looked at. Labels are never empty.
pub fn fits(template: &str, path: &str, query: &str) -> Option<Specificity> {
    let (template, demanded) = template.split_once('?').unwrap_or((template, ""));
    let mut specificity = Specificity::default();
    walk(template, path, |literal, label| {
        specificity.segments.push(match label {
            None => 2,
            Some(_) if literal.ends_with("+}") => 0,
            Some(_) => 1,
        });
    })?;
    for pair in demanded.split('&').filter(|pair| !pair.is_empty()) {
        let there = match pair.contains('=') {
            true => query.split('&').any(|given| given == pair),
            false => query.split('&').any(|given| given.split('=').next() == Some(pair)),
        };
        if !there {
            return None;
        }
        specificity.parameters += 1;
    }
    Some(specificity)
}

/// The decoded labels of a path; `None` when it does not fit the template or an escape is malformed.
pub fn labels<'t>(template: &'t str, path: &str) -> Option<Vec<(&'t str, String)>> {
    let template = template.split('?').next().unwrap_or_default();
    let mut found: Vec<Option<(&str, String)>> = Vec::new();
    walk(template, path, |segment, label| {
        if let Some(text) = label {
            let name = segment.trim_start_matches('{').trim_end_matches(['}', '+']);
            found.push(percent_decode(text).map(|text| (name, text.into_owned())));
        }
    })?;
    found.into_iter().collect()
}

/// Calls `visit` for each segment of the template, with the text that its label stands for.
fn walk<'t, 'p>(template: &'t str, path: &'p str, mut visit: impl FnMut(&'t str, Option<&'p str>)) -> Option<()> {
    let mut template_rest = template.strip_prefix('/').unwrap_or(template);
    let greedy = template.contains("+}");
    let mut path_rest = path.strip_prefix('/').unwrap_or(path);
    template_rest = template_rest.strip_suffix('/').unwrap_or(template_rest);
    if !greedy {
        path_rest = path_rest.strip_suffix('/').unwrap_or(path_rest);
    }
    let mut segments = template_rest.split('/');
    let mut remaining = Some(path_rest);
    while let Some(segment) = segments.next() {
        let given = remaining?;
        if segment.ends_with("+}") {
            // What follows a greedy label must match the end of the path.
            let after = segments.clone().count();
            let end = nth_slash_from_end(given, after)?;
            if end == 0 {
                return None;
            }
            visit(segment, Some(&given[..end]));
            remaining = given[end..].strip_prefix('/');
            continue;
        }
        let (first, rest) = match given.split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (given, None),
        };
        match segment.starts_with('{') {
            true if first.is_empty() => return None,
            true => visit(segment, Some(first)),
            false if segment == first => visit(segment, None),
            false => return None,
        }
        remaining = rest;
    }
    remaining.is_none().then_some(())
}

/// Where the last `count` segments begin (at their slash); the whole length for none.
fn nth_slash_from_end(text: &str, count: usize) -> Option<usize> {
    match count {
        0 => Some(text.len()),
        _ => text.rmatch_indices('/').nth(count - 1).map(|(at, _)| at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_fit_paths() {
        for (template, path, query, expect) in [
            ("/2015-03-31/functions", "/2015-03-31/functions/", "", true),
            ("/2015-03-31/functions/", "/2015-03-31/functions", "", true),
            ("/functions/{Name}", "/functions/", "", false),
            ("/functions/{Name}", "/functions/f", "", true),
            ("/functions/{Name}", "/functions/f/url", "", false),
            ("/functions/{Name}/url", "/functions/f", "", false),
            ("/{Bucket}/{Key+}", "/b/a/b/c", "", true),
            ("/{Bucket}/{Key+}", "/b/", "", false),
            ("/a/{Rest+}/end", "/a/x/y/end", "", true),
            ("/a/{Rest+}/end", "/a/end", "", false),
            ("/a?list-type=2", "/a", "list-type=2&x=1", true),
            ("/a?list-type=2", "/a", "list-type=1", false),
            ("/a?tagging", "/a", "tagging=", true),
            ("/a?tagging", "/a", "", false),
            ("/", "/", "", true),
            ("/", "/x", "", false),
        ] {
            assert_eq!(fits(template, path, query).is_some(), expect, "{template} and {path}?{query}");
        }
    }

    #[test]
    fn literals_beat_labels_and_labels_beat_greedy_ones() {
        let of = |template| fits(template, "/a/b", "x=1").expect("fits");
        assert!(of("/a/b") > of("/a/{L}"));
        assert!(of("/a/{L}") > of("/a/{L+}"));
        assert!(of("/a/b?x=1") > of("/a/b"));
    }

    #[test]
    fn labels_are_decoded() {
        let found = labels("/f/{Name}/x/{Rest+}", "/f/arn%3Aaws/x/a%20b/c+d").expect("fits");
        assert_eq!(found, [("Name", "arn:aws".to_owned()), ("Rest", "a b/c+d".to_owned())]);
        assert_eq!(labels("/f/{Name}", "/f/%zz"), None);
        assert_eq!(labels("/f/{Name}", "/f/%ff"), None);
    }

    #[test]
    fn parameters_are_decoded() {
        let found = parameters("a=1&b=x+y%26&c&&a=2").expect("well formed");
        let expect = [("a", "1"), ("b", "x y&"), ("c", ""), ("a", "2")];
        assert!(found.iter().map(|(n, v)| (n.as_str(), v.as_str())).eq(expect));
        assert_eq!(parameters("a=%f"), None);
    }
}
