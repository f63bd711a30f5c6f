"""Asynchronous invocations against the real server: destinations, dead letters, and kill -9 in the midst of them."""

import collections
import json
import os
import random
import time

import pytest
from blackbox.functions import Function, WAIT_S, javascript
from blackbox.server import ACCOUNT, REGION

# A function fails when its event says so; what it does is decided by the event alone, so that a repeat does the same.
FLAKY = javascript(
    """
exports.handler = async (event) => {
  if (event.fate === "throw") throw new Error("on purpose " + event.n);
  if (event.fate === "exit") process.exit(7);
  return event.n;
};
"""
)
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)
SENDS = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["sqs:SendMessage", "lambda:InvokeFunction"], "Resource": "*"}],
    }
)
EVENTS = int(os.environ.get("TINDERBOX_ASYNC_EVENTS", "200"))


def sender(server):
    """A role that may send results to queues."""
    iam = server.client("iam")
    try:
        iam.create_role(RoleName="sender", AssumeRolePolicyDocument=TRUST)
    except iam.exceptions.EntityAlreadyExistsException:
        pass
    iam.put_role_policy(RoleName="sender", PolicyName="sends", PolicyDocument=SENDS)
    return f"arn:aws:iam::{ACCOUNT}:role/sender"


def queue(server, name):
    sqs = server.client("sqs")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    return url, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


def take(server, url, wait=1):
    """Some messages, deleted."""
    sqs = server.client("sqs")
    answer = sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=wait, MessageAttributeNames=["All"]
    )
    messages = answer.get("Messages", [])
    for message in messages:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return messages


def one(server, url):
    give_up = time.monotonic() + WAIT_S
    while time.monotonic() < give_up:
        messages = take(server, url)
        if messages:
            assert len(messages) == 1
            return messages[0]
    raise AssertionError("no message arrived")


def test_l4_results_reach_their_queues(server):
    successes, success_arn = queue(server, "async-successes")
    failures, failure_arn = queue(server, "async-failures")
    dead, dead_arn = queue(server, "async-dead")
    function = Function(server, FLAKY, role=sender(server), DeadLetterConfig={"TargetArn": dead_arn})
    function.client.put_function_event_invoke_config(
        FunctionName=function.name,
        MaximumRetryAttempts=0,
        DestinationConfig={"OnSuccess": {"Destination": success_arn}, "OnFailure": {"Destination": failure_arn}},
    )
    arn = f"{function.created['FunctionArn']}:$LATEST"
    answer = function.client.invoke(FunctionName=function.name, InvocationType="Event", Payload=b'{"n": 1}')
    assert (answer["StatusCode"], answer["Payload"].read()) == (202, b"")
    record = json.loads(one(server, successes)["Body"])
    assert record["requestContext"]["condition"] == "Success"
    assert record["requestContext"]["requestId"] == answer["ResponseMetadata"]["RequestId"]
    assert (record["requestContext"]["functionArn"], record["requestPayload"], record["responsePayload"]) == (arn, {"n": 1}, 1)

    function.client.invoke(FunctionName=function.name, InvocationType="Event", Payload=b'{"n": 2, "fate": "throw"}')
    record = json.loads(one(server, failures)["Body"])
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
    assert record["responsePayload"]["errorMessage"] == "on purpose 2"
    letter = one(server, dead)
    assert json.loads(letter["Body"]) == {"n": 2, "fate": "throw"}
    assert letter["MessageAttributes"]["ErrorMessage"]["StringValue"] == "on purpose 2"
    assert letter["MessageAttributes"]["ErrorCode"]["DataType"] == "Number"
    function.delete()


@pytest.mark.timeout(1800)
def test_l1_each_event_ends_in_exactly_one_way_while_the_server_is_killed(new_server):
    server = new_server()
    successes, success_arn = queue(server, "successes")
    failures, failure_arn = queue(server, "failures")
    function = Function(server, FLAKY, role=sender(server), Timeout=5)
    function.client.put_function_event_invoke_config(
        FunctionName=function.name,
        MaximumRetryAttempts=0,
        DestinationConfig={"OnSuccess": {"Destination": success_arn}, "OnFailure": {"Destination": failure_arn}},
    )
    seed = int(os.environ.get("TINDERBOX_SEED", random.randrange(1 << 32)))
    print(f"TINDERBOX_SEED={seed}")
    chance = random.Random(seed)
    accepted, unknown = {}, set()
    kills = max(2, EVENTS // 100)
    kill_at = set(chance.sample(range(1, EVENTS), kills))
    for n in range(EVENTS):
        fate = chance.choice(["answer", "answer", "answer", "throw", "exit"])
        try:
            function.client.invoke(
                FunctionName=function.name, InvocationType="Event", Payload=json.dumps({"n": n, "fate": fate})
            )
            accepted[n] = fate
        except Exception:
            unknown.add(n)
        if n in kill_at:
            server.kill()
            server.start()
            function.client = server.client("lambda")
    ended = collections.defaultdict(set)
    give_up = time.monotonic() + 60 + EVENTS / 2
    while time.monotonic() < give_up and not accepted.keys() <= ended.keys():
        for url in (successes, failures):
            for message in take(server, url):
                record = json.loads(message["Body"])
                ended[record["requestPayload"]["n"]].add(record["requestContext"]["condition"])
    lost = accepted.keys() - ended.keys()
    assert not lost, f"{len(lost)} of {len(accepted)} acknowledged events have no end: {sorted(lost)[:20]}"
    assert ended.keys() <= accepted.keys() | unknown
    expected = {"answer": {"Success"}, "throw": {"RetriesExhausted"}, "exit": {"RetriesExhausted"}}
    for n, fate in accepted.items():
        assert ended[n] == expected[fate], (n, fate, ended[n])
