"""SQS through the last botocore that speaks query to it: the protocol of old SDKs, also to the path of a queue's URL."""

import os
import subprocess
import sys
import urllib.parse

from blackbox.server import ACCESS_KEY, ACCOUNT, REGION, SECRET_KEY
from blackbox.suites import cached

# 1.31.80 was the last release whose model of SQS is query.
BOTOCORE = "botocore==1.29.165"

CLIENT = """
import sys, botocore, botocore.session
assert botocore.__version__ == "1.29.165"
session = botocore.session.Session()
session.set_credentials(sys.argv[2], sys.argv[3])
sqs = session.create_client("sqs", region_name=sys.argv[4], endpoint_url=sys.argv[1])
assert sqs.meta.service_model.metadata["protocol"] == "query"
url = sqs.create_queue(QueueName="old.fifo", Attributes={"FifoQueue": "true", "VisibilityTimeout": "7"}, tags={"k": "v"})["QueueUrl"]
assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"k": "v"}
assert sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]["VisibilityTimeout"] == "7"
attributes = {"t": {"DataType": "String", "StringValue": "<&>"}, "b": {"DataType": "Binary", "BinaryValue": b"\\x00\\xff"}}
entries = [
    {"Id": str(n), "MessageBody": f"m{n} \\u00e4\\r\\n<", "MessageGroupId": "g", "MessageDeduplicationId": str(n), "MessageAttributes": attributes}
    for n in range(3)
]
sent = sqs.send_message_batch(QueueUrl=url, Entries=entries)
assert [e["Id"] for e in sent["Successful"]] == ["0", "1", "2"] and not sent.get("Failed"), sent
got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"], MessageAttributeNames=["All"])["Messages"]
assert [m["Body"] for m in got] == [e["MessageBody"] for e in entries], got
assert got[0]["MessageAttributes"] == attributes and got[0]["Attributes"]["MessageGroupId"] == "g", got[0]
assert got[0]["MD5OfMessageAttributes"] == sent["Successful"][0]["MD5OfMessageAttributes"]
sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=got[0]["ReceiptHandle"], VisibilityTimeout=100)
handles = [{"Id": m["MessageId"], "ReceiptHandle": m["ReceiptHandle"]} for m in got]
assert len(sqs.delete_message_batch(QueueUrl=url, Entries=handles)["Successful"]) == 3
try:
    sqs.get_queue_url(QueueName="nobody")
    raise AssertionError("it does not exist")
except sqs.exceptions.QueueDoesNotExist as error:
    assert error.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue", error.response
assert sqs.list_queues(QueueNamePrefix="old")["QueueUrls"] == [url]
sqs.delete_queue(QueueUrl=url)
print("done")
"""


def test_query_goes_round_with_an_old_client(server):
    def build(folder):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", folder]
        subprocess.run([*pip, BOTOCORE], check=True)

    packages = cached("botocore-query", [__file__], build)
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, server.url, ACCESS_KEY, SECRET_KEY, REGION],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0 and done.stdout == "done\n", done.stdout + done.stderr


def test_a_queues_url_is_an_endpoint_open_to_whom_its_policy_names(server):
    sqs = server.client("sqs")
    url = sqs.create_queue(QueueName="open")["QueueUrl"]
    path = urllib.parse.urlparse(url).path
    form = {"content-type": "application/x-www-form-urlencoded"}
    send = urllib.parse.urlencode({"Action": "SendMessage", "Version": "2012-11-05", "MessageBody": "hi"}).encode()
    status, _, body = server.get(path, "POST", send, form)
    assert status == 403 and b"<Code>AccessDenied</Code>" in body, (status, body)
    policy = (
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"sqs:SendMessage",'
        f'"Resource":"arn:aws:sqs:{REGION}:{ACCOUNT}:open"}}]}}'
    )
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    status, _, body = server.get(path, "POST", send, form)
    assert status == 200 and b"<SendMessageResult>" in body, (status, body)
    assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "hi"
    sqs.delete_queue(QueueUrl=url)
