//! The managed policies of AWS that tools attach: a small table, not the whole of AWS's.
//!
//! Source: AWS managed policy reference guide. Actions of services that Tinderbox does not have are left out.

/// Name with path, as in `arn:aws:iam::aws:policy/NAME`, and the allowed actions on every resource.
pub(crate) const POLICIES: &[(&str, &[&str])] = &[
    ("AdministratorAccess", &["*"]),
    ("PowerUserAccess", POWER_USER),
    ("ReadOnlyAccess", READ_ONLY),
    ("IAMFullAccess", &["iam:*"]),
    ("IAMReadOnlyAccess", &["iam:Get*", "iam:List*", "iam:Simulate*", "iam:GenerateCredentialReport"]),
    ("AmazonS3FullAccess", &["s3:*", "s3-object-lambda:*"]),
    ("AmazonS3ReadOnlyAccess", &["s3:Get*", "s3:List*", "s3:Describe*", "s3-object-lambda:Get*"]),
    ("AmazonSQSFullAccess", &["sqs:*"]),
    ("AmazonSQSReadOnlyAccess", &["sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:List*"]),
    ("AmazonSNSFullAccess", &["sns:*"]),
    ("AmazonDynamoDBFullAccess", &["dynamodb:*"]),
    (
        "AmazonDynamoDBReadOnlyAccess",
        &[
            "dynamodb:BatchGetItem",
            "dynamodb:Describe*",
            "dynamodb:Get*",
            "dynamodb:List*",
            "dynamodb:Query",
            "dynamodb:Scan",
        ],
    ),
    (
        "AWSLambda_FullAccess",
        &[
            "lambda:*",
            "logs:Describe*",
            "logs:Get*",
            "logs:FilterLogEvents",
            "iam:GetRole",
            "iam:ListRoles",
            "iam:PassRole",
        ],
    ),
    (
        "AWSLambda_ReadOnlyAccess",
        &["lambda:Get*", "lambda:List*", "logs:Describe*", "logs:Get*", "logs:FilterLogEvents"],
    ),
    ("CloudWatchLogsFullAccess", &["logs:*"]),
    ("AWSXRayDaemonWriteAccess", XRAY_WRITE),
    ("AWSXrayWriteOnlyAccess", XRAY_WRITE),
    ("service-role/AWSLambdaBasicExecutionRole", LOGS_WRITE),
    (
        "service-role/AWSLambdaVPCAccessExecutionRole",
        &[
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:PutLogEvents",
            "ec2:CreateNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:DeleteNetworkInterface",
            "ec2:AssignPrivateIpAddresses",
            "ec2:UnassignPrivateIpAddresses",
        ],
    ),
    (
        "service-role/AWSLambdaSQSQueueExecutionRole",
        &[
            "sqs:ReceiveMessage",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:PutLogEvents",
        ],
    ),
    (
        "service-role/AWSLambdaDynamoDBExecutionRole",
        &[
            "dynamodb:DescribeStream",
            "dynamodb:GetRecords",
            "dynamodb:GetShardIterator",
            "dynamodb:ListStreams",
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:PutLogEvents",
        ],
    ),
    (
        "service-role/AWSLambdaKinesisExecutionRole",
        &[
            "kinesis:DescribeStream",
            "kinesis:DescribeStreamSummary",
            "kinesis:GetRecords",
            "kinesis:GetShardIterator",
            "kinesis:ListShards",
            "kinesis:ListStreams",
            "kinesis:SubscribeToShard",
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:PutLogEvents",
        ],
    ),
    ("service-role/AWSLambdaRole", &["lambda:InvokeFunction"]),
];

const LOGS_WRITE: &[&str] = &["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"];
const XRAY_WRITE: &[&str] = &[
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    "xray:GetSamplingStatisticSummaries",
];
const READ_ONLY: &[&str] = &[
    "apigateway:GET",
    "cloudformation:Describe*",
    "cloudformation:Get*",
    "cloudformation:List*",
    "cloudwatch:Describe*",
    "cloudwatch:Get*",
    "cloudwatch:List*",
    "dynamodb:BatchGetItem",
    "dynamodb:Describe*",
    "dynamodb:GetItem",
    "dynamodb:List*",
    "dynamodb:Query",
    "dynamodb:Scan",
    "events:Describe*",
    "events:List*",
    "iam:Get*",
    "iam:List*",
    "iam:Simulate*",
    "kinesis:Describe*",
    "kinesis:Get*",
    "kinesis:List*",
    "kms:Describe*",
    "kms:List*",
    "lambda:Get*",
    "lambda:List*",
    "logs:Describe*",
    "logs:FilterLogEvents",
    "logs:Get*",
    "logs:List*",
    "s3:Get*",
    "s3:List*",
    "sns:Get*",
    "sns:List*",
    "sqs:Get*",
    "sqs:List*",
    "ssm:Describe*",
    "ssm:Get*",
    "ssm:List*",
    "states:Describe*",
    "states:Get*",
    "states:List*",
    "sts:GetCallerIdentity",
    "xray:BatchGet*",
    "xray:Get*",
];
/// All services but the identity service: AWS says it with NotAction.
const POWER_USER: &[&str] = &[
    "apigateway:*",
    "cloudformation:*",
    "cloudwatch:*",
    "dynamodb:*",
    "ecr:*",
    "events:*",
    "execute-api:*",
    "kinesis:*",
    "kms:*",
    "lambda:*",
    "logs:*",
    "pipes:*",
    "s3:*",
    "scheduler:*",
    "secretsmanager:*",
    "sns:*",
    "sqs:*",
    "ssm:*",
    "states:*",
    "sts:*",
    "xray:*",
    "iam:ListRoles",
];

/// The name with path behind an ARN of AWS's own policies.
fn name_of(arn: &str) -> Option<&str> {
    arn.strip_prefix("arn:aws:iam::aws:policy/")
}

/// The document of the policy with this ARN, if the table has it.
pub(crate) fn document(arn: &str) -> Option<String> {
    let name = name_of(arn)?;
    let (_, actions) = POLICIES.iter().find(|(known, _)| *known == name)?;
    let statement = serde_json::json!({ "Effect": "Allow", "Action": actions, "Resource": "*" });
    Some(serde_json::json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string())
}
