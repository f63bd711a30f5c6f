use bytes::Bytes;
use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{Element, pack, pack_stamped, prefix_range, subspace, unpack};
use crate::Versionstamp;
use crate::limits::TUPLE_DEPTH_MAX;

#[test]
fn known_tuples_have_known_bytes() {
    let cases: &[(Vec<Element>, &[u8])] = &[
        (vec![], b""),
        (vec!["a\0b".into()], b"\x02a\0\xffb\0"),
        (vec![Bytes::from_static(&[0xff]).into()], b"\x01\xff\0"),
        (vec![Element::Tuple(vec!["x".into()]), true.into()], b"\x05\x02x\0\0\x27"),
        (vec![(-1i64).into()], b"\x14\x7f\xff\xff\xff\xff\xff\xff\xff"),
        (vec![1u64.into(), false.into()], b"\x15\0\0\0\0\0\0\0\x01\x26"),
    ];
    for (tuple, bytes) in cases {
        assert_eq!(pack(tuple), *bytes);
        assert_eq!(&unpack(bytes).unwrap(), tuple);
    }
}

#[test]
fn keys_that_no_tuple_has_are_refused() {
    let deep = vec![0x05; TUPLE_DEPTH_MAX + 1];
    let cases: &[&[u8]] = &[b"\x01ab", b"\x02\xff\0", b"\x14\0", b"\x05\x26", b"\x99", b"\0", b"\x33short", &deep];
    for key in cases {
        assert!(matches!(unpack(key), Err(crate::Error::Corrupt { .. })), "{key:?}");
    }
}

#[test]
fn prefix_ranges_end_after_the_last_key_with_the_prefix() {
    for (prefix, end) in
        [(&b"a"[..], &b"b"[..]), (b"a\xff", b"b"), (b"a\xff\xff", b"b"), (b"", b"\xff"), (b"\xff", b"\xff")]
    {
        assert_eq!(prefix_range(prefix).end, end);
    }
}

#[test]
fn a_subspace_holds_its_tuples_and_not_those_of_a_longer_text() {
    let range = subspace(&["a".into()]);
    assert!(range.contains(&pack(&["a".into()])));
    assert!(range.contains(&pack(&["a".into(), Versionstamp::PENDING.into()])));
    assert!(!range.contains(&pack(&["a\0b".into()])));
    assert!(!range.contains(&pack(&["ab".into()])));
}

#[test]
fn a_stamped_tuple_unpacks_with_its_stamp() {
    let stamp = Versionstamp::new(7, 3);
    let key = pack_stamped(&["log".into()], &[1u64.into()]).fill(stamp);
    assert_eq!(unpack(&key).unwrap(), ["log".into(), stamp.into(), 1u64.into()]);
}

proptest! {
    #[test]
    fn packing_keeps_order_and_round_trips(a in tuple(), b in tuple()) {
        let (key_a, key_b) = (pack(&a), pack(&b));
        prop_assert_eq!(unpack(&key_a).unwrap(), a.clone());
        prop_assert_eq!(key_a.cmp(&key_b), a.cmp(&b));
    }

    #[test]
    fn any_bytes_unpack_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(tuple) = unpack(&bytes) {
            prop_assert_eq!(pack(&tuple), bytes);
        }
    }

    #[test]
    fn subspaces_hold_exactly_the_longer_tuples(a in tuple(), b in tuple()) {
        prop_assert_eq!(subspace(&a).contains(&pack(&b)), b.starts_with(&a));
        prop_assert!(subspace(&a).contains(&pack(&[&a[..], &b[..]].concat())));
    }

    #[test]
    fn prefix_ranges_hold_exactly_the_keys_with_the_prefix(
        prefix in prop::collection::vec(prop_oneof![Just(0u8), Just(254), Just(255)], 0..4),
        key in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(254), Just(255)], 0..5),
    ) {
        let is_key = key.first() != Some(&0xff);
        if is_key {
            prop_assert_eq!(prefix_range(&prefix).contains(&key), key.starts_with(&prefix));
        }
    }
}

fn tuple() -> impl Strategy<Value = Vec<Element>> {
    prop::collection::vec(element(), 0..4)
}

fn element() -> impl Strategy<Value = Element> {
    // Few letters and zeros: near misses are what breaks an ordered codec.
    let leaf = prop_oneof![
        prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255)], 0..4).prop_map(|b| Element::Bytes(b.into())),
        "[\0ab\u{ff}]{0,3}".prop_map(Element::Text),
        any::<i64>().prop_map(Element::Int),
        (-2i64..2).prop_map(Element::Int),
        any::<u64>().prop_map(Element::Uint),
        any::<bool>().prop_map(Element::Bool),
        any::<[u8; 10]>().prop_map(|bytes| Element::Versionstamp(Versionstamp::from_bytes(bytes))),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| prop::collection::vec(inner, 0..3).prop_map(Element::Tuple))
}
