//! Functions of container images over raw wire bytes, with a registry that answers from memory.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lambda::Config;
use lambda::image::{BlobStream, Fetched, ImageError, ImageName, ImageSource};
use lambda::invoke::BoxFuture;
use lambda::jobs::COLLECT_EVERY;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::Digest as _;
use tokio::sync::watch;

use crate::stage::{Answer, FUNCTIONS, Stage};

const URI: &str = "registry.test/team/app:v1";

/// A registry in memory. Its layers come when the gate is open.
struct Shelf {
    manifests: Mutex<HashMap<String, Bytes>>,
    blobs: Mutex<HashMap<String, Bytes>>,
    configurations: Mutex<HashSet<String>>,
    gate: watch::Sender<bool>,
    /// Manifests come when this is open.
    manifest_gate: watch::Sender<bool>,
    /// Layers that fail before one comes.
    failures: Mutex<usize>,
    asked: Mutex<Vec<String>>,
}

impl Shelf {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            manifests: Mutex::default(),
            blobs: Mutex::default(),
            configurations: Mutex::default(),
            gate: watch::Sender::new(true),
            manifest_gate: watch::Sender::new(true),
            failures: Mutex::new(0),
            asked: Mutex::default(),
        })
    }

    fn open(&self, open: bool) {
        self.gate.send_replace(open);
    }

    /// Puts an image with one layer that holds the file `mark`; returns the digest of its manifest.
    fn put(&self, uri: &str, mark: &str, config: Value) -> String {
        let layer = layer(mark);
        let id = format!("sha256:{}", sha256(&layer));
        let os = json!({ "architecture": arch(), "os": "linux", "config": config, "rootfs": { "diff_ids": [id] } });
        let os = Bytes::from(os.to_string());
        self.configurations.lock().insert(sha256(&os));
        let described = |media_type: &str, bytes: &Bytes| {
            json!({ "mediaType": format!("application/vnd.oci.image.{media_type}"),
                    "digest": format!("sha256:{}", sha256(bytes)), "size": bytes.len() })
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described("config.v1+json", &os),
            "layers": [described("layer.v1.tar", &layer)],
        });
        let manifest = Bytes::from(manifest.to_string());
        let digest = sha256(&manifest);
        self.blobs.lock().extend([os, layer].map(|bytes| (sha256(&bytes), bytes)));
        let by_digest = format!("{}@sha256:{digest}", uri.rsplit_once(':').unwrap().0);
        self.manifests.lock().extend([(uri.to_owned(), manifest.clone()), (by_digest, manifest)]);
        digest
    }
}

impl ImageSource for Shelf {
    fn manifest(&self, image: ImageName) -> BoxFuture<Result<Fetched, ImageError>> {
        let bytes = self.manifests.lock().get(&image.to_string()).cloned();
        let bytes = bytes.ok_or(ImageError::NotFound);
        let mut gate = self.manifest_gate.subscribe();
        Box::pin(async move {
            gate.wait_for(|open| *open).await.expect("the shelf stays");
            Ok(Fetched { media_type: None, bytes: bytes? })
        })
    }

    fn blob(&self, _: ImageName, digest: String) -> BoxFuture<Result<BlobStream, ImageError>> {
        self.asked.lock().push(digest.clone());
        let bytes = self.blobs.lock().get(&digest).cloned();
        let gated = !self.configurations.lock().contains(&digest);
        let fails = gated && {
            let mut failures = self.failures.lock();
            let fails = *failures > 0;
            *failures = failures.saturating_sub(1);
            fails
        };
        let mut gate = self.gate.subscribe();
        Box::pin(async move {
            if gated && gate.wait_for(|open| *open).await.is_err() {
                return Err(ImageError::Denied);
            }
            if fails {
                return Err(ImageError::Unavailable("as the test wants".to_owned()));
            }
            let bytes = bytes.ok_or(ImageError::NotFound)?;
            Ok(Box::pin(futures_util::stream::iter([Ok(bytes)])) as BlobStream)
        })
    }
}

fn arch() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A tar archive with one file.
fn layer(mark: &str) -> Bytes {
    let mut block = vec![0u8; 512];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, mark.as_bytes());
    put(100, b"0000644\x000000000\x000000000");
    put(124, b"00000000004");
    put(136, b"00000000000");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend(b"text");
    block.resize(512 * 4, 0);
    Bytes::from(block)
}

fn of_image(uri: &str) -> Value {
    json!({ "PackageType": "Image", "Code": { "ImageUri": uri }, "Runtime": null, "Handler": null })
}

fn configuration(name: &str) -> String {
    format!("{FUNCTIONS}/{name}/configuration")
}

/// The configuration, once `member` is `value`.
async fn until(stage: &Stage, name: &str, member: &str, value: &str) -> Value {
    for _ in 0..2_000 {
        let found = stage.get(&configuration(name)).await.expect(200);
        if found[member] == value {
            return found;
        }
        sys::Clock::system().sleep(Duration::from_millis(2)).await;
    }
    panic!("{member} never became {value}: {}", stage.get(&configuration(name)).await.json);
}

async fn invoke(stage: &Stage, name: &str) -> Answer {
    stage.send("POST", &format!("{FUNCTIONS}/{name}/invocations"), json!({})).await
}

/// The digest of the image that the last invocation ran.
fn ran(stage: &Stage) -> String {
    stage.script.invoked.lock().last().unwrap().0.image.as_ref().expect("an image").manifest.digest.clone()
}

#[tokio::test]
async fn create_function_with_an_image_is_pending_until_the_image_is_there() {
    let shelf = Shelf::new();
    let digest = shelf.put(URI, "one", json!({ "Entrypoint": ["/one"] }));
    let stage = Stage::with_images(Config::default(), shelf.clone()).await;
    shelf.open(false);
    let created = stage.create("f", of_image(URI)).await.expect(201);
    assert_eq!((&created["State"], &created["StateReasonCode"]), (&json!("Pending"), &json!("Creating")));
    assert_eq!((&created["PackageType"], &created["CodeSize"]), (&json!("Image"), &json!(0)));
    assert_eq!(created["CodeSha256"], digest);
    for member in ["Runtime", "Handler", "RuntimeVersionConfig", "LastUpdateStatus", "ImageConfigResponse"] {
        assert_eq!(created[member], Value::Null, "{member}");
    }

    let pending =
        "The operation cannot be performed at this time. The function is currently in the following state: Pending";
    let conflict = (409, "ResourceConflictException".to_owned(), pending.to_owned());
    assert_eq!(invoke(&stage, "f").await.error(), conflict);
    let event = [("x-amz-invocation-type", "Event")];
    let uri = format!("{FUNCTIONS}/f/invocations");
    assert_eq!(stage.call("POST", &uri, &event, "{}").await.error(), conflict);
    for (method, path, body) in [
        ("PUT", "code", json!({ "ImageUri": URI })),
        ("PUT", "configuration", json!({ "Timeout": 4 })),
        ("POST", "versions", json!({})),
    ] {
        assert_eq!(stage.send(method, &format!("{FUNCTIONS}/f/{path}"), body).await.error(), conflict, "{path}");
    }

    shelf.open(true);
    let active = until(&stage, "f", "State", "Active").await;
    assert_eq!((&active["LastUpdateStatus"], &active["StateReason"]), (&json!("Successful"), &Value::Null));
    assert_ne!(active["RevisionId"], created["RevisionId"]);
    let got = stage.get(&format!("{FUNCTIONS}/f")).await.expect(200);
    let resolved = format!("registry.test/team/app@sha256:{digest}");
    assert_eq!(got["Code"], json!({ "RepositoryType": "ECR", "ImageUri": URI, "ResolvedImageUri": resolved }));
    assert_eq!(invoke(&stage, "f").await.status, 200);
    assert_eq!(ran(&stage), digest);
    // A second function of the same image needs nothing from the registry but its documents.
    let before = shelf.asked.lock().len();
    stage.create("g", of_image(URI)).await.expect(201);
    until(&stage, "g", "State", "Active").await;
    assert_eq!(shelf.asked.lock().len(), before + 1);
}

#[tokio::test]
async fn update_function_code_runs_the_image_of_before_until_the_new_one_is_there() {
    let shelf = Shelf::new();
    let old = shelf.put(URI, "one", json!({ "Entrypoint": ["/one"] }));
    let stage = Stage::with_images(Config::default(), shelf.clone()).await;
    let given = json!({ "Command": ["a", "b"], "EntryPoint": ["/e"], "WorkingDirectory": "/w" });
    let mut input = of_image(URI);
    input["ImageConfig"] = given.clone();
    let created = stage.create("f", input).await.expect(201);
    assert_eq!(created["ImageConfigResponse"], json!({ "ImageConfig": given }));
    until(&stage, "f", "State", "Active").await;

    let new = shelf.put(URI, "two", json!({ "Entrypoint": ["/two"] }));
    shelf.open(false);
    let code = format!("{FUNCTIONS}/f/code");
    let tried = stage.send("PUT", &code, json!({ "ImageUri": URI, "DryRun": true })).await.expect(200);
    assert_eq!(tried["CodeSha256"], new);
    assert_eq!(stage.get(&configuration("f")).await.json["CodeSha256"], old, "a dry run changes nothing");
    let updated = stage.send("PUT", &code, json!({ "ImageUri": URI, "Publish": true })).await.expect(200);
    assert_eq!((&updated["Version"], &updated["CodeSha256"]), (&json!("1"), &json!(new)));
    assert_eq!(updated["State"], "Pending", "nothing of a new version runs before its image is there");
    let latest = stage.get(&configuration("f")).await.expect(200);
    assert_eq!((&latest["State"], &latest["LastUpdateStatus"]), (&json!("Active"), &json!("InProgress")));
    assert_eq!(invoke(&stage, "f").await.status, 200);
    assert_eq!(ran(&stage), old);
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:f";
    let busy = format!("The operation cannot be performed at this time. An update is in progress for resource: {arn}");
    let conflict = (409, "ResourceConflictException".to_owned(), busy);
    assert_eq!(stage.send("PUT", &code, json!({ "ImageUri": URI })).await.error(), conflict);
    assert_eq!(stage.send("PUT", &configuration("f"), json!({ "Timeout": 4 })).await.error(), conflict);
    assert_eq!(stage.send("POST", &format!("{FUNCTIONS}/f/versions"), json!({})).await.error(), conflict);

    shelf.open(true);
    let latest = until(&stage, "f", "LastUpdateStatus", "Successful").await;
    assert_eq!((&latest["CodeSha256"], &latest["ImageConfigResponse"]["ImageConfig"]), (&json!(new), &given));
    assert_eq!(stage.get(&format!("{}?Qualifier=1", configuration("f"))).await.json["State"], "Active");
    for qualifier in ["", "?Qualifier=1"] {
        let uri = format!("{FUNCTIONS}/f/invocations{qualifier}");
        assert_eq!(stage.send("POST", &uri, json!({})).await.status, 200);
        assert_eq!(ran(&stage), new);
    }
    assert!(stage.script.retired.lock().iter().any(|one| one.ends_with(":f:$LATEST")));
    // Nothing has changed since: the same version again.
    let again = stage.send("POST", &format!("{FUNCTIONS}/f/versions"), json!({})).await.expect(201);
    assert_eq!(again["Version"], "1");
}

#[tokio::test]
async fn a_failed_update_takes_everything_back_and_a_failed_creation_can_be_mended() {
    let shelf = Shelf::new();
    let good = shelf.put(URI, "one", json!({}));
    let stage = Stage::with_images(Config::default(), shelf.clone()).await;
    stage.create("f", of_image(URI)).await.expect(201);
    until(&stage, "f", "State", "Active").await;
    let usage = async || stage.get("/2016-08-19/account-settings").await.expect(200)["AccountUsage"].clone();
    let before = usage().await;

    shelf.put("registry.test/team/app:bad", "../escape", json!({}));
    let bad = json!({ "ImageUri": "registry.test/team/app:bad" });
    stage.send("PUT", &format!("{FUNCTIONS}/f/code"), bad).await.expect(200);
    let failed = until(&stage, "f", "LastUpdateStatus", "Failed").await;
    assert_eq!((&failed["CodeSha256"], &failed["State"]), (&json!(good), &json!("Active")));
    assert_eq!(failed["LastUpdateStatusReasonCode"], "InvalidImage");
    assert!(failed["LastUpdateStatusReason"].as_str().unwrap().contains("leaves the image"), "{failed}");
    assert_eq!(usage().await, before);
    assert_eq!(invoke(&stage, "f").await.status, 200);

    stage.create("g", of_image("registry.test/team/app:bad")).await.expect(201);
    let failed = until(&stage, "g", "State", "Failed").await;
    assert_eq!(failed["StateReasonCode"], "InvalidImage");
    assert_eq!(invoke(&stage, "g").await.error().0, 409);
    let updated = stage.send("PUT", &format!("{FUNCTIONS}/g/code"), json!({ "ImageUri": URI })).await.expect(200);
    assert_eq!(updated["State"], "Pending");
    until(&stage, "g", "State", "Active").await;
    for name in ["f", "g"] {
        assert_eq!(stage.delete(&format!("{FUNCTIONS}/{name}")).await.status, 204);
    }
    assert_eq!(usage().await, json!({ "FunctionCount": 0, "TotalCodeSize": 0 }));
}

#[tokio::test]
async fn a_registry_that_fails_is_asked_again_and_given_up_after_three_times() {
    let shelf = Shelf::new();
    shelf.put(URI, "one", json!({}));
    let stage = Stage::with_images(Config::default(), shelf.clone()).await;
    for (name, failures, member, value) in [("f", 2, "State", "Active"), ("g", 3, "State", "Failed")] {
        let uri = format!("registry.test/team/app:{name}");
        shelf.put(&uri, name, json!({}));
        *shelf.failures.lock() = failures;
        stage.create(name, of_image(&uri)).await.expect(201);
        for left in (0..failures).rev() {
            while *shelf.failures.lock() > left {
                tokio::task::yield_now().await;
            }
            // Until it sleeps.
            sys::Clock::system().sleep(Duration::from_millis(20)).await;
            stage.clock.advance(Duration::from_secs(20));
        }
        let found = until(&stage, name, member, value).await;
        if value == "Failed" {
            assert_eq!(found["StateReasonCode"], "InternalError");
            assert!(found["StateReason"].as_str().unwrap().contains("as the test wants"), "{found}");
        }
    }
    // Gone between the look at its manifest and its layers.
    shelf.put("registry.test/team/app:h", "h", json!({}));
    shelf.blobs.lock().remove(&sha256(&layer("h")));
    stage.create("h", of_image("registry.test/team/app:h")).await.expect(201);
    assert_eq!(until(&stage, "h", "State", "Failed").await["StateReasonCode"], "ImageDeleted");
}

#[tokio::test]
async fn what_comes_is_checked_against_the_digest_that_it_is_asked_for_by() {
    let shelf = Shelf::new();
    let digest = shelf.put(URI, "one", json!({}));
    let stage = Stage::with_images(Config::default(), shelf.clone()).await;
    let invalid = |answer: &Answer, part: &str| {
        let (status, code, message) = answer.error();
        assert_eq!((status, code.as_str()), (400, "InvalidParameterValueException"));
        assert!(message.contains(part), "{message}");
    };
    let by_digest = format!("registry.test/team/app@sha256:{digest}");
    let other =
        Bytes::from(shelf.manifests.lock()[URI].to_vec().repeat(1).into_iter().chain(*b" ").collect::<Vec<_>>());
    shelf.manifests.lock().insert(by_digest.clone(), other);
    invalid(&stage.create("f", of_image(&by_digest)).await, "something else");

    // A layer of the right length and with other bytes.
    let swapped = "registry.test/team/app:swapped";
    shelf.put(swapped, "two", json!({}));
    shelf.blobs.lock().insert(sha256(&layer("two")), layer("six"));
    stage.create("g", of_image(swapped)).await.expect(201);
    let failed = until(&stage, "g", "State", "Failed").await;
    assert!(failed["StateReason"].as_str().unwrap().contains("something else"), "{failed}");
    // Too long and too short ones.
    for (name, bytes) in [("h", vec![0; 9_000]), ("i", vec![0; 10])] {
        let uri = format!("registry.test/team/app:{name}");
        shelf.put(&uri, name, json!({}));
        shelf.blobs.lock().insert(sha256(&layer(name)), bytes.into());
        stage.create(name, of_image(&uri)).await.expect(201);
        for _ in 0..3 {
            sys::Clock::system().sleep(Duration::from_millis(30)).await;
            stage.clock.advance(Duration::from_secs(20));
        }
        until(&stage, name, "State", "Failed").await;
    }
    invalid(&stage.create("j", of_image("registry.test/team/app:absent")).await, "does not exist");
    invalid(&stage.create("j", of_image("registry.test/team/app")).await, "is not valid");
}

#[tokio::test]
async fn a_restart_goes_on_bringing_images_here_and_keeps_what_came_before() {
    let shelf = Shelf::new();
    let digest = shelf.put(URI, "one", json!({}));
    let stage = Stage::with_images(Config::default(), shelf.clone()).await;
    shelf.open(false);
    let mut input = of_image(URI);
    input["Publish"] = json!(true);
    stage.create("f", input).await.expect(201);
    let next = Shelf::new();
    next.put(URI, "one", json!({}));
    let stage = stage.restarted(next.clone()).await;
    assert_eq!(stage.get(&configuration("f")).await.json["State"], "Pending");
    assert_eq!(stage.lambda.sweep_packages().await.unwrap(), 0);
    until(&stage, "f", "State", "Active").await;
    assert_eq!(stage.get(&format!("{}?Qualifier=1", configuration("f"))).await.json["State"], "Active");
    // And once more: everything is here.
    let stage = stage.restarted(Arc::new(lambda::image::NoImages)).await;
    assert_eq!(stage.lambda.sweep_packages().await.unwrap(), 0);
    assert_eq!(invoke(&stage, "f").await.status, 200);
    assert_eq!(ran(&stage), digest);
}

#[tokio::test]
async fn a_pull_that_nobody_works_on_is_taken_up_again_by_the_collector() {
    let shelf = Shelf::new();
    shelf.put(URI, "one", json!({}));
    let stage = Stage::with_images(Config::default(), shelf.clone()).await;
    shelf.open(false);
    stage.create("f", of_image(URI)).await.expect(201);
    while shelf.asked.lock().len() < 2 {
        tokio::task::yield_now().await;
    }
    // One that goes on is left alone: its layer is asked for once.
    stage.lambda.collect_packages(&mut lambda::jobs::Unneeded::default()).await.unwrap();
    shelf.open(true);
    until(&stage, "f", "State", "Active").await;
    assert_eq!(shelf.asked.lock().len(), 2);

    // As when the end of one could not be noted: the record waits, and this process knows of nothing.
    shelf.put("registry.test/team/app:v2", "two", json!({}));
    shelf.open(false);
    stage.create("g", of_image("registry.test/team/app:v2")).await.expect(201);
    let next = Shelf::new();
    next.put("registry.test/team/app:v2", "two", json!({}));
    let stage = stage.restarted(next).await;
    assert_eq!(stage.get(&configuration("g")).await.json["State"], "Pending");
    stage.lambda.collect_packages(&mut lambda::jobs::Unneeded::default()).await.unwrap();
    until(&stage, "g", "State", "Active").await;
}

#[tokio::test]
async fn look_ups_of_one_account_wait_for_each_other() {
    let shelf = Shelf::new();
    shelf.put(URI, "one", json!({}));
    let stage = Stage::with_images(Config::default(), shelf.clone()).await;
    shelf.manifest_gate.send_replace(false);
    let names: Vec<_> = (0..7).map(|n| format!("f{n}")).collect();
    let created = futures_util::future::join_all(names.iter().map(|name| stage.create(name, of_image(URI))));
    let opened = async {
        while shelf.manifest_gate.receiver_count() < 4 {
            tokio::task::yield_now().await;
        }
        sys::Clock::system().sleep(Duration::from_millis(20)).await;
        assert_eq!(shelf.manifest_gate.receiver_count(), 4, "more than an account may have at once");
        shelf.manifest_gate.send_replace(true);
    };
    let (created, ()) = tokio::join!(created, opened);
    assert!(created.into_iter().all(|answer| answer.status == 201));
}

#[tokio::test]
async fn no_version_is_made_of_what_failed_and_a_failed_version_stands_for_nothing() {
    let shelf = Shelf::new();
    shelf.put(URI, "one", json!({}));
    let gone = shelf.blobs.lock().remove(&sha256(&layer("one"))).unwrap();
    let stage = Stage::with_images(Config::default(), shelf.clone()).await;
    let mut input = of_image(URI);
    input["Publish"] = json!(true);
    assert_eq!(stage.create("f", input).await.expect(201)["Version"], "1");
    until(&stage, "f", "State", "Failed").await;
    let versions = format!("{FUNCTIONS}/f/versions");
    let failed =
        "The operation cannot be performed at this time. The function is currently in the following state: Failed";
    let conflict = (409, "ResourceConflictException".to_owned(), failed.to_owned());
    assert_eq!(stage.send("POST", &versions, json!({})).await.error(), conflict);

    shelf.blobs.lock().insert(sha256(&gone), gone);
    stage.send("PUT", &format!("{FUNCTIONS}/f/code"), json!({ "ImageUri": URI })).await.expect(200);
    until(&stage, "f", "State", "Active").await;
    for _ in 0..2 {
        let published = stage.send("POST", &versions, json!({})).await.expect(201);
        assert_eq!((&published["Version"], &published["State"]), (&json!("2"), &json!("Active")));
    }
    assert_eq!(stage.get(&format!("{}?Qualifier=1", configuration("f"))).await.json["State"], "Failed");
}

#[tokio::test]
async fn what_changes_while_the_registry_is_asked_stays_changed() {
    let shelf = Shelf::new();
    shelf.put(URI, "one", json!({}));
    let stage = Stage::with_images(Config::default(), shelf.clone()).await;
    let config = |command: &str| json!({ "ImageConfig": { "Command": [command] } });
    let mut input = of_image(URI);
    input["ImageConfig"] = config("old")["ImageConfig"].clone();
    stage.create("f", input).await.expect(201);
    until(&stage, "f", "State", "Active").await;
    shelf.put(URI, "two", json!({}));
    shelf.manifest_gate.send_replace(false);
    let asked = async {
        while shelf.manifest_gate.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
        stage.send("PUT", &configuration("f"), config("new")).await.expect(200);
        shelf.manifest_gate.send_replace(true);
    };
    let (code, body) = (format!("{FUNCTIONS}/f/code"), json!({ "ImageUri": URI }));
    let (updated, ()) = tokio::join!(stage.send("PUT", &code, body), asked);
    assert_eq!(updated.expect(200)["ImageConfigResponse"], config("new"));
    let active = until(&stage, "f", "LastUpdateStatus", "Successful").await;
    assert_eq!(active["ImageConfigResponse"], config("new"));
}

#[tokio::test]
async fn images_are_collected_when_no_function_names_them_and_shared_layers_stay() {
    let shelf = Shelf::new();
    // The same layer under two configurations.
    shelf.put(URI, "one", json!({ "Cmd": ["a"] }));
    shelf.put("registry.test/team/app:v2", "one", json!({ "Cmd": ["b"] }));
    let stage = Stage::with_images(Config::default(), shelf.clone()).await;
    for (name, uri) in [("f", URI), ("g", "registry.test/team/app:v2")] {
        stage.create(name, of_image(uri)).await.expect(201);
        until(&stage, name, "State", "Active").await;
    }
    let folders = || {
        let boot = std::fs::read_dir(stage.folder.path().join("code")).unwrap().next().unwrap().unwrap().path();
        std::fs::read_dir(boot).unwrap().count()
    };
    assert_eq!(folders(), 2);
    let mut unneeded = lambda::jobs::Unneeded::default();
    let mut pass = async || {
        stage.clock.advance(COLLECT_EVERY);
        stage.lambda.collect_packages(&mut unneeded).await.unwrap()
    };
    assert_eq!((pass().await, pass().await), (0, 0));
    assert_eq!(stage.delete(&format!("{FUNCTIONS}/f")).await.status, 204);
    // Manifest, configuration, folder; the layer is the other's too.
    assert_eq!((pass().await, pass().await, folders()), (0, 3, 1));
    let stored = stage.get(&configuration("g")).await.expect(200);
    assert_eq!(stored["State"], "Active");
    assert_eq!(stage.delete(&format!("{FUNCTIONS}/g")).await.status, 204);
    assert_eq!((pass().await, pass().await, folders()), (0, 4, 0));
}

#[tokio::test]
async fn images_count_as_code_storage() {
    let shelf = Shelf::new();
    shelf.put(URI, "one", json!({}));
    let config = Config { account_code_bytes_max: 4_000, ..Config::default() };
    let stage = Stage::with_images(config, shelf.clone()).await;
    stage.create("f", of_image(URI)).await.expect(201);
    assert_eq!(stage.create("g", of_image(URI)).await.error().1, "CodeStorageExceededException");
}

#[tokio::test]
async fn members_that_do_not_go_together_are_refused_in_awss_words() {
    let shelf = Shelf::new();
    shelf.put(URI, "one", json!({}));
    let stage = Stage::with_images(Config::default(), shelf.clone()).await;
    let change = |more: Value| {
        let mut input = of_image(URI);
        for (name, value) in more.as_object().unwrap() {
            input[name] = value.clone();
        }
        input
    };
    let managed = "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image.";
    for (more, message) in [
        (json!({ "Runtime": "nodejs22.x" }), managed),
        (json!({ "Handler": "a.b" }), managed),
        (json!({ "Code": {} }), "Please provide ImageUri when creating a function with packageType Image."),
        (
            json!({ "PackageType": "Zip", "Runtime": "nodejs22.x", "Handler": "a.b" }),
            "Please do not provide ImageUri when creating a function with packageType Zip.",
        ),
        (
            json!({ "Code": { "ImageUri": URI, "S3Bucket": "bucket", "S3Key": "k" } }),
            "Please do not provide other FunctionCode parameters when providing an ImageUri.",
        ),
        (
            json!({ "SnapStart": { "ApplyOn": "PublishedVersions" } }),
            "SnapStart is not supported for functions of PackageType Image.",
        ),
        (
            json!({ "ImageConfig": { "WorkingDirectory": "relative" } }),
            "ImageConfig.WorkingDirectory \"relative\" is no absolute path.",
        ),
    ] {
        let error = stage.create("f", change(more.clone())).await.error();
        assert_eq!(error, (400, "InvalidParameterValueException".to_owned(), message.to_owned()), "{more}");
    }
    assert_eq!(stage.get(&configuration("f")).await.status, 404);
}
