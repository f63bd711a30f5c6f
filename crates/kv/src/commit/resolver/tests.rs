use proptest::prelude::{Strategy, any, prop, proptest};

use super::Resolver;
use crate::KeyRange;

fn range(begin: &str, end: &str) -> KeyRange {
    KeyRange::new(begin, end)
}

#[test]
fn a_read_conflicts_with_a_later_write_of_the_same_keys_only() {
    let mut resolver = Resolver::new(0);
    resolver.record(5, &KeyRange::point("b"));
    resolver.record(7, &range("m", "q"));
    let cases = [
        (4, range("b", "c"), true),
        (5, range("b", "c"), false),
        (4, range("a", "b"), false),
        (4, KeyRange::point("b"), true),
        (4, KeyRange::point("b\0"), false),
        (6, range("a", "m"), false),
        (6, range("a", "m\0"), true),
        (6, KeyRange::point("p"), true),
        (6, KeyRange::point("q"), false),
        (7, range("a", "z"), false),
        (0, range("z", "a"), false),
    ];
    for (read_version, read, expected) in cases {
        assert_eq!(resolver.conflicts(read_version, std::slice::from_ref(&read)), expected, "{read_version} {read:?}");
    }
}

#[test]
fn a_read_version_below_the_window_conflicts_but_a_blind_write_does_not() {
    let mut resolver = Resolver::new(3);
    let read = [KeyRange::point("unwritten")];
    assert!(resolver.conflicts(2, &read));
    assert!(!resolver.conflicts(3, &read));
    resolver.forget_below(9);
    assert!(resolver.conflicts(8, &read));
    assert!(!resolver.conflicts(9, &read));
    assert!(!resolver.conflicts(0, &[]));
}

#[test]
fn what_nobody_can_conflict_with_is_forgotten() {
    let mut resolver = Resolver::new(0);
    for version in 1..=10_000u64 {
        resolver.record(version, &KeyRange::point(version.to_be_bytes()));
        resolver.forget_below(version.saturating_sub(10));
    }
    assert!(resolver.boundaries.len() < 2_000, "{} boundaries", resolver.boundaries.len());
}

proptest! {
    /// The model: a list of all writes.
    #[test]
    fn agrees_with_a_list_of_all_writes(
        steps in prop::collection::vec((key_range(), any::<bool>(), 0u64..40), 1..60)
    ) {
        let mut resolver = Resolver::new(0);
        let mut writes: Vec<(u64, KeyRange)> = Vec::new();
        let mut oldest = 0;
        for (version, (range, write, back)) in (1u64..).zip(steps) {
            let read_version = version.saturating_sub(back);
            if write {
                resolver.record(version, &range);
                writes.push((version, range));
                if back < 8 {
                    oldest = oldest.max(read_version);
                    resolver.forget_below(oldest);
                }
            } else {
                let overlaps = |w: &KeyRange| w.begin < range.end && range.begin < w.end && !w.is_empty() && !range.is_empty();
                let expected = read_version < oldest
                    || writes.iter().any(|(written, w)| *written > read_version && overlaps(w));
                assert_eq!(resolver.conflicts(read_version, std::slice::from_ref(&range)), expected);
            }
        }
    }
}

fn key_range() -> impl Strategy<Value = KeyRange> {
    let key = || prop::collection::vec(0u8..4, 0..3);
    (key(), key()).prop_map(|(begin, end)| KeyRange::new(begin, end))
}
