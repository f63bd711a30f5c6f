"""Asynchronous invocations against the real server: destinations, dead letters, and kill -9 in the midst of them.

`TINDERBOX_LONG=1` sends 10,000 events instead of 200 (`TINDERBOX_ASYNC_EVENTS` any other number) while the server is killed
every two to five seconds.
"""

import collections
import faulthandler
import json
import os
import random
import re
import threading
import time

import pytest
from blackbox.functions import Function, WAIT_S, javascript
from blackbox.server import ACCOUNT, LAMBDA_TRUST, REGION

# What a function does is decided by its event; one that is left to chance may end differently when it is attempted again.
FLAKY = javascript(
    """
exports.handler = async (event) => {
  const fate = event.fate === "chance" ? (Math.random() < 0.5 ? "answer" : "throw") : event.fate;
  if (fate === "throw") throw new Error("on purpose " + event.n);
  if (fate === "exit") process.exit(7);
  return event.n;
};
"""
)
NOBODY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Deny", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
)
ACTIONS = ["sqs:SendMessage", "lambda:InvokeFunction", "s3:PutObject", "s3:ListBucket"]
SENDS = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ACTIONS, "Resource": "*"}]}
EVENTS = int(os.environ.get("TINDERBOX_ASYNC_EVENTS", "10000" if os.environ.get("TINDERBOX_LONG") else "200"))
SENDERS = 8


def sender(server, name="sender"):
    """A role that may send results to queues and buckets."""
    iam = server.client("iam")
    try:
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=LAMBDA_TRUST)
    except iam.exceptions.EntityAlreadyExistsException:
        pass
    iam.put_role_policy(RoleName=name, PolicyName="sends", PolicyDocument=json.dumps(SENDS))
    return f"arn:aws:iam::{ACCOUNT}:role/{name}"


def queue(server, name, **attributes):
    sqs = server.client("sqs")
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
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


def test_l4_failures_reach_their_bucket(server):
    s3 = server.client("s3")
    s3.create_bucket(Bucket="async-failures")
    destination = {"OnFailure": {"Destination": "arn:aws:s3:::async-failures"}}
    denied = Function(server, FLAKY)
    with pytest.raises(denied.client.exceptions.InvalidParameterValueException) as refused:
        denied.client.put_function_event_invoke_config(FunctionName=denied.name, DestinationConfig=destination)
    assert refused.value.response["Error"]["Message"] == "The destination ARN arn:aws:s3:::async-failures is invalid."
    denied.delete()

    function = Function(server, FLAKY, role=sender(server))
    for arn in ("arn:aws:s3:::async-failures/k", "arn:aws:s3:::"):
        with pytest.raises(function.client.exceptions.InvalidParameterValueException):
            function.client.put_function_event_invoke_config(
                FunctionName=function.name, DestinationConfig={"OnFailure": {"Destination": arn}}
            )
    with pytest.raises(function.client.exceptions.InvalidParameterValueException):
        function.client.put_function_event_invoke_config(
            FunctionName=function.name, DestinationConfig={"OnSuccess": destination["OnFailure"]}
        )
    function.client.put_function_event_invoke_config(
        FunctionName=function.name, MaximumRetryAttempts=0, DestinationConfig=destination
    )
    event = {"n": 3, "fate": "throw"}
    answer = function.client.invoke(FunctionName=function.name, InvocationType="Event", Payload=json.dumps(event))
    give_up = time.monotonic() + WAIT_S
    while not (found := s3.list_objects_v2(Bucket="async-failures").get("Contents")):
        assert time.monotonic() < give_up, "no record arrived"
        time.sleep(0.1)
    day = r"\d{4}/\d{2}/\d{2}/\d{4}-\d{2}-\d{2}T\d{2}\.\d{2}\.\d{2}"
    named = re.fullmatch(f"aws/lambda/async/{function.name}/{day}-([0-9a-f-]{{36}})", found[0]["Key"])
    assert named and named[1] == answer["ResponseMetadata"]["RequestId"], found
    stored = s3.get_object(Bucket="async-failures", Key=found[0]["Key"])
    record = json.loads(stored["Body"].read())
    assert (len(found), stored["ContentType"], record["requestPayload"]) == (1, "application/json", event)
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    function.delete()


class Killer(threading.Thread):
    """Kills the server every few seconds and starts it again, until it is told to stop."""

    def __init__(self, server, chance):
        super().__init__(daemon=True)
        self.server, self.chance, self.kills, self.failure = server, chance, 0, None
        self.is_up, self.is_over = threading.Event(), threading.Event()
        self.is_up.set()

    def run(self):
        try:
            while not self.is_over.wait(self.chance.uniform(2, 5)):
                self.is_up.clear()
                self.server.kill()
                self.server.start()
                self.kills += 1
                self.is_up.set()
        except BaseException as error:
            self.failure = error
            self.is_up.set()

    def stop(self):
        self.is_over.set()
        self.join()
        if self.failure is not None:
            raise self.failure


class Client:
    """A client of one thread: it waits while the server is down and follows it to its next port."""

    # boto3 makes clients in one thread at a time only.
    making = threading.Lock()

    def __init__(self, server, killer, service):
        self.server, self.killer, self.service, self.url, self.client = server, killer, service, None, None

    def now(self):
        self.killer.is_up.wait()
        if self.url != self.server.url:
            with self.making:
                self.url, self.client = self.server.url, self.server.client(self.service)
        return self.client


class Ends:
    """The oracle: how each event ended, by what was found where."""

    def __init__(self):
        self.lock, self.of, self.records, self.seen = threading.Lock(), collections.defaultdict(set), 0, set()

    def add(self, key, n, end):
        """One record; `key` tells records apart, so that one that is received twice counts once."""
        with self.lock:
            if key not in self.seen:
                self.seen.add(key)
                self.records += 1
                self.of[n].add(end)

    def missing(self, numbers):
        with self.lock:
            return numbers - self.of.keys()


def drain(client, name, url, ends, is_over):
    """Takes everything out of a queue; what is taken when the server dies comes back after the visibility timeout."""
    while not is_over.is_set():
        try:
            sqs = client.now()
            host = client.server.url
            there = f"{host}/{ACCOUNT}/{url.rsplit('/', 1)[1]}"
            messages = sqs.receive_message(QueueUrl=there, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
            for message in messages:
                body = json.loads(message["Body"])
                end = "dead letter" if name == "dead" else body["requestContext"]["condition"]
                ends.add(message["MessageId"], body["n"] if name == "dead" else body["requestPayload"]["n"], f"{name}: {end}")
            if messages:
                entries = [{"Id": str(at), "ReceiptHandle": one["ReceiptHandle"]} for at, one in enumerate(messages)]
                sqs.delete_message_batch(QueueUrl=there, Entries=entries)
        except Exception:
            time.sleep(0.05)


def send(client, events, functions, accepted, unknown):
    """Each event once: whether one whose answer never came was taken, nobody knows."""
    for n, function, fate in events:
        payload = json.dumps({"n": n, "fate": fate})
        try:
            answer = client.now().invoke(FunctionName=functions[function], InvocationType="Event", Payload=payload)
            assert answer["StatusCode"] == 202
            accepted[n] = (function, fate)
        except Exception:
            unknown.add(n)


def world(server):
    """Four functions that differ in where their events end, and the queues and the bucket where they do."""
    server.client("s3").create_bucket(Bucket="failures")
    queues = {name: queue(server, name, VisibilityTimeout="10") for name in ("successes", "failures", "dead", "expired")}
    role = sender(server)
    told = {"OnSuccess": {"Destination": queues["successes"][1]}}
    functions = {}
    for name, role, more, retries, failure in (
        ("told", role, {}, 0, queues["failures"][1]),
        ("stored", role, {}, 0, "arn:aws:s3:::failures"),
        ("dead", role, {"DeadLetterConfig": {"TargetArn": queues["dead"][1]}}, 1, None),
        ("expired", sender(server, "gone"), {}, 0, queues["expired"][1]),
    ):
        function = Function(server, FLAKY, role=role, Timeout=5, **more)
        failure = {"OnFailure": {"Destination": failure}} if failure else {}
        function.client.put_function_event_invoke_config(
            FunctionName=function.name,
            MaximumRetryAttempts=retries,
            MaximumEventAgeInSeconds=60 if name == "expired" else 21600,
            DestinationConfig={**told, **failure},
        )
        functions[name] = function.name
    # Nobody may assume it any more: what waits for that grows too old.
    server.client("iam").update_assume_role_policy(RoleName="gone", PolicyDocument=NOBODY)
    return functions, queues


def expected(function, fate):
    """The ends that an event may have: one of these."""
    failure = {"told": "failures: RetriesExhausted", "stored": "bucket: RetriesExhausted", "dead": "dead: dead letter"}
    if function == "expired":
        return {"expired: EventAgeExceeded"}
    return {
        "answer": {"successes: Success"},
        "throw": {failure[function]},
        "exit": {failure[function]},
        "chance": {"successes: Success", failure[function]},
    }[fate]


def stored(server, ends):
    s3 = server.client("s3")
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket="failures"):
        for one in page.get("Contents", []):
            if one["Key"] in ends.seen:
                continue
            record = json.loads(s3.get_object(Bucket="failures", Key=one["Key"])["Body"].read())
            end = record["requestContext"]["condition"]
            ends.add(one["Key"], record["requestPayload"]["n"], f"bucket: {end}")


@pytest.mark.timeout(3600)
def test_l1_each_event_ends_in_exactly_one_way_while_the_server_is_killed(new_server):
    # Longer than what pytest.ini takes for a hang.
    faulthandler.cancel_dump_traceback_later()
    server = new_server()
    functions, queues = world(server)
    seed = int(os.environ.get("TINDERBOX_SEED", random.randrange(1 << 32)))
    print(f"TINDERBOX_SEED={seed}")
    chance, began = random.Random(seed), time.monotonic()
    fates = ["answer"] * 8 + ["throw"] * 4 + ["chance"] * 7 + ["exit"]
    names = ["told"] * 4 + ["stored"] * 3 + ["dead"] * 2 + ["expired"]
    events = [(n, chance.choice(names), chance.choice(fates)) for n in range(EVENTS)]
    killer, ends, is_over, accepted, unknown = Killer(server, chance), Ends(), threading.Event(), {}, set()

    def client(service):
        return Client(server, killer, service)

    drains = [
        threading.Thread(target=drain, args=(client("sqs"), name, url, ends, is_over), daemon=True)
        for name, (url, _) in queues.items()
    ]
    sends = [
        threading.Thread(target=send, args=(client("lambda"), events[at::SENDERS], functions, accepted, unknown), daemon=True)
        for at in range(SENDERS)
    ]
    for thread in [killer, *drains, *sends]:
        thread.start()
    for thread in sends:
        thread.join()
    sent_s = time.monotonic() - began
    # Objects are looked for at the end.
    in_queues = {n for n, (function, _) in accepted.items() if function != "stored"}
    give_up = time.monotonic() + 240 + EVENTS / 10
    while time.monotonic() < give_up and ends.missing(in_queues):
        time.sleep(0.5)
    killer.stop()
    # What is left has its time without kills; a second end of an event would come now too.
    give_up = time.monotonic() + 120
    stored(server, ends)
    while time.monotonic() < give_up and ends.missing(accepted.keys()):
        time.sleep(1)
        stored(server, ends)
    time.sleep(15)
    stored(server, ends)
    is_over.set()
    for thread in drains:
        thread.join()

    of = collections.Counter(end for found in ends.of.values() for end in found)
    print(
        f"{EVENTS} events: {len(accepted)} accepted, {len(unknown)} without an answer ({len(unknown & ends.of.keys())} of them"
        f" taken), {killer.kills} kills, sent in {sent_s:.0f} s, all in {time.monotonic() - began:.0f} s; ends: {dict(of)};"
        f" records that came twice: {ends.records - sum(of.values())}"
    )
    lost = ends.missing(accepted.keys())
    assert not lost, f"{len(lost)} of {len(accepted)} acknowledged events have no end: {sorted(lost)[:20]}"
    assert ends.of.keys() <= accepted.keys() | unknown
    for n, function, fate in events:
        found = ends.of.get(n, set())
        assert len(found) <= 1 and found <= expected(function, fate), (n, function, fate, found)

