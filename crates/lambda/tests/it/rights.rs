//! What authorisation is asked about: actions, resources, condition keys. Source: Service Authorization Reference,
//! "Actions, resources, and condition keys for AWS Lambda".

use serde_json::{Value, json};

use crate::stage::Stage;

const HERE: &str = "arn:aws:lambda:us-east-1:000000000000";

fn layer_keys() -> Value {
    json!({ "Layers": [format!("{HERE}:layer:l:1")] })
}

#[tokio::test]
async fn resources_are_what_is_changed_and_conditions_hear_of_the_request() {
    let stage = Stage::new().await;
    let arn = format!("{HERE}:function:f").replace(':', "%3A");
    for (line, body, expected) in [
        ("PUT /2015-03-31/functions/f:dev/aliases/prod", json!({}), "lambda:UpdateAlias function:f:prod"),
        ("DELETE /2015-03-31/functions/f:dev/aliases/prod", Value::Null, "lambda:DeleteAlias function:f:prod"),
        ("POST /2014-11-13/functions/f:prod/invoke-async/", json!({}), "lambda:InvokeAsync function:f:prod"),
        (
            "POST /2015-03-31/functions/f/policy",
            json!({ "StatementId": "s", "Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "NONE" }),
            "lambda:AddPermission function:f lambda:FunctionUrlAuthType=NONE lambda:Principal=*",
        ),
        (
            "POST /2015-03-31/functions/f/policy",
            json!({ "StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com" }),
            "lambda:AddPermission function:f lambda:Principal=s3.amazonaws.com",
        ),
        (
            "POST /2021-10-31/functions/f/url",
            json!({ "AuthType": "AWS_IAM" }),
            "lambda:CreateFunctionUrlConfig function:f lambda:FunctionUrlAuthType=AWS_IAM",
        ),
        (
            "PUT /2021-10-31/functions/f/url",
            json!({ "AuthType": "NONE" }),
            "lambda:UpdateFunctionUrlConfig function:f lambda:FunctionUrlAuthType=NONE",
        ),
        ("PUT /2021-10-31/functions/f/url", json!({}), "lambda:UpdateFunctionUrlConfig function:f"),
        (
            "PUT /2015-03-31/functions/f/configuration",
            layer_keys(),
            "lambda:UpdateFunctionConfiguration function:f lambda:Layer=arn:aws:lambda:us-east-1:000000000000:layer:l:1; \
             lambda:GetLayerVersion layer:l:1",
        ),
        (&format!("GET /2017-03-31/tags/{arn}"), Value::Null, "lambda:ListTags function:f"),
        ("GET /2018-10-31/layers/l/versions/1", Value::Null, "lambda:GetLayerVersion layer:l:1"),
        (
            &format!("GET /2018-10-31/layers/{}/versions/1", format!("{HERE}:layer:l").replace(':', "%3A")),
            Value::Null,
            "lambda:GetLayerVersion layer:l:1",
        ),
        (
            &format!("GET /2018-10-31/layers?find=LayerVersion&Arn={HERE}:layer:l:1"),
            Value::Null,
            "lambda:GetLayerVersion layer:l:1",
        ),
    ] {
        assert_eq!(stage.asked(line, &body).join("; "), expected, "{line}");
    }
}

#[tokio::test]
async fn a_number_that_is_written_differently_names_no_layer_version() {
    let stage = Stage::new().await;
    let content = json!({ "Content": { "ZipFile": crate::stage::package("1") } });
    stage.send("POST", "/2018-10-31/layers/l/versions", content).await.expect(201);
    let by_arn = |version: &str| format!("/2018-10-31/layers?find=LayerVersion&Arn={HERE}:layer:l:{version}");
    stage.get(&by_arn("1")).await.expect(200);
    assert_eq!(stage.get(&by_arn("001")).await.status, 404, "a policy that denies version 1 does not name it so");
    let layers = json!({ "Layers": [format!("{HERE}:layer:l:001")] });
    let (status, code, _) = stage.create("f", layers).await.error();
    assert_eq!((status, code.as_str()), (400, "InvalidParameterValueException"));
    stage.create("f", layer_keys()).await.expect(201);
}
