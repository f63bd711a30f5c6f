"""Works on rows of a queue; one row in a thousand is poisoned and fails each time."""

import json
import os

import boto3

s3 = boto3.client("s3")
BUCKET = os.environ["RESULTS"]
FAILS_EVERY = int(os.environ["FAILS_EVERY"])


def work(row):
    number, amount = row.split(",")
    if int(number) % FAILS_EVERY == FAILS_EVERY // 2:
        raise ValueError(f"row {number} is poisoned")
    return int(number), int(amount)


def handler(event, context):
    done, failures = [], []
    for record in event["Records"]:
        try:
            done.append(work(record["body"]))
        except ValueError:
            failures.append({"itemIdentifier": record["messageId"]})
    if done:
        # A batch that comes again writes again: whoever counts looks at the row numbers.
        result = {"rows": [number for number, _ in done], "sum": sum(amount for _, amount in done)}
        s3.put_object(Bucket=BUCKET, Key=f"results/{context.aws_request_id}.json", Body=json.dumps(result))
    return {"batchItemFailures": failures}
