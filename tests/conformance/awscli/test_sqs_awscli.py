"""SQS through the aws command line tool, as a user types it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from blackbox.functions import unique
from blackbox.suites import absent

AWS = shutil.which("aws", path=str(Path(sys.executable).parent)) or shutil.which("aws")


@pytest.fixture
def aws_sqs(server):
    """aws_sqs("send-message", …): the parsed JSON that the tool printed."""
    if AWS is None:
        absent("the aws cli")

    def run(*arguments, fails=False):
        # Version 1 of the tool sends SQS to AWS's old host name whatever AWS_ENDPOINT_URL says; only this turns it.
        command = [AWS, "sqs", *arguments, "--output", "json", "--endpoint-url", server.url]
        done = subprocess.run(command, env=server.client_env(), capture_output=True, text=True, timeout=120)
        if fails:
            assert done.returncode != 0
            return done.stderr
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    return run


def test_a_queues_life(aws_sqs):
    name = unique("cli") + ".fifo"
    made = aws_sqs("create-queue", "--queue-name", name, "--attributes", "FifoQueue=true,VisibilityTimeout=60")
    url = made["QueueUrl"]
    sent = aws_sqs(
        *("send-message", "--queue-url", url, "--message-body", "hello", "--message-group-id", "g"),
        *("--message-deduplication-id", "1", "--message-attributes", "a={DataType=String,StringValue=v}"),
    )
    assert sent["SequenceNumber"]
    got = aws_sqs(
        *("receive-message", "--queue-url", url, "--wait-time-seconds", "5", "--message-attribute-names", "All"),
        *("--message-system-attribute-names", "All"),
    )["Messages"][0]
    assert got["Body"] == "hello" and got["MessageAttributes"]["a"]["StringValue"] == "v"
    aws_sqs("delete-message", "--queue-url", url, "--receipt-handle", got["ReceiptHandle"])
    attributes = aws_sqs("get-queue-attributes", "--queue-url", url, "--attribute-names", "All")["Attributes"]
    assert attributes["FifoQueue"] == "true" and attributes["ApproximateNumberOfMessages"] == "0"
    aws_sqs("delete-queue", "--queue-url", url)
    assert "NonExistentQueue" in aws_sqs("receive-message", "--queue-url", url, fails=True)
