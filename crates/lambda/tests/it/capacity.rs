//! Capacity providers and functions on them, as the API has them.

use serde_json::{Value, json};

use crate::stage::{CLOSED_ROLE, FUNCTIONS, Stage};

const CAPACITIES: &str = "/2025-11-30/capacity-providers";
const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:capacity-provider:c";
const ROLE: &str = "arn:aws:iam::000000000000:role/operator";

fn capacity(name: &str) -> Value {
    json!({
        "CapacityProviderName": name,
        "VpcConfig": { "SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"] },
        "PermissionsConfig": { "CapacityProviderOperatorRoleArn": ROLE },
    })
}

/// What a function gives to be on `c`, and `more`.
fn on(more: Value) -> Value {
    let mut config = json!({ "CapacityProviderArn": ARN });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "Runtime": "nodejs22.x", "CapacityProviderConfig": { "LambdaManagedInstancesCapacityProviderConfig": config } })
}

fn with(mut base: Value, more: Value) -> Value {
    base.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    base
}

fn own(shown: &Value) -> &Value {
    &shown["CapacityProviderConfig"]["LambdaManagedInstancesCapacityProviderConfig"]
}

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.send("POST", CAPACITIES, capacity("c")).await.expect(202);
    stage
}

#[tokio::test]
async fn a_capacity_provider_keeps_what_it_was_given_and_is_active_at_once() {
    let stage = Stage::new().await;
    let given = with(
        capacity("c"),
        json!({
            "InstanceRequirements": { "Architectures": ["x86_64"], "AllowedInstanceTypes": ["m7a.large"] },
            "CapacityProviderScalingConfig": {
                "MaxVCpuCount": 12, "ScalingMode": "Manual",
                "ScalingPolicies": [{ "PredefinedMetricType": "LambdaCapacityProviderAverageCPUUtilization", "TargetValue": 40.5 }],
            },
            "KmsKeyArn": "arn:aws:kms:us-east-1:000000000000:key/k",
            "Tags": { "team": "a" },
            "PropagateTags": { "Mode": "Explicit", "ExplicitTags": { "cost": "b" } },
            "TelemetryConfig": { "LoggingConfig": { "SystemLogLevel": "WARN", "LogGroup": "/g" } },
        }),
    );
    let made = stage.send("POST", CAPACITIES, given.clone()).await.expect(202)["CapacityProvider"].clone();
    assert_eq!((&made["CapacityProviderArn"], &made["State"]), (&json!(ARN), &json!("Active")));
    for member in [
        "VpcConfig",
        "PermissionsConfig",
        "InstanceRequirements",
        "CapacityProviderScalingConfig",
        "KmsKeyArn",
        "PropagateTags",
        "TelemetryConfig",
    ] {
        assert_eq!(made[member], given[member], "{member}");
    }
    for name in ["c", "arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Acapacity-provider%3Ac"] {
        assert_eq!(stage.get(&format!("{CAPACITIES}/{name}")).await.expect(200)["CapacityProvider"], made, "{name}");
    }
    let (status, code, _) = stage.send("POST", CAPACITIES, given).await.error();
    assert_eq!((status, code.as_str()), (409, "ResourceConflictException"));
    let change = json!({ "CapacityProviderScalingConfig": { "MaxVCpuCount": 30 } });
    let changed = stage.send("PUT", &format!("{CAPACITIES}/c"), change).await.expect(202)["CapacityProvider"].clone();
    assert_eq!(changed["CapacityProviderScalingConfig"], json!({ "MaxVCpuCount": 30 }));
    assert_eq!(changed["PropagateTags"], made["PropagateTags"]);
    let tags = format!("/2017-03-31/tags/{}", ARN.replace(':', "%3A"));
    stage.send("POST", &tags, json!({ "Tags": { "more": "c" } })).await.expect(204);
    assert_eq!(stage.get(&tags).await.expect(200)["Tags"], json!({ "team": "a", "more": "c" }));
    stage.send("DELETE", &format!("{tags}?tagKeys=team"), json!({})).await.expect(204);
    assert_eq!(stage.get(&tags).await.expect(200)["Tags"], json!({ "more": "c" }));
    let gone = stage.send("DELETE", &format!("{CAPACITIES}/c"), json!({})).await.expect(202);
    assert_eq!(gone["CapacityProvider"]["State"], "Deleting");
    for answer in [
        stage.get(&format!("{CAPACITIES}/c")).await,
        stage.send("PUT", &format!("{CAPACITIES}/c"), json!({})).await,
        stage.send("DELETE", &format!("{CAPACITIES}/c"), json!({})).await,
        stage.get(&format!("{CAPACITIES}/c/function-versions")).await,
        stage.get(&tags).await,
    ] {
        let (status, code, _) = answer.error();
        assert_eq!((status, code.as_str()), (404, "ResourceNotFoundException"));
    }
}

#[tokio::test]
async fn capacity_providers_are_listed_in_pages() {
    let stage = Stage::new().await;
    for name in ["a", "b", "c"] {
        stage.send("POST", CAPACITIES, capacity(name)).await.expect(202);
    }
    let (mut seen, mut marker) = (Vec::new(), String::new());
    loop {
        let page = stage.get(&format!("{CAPACITIES}?MaxItems=2{marker}")).await.expect(200);
        for one in page["CapacityProviders"].as_array().unwrap() {
            seen.push(one["CapacityProviderArn"].as_str().unwrap().rsplit(':').next().unwrap().to_owned());
        }
        match page["NextMarker"].as_str() {
            Some(next) => marker = format!("&Marker={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["a", "b", "c"]);
    let pending = stage.get(&format!("{CAPACITIES}?State=Pending")).await.expect(200);
    assert_eq!(pending["CapacityProviders"], json!([]));
}

#[tokio::test]
async fn what_a_capacity_provider_cannot_be_is_refused() {
    let stage = Stage::new().await;
    for more in [
        json!({ "PermissionsConfig": { "CapacityProviderOperatorRoleArn": CLOSED_ROLE } }),
        json!({ "InstanceRequirements": { "AllowedInstanceTypes": ["a"], "ExcludedInstanceTypes": ["b"] } }),
        json!({ "CapacityProviderScalingConfig": { "ScalingMode": "Manual" } }),
        json!({ "CapacityProviderScalingConfig": { "ScalingMode": "Manual", "ScalingPolicies": [
            { "PredefinedMetricType": "LambdaCapacityProviderAverageCPUUtilization", "TargetValue": 100.5 }] } }),
    ] {
        let (status, code, message) = stage.send("POST", CAPACITIES, with(capacity("c"), more)).await.error();
        assert_eq!((status, code.as_str()), (400, "InvalidParameterValueException"), "{message}");
    }
    assert_eq!(stage.get(&format!("{CAPACITIES}/c")).await.status, 404);
}

#[tokio::test]
async fn l10_a_function_on_a_capacity_provider_has_as_many_slots_as_it_says_or_as_its_runtime_has() {
    let stage = stage().await;
    let shown = stage.create("f", on(json!({}))).await.expect(201);
    let expected = json!({
        "CapacityProviderArn": ARN, "PerExecutionEnvironmentMaxConcurrency": 64, "ExecutionEnvironmentMemoryGiBPerVCpu": 2.0,
    });
    assert_eq!((own(&shown), &shown["MemorySize"]), (&expected, &json!(2_048)));
    assert_eq!(shown["LoggingConfig"]["LogFormat"], "JSON");
    for (name, runtime, memory, slots) in
        [("p", "python3.13", 4_096, 32), ("r", "provided.al2023", 8_192, 32), ("n", "nodejs24.x", 32_768, 1_024)]
    {
        let shown = stage
            .create(name, with(on(json!({})), json!({ "Runtime": runtime, "MemorySize": memory })))
            .await
            .expect(201);
        assert_eq!(own(&shown)["PerExecutionEnvironmentMaxConcurrency"], slots, "{runtime}");
    }
    let uri = format!("{FUNCTIONS}/f/configuration");
    let change = on(json!({ "PerExecutionEnvironmentMaxConcurrency": 3, "ExecutionEnvironmentMemoryGiBPerVCpu": 2.3 }));
    let change = with(change, json!({ "MemorySize": 4_096 }));
    let changed = stage.send("PUT", &uri, change).await.expect(200);
    assert_eq!(own(&changed)["PerExecutionEnvironmentMaxConcurrency"], 3);
    assert_eq!(own(&changed)["ExecutionEnvironmentMemoryGiBPerVCpu"], 2.3);
    assert_eq!(own(&stage.send("PUT", &uri, json!({ "Timeout": 9 })).await.expect(200)), own(&changed));
    assert_eq!(own(&stage.publish("f", "v1").await), own(&changed));
    assert_eq!(stage.call("POST", "/2015-03-31/functions/f/invocations", &[], "{}").await.status, 200);
    let managed = stage.script.invoked.lock()[0].0.managed.expect("the data plane knows");
    assert_eq!((managed.slots, managed.memory_mb_per_cpu), (3, 2_355));
}

#[tokio::test]
async fn what_does_not_go_with_a_capacity_provider_is_refused_and_leaves_nothing() {
    let stage = stage().await;
    for (more, text) in [
        (json!({ "SnapStart": { "ApplyOn": "PublishedVersions" } }), "SnapStart is not supported"),
        (json!({ "TenancyConfig": { "TenantIsolationMode": "PER_TENANT" } }), "Tenant isolation mode is not supported"),
        (json!({ "LoggingConfig": { "LogFormat": "Text" } }), "The log format Text is not supported"),
        (json!({ "MemorySize": 1_024 }), "at least 2048 MB"),
        (json!({ "Runtime": "nodejs20.x" }), "nodejs20.x is not supported"),
        (json!({ "Runtime": "python3.12" }), "python3.12 is not supported"),
    ] {
        let (status, code, message) = stage.create("f", with(on(json!({})), more)).await.error();
        assert_eq!((status, code.as_str()), (400, "InvalidParameterValueException"), "{message}");
        assert!(message.contains(text), "{message}");
    }
    let dense = on(json!({ "ExecutionEnvironmentMemoryGiBPerVCpu": 8 }));
    assert!(stage.create("f", dense).await.error().2.contains("at least 8192 MB"), "one vCPU is the least");
    for bad in [
        json!({ "PerExecutionEnvironmentMaxConcurrency": 0 }),
        json!({ "PerExecutionEnvironmentMaxConcurrency": 1_601 }),
        json!({ "ExecutionEnvironmentMemoryGiBPerVCpu": 1.9 }),
    ] {
        assert_eq!(stage.create("f", on(bad)).await.error().0, 400);
    }
    let elsewhere = on(json!({ "CapacityProviderArn": ARN.replace("provider:c", "provider:gone") }));
    assert_eq!(stage.create("f", elsewhere).await.error().0, 404);
    assert_eq!(stage.get(&format!("{FUNCTIONS}/f")).await.status, 404, "nothing is left half done");

    stage.create("f", on(json!({}))).await.expect(201);
    let version = stage.publish("f", "v1").await["Version"].as_str().unwrap().to_owned();
    let uri = format!("{FUNCTIONS}/f/configuration");
    let provisioned = format!("/2019-09-30/functions/f/provisioned-concurrency?Qualifier={version}");
    for answer in [
        stage.send("PUT", &provisioned, json!({ "ProvisionedConcurrentExecutions": 1 })).await,
        stage.send("PUT", &uri, json!({ "SnapStart": { "ApplyOn": "PublishedVersions" } })).await,
        stage.send("PUT", &uri, json!({ "MemorySize": 512 })).await,
        stage.send("PUT", &uri, json!({ "Runtime": "nodejs20.x" })).await,
    ] {
        let (status, code, _) = answer.error();
        assert_eq!((status, code.as_str()), (400, "InvalidParameterValueException"));
    }
    stage.create("plain", json!({})).await.expect(201);
    let (status, _, message) =
        stage.send("PUT", &format!("{FUNCTIONS}/plain/configuration"), on(json!({}))).await.error();
    assert!(status == 400 && message.contains("when a function is created"), "{message}");
}

#[tokio::test]
async fn a_capacity_provider_in_use_stays_and_says_who_uses_it() {
    let stage = stage().await;
    for name in ["f", "g"] {
        stage.create(name, on(json!({}))).await.expect(201);
    }
    stage.create("other", json!({})).await.expect(201);
    stage.publish("f", "v1").await;
    let (mut seen, mut marker) = (Vec::new(), String::new());
    loop {
        let page = stage.get(&format!("{CAPACITIES}/c/function-versions?MaxItems=1{marker}")).await.expect(200);
        assert_eq!(page["CapacityProviderArn"], ARN);
        for one in page["FunctionVersions"].as_array().unwrap() {
            assert_eq!(one["State"], "Active");
            seen.push(one["FunctionArn"].as_str().unwrap().split_once("function:").unwrap().1.to_owned());
        }
        match page["NextMarker"].as_str() {
            Some(next) => marker = format!("&Marker={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["f:$LATEST", "f:1", "g:$LATEST"]);
    let (status, code, _) = stage.send("DELETE", &format!("{CAPACITIES}/c"), json!({})).await.error();
    assert_eq!((status, code.as_str()), (409, "ResourceConflictException"));
    for name in ["f", "g"] {
        stage.send("DELETE", &format!("{FUNCTIONS}/{name}"), json!({})).await.expect(204);
    }
    stage.send("DELETE", &format!("{CAPACITIES}/c"), json!({})).await.expect(202);
}

#[tokio::test]
async fn what_uses_a_capacity_provider_is_known_without_a_look_at_all_functions() {
    let stage = stage().await;
    stage.send("POST", CAPACITIES, capacity("d")).await.expect(202);
    let users = async |name: &str| {
        let page = stage.get(&format!("{CAPACITIES}/{name}/function-versions")).await.expect(200);
        let arn = |one: &Value| one["FunctionArn"].as_str().unwrap().split_once("function:").unwrap().1.to_owned();
        page["FunctionVersions"].as_array().unwrap().iter().map(arn).collect::<Vec<_>>()
    };
    stage.create("f", with(on(json!({})), json!({ "Publish": true }))).await.expect(201);
    // A record of somebody else's function that cannot be read.
    let place = ["000000000000", "us-east-1", "torn"].map(kv::key::Element::from);
    let head = [kv::key::Element::from("lambda"), kv::key::Element::Uint(1)];
    let torn = &kv::key::pack(&head.into_iter().chain(place).collect::<Vec<_>>());
    stage
        .kv
        .transact(|tx| async move {
            tx.set(torn.clone(), "torn");
            Ok::<_, kv::Error>(())
        })
        .await
        .unwrap();
    assert_eq!(users("c").await, ["f:$LATEST", "f:1"]);
    let uri = format!("{FUNCTIONS}/f/configuration");
    let moved = on(json!({ "CapacityProviderArn": ARN.replace("provider:c", "provider:d") }));
    stage.send("PUT", &uri, moved).await.expect(200);
    for number in 2..=11 {
        assert_eq!(stage.publish("f", "more").await["Version"], number.to_string());
        stage.send("PUT", &uri, json!({ "Timeout": number })).await.expect(200);
    }
    assert_eq!(users("c").await, ["f:1"]);
    let expected: Vec<_> = std::iter::once("f:$LATEST".to_owned()).chain((2..=11).map(|n| format!("f:{n}"))).collect();
    assert_eq!(users("d").await, expected);
    assert_eq!(stage.send("DELETE", &format!("{CAPACITIES}/c"), json!({})).await.status, 409);
    stage.send("DELETE", &format!("{FUNCTIONS}/f?Qualifier=1"), json!({})).await.expect(204);
    stage.send("DELETE", &format!("{CAPACITIES}/c"), json!({})).await.expect(202);
    assert_eq!(stage.send("DELETE", &format!("{CAPACITIES}/d"), json!({})).await.status, 409);
    stage.send("DELETE", &format!("{FUNCTIONS}/f"), json!({})).await.expect(204);
    stage.send("DELETE", &format!("{CAPACITIES}/d"), json!({})).await.expect(202);
}

#[tokio::test]
async fn environments_that_are_kept_take_no_more_memory_together_than_the_node_keeps_for_them() {
    let stage = Stage::with(lambda::Config { provisioned_mb_max: 5_000, ..lambda::Config::default() }).await;
    stage.send("POST", CAPACITIES, capacity("c")).await.expect(202);
    for name in ["f", "g"] {
        stage.create(name, on(json!({}))).await.expect(201);
        assert_eq!(stage.publish(name, "v1").await["Version"], "1");
    }
    stage.create("plain", json!({ "MemorySize": 512, "Publish": true })).await.expect(201);
    let scale = |name: &str, min: i32| {
        let uri = format!("/2025-11-30/functions/{name}/function-scaling-config?Qualifier=1");
        let body = json!({ "FunctionScalingConfig": { "MinExecutionEnvironments": min } });
        let stage = &stage;
        async move { stage.send("PUT", &uri, body).await }
    };
    let provision = |count: i32| {
        let uri = "/2019-09-30/functions/plain/provisioned-concurrency?Qualifier=1";
        let stage = &stage;
        async move { stage.send("PUT", uri, json!({ "ProvisionedConcurrentExecutions": count })).await }
    };
    scale("f", 1).await.expect(202);
    let (status, code, message) = scale("g", 2).await.error();
    assert_eq!((status, code.as_str()), (400, "InvalidParameterValueException"));
    assert_eq!(message, "All provisioned environments of this node would take 6144 MB; it keeps 5000 MB for them.");
    scale("g", 1).await.expect(202);
    let (status, _, message) = provision(2).await.error();
    assert!(status == 400 && message.contains("would take 5120 MB"), "{message}");
    provision(1).await.expect(202);
    // What it has already is not counted twice.
    scale("g", 0).await.expect(202);
    scale("f", 2).await.expect(202);
    assert!(scale("f", 3).await.error().2.contains("would take 6656 MB"));
}

#[tokio::test]
async fn the_environments_of_a_version_are_kept_and_bounded() {
    let stage = stage().await;
    stage.create("f", on(json!({}))).await.expect(201);
    stage.create("plain", json!({})).await.expect(201);
    let version = stage.publish("f", "v1").await["Version"].as_str().unwrap().to_owned();
    let plain = stage.publish("plain", "v1").await["Version"].as_str().unwrap().to_owned();
    let uri = |name: &str, qualifier: &str| {
        format!("/2025-11-30/functions/{name}/function-scaling-config?Qualifier={qualifier}")
    };
    let none = stage.get(&uri("f", &version)).await.expect(200);
    assert_eq!(none["RequestedFunctionScalingConfig"], json!({}));
    let given = json!({ "MinExecutionEnvironments": 1, "MaxExecutionEnvironments": 2 });
    let wanted = json!({ "FunctionScalingConfig": given });
    assert_eq!(stage.send("PUT", &uri("f", &version), wanted.clone()).await.expect(202)["FunctionState"], "Active");
    let shown = stage.get(&uri("f", &version)).await.expect(200);
    assert_eq!((&shown["AppliedFunctionScalingConfig"], &shown["RequestedFunctionScalingConfig"]), (&given, &given));
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:f";
    assert_eq!(shown["FunctionArn"], format!("{arn}:{version}"));
    assert_eq!(stage.script.provisioned.lock()[arn], [(version.clone(), 1)]);
    let invocation = format!("/2015-03-31/functions/f/invocations?Qualifier={version}");
    assert_eq!(stage.call("POST", &invocation, &[], "{}").await.status, 200);
    assert_eq!(stage.script.invoked.lock()[0].0.concurrency.environments_max, Some(2));
    let turned = json!({ "FunctionScalingConfig": { "MinExecutionEnvironments": 3, "MaxExecutionEnvironments": 2 } });
    for (uri, body) in [
        (uri("f", &version), turned),
        (uri("plain", &plain), wanted.clone()),
        (uri("f", "$LATEST.PUBLISHED"), wanted.clone()),
    ] {
        assert_eq!(stage.send("PUT", &uri, body).await.error().0, 400, "{uri}");
    }
    assert_eq!(stage.send("PUT", &uri("f", "7"), wanted).await.error().0, 404);
    stage.send("DELETE", &format!("{FUNCTIONS}/f?Qualifier={version}"), json!({})).await.expect(204);
    assert_eq!(stage.script.provisioned.lock()[arn], []);
}
