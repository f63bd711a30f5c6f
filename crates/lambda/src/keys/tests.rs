use proptest::prelude::*;

use super::*;
use crate::function::{Architecture, CodeRef, EnvironmentVariables, ImageOverrides, LogFormat, Logging, TracingMode};

fn record() -> FunctionRecord {
    FunctionRecord {
        role: "arn:aws:iam::000000000000:role/r".to_owned(),
        runtime: "nodejs24.x".to_owned(),
        handler: "index.handler".to_owned(),
        code: CodeRef { digest: "ab".repeat(32), length: 7 },
        description: String::new(),
        timeout_s: 3,
        memory_mb: 128,
        ephemeral_mb: 512,
        environment: Some(EnvironmentVariables([("A".to_owned(), "s3cret".to_owned())].into())),
        kms_key_arn: None,
        dead_letter_arn: None,
        vpc: None,
        file_systems: Vec::new(),
        tracing: TracingMode::PassThrough,
        logging: Logging {
            group: "/aws/lambda/f".to_owned(),
            format: LogFormat::Text,
            application_level: None,
            system_level: None,
        },
        architecture: Architecture::X86_64,
        tags: [("team".to_owned(), "a".to_owned())].into(),
        revision_id: "r".to_owned(),
        last_modified_ms: 1,
        layers: Vec::new(),
        snap_start: false,
        image: None,
        pull: None,
        per_tenant: false,
        managed: None,
        optimisation: None,
        change_id: String::new(),
        published_revision_id: None,
    }
}

#[test]
fn records_survive_the_round_trip_and_keep_their_stored_form() {
    let value = encode(&record());
    assert_eq!(decode::<FunctionRecord>(&value).unwrap(), record());
    // What is on disk today must be readable tomorrow: this text never changes, new members are optional.
    insta::assert_snapshot!(std::str::from_utf8(&value).unwrap());
}

#[test]
fn records_of_images_survive_the_round_trip_and_keep_their_stored_form() {
    let image = |digit: &str| ImageRecord {
        uri: "localhost:5000/app:v1".to_owned(),
        resolved_uri: format!("localhost:5000/app@sha256:{}", digit.repeat(64)),
        manifest_bytes: 500,
        parts: vec!["c".repeat(64), "d".repeat(64)],
        overrides: ImageOverrides { command: vec!["app.handler".to_owned()], ..ImageOverrides::default() },
    };
    let before = Before {
        code: CodeRef { digest: "b".repeat(64), length: 9 },
        image: image("b"),
        architecture: Architecture::X86_64,
    };
    for pull in [
        Pull::Going { before: None },
        Pull::Going { before: Some(Box::new(before)) },
        Pull::Failed { code: "ImageDeleted".to_owned(), reason: "gone".to_owned(), update: true },
    ] {
        let (runtime, handler) = (String::new(), String::new());
        let record = FunctionRecord { runtime, handler, image: Some(image("a")), pull: Some(pull), ..record() };
        let value = encode(&record);
        assert_eq!(decode::<FunctionRecord>(&value).unwrap(), record);
        insta::assert_snapshot!(std::str::from_utf8(&value).unwrap());
    }
}

#[test]
fn records_of_code_signing_survive_the_round_trip_and_keep_their_stored_form() {
    let full = CodeSigningRecord {
        publishers: vec!["arn:aws:signer:us-east-1:000000000000:/signing-profiles/p/v".to_owned()],
        enforce: true,
        description: Some("d".to_owned()),
        tags: [("team".to_owned(), "a".to_owned())].into(),
        last_modified_ms: 1,
    };
    let bare = CodeSigningRecord { enforce: false, description: None, tags: [].into(), ..full.clone() };
    for (record, stored) in [
        (
            full,
            r#"{"format":1,"publishers":["arn:aws:signer:us-east-1:000000000000:/signing-profiles/p/v"],"enforce":true,"description":"d","tags":{"team":"a"},"last_modified_ms":1}"#,
        ),
        (
            bare,
            r#"{"format":1,"publishers":["arn:aws:signer:us-east-1:000000000000:/signing-profiles/p/v"],"last_modified_ms":1}"#,
        ),
    ] {
        assert_eq!(encode(&record), stored);
        assert_eq!(decode::<CodeSigningRecord>(stored.as_bytes()).unwrap(), record);
    }
    assert_eq!(encode(&CodeSigningUse {}), r#"{"format":1}"#);
    assert_eq!(decode::<CodeSigningUse>(br#"{"format":1}"#).unwrap(), CodeSigningUse {});
    assert!(decode::<CodeSigningUse>(br#"{"format":2}"#).is_err());
    assert_eq!(encode(&CapacityUse {}), r#"{"format":1}"#);
    assert_eq!(decode::<CapacityUse>(br#"{"format":1}"#).unwrap(), CapacityUse {});
    // Settings of before there was code signing.
    let settings = decode::<SettingsRecord>(br#"{"format":1,"reserved":3}"#).unwrap();
    assert_eq!(settings, SettingsRecord { reserved: Some(3), ..SettingsRecord::default() });
    let signed = SettingsRecord { code_signing: Some("csc-1".to_owned()), ..settings };
    assert_eq!(encode(&signed), r#"{"format":1,"reserved":3,"code_signing":"csc-1"}"#);
    assert_eq!(decode::<SettingsRecord>(&encode(&signed)).unwrap(), signed);
}

#[test]
fn a_newer_format_and_damaged_values_are_corrupt() {
    let newer = String::from_utf8(encode(&record()).to_vec()).unwrap().replace("\"format\":1", "\"format\":2");
    for value in [newer.as_bytes(), b"{}", b"", b"{\"format\":1}"] {
        assert!(matches!(decode::<FunctionRecord>(value), Err(kv::Error::Corrupt { .. })));
    }
}

#[test]
fn debug_of_a_record_shows_no_secret() {
    assert!(!format!("{:?}", record()).contains("s3cret"));
}

proptest! {
    #[test]
    fn keys_are_distinct_ordered_by_name_and_inside_their_range(
        account in "[0-9]{12}", region in "[a-z-]{1,9}", a in "[a-zA-Z0-9_-]{1,20}", b in "[a-zA-Z0-9_-]{1,20}",
    ) {
        let place = |name| Place { account: &account, region: &region, name };
        let key = |name| Key::Function(place(name)).pack();
        let (key_a, key_b) = (key(&a), key(&b));
        prop_assert_eq!(key_a.cmp(&key_b), a.cmp(&b));
        prop_assert_eq!(last_text(&key_a).unwrap(), a.clone());
        let range = functions_of(&account, &region);
        prop_assert!(range.contains(&key_a));
        let other = format!("{region}x");
        for outside in [
            Key::Function(Place { region: &other, ..place(&a) }),
            Key::Url(place(&a), None),
            Key::Url(place(&a), Some(&b)),
            Key::UrlOwner { id: &a },
            Key::Usage { account: &account, region: &region },
            Key::Version(place(&a), 1),
            Key::Alias(place(&a), &b),
            Key::VersionCounter(place(&a)),
            Key::Policy(place(&a), ""),
            Key::EventInvoke(place(&a), &b),
            Key::Provisioned(place(&a), &b),
            Key::Settings(place(&a)),
            Key::LayerCounter(place(&a)),
            Key::Layer(place(&a), 1),
            Key::CodeSigning(place(&a)),
            Key::CodeSigningUse(place(&b), &a),
            Key::Capacity(place(&a)),
            Key::CapacityUse(place(&b), &a, 1),
        ] {
            prop_assert!(!range.contains(&outside.pack()));
        }
    }

    #[test]
    fn uses_of_capacity_are_in_the_order_of_functions_and_numbers(
        (id, other) in ("[a-z]{1,5}", "[a-z]{1,5}"),
        (a, b) in (("[a-zA-Z0-9_-]{1,64}", any::<u64>()), ("[a-zA-Z0-9_-]{1,64}", any::<u64>())),
    ) {
        let place = |name| Place { account: "000000000000", region: "us-east-1", name };
        let key = |id, (function, version): &(String, u64)| Key::CapacityUse(place(id), function, *version).pack();
        prop_assert_eq!(key(&id, &a).cmp(&key(&id, &b)), a.cmp(&b));
        prop_assert_eq!(capacity_user(&key(&id, &a)).unwrap(), a.clone());
        let (uses, all) = (capacity_uses_of(place(&id)), capacities_of("000000000000", "us-east-1"));
        prop_assert!(uses.contains(&key(&id, &a)));
        prop_assert_eq!(uses.contains(&key(&other, &a)), id == other);
        prop_assert!(!all.contains(&key(&id, &a)));
    }

    #[test]
    fn uses_of_a_configuration_are_its_own_and_ordered_by_function(
        id in "csc-[a-f0-9]{17}", other in "csc-[a-f0-9]{17}", a in "[a-zA-Z0-9_-]{1,20}", b in "[a-zA-Z0-9_-]{1,20}",
        publishers in prop::collection::vec("[ -~]{0,40}", 1..20), enforce: bool, description: Option<String>,
        tags in prop::collection::btree_map(".{1,8}", ".{0,8}", 0..4), last_modified_ms: i64,
    ) {
        let place = |name| Place { account: "000000000000", region: "us-east-1", name };
        let key = |id, function| Key::CodeSigningUse(place(id), function).pack();
        prop_assert_eq!(key(&id, &a).cmp(&key(&id, &b)), a.cmp(&b));
        prop_assert_eq!(last_text(&key(&id, &a)).unwrap(), a.clone());
        let (uses, configs) = (code_signing_uses_of(place(&id)), code_signing_of("000000000000", "us-east-1"));
        prop_assert!(uses.contains(&key(&id, &a)));
        prop_assert_eq!(uses.contains(&key(&other, &a)), id == other);
        prop_assert!(!configs.contains(&key(&id, &a)));
        let config = Key::CodeSigning(place(&id)).pack();
        prop_assert!(configs.contains(&config) && !uses.contains(&config));
        prop_assert_eq!(last_text(&config).unwrap(), id);
        prop_assert!(!code_signing_of("000000000000", "us-east-2").contains(&config));
        let record = CodeSigningRecord { publishers, enforce, description, tags, last_modified_ms };
        prop_assert_eq!(decode::<CodeSigningRecord>(&encode(&record)).unwrap(), record);
    }

    #[test]
    fn versions_are_ordered_by_number_and_go_with_their_function(
        a in "[a-zA-Z0-9_-]{1,20}", more in "[a-z]{1,3}", one in 1u64.., two in 1u64..,
    ) {
        let place = |name| Place { account: "000000000000", region: "us-east-1", name };
        let (first, second) = (Key::Version(place(&a), one).pack(), Key::Version(place(&a), two).pack());
        prop_assert_eq!(first.cmp(&second), one.cmp(&two));
        prop_assert_eq!(last_number(&first).unwrap(), one);
        let longer = format!("{a}{more}");
        let belongs = |key: &Key<'_>| belongings_of(place(&a)).iter().any(|range| range.contains(&key.pack()));
        for key in belongings_of_qualifier(place(&a), &more) {
            prop_assert!(belongs(&key));
        }
        for key in belongings_of_qualifier(place(&longer), &more) {
            prop_assert!(!belongs(&key), "a longer name is another function");
        }
        prop_assert!(!belongs(&Key::VersionCounter(place(&a))), "numbers are never used again");
        let key = Key::Provisioned(place(&a), &more).pack();
        prop_assert_eq!(qualified(&key).unwrap(), ["000000000000", "us-east-1", &a, &more].map(str::to_owned));
    }
}
