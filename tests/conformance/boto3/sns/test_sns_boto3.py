"""SNS through boto3: topics to queues and to an HTTP endpoint, signatures that openssl verifies, policies that refuse."""

import base64
import http.server
import json
import queue
import re
import subprocess
import threading
import time
import urllib.parse

import pytest
from blackbox.server import Server
from botocore.exceptions import ClientError

ACCOUNT = "000000000000"
SIGNED = ["Message", "MessageId", "SubscribeURL", "Subject", "Timestamp", "Token", "TopicArn", "Type"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server of this suite's own: its operator lets messages go to endpoints on this machine."""
    running = Server(tmp_path_factory.mktemp("topics") / "data", "--http-delivery", "loopback").start()
    yield running
    try:
        running.stop()
    finally:
        running.end()


@pytest.fixture
def sns(server):
    return server.client("sns")


@pytest.fixture
def sqs(server):
    return server.client("sqs")


def unique(name, count=[0]):
    count[0] += 1
    return f"{name}-{time.monotonic_ns()}-{count[0]}"


def let_in(topic_arn, queue_arn):
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


class Queue:
    def __init__(self, sqs, topic_arn=None, name=None, **attributes):
        self.sqs = sqs
        self.url = sqs.create_queue(QueueName=name or unique("q"), Attributes=attributes)["QueueUrl"]
        found = sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])
        self.arn = found["Attributes"]["QueueArn"]
        if topic_arn:
            sqs.set_queue_attributes(QueueUrl=self.url, Attributes={"Policy": let_in(topic_arn, self.arn)})

    def messages(self, count, within_s=30):
        got, give_up = [], time.monotonic() + within_s
        while len(got) < count and time.monotonic() < give_up:
            answer = self.sqs.receive_message(
                QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=2, MessageAttributeNames=["All"]
            )
            for message in answer.get("Messages", []):
                got.append(message)
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        assert len(got) == count, got
        return got


class Receiver:
    """An HTTP endpoint that keeps what it gets; `statuses` are answered first."""

    def __init__(self):
        self.got, self.statuses = queue.Queue(), []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                outer.got.put((dict(self.headers), body))
                self.send_response(outer.statuses.pop(0) if outer.statuses else 200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def next(self):
        headers, body = self.got.get(timeout=60)
        return {name.lower(): value for name, value in headers.items()}, body


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.server.shutdown()


def path_of(url):
    parsed = urllib.parse.urlsplit(url)
    return f"{parsed.path}?{parsed.query}" if parsed.query else parsed.path


def verify(server, tmp_path, message):
    """openssl agrees that the certificate's key signed the message."""
    status, _, pem = server.get(path_of(message["SigningCertURL"]))
    assert status == 200
    (tmp_path / "c.pem").write_bytes(pem)
    public = subprocess.run(
        ["openssl", "x509", "-in", tmp_path / "c.pem", "-noout", "-pubkey", "-checkend", "0"], capture_output=True
    )
    assert public.returncode == 0, public.stderr
    key = re.search(rb"-----BEGIN PUBLIC KEY-----.*-----END PUBLIC KEY-----\n", public.stdout, re.S)
    (tmp_path / "p.pem").write_bytes(key.group())
    (tmp_path / "s").write_bytes(base64.b64decode(message["Signature"]))
    (tmp_path / "m").write_text("".join(f"{name}\n{message[name]}\n" for name in SIGNED if name in message))
    digest = {"1": "-sha1", "2": "-sha256"}[message["SignatureVersion"]]
    command = ["openssl", "dgst", digest, "-verify", tmp_path / "p.pem", "-signature", tmp_path / "s", tmp_path / "m"]
    verified = subprocess.run(command, capture_output=True, text=True)
    assert verified.stdout.strip() == "Verified OK", (verified.stdout, verified.stderr)


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_queue_gets_signed_envelopes(server, sns, sqs, tmp_path, version):
    topic = sns.create_topic(Name=unique("t"), Attributes={"SignatureVersion": version})["TopicArn"]
    target = Queue(sqs, topic)
    arn = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=target.arn)["SubscriptionArn"]
    published = sns.publish(
        TopicArn=topic,
        Message="héllo",
        Subject="s",
        MessageAttributes={"n": {"DataType": "Number", "StringValue": "1"}},
    )
    (got,) = target.messages(1)
    body = json.loads(got["Body"])
    assert (body["Type"], body["MessageId"], body["TopicArn"]) == ("Notification", published["MessageId"], topic)
    assert (body["Message"], body["Subject"], body["SignatureVersion"]) == ("héllo", "s", version)
    assert body["MessageAttributes"] == {"n": {"Type": "Number", "Value": "1"}}
    assert body["UnsubscribeURL"].endswith(f"/?Action=Unsubscribe&SubscriptionArn={arn}")
    verify(server, tmp_path, body)


def test_raw_and_filtered(sns, sqs):
    topic = sns.create_topic(Name=unique("t"))["TopicArn"]
    wanted, all_of_them = Queue(sqs, topic), Queue(sqs, topic)
    raw = {"RawMessageDelivery": "true"}
    policy = json.dumps({"kind": ["good"]})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=wanted.arn, Attributes={**raw, "FilterPolicy": policy})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=all_of_them.arn, Attributes=raw)
    entries = [
        {"Id": kind, "Message": kind, "MessageAttributes": {"kind": {"DataType": "String", "StringValue": kind}}}
        for kind in ("good", "bad")
    ]
    answer = sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=entries)
    assert [entry["Id"] for entry in answer["Successful"]] == ["good", "bad"] and answer["Failed"] == []
    assert sorted(message["Body"] for message in all_of_them.messages(2)) == ["bad", "good"]
    (got,) = wanted.messages(1)
    assert got["Body"] == "good" and got["MessageAttributes"]["kind"]["StringValue"] == "good"


def test_fifo_keeps_order_and_drops_duplicates(sns, sqs):
    name = unique("t") + ".fifo"
    topic = sns.create_topic(Name=name, Attributes={"FifoTopic": "true"})["TopicArn"]
    target = Queue(sqs, topic, unique("q") + ".fifo", FifoQueue="true")
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=target.arn, Attributes={"RawMessageDelivery": "true"})
    sequence = []
    for number in [0, 1, 1, 2, 3, 0, 4]:
        answer = sns.publish(
            TopicArn=topic, Message=str(number), MessageGroupId="g", MessageDeduplicationId=f"d{number}"
        )
        sequence.append(answer["SequenceNumber"])
    assert sequence[1] == sequence[2] and sequence[0] == sequence[5] and len(set(sequence)) == 5
    assert [message["Body"] for message in target.messages(5)] == ["0", "1", "2", "3", "4"]


def test_a_queue_that_does_not_let_sns_in_gets_nothing(sns, sqs):
    """The control is the dead-letter queue, which does."""
    topic = sns.create_topic(Name=unique("t"))["TopicArn"]
    closed, dead = Queue(sqs), Queue(sqs, topic)
    redrive = json.dumps({"deadLetterTargetArn": dead.arn})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=closed.arn, Attributes={"RedrivePolicy": redrive})
    sns.publish(TopicArn=topic, Message="m")
    (got,) = dead.messages(1)
    assert json.loads(got["Body"])["Message"] == "m"
    assert "Messages" not in sqs.receive_message(QueueUrl=closed.url)


def test_an_endpoint_confirms_gets_messages_and_leaves_by_link(server, sns, receiver, tmp_path):
    topic = sns.create_topic(Name=unique("t"))["TopicArn"]
    answer = sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=receiver.url)
    assert answer["SubscriptionArn"] == "pending confirmation"
    headers, body = receiver.next()
    message = json.loads(body)
    assert headers["x-amz-sns-message-type"] == message["Type"] == "SubscriptionConfirmation"
    verify(server, tmp_path, message)
    status, _, confirmed = server.get(path_of(message["SubscribeURL"]))
    assert status == 200 and b"<SubscriptionArn>" in confirmed, confirmed
    sns.publish(TopicArn=topic, Message="m")
    headers, body = receiver.next()
    message = json.loads(body)
    assert headers["x-amz-sns-message-type"] == message["Type"] == "Notification" and message["Message"] == "m"
    verify(server, tmp_path, message)
    status, _, left = server.get(path_of(message["UnsubscribeURL"]))
    assert status == 200, left
    _, body = receiver.next()
    message = json.loads(body)
    assert message["Type"] == "UnsubscribeConfirmation"
    verify(server, tmp_path, message)
    assert sns.get_topic_attributes(TopicArn=topic)["Attributes"]["SubscriptionsConfirmed"] == "0"


def test_unsigned_requests_may_do_nothing_else(server):
    topic = f"arn:aws:sns:us-east-1:{ACCOUNT}:t"
    for action in ("Publish&Message=m", "DeleteTopic", "GetTopicAttributes"):
        status, _, body = server.get(f"/?Action={action}&TopicArn={topic}&Version=2010-03-31")
        assert status == 403, (action, status, body)


def test_an_endpoint_that_fails_is_tried_again(sns, server, receiver):
    topic = sns.create_topic(Name=unique("t"))["TopicArn"]
    policy = {"healthyRetryPolicy": {"numRetries": 2, "numNoDelayRetries": 2, "minDelayTarget": 1, "maxDelayTarget": 1}}
    attributes = {"DeliveryPolicy": json.dumps(policy), "RawMessageDelivery": "true"}
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=receiver.url, Attributes=attributes)
    server.get(path_of(json.loads(receiver.next()[1])["SubscribeURL"]))
    receiver.statuses = [500, 429]
    sns.publish(TopicArn=topic, Message="m")
    assert [receiver.next()[1] for _ in range(3)] == ["m", "m", "m"]


def test_messages_are_not_posted_where_the_operator_does_not_allow(server, sns):
    topic = sns.create_topic(Name=unique("t"))["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint="http://169.254.169.254/latest")
    reason, give_up = "--http-delivery does not let messages go to 169.254.169.254", time.monotonic() + 30
    while reason not in server.stderr():
        assert time.monotonic() < give_up, server.stderr()[-2000:]
        time.sleep(0.05)


def test_messages_are_posted_nowhere_unless_the_operator_says_so(new_server, receiver):
    plain = new_server()
    sns = plain.client("sns")
    topic = sns.create_topic(Name="t")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=receiver.url)
    reason, give_up = "--http-delivery does not let messages go to 127.0.0.1", time.monotonic() + 30
    while reason not in plain.stderr():
        assert time.monotonic() < give_up, plain.stderr()[-2000:]
        time.sleep(0.05)
    assert receiver.got.empty()


def test_errors_have_the_codes_that_sdks_know(sns):
    with pytest.raises(sns.exceptions.NotFoundException):
        sns.publish(TopicArn=f"arn:aws:sns:us-east-1:{ACCOUNT}:nowhere", Message="m")
    with pytest.raises(sns.exceptions.InvalidParameterException):
        sns.create_topic(Name="not a name")
    with pytest.raises(ClientError) as caught:
        sns.create_platform_application(Name="a", Platform="NOPE", Attributes={"PlatformCredential": "c"})
    assert caught.value.response["Error"]["Code"] == "InvalidParameter"


def test_messages_survive_a_kill(new_server, tmp_path):
    """What Publish acknowledged is delivered, whenever the server dies."""
    server = new_server()
    sns, sqs = server.client("sns"), server.client("sqs")
    topic = sns.create_topic(Name="t")["TopicArn"]
    target = Queue(sqs, topic)
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=target.arn, Attributes={"RawMessageDelivery": "true"})
    for number in range(20):
        sns.publish(TopicArn=topic, Message=str(number))
    server.kill()
    server.start()
    target.sqs, got = server.client("sqs"), set()
    target.url = target.sqs.get_queue_url(QueueName=target.arn.rsplit(":", 1)[1])["QueueUrl"]
    give_up = time.monotonic() + 60
    while len(got) < 20 and time.monotonic() < give_up:
        answer = target.sqs.receive_message(QueueUrl=target.url, MaxNumberOfMessages=10, WaitTimeSeconds=2)
        got.update(message["Body"] for message in answer.get("Messages", []))
    assert got == {str(number) for number in range(20)}
