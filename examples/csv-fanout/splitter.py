"""Puts the rows of an uploaded CSV file on a queue."""

import json
import os
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

SENDERS = 8
CONFIG = Config(max_pool_connections=SENDERS + 2, retries={"mode": "standard", "total_max_attempts": 8})
s3 = boto3.client("s3", config=CONFIG)
sqs = boto3.client("sqs", config=CONFIG)
QUEUE_URL = os.environ["QUEUE_URL"]


def send(lines, trace):
    """Ten rows at most. The trace goes on in the messages."""
    attributes = {"AWSTraceHeader": {"DataType": "String", "StringValue": trace}} if trace else {}
    entries = [
        {"Id": str(n), "MessageBody": line, "MessageSystemAttributes": attributes} for n, line in enumerate(lines)
    ]
    answer = sqs.send_message_batch(QueueUrl=QUEUE_URL, Entries=entries)
    if answer.get("Failed"):
        raise RuntimeError(answer["Failed"])
    return len(lines)


def batches(lines):
    batch = []
    for line in lines:
        batch.append(line.decode())
        if len(batch) == 10:
            yield batch
            batch = []
    if batch:
        yield batch


def handler(event, context):
    trace, sent = os.environ.get("_X_AMZN_TRACE_ID", ""), 0
    for record in event["Records"]:
        bucket, key = record["s3"]["bucket"]["name"], urllib.parse.unquote_plus(record["s3"]["object"]["key"])
        lines = s3.get_object(Bucket=bucket, Key=key)["Body"].iter_lines()
        next(lines)  # the header
        with ThreadPoolExecutor(SENDERS) as pool:
            waiting = []
            for batch in batches(lines):
                waiting.append(pool.submit(send, batch, trace))
                if len(waiting) >= 4 * SENDERS:  # bounded: a file may be larger than memory
                    sent += sum(done.result() for done in waiting)
                    waiting = []
            sent += sum(done.result() for done in waiting)
    print(json.dumps({"sent": sent}))
    return {"sent": sent}
