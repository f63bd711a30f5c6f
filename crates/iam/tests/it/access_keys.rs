use kv::key::{Element, pack, subspace};

use crate::{ALLOW_ALL, cx, fixture, text, texts};

#[tokio::test]
async fn i8_a_key_that_is_switched_off_or_deleted_fails_at_once() {
    let at = fixture().await;
    let (id, _) = at.user("ann").await;
    let (who, key) = (("UserName", "ann"), ("AccessKeyId", id.as_str()));
    let is_known = async || at.iam.credential(&id, None).await.expect("answers").is_some();
    assert!(is_known().await);
    at.ok("UpdateAccessKey", &[who, key, ("Status", "Inactive")]).await;
    assert!(!is_known().await);
    assert_eq!(text(&at.ok("ListAccessKeys", &[who]).await, "Status"), "Inactive");
    at.ok("UpdateAccessKey", &[who, key, ("Status", "Active")]).await;
    assert!(is_known().await);
    at.ok("DeleteAccessKey", &[who, key]).await;
    assert!(!is_known().await);
    assert_eq!(at.refused("DeleteAccessKey", &[who, key]).await.1, "NoSuchEntity");
}

#[tokio::test]
async fn two_keys_each_and_only_the_first_answer_shows_the_secret() {
    let at = fixture().await;
    let (id, ann) = at.user("ann").await;
    // Without a name: the caller's own.
    let (status, second) = at.call_as(cx(ann), "CreateAccessKey", &[]).await;
    assert_eq!((status, text(&second, "UserName").as_str()), (200, "ann"));
    let third = at.refused("CreateAccessKey", &[("UserName", "ann")]).await;
    assert_eq!(third, (409, "LimitExceeded".into(), "Cannot exceed quota for AccessKeysPerUser: 2".into()));
    let listed = at.ok("ListAccessKeys", &[("UserName", "ann")]).await;
    assert!(texts(&listed, "AccessKeyId").contains(&id) && !listed.contains("Secret"), "{listed}");
    let found = at.iam.credential(&id, None).await.expect("answers").expect("known");
    let secret = found.credential.secret.expose().to_owned();
    assert!(!format!("{found:?}").contains(&secret), "Debug shows no secret");
}

#[tokio::test]
async fn the_last_use_of_a_key_is_remembered() {
    let at = fixture().await;
    let (id, _) = at.user("ann").await;
    let ask = [("AccessKeyId", id.as_str())];
    assert_eq!(text(&at.ok("GetAccessKeyLastUsed", &ask).await, "ServiceName"), "N/A");
    at.iam.note_use(&id, "eu-west-1", "s3").await.expect("noted");
    at.iam.note_use(&id, "us-east-1", "sqs").await.expect("too soon to note");
    let used = at.ok("GetAccessKeyLastUsed", &ask).await;
    assert_eq!((text(&used, "ServiceName").as_str(), text(&used, "Region").as_str()), ("s3", "eu-west-1"));
    assert_eq!(text(&used, "LastUsedDate"), "2023-11-14T22:13:20Z");
}

#[tokio::test]
async fn a_user_with_an_old_name_gets_no_old_keys() {
    let at = fixture().await;
    let (id, old) = at.user("ann").await;
    at.ok("UpdateUser", &[("UserName", "ann"), ("NewUserName", "bea")]).await;
    at.ok("CreateUser", &[("UserName", "ann")]).await;
    at.ok("PutUserPolicy", &[("UserName", "ann"), ("PolicyName", "p"), ("PolicyDocument", ALLOW_ALL)]).await;
    assert!(at.may(&old, "s3:GetObject").await.is_err(), "the new ann's policies are not the old one's");
    let found = at.iam.credential(&id, None).await.expect("answers").expect("the key went along with the user");
    assert_eq!(found.principal.arn(), "arn:aws:iam::123456789012:user/bea");
}

#[tokio::test]
async fn a_users_keys_are_found_without_reading_anybody_elses() {
    let at = fixture().await;
    let (id, _) = at.user("ann").await;
    // Another account's key that cannot even be read.
    let other = pack(&["iam".into(), Element::Uint(3), "AKIAOTHER".into()]);
    let damage = |tx: kv::Txn| {
        tx.set(&other, "damaged");
        std::future::ready(Ok::<_, kv::Error>(()))
    };
    at.kv.transact(damage).await.expect("written");
    let who = ("UserName", "ann");
    assert_eq!(texts(&at.ok("ListAccessKeys", &[who]).await, "AccessKeyId"), std::slice::from_ref(&id));
    assert_eq!(at.refused("DeleteUser", &[who]).await.1, "DeleteConflict");
    at.ok("UpdateUser", &[who, ("NewUserName", "bea")]).await;
    let who = ("UserName", "bea");
    at.ok("DeleteAccessKey", &[who, ("AccessKeyId", &id)]).await;
    assert_eq!(texts(&at.ok("ListAccessKeys", &[who]).await, "AccessKeyId"), [""; 0]);
    at.ok("DeleteUser", &[who]).await;
}

#[tokio::test]
async fn keys_of_an_older_program_are_entered_with_their_users_once() {
    let at = fixture().await;
    let (id, _) = at.user("ann").await;
    let (entries, done) = (subspace(&["iam".into(), Element::Uint(10)]), pack(&["iam".into(), Element::Uint(11)]));
    let forget = |tx: kv::Txn| {
        tx.clear_range(&entries.begin, &entries.end);
        tx.clear(&done);
        std::future::ready(Ok::<_, kv::Error>(()))
    };
    at.kv.transact(forget).await.expect("written");
    let listed = async || texts(&at.ok("ListAccessKeys", &[("UserName", "ann")]).await, "AccessKeyId");
    assert!(listed().await.is_empty());
    for _ in 0..2 {
        iam::Iam::open(at.kv.clone(), at.clock.clone(), sys::Rng::seeded(9)).await.expect("opens");
        assert_eq!(listed().await, std::slice::from_ref(&id));
    }
}

/// Anybody may send one: it is unknown, whatever its length, and no failure of the store.
#[tokio::test]
async fn an_access_key_id_longer_than_a_key_of_the_store_is_unknown() {
    let at = fixture().await;
    for length in [129, 20_000] {
        let found = at.iam.credential(&"A".repeat(length), None).await;
        assert!(matches!(found, Ok(None)), "{length}");
    }
}
