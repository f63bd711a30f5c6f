"""The walk over every operation of every service: denied without a permission, allowed with exactly the documented one.

Generated from botocore's models (test:G9), so that no route is forgotten: an operation that Tinderbox begins to serve is
walked from that day on. What AWS documents (service authorization reference) stands below where it is not simply
`service:Operation`.
"""

import json
import re
import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path

import boto3
import pytest
from blackbox.functions import unique
from blackbox.server import REGION, REPOSITORY
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

SERVICES = sorted(re.findall(r"^(?:pub )?mod (\w+);", (Path(REPOSITORY) / "crates/model/src/lib.rs").read_text(), re.M))

# The action of an operation, where it is not its own name.
ACTION = {
    "lambda": {
        "Invoke": "InvokeFunction",
        "InvokeWithResponseStream": "InvokeFunction",
        "GetLayerVersionByArn": "GetLayerVersion",
    },
    "sqs": {
        "SendMessageBatch": "SendMessage",
        "DeleteMessageBatch": "DeleteMessage",
        "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
    },
    "sns": {"PublishBatch": "Publish"},
    "s3": {
        "AbortMultipartUpload": "AbortMultipartUpload",
        "CompleteMultipartUpload": "PutObject",
        "CopyObject": "PutObject",
        "CreateMultipartUpload": "PutObject",
        "DeleteBucketCors": "PutBucketCORS",
        "DeleteBucketEncryption": "PutEncryptionConfiguration",
        "DeleteBucketLifecycle": "PutLifecycleConfiguration",
        "DeleteBucketOwnershipControls": "PutBucketOwnershipControls",
        "DeleteBucketReplication": "PutReplicationConfiguration",
        "DeleteBucketTagging": "PutBucketTagging",
        "DeleteObjects": "DeleteObject",
        "DeletePublicAccessBlock": "PutBucketPublicAccessBlock",
        "GetBucketAccelerateConfiguration": "GetAccelerateConfiguration",
        "GetBucketCors": "GetBucketCORS",
        "GetBucketEncryption": "GetEncryptionConfiguration",
        "GetBucketLifecycle": "GetLifecycleConfiguration",
        "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
        "GetBucketNotificationConfiguration": "GetBucketNotification",
        "GetBucketReplication": "GetReplicationConfiguration",
        "GetObjectLockConfiguration": "GetBucketObjectLockConfiguration",
        "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
        "HeadBucket": "ListBucket",
        "HeadObject": "GetObject",
        "ListBuckets": "ListAllMyBuckets",
        "ListMultipartUploads": "ListBucketMultipartUploads",
        "ListObjectVersions": "ListBucketVersions",
        "ListObjects": "ListBucket",
        "ListObjectsV2": "ListBucket",
        "ListParts": "ListMultipartUploadParts",
        "PutBucketAccelerateConfiguration": "PutAccelerateConfiguration",
        "PutBucketCors": "PutBucketCORS",
        "PutBucketEncryption": "PutEncryptionConfiguration",
        "PutBucketLifecycle": "PutLifecycleConfiguration",
        "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
        "PutBucketNotificationConfiguration": "PutBucketNotification",
        "PutBucketReplication": "PutReplicationConfiguration",
        "PutObjectLockConfiguration": "PutBucketObjectLockConfiguration",
        "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
        "SelectObjectContent": "GetObject",
        "UploadPart": "PutObject",
        "UploadPartCopy": "PutObject",
    },
}
# What a move task does for its caller (SQS developer guide, sqs-configure-dead-letter-queue-redrive).
MOVES = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
# Actions that an operation needs beside its own.
DEPENDENT = {
    ("sqs", "StartMessageMoveTask"): MOVES | {"sqs:SendMessage"},
    ("sqs", "ListMessageMoveTasks"): MOVES,
    ("sqs", "CancelMessageMoveTask"): MOVES,
    ("lambda", "CreateFunction"): {"iam:PassRole"},
    ("lambda", "CreateCapacityProvider"): {"iam:PassRole"},
    ("lambda", "UpdateFunctionConfiguration"): {"iam:PassRole"},
    ("iam", "AddRoleToInstanceProfile"): {"iam:PassRole"},
    ("s3", "CopyObject"): {"s3:GetObject", "s3:GetObjectTagging", "s3:PutObjectTagging"},
    ("s3", "UploadPartCopy"): {"s3:GetObject"},
    # The walk's key does not exist: whoever may list hears so, with or without the right to read it.
    ("s3", "GetObject"): {"s3:ListBucket"},
    ("s3", "HeadObject"): {"s3:ListBucket"},
    ("s3", "GetObjectAttributes"): {"s3:GetObject", "s3:GetObjectAttributes", "s3:ListBucket"},
    ("s3", "PutBucketReplication"): {"iam:PassRole"},
}
# Nobody needs a permission for these; of AssumeRole* the role's trust policy decides.
OPEN = {
    ("sts", "GetCallerIdentity"),
    ("sts", "GetSessionToken"),
    ("sts", "AssumeRole"),
    ("sts", "AssumeRoleWithWebIdentity"),
    # Its token, which only the endpoint was sent, is the right (API ConfirmSubscription).
    ("sns", "ConfirmSubscription"),
}
# An older form of another operation's request (PutBucketNotificationConfiguration), which is walked.
OLDER = {("s3", "PutBucketNotification")}
DENIED = {"AccessDenied", "AccessDeniedException", "403", "AuthorizationError"}

TEXTS = [
    "walk-a1",
    "walk",
    "1",
    "a1b2",
    "arn:aws:iam::000000000000:role/walk-role",
    "arn:aws:lambda:us-east-1:000000000000:function:walk-function",
    "arn:aws:sqs:us-east-1:000000000000:walk-queue",
    "arn:aws:sns:us-east-1:000000000000:walk-topic",
    "arn:aws:lambda:us-east-1:000000000000:layer:walk-layer:1",
    "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdef0",
    "arn:aws:lambda:us-east-1:000000000000:event-source-mapping:01234567-89ab-cdef-0123-456789abcdef",
    "arn:aws:iam::000000000000:oidc-provider/walk.example",
    "lambda.amazonaws.com",
    "https://walk.example",
    "lambda:InvokeFunction",
    "nodejs20.x",
    "0123456789abcdef0123456789abcdef01234567",
    "01234567-89ab-cdef-0123-456789abcdef",
    "AKIAWALKWALKWALKWALK",
    "sg-0123456789abcdef0",
    "subnet-0123456789abcdef0",
]
BY_NAME = {
    "PolicyDocument": '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}',
    "PolicyArn": "arn:aws:iam::000000000000:policy/walk-policy",
    "PolicySourceArn": "arn:aws:iam::000000000000:user/walk-user",
    "RoleArn": "arn:aws:iam::000000000000:role/walk-role",
    "Role": "arn:aws:iam::000000000000:role/walk-role",
    "TopicArn": "arn:aws:sns:us-east-1:000000000000:walk-topic",
    "PermissionsBoundary": "arn:aws:iam::000000000000:policy/walk-policy",
    "OpenIDConnectProviderArn": "arn:aws:iam::000000000000:oidc-provider/walk.example",
    "AWSServiceName": "walk.amazonaws.com",
    "CopySource": "{bucket}/walk-source",
    "Bucket": "{bucket}",
    "QueueUrl": "{queue}",
    "SourceArn": "arn:aws:sqs:us-east-1:000000000000:walk-queue",
    "Handler": "index.handler",
    "Runtime": "nodejs20.x",
    "Action": "lambda:InvokeFunction",
    "logGroupIdentifier": "walk-group",
    "VersionId": "v1",
}
# Members whose value depends on the operation.
BY_OPERATION = {("lambda", "AddLayerVersionPermission"): {"Action": "lambda:GetLayerVersion", "Principal": "*"}}


class Walk:
    """One user who may do nothing, and the means to give him something."""

    def __init__(self, server):
        self.server, self.user = server, unique("walker")
        self.iam = server.client("iam")
        self.iam.create_user(UserName=self.user)
        self.key = self.iam.create_access_key(UserName=self.user)["AccessKey"]

    def allow(self, **element):
        statement = {"Effect": "Allow", "Resource": "*", **element}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.iam.put_user_policy(UserName=self.user, PolicyName="walk", PolicyDocument=document)

    def allow_nothing(self):
        try:
            self.iam.delete_user_policy(UserName=self.user, PolicyName="walk")
        except self.iam.exceptions.NoSuchEntityException:
            pass

    @cache
    def client(self, service, signed=True):
        config = Config(
            retries={"total_max_attempts": 1},
            parameter_validation=False,
            inject_host_prefix=False,
            read_timeout=30,
            s3={"addressing_style": "path"},
            **({} if signed else {"signature_version": UNSIGNED}),
        )
        return boto3.client(
            service,
            endpoint_url=self.server.url,
            region_name=REGION,
            aws_access_key_id=self.key["AccessKeyId"],
            aws_secret_access_key=self.key["SecretAccessKey"],
            config=config,
        )

    def places(self, service):
        """What an operation may act on. Made anew for each, since the last one may have removed it."""
        places = {"bucket": "walk-bucket", "queue": f"{self.server.url}/000000000000/walk-queue"}
        if service == "s3":
            try:
                self.server.client("s3").create_bucket(Bucket=places["bucket"])
                # That a copy's source is absent is told to whoever may list.
                self.server.client("s3").put_object(Bucket=places["bucket"], Key="walk-source", Body=b"walk")
            except ClientError:
                pass
        if service == "sqs":
            places["queue"] = self.server.client("sqs").create_queue(QueueName=unique("walk"))["QueueUrl"]
        return places


def value(shape, name, places, depth=0):
    """A value that the model takes: the required members only."""
    if name in BY_NAME and shape.type_name == "string":
        return BY_NAME[name].format(**places) if "{bucket}" in BY_NAME[name] or "{queue}" in BY_NAME[name] else BY_NAME[name]
    metadata = shape.metadata
    match shape.type_name:
        case "structure":
            members = {m: value(shape.members[m], m, places, depth + 1) for m in shape.required_members}
            if not members and depth and shape.members:
                # A union, or a structure that is pointless when empty.
                first = next(iter(shape.members))
                members = {first: value(shape.members[first], first, places, depth + 1)} if depth < 4 else {}
            return members
        case "list":
            return [value(shape.member, name, places, depth + 1)]
        case "map":
            return {value(shape.key, name, places, depth + 1): value(shape.value, name, places, depth + 1)}
        case "boolean":
            return True
        case "integer" | "long" | "float" | "double":
            return max(1, int(metadata.get("min", 1)))
        case "timestamp":
            return "2030-01-01T00:00:00Z"
        case "blob":
            return b"walk"
    if metadata.get("enum"):
        return metadata["enum"][0]
    least, most = metadata.get("min", 0), metadata.get("max", 1 << 20)
    pattern = metadata.get("pattern", ".*")
    for text in TEXTS:
        try:
            fits = re.fullmatch(pattern, text, re.S)
        except re.error:
            fits = True
        if fits and least <= len(text) <= most:
            return text
    return "walk-" + "0" * max(0, least - 5)


def refusal(call):
    """Code and message of a refused call; None when it was not refused."""
    try:
        call()
        return None
    except ClientError as error:
        found = error.response["Error"]
        return str(found.get("Code")), found.get("Message", "")
    except (BotoCoreError, ElementTree.ParseError) as error:
        # The answer came and could not be read: no refusal.
        return type(error).__name__, str(error)


def operations(service):
    client = boto3.client(service, region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x")
    model = client.meta.service_model
    method = {operation: name for name, operation in client.meta.method_to_api_mapping.items()}
    return [(operation, method[operation], model.operation_model(operation)) for operation in model.operation_names]


def is_unserved(found):
    return found and (found[0] in ("NotImplemented", "UnknownOperationException", "501") or "is not implemented by Tinderbox" in found[1])


def call_of(client, method, model, places):
    parameters = value(model.input_shape, "", places) if model.input_shape else {}
    parameters |= BY_OPERATION.get((client.meta.service_model.service_name, model.name), {})
    return lambda: getattr(client, method)(**parameters)


def walk_one(walk, service, operation, method, model):
    """What is wrong with one operation; None when nothing is, "unserved" when it is not there."""
    places = walk.places(service)
    call = call_of(walk.client(service), method, model, places)
    walk.allow_nothing()
    found = refusal(call)
    if is_unserved(found):
        return "unserved"
    if (service, operation) in OPEN:
        return None
    action = f"{service}:{ACTION.get(service, {}).get(operation, operation)}"
    needed = {action, *DEPENDENT.get((service, operation), set())}
    if found is None or found[0] not in DENIED:
        return f"not denied without a permission: {found}"
    if found[0] != "403" and not any(f"not authorized to perform: {one}" in found[1] for one in needed):
        return f"asks for something else than {action}: {found[1]}"
    walk.allow(NotAction=sorted(needed))
    found = refusal(call)
    if found is None or found[0] not in DENIED:
        return f"allowed without {sorted(needed)}: {found}"
    walk.allow(Action=sorted(needed))
    found = refusal(call)
    if found is not None and found[0] in DENIED:
        return f"denied although {sorted(needed)} is allowed: {found}"
    return None


@pytest.mark.parametrize("service", SERVICES)
def test_i1_every_operation_needs_exactly_its_documented_permission(server, service):
    walk, wrong, served = Walk(server), {}, 0
    for operation, method, model in operations(service):
        if (service, operation) in OLDER:
            continue
        found = walk_one(walk, service, operation, method, model)
        served += found != "unserved"
        if found not in (None, "unserved"):
            wrong[operation] = found
    print(f"{service}: {served} operations walked")
    assert not wrong, "\n".join(f"{service}.{operation}: {found}" for operation, found in wrong.items())
    if service in ("iam", "lambda", "logs", "sts"):
        assert served >= 4, "the walk found nothing to walk"


@pytest.mark.parametrize("service", SERVICES)
def test_i4_nothing_is_open_to_strangers(server, service):
    walk, wrong = Walk(server), {}
    for operation, method, model in operations(service):
        found = refusal(call_of(walk.client(service, signed=False), method, model, walk.places(service)))
        if found is None and (service, operation) != ("sts", "AssumeRoleWithWebIdentity"):
            wrong[operation] = "served to a stranger"
    assert not wrong, wrong
