//! What to generate: the services, and the operations that get types.

/// A service of the `model` crate.
#[derive(Debug)]
pub(super) struct Served {
    /// Name of the module, and of botocore's folder.
    pub(super) name: &'static str,
    /// The code under which violations of constraints are reported.
    pub(super) validation_code: &'static str,
    /// The operations with types and shape tables; all others are only listed.
    pub(super) operations: &'static [&'static str],
}

const VALIDATION_EXCEPTION: &str = "ValidationException";
const VALIDATION_ERROR: &str = "ValidationError";

const fn listed(name: &'static str) -> Served {
    Served { name, validation_code: VALIDATION_EXCEPTION, operations: &[] }
}

/// A service that speaks query.
const fn listed_query(name: &'static str) -> Served {
    Served { name, validation_code: VALIDATION_ERROR, operations: &[] }
}

/// All services.
pub(super) const SERVICES: &[Served] = &[
    Served {
        name: "lambda",
        validation_code: VALIDATION_EXCEPTION,
        operations: &[
            "CreateFunction",
            "CreateFunctionUrlConfig",
            "DeleteFunction",
            "DeleteFunctionUrlConfig",
            "GetAccountSettings",
            "GetFunction",
            "GetFunctionConfiguration",
            "GetFunctionUrlConfig",
            "Invoke",
            "ListFunctionUrlConfigs",
            "ListFunctions",
            "UpdateFunctionCode",
            "UpdateFunctionConfiguration",
            "UpdateFunctionUrlConfig",
        ],
    },
    Served {
        name: "logs",
        validation_code: "InvalidParameterException",
        operations: &["DescribeLogGroups", "DescribeLogStreams", "FilterLogEvents", "GetLogEvents"],
    },
    listed("apigateway"),
    listed("apigatewayv2"),
    listed_query("cloudformation"),
    listed_query("cloudwatch"),
    listed("dynamodb"),
    listed("dynamodbstreams"),
    listed("ecr"),
    listed("events"),
    listed_query("iam"),
    listed("kinesis"),
    listed("kms"),
    listed("pipes"),
    listed("s3"),
    listed("scheduler"),
    listed("secretsmanager"),
    listed_query("sns"),
    listed("sqs"),
    listed("ssm"),
    listed("stepfunctions"),
    listed_query("sts"),
    listed("xray"),
];
