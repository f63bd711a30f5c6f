//! ListObjects, ListObjectsV2, ListObjectVersions against a plain model.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// What a listing shows: keys and prefixes in order, and whether there is more.
fn expected(keys: &BTreeSet<String>, prefix: &str, delimiter: &str, after: &str) -> Vec<String> {
    let mut shown = Vec::new();
    for key in keys.iter().filter(|key| key.starts_with(prefix)) {
        let rest = &key[prefix.len()..];
        let entry = match rest.find(delimiter).filter(|_| !delimiter.is_empty()) {
            Some(at) => key[..prefix.len() + at + delimiter.len()].to_owned(),
            None => key.clone(),
        };
        let is_after = key.as_str() > after && entry != after;
        if is_after && shown.last() != Some(&entry) {
            shown.push(entry);
        }
    }
    shown
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn unescaped(text: &str) -> String {
    let text = text.replace('+', " ");
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                bytes.push(
                    u8::from_str_radix(std::str::from_utf8(&rest[..2]).expect("the test holds"), 16)
                        .expect("the test holds"),
                );
                rest = &rest[2..];
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).expect("the test holds")
}

/// All pages of a listing together: sorted entries.
async fn all_pages(s3: &Fixture, prefix: &str, delimiter: &str, size: usize) -> Vec<String> {
    let mut shown = Vec::new();
    let mut token = String::new();
    loop {
        let token_part =
            if token.is_empty() { String::new() } else { format!("&continuation-token={}", escaped(&token)) };
        let line = format!(
            "GET /bkt?list-type=2&encoding-type=url&max-keys={size}&prefix={}&delimiter={}{token_part}",
            escaped(prefix),
            escaped(delimiter)
        );
        let page = s3.ok("ListObjectsV2", &line, &[], "").await;
        let mut entries: Vec<_> = page.all("Key").iter().map(|key| unescaped(key)).collect();
        let common = page.text();
        let prefixes =
            common.split("<CommonPrefixes><Prefix>").skip(1).filter_map(|rest| rest.split("</Prefix>").next());
        entries.extend(prefixes.map(unescaped));
        assert!(entries.len() <= size);
        entries.sort();
        shown.extend(entries);
        if page.one("IsTruncated") != "true" {
            return shown;
        }
        token = page.one("NextContinuationToken");
    }
}

fn names() -> impl Strategy<Value = BTreeSet<String>> {
    prop::collection::btree_set("[ab/é ]{1,6}", 0..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pages_make_the_whole_listing(
        keys in names(), prefix in "[ab/]{0,2}", delimiter in "(/|a|b/|)", size in 1usize..8, gone in names(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the test holds");
        runtime.block_on(async {
            let s3 = fixture().await;
            s3.bucket("bkt").await;
            // Keys that are gone under versioning leave delete markers, which no listing shows.
            s3.versioning("bkt", "Enabled").await;
            for key in gone.iter().chain(&keys) {
                s3.put(&format!("bkt/{}", escaped(key)), "").await;
            }
            for key in gone.difference(&keys) {
                s3.ok("DeleteObject", &format!("DELETE /bkt/{}", escaped(key)), &[], "").await;
            }
            assert_eq!(all_pages(&s3, &prefix, &delimiter, size).await, expected(&keys, &prefix, &delimiter, ""));
        });
    }
}

#[tokio::test]
async fn v1_goes_on_by_marker() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    for key in ["a", "b/1", "b/2", "c", "d"] {
        s3.put(&format!("bkt/{key}"), "x").await;
    }
    let page = s3.ok("ListObjects", "GET /bkt?delimiter=/&max-keys=2", &[], "").await;
    assert_eq!((page.all("Key"), page.one("NextMarker")), (vec!["a".into()], "b/".into()));
    let next = s3.ok("ListObjects", "GET /bkt?delimiter=/&max-keys=2&marker=b/", &[], "").await;
    assert_eq!((next.all("Key"), next.one("IsTruncated")), (vec!["c".into(), "d".into()], "false".into()));
    let plain = s3.ok("ListObjects", "GET /bkt?max-keys=2&marker=b/1", &[], "").await;
    assert_eq!((plain.all("Key"), plain.one("NextMarker")), (vec!["b/2".into(), "c".into()], String::new()));
    let none = s3.ok("ListObjects", "GET /bkt?max-keys=0", &[], "").await;
    assert_eq!((none.all("Key").len(), none.one("IsTruncated")), (0, "false".into()));
    let bad = s3.refused("ListObjects", "GET /bkt?max-keys=-1", &[], "").await;
    assert_eq!(bad, (400, "InvalidArgument".into()));
    let first = s3.ok("ListObjectsV2", "GET /bkt?list-type=2&max-keys=1&continuation-token=", &[], "").await;
    assert_eq!(first.all("Key"), ["a"]);
    assert!(first.text().contains("ContinuationToken"), "an empty token is echoed: {}", first.text());
    let token = s3.refused("ListObjectsV2", "GET /bkt?list-type=2&continuation-token=!", &[], "").await;
    assert_eq!(token, (400, "InvalidArgument".into()));
}

#[tokio::test]
async fn versions_are_paged_within_a_key() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.versioning("bkt", "Enabled").await;
    let mut ids = Vec::new();
    for key in ["a", "a", "a", "b"] {
        ids.push((key.to_owned(), s3.put(&format!("bkt/{key}"), "x").await.header("x-amz-version-id").to_owned()));
    }
    ids[..3].reverse();
    let (mut shown, mut markers) = (Vec::new(), String::new());
    loop {
        let page = s3.ok("ListObjectVersions", &format!("GET /bkt?versions&max-keys=2{markers}"), &[], "").await;
        shown.extend(page.all("Key").into_iter().zip(page.all("VersionId")));
        if page.one("IsTruncated") != "true" {
            break;
        }
        markers =
            format!("&key-marker={}&version-id-marker={}", page.one("NextKeyMarker"), page.one("NextVersionIdMarker"));
    }
    assert_eq!(shown, ids);
}

#[tokio::test]
async fn the_largest_records_are_listed_in_pages_that_the_store_can_read() {
    let s3 = fixture_with_acls().await;
    s3.bucket("bkt").await;
    s3.versioning("bkt", "Enabled").await;
    // As much as one version may carry beside its bytes: 8 KiB of headers, 10 tags, 100 grants.
    let owner = s3.ok("ListBuckets", "GET /", &[], "").await.one("ID");
    let (text, tag) = ("\"".repeat(6_000), "%22".repeat(256));
    let tags: Vec<_> = (0..10).map(|number| format!("{number}={tag}")).collect();
    let grants = vec![format!("id=\"{owner}\""); 100].join(",");
    let (metadata, tags) = ("\"".repeat(2_000), tags.join("&"));
    let headers = [
        ("content-type", &*text),
        ("x-amz-meta-m", &*metadata),
        ("x-amz-tagging", &*tags),
        ("x-amz-grant-read", &*grants),
    ];
    let more = [("content-type", &*text), ("x-amz-meta-m", &*metadata), ("cache-control", &*metadata)];
    assert_eq!(s3.refused("PutObject", "PUT /bkt/k", &more, "").await, (400, "MetadataTooLarge".into()));
    let too_many = [("x-amz-grant-read", &*format!("{grants},id={owner}"))];
    assert_eq!(s3.refused("PutObject", "PUT /bkt/k", &too_many, "").await, (400, "MalformedACLError".into()));
    let count = 400;
    for number in 0..count {
        s3.ok("PutObject", &format!("PUT /bkt/k{number:03}"), &headers, "").await;
        s3.ok("PutObject", "PUT /bkt/same", &headers, "").await;
    }
    let keys = s3.ok("ListObjectsV2", "GET /bkt?list-type=2", &[], "").await;
    assert_eq!(keys.all("Key").len(), count + 1);
    let all = s3.ok("ListObjectVersions", "GET /bkt?versions&prefix=same", &[], "").await.all("VersionId");
    assert_eq!(all.len(), count);
    // From any version on, page by page.
    for marker in [0, 1, 130, 399] {
        let line = format!("GET /bkt?versions&prefix=same&key-marker=same&version-id-marker={}", all[marker]);
        assert_eq!(s3.ok("ListObjectVersions", &line, &[], "").await.all("VersionId"), all[marker + 1..], "{marker}");
    }
    let report = s3::jobs::scrub(&s3.s3).await.expect("the store can read it");
    assert_eq!((report.versions, report.damaged.len()), (2 * count as u64, 0));
}

#[tokio::test]
async fn names_come_percent_encoded_when_asked_for() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.put("bkt/a%20b%2Bc/d", "x").await;
    let line = "GET /bkt?list-type=2&encoding-type=url&prefix=a%20b&start-after=a%20a";
    let listed = s3.ok("ListObjectsV2", line, &[], "").await;
    assert_eq!(listed.all("Prefix"), ["a%20b"]);
    assert_eq!((listed.one("StartAfter"), listed.one("Key")), ("a%20a".into(), "a%20b%2Bc/d".into()));
    let line = "GET /bkt?versions&encoding-type=url&delimiter=/&prefix=a%20";
    assert_eq!(s3.ok("ListObjectVersions", line, &[], "").await.all("Prefix"), ["a%20b%2Bc/", "a%20"]);
    let line = "GET /bkt?encoding-type=url&prefix=%0A";
    assert_eq!(s3.ok("ListObjects", line, &[], "").await.one("Prefix"), "%0A");
}
