use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn heads_sort_as_s3_sorts_keys_and_give_their_name_back(a in ".{0,12}", b in ".{0,12}", bucket in "[a-z]{3,5}") {
        prop_assert_eq!(head(&bucket, &a).cmp(&head(&bucket, &b)), a.as_bytes().cmp(b.as_bytes()));
        prop_assert_eq!(name_of(&head(&bucket, &a)).expect("ours"), a.clone());
        prop_assert_eq!(heads_with(&bucket, &b).contains(&head(&bucket, &a)), a.starts_with(&b));
        prop_assert!(heads(&bucket).contains(&head(&bucket, &a)));
        prop_assert_eq!(versions(&bucket, &b).contains(&version(&bucket, &a, 7)), a == b);
    }

    #[test]
    fn uploads_give_their_words_back(name in ".{0,12}", id in "[0-9a-f]{4}", prefix in ".{0,3}") {
        let key = upload("b", &name, &id);
        prop_assert_eq!(upload_of(&key).expect("ours"), (name.clone(), id));
        prop_assert_eq!(uploads_with("b", &prefix).contains(&key), name.starts_with(&prefix));
        prop_assert!(uploads_to("b", &name).contains(&key) && uploads("b").contains(&key));
    }

    #[test]
    fn versions_sort_newest_first(a in any::<u64>(), b in any::<u64>()) {
        prop_assert_eq!(version("b", "k", a).cmp(&version("b", "k", b)), b.cmp(&a));
    }

    #[test]
    fn garbage_is_due_in_order(due in -5i64..5, until in -5i64..5) {
        prop_assert_eq!(garbage_until(until).contains(&garbage(due, "x")), due <= until);
    }

    #[test]
    fn records_survive_the_round_trip(size in any::<u64>(), etag in "[0-9a-f]{4}", tag in ".{0,4}", hold in any::<Option<bool>>()) {
        let record = VersionRecord {
            seq: size, id: Some(etag.clone()), modified_us: -1, marker: false, size, etag: etag.clone(),
            content: Content::One(Segment { id: etag.clone(), size, place: Place::Inline { crc: 7 }, key: None }),
            headers: Headers { content_type: Some(tag.clone()), ..Headers::default() },
            metadata: [(tag.clone(), tag.clone())].into(), tags: [(tag.clone(), tag)].into(),
            checksum: None, storage_class: None, encryption: Some(Encryption::Customer { key_md5: etag }),
            lock: ObjectLock { retention: Some(Retention { mode: LockMode::Compliance, until_us: 3 }), hold },
            acl: None, account: None, upload: None,
        };
        let head = HeadRecord { version: record, older: size, null_seq: Some(size) };
        prop_assert_eq!(decode::<HeadRecord>(&encode(&head)).expect("ours"), head);
    }
}

#[test]
fn a_newer_format_is_refused() {
    assert!(decode::<u32>(br#"{"format":2,"record":1}"#).is_err());
    assert_eq!(decode::<u32>(br#"{"format":1,"record":1}"#).expect("ours"), 1);
}

#[test]
fn ordinals_keep_subspaces_apart() {
    let digest = blob::Digest::from_bytes([7; 32]);
    assert!(references(&digest).contains(&reference(&digest, "s")));
    assert!(parts("u").contains(&part("u", 10_000)) && !parts("u").contains(&part("v", 1)));
    assert!(manifest_of("c").contains(&manifest("c", 25)));
    assert!(owned_by("1").contains(&owned("1", "b")) && !owned_by("1").contains(&owned("12", "b")));
    for setting_kind in SETTINGS {
        assert_ne!(setting("b", setting_kind), bucket("b"));
    }
    assert!(buckets().contains(&bucket("b")));
    assert!(!heads("b").contains(&inline("b")) && !heads("b").contains(&lifecycle_mark("b")));
}
