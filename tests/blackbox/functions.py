"""Functions to deploy: packages from text, unique names, invokes and logs."""

import base64
import io
import itertools
import json
import os
import time
import zipfile
from collections import namedtuple
from pathlib import Path

from blackbox.server import ROLE

NODE = "nodejs20.x"
PYTHON = "python3.11"
PROVIDED = "provided.al2023"
WAIT_S = 60

Answer = namedtuple("Answer", "status error version body log")
_numbers = itertools.count(1)


def unique(prefix="fn"):
    return f"{prefix}-{os.getpid()}-{next(_numbers)}"


def package(files):
    """A zip of {name: text or bytes}; everything is executable, so `bootstrap` works."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            info.external_attr = 0o755 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return buffer.getvalue()


def package_folder(folder, extra=None):
    """A zip of everything below `folder`, plus {name: text}."""
    root = Path(folder)
    files = {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
    return package({**files, **(extra or {})})


def javascript(source):
    return package({"index.js": source})


def python(source):
    return package({"index.py": source})


class Function:
    """One deployed function."""

    def __init__(self, server, zip_bytes, runtime=NODE, handler="index.handler", name=None, wait=True, role=ROLE, **fields):
        self.server = server
        self.name = name or unique()
        self.client = server.client("lambda")
        self.created = self.client.create_function(
            FunctionName=self.name, Runtime=runtime, Handler=handler, Role=role, Code={"ZipFile": zip_bytes}, **fields
        )
        if wait:
            self.client.get_waiter("function_active_v2").wait(
                FunctionName=self.name, WaiterConfig={"Delay": 1, "MaxAttempts": WAIT_S}
            )

    def invoke(self, event=None, client=None, **fields):
        """One synchronous invoke; `event` is bytes or JSON-able, `body` in the answer is parsed JSON."""
        payload = event if isinstance(event, bytes) else json.dumps({} if event is None else event).encode()
        answer = (client or self.client).invoke(FunctionName=self.name, Payload=payload, **fields)
        raw = answer["Payload"].read()
        log = base64.b64decode(answer["LogResult"]).decode() if "LogResult" in answer else None
        return Answer(
            answer["StatusCode"],
            answer.get("FunctionError"),
            answer.get("ExecutedVersion"),
            json.loads(raw) if raw else None,
            log,
        )

    def result(self, event=None, **fields):
        answer = self.invoke(event, **fields)
        assert answer.error is None, answer
        return answer.body

    def error(self, event=None, **fields):
        answer = self.invoke(event, **fields)
        assert answer.status == 200 and answer.error is not None, answer
        return answer

    def url(self, auth="NONE"):
        """Creates the function URL and returns the path form's prefix, which needs no wildcard DNS."""
        created = self.client.create_function_url_config(FunctionName=self.name, AuthType=auth)
        if auth == "NONE":
            self.client.add_permission(
                FunctionName=self.name,
                StatementId="url",
                Action="lambda:InvokeFunctionUrl",
                Principal="*",
                FunctionUrlAuthType="NONE",
            )
        self.url_host = created["FunctionUrl"].split("//")[1].strip("/")
        self.url_id = self.url_host.split(".")[0]
        return f"/_tinderbox/url/{self.url_id}"

    def messages(self, until, start=0):
        """The log messages of the function, read again until `until(messages)` holds (logs are written behind)."""
        return log_messages(self.server, f"/aws/lambda/{self.name}", until)

    def delete(self):
        try:
            self.client.delete_function(FunctionName=self.name)
        except self.client.exceptions.ResourceNotFoundException:
            pass


def log_messages(server, group, until):
    logs = server.client("logs")
    give_up = time.monotonic() + WAIT_S
    while True:
        messages = []
        try:
            for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group):
                messages += [event["message"] for event in page["events"]]
        except logs.exceptions.ResourceNotFoundException:
            pass
        if until(messages):
            return messages
        assert time.monotonic() < give_up, f"log lines did not arrive; there are {messages[-50:]}"
        time.sleep(0.05)
