"""Event source mappings of queues through boto3: real queues, real functions, a real role."""

import json
import time

import pytest
from blackbox.functions import PYTHON, python, unique
from blackbox.server import ACCOUNT, LAMBDA_TRUST, REGION
from botocore.exceptions import ClientError

WAIT_S = 60

COLLECT = python(
    """
import json

def handler(event, context):
    failures = []
    for record in event["Records"]:
        assert record["eventSource"] == "aws:sqs" and record["awsRegion"], record
        row = json.loads(record["body"])
        if row.get("fails"):
            failures.append({"itemIdentifier": record["messageId"]})
        else:
            print("ROW", row["n"])
    return {"batchItemFailures": failures}
"""
)


@pytest.fixture
def role(server):
    """A role that may read every queue."""
    iam, name = server.client("iam"), unique("poller")
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=LAMBDA_TRUST)
    actions = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=name, PolicyName="read", PolicyDocument=document)
    yield made["Role"]["Arn"]
    iam.delete_role_policy(RoleName=name, PolicyName="read")
    iam.delete_role(RoleName=name)


@pytest.fixture
def queue(server):
    """queue(**attributes): URL and ARN."""
    sqs, made = server.client("sqs"), []

    def make(name=None, **attributes):
        url = sqs.create_queue(QueueName=name or unique("q"), Attributes=attributes)["QueueUrl"]
        made.append(url)
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        return url, arn

    yield make
    for url in made:
        sqs.delete_queue(QueueUrl=url)


@pytest.fixture
def mapping(server):
    """mapping(**fields): waits until it is enabled, deletes it after the test."""
    client, made = server.client("lambda"), []

    def make(**fields):
        answer = client.create_event_source_mapping(**fields)
        made.append(answer["UUID"])
        until(lambda: client.get_event_source_mapping(UUID=answer["UUID"])["State"] in ("Enabled", "Disabled"))
        return answer

    yield make
    for uuid in made:
        try:
            client.delete_event_source_mapping(UUID=uuid)
        except client.exceptions.ResourceNotFoundException:
            pass


def until(is_so, wait_s=WAIT_S):
    give_up = time.monotonic() + wait_s
    while not is_so():
        assert time.monotonic() < give_up, "it did not come about in time"
        time.sleep(0.1)


def count(sqs, url):
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(attributes[name]) for name in names)


def test_a_mapping_carries_tags(server, deploy, role, queue, mapping):
    client = server.client("lambda")
    function = deploy(COLLECT, runtime=PYTHON, role=role)
    made = mapping(EventSourceArn=queue()[1], FunctionName=function.name, Tags={"team": "a"})
    arn = made["EventSourceMappingArn"]
    assert client.list_tags(Resource=arn)["Tags"] == {"team": "a"}
    client.tag_resource(Resource=arn, Tags={"team": "b", "stage": "test"})
    client.untag_resource(Resource=arn, TagKeys=["stage"])
    assert client.list_tags(Resource=arn)["Tags"] == {"team": "b"}
    gone = arn[:-12] + "0" * 12
    with pytest.raises(ClientError) as refused:
        client.list_tags(Resource=gone)
    assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_rows_reach_the_function_and_failures_the_dead_letter_queue(server, deploy, role, queue, mapping):
    sqs = server.client("sqs")
    dead_url, dead_arn = queue()
    redrive = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 2})
    url, arn = queue(VisibilityTimeout="4", RedrivePolicy=redrive)
    function = deploy(COLLECT, runtime=PYTHON, role=role, Timeout=3)
    mapping(
        EventSourceArn=arn,
        FunctionName=function.name,
        BatchSize=10,
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )
    rows = [{"n": n, "fails": n % 10 == 3} for n in range(40)]
    for start in range(0, len(rows), 10):
        entries = [{"Id": str(row["n"]), "MessageBody": json.dumps(row)} for row in rows[start : start + 10]]
        assert not sqs.send_message_batch(QueueUrl=url, Entries=entries).get("Failed")
    until(lambda: count(sqs, url) == 0)
    assert count(sqs, dead_url) == 4
    dead = set()
    for _ in range(20):
        for message in sqs.receive_message(QueueUrl=dead_url, MaxNumberOfMessages=10).get("Messages", []):
            dead.add(json.loads(message["Body"])["n"])
        if len(dead) == 4:
            break
    assert dead == {3, 13, 23, 33}


def test_a_mapping_is_listed_changed_and_deleted(server, deploy, role, queue, mapping):
    client = server.client("lambda")
    _, arn = queue()
    function = deploy(COLLECT, runtime=PYTHON, role=role)
    made = mapping(EventSourceArn=arn, FunctionName=function.name, Enabled=False)
    uuid = made["UUID"]
    assert made["State"] == "Creating" and made["BatchSize"] == 10
    assert made["FunctionArn"] == f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function.name}"
    listed = client.get_paginator("list_event_source_mappings").paginate(EventSourceArn=arn)
    assert [item["UUID"] for page in listed for item in page["EventSourceMappings"]] == [uuid]
    with pytest.raises(client.exceptions.ResourceConflictException):
        client.create_event_source_mapping(EventSourceArn=arn, FunctionName=function.name)
    updated = client.update_event_source_mapping(UUID=uuid, Enabled=True, ScalingConfig={"MaximumConcurrency": 5})
    assert updated["State"] == "Enabling" and updated["ScalingConfig"] == {"MaximumConcurrency": 5}
    until(lambda: client.get_event_source_mapping(UUID=uuid)["State"] == "Enabled")
    assert client.delete_event_source_mapping(UUID=uuid)["State"] == "Deleting"

    def is_gone():
        try:
            client.get_event_source_mapping(UUID=uuid)
        except client.exceptions.ResourceNotFoundException:
            return True
        return False

    until(is_gone)


def test_a_role_that_may_not_read_is_refused(server, deploy, queue):
    client = server.client("lambda")
    _, arn = queue()
    function = deploy(COLLECT, runtime=PYTHON)
    with pytest.raises(ClientError) as refused:
        client.create_event_source_mapping(EventSourceArn=arn, FunctionName=function.name)
    assert refused.value.response["Error"]["Code"] == "InvalidParameterValueException"
    assert "does not have permissions to call ReceiveMessage" in str(refused.value)


def test_parameters_of_other_sources_and_sizes_are_refused(server, deploy, role, queue):
    client = server.client("lambda")
    _, arn = queue(VisibilityTimeout="1")
    function = deploy(COLLECT, runtime=PYTHON, role=role, Timeout=3)
    for fields, words in [
        ({}, "Queue visibility timeout: 1 seconds is less than Function timeout: 3 seconds"),
        ({"BatchSize": 100}, "Maximum batch window in seconds must be greater than 0"),
        ({"StartingPosition": "LATEST"}, "Unsupported starting position"),
        ({"FilterCriteria": {"Filters": [{"Pattern": "{"}]}}, "Invalid filter pattern definition."),
    ]:
        with pytest.raises(ClientError) as refused:
            client.create_event_source_mapping(EventSourceArn=arn, FunctionName=function.name, **fields)
        assert refused.value.response["Error"]["Code"] == "InvalidParameterValueException"
        assert words in str(refused.value), fields
