//! Create, get, update, delete: answers, errors, and what is left behind.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::{CLOSED_ROLE, FUNCTIONS, Stage, package, zipped};

fn path(name: &str) -> String {
    format!("{FUNCTIONS}/{name}")
}

fn arn(name: &str) -> String {
    format!("arn:aws:lambda:us-east-1:000000000000:function:{name}")
}

/// Snapshots hold on every machine: the architecture is the host's.
fn take_architecture(configuration: &mut Value) {
    let host = lambda::Architecture::host().expect("tests run on a machine that Lambda knows");
    let taken = configuration.as_object_mut().unwrap().remove("Architectures");
    assert_eq!(taken, Some(json!([host.as_str()])));
}

#[tokio::test]
async fn create_function_answers_with_every_member_filled() {
    let stage = Stage::new().await;
    let mut created = stage.create("f", json!({})).await.expect(201);
    take_architecture(&mut created);
    insta::assert_json_snapshot!(created);
}

#[tokio::test]
async fn create_function_keeps_and_gives_back_what_was_given() {
    let stage = Stage::new().await;
    let given = json!({
        "Runtime": "nodejs24.x",
        "Description": "d",
        "Timeout": 900,
        "MemorySize": 10_240,
        "Environment": { "Variables": { "KEY_1": "v" } },
        "EphemeralStorage": { "Size": 1024 },
        "TracingConfig": { "Mode": "Active" },
        "DeadLetterConfig": { "TargetArn": "arn:aws:sqs:us-east-1:000000000000:q" },
        "VpcConfig": { "SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"] },
        "KMSKeyArn": "arn:aws:kms:us-east-1:000000000000:key/k",
        "Tags": { "team": "a" },
        "LoggingConfig": { "LogFormat": "JSON", "LogGroup": "/my/group", "ApplicationLogLevel": "DEBUG" },
    });
    let mut created = stage.create("f", given).await.expect(201);
    let got = stage.get(&path("f")).await.expect(200);
    assert_eq!(got["Configuration"], created);
    assert_eq!(got["Tags"], json!({ "team": "a" }));
    assert_eq!(stage.get(&format!("{}/configuration", path("f"))).await.expect(200), created);
    take_architecture(&mut created);
    insta::assert_json_snapshot!(created);
}

#[tokio::test]
async fn get_function_links_to_the_package_until_the_link_expires() {
    let stage = Stage::new().await;
    stage.create("f", json!({})).await.expect(201);
    let got = stage.get(&path("f")).await.expect(200);
    let link = got["Code"]["Location"].as_str().unwrap();
    let token = link.strip_prefix("http://127.0.0.1:4566/_tinderbox/code/").expect("an admin path of this server");
    let zip = stage.lambda.code_download(token).await.unwrap().expect("the link is valid");
    assert_eq!(zip, zipped("exports.handler = async () => 1"));
    stage.clock.advance(std::time::Duration::from_secs(600));
    assert_eq!(stage.lambda.code_download(token).await.unwrap(), None);
}

#[tokio::test]
async fn absent_and_present_functions_get_awss_errors() {
    let stage = Stage::new().await;
    let not_found = (404, "ResourceNotFoundException".to_owned(), format!("Function not found: {}", arn("f")));
    assert_eq!(stage.get(&path("f")).await.error(), not_found);
    assert_eq!(stage.get(&format!("{}/configuration", path("f"))).await.error(), not_found);
    assert_eq!(stage.delete(&path("f")).await.error(), not_found);
    let code = json!({ "ZipFile": package("x") });
    assert_eq!(stage.send("PUT", &format!("{}/code", path("f")), code).await.error(), not_found);
    assert_eq!(stage.send("PUT", &format!("{}/configuration", path("f")), json!({})).await.error(), not_found);

    stage.create("f", json!({})).await.expect(201);
    let conflict = (409, "ResourceConflictException".to_owned(), "Function already exist: f".to_owned());
    assert_eq!(stage.create("f", json!({})).await.error(), conflict);
    for qualifier in ["1", "prod"] {
        let (status, code, message) = stage.get(&format!("{}?Qualifier={qualifier}", path("f"))).await.error();
        assert_eq!((status, code.as_str()), (404, "ResourceNotFoundException"));
        assert_eq!(message, format!("Function not found: {}:{qualifier}", arn("f")));
    }
    let latest = stage.get(&format!("{}?Qualifier=$LATEST", path("f"))).await.expect(200);
    assert_eq!(latest["Configuration"]["FunctionArn"], format!("{}:$LATEST", arn("f")));
    for (name, status) in
        [(arn("f"), 200), ("000000000000:function:f".to_owned(), 200), (arn("f").replace("east", "west"), 404)]
    {
        let escaped = name.replace(':', "%3A");
        assert_eq!(stage.get(&path(&escaped)).await.status, status, "{name}");
    }
    let foreign = arn("f").replace("000000000000", "111111111111").replace(':', "%3A");
    assert_eq!(stage.get(&path(&foreign)).await.status, 403);
}

#[tokio::test]
async fn code_may_be_an_object_of_s3() {
    let stage = Stage::new().await;
    let code = json!({ "Code": { "S3Bucket": "code", "S3Key": "f.zip", "S3ObjectVersion": "v" } });
    let created = stage.create("f", code).await.expect(201);
    let zipped = stage.create("g", json!({ "Code": { "ZipFile": package("object v") } })).await.expect(201);
    assert_eq!(created["CodeSha256"], zipped["CodeSha256"]);
    let update = format!("{}/code", path("g"));
    let updated = stage.send("PUT", &update, json!({ "S3Bucket": "code", "S3Key": "f.zip" })).await.expect(200);
    assert_ne!(updated["CodeSha256"], zipped["CodeSha256"], "another version");
}

#[tokio::test]
async fn objects_that_the_caller_may_not_decrypt_are_nobodys_code() {
    let stage = Stage::new().await;
    let sealed = json!({ "S3Bucket": "code", "S3Key": "sealed.zip" });
    stage.create("f", json!({})).await.expect(201);
    let before = stage.get(&path("f")).await.expect(200);
    let layers = "/2018-10-31/layers/l/versions";
    for answer in [
        stage.create("g", json!({ "Code": sealed })).await,
        stage.send("PUT", &format!("{}/code", path("f")), sealed.clone()).await,
        stage.send("POST", layers, json!({ "Content": sealed })).await,
    ] {
        let (status, code, message) = answer.error();
        assert_eq!((status, code.as_str()), (400, "InvalidParameterValueException"));
        let said = "Error occurred while GetObject. S3 Error Code: AccessDenied. S3 Error Message: \
                    arn:aws:iam::000000000000:root is not authorized to perform: kms:Decrypt";
        assert_eq!(message, said);
    }
    assert_eq!(stage.get(&path("g")).await.status, 404);
    assert_eq!(stage.get(&path("f")).await.expect(200), before);
    assert_eq!(stage.get(layers).await.expect(200)["LayerVersions"], json!([]));
}

#[tokio::test]
async fn objects_of_s3_are_read_last_and_two_at_once() {
    let stage = Stage::new().await;
    let object = json!({ "S3Bucket": "code", "S3Key": "f.zip" });
    stage.create("f", json!({})).await.expect(201);
    let update = |change: Value| {
        let mut input = object.clone();
        input.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        input
    };
    let absent = stage.send("PUT", &format!("{}/code", path("g")), object.clone()).await;
    assert_eq!(absent.status, 404);
    let stale = stage.send("PUT", &format!("{}/code", path("f")), update(json!({ "RevisionId": "no" }))).await;
    assert_eq!(stale.status, 412);
    let bad = stage.create("g", json!({ "Code": object, "Timeout": 901 })).await;
    assert_eq!(bad.status, 400);
    assert_eq!(stage.objects.reads.load(Ordering::SeqCst), 0, "what is refused anyway reads nothing");
    let names: Vec<_> = (0..10).map(|n| format!("h{n}")).collect();
    let creates = names.iter().map(|name| stage.create(name, json!({ "Code": object })));
    for answer in futures_util::future::join_all(creates).await {
        answer.expect(201);
    }
    assert_eq!(stage.objects.reads.load(Ordering::SeqCst), 10);
    assert_eq!(stage.objects.reading_most.load(Ordering::SeqCst), 2, "each may take 250 MB");
}

#[tokio::test]
async fn inputs_that_cannot_be_served_are_refused_and_leave_nothing() {
    let stage = Stage::new().await;
    let zip = package("x");
    let cases = [
        (json!({ "Runtime": null }), "Runtime and Handler are mandatory parameters"),
        (json!({ "Handler": null }), "Runtime and Handler are mandatory parameters"),
        (json!({ "Runtime": "ruby3.4" }), "The runtime ruby3.4 is not available on this host. Install something"),
        (json!({ "Code": {} }), "Please provide a source for function code."),
        (json!({ "Code": { "ZipFile": "" } }), "Uploaded file must be a non-empty zip"),
        (json!({ "Code": { "ZipFile": "bm8gemlw" } }), "Could not unzip uploaded file. Please check your file"),
        (json!({ "Code": { "S3Bucket": "code", "S3Key": "k" } }), "S3 Error Code: NoSuchKey. S3 Error Message: The"),
        (json!({ "Code": { "S3Bucket": "code", "S3Key": "f.zip", "ZipFile": zip } }), "Please do not provide other"),
        (
            json!({ "Code": { "ImageUri": "i" } }),
            "Please do not provide ImageUri when creating a function with packageType Zip.",
        ),
        (json!({ "MemorySize": 10_241 }), "'MemorySize' value failed to satisfy constraint"),
        (json!({ "Timeout": 901 }), "'Timeout' value failed to satisfy constraint"),
        (json!({ "EphemeralStorage": { "Size": 20_000 } }), "'EphemeralStorage.Size' value failed"),
        (
            json!({ "Environment": { "Variables": { "AWS_REGION": "x" } } }),
            "Reserved keys used in this request: AWS_REGION",
        ),
        (json!({ "Layers": ["arn:aws:lambda:us-east-1:000000000000:layer:l:1"] }), "layer:l:1 does not exist."),
        (json!({ "PackageType": "Image", "Code": { "ZipFile": zip } }), "Please provide ImageUri when creating"),
        (json!({ "Tags": { "aws:x": "1" } }), "is reserved"),
    ];
    for (change, text) in cases {
        let (status, code, message) = stage.create("f", change.clone()).await.error();
        assert_eq!((status, code.as_str()), (400, "InvalidParameterValueException"), "{change} {message}");
        assert!(message.contains(text), "{change}: {message}");
    }
    for change in [
        json!({ "Role": "r" }),
        json!({ "Role": null }),
        json!({ "MemorySize": 127 }),
        json!({ "Timeout": 0 }),
        json!({ "Handler": "has space" }),
        json!({ "FunctionName": "a b" }),
        json!({ "FunctionName": "x".repeat(65) }),
        json!({ "Runtime": "cobol" }),
    ] {
        let (status, code, message) = stage.create("f", change.clone()).await.error();
        assert_eq!((status, code.as_str()), (400, "ValidationException"), "{change} {message}");
    }
    assert_eq!(stage.get(FUNCTIONS).await.expect(200)["Functions"], json!([]));
}

#[tokio::test]
async fn update_function_code_changes_the_code_and_retires_environments() {
    let stage = Stage::new().await;
    let before = stage.create("f", json!({})).await.expect(201);
    stage.clock.advance(std::time::Duration::from_secs(1));
    let code = format!("{}/code", path("f"));
    let dry = stage.send("PUT", &code, json!({ "ZipFile": package("v2"), "DryRun": true })).await.expect(200);
    assert_ne!(dry["CodeSha256"], before["CodeSha256"]);
    assert_eq!(stage.get(&format!("{}/configuration", path("f"))).await.expect(200), before);
    assert!(stage.script.retired.lock().is_empty());

    let stale = stage.send("PUT", &code, json!({ "ZipFile": package("v2"), "RevisionId": "no" })).await;
    assert_eq!(stale.error().0, 412);
    assert_eq!(stale.error().1, "PreconditionFailedException");
    let revision = &before["RevisionId"];
    let after = stage.send("PUT", &code, json!({ "ZipFile": package("v2"), "RevisionId": revision })).await.expect(200);
    assert_eq!(after["CodeSha256"], dry["CodeSha256"]);
    assert_ne!(&after["RevisionId"], revision);
    assert_ne!(after["LastModified"], before["LastModified"]);
    assert_eq!(*stage.script.retired.lock(), [format!("{}:$LATEST", arn("f"))]);
    for (input, text) in [
        (json!({ "S3Bucket": "code", "S3Key": "k" }), "Error occurred while GetObject. S3 Error Code: NoSuchKey"),
        (json!({}), "Please provide a source for function code."),
        (json!({ "ZipFile": "bm8gemlw" }), "Could not unzip uploaded file."),
    ] {
        let (status, _, message) = stage.send("PUT", &code, input).await.error();
        assert_eq!(status, 400);
        assert!(message.contains(text), "{message}");
    }
    assert_eq!(stage.get(&format!("{}/configuration", path("f"))).await.expect(200), after);
}

#[tokio::test]
async fn update_function_configuration_changes_what_is_named_only() {
    let stage = Stage::new().await;
    let before = stage.create("f", json!({ "Environment": { "Variables": { "AB": "1" } } })).await.expect(201);
    let uri = format!("{}/configuration", path("f"));
    let changes = [
        ("Timeout", json!(60)),
        ("MemorySize", json!(256)),
        ("Handler", json!("other.handler")),
        ("Description", json!("new")),
        ("Environment", json!({ "Variables": { "CD": "2" } })),
        ("Runtime", json!("nodejs24.x")),
        ("EphemeralStorage", json!({ "Size": 600 })),
        ("TracingConfig", json!({ "Mode": "Active" })),
        ("Role", json!("arn:aws:iam::000000000000:role/other")),
        ("DeadLetterConfig", json!({ "TargetArn": "arn:aws:sqs:us-east-1:000000000000:q" })),
    ];
    let mut expected = before.as_object().unwrap().clone();
    for (member, value) in changes {
        let after = stage.send("PUT", &uri, json!({ (member): value })).await.expect(200);
        expected.insert(member.to_owned(), value);
        for moving in ["RevisionId", "StateReason", "RuntimeVersionConfig"] {
            expected.remove(moving);
            if let Some(moved) = after.get(moving) {
                expected.insert(moving.to_owned(), moved.clone());
            }
        }
        assert_eq!(after, Value::Object(expected.clone()), "{member}");
    }
    let none = stage.send("PUT", &uri, json!({ "Environment": {}, "DeadLetterConfig": { "TargetArn": "" } })).await;
    let none = none.expect(200);
    assert_eq!((none.get("Environment"), none.get("DeadLetterConfig")), (None, None));
    let refused = stage.send("PUT", &uri, json!({ "Timeout": 901, "Description": "half" })).await;
    assert_eq!(refused.error().0, 400);
    assert_eq!(stage.get(&uri).await.expect(200), none);
}

#[tokio::test]
async fn the_runtimes_of_functions_stand_by_from_their_creation_on_and_after_a_restart() {
    let stage = Stage::new().await;
    stage.create("f", json!({ "Runtime": "python3.12" })).await.expect(201);
    stage.create("bad", json!({ "Runtime": "python3.13", "Timeout": 901 })).await.error();
    stage.create("g", json!({ "Runtime": "nodejs22.x" })).await.expect(201);
    stage.call("PUT", &format!("{}/configuration", path("g")), &[], r#"{"Runtime":"nodejs20.x"}"#).await.expect(200);
    assert_eq!(std::mem::take(&mut *stage.script.expected.lock()), ["python3.12", "nodejs22.x", "nodejs20.x"]);
    stage.create("h", json!({ "Runtime": "nodejs20.x" })).await.expect(201);
    stage.script.expected.lock().clear();
    stage.again().expect_runtimes().await.unwrap();
    assert_eq!(*stage.script.expected.lock(), ["nodejs20.x", "python3.12"], "each once");
}

#[tokio::test]
async fn i7_a_role_that_lambda_cannot_assume_is_refused_at_create_and_update() {
    let stage = Stage::new().await;
    let text = "The role defined for the function cannot be assumed by Lambda.".to_owned();
    let expected = (400, "InvalidParameterValueException".to_owned(), text);
    assert_eq!(stage.create("f", json!({ "Role": CLOSED_ROLE })).await.error(), expected);
    assert_eq!(stage.get(&path("f")).await.status, 404, "nothing is left of it");
    let before = stage.create("f", json!({})).await.expect(201);
    let uri = format!("{}/configuration", path("f"));
    assert_eq!(stage.send("PUT", &uri, json!({ "Role": CLOSED_ROLE })).await.error(), expected);
    assert_eq!(stage.get(&uri).await.expect(200)["Role"], before["Role"]);
}

#[tokio::test]
async fn delete_function_removes_its_url_and_frees_its_share() {
    let stage = Stage::new().await;
    stage.create("f", json!({})).await.expect(201);
    let url = stage.send("POST", "/2021-10-31/functions/f/url", json!({ "AuthType": "NONE" })).await.expect(201);
    assert!(url["FunctionUrl"].is_string());
    let latest = stage.delete(&format!("{}?Qualifier=$LATEST", path("f"))).await.error();
    assert_eq!((latest.0, latest.1.as_str()), (400, "InvalidParameterValueException"));
    assert_eq!(stage.delete(&path("f")).await.status, 204);
    assert_eq!(*stage.script.retired.lock(), [arn("f")]);
    assert_eq!(stage.get("/2021-10-31/functions/f/url").await.status, 404);
    let settings = stage.get("/2016-08-19/account-settings").await.expect(200);
    assert_eq!(settings["AccountUsage"], json!({ "FunctionCount": 0, "TotalCodeSize": 0 }));
    stage.create("f", json!({})).await.expect(201);
    assert_eq!(stage.get("/2021-10-31/functions/f/url").await.status, 404, "a new function has no old URL");
}

/// How many packages are stored.
fn blobs(stage: &Stage) -> usize {
    let shards = std::fs::read_dir(stage.folder.path().join("blobs")).unwrap();
    let shards = shards.map(|shard| shard.unwrap()).filter(|shard| shard.file_name() != "tmp");
    shards.map(|shard| std::fs::read_dir(shard.path()).unwrap().count()).sum()
}

#[tokio::test]
async fn the_account_stores_at_most_its_limit() {
    let length = zipped("exports.handler = async () => 1").len() as u64;
    let config = lambda::Config { account_code_bytes_max: 2 * length, ..lambda::Config::default() };
    let stage = Stage::with(config).await;
    stage.create("a", json!({})).await.expect(201);
    stage.create("b", json!({})).await.expect(201);
    let other = json!({ "Code": { "ZipFile": package("exports.handler = async () => 2") } });
    let full = stage.create("c", other).await.error();
    assert_eq!(full, (400, "CodeStorageExceededException".to_owned(), "Code storage limit exceeded.".to_owned()));
    assert_eq!(blobs(&stage), 1, "what is refused is not stored");
    let larger = json!({ "ZipFile": package("exports.handler = async () => 12345") });
    assert_eq!(
        stage.send("PUT", &format!("{}/code", path("a")), larger).await.error().1,
        "CodeStorageExceededException"
    );
    let smaller = json!({ "ZipFile": package("1") });
    stage.send("PUT", &format!("{}/code", path("a")), smaller).await.expect(200);
    insta::assert_json_snapshot!(stage.get("/2016-08-19/account-settings").await.expect(200));
    assert!(stage.folder.path().join("code").is_dir());
}

/// What is replaced leaves the account's usage at once, and the disk an hour or two later.
#[tokio::test]
async fn replacing_packages_over_and_over_does_not_fill_the_disk() {
    let text = |n: u32| format!("exports.handler = async () => {n}");
    let length = zipped(&text(0)).len() as u64;
    let config = lambda::Config { account_code_bytes_max: 3 * length, ..lambda::Config::default() };
    let stage = Stage::with(config).await;
    let uri = format!("{}/code", path("f"));
    let update = |n: u32| stage.send("PUT", &uri, json!({ "ZipFile": package(&text(n)) }));
    stage.create("f", json!({ "Code": { "ZipFile": package(&text(0)) } })).await.expect(201);
    for n in [1, 2, 1, 0, 2] {
        update(n).await.expect(200);
    }
    for n in 3..6 {
        assert_eq!(update(n).await.error().1, "CodeStorageExceededException", "{n}");
    }
    assert_eq!(blobs(&stage), 3, "what is refused is not stored, and what is there is no more");
    let mut unneeded = lambda::jobs::Unneeded::default();
    for removed in [0, 2] {
        stage.clock.advance(Duration::from_secs(3_600));
        assert_eq!(stage.lambda.collect_packages(&mut unneeded).await.unwrap(), removed);
    }
    update(3).await.expect(200);
}

#[tokio::test]
async fn operations_that_are_not_served_yet_say_so() {
    let stage = Stage::new().await;
    let answer = stage.get("/2025-12-01/functions/f/durable-executions").await;
    let (status, _, message) = answer.error();
    assert_eq!(status, 501);
    assert!(message.contains("ListDurableExecutionsByFunction"), "{message}");
}

#[tokio::test]
async fn of_many_who_create_or_update_at_once_one_wins() {
    let stage = Stage::new().await;
    let answers = futures_util::future::join_all((0..20).map(|_| stage.create("f", json!({})))).await;
    let created: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert_eq!(created.len(), 1);
    assert!(answers.iter().all(|answer| matches!(answer.status, 201 | 409)));
    let revision = &created[0].json["RevisionId"];
    let uri = format!("{}/configuration", path("f"));
    let updates =
        (1..=20).map(|timeout| stage.send("PUT", &uri, json!({ "Timeout": timeout, "RevisionId": revision })));
    let answers = futures_util::future::join_all(updates).await;
    let updated: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(updated.len(), 1);
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 412)));
    assert_eq!(stage.get(&uri).await.expect(200), updated[0].json);
    let settings = stage.get("/2016-08-19/account-settings").await.expect(200);
    assert_eq!(settings["AccountUsage"]["FunctionCount"], 1);
}

#[tokio::test]
async fn sweeping_at_start_frees_packages_of_the_past_only() {
    let stage = Stage::new().await;
    for n in 0..3 {
        stage.create(&format!("f{n}"), json!({ "Code": { "ZipFile": package(&format!("{n}")) } })).await.expect(201);
    }
    stage.send("PUT", &format!("{}/code", path("f0")), json!({ "ZipFile": package("new") })).await.expect(200);
    assert_eq!(stage.delete(&path("f1")).await.status, 204);
    assert_eq!((stage.lambda.sweep_packages().await.unwrap(), blobs(&stage)), (2, 2));
    assert_eq!((stage.lambda.sweep_packages().await.unwrap(), blobs(&stage)), (0, 2));
}

#[tokio::test]
async fn packages_that_nobody_needs_for_an_hour_are_removed() {
    let stage = Stage::new().await;
    let code = |text: &str| json!({ "Code": { "ZipFile": package(text) } });
    stage.create("changed", code("1")).await.expect(201);
    stage.create("deleted", code("2")).await.expect(201);
    stage.create("kept", code("3")).await.expect(201);
    stage.send("POST", &format!("{}/versions", path("kept")), json!({})).await.expect(201);
    stage.send("PUT", &format!("{}/code", path("kept")), json!({ "ZipFile": package("4") })).await.expect(200);
    let mut unneeded = lambda::jobs::Unneeded::default();
    let mut pass = async || stage.lambda.collect_packages(&mut unneeded).await.unwrap();
    assert_eq!(pass().await, 0);
    stage.send("PUT", &format!("{}/code", path("changed")), json!({ "ZipFile": package("5") })).await.expect(200);
    stage.delete(&path("deleted")).await;
    stage.clock.advance(Duration::from_secs(3_600));
    assert_eq!(pass().await, 0, "the pass before found a need for both");
    // Stored again, and about to be named: the third package is young.
    stage.create("again", code("2")).await.expect(201);
    assert_eq!((pass().await, blobs(&stage)), (1, 4));
    stage.clock.advance(Duration::from_secs(3_600));
    assert_eq!((pass().await, blobs(&stage)), (0, 4), "functions, versions and what is stored again stay");
    stage.call("POST", &format!("{}/invocations", path("kept")), &[], "{}").await.expect(200);
}

#[tokio::test]
async fn l4_a_dead_letter_target_that_cannot_be_is_refused_at_create_and_update() {
    let stage = Stage::new().await;
    stage.create("f", json!({})).await.expect(201);
    for (target, text) in [
        ("arn:aws:s3:::b", "only queues and topics are supported"),
        ("arn:aws:lambda:us-east-1:000000000000:function:g", "only queues and topics are supported"),
        ("arn:aws:events:us-east-1:000000000000:event-bus/default", "only queues and topics are supported"),
        ("arn:aws:sqs:us-east-1:000000000000:q.fifo", "FIFO queues and topics are not supported"),
        ("arn:aws:sqs:q", "it is no ARN"),
    ] {
        let change = json!({ "DeadLetterConfig": { "TargetArn": target } });
        let uri = format!("{}/configuration", path("f"));
        for refused in [stage.create("g", change.clone()).await, stage.send("PUT", &uri, change.clone()).await] {
            let (status, code, message) = refused.error();
            assert_eq!((status, code.as_str()), (400, "InvalidParameterValueException"), "{target}");
            assert!(message.contains(text), "{target}: {message}");
        }
    }
    assert_eq!(stage.get(&path("g")).await.status, 404);
}
