//! URI templates of rest protocols: `/2015-03-31/functions/{FunctionName}`, `/{Bucket}/{Key+}?acl`.

use wire::shape::{OperationName, Protocol, ServiceShape};

/// What one matching literal adds to a score; a single one already beats any number of labels.
pub(super) const LITERAL: usize = 100;

#[derive(Debug)]
enum Segment {
    Literal(&'static str),
    Label,
    /// `{Name+}`: one segment or more.
    Greedy,
}

/// An operation's method and path, taken apart.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) operation: &'static OperationName,
    segments: Vec<Segment>,
    /// Parameters that must be there, with their value if the template fixes it.
    query: Vec<(&'static str, Option<&'static str>)>,
}

/// The templates of a service; none when it speaks no rest protocol.
pub(super) fn templates(shape: &'static ServiceShape) -> Vec<Template> {
    let rest = shape.protocols.iter().any(|p| matches!(p, Protocol::RestJson1 | Protocol::RestXml));
    shape.operations.iter().filter(|_| rest).map(Template::new).collect()
}

impl Template {
    fn new(operation: &'static OperationName) -> Self {
        let (path, query) = operation.uri.split_once('?').unwrap_or((operation.uri, ""));
        let segments = split(path)
            .map(|segment| match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
                Some(label) if label.ends_with('+') => Segment::Greedy,
                Some(_) => Segment::Label,
                None => Segment::Literal(segment),
            })
            .collect();
        let query = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').map_or((pair, None), |(name, value)| (name, Some(value))))
            .collect();
        Self { operation, segments, query }
    }

    /// How well it matches: more literals win. `None` when it does not.
    pub(super) fn matches(&self, method: &str, path: &str, query: &str) -> Option<usize> {
        if self.operation.method != method {
            return None;
        }
        let mut score = 0;
        let mut rest = split(path);
        for segment in &self.segments {
            let found = rest.next()?;
            match segment {
                Segment::Literal(literal) if *literal == found => score += LITERAL,
                Segment::Literal(_) => return None,
                Segment::Label => score += 2,
                Segment::Greedy => {
                    score += 1;
                    rest.by_ref().for_each(drop);
                }
            }
        }
        if rest.next().is_some() {
            return None;
        }
        for (name, value) in &self.query {
            let there =
                wire::sigv4::query_pairs(query).any(|(n, v)| n == *name && value.is_none_or(|value| value == v));
            if !there {
                return None;
            }
            score += LITERAL;
        }
        Some(score)
    }
}

/// The segments without the empty one that a trailing slash makes: models and clients differ about it.
fn split(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').filter(move |_| !path.is_empty())
}
