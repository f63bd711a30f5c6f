//! What authorisation is asked about: actions, resources, condition keys, facts. test:G10.

use wire::permission::ConditionKeys;

use super::*;

impl Fixture {
    /// Actions with their resources, as the pipeline asks them.
    fn asked(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Vec<String> {
        let (method, target) = line.split_once(' ').expect("the test holds");
        let mut request = http::Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("the test holds").into_parts();
        let body = Bytes::from(body.to_owned());
        let line = self
            .service
            .identify(Protocol::RestXml, &parts, &body)
            .map_err(|error| error.message)
            .expect("the test holds");
        let input = self
            .service
            .decode(line, Protocol::RestXml, &parts, &body)
            .map_err(|error| error.message)
            .expect("the test holds");
        let asked = line.permissions(&cx_of(ACCOUNT), &input);
        let shown = asked.into_iter().flat_map(|one| {
            let keys: Vec<_> = one.keys.iter().map(|(name, values)| format!("{name}={}", values.join(","))).collect();
            one.resources.0.into_iter().map(move |arn| {
                format!("{} {} {}", one.action, arn.trim_start_matches("arn:aws:s3:::"), keys.join(" "))
                    .trim_end()
                    .to_owned()
            })
        });
        shown.collect()
    }

    /// Exactly these are asked, each with the condition keys that are named.
    fn is_asked(&self, line: &str, headers: &[(&str, &str)], body: &str, expected: &[&str]) {
        let asked = self.asked(line, headers, body);
        for one in expected {
            let (what, keys) = one.match_indices(' ').nth(1).map_or((*one, ""), |(at, _)| one.split_at(at));
            let found = asked.iter().find(|asked| **asked == what || asked.starts_with(&format!("{what} ")));
            let found = found.unwrap_or_else(|| panic!("{line}: {what} is not asked: {asked:?}"));
            for key in keys.split_whitespace() {
                assert!(found.split(' ').any(|has| has == key), "{line}: {key} is missing in {found}");
            }
        }
        assert_eq!(asked.len(), expected.len(), "{line}: {asked:?}");
    }
}

#[tokio::test]
async fn g10_sources_versions_and_what_rides_along_are_all_asked_about() {
    let s3 = fixture().await;
    for (line, headers, body, expected) in [
        ("GET /b/k", &[][..], "", &["s3:GetObject b/k"][..]),
        ("GET /b/k?versionId=1", &[], "", &["s3:GetObjectVersion b/k s3:VersionId=1"]),
        ("HEAD /b/k?versionId=1", &[], "", &["s3:GetObjectVersion b/k s3:VersionId=1"]),
        ("DELETE /b/k?versionId=1", &[], "", &["s3:DeleteObjectVersion b/k s3:VersionId=1"]),
        (
            "DELETE /b/k",
            &[("x-amz-bypass-governance-retention", "true")],
            "",
            &["s3:DeleteObject b/k", "s3:BypassGovernanceRetention b/k"],
        ),
        (
            "PUT /b/k",
            &[("x-amz-tagging", "a=1"), ("x-amz-acl", "public-read")],
            "",
            &[
                "s3:PutObject b/k s3:x-amz-acl=public-read s3:RequestObjectTag/a=1 s3:RequestObjectTagKeys=a",
                "s3:PutObjectTagging b/k s3:x-amz-acl=public-read s3:RequestObjectTag/a=1 s3:RequestObjectTagKeys=a",
                "s3:PutObjectAcl b/k s3:x-amz-acl=public-read s3:RequestObjectTag/a=1 s3:RequestObjectTagKeys=a",
            ],
        ),
        (
            "PUT /b/k?partNumber=1&uploadId=u",
            &[("x-amz-copy-source", "/other/source")],
            "",
            &["s3:PutObject b/k s3:x-amz-copy-source=other/source", "s3:GetObject other/source"],
        ),
        ("GET /b?list-type=2&prefix=p&max-keys=5", &[], "", &["s3:ListBucket b s3:prefix=p s3:max-keys=5"]),
        ("GET /b?versions&prefix=p", &[], "", &["s3:ListBucketVersions b s3:prefix=p"]),
        ("GET /", &[], "", &["s3:ListAllMyBuckets *"]),
        (
            "POST /b?delete",
            &[],
            "<Delete><Object><Key>x</Key></Object><Object><Key>y</Key><VersionId>1</VersionId></Object></Delete>",
            &["s3:DeleteObject b/x", "s3:DeleteObjectVersion b/y"],
        ),
    ] {
        s3.is_asked(line, headers, body, expected);
    }
    let copy = s3.asked("PUT /b/k", &[("x-amz-copy-source", "s/k%20e?versionId=7")], "");
    for action in ["s3:PutObject b/k", "s3:GetObjectVersion s/k e", "s3:GetObjectVersionTagging s/k e"] {
        assert!(copy.iter().any(|asked| asked.starts_with(action)), "{action}: {copy:?}");
    }
}

#[tokio::test]
async fn g10_versions_are_named_in_every_question_about_them() {
    let s3 = fixture().await;
    for (line, headers, body, expected) in [
        (
            "PUT /b/k?retention&versionId=1",
            &[("x-amz-bypass-governance-retention", "true")][..],
            // In ten days.
            "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2023-11-24T22:13:20Z</RetainUntilDate></Retention>",
            &[
                "s3:PutObjectRetention b/k s3:VersionId=1 s3:object-lock-mode=GOVERNANCE \
                 s3:object-lock-remaining-retention-days=10",
                "s3:BypassGovernanceRetention b/k s3:VersionId=1 s3:object-lock-mode=GOVERNANCE",
            ][..],
        ),
        ("GET /b/k?retention&versionId=1", &[], "", &["s3:GetObjectRetention b/k s3:VersionId=1"]),
        ("GET /b/k?legal-hold&versionId=1", &[], "", &["s3:GetObjectLegalHold b/k s3:VersionId=1"]),
        ("GET /b/k?tagging&versionId=1", &[], "", &["s3:GetObjectVersionTagging b/k s3:VersionId=1"]),
        ("DELETE /b/k?tagging&versionId=1", &[], "", &["s3:DeleteObjectVersionTagging b/k s3:VersionId=1"]),
        ("GET /b/k?acl&versionId=1", &[], "", &["s3:GetObjectVersionAcl b/k s3:VersionId=1"]),
        (
            "GET /b/k?attributes&versionId=1",
            &[("x-amz-object-attributes", "ETag")],
            "",
            &["s3:GetObjectVersionAttributes b/k s3:VersionId=1", "s3:GetObjectVersion b/k"],
        ),
    ] {
        s3.is_asked(line, headers, body, expected);
    }
}

#[tokio::test]
async fn g10_policies_tell_what_makes_an_object_and_on_which_conditions() {
    let s3 = fixture().await;
    let copying = [("x-amz-copy-source", "o/s"), ("if-none-match", "*")];
    let complete = "<CompleteMultipartUpload/>";
    for (line, headers, body, makes) in [
        ("PUT /b/k", &copying[1..], "", true),
        ("PUT /b/k", &copying[..], "", true),
        ("POST /b/k?uploadId=u", &copying[1..], complete, true),
        ("POST /b/k?uploads", &[], "", false),
        ("PUT /b/k?partNumber=1&uploadId=u", &[], "", false),
        ("PUT /b/k?partNumber=1&uploadId=u", &copying[..1], "", false),
    ] {
        let asked = s3.asked(line, headers, body);
        let expected = format!("s3:ObjectCreationOperation={makes}");
        assert!(asked[0].starts_with("s3:PutObject b/k ") && asked[0].contains(&expected), "{line}: {asked:?}");
        assert_eq!(asked[0].contains("s3:if-none-match=*"), makes, "{line}: {asked:?}");
    }
}

#[tokio::test]
async fn facts_tell_owner_policy_acls_and_tags() {
    let s3 = fixture_with_acls().await;
    s3.bucket("bkt").await;
    let bare = s3.service.facts_of("arn:aws:s3:::bkt").await.expect("the test holds");
    assert_eq!((bare.owner.map(|owner| owner.to_string()), bare.policy), (Some(ACCOUNT.to_owned()), None));
    s3.ok("PutObject", "PUT /bkt/k", &[("x-amz-acl", "public-read"), ("x-amz-tagging", "a=1")], "x").await;
    let facts = s3.service.facts_of("arn:aws:s3:::bkt/k").await.expect("the test holds");
    assert_eq!(facts.tags, [("a".to_owned(), "1".to_owned())]);
    let policy = facts.policy.expect("the ACL speaks");
    assert!(policy.contains("s3:GetObject") && policy.contains("\"Principal\":\"*\""), "{policy}");
    let block =
        "<PublicAccessBlockConfiguration><IgnorePublicAcls>true</IgnorePublicAcls></PublicAccessBlockConfiguration>";
    s3.ok("PutPublicAccessBlock", "PUT /bkt?publicAccessBlock", &[], block).await;
    let policy = s3.service.facts_of("arn:aws:s3:::bkt/k").await.expect("the test holds").policy.unwrap_or_default();
    assert!(!policy.contains("\"Principal\":\"*\""), "public ACLs are ignored: {policy}");
    assert_eq!(s3.service.facts_of("arn:aws:s3:::none/k").await.expect("the test holds").owner, None);
}

/// What is remembered of the last bucket is never older than its records.
#[tokio::test]
async fn i8_facts_follow_every_change_of_the_last_bucket_that_was_asked_about() {
    let s3 = fixture_with_acls().await;
    let policy = |sid: &str, bucket: &str| {
        format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Sid":"{sid}","Effect":"Allow","Principal":{{"AWS":"{OTHER}"}},
            "Action":"s3:GetObject","Resource":"arn:aws:s3:::{bucket}/*"}}]}}"#
        )
    };
    let put = async |sid: &str, bucket: &str| {
        s3.ok("PutBucketPolicy", &format!("PUT /{bucket}?policy"), &[], policy(sid, bucket)).await;
    };
    let told = async |path: &str| s3.service.facts_of(&format!("arn:aws:s3:::{path}")).await.expect("told").policy;
    for bucket in ["one", "two"] {
        s3.bucket(bucket).await;
        put("First", bucket).await;
    }
    for path in ["one", "one/k", "two/k", "one/k", "two"] {
        let policy = told(path).await.unwrap_or_default();
        assert!(
            policy.contains("First") && policy.contains(path.split('/').next().unwrap_or_default()),
            "{path}: {policy}"
        );
    }
    put("Second", "one").await;
    assert!(told("one/k").await.unwrap_or_default().contains("Second"));
    assert_eq!(told("one/k").await, told("one/j").await);
    s3.ok("PutObject", "PUT /one/k", &[("x-amz-acl", "public-read")], "x").await;
    assert!(told("one/k").await.unwrap_or_default().contains("s3:GetObjectVersion"), "its own ACL counts");
    assert!(!told("one/j").await.unwrap_or_default().contains("s3:GetObjectVersion"));
    s3.ok("DeleteBucketPolicy", "DELETE /one?policy", &[], "").await;
    assert_eq!(told("one/j").await, None);
    s3.ok("DeleteObject", "DELETE /one/k", &[], "").await;
    s3.ok("DeleteBucket", "DELETE /one", &[], "").await;
    assert_eq!(s3.service.facts_of("arn:aws:s3:::one/k").await.expect("told").owner, None);
    s3.send_as(cx_of(OTHER), "CreateBucket", "PUT /one", &[], Bytes::new()).await;
    let owner = s3.service.facts_of("arn:aws:s3:::one/k").await.expect("told").owner;
    assert_eq!(owner.map(|owner| owner.to_string()), Some(OTHER.to_owned()));
}

#[tokio::test]
async fn g10_each_version_has_its_own_acl_and_tags() {
    let s3 = fixture_with_acls().await;
    s3.bucket("bkt").await;
    s3.versioning("bkt", "Enabled").await;
    let put = async |headers: &'static [(&str, &str)]| {
        s3.ok("PutObject", "PUT /bkt/k", headers, "x").await.header("x-amz-version-id").to_owned()
    };
    let private = put(&[("x-amz-tagging", "secret=yes")]).await;
    let public = put(&[("x-amz-acl", "public-read")]).await;
    let facts = async |id: Option<&str>| {
        let keys = ConditionKeys::new().with_some("s3:VersionId", id);
        s3.service.facts_in("arn:aws:s3:::bkt/k", &keys).await.expect("the test holds")
    };
    let is_open =
        |facts: &wire::ResourceFacts| facts.policy.iter().any(|policy| policy.contains("\"Principal\":\"*\""));
    let (of_private, of_public, of_current) =
        (facts(Some(&private)).await, facts(Some(&public)).await, facts(None).await);
    assert!(!is_open(&of_private), "the newer version's ACL opened the older: {of_private:?}");
    assert_eq!(of_private.tags, [("secret".to_owned(), "yes".to_owned())]);
    assert!(is_open(&of_public) && of_public.tags.is_empty(), "{of_public:?}");
    assert!(is_open(&of_current), "{of_current:?}");
    // No such version: nobody is granted anything by it, and the bucket's owner is still told.
    let of_none = facts(Some("ffffffffffffffffffffffffffffffff")).await;
    assert!(!is_open(&of_none) && of_none.owner.is_some(), "{of_none:?}");
    let body = format!(
        "<Delete><Object><Key>k</Key><VersionId>{private}</VersionId></Object>\
         <Object><Key>k</Key><VersionId>{public}</VersionId></Object></Delete>"
    );
    let asked = s3.asked("POST /bkt?delete", &[], &body);
    let expected = [private, public].map(|id| format!("s3:DeleteObjectVersion bkt/k s3:VersionId={id}"));
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn g10_policies_see_what_a_write_asks_for_whichever_way_it_comes() {
    let s3 = fixture().await;
    let headers = [
        ("x-amz-acl", "private"),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "key"),
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-storage-class", "GLACIER"),
        ("x-amz-website-redirect-location", "/to"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-retain-until-date", "2023-11-24T22:13:20.5Z"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-grant-read", "id=x"),
        ("x-amz-tagging", "team=a"),
        ("x-amz-tagging-directive", "REPLACE"),
        ("x-amz-copy-source", "other/source"),
    ];
    let keys = [
        "s3:x-amz-acl=private",
        "s3:x-amz-server-side-encryption=aws:kms",
        "s3:x-amz-server-side-encryption-aws-kms-key-id=key",
        "s3:x-amz-server-side-encryption-customer-algorithm=AES256",
        "s3:x-amz-storage-class=GLACIER",
        "s3:x-amz-website-redirect-location=/to",
        "s3:object-lock-mode=COMPLIANCE",
        "s3:object-lock-retain-until-date=2023-11-24T22:13:20Z",
        "s3:object-lock-remaining-retention-days=11",
        "s3:object-lock-legal-hold=ON",
        "s3:x-amz-grant-read=id=x",
        "s3:RequestObjectTag/team=a",
        "s3:RequestObjectTagKeys=team",
    ];
    let rights = ["s3:PutObjectTagging", "s3:PutObjectAcl", "s3:PutObjectRetention", "s3:PutObjectLegalHold"];
    let (copying, others) = (&headers[..], &headers[..headers.len() - 2]);
    for (line, headers) in [("PUT /b/k", others), ("PUT /b/k", copying), ("POST /b/k?uploads", others)] {
        let asked = s3.asked(line, headers, "");
        assert!(asked[0].starts_with("s3:PutObject b/k "), "{line}: {asked:?}");
        for key in keys {
            assert!(asked[0].split(' ').any(|one| one == key), "{line}: {key} is missing in {}", asked[0]);
        }
        for right in rights {
            let riding = asked.iter().find(|one| one.starts_with(&format!("{right} b/k ")));
            let riding = riding.unwrap_or_else(|| panic!("{line}: {right}: {asked:?}"));
            // A denial of PutObjectAcl for `public-read` is not passed by writing the object with that header.
            for key in keys.into_iter().chain(["tinderbox:RidesOn=s3:PutObject"]) {
                assert!(riding.split(' ').any(|one| one == key), "{line}: {key} is missing in {riding}");
            }
        }
    }
    // A copy keeps its source's tags unless it says so: those that came along do not count.
    let kept = s3.asked("PUT /b/k", &[("x-amz-copy-source", "o/s"), ("x-amz-tagging", "team=a")], "");
    assert!(!kept.iter().any(|one| one.contains("RequestObjectTag")), "{kept:?}");
}

#[tokio::test]
async fn g10_policies_see_what_a_new_bucket_is_to_be() {
    let s3 = fixture().await;
    let body = "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint>\
                <Tags><Tag><Key>team</Key><Value>a</Value></Tag></Tags></CreateBucketConfiguration>";
    let headers =
        [("x-amz-acl", "public-read"), ("x-amz-object-ownership", "ObjectWriter"), ("x-amz-grant-write", "id=x")];
    let asked = s3.asked("PUT /b", &headers, body);
    for key in [
        "s3:x-amz-acl=public-read",
        "s3:x-amz-object-ownership=ObjectWriter",
        "s3:locationconstraint=eu-west-1",
        "aws:RequestTag/team=a",
        "aws:TagKeys=team",
        "s3:x-amz-grant-write=id=x",
    ] {
        assert!(asked[0].starts_with("s3:CreateBucket b ") && asked[0].contains(key), "{key}: {asked:?}");
    }
    for (right, key) in [
        ("s3:PutBucketAcl b ", "s3:x-amz-acl=public-read"),
        ("s3:PutBucketAcl b ", "s3:x-amz-grant-write=id=x"),
        ("s3:PutBucketOwnershipControls b ", "s3:x-amz-object-ownership=ObjectWriter"),
        ("s3:TagResource b ", "aws:RequestTag/team=a"),
        ("s3:TagResource b ", "aws:TagKeys=team"),
    ] {
        let riding = asked.iter().find(|one| one.starts_with(right));
        assert!(riding.is_some_and(|one| one.split(' ').any(|has| has == key)), "{right} {key}: {asked:?}");
    }
    assert_eq!(s3.asked("PUT /b", &[], ""), ["s3:CreateBucket b"]);
}

#[tokio::test]
async fn nobody_is_asked_about_more_keys_than_a_request_may_name() {
    let s3 = fixture().await;
    let request = http::Request::post("/bkt?delete").body(()).expect("the test holds");
    let (parts, ()) = request.into_parts();
    for (count, code) in [(1_000, None), (1_001, Some("MalformedXML")), (1_500, Some("MalformedXML"))] {
        let keys: String = (0..count).map(|number| format!("<Object><Key>{number}</Key></Object>")).collect();
        let body = Bytes::from(format!("<Delete>{keys}</Delete>"));
        let line = s3.service.identify(Protocol::RestXml, &parts, &body).expect("DeleteObjects");
        // Decoding comes before authorisation.
        let refused = s3.service.decode(line, Protocol::RestXml, &parts, &body).err();
        assert_eq!(refused.map(|error| error.code.into_owned()).as_deref(), code, "{count} keys");
    }
}

#[tokio::test]
async fn g10_tags_that_a_source_does_not_have_need_no_right() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.put("bkt/bare", "x").await;
    s3.ok("PutObject", "PUT /bkt/tagged", &[("x-amz-tagging", "a=1")], "x").await;
    let line = s3.service.line("CopyObject").expect("it is served");
    for (key, moot) in [("bare", true), ("tagged", false)] {
        let resource = format!("arn:aws:s3:::bkt/{key}");
        for (action, may_be_moot) in [("s3:GetObjectTagging", true), ("s3:GetObject", false)] {
            let facts = s3.service.facts_of(&resource).await.expect("the test holds");
            let asked = wire::Asked { action, resource: resource.clone(), keys: ConditionKeys::new(), facts };
            assert_eq!((line.is_moot)(&asked), moot && may_be_moot, "{action} {key}");
        }
    }
}

#[tokio::test]
async fn g10_tags_that_came_after_the_question_are_not_copied() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.put("bkt/from", "x").await;
    // Authorisation found no tags and did not ask about reading them; then somebody set some.
    let unasked = Cx { unasked: vec!["s3:GetObjectTagging"], ..cx_of(ACCOUNT) };
    let tags = "<Tagging><TagSet><Tag><Key>secret</Key><Value>1</Value></Tag></TagSet></Tagging>";
    s3.ok("PutObjectTagging", "PUT /bkt/from?tagging", &[], tags).await;
    let from = [("x-amz-copy-source", "bkt/from"), ("x-amz-tagging-directive", "REPLACE")];
    let copy = async |cx: Cx, headers: &[(&str, &str)]| {
        let answer = s3.send_as(cx, "CopyObject", "PUT /bkt/to", headers, Bytes::new()).await;
        (answer.status, answer.one("Code"))
    };
    assert_eq!(copy(unasked.clone(), &from[..1]).await, (403, "AccessDenied".to_owned()));
    assert_eq!(s3.get("bkt/to").await, None);
    assert_eq!(copy(unasked, &from).await.0, 200, "no tag is read");
    assert_eq!(copy(cx_of(ACCOUNT), &from[..1]).await.0, 200, "the right to read them was there");
}

#[tokio::test]
async fn facts_tell_what_is_absent_and_who_may_know() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.put("bkt/k", "x").await;
    s3.versioning("bkt", "Enabled").await;
    let marker = s3.ok("DeleteObject", "DELETE /bkt/gone", &[], "").await.header("x-amz-version-id").to_owned();
    for (path, version, told) in [
        ("bkt/gone", None, Some(("NoSuchKey", Some("gone")))),
        ("bkt/gone", Some(marker.as_str()), None),
        ("bkt", None, None),
        ("bkt/k", None, None),
        ("none", None, Some(("NoSuchBucket", None))),
        ("none/k", None, Some(("NoSuchBucket", None))),
        ("bkt/a/b", None, Some(("NoSuchKey", Some("a/b")))),
        ("bkt/k", Some("no-version"), Some(("NoSuchVersion", Some("k")))),
    ] {
        let keys = ConditionKeys::new().with_some("s3:VersionId", version);
        let facts = s3.service.facts_in(&format!("arn:aws:s3:::{path}"), &keys).await.expect("the test holds");
        let absence = facts.absence.as_deref();
        let listing = absence.and_then(|absence| absence.known_to.as_ref());
        assert_eq!(absence.map(|one| (one.code, listing.and_then(|may| may.keys.one("s3:prefix")))), told, "{path}");
        assert!(listing.is_none_or(|may| may.action == "s3:ListBucket" && may.resources.0 == ["arn:aws:s3:::bkt"]));
    }
    let reads = ["s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectAttributes"];
    for (operation, makes, tells) in [
        ("CreateBucket", true, false),
        ("GetObject", false, true),
        ("HeadObject", false, true),
        ("GetObjectAttributes", false, true),
        // The destination need not be there; the source is read.
        ("CopyObject", false, true),
        ("UploadPartCopy", false, true),
        ("PutObject", false, false),
        ("DeleteObject", false, false),
    ] {
        let line = s3.service.line(operation).expect("it is served");
        assert_eq!(line.makes_resource, makes, "{operation}");
        for action in reads.into_iter().chain(["s3:PutObject", "s3:DeleteObject"]) {
            let (resource, keys) = ("arn:aws:s3:::bkt/none".to_owned(), ConditionKeys::new());
            let asked = wire::Asked { action, resource, keys, facts: wire::ResourceFacts::default() };
            assert_eq!((line.tells_absence)(&asked), tells && reads.contains(&action), "{operation} {action}");
        }
    }
}

#[tokio::test]
async fn an_open_buckets_writers_choose_acl_and_tags_with_the_write_only() {
    let s3 = fixture_with_acls().await;
    s3.ok("CreateBucket", "PUT /bkt", &[("x-amz-acl", "public-read-write")], "").await;
    let policy = s3.service.facts_of("arn:aws:s3:::bkt/k").await.expect("the test holds").policy.expect("its ACL");
    let policy: serde_json::Value = serde_json::from_str(&policy).expect("JSON");
    let grants = |action: &str| {
        let statements = policy["Statement"].as_array().expect("statements").iter();
        let of_everybody = statements.filter(|one| one["Principal"] == "*");
        let of_action =
            of_everybody.filter(|one| one["Action"].as_array().is_some_and(|all| all.contains(&action.into())));
        of_action.map(|one| one["Condition"].to_string()).collect::<Vec<_>>()
    };
    let riding = r#"{"StringEquals":{"tinderbox:RidesOn":"s3:PutObject"}}"#;
    assert_eq!(grants("s3:PutObject"), ["{}"]);
    assert_eq!((grants("s3:PutObjectAcl"), grants("s3:PutObjectTagging")), (vec![riding.into()], vec![riding.into()]));
    assert_eq!(grants("s3:DeleteObject"), ["{}"]);
    // User guide, "Access control list (ACL) overview", "Mapping of ACL permissions and access policy permissions".
    for others in ["s3:DeleteObjectVersion", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"] {
        assert!(grants(others).is_empty(), "{others}: {policy}");
    }
    let with = s3.asked("PUT /bkt/k", &[("x-amz-acl", "public-read")], "");
    let riding = with.iter().find(|one| one.starts_with("s3:PutObjectAcl bkt/k ")).expect("it is asked");
    for key in ["s3:x-amz-acl=public-read", "tinderbox:RidesOn=s3:PutObject"] {
        assert!(riding.split(' ').any(|one| one == key), "{key}: {with:?}");
    }
    let alone = s3.asked("PUT /bkt/k?acl", &[("x-amz-acl", "public-read")], "");
    assert!(alone.iter().all(|one| !one.contains("RidesOn")), "{alone:?}");
}

#[tokio::test]
async fn who_starts_an_upload_may_list_and_abort_it_and_no_other() {
    let s3 = fixture_with_acls().await;
    s3.ok("CreateBucket", "PUT /bkt", &[("x-amz-acl", "public-read-write")], "").await;
    let begin = async |cx: Cx| {
        let begun = s3.send_as(cx, "CreateMultipartUpload", "POST /bkt/k?uploads", &[], Bytes::new()).await;
        begun.one("UploadId")
    };
    let (others, strangers) = (begin(cx_of(OTHER)).await, begin(stranger()).await);
    for (operation, method) in [("s3:AbortMultipartUpload", "DELETE"), ("s3:ListMultipartUploadParts", "GET")] {
        let asked = s3.asked(&format!("{method} /bkt/k?uploadId={others}"), &[], "");
        assert_eq!(asked, [format!("{operation} bkt/k tinderbox:UploadId={others}")]);
    }
    let initiator = async |id: &str| {
        let keys = ConditionKeys::new().with("tinderbox:UploadId", id);
        let facts = s3.service.facts_in("arn:aws:s3:::bkt/k", &keys).await.expect("the test holds");
        let policy: serde_json::Value = serde_json::from_str(&facts.policy.expect("its ACL")).expect("JSON");
        let statements = policy["Statement"].as_array().expect("statements").clone();
        let aborting = statements.into_iter().filter(|one| one["Action"].to_string().contains("s3:AbortMultipart"));
        let told = |one: serde_json::Value| {
            (one["Principal"]["AWS"].as_str().unwrap_or("*").to_owned(), one["Condition"].clone())
        };
        aborting.map(told).collect::<Vec<_>>()
    };
    // The root user, and nobody else of its account.
    let alone = serde_json::json!({ "StringEquals": { "aws:PrincipalType": "Account" } });
    assert_eq!(initiator(&others).await, [(format!("arn:aws:iam::{OTHER}:root"), alone)]);
    let user = Cx {
        principal: wire::Principal::User {
            account: wire::AccountId::parse(OTHER).expect("an account"),
            arn: format!("arn:aws:iam::{OTHER}:user/u"),
            id: "AIDA".into(),
            name: "u".into(),
            session: None,
        },
        ..cx_of(OTHER)
    };
    let users = begin(user).await;
    assert_eq!(initiator(&users).await, [(format!("arn:aws:iam::{OTHER}:user/u"), serde_json::json!({}))]);
    assert!(initiator(&strangers).await.is_empty(), "a stranger is nobody in particular");
    assert!(initiator("another").await.is_empty());
}

fn stranger() -> Cx {
    Cx { principal: wire::Principal::Anonymous, ..cx_of(OTHER) }
}

#[tokio::test]
async fn what_a_stranger_writes_belongs_to_the_buckets_account() {
    let s3 = fixture_with_acls().await;
    s3.bucket("bkt").await;
    let put = s3.send_as(stranger(), "PutObject", "PUT /bkt/k", &[], Bytes::from_static(b"x")).await;
    assert_eq!(put.status, 200, "{}", put.text());
    let acl = s3.ok("GetObjectAcl", "GET /bkt/k?acl", &[], "").await;
    assert_eq!(acl.all("DisplayName"), [ACCOUNT, ACCOUNT], "owner and grantee: {}", acl.text());
    let begun = s3.send_as(stranger(), "CreateMultipartUpload", "POST /bkt/u?uploads", &[], Bytes::new()).await;
    assert_eq!(begun.status, 200, "{}", begun.text());
    let listed = s3.ok("ListMultipartUploads", "GET /bkt?uploads", &[], "").await;
    assert_eq!(listed.all("DisplayName"), [ACCOUNT, ACCOUNT], "initiator and owner: {}", listed.text());
}

#[tokio::test]
async fn answers_headers_are_chosen_by_who_signs_and_can_be_headers() {
    let s3 = fixture().await;
    s3.bucket("bkt").await;
    s3.put("bkt/k", "x").await;
    for (operation, line) in [("GetObject", "GET /bkt/k"), ("HeadObject", "HEAD /bkt/k")] {
        let chosen = format!("{line}?response-content-type=text/html");
        assert_eq!(s3.ok(operation, &chosen, &[], "").await.header("content-type"), "text/html");
        assert_eq!(s3.send_as(stranger(), operation, &chosen, &[], Bytes::new()).await.status, 400, "{chosen}");
        assert_eq!(s3.send_as(stranger(), operation, line, &[], Bytes::new()).await.status, 200);
        let broken = format!("{line}?response-content-type=a%0D%0Ax-evil:%201");
        assert_eq!(s3.send(operation, &broken, &[], "").await.status, 400, "{broken}");
    }
    let refused = s3.refused("GetObject", "GET /bkt/k?response-cache-control=a%00", &[], "").await;
    assert_eq!(refused, (400, "InvalidArgument".into()));
}
