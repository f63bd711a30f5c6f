"""SQS through boto3, which checks every MD5 itself."""

import hashlib
import json
import threading
import time

import pytest
from blackbox.functions import unique
from blackbox.server import ACCOUNT, REGION


@pytest.fixture
def sqs(server):
    return server.client("sqs")


@pytest.fixture
def queue(sqs):
    """queue(suffix="", **attributes): the URL of a new queue, deleted after the test."""
    made = []

    def make(suffix="", **attributes):
        url = sqs.create_queue(QueueName=unique("q") + suffix, Attributes=attributes)["QueueUrl"]
        made.append(url)
        return url

    yield make
    for url in made:
        sqs.delete_queue(QueueUrl=url)


def arn_of(url):
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{url.rsplit('/', 1)[1]}"


def test_a_message_with_attributes_goes_round(server, sqs, queue):
    url = queue()
    assert url.startswith(f"{server.url}/{ACCOUNT}/")
    attributes = {
        "text": {"DataType": "String", "StringValue": "vä"},
        "number": {"DataType": "Number", "StringValue": "1.50"},
        "bytes": {"DataType": "Binary.raw", "BinaryValue": bytes(range(256))},
    }
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}}
    body = "ünï\n" * 1000
    sent = sqs.send_message(
        QueueUrl=url, MessageBody=body, MessageAttributes=attributes, MessageSystemAttributes=trace
    )
    assert sent["MD5OfMessageBody"] == hashlib.md5(body.encode()).hexdigest()
    (got,) = sqs.receive_message(
        QueueUrl=url, MessageAttributeNames=["All"], MessageSystemAttributeNames=["All"], WaitTimeSeconds=5
    )["Messages"]
    assert got["Body"] == body and got["MessageAttributes"] == attributes
    assert got["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert got["Attributes"]["AWSTraceHeader"] == trace["AWSTraceHeader"]["StringValue"]
    assert got["Attributes"]["ApproximateReceiveCount"] == "1"
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=got["ReceiptHandle"], VisibilityTimeout=0)
    (again,) = sqs.receive_message(QueueUrl=url, AttributeNames=["ApproximateReceiveCount"])["Messages"]
    assert again["Attributes"] == {"ApproximateReceiveCount": "2"}
    sqs.delete_message(QueueUrl=url, ReceiptHandle=again["ReceiptHandle"])
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert counts["ApproximateNumberOfMessages"] == counts["ApproximateNumberOfMessagesNotVisible"] == "0"


def test_a_mebibyte_goes_round(sqs, queue):
    url = queue()
    body = "x" * (1 << 20)
    sqs.send_message(QueueUrl=url, MessageBody=body)
    assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == body
    with pytest.raises(sqs.exceptions.ClientError) as refused:
        sqs.send_message(QueueUrl=url, MessageBody=body + "x")
    assert refused.value.response["Error"]["Code"] == "InvalidParameterValue"


def test_batches(sqs, queue):
    url = queue()
    entries = [{"Id": str(number), "MessageBody": f"m{number}"} for number in range(10)]
    assert len(sqs.send_message_batch(QueueUrl=url, Entries=entries)["Successful"]) == 10
    got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert [message["Body"] for message in got] == [f"m{number}" for number in range(10)]
    handles = [{"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]} for number, message in enumerate(got)]
    shown = [{**entry, "VisibilityTimeout": 0} for entry in handles]
    assert len(sqs.change_message_visibility_batch(QueueUrl=url, Entries=shown)["Successful"]) == 10
    got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    handles = [{"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]} for number, message in enumerate(got)]
    assert len(sqs.delete_message_batch(QueueUrl=url, Entries=handles)["Successful"]) == 10
    with pytest.raises(sqs.exceptions.EmptyBatchRequest):
        sqs.send_message_batch(QueueUrl=url, Entries=[])
    with pytest.raises(sqs.exceptions.BatchEntryIdsNotDistinct):
        sqs.send_message_batch(QueueUrl=url, Entries=[entries[0], entries[0]])


def test_q7_a_long_poll_wakes_on_arrival(server, sqs, queue):
    url = queue()
    got = {}

    def poll():
        started = time.monotonic()
        got["messages"] = server.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=20).get("Messages", [])
        got["took"] = time.monotonic() - started

    poller = threading.Thread(target=poll)
    poller.start()
    time.sleep(0.5)
    sqs.send_message(QueueUrl=url, MessageBody="wake")
    poller.join()
    assert [message["Body"] for message in got["messages"]] == ["wake"] and got["took"] < 19


def test_fifo_groups_and_deduplication(sqs, queue):
    url = queue(".fifo", FifoQueue="true", ContentBasedDeduplication="true")
    numbers = [
        sqs.send_message(QueueUrl=url, MessageBody=f"{group}{number}", MessageGroupId=group)["SequenceNumber"]
        for number in range(3)
        for group in "ab"
    ]
    assert numbers == sorted(numbers)
    assert sqs.send_message(QueueUrl=url, MessageBody="a0", MessageGroupId="a")["SequenceNumber"] == numbers[0]
    first = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, ReceiveRequestAttemptId="try")["Messages"]
    assert [message["Body"] for message in first] == ["a0", "a1", "a2", "b0", "b1", "b2"]
    again = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, ReceiveRequestAttemptId="try")["Messages"]
    assert [message["ReceiptHandle"] for message in again] == [message["ReceiptHandle"] for message in first]
    assert "Messages" not in sqs.receive_message(QueueUrl=url)


def test_dead_letters_and_their_way_back(sqs, queue):
    dead = queue()
    policy = json.dumps({"deadLetterTargetArn": arn_of(dead), "maxReceiveCount": 1})
    url = queue(RedrivePolicy=policy, VisibilityTimeout="0")
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [url]
    sqs.send_message(QueueUrl=url, MessageBody="poison")
    assert len(sqs.receive_message(QueueUrl=url)["Messages"]) == 1
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    (got,) = sqs.receive_message(QueueUrl=dead, VisibilityTimeout=0, AttributeNames=["All"])["Messages"]
    assert got["Attributes"]["DeadLetterQueueSourceArn"] == arn_of(url)
    handle = sqs.start_message_move_task(SourceArn=arn_of(dead))["TaskHandle"]
    (back,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20)["Messages"]
    assert back["Body"] == "poison"
    give_up = time.monotonic() + 20
    while sqs.list_message_move_tasks(SourceArn=arn_of(dead))["Results"][0]["Status"] != "COMPLETED":
        assert time.monotonic() < give_up
        time.sleep(0.05)
    with pytest.raises(sqs.exceptions.ClientError):
        sqs.cancel_message_move_task(TaskHandle=handle)


def test_tags_permissions_and_lists(sqs, queue):
    url = queue()
    name = url.rsplit("/", 1)[1]
    sqs.tag_queue(QueueUrl=url, Tags={"team": "a", "stage": "b"})
    sqs.untag_queue(QueueUrl=url, TagKeys=["stage"])
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"team": "a"}
    sqs.add_permission(QueueUrl=url, Label="l", AWSAccountIds=["111111111111"], Actions=["SendMessage"])
    policy = json.loads(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]["Policy"])
    assert policy["Statement"][0]["Sid"] == "l"
    sqs.remove_permission(QueueUrl=url, Label="l")
    assert sqs.list_queues(QueueNamePrefix=name)["QueueUrls"] == [url]
    assert sqs.get_queue_url(QueueName=name)["QueueUrl"] == url
    pages = sqs.get_paginator("list_queues").paginate(PaginationConfig={"PageSize": 1})
    assert url in [found for page in pages for found in page.get("QueueUrls", [])]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "1"})
    sqs.purge_queue(QueueUrl=url)
    with pytest.raises(sqs.exceptions.PurgeQueueInProgress):
        sqs.purge_queue(QueueUrl=url)


def test_errors_have_their_legacy_codes(sqs, queue):
    with pytest.raises(sqs.exceptions.QueueDoesNotExist) as refused:
        sqs.get_queue_url(QueueName="nobody")
    assert refused.value.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
    url = queue(VisibilityTimeout="31")
    name = url.rsplit("/", 1)[1]
    assert sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "31"})["QueueUrl"] == url
    with pytest.raises(sqs.exceptions.QueueNameExists):
        sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "32"})
    with pytest.raises(sqs.exceptions.ReceiptHandleIsInvalid):
        sqs.delete_message(QueueUrl=url, ReceiptHandle="nonsense")


def test_a_queues_policy_opens_it_to_a_user_and_to_nobody_else(server, sqs, queue):
    iam = server.client("iam")
    names = [unique("reader"), unique("stranger")]
    keys = []
    for name in names:
        iam.create_user(UserName=name)
        keys.append(iam.create_access_key(UserName=name)["AccessKey"])
    url = queue()
    sqs.send_message(QueueUrl=url, MessageBody="secret")
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/{names[0]}"},
        "Action": "sqs:ReceiveMessage",
        "Resource": arn_of(url),
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    reader, stranger = (server.client("sqs", key["AccessKeyId"], key["SecretAccessKey"]) for key in keys)
    assert reader.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "secret"
    for call in (
        lambda: stranger.receive_message(QueueUrl=url),
        lambda: reader.send_message(QueueUrl=url, MessageBody="m"),
    ):
        with pytest.raises(sqs.exceptions.ClientError) as refused:
            call()
        assert refused.value.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException")
