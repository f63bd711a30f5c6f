#!/usr/bin/env python3
"""An object of N CSV rows → splitter → queue → workers → results; poisoned rows end in the dead-letter queue, exactly.

    python examples/csv-fanout/run.py --rows 1000000

Needs boto3, and the three `export` lines of `tinderbox serve` in the environment.
"""

import argparse
import io
import json
import os
import re
import secrets
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import boto3
import botocore

HERE = Path(__file__).parent
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
# What boto3 needs for the two services that the functions call.
PACKAGES = ["boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six"]
SERVICES = ("s3", "sqs")
# Memory that comes with a whole core, in MB: the one splitter sets the pace of all.
CORE_MB = 1_769


def package(source):
    """A zip of one handler and of the boto3 that runs this script, without the models of other services."""
    site, buffer = Path(boto3.__file__).parents[1], io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(HERE / source, "index.py")
        for name in PACKAGES:
            root = site / name
            files = [root.with_suffix(".py")] if not root.is_dir() else root.rglob("*")
            for path in files:
                below = path.relative_to(site)
                of_service = below.parts[:2] in (("botocore", "data"), ("boto3", "data")) and len(below.parts) > 3
                other = of_service and below.parts[2] not in SERVICES
                if path.is_file() and not other and "__pycache__" not in below.parts and "examples" not in below.parts:
                    archive.write(path, str(below))
    return buffer.getvalue()


class Stack:
    """Everything that the run makes, and unmakes."""

    def __init__(self, fails_every, visibility_s):
        self.visibility_s = visibility_s
        self.id, self.undo = secrets.token_hex(4), []
        self.s3, self.sqs, self.iam, self.functions = map(boto3.client, ("s3", "sqs", "iam", "lambda"))
        self.fails_every = fails_every

    def name(self, what):
        return f"csv-fanout-{what}-{self.id}"

    def role(self, what, statements):
        name = self.name(what)
        arn = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
        self.undo.append(lambda: self.iam.delete_role(RoleName=name))
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self.iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=document)
        self.undo.append(lambda: self.iam.delete_role_policy(RoleName=name, PolicyName="own"))
        return arn

    def logs(self, what):
        """What a function needs to write its own log."""
        actions = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
        group = f"arn:aws:logs:*:*:log-group:/aws/lambda/{self.name(what)}*"  # and the streams in it
        return {"Effect": "Allow", "Action": actions, "Resource": group}

    def bucket(self, what):
        name = self.name(what)
        self.s3.create_bucket(Bucket=name)

        def empty():
            for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=name):
                objects = [{"Key": entry["Key"]} for entry in page.get("Contents", [])]
                if objects:
                    self.s3.delete_objects(Bucket=name, Delete={"Objects": objects})
            self.s3.delete_bucket(Bucket=name)

        self.undo.append(empty)
        return name

    def queue(self, what, **attributes):
        url = self.sqs.create_queue(QueueName=self.name(what), Attributes=attributes)["QueueUrl"]
        self.undo.append(lambda: self.sqs.delete_queue(QueueUrl=url))
        answer = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return url, answer["Attributes"]["QueueArn"]

    def function(self, what, source, role, timeout, memory_mb, **variables):
        name = self.name(what)
        made = self.functions.create_function(
            FunctionName=name,
            Runtime="python3.11",
            Handler="index.handler",
            Role=role,
            Code={"ZipFile": package(source)},
            Timeout=timeout,
            MemorySize=memory_mb,
            Environment={"Variables": variables},
        )
        self.undo.append(lambda: self.functions.delete_function(FunctionName=name))
        self.functions.get_waiter("function_active_v2").wait(FunctionName=name)
        return name, made["FunctionArn"]

    def build(self):
        self.inbox, self.results = self.bucket("in"), self.bucket("out")
        self.dead_url, dead_arn = self.queue("dead")
        redrive = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 3})
        self.rows_url, rows_arn = self.queue("rows", VisibilityTimeout=str(self.visibility_s), RedrivePolicy=redrive)
        read = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{self.inbox}/*"}
        send = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": rows_arn}
        actions = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
        poll = {"Effect": "Allow", "Action": actions, "Resource": rows_arn}
        write = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{self.results}/*"}
        splits = self.role("splitter", [read, send, self.logs("splitter")])
        splitter, splitter_arn = self.function("splitter", "splitter.py", splits, 900, CORE_MB, QUEUE_URL=self.rows_url)
        worker, _ = self.function(
            "worker",
            "worker.py",
            self.role("worker", [poll, write, self.logs("worker")]),
            self.visibility_s,  # a worker that ran longer would have its rows handed out a second time
            512,
            RESULTS=self.results,
            FAILS_EVERY=str(self.fails_every),
        )
        self.names = [splitter, worker]
        self.functions.add_permission(
            FunctionName=splitter,
            StatementId="bucket",
            Action="lambda:InvokeFunction",
            Principal="s3.amazonaws.com",
            SourceArn=f"arn:aws:s3:::{self.inbox}",
        )
        configuration = {"LambdaFunctionArn": splitter_arn, "Events": ["s3:ObjectCreated:*"]}
        self.s3.put_bucket_notification_configuration(
            Bucket=self.inbox, NotificationConfiguration={"LambdaFunctionConfigurations": [configuration]}
        )
        mapping = self.functions.create_event_source_mapping(
            EventSourceArn=rows_arn,
            FunctionName=worker,
            BatchSize=1000,
            MaximumBatchingWindowInSeconds=1,
            FunctionResponseTypes=["ReportBatchItemFailures"],
        )
        self.undo.append(lambda: self.functions.delete_event_source_mapping(UUID=mapping["UUID"]))

    def remove(self):
        for undo in reversed(self.undo):
            undo()


def upload(stack, rows, trace_id):
    """The file, sent as part of one trace."""
    body = io.BytesIO()
    body.write(b"number,amount\n")
    for number in range(rows):
        body.write(b"%d,%d\n" % (number, number % 97))
    headers = stack.s3.meta.events
    headers.register("before-sign.s3.PutObject", lambda request, **_: request.headers.add_header("X-Amzn-Trace-Id", f"Root={trace_id};Sampled=1"))
    stack.s3.put_object(Bucket=stack.inbox, Key="rows.csv", Body=body.getvalue())
    return len(body.getvalue())


def finished(stack, seen, numbers):
    """Rows in results that were not read yet."""
    for page in stack.s3.get_paginator("list_objects_v2").paginate(Bucket=stack.results, Prefix="results/"):
        for entry in page.get("Contents", []):
            if entry["Key"] not in seen:
                seen.add(entry["Key"])
                answer = stack.s3.get_object(Bucket=stack.results, Key=entry["Key"])
                numbers.update(json.load(answer["Body"])["rows"])
    return numbers


def waiting(stack, url):
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    attributes = stack.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(attributes[name]) for name in names)


def dead_letters(stack):
    """The rows in the dead-letter queue, each as often as it is there."""
    rows = []
    while True:
        answer = stack.sqs.receive_message(
            QueueUrl=stack.dead_url, MaxNumberOfMessages=10, WaitTimeSeconds=2, VisibilityTimeout=43_200
        )
        if not answer.get("Messages"):
            return rows
        rows += [int(message["Body"].split(",")[0]) for message in answer["Messages"]]


def bar(done, dead, total, started):
    if not sys.stderr.isatty():
        return
    width = 40
    part = min(1.0, (done + dead) / total)
    filled = "█" * int(part * width)
    rate = (done + dead) / max(0.001, time.monotonic() - started)
    sys.stderr.write(f"\r{filled:<{width}} {done + dead:>9,}/{total:,} rows  {rate:>7,.0f}/s ")
    sys.stderr.flush()


def bill(stack):
    """Invocations and billed milliseconds of both functions, out of the lines that Lambda logs, priced as AWS does."""
    logs, cost, calls = boto3.client("logs"), 0.0, 0
    for name in stack.names:
        pages = logs.get_paginator("filter_log_events").paginate(
            logGroupName=f"/aws/lambda/{name}", filterPattern='"REPORT RequestId"'
        )
        for event in (event for page in pages for event in page["events"]):
            found = re.search(r"Billed Duration: (\d+) ms\tMemory Size: (\d+) MB", event["message"])
            if found:
                calls += 1
                cost += int(found[1]) / 1e3 * int(found[2]) / 1024 * 0.0000166667 + 0.2 / 1e6
    return calls, cost


def hops(trace_id):
    """Names of what took part in the trace, as Tinderbox recorded it."""
    url = f"{os.environ['AWS_ENDPOINT_URL']}/_tinderbox/traces/{trace_id}"
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


def run(rows, fails_every, visibility_s, patience_s):
    stack = Stack(fails_every, visibility_s)
    poisoned = {number for number in range(rows) if number % fails_every == fails_every // 2}
    trace_id = f"1-{int(time.time()):08x}-{secrets.token_hex(12)}"
    try:
        stack.build()
        started = time.monotonic()
        size = upload(stack, rows, trace_id)
        print(f"uploaded {rows:,} rows, {size / 1e6:.1f} MB; trace {trace_id}", file=sys.stderr)
        seen, numbers, last = set(), set(), time.monotonic()
        while True:
            before = len(numbers)
            finished(stack, seen, numbers)
            dead = waiting(stack, stack.dead_url)
            bar(len(numbers), dead, rows, started)
            if len(numbers) + dead >= rows and waiting(stack, stack.rows_url) == 0:
                break
            last = time.monotonic() if len(numbers) > before else last
            if time.monotonic() - last > patience_s:
                raise SystemExit(f"\nnothing moved for {patience_s} s: {len(numbers)} rows and {dead} dead letters")
            time.sleep(0.5)
        took = time.monotonic() - started
        letters = dead_letters(stack)
        calls, cost = bill(stack)
        report = {
            "rows": rows,
            "results": len(numbers),
            "dead_letters": len(letters),
            "exact": numbers == set(range(rows)) - poisoned and sorted(letters) == sorted(poisoned),
            "seconds": round(took, 1),
            "rows_per_second": round(rows / took),
            "invocations": calls,
            "cost_usd": round(cost, 6),
            "trace": trace_id,
            "spans": len(hops(trace_id)["spans"]),
        }
        if sys.stderr.isatty():
            print(file=sys.stderr)  # behind the bar
        print(json.dumps(report, indent=2))
        return report
    finally:
        stack.remove()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--fails-every", type=int, default=1_000, help="one row in so many is poisoned")
    parser.add_argument("--visibility-s", type=int, default=60, help="how long a worker has; a poisoned row dies after three times that")
    parser.add_argument("--patience-s", type=int, default=300)
    arguments = parser.parse_args()
    report = run(arguments.rows, arguments.fails_every, arguments.visibility_s, arguments.patience_s)
    sys.exit(0 if report["exact"] else 1)


if __name__ == "__main__":
    main()
