//! SSE-KMS: which key, what the answers say, what opens and what does not.

use kv::RangeOptions;

use super::*;

const SSE: &str = "x-amz-server-side-encryption";
const KEY_ID: &str = "x-amz-server-side-encryption-aws-kms-key-id";
const CONTEXT: &str = "x-amz-server-side-encryption-context";
const BUCKET_KEY: &str = "x-amz-server-side-encryption-bucket-key-enabled";
const ONE: &str = "arn:aws:kms:us-east-1:123456789012:key/one";
const TWO: &str = "arn:aws:kms:us-east-1:123456789012:key/two";

async fn with_keys() -> Fixture {
    let kms_keys = ["one", "two", "alias/three"].map(str::to_owned).to_vec();
    let s3 = fixture_with(Config { kms_keys, ..Config::default() }).await;
    s3.bucket("bkt").await;
    s3
}

fn under(key: &str) -> [(&str, &str); 2] {
    [(SSE, "aws:kms"), (KEY_ID, key)]
}

fn default_of(key: &str, bucket_key: bool) -> String {
    format!(
        "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms\
         </SSEAlgorithm><KMSMasterKeyID>{key}</KMSMasterKeyID></ApplyServerSideEncryptionByDefault>\
         <BucketKeyEnabled>{bucket_key}</BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>"
    )
}

impl Fixture {
    /// Puts `to` wherever a value of the store has `from`; how many there were.
    async fn rewrite(&self, from: &str, to: &str) -> usize {
        let changed = self.kv.transact(|tx| async move {
            let all = tx.range([], [0xFF], RangeOptions::default());
            let mut changed = 0;
            for (key, value) in all.await? {
                let Ok(text) = std::str::from_utf8(&value) else { continue };
                if text.contains(from) {
                    tx.set(key, Bytes::from(text.replace(from, to)));
                    changed += 1;
                }
            }
            Ok::<_, kv::Error>(changed)
        });
        changed.await.expect("the store answers")
    }
}

#[tokio::test]
async fn objects_are_under_the_key_that_was_named_and_every_answer_says_so() {
    let s3 = with_keys().await;
    for size in [0, 10, 65_536, 200_000] {
        let bytes = content(7, size);
        for named in ["one", ONE] {
            let put = s3.ok("PutObject", "PUT /bkt/k", &under(named), bytes.clone()).await;
            let got = s3.ok("GetObject", "GET /bkt/k", &[], "").await;
            let head = s3.ok("HeadObject", "HEAD /bkt/k", &[], "").await;
            for answer in [&put, &got, &head] {
                assert_eq!((answer.header(SSE), answer.header(KEY_ID)), ("aws:kms", ONE), "{size}");
                assert_eq!(answer.header(BUCKET_KEY), "");
            }
            assert_eq!(got.body, bytes);
        }
    }
    let middle = s3.send("GetObject", "GET /bkt/k", &[("range", "bytes=65530-65545")], "").await;
    assert_eq!((middle.status, middle.body), (206, content(7, 200_000).slice(65_530..65_546)));
    let plain = content(7, 200_000).slice(..16);
    for file in s3.blob_files() {
        let stored = std::fs::read(file).expect("a blob");
        assert!(!stored.windows(16).any(|window| window == plain));
    }
}

#[tokio::test]
async fn an_alias_and_no_name_mean_keys_with_ids_of_their_own() {
    let s3 = with_keys().await;
    let put = |headers: Vec<(&'static str, String)>| {
        let s3 = &s3;
        async move {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            s3.ok("PutObject", "PUT /bkt/k", &headers, "x").await.header(KEY_ID).to_owned()
        }
    };
    let kms = |key: &str| vec![(SSE, "aws:kms".to_owned()), (KEY_ID, key.to_owned())];
    let managed = put(vec![(SSE, "aws:kms".to_owned())]).await;
    assert_eq!(put(kms("alias/aws/s3")).await, managed);
    assert_eq!(put(kms("arn:aws:kms:us-east-1:123456789012:alias/aws/s3")).await, managed);
    assert_eq!(put(kms(&managed)).await, managed);
    let third = put(kms("alias/three")).await;
    assert!(third != managed && third.starts_with("arn:aws:kms:us-east-1:123456789012:key/"), "{third}");
    assert_eq!(put(kms(third.rsplit_once('/').expect("an ARN").1)).await, third);
    assert_eq!(s3.get("bkt/k").await.as_deref(), Some(&b"x"[..]));
}

#[tokio::test]
async fn keys_that_are_not_there_are_named_and_nothing_is_written() {
    let s3 = with_keys().await;
    let missing = [
        "four",
        "alias/four",
        "three",
        "arn:aws:kms:us-east-1:123456789012:key/four",
        "arn:aws:kms:us-east-1:123456789012:key/alias/three",
        "arn:aws:kms:us-east-1:123456789012:alias/one",
        "alias/one",
        "arn:aws:kms:us-east-1:999999999999:key/one",
        "arn:aws:kms:eu-west-1:123456789012:key/one",
        "arn:aws:kms:us-east-1:123456789012:one",
        "arn:aws:iam::123456789012:key/one",
    ];
    for key in missing {
        let answer = s3.send("PutObject", "PUT /bkt/k", &under(key), "x").await;
        assert_eq!((answer.status, answer.one("Code")), (400, "KMS.NotFoundException".into()), "{key}");
        let named = key.rsplit('/').next().unwrap_or(key);
        assert!(answer.one("Message").contains(named), "{}", answer.one("Message"));
        let upload = s3.refused("CreateMultipartUpload", "POST /bkt/k?uploads", &under(key), "").await;
        assert_eq!(upload, (400, "KMS.NotFoundException".into()));
    }
    assert_eq!(s3.get("bkt/k").await, None);
    // The default of a bucket is not looked up before it is used, as on AWS.
    s3.ok("PutBucketEncryption", "PUT /bkt?encryption", &[], default_of("four", false)).await;
    assert_eq!(s3.refused("PutObject", "PUT /bkt/k", &[], "x").await, (400, "KMS.NotFoundException".into()));
}

#[tokio::test]
async fn headers_that_exclude_each_other_are_refused() {
    let s3 = with_keys().await;
    let json = base64(br#"{"a":"1"}"#);
    for headers in [
        vec![(KEY_ID, "one")],
        vec![(SSE, "AES256"), (KEY_ID, "one")],
        vec![(CONTEXT, json.as_str())],
        vec![(SSE, "aws:kms"), (CONTEXT, "e")],
    ] {
        let refused = s3.refused("PutObject", "PUT /bkt/k", &headers, "x").await;
        assert_eq!(refused, (400, "InvalidArgument".into()), "{headers:?}");
    }
    let double = s3.send("PutObject", "PUT /bkt/k", &[(SSE, "aws:kms:dsse")], "x").await;
    assert_eq!((double.status, double.one("Code")), (501, "NotImplemented".into()));
    assert!(double.one("Message").contains("aws:kms:dsse"));
    let default = default_of("one", false).replace("aws:kms", "aws:kms:dsse");
    let refused = s3.refused("PutBucketEncryption", "PUT /bkt?encryption", &[], default).await;
    assert_eq!(refused, (501, "NotImplemented".into()));
    s3.put("bkt/k", "x").await;
    for headers in [[(SSE, "AES256")], [(SSE, "aws:kms")], [(KEY_ID, "one")]] {
        assert_eq!(s3.refused("GetObject", "GET /bkt/k", &headers, "").await, (400, "InvalidArgument".into()));
        assert_eq!(s3.send("HeadObject", "HEAD /bkt/k", &headers, "").await.status, 400);
    }
}

#[tokio::test]
async fn a_buckets_default_counts_when_the_request_says_nothing() {
    let s3 = with_keys().await;
    s3.ok("PutBucketEncryption", "PUT /bkt?encryption", &[], default_of("one", true)).await;
    let seen = |answer: &Answer| [SSE, KEY_ID, BUCKET_KEY].map(|name| answer.header(name).to_owned());
    let put = s3.put("bkt/k", "plain").await;
    assert_eq!(seen(&put), ["aws:kms", ONE, "true"]);
    assert_eq!(s3.get("bkt/k").await.as_deref(), Some(&b"plain"[..]));
    let off = s3.ok("PutObject", "PUT /bkt/k", &[(SSE, "aws:kms"), (KEY_ID, "two"), (BUCKET_KEY, "false")], "x").await;
    assert_eq!(seen(&off), ["aws:kms", TWO, ""]);
    let node = s3.ok("PutObject", "PUT /bkt/k", &[(SSE, "AES256")], "x").await;
    assert_eq!(seen(&node), ["AES256", "", ""]);
    let managed = s3.ok("PutObject", "PUT /bkt/k", &[(SSE, "aws:kms")], "x").await;
    assert!(![ONE, TWO].contains(&managed.header(KEY_ID)), "the algorithm alone means alias/aws/s3");
}

#[tokio::test]
async fn bytes_open_in_their_context_and_place_only() {
    let s3 = with_keys().await;
    let context = base64(br#"{"team":"red"}"#);
    let headers = [(SSE, "aws:kms"), (KEY_ID, "one"), (CONTEXT, context.as_str())];
    for size in [10, 200_000] {
        let bytes = content(8, size);
        let put = s3.ok("PutObject", "PUT /bkt/ctx", &headers, bytes.clone()).await;
        assert_eq!(put.header(CONTEXT), context);
        assert_eq!(s3.get("bkt/ctx").await, Some(bytes.clone()));
        for (from, to) in [(r#""team":"red""#, r#""team":"sad""#), ("key/one", "key/two")] {
            assert_eq!(s3.rewrite(from, to).await, 1, "{from}");
            let read = s3.refused("GetObject", "GET /bkt/ctx", &[], "").await;
            assert_eq!(read, (500, "InternalError".into()), "{from} became {to}");
            assert_eq!(s3.rewrite(to, from).await, 1);
            assert_eq!(s3.get("bkt/ctx").await, Some(bytes.clone()));
        }
    }
}

/// Who asked what of which key, as far as a test tells them apart.
type Questions = Arc<parking_lot::Mutex<Vec<(String, wire::Asked)>>>;

/// Keys, and an identity service that keeps what it is asked and denies `denied`.
async fn with_questions(denied: &Arc<parking_lot::Mutex<&'static str>>) -> (Fixture, Questions) {
    let (questions, denied) = (Questions::default(), Arc::clone(denied));
    let kept = Arc::clone(&questions);
    let may_do: wire::MayDo = Arc::new(move |cx, asked| {
        let is_denied = asked.iter().any(|one| one.action == *denied.lock());
        kept.lock().extend(asked.into_iter().map(|one| (cx.principal.arn(), one)));
        Box::pin(async move {
            match is_denied {
                true => Err(ApiError::client("AccessDenied", 403, "no identity-based policy allows it")),
                false => Ok(()),
            }
        })
    });
    let kms_keys = ["one", "two", "alias/three"].map(str::to_owned).to_vec();
    let s3 = fixture_on(Config { kms_keys, ..Config::default() }, Arc::new(|_| u64::MAX), may_do).await;
    s3.bucket("bkt").await;
    (s3, questions)
}

#[tokio::test]
async fn i1_who_writes_and_reads_under_a_key_is_asked_about_the_key() {
    let denied = Arc::new(parking_lot::Mutex::new(""));
    let (s3, questions) = with_questions(&denied).await;
    let asked = || {
        let all = std::mem::take(&mut *questions.lock());
        all.into_iter().map(|(_, one)| format!("{} {}", one.action, one.resource)).collect::<Vec<_>>()
    };
    let (decrypt, generate) = (format!("kms:Decrypt {ONE}"), format!("kms:GenerateDataKey {ONE}"));
    s3.put("bkt/plain", "x").await;
    s3.get("bkt/plain").await.expect("there");
    assert!(asked().is_empty(), "SSE-S3 has no key of KMS");
    s3.ok("PutObject", "PUT /bkt/k", &under("one"), "x").await;
    assert_eq!(asked(), [generate.as_str()]);
    s3.get("bkt/k").await.expect("there");
    assert_eq!(asked(), [decrypt.as_str()]);
    s3.ok("HeadObject", "HEAD /bkt/k", &[], "").await;
    assert!(asked().is_empty(), "no bytes, no key");
    let headers = [("x-amz-copy-source", "bkt/k"), (SSE, "aws:kms"), (KEY_ID, "two")];
    s3.ok("CopyObject", "PUT /bkt/c", &headers, "").await;
    assert_eq!(asked(), [decrypt.clone(), format!("kms:GenerateDataKey {TWO}")]);
    let begun = s3.ok("CreateMultipartUpload", "POST /bkt/u?uploads", &under("one"), "").await;
    assert_eq!(asked(), [generate.clone(), decrypt.clone()]);
    let part = format!("PUT /bkt/u?partNumber=1&uploadId={}", begun.one("UploadId"));
    s3.ok("UploadPart", &part, &[], "x").await;
    assert_eq!(asked(), [generate.as_str()]);
    s3.ok("UploadPartCopy", &part, &[("x-amz-copy-source", "bkt/c")], "").await;
    assert_eq!(asked(), [generate.clone(), format!("kms:Decrypt {TWO}")]);
    let last = s3.ok("UploadPart", &part, &[], "x").await.header("etag").to_owned();
    let list = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{last}</ETag></Part></CompleteMultipartUpload>"
    );
    let complete = format!("POST /bkt/u?uploadId={}", begun.one("UploadId"));
    assert_eq!(asked(), [generate.as_str()]);
    *denied.lock() = "kms:Decrypt";
    let refused = s3.refused("CompleteMultipartUpload", &complete, &[], list.clone()).await;
    assert_eq!(refused, (403, "AccessDenied".into()));
    assert_eq!(asked(), [decrypt.as_str()]);
    *denied.lock() = "";
    s3.ok("PutBucketEncryption", "PUT /bkt?encryption", &[], default_of("one", true)).await;
    s3.put("bkt/default", "x").await;
    assert_eq!(asked(), [generate.as_str()], "the bucket's default counts");

    *denied.lock() = "kms:GenerateDataKey";
    let copy = [("x-amz-copy-source", "bkt/plain"), (SSE, "aws:kms"), (KEY_ID, "one")];
    for (operation, line, headers) in [
        ("PutObject", "PUT /bkt/new", &copy[1..]),
        ("CopyObject", "PUT /bkt/new", &copy[..]),
        ("CreateMultipartUpload", "POST /bkt/new?uploads", &copy[1..]),
        ("UploadPart", part.as_str(), &[]),
    ] {
        assert_eq!(s3.refused(operation, line, headers, "").await, (403, "AccessDenied".into()), "{operation}");
    }
    assert_eq!(s3.send("HeadObject", "HEAD /bkt/new", &[], "").await.status, 404);
    *denied.lock() = "kms:Decrypt";
    assert_eq!(s3.refused("GetObject", "GET /bkt/k", &[], "").await, (403, "AccessDenied".into()));
    // A checksum tells of the bytes; what else is known of the object needs no key.
    let mode = ("x-amz-checksum-mode", "ENABLED");
    asked();
    assert_eq!(s3.send("HeadObject", "HEAD /bkt/k", &[mode], "").await.status, 403);
    let attributes = |which| [("x-amz-object-attributes", which)];
    for which in ["Checksum", "ETag,Checksum", "ObjectParts"] {
        let refused = s3.refused("GetObjectAttributes", "GET /bkt/k?attributes", &attributes(which), "").await;
        assert_eq!(refused, (403, "AccessDenied".into()), "{which}");
    }
    assert_eq!(asked(), [decrypt.as_str(); 4]);
    s3.ok("HeadObject", "HEAD /bkt/k", &[], "").await;
    s3.ok("GetObjectAttributes", "GET /bkt/k?attributes", &attributes("ETag,ObjectSize"), "").await;
    s3.ok("HeadObject", "HEAD /bkt/plain", &[mode], "").await;
    assert!(asked().is_empty());
    let copy = [("x-amz-copy-source", "bkt/k"), (SSE, "AES256")];
    assert_eq!(s3.refused("CopyObject", "PUT /bkt/new", &copy, "").await, (403, "AccessDenied".into()));
    assert_eq!(s3.refused("UploadPartCopy", &part, &copy[..1], "").await, (403, "AccessDenied".into()));
}

#[tokio::test]
async fn i1_packages_of_functions_are_decrypted_for_whoever_may() {
    let denied = Arc::new(parking_lot::Mutex::new(""));
    let (s3, questions) = with_questions(&denied).await;
    s3.ok("PutObject", "PUT /bkt/k", &under("one"), "package").await;
    s3.put("bkt/plain", "package").await;
    questions.lock().clear();
    let stranger = cx_of(OTHER);
    assert_eq!(s3.s3.read_object(&stranger, "bkt", "k", None, 100).await.expect("there"), "package");
    let (who, asked) = questions.lock().pop().expect("a question");
    assert_eq!((who, asked.action, asked.resource.as_str()), (stranger.principal.arn(), "kms:Decrypt", ONE));
    *denied.lock() = "kms:Decrypt";
    let refused = s3.s3.read_object(&stranger, "bkt", "k", None, 100).await;
    assert!(matches!(refused, Err(s3::S3Error::AccessDenied(_))), "{refused:?}");
    assert_eq!(s3.s3.read_object(&stranger, "bkt", "plain", None, 100).await.expect("under no key"), "package");
}

#[tokio::test]
async fn i1_who_writes_for_somebody_needs_the_key_that_the_bucket_encrypts_under() {
    let denied = Arc::new(parking_lot::Mutex::new(""));
    let (s3, questions) = with_questions(&denied).await;
    let write = async |bucket: &str, key: &str| {
        s3.s3.write_object(&cx_of(OTHER), (bucket, key), "application/json", Bytes::from_static(b"{}")).await
    };
    write("bkt", "plain").await.expect("written");
    assert!(questions.lock().is_empty(), "under no key");
    s3.ok("PutBucketEncryption", "PUT /bkt?encryption", &[], default_of("one", true)).await;
    write("bkt", "sealed").await.expect("written");
    let (who, asked) = questions.lock().pop().expect("a question");
    assert_eq!(
        (who, asked.action, asked.resource.as_str()),
        (cx_of(OTHER).principal.arn(), "kms:GenerateDataKey", ONE)
    );
    for key in ["plain", "sealed"] {
        let got = s3.ok("GetObject", &format!("GET /bkt/{key}"), &[], "").await;
        assert_eq!((got.header("content-type"), got.text().as_str()), ("application/json", "{}"));
        // A second delivery of the same finds the first.
        assert!(matches!(write("bkt", key).await, Err(s3::S3Error::PreconditionFailed { .. })), "{key}");
    }
    *denied.lock() = "kms:GenerateDataKey";
    assert!(matches!(write("bkt", "new").await, Err(s3::S3Error::AccessDenied(_))));
    assert_eq!(s3.send("HeadObject", "HEAD /bkt/new", &[], "").await.status, 404);
    assert!(matches!(write("none", "k").await, Err(s3::S3Error::NoSuchBucket)));
    assert!(matches!(write("bkt", &"k".repeat(1_025)).await, Err(s3::S3Error::KeyTooLongError)));
}

#[tokio::test]
async fn i1_the_question_about_a_key_has_its_policy_and_the_encryption_context() {
    let (s3, questions) = with_questions(&Arc::default()).await;
    let context = base64(br#"{"team":"red"}"#);
    s3.ok("PutObject", "PUT /bkt/k", &[(SSE, "aws:kms"), (KEY_ID, "one"), (CONTEXT, &context)], "x").await;
    let (who, asked) = questions.lock().pop().expect("a question");
    assert_eq!(who, format!("arn:aws:iam::{ACCOUNT}:root"));
    for (name, value) in [
        ("kms:ViaService", "s3.us-east-1.amazonaws.com"),
        ("kms:CallerAccount", ACCOUNT),
        // S3 asks on the caller's behalf.
        ("aws:ViaAWSService", "true"),
        ("aws:CalledVia", "s3.amazonaws.com"),
        ("aws:CalledViaFirst", "s3.amazonaws.com"),
        ("aws:CalledViaLast", "s3.amazonaws.com"),
        ("kms:EncryptionContext:team", "red"),
        ("kms:EncryptionContext:aws:s3:arn", "arn:aws:s3:::bkt/k"),
    ] {
        assert_eq!(asked.keys.one(name), Some(value), "{name}");
    }
    let names = asked.keys.iter().find(|(name, _)| *name == "kms:EncryptionContextKeys").map(|(_, names)| names);
    assert_eq!(names, Some(&["aws:s3:arn".to_owned(), "team".to_owned()][..]));
    // Its account's identities decide; strangers and other accounts have nothing to go by.
    assert_eq!((asked.facts.owner.map(|owner| owner.to_string()), asked.facts.policy), (Some(ACCOUNT.into()), None));
    s3.ok("PutObject", "PUT /bkt/k", &[(SSE, "aws:kms"), (BUCKET_KEY, "true")], "x").await;
    let (_, asked) = questions.lock().pop().expect("a question");
    assert_eq!(asked.keys.one("kms:EncryptionContext:aws:s3:arn"), Some("arn:aws:s3:::bkt"));
    let policy: serde_json::Value =
        serde_json::from_str(&asked.facts.policy.expect("the managed key's")).expect("JSON");
    let statement = &policy["Statement"][0];
    assert_eq!(statement["Condition"]["StringEquals"]["aws:PrincipalAccount"], ACCOUNT);
    assert_eq!(statement["Action"], serde_json::json!(["kms:Decrypt", "kms:GenerateDataKey"]));
}

#[tokio::test]
async fn a8_flipped_bits_under_kms_keys_are_reported() {
    let s3 = with_keys().await;
    s3.ok("PutObject", "PUT /bkt/k", &under("one"), content(9, 200_000)).await;
    let [file] = s3.blob_files().try_into().expect("one blob");
    let sound = std::fs::read(&file).expect("readable");
    for at in [0, 100, 65_540] {
        let mut flipped = sound.clone();
        flipped[at] ^= 1;
        std::fs::write(&file, flipped).expect("writable");
        let read = s3.refused("GetObject", "GET /bkt/k", &[], "").await;
        assert_eq!(read, (500, "InternalError".into()), "byte {at}");
    }
}

#[tokio::test]
async fn a_key_that_is_named_no_more_opens_nothing_until_it_is_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (clock, rng) = (Clock::manual(Timestamp::from_unix_s(NOW_S)), Rng::seeded(1));
    let kv = Kv::memory(clock.clone(), Rng::seeded(2));
    let blobs = Blobs::local(folder.path().join("blobs"), clock.clone(), Rng::seeded(3)).await.expect("opens");
    let start = |kms_keys: Vec<String>| {
        let (kv, clock, rng, folder, blobs) = (kv.clone(), clock.clone(), rng.clone(), folder.path(), &blobs);
        async move {
            let s3 = S3::new(Parts {
                kv: kv.clone(),
                blobs: blobs.namespace("s3").await.expect("opens"),
                clock: clock.clone(),
                rng: rng.clone(),
                node_key: NodeKey::open(&folder.join("s3-key"), &kv, &rng).await.expect("the key"),
                config: Config { kms_keys, ..Config::default() },
                may_act: Arc::new(|_| Box::pin(async { Ok(()) })),
                may_do: Arc::new(|_, _| Box::pin(async { Ok(()) })),
                check_policy: Arc::new(|_| Ok(())),
            });
            Fixture { folder: tempfile::tempdir().expect("unused"), kv, clock, service: s3::service(s3.clone()), s3 }
        }
    };
    let first = start(vec!["one".to_owned()]).await;
    first.bucket("bkt").await;
    let bytes = content(3, 100_000);
    first.ok("PutObject", "PUT /bkt/named", &under("one"), bytes.clone()).await;
    first.ok("PutObject", "PUT /bkt/managed", &[(SSE, "aws:kms")], bytes.clone()).await;
    let second = start(Vec::new()).await;
    let refused = second.refused("GetObject", "GET /bkt/named", &[], "").await;
    assert_eq!(refused, (400, "KMS.NotFoundException".into()));
    assert_eq!(second.get("bkt/managed").await, Some(bytes.clone()));
    let third = start(vec!["one".to_owned()]).await;
    assert_eq!(third.get("bkt/named").await, Some(bytes));
}

#[tokio::test]
async fn copies_and_parts_go_from_any_kind_to_any_kind() {
    let s3 = with_keys().await;
    let secret = base64(&[1; 32]);
    let md5 = base64(&objects_md5(&[1; 32]));
    let names = |source: &str| {
        ["algorithm", "key", "key-md5"].map(|name| format!("x-amz-{source}server-side-encryption-customer-{name}"))
    };
    let (own, source) = (names(""), names("copy-source-"));
    let customer = |names: &'_ [String; 3]| {
        let values = ["AES256", secret.as_str(), md5.as_str()];
        names.iter().cloned().zip(values.map(str::to_owned)).collect::<Vec<_>>()
    };
    let texts =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>();
    let kinds = [texts(&[(SSE, "AES256")]), customer(&own), texts(&under("one")), texts(&under("two"))];
    let bytes = content(4, 5 * 1024 * 1024 + 7);
    for (from, kind) in kinds.iter().enumerate() {
        s3.ok("PutObject", "PUT /bkt/from", &borrowed(kind), bytes.clone()).await;
        for (to, wanted) in kinds.iter().enumerate() {
            let mut headers = texts(&[("x-amz-copy-source", "bkt/from")]);
            headers.extend(if from == 1 { customer(&source) } else { Vec::new() });
            let read = if to == 1 { customer(&own) } else { Vec::new() };

            let upload = s3.ok("CreateMultipartUpload", "POST /bkt/parts?uploads", &borrowed(wanted), "").await;
            let id = upload.one("UploadId");
            let line = format!("PUT /bkt/parts?partNumber=1&uploadId={id}");
            let part = [headers.clone(), read.clone()].concat();
            let copied = s3.ok("UploadPartCopy", &line, &borrowed(&part), "").await;
            let line = format!("PUT /bkt/parts?partNumber=2&uploadId={id}");
            let last = s3.ok("UploadPart", &line, &borrowed(&read), "tail").await;
            let list = format!(
                "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part><Part><PartNumber>2\
                 </PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
                copied.one("ETag"),
                last.header("etag")
            );
            let line = format!("POST /bkt/parts?uploadId={id}");
            let complete = s3.ok("CompleteMultipartUpload", &line, &borrowed(&read), list).await;
            let got = s3.ok("GetObject", "GET /bkt/parts", &borrowed(&read), "").await;
            assert_eq!(got.body, [&bytes[..], b"tail"].concat(), "{from} to {to}");

            headers.extend(wanted.clone());
            let put = s3.ok("CopyObject", "PUT /bkt/to", &borrowed(&headers), "").await;
            let whole = s3.ok("GetObject", "GET /bkt/to", &borrowed(&read), "").await;
            assert_eq!(whole.body, bytes, "{from} to {to}");
            let expected = match to {
                0 => ["AES256", ""],
                1 => ["", ""],
                2 => ["aws:kms", ONE],
                _ => ["aws:kms", TWO],
            };
            for answer in [&upload, &copied, &last, &complete, &got, &put, &whole] {
                assert_eq!([SSE, KEY_ID].map(|name| answer.header(name)), expected, "{from} to {to}");
            }
        }
    }
}

fn borrowed(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}
