//! Code signing configurations. Answers and messages are AWS's as LocalStack has recorded them
//! (`test_lambda_api.snapshot.json`, `TestCodeSigningConfig`), and as issues of SAM and CDK quote them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::stage::{FUNCTIONS, Stage, package};

const CONFIGS: &str = "/2020-04-22/code-signing-configs";
const PROFILE: &str = "arn:aws:signer:us-east-1:000000000000:/signing-profiles/test";
const ABSENT: &str = "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdef0";
const REFUSED: &str = "Lambda cannot deploy the function. The function or layer might be signed using a signature that the \
                       client is not configured to accept. Check the provided signature for f.";

fn of_config(arn: &str) -> String {
    format!("{CONFIGS}/{}", arn.replace(':', "%3A"))
}

fn of_function(name: &str) -> String {
    format!("/2020-06-30/functions/{name}/code-signing-config")
}

/// CreateCodeSigningConfig; its ARN.
async fn config(stage: &Stage, policy: Option<&str>) -> String {
    let mut input = json!({ "AllowedPublishers": { "SigningProfileVersionArns": [PROFILE] } });
    if let Some(policy) = policy {
        input["CodeSigningPolicies"] = json!({ "UntrustedArtifactOnDeployment": policy });
    }
    let made = stage.send("POST", CONFIGS, input).await.expect(201);
    made["CodeSigningConfig"]["CodeSigningConfigArn"].as_str().expect("an ARN").to_owned()
}

async fn enforce(stage: &Stage, arn: &str, policy: &str) {
    let change = json!({ "CodeSigningPolicies": { "UntrustedArtifactOnDeployment": policy } });
    stage.send("PUT", &of_config(arn), change).await.expect(200);
}

#[tokio::test]
async fn configurations_are_made_read_changed_and_deleted() {
    let stage = Stage::new().await;
    // CreateCodeSigningConfig, GetCodeSigningConfig, UpdateCodeSigningConfig, DeleteCodeSigningConfig
    let input = json!({
        "Description": "Testing CodeSigning Config",
        "AllowedPublishers": { "SigningProfileVersionArns": [PROFILE] },
        "CodeSigningPolicies": { "UntrustedArtifactOnDeployment": "Enforce" },
    });
    let mut made = stage.send("POST", CONFIGS, input).await.expect(201);
    let arn = made["CodeSigningConfig"]["CodeSigningConfigArn"].as_str().unwrap().to_owned();
    let id = arn.strip_prefix("arn:aws:lambda:us-east-1:000000000000:code-signing-config:").unwrap();
    assert_eq!((id.len(), &id[..4]), (21, "csc-"));
    let expected = json!({ "CodeSigningConfig": {
        "AllowedPublishers": { "SigningProfileVersionArns": [PROFILE] },
        "CodeSigningConfigArn": arn,
        "CodeSigningConfigId": id,
        "CodeSigningPolicies": { "UntrustedArtifactOnDeployment": "Enforce" },
        "Description": "Testing CodeSigning Config",
        "LastModified": "2026-11-23T09:00:00.000+0000",
    } });
    assert_eq!(made, expected);
    assert_eq!(stage.get(&of_config(&arn)).await.expect(200), made);

    stage.clock.advance(std::time::Duration::from_secs(1));
    enforce(&stage, &arn, "Warn").await;
    made["CodeSigningConfig"]["CodeSigningPolicies"]["UntrustedArtifactOnDeployment"] = json!("Warn");
    made["CodeSigningConfig"]["LastModified"] = json!("2026-11-23T09:00:01.000+0000");
    assert_eq!(stage.get(&of_config(&arn)).await.expect(200), made, "what is not given stays");
    let change = json!({
        "Description": "d",
        "AllowedPublishers": { "SigningProfileVersionArns": [PROFILE, format!("{PROFILE}/v2")] },
    });
    let changed = stage.send("PUT", &of_config(&arn), change).await.expect(200);
    assert_eq!(changed["CodeSigningConfig"]["Description"], "d");
    assert_eq!(
        changed["CodeSigningConfig"]["AllowedPublishers"]["SigningProfileVersionArns"].as_array().unwrap().len(),
        2
    );
    assert_eq!(changed["CodeSigningConfig"]["CodeSigningPolicies"], json!({ "UntrustedArtifactOnDeployment": "Warn" }));

    assert_eq!(stage.delete(&of_config(&arn)).await.status, 204);
    assert_eq!(stage.get(&of_config(&arn)).await.error().0, 404);
    let plain = config(&stage, None).await;
    let plain = stage.get(&of_config(&plain)).await.expect(200)["CodeSigningConfig"].take();
    assert_eq!(plain["CodeSigningPolicies"], json!({ "UntrustedArtifactOnDeployment": "Warn" }), "the default");
    assert_eq!(plain.get("Description"), None);
}

#[tokio::test]
async fn what_is_not_there_is_answered_in_awss_words() {
    let stage = Stage::new().await;
    stage.create("f", json!({})).await.expect(201);
    let arn = config(&stage, Some("Enforce")).await;
    let elsewhere = arn.replace("us-east-1", "eu-west-1");
    for absent in [ABSENT, &elsewhere] {
        let missing = format!("The Lambda code signing configuration {absent} can not be found.");
        for answer in [
            stage.get(&of_config(absent)).await,
            stage.delete(&of_config(absent)).await,
            stage.send("PUT", &of_config(absent), json!({ "Description": "d" })).await,
            stage.send("PUT", &of_config(absent), json!({})).await,
            stage.get(&format!("{}/functions", of_config(absent))).await,
        ] {
            assert_eq!(answer.error(), (404, "ResourceNotFoundException".to_owned(), missing.clone()));
            assert_eq!(answer.json.get("Type"), None);
        }
        let unusable = format!(
            "The code signing configuration cannot be found. Check that the provided configuration is not deleted: {absent}."
        );
        let wanted = json!({ "CodeSigningConfigArn": absent });
        for answer in [
            stage.send("PUT", &of_function("f"), wanted.clone()).await,
            stage.send("PUT", &of_function("g"), wanted.clone()).await,
            stage.create("g", wanted).await,
        ] {
            assert_eq!(answer.error(), (404, "CodeSigningConfigNotFoundException".to_owned(), unusable.clone()));
            assert_eq!(answer.json["Type"], "User");
        }
    }
    let no_function = "Function not found: arn:aws:lambda:us-east-1:000000000000:function:g";
    for answer in [
        stage.send("PUT", &of_function("g"), json!({ "CodeSigningConfigArn": arn })).await,
        stage.delete(&of_function("g")).await,
        stage.get(&of_function("g")).await,
    ] {
        assert_eq!(answer.error(), (404, "ResourceNotFoundException".to_owned(), no_function.to_owned()));
    }
    assert_eq!(stage.delete(&of_function("f")).await.status, 204, "there is nothing to take away");
    assert_eq!(stage.get(&format!("{}/functions", of_config(&arn))).await.expect(200), json!({ "FunctionArns": [] }));
    for bad in [
        json!({}),
        json!({ "AllowedPublishers": { "SigningProfileVersionArns": [] } }),
        json!({ "AllowedPublishers": { "SigningProfileVersionArns": vec![PROFILE; 21] } }),
        json!({ "AllowedPublishers": { "SigningProfileVersionArns": [format!("{PROFILE}{}", "x".repeat(1_024))] } }),
        json!({ "AllowedPublishers": { "SigningProfileVersionArns": [format!("{PROFILE}\u{1}")] } }),
        json!({ "AllowedPublishers": { "SigningProfileVersionArns": [PROFILE] }, "Description": "d".repeat(257) }),
        json!({
            "AllowedPublishers": { "SigningProfileVersionArns": [PROFILE] },
            "CodeSigningPolicies": { "UntrustedArtifactOnDeployment": "Maybe" },
        }),
    ] {
        assert_eq!(stage.send("POST", CONFIGS, bad.clone()).await.error().0, 400, "{bad}");
    }
}

#[tokio::test]
async fn t13_a_function_without_a_configuration_has_an_empty_one_and_no_error() {
    let stage = Stage::new().await;
    stage.create("f", json!({})).await.expect(201);
    let arn = config(&stage, None).await;
    let with = |arn: &str| json!({ "CodeSigningConfigArn": arn, "FunctionName": "f" });
    // GetFunctionCodeSigningConfig, PutFunctionCodeSigningConfig, DeleteFunctionCodeSigningConfig
    assert_eq!(stage.get(&of_function("f")).await.expect(200), with(""));
    let put = stage.send("PUT", &of_function("f"), json!({ "CodeSigningConfigArn": arn })).await.expect(200);
    assert_eq!(put, with(&arn));
    assert_eq!(stage.get(&of_function("f")).await.expect(200), with(&arn));
    assert_eq!(stage.delete(&of_function("f")).await.status, 204);
    assert_eq!(stage.get(&of_function("f")).await.expect(200), with(""));
}

#[tokio::test]
async fn enforce_keeps_out_what_nobody_signed_and_leaves_nothing_behind() {
    let stage = Stage::new().await;
    let arn = config(&stage, Some("Enforce")).await;
    let refused = (400, "CodeVerificationFailedException".to_owned(), REFUSED.to_owned());
    assert_eq!(stage.create("f", json!({ "CodeSigningConfigArn": arn })).await.error(), refused);
    assert_eq!(stage.get(&format!("{FUNCTIONS}/f")).await.status, 404);
    let uses = stage.get(&format!("{}/functions", of_config(&arn))).await.expect(200);
    assert_eq!(uses, json!({ "FunctionArns": [] }));

    let before = stage.create("f", json!({})).await.expect(201);
    stage.send("PUT", &of_function("f"), json!({ "CodeSigningConfigArn": arn })).await.expect(200);
    let code = format!("{FUNCTIONS}/f/code");
    for change in [
        json!({ "ZipFile": package("2") }),
        json!({ "ZipFile": package("2"), "DryRun": true }),
        json!({ "ZipFile": package("2"), "Publish": true }),
        json!({ "S3Bucket": "code", "S3Key": "f.zip" }),
    ] {
        assert_eq!(stage.send("PUT", &code, change).await.error(), refused);
    }
    let gone = stage.send("PUT", &code, json!({ "S3Bucket": "code", "S3Key": "g.zip" })).await.error();
    assert_eq!(gone.1, "InvalidParameterValueException", "there is no package to look for a signature in");
    // A layer may be published; a function does not get it.
    let layer = json!({ "Content": { "ZipFile": package("1") } });
    let layer = stage.send("POST", "/2018-10-31/layers/l/versions", layer).await.expect(201);
    let uri = format!("{FUNCTIONS}/f/configuration");
    let layers = json!({ "Layers": [layer["LayerVersionArn"]] });
    assert_eq!(stage.send("PUT", &uri, layers.clone()).await.error(), refused);
    assert_eq!(stage.get(&uri).await.expect(200), before, "what was there runs on");
    stage.send("PUT", &uri, json!({ "Timeout": 9 })).await.expect(200);
    assert_eq!(stage.send("POST", &format!("{FUNCTIONS}/f/versions"), json!({})).await.status, 201);
    stage.call("POST", &format!("{FUNCTIONS}/f/invocations"), &[], "{}").await.expect(200);

    enforce(&stage, &arn, "Warn").await;
    stage.send("PUT", &uri, layers.clone()).await.expect(200);
    enforce(&stage, &arn, "Enforce").await;
    stage.send("PUT", &uri, layers).await.expect(200);
    stage.send("PUT", &uri, json!({ "Layers": [] })).await.expect(200);
    assert_eq!(stage.delete(&of_function("f")).await.status, 204);
    stage.send("PUT", &code, json!({ "ZipFile": package("2") })).await.expect(200);
}

#[tokio::test]
async fn warn_lets_everything_in() {
    let stage = Stage::new().await;
    let arn = config(&stage, Some("Warn")).await;
    stage.create("f", json!({ "CodeSigningConfigArn": arn })).await.expect(201);
    assert_eq!(stage.get(&of_function("f")).await.expect(200)["CodeSigningConfigArn"], arn);
    assert_eq!(stage.publish("f", "2").await["Version"], "1");
    enforce(&stage, &arn, "Enforce").await;
    let (status, code, _) =
        stage.send("PUT", &format!("{FUNCTIONS}/f/code"), json!({ "ZipFile": package("3") })).await.error();
    assert_eq!((status, code.as_str()), (400, "CodeVerificationFailedException"), "the next deployment hears of it");
}

#[tokio::test]
async fn a_configuration_carries_tags() {
    let stage = Stage::new().await;
    let input = json!({ "AllowedPublishers": { "SigningProfileVersionArns": [PROFILE] }, "Tags": { "a": "1" } });
    let made = stage.send("POST", CONFIGS, input).await.expect(201);
    let arn = made["CodeSigningConfig"]["CodeSigningConfigArn"].as_str().unwrap();
    let uri = format!("/2017-03-31/tags/{}", arn.replace(':', "%3A"));
    assert_eq!(stage.send("POST", &uri, json!({ "Tags": { "b": "2" } })).await.status, 204);
    assert_eq!(stage.get(&uri).await.expect(200), json!({ "Tags": { "a": "1", "b": "2" } }));
    assert_eq!(stage.delete(&format!("{uri}?tagKeys=a")).await.status, 204);
    assert_eq!(stage.get(&uri).await.expect(200), json!({ "Tags": { "b": "2" } }));
    assert_eq!(stage.facts(arn).await.tags, [("b".to_owned(), "2".to_owned())], "policies see them");
    assert_eq!(stage.facts(ABSENT).await, wire::ResourceFacts::default());
    let many: serde_json::Map<_, _> = (0..50).map(|n| (format!("t{n}"), json!("v"))).collect();
    assert_eq!(stage.send("POST", &uri, json!({ "Tags": many })).await.error().0, 400, "51 tags");
    assert_eq!(stage.get(&of_config(arn)).await.expect(200), made, "tags are no part of the configuration");
    let absent = format!("/2017-03-31/tags/{}", ABSENT.replace(':', "%3A"));
    assert_eq!(stage.get(&absent).await.error().1, "ResourceNotFoundException");
}

#[tokio::test]
async fn rights_are_asked_about_the_configuration_and_the_function() {
    let stage = Stage::new().await;
    let id = ABSENT.rsplit_once(':').unwrap().1;
    let key = format!("lambda:CodeSigningConfigArn={ABSENT}");
    let tags = json!({ "AllowedPublishers": { "SigningProfileVersionArns": [PROFILE] }, "Tags": { "a": "1" } });
    for (line, body, expected) in [
        (
            format!("POST {CONFIGS}"),
            tags,
            "lambda:CreateCodeSigningConfig * aws:RequestTag/a=1 aws:TagKeys=a".to_owned(),
        ),
        (
            format!("GET {}", of_config(ABSENT)),
            Value::Null,
            format!("lambda:GetCodeSigningConfig code-signing-config:{id}"),
        ),
        (
            format!("GET {}/functions", of_config(ABSENT)),
            Value::Null,
            format!("lambda:ListFunctionsByCodeSigningConfig code-signing-config:{id}"),
        ),
        (
            format!("PUT {}", of_function("f")),
            json!({ "CodeSigningConfigArn": ABSENT }),
            format!("lambda:PutFunctionCodeSigningConfig code-signing-config:{id},function:f {key}"),
        ),
        (
            format!("DELETE {}", of_function("f")),
            Value::Null,
            "lambda:DeleteFunctionCodeSigningConfig function:f".to_owned(),
        ),
        (
            format!("GET /2017-03-31/tags/{}", ABSENT.replace(':', "%3A")),
            Value::Null,
            format!("lambda:ListTags code-signing-config:{id}"),
        ),
    ] {
        assert_eq!(stage.asked(&line, &body).join("; "), expected, "{line}");
    }
    let create = json!({
        "FunctionName": "f", "Role": "arn:aws:iam::000000000000:role/r", "Code": {}, "CodeSigningConfigArn": ABSENT,
    });
    let asked = stage.asked(&format!("POST {FUNCTIONS}"), &create);
    assert_eq!(asked[0], format!("lambda:CreateFunction function:f {key}"));
}

/// Every item of a listing, in pages of `page`.
async fn listed(stage: &Stage, uri: &str, member: &str, page: usize) -> Vec<Value> {
    let (mut all, mut marker) = (Vec::new(), String::new());
    loop {
        let mut answer = stage.get(&format!("{uri}?MaxItems={page}{marker}")).await.expect(200);
        let Value::Array(items) = answer[member].take() else { panic!("no list in {answer}") };
        assert!(items.len() <= page);
        all.extend(items);
        match answer.get("NextMarker").and_then(Value::as_str) {
            Some(next) => marker = format!("&Marker={next}"),
            None => return all,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Config { enforce: bool },
    Update { config: usize, enforce: bool },
    DeleteConfig { config: usize },
    OfFunction(OfFunction),
}

#[derive(Clone, Debug)]
enum OfFunction {
    Create { name: usize, config: Option<usize> },
    Code { name: usize },
    Delete { name: usize },
    Put { name: usize, config: usize },
    Remove { name: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let (config, name) = (0..4usize, 0..3usize);
    let of_function = prop_oneof![
        (name.clone(), prop::option::of(config.clone())).prop_map(|(name, config)| OfFunction::Create { name, config }),
        name.clone().prop_map(|name| OfFunction::Code { name }),
        name.clone().prop_map(|name| OfFunction::Delete { name }),
        (name.clone(), config.clone()).prop_map(|(name, config)| OfFunction::Put { name, config }),
        name.prop_map(|name| OfFunction::Remove { name }),
    ];
    prop_oneof![
        1 => any::<bool>().prop_map(|enforce| Step::Config { enforce }),
        1 => (config.clone(), any::<bool>()).prop_map(|(config, enforce)| Step::Update { config, enforce }),
        1 => config.prop_map(|config| Step::DeleteConfig { config }),
        5 => of_function.prop_map(Step::OfFunction),
    ]
}

/// The plain model: configurations and functions, each function with the configuration that it has.
#[derive(Default)]
struct Model {
    /// ARNs in the order in which they were made; those that are gone stay here.
    made: Vec<String>,
    /// Whether it enforces.
    configs: BTreeMap<String, bool>,
    functions: BTreeMap<String, Option<String>>,
}

impl Model {
    fn arn(&self, config: usize) -> String {
        self.made.get(config).cloned().unwrap_or_else(|| ABSENT.to_owned())
    }

    fn lets_in(&self, config: Option<&String>) -> bool {
        config.is_none_or(|arn| !self.configs[arn])
    }

    fn users(&self, arn: &str) -> BTreeSet<String> {
        let of = |(name, config): (&String, &Option<String>)| (config.as_deref() == Some(arn)).then(|| name.clone());
        self.functions.iter().filter_map(of).collect()
    }

    /// Takes a step here and there; both must answer the same.
    async fn take(&mut self, stage: &Stage, step: &Step) {
        let (status, expected) = match step.clone() {
            Step::Config { enforce } => {
                let arn = config(stage, Some(if enforce { "Enforce" } else { "Warn" })).await;
                self.made.push(arn.clone());
                self.configs.insert(arn, enforce);
                return;
            }
            Step::Update { config, enforce } => {
                let arn = self.arn(config);
                let change = json!({
                    "CodeSigningPolicies": { "UntrustedArtifactOnDeployment": if enforce { "Enforce" } else { "Warn" } },
                });
                let answer = stage.send("PUT", &of_config(&arn), change).await;
                let known = self.configs.get_mut(&arn).map(|before| *before = enforce).is_some();
                (answer.status, if known { 200 } else { 404 })
            }
            Step::DeleteConfig { config } => {
                let arn = self.arn(config);
                let answer = stage.delete(&of_config(&arn)).await;
                let expected = match (self.configs.contains_key(&arn), self.users(&arn).is_empty()) {
                    (false, _) => 404,
                    (true, false) => 409,
                    (true, true) => 204,
                };
                if expected == 204 {
                    self.configs.remove(&arn);
                }
                (answer.status, expected)
            }
            Step::OfFunction(step) => self.take_of_function(stage, step).await,
        };
        assert_eq!(status, expected, "{step:?}");
    }

    /// The status there and here.
    async fn take_of_function(&mut self, stage: &Stage, step: OfFunction) -> (u16, u16) {
        match step {
            OfFunction::Create { name, config } => {
                let (name, arn) = (format!("f{name}"), config.map(|config| self.arn(config)));
                let answer = stage.create(&name, json!({ "CodeSigningConfigArn": arn })).await;
                let expected = match &arn {
                    _ if self.functions.contains_key(&name) => 409,
                    Some(arn) if !self.configs.contains_key(arn) => 404,
                    arn if !self.lets_in(arn.as_ref()) => 400,
                    _ => 201,
                };
                if expected == 201 {
                    self.functions.insert(name, arn);
                }
                (answer.status, expected)
            }
            OfFunction::Code { name } => {
                let name = format!("f{name}");
                let code = json!({ "ZipFile": package(&name) });
                let answer = stage.send("PUT", &format!("{FUNCTIONS}/{name}/code"), code).await;
                let expected = match self.functions.get(&name) {
                    None => 404,
                    Some(config) if !self.lets_in(config.as_ref()) => 400,
                    Some(_) => 200,
                };
                (answer.status, expected)
            }
            OfFunction::Delete { name } => {
                let answer = stage.delete(&format!("{FUNCTIONS}/f{name}")).await;
                let known = self.functions.remove(&format!("f{name}")).is_some();
                (answer.status, if known { 204 } else { 404 })
            }
            OfFunction::Put { name, config } => {
                let (name, arn) = (format!("f{name}"), self.arn(config));
                let answer = stage.send("PUT", &of_function(&name), json!({ "CodeSigningConfigArn": arn })).await;
                let known = self.configs.contains_key(&arn) && self.functions.contains_key(&name);
                if known {
                    self.functions.insert(name, Some(arn));
                }
                (answer.status, if known { 200 } else { 404 })
            }
            OfFunction::Remove { name } => {
                let answer = stage.delete(&of_function(&format!("f{name}"))).await;
                let known = self.functions.get_mut(&format!("f{name}")).map(|config| *config = None).is_some();
                (answer.status, if known { 204 } else { 404 })
            }
        }
    }

    async fn compare(&self, stage: &Stage, page: usize) {
        // ListCodeSigningConfigs, ListFunctionsByCodeSigningConfig
        let there = listed(stage, CONFIGS, "CodeSigningConfigs", page).await;
        let there: Vec<_> = there.iter().map(|one| one["CodeSigningConfigArn"].as_str().expect("an ARN")).collect();
        assert_eq!(there, self.configs.keys().collect::<Vec<_>>());
        for arn in self.configs.keys() {
            let users = listed(stage, &format!("{}/functions", of_config(arn)), "FunctionArns", page).await;
            let here = self.users(arn);
            let here: Vec<_> = here
                .iter()
                .map(|name| json!(format!("arn:aws:lambda:us-east-1:000000000000:function:{name}")))
                .collect();
            assert_eq!(users, here, "{arn}");
        }
        for (name, config) in &self.functions {
            let got = stage.get(&of_function(name)).await.expect(200);
            assert_eq!(got["CodeSigningConfigArn"], json!(config.clone().unwrap_or_default()), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn configurations_functions_and_uses_agree_with_a_plain_model(
        steps in prop::collection::vec(step(), 1..40), page in 1usize..5,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (stage, mut model) = (Stage::new().await, Model::default());
            for step in &steps {
                model.take(&stage, step).await;
            }
            model.compare(&stage, page).await;
        });
    }
}

#[tokio::test]
async fn of_a_deletion_and_a_use_at_once_one_wins() {
    let stage = Stage::new().await;
    stage.create("f", json!({})).await.expect(201);
    for _ in 0..20 {
        let arn = config(&stage, None).await;
        let (of_config, of_function) = (of_config(&arn), of_function("f"));
        let (deleted, put) = tokio::join!(
            stage.delete(&of_config),
            stage.send("PUT", &of_function, json!({ "CodeSigningConfigArn": arn }))
        );
        assert!(matches!((deleted.status, put.status), (204, 404) | (409, 200)), "{deleted:?} {put:?}");
        assert_eq!(stage.get(&of_config).await.status, if deleted.status == 204 { 404 } else { 200 });
    }
}
