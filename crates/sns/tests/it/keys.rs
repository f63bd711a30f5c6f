//! Every key comes back from its bytes, and keys of one kind do not mix with others.

use proptest::prelude::*;
use sns::TopicName;
use sns::keys::Key;

fn topic() -> impl Strategy<Value = TopicName> {
    ("[0-9]{12}", "[a-z0-9-]{1,12}", "[A-Za-z0-9_-]{1,20}(\\.fifo)?").prop_map(|(account, region, name)| TopicName {
        account,
        region,
        name,
    })
}

fn key() -> impl Strategy<Value = Key> {
    let text = || any::<String>();
    prop_oneof![
        topic().prop_map(Key::Topic),
        (topic(), any::<u64>()).prop_map(|(topic, number)| Key::Subscription(topic, number)),
        (text(), text(), topic(), any::<u64>())
            .prop_map(|(owner, region, topic, n)| Key::Owned(owner, region, topic, n)),
        (topic(), text(), text()).prop_map(|(topic, protocol, endpoint)| Key::Endpoint(topic, protocol, endpoint)),
        text().prop_map(Key::Token),
        (topic(), text(), text()).prop_map(|(topic, group, id)| Key::Duplicate(topic, group, id)),
        (topic(), any::<i64>(), text(), text())
            .prop_map(|(topic, end, group, id)| Key::DuplicateEnd(topic, end, group, id)),
        topic().prop_map(Key::Sequence),
        (topic(), any::<i64>(), text()).prop_map(|(topic, end, token)| Key::TokenEnd(topic, end, token)),
        (topic(), text(), text()).prop_map(|(topic, protocol, endpoint)| Key::Offer(topic, protocol, endpoint)),
        (text(), text()).prop_map(|(account, region)| Key::Sms(account, region)),
        Just(Key::SigningKey),
    ]
}

proptest! {
    #[test]
    fn keys_survive_the_round_trip(key in key()) {
        prop_assert_eq!(Key::unpack(&key.pack()).expect("a key of ours"), key);
    }

    #[test]
    fn different_keys_have_different_bytes(a in key(), b in key()) {
        prop_assert_eq!(a == b, a.pack() == b.pack());
    }
}

#[test]
fn foreign_bytes_are_no_keys() {
    for bytes in
        [&b""[..], b"x", &kv::key::pack(&["sqs".into(), 1_u64.into()]), &kv::key::pack(&["sns".into(), 99_u64.into()])]
    {
        assert!(Key::unpack(bytes).is_err(), "{bytes:?}");
    }
}
