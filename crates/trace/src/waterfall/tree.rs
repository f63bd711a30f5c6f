//! From a bag of spans to the rows of a tree. No recursion: the depth of a trace is the caller's.

use std::collections::HashMap;

use super::printable;
use crate::Span;

/// Levels that are drawn as indentation; deeper rows stand at the last level.
const DEPTH_MAX: usize = 8;
/// Columns that a name keeps, whatever its depth.
const NAME_WIDTH_MIN: usize = 10;

/// A span at its place in the tree.
pub(super) struct Row<'a> {
    pub(super) span: &'a Span,
    /// The span that it hangs under.
    pub(super) parent: Option<&'a Span>,
    /// Why it stands at the root although it names a parent.
    pub(super) orphan: Option<Orphan>,
    guides: String,
}

/// Why a span that names a parent stands at the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Orphan {
    /// The parent was not recorded, or is the caller's.
    Missing,
    /// The parent hangs under it.
    Cycle,
}

impl Row<'_> {
    pub(super) fn label_width(&self) -> usize {
        self.guides.chars().count() + self.span.name.chars().count()
    }

    /// Guides and name, together at most `width` columns.
    pub(super) fn label(&self, width: usize) -> (String, String) {
        let name = printable(&self.span.name);
        let depth = self.guides.chars().count();
        let shown = depth.min(width.saturating_sub(NAME_WIDTH_MIN.min(name.chars().count())));
        // The guides next to the name say more than those of its ancestors.
        let guides: String = self.guides.chars().skip(depth - shown).collect();
        let room = width - shown;
        if name.chars().count() <= room {
            return (guides, name);
        }
        let cut: String = name.chars().take(room.saturating_sub(1)).collect();
        (guides, if room == 0 { String::new() } else { format!("{cut}…") })
    }
}

/// What is still to be drawn: a span and how its row begins.
struct Todo {
    at: usize,
    parent: Option<usize>,
    depth: usize,
    /// The guides of its own row.
    guides: String,
    /// What the guides of its children start with.
    below: String,
}

impl Todo {
    fn root(at: usize) -> Self {
        Self { at, parent: None, depth: 0, guides: String::new(), below: String::new() }
    }

    fn child(&self, at: usize, last: bool) -> Self {
        let (own, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let deep = self.depth >= DEPTH_MAX;
        Self {
            at,
            parent: Some(self.at),
            depth: self.depth + 1,
            guides: format!("{}{own}", self.below),
            below: if deep { self.below.clone() } else { format!("{}{below}", self.below) },
        }
    }
}

/// The first `rows_max` rows of the tree, parents before children, siblings by start.
pub(super) fn rows(spans: &[Span], rows_max: usize) -> Vec<Row<'_>> {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by(|a, b| {
        let key = |at: usize| (spans[at].start, std::cmp::Reverse(spans[at].end), &spans[at].span_id);
        key(*a).cmp(&key(*b))
    });
    let by_id: HashMap<_, _> = order.iter().rev().map(|at| (&spans[*at].span_id, *at)).collect();
    let parent_of = |at: usize| spans[at].parent.as_ref().and_then(|id| by_id.get(id)).copied();
    let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut roots = Vec::new();
    for at in &order {
        match parent_of(*at) {
            Some(parent) => children.entry(parent).or_default().push(*at),
            None => roots.push(*at),
        }
    }
    let mut rows = Vec::new();
    let mut drawn = vec![false; spans.len()];
    // Spans that no root reaches hang in a cycle: the earliest of them stands in for the root.
    for root in roots.iter().chain(&order) {
        let mut todo = vec![Todo::root(*root)];
        while let Some(next) = todo.pop() {
            if rows.len() == rows_max {
                return rows;
            }
            if std::mem::replace(&mut drawn[next.at], true) {
                continue;
            }
            let siblings = children.get(&next.at).map(Vec::as_slice).unwrap_or_default();
            let open: Vec<usize> = siblings.iter().copied().filter(|at| !drawn[*at]).collect();
            // The stack turns the order round, so the last child goes on it first.
            for (place, at) in open.iter().enumerate().rev() {
                todo.push(next.child(*at, place + 1 == open.len()));
            }
            let span = &spans[next.at];
            let parent = next.parent.map(|at| &spans[at]);
            let orphan = match (parent, &span.parent) {
                (None, Some(named)) if by_id.contains_key(named) => Some(Orphan::Cycle),
                (None, Some(_)) => Some(Orphan::Missing),
                _ => None,
            };
            rows.push(Row { span, parent, orphan, guides: next.guides });
        }
    }
    rows
}
