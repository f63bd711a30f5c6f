use http::Request;
use wire::shape::{OperationName, Protocol, ServiceShape};

use super::*;

const fn shape(
    name: &'static str,
    signing_name: &'static str,
    target_prefix: &'static str,
    protocols: &'static [Protocol],
    operations: &'static [OperationName],
) -> ServiceShape {
    ServiceShape {
        name,
        signing_name,
        endpoint_prefix: name,
        target_prefix,
        api_version: "2011-06-15",
        xml_namespace: "",
        protocols,
        query_compatible: false,
        validation_code: "ValidationException",
        operations,
    }
}

static LAMBDA: ServiceShape = shape(
    "lambda",
    "lambda",
    "",
    &[Protocol::RestJson1],
    &[
        OperationName::rest("CreateFunction", "POST", "/2015-03-31/functions"),
        OperationName::rest("ListFunctions", "GET", "/2015-03-31/functions/"),
        OperationName::rest("GetFunction", "GET", "/2015-03-31/functions/{FunctionName}"),
        OperationName::rest("Invoke", "POST", "/2015-03-31/functions/{FunctionName}/invocations"),
        OperationName::rest("GetAccountSettings", "GET", "/2016-08-19/account-settings"),
    ],
);
static LOGS: ServiceShape =
    shape("logs", "logs", "Logs_20140328", &[Protocol::AwsJson1_1], &[OperationName::rpc("GetLogEvents")]);
static STS: ServiceShape = shape("sts", "sts", "", &[Protocol::AwsQuery], &[OperationName::rpc("GetCallerIdentity")]);
static IAM: ServiceShape = shape("iam", "iam", "", &[Protocol::AwsQuery], &[OperationName::rpc("CreateRole")]);
static CLOUDWATCH: ServiceShape = shape(
    "cloudwatch",
    "monitoring",
    "GraniteServiceVersion20100801",
    &[Protocol::RpcV2Cbor, Protocol::AwsJson1_0, Protocol::AwsQuery],
    &[OperationName::rpc("ListMetrics")],
);
static S3: ServiceShape = shape(
    "s3",
    "s3",
    "",
    &[Protocol::RestXml],
    &[
        OperationName::rest("ListBuckets", "GET", "/"),
        OperationName::rest("GetObject", "GET", "/{Bucket}/{Key+}"),
        OperationName::rest("GetObjectAcl", "GET", "/{Bucket}/{Key+}?acl"),
        OperationName::rest("ListObjectsV2", "GET", "/{Bucket}?list-type=2"),
        OperationName::rest("CreateBucket", "PUT", "/{Bucket}"),
    ],
);
static ALL: &[&ServiceShape] = &[&LAMBDA, &LOGS, &STS, &IAM, &CLOUDWATCH, &S3];

/// Method, target, scope service, further headers, body → what it is for, in words.
fn identified(method: &str, uri: &str, scope: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut request = Request::builder().method(method).uri(uri);
    if !scope.is_empty() {
        let value = format!(
            "AWS4-HMAC-SHA256 Credential=AK/20150830/us-east-1/{scope}/aws4_request, SignedHeaders=host, Signature=00"
        );
        request = request.header("authorization", value);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).expect("well formed").into_parts();
    let host = headers.iter().find(|(name, _)| *name == "host").map_or("127.0.0.1", |(_, host)| *host);
    let directory = Directory::new(&[], ALL, "example.com");
    let mut target = directory.identify(&head, host);
    if let Target::InBody { candidates } = &target {
        target = directory.identify_in_body(candidates, &head, host, body.as_bytes());
    }
    let name = |at: usize| directory.known(at).shape.name;
    match target {
        Target::Operation { known, protocol, operation } => format!("{}.{} {protocol:?}", name(known), operation.name),
        Target::UnknownOperation { known, protocol, operation } => format!("{}?{operation} {protocol:?}", name(known)),
        other => format!("{other:?}"),
    }
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");

#[test]
fn w1_every_protocol_is_identified_signed_or_not() {
    let target = |value| ("x-amz-target", value);
    for (method, uri, scope, headers, body, expected) in [
        ("GET", "/2015-03-31/functions/f", "lambda", &[][..], "", "lambda.GetFunction RestJson1"),
        ("GET", "/2015-03-31/functions/f", "", &[], "", "lambda.GetFunction RestJson1"),
        ("GET", "/2015-03-31/functions", "lambda", &[], "", "lambda.ListFunctions RestJson1"),
        ("GET", "/2015-03-31/functions/", "lambda", &[], "", "lambda.ListFunctions RestJson1"),
        ("POST", "/2015-03-31/functions", "lambda", &[], "", "lambda.CreateFunction RestJson1"),
        ("POST", "/2015-03-31/functions/a%2Fb/invocations?Qualifier=1", "lambda", &[], "", "lambda.Invoke RestJson1"),
        ("POST", "/", "logs", &[target("Logs_20140328.GetLogEvents")], "", "logs.GetLogEvents AwsJson1_1"),
        ("POST", "/", "", &[target("Logs_20140328.GetLogEvents")], "", "logs.GetLogEvents AwsJson1_1"),
        ("POST", "/", "sts", &[FORM], "Version=2011-06-15&Action=GetCallerIdentity", "sts.GetCallerIdentity AwsQuery"),
        ("POST", "/", "", &[FORM], "Action=CreateRole", "iam.CreateRole AwsQuery"),
        ("GET", "/?Action=GetCallerIdentity", "", &[], "", "sts.GetCallerIdentity AwsQuery"),
        (
            "POST",
            "/service/GraniteServiceVersion20100801/operation/ListMetrics",
            "monitoring",
            &[("smithy-protocol", "rpc-v2-cbor")],
            "",
            "cloudwatch.ListMetrics RpcV2Cbor",
        ),
        (
            "POST",
            "/",
            "monitoring",
            &[target("GraniteServiceVersion20100801.ListMetrics"), ("content-type", "application/x-amz-json-1.0")],
            "",
            "cloudwatch.ListMetrics AwsJson1_0",
        ),
        ("POST", "/", "monitoring", &[FORM], "Action=ListMetrics", "cloudwatch.ListMetrics AwsQuery"),
        ("GET", "/", "s3", &[], "", "s3.ListBuckets RestXml"),
        ("GET", "/b/k/l", "s3", &[], "", "s3.GetObject RestXml"),
        ("GET", "/b/k?acl", "s3", &[], "", "s3.GetObjectAcl RestXml"),
        ("GET", "/k", "s3", &[("host", "b.s3.us-east-1.localhost")], "", "s3.GetObject RestXml"),
        ("GET", "/?list-type=2", "s3", &[("host", "b.c.s3.localhost")], "", "s3.ListObjectsV2 RestXml"),
        ("GET", "/k", "", &[("host", "b.s3.localhost")], "", "s3.GetObject RestXml"),
        ("GET", "/k", "s3", &[("host", "b.localhost:4566")], "", "s3.GetObject RestXml"),
        ("GET", "/k", "s3", &[("host", "b.c.example.com")], "", "s3.GetObject RestXml"),
        // A bucket may be called like a service.
        ("PUT", "/", "s3", &[("host", "logs.s3.us-east-1.localhost")], "", "s3.CreateBucket RestXml"),
        ("GET", "/k", "", &[("host", "logs.s3.us-east-1.localhost")], "", "s3.GetObject RestXml"),
        ("GET", "/k", "s3", &[("host", "logs.s3-eu-west-1.amazonaws.com")], "", "s3.GetObject RestXml"),
        ("GET", "/k", "s3", &[("host", "logs.localhost:4566")], "", "s3.GetObject RestXml"),
        ("GET", "/k", "s3", &[("host", "logs.x.example.com")], "", "s3.GetObject RestXml"),
        (
            "GET",
            "/k?AWSAccessKeyId=A&Signature=S&Expires=1",
            "",
            &[("host", "logs.localhost")],
            "",
            "s3.GetObject RestXml",
        ),
        ("GET", "/", "s3", &[("host", "s3.localhost:4566")], "", "s3.ListBuckets RestXml"),
        ("GET", "/", "s3", &[("host", "s3.us-east-1.example.com")], "", "s3.ListBuckets RestXml"),
        ("GET", "/b/k?AWSAccessKeyId=A&Signature=S&Expires=1", "", &[], "", "s3.GetObject RestXml"),
        ("PATCH", "/b/k", "s3", &[], "", "s3?PATCH /b/k RestXml"),
    ] {
        assert_eq!(
            identified(method, uri, scope, headers, body),
            expected,
            "{method} {uri} {scope} {headers:?} {body}"
        );
    }
}

#[test]
fn w3_what_is_unknown_is_told_apart() {
    for (method, uri, scope, headers, body, expected) in [
        ("GET", "/nowhere", "lambda", &[][..], "", "lambda?GET /nowhere RestJson1"),
        ("PATCH", "/2015-03-31/functions/f", "lambda", &[], "", "lambda?PATCH /2015-03-31/functions/f RestJson1"),
        ("POST", "/", "logs", &[("x-amz-target", "Logs_20140328.Nope")], "", "logs?Nope AwsJson1_1"),
        ("POST", "/", "sts", &[FORM], "Action=Nope", "sts?Nope AwsQuery"),
        ("POST", "/", "sts", &[FORM], "nothing", "Unidentified { protocol: AwsQuery }"),
        ("POST", "/", "mobiletargeting", &[], "", r#"UnknownService { name: "mobiletargeting", protocol: RestJson1 }"#),
        ("GET", "/favicon.ico", "", &[], "", "Unidentified { protocol: RestJson1 }"),
        ("GET", "/", "", &[], "", "Probe"),
        ("GET", "/nowhere", "", &[("host", "lambda.us-east-1.amazonaws.com")], "", "lambda?GET /nowhere RestJson1"),
        // Nobody signed it, so nothing says whether a bucket or a service is meant.
        ("PUT", "/photos", "", &[("host", "logs.localhost")], "", "logs?PUT /photos AwsJson1_1"),
        ("GET", "/photos/k", "", &[("host", "logs.example.com")], "", "logs?GET /photos/k AwsJson1_1"),
    ] {
        assert_eq!(
            identified(method, uri, scope, headers, body),
            expected,
            "{method} {uri} {scope} {headers:?} {body}"
        );
    }
}

#[test]
fn i9_a_request_signed_for_another_service_is_found_where_it_was_sent() {
    let found = identified("POST", "/", "sts", &[("x-amz-target", "Logs_20140328.GetLogEvents")], "");
    assert_eq!(found, "logs.GetLogEvents AwsJson1_1");
}

#[test]
fn function_urls_are_known_by_host_and_by_path() {
    let url = |id: &str, path: &str| format!("FunctionUrl {{ id: {id:?}, path: {path:?} }}");
    for (uri, host, expected) in [
        ("/", "abc.lambda-url.us-east-1.localhost:4566", url("abc", "/")),
        ("/x?y=1", "ABC.lambda-url.us-east-1.on.aws", url("abc", "/x")),
        ("/_tinderbox/url/abc/x/y", "127.0.0.1", url("abc", "/x/y")),
        ("/_tinderbox/url/abc", "127.0.0.1", url("abc", "/")),
        ("/_tinderbox/url/a.b/", "127.0.0.1", "Admin".to_owned()),
        ("/_tinderbox/health", "127.0.0.1", "Admin".to_owned()),
        ("/_tinderbox/health", "abc.lambda-url.us-east-1.localhost", "Admin".to_owned()),
    ] {
        assert_eq!(identified("GET", uri, "", &[("host", host)], ""), expected, "{uri} {host}");
        assert_eq!(identified("GET", uri, "lambda", &[("host", host)], ""), expected, "signed {uri} {host}");
    }
}

#[test]
fn broken_scopes_do_not_panic() {
    for value in ["AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=", "AWS4-HMAC-SHA256 Credential=a/b", "AWS4-"] {
        let (head, ()) =
            Request::builder().uri("/").header("authorization", value).body(()).expect("well formed").into_parts();
        assert_eq!(scope_service(&head.headers, ""), None, "{value}");
    }
}

/// A path and query that a URI template stands for.
fn example_of(uri: &str) -> String {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let segments = path.split('/').map(|segment| match segment {
        greedy if greedy.ends_with("+}") => "a/b",
        label if label.starts_with('{') => "label",
        literal => literal,
    });
    let path = segments.collect::<Vec<_>>().join("/");
    if query.is_empty() { path } else { format!("{path}?{query}") }
}

#[test]
fn w1_every_operation_of_every_model_is_found_in_every_protocol_of_its_service() {
    let directory = Directory::new(&[], model::SERVICES, "localhost");
    let mut seen = 0;
    let mut wrong = Vec::new();
    for shape in model::SERVICES {
        for (protocol, operation) in shape.protocols.iter().flat_map(|p| shape.operations.iter().map(move |o| (*p, o)))
        {
            let scope = shape.signing_name;
            let auth = format!("AWS4-HMAC-SHA256 Credential=A/20150830/us-east-1/{scope}/aws4_request, Signature=0");
            let target = format!("{}.{}", shape.target_prefix, operation.name);
            let cbor = format!("/service/{}/operation/{}", shape.target_prefix, operation.name);
            let form = format!("Action={}&Version={}", operation.name, shape.api_version);
            let mut request = Request::builder().header("authorization", auth);
            if !operation.header.is_empty() {
                request = request.header(operation.header, "1");
            }
            let request = match protocol {
                Protocol::RestJson1 | Protocol::RestXml => {
                    request.method(operation.method).uri(example_of(operation.uri))
                }
                Protocol::AwsJson1_0 => request.method("POST").uri("/").header("x-amz-target", target),
                Protocol::AwsJson1_1 => request.method("POST").uri("/").header("x-amz-target", target),
                Protocol::AwsQuery => request.method("POST").uri("/").header(FORM.0, FORM.1),
                Protocol::RpcV2Cbor => request.method("POST").uri(cbor).header("smithy-protocol", "rpc-v2-cbor"),
            };
            let (head, ()) = request.body(()).expect("well formed").into_parts();
            let mut found = directory.identify(&head, "localhost");
            if let Target::InBody { candidates } = &found {
                found = directory.identify_in_body(candidates, &head, "localhost", form.as_bytes());
            }
            let same = matches!(&found, Target::Operation { known, protocol: p, operation: o }
                if directory.known(*known).shape.name == shape.name && *p == protocol && o.name == operation.name);
            let label = format!("{}.{} {protocol:?}", shape.name, operation.name);
            if !same {
                wrong.push((label, found));
            }
            seen += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {seen}: {wrong:#?}", wrong.len());
    assert!(seen > 1000, "only {seen}");
}
