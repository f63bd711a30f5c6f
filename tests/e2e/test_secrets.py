"""I9: secrets stand in no log, trace, error or record, and at rest they are where the server's user alone can read them."""

import json
import re
import time

import pytest
from blackbox import calling
from blackbox.functions import Function, unique
from blackbox.server import SECRET_KEY
from botocore.exceptions import ClientError

WHO = calling.query("sts", "GetCallerIdentity")
PASSWORD = "pass-word-of-a-queue-7f3a"


@pytest.fixture
def keeping(new_server):
    return new_server()


def answers_of(calls):
    """What the server said to each call, errors included, as text."""
    said = []
    for call in calls:
        try:
            said.append(call())
        except ClientError as error:
            said.append([error.response, str(error)])
    return said


def spans_of(server, trace):
    """The document of a trace, which is written behind the answer."""
    give_up = time.monotonic() + 30
    while True:
        status, _, body = server.get(f"/_tinderbox/traces/{trace}")
        if status == 200:
            return body.decode()
        assert time.monotonic() < give_up, (trace, status, body)
        time.sleep(0.05)


def test_i9_secrets_are_told_once_and_then_to_nobody(keeping):
    iam, user = keeping.client("iam"), unique("user")
    iam.create_user(UserName=user)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    temporary = keeping.client_of("sts", key).get_session_token()["Credentials"]
    function = Function(keeping, calling.CODE, calling.RUNTIME, Environment={"Variables": {"PASSWORD": PASSWORD}})
    own = function.result({"tell_keys": True})
    assert function.result({**WHO, "keys": own})["status"] == 200, "the control: these are keys"
    secrets = {
        "the root key": SECRET_KEY,
        "a user's key": key["SecretAccessKey"],
        "temporary key": temporary["SecretAccessKey"],
        "session token": temporary["SessionToken"],
        "a function's key": own["SecretAccessKey"],
        "a function's token": own["SessionToken"],
    }

    # Requests that succeed, are denied, are wrongly signed; in headers and presigned.
    def presigned():
        url = keeping.client_of("lambda", temporary).generate_presigned_url("list_functions")
        return [keeping.get(url.removeprefix(keeping.url))[2].decode()]

    bad = {**temporary, "SecretAccessKey": temporary["SecretAccessKey"][::-1]}
    calls = [
        keeping.client_of("sts", key).get_caller_identity,
        keeping.client_of("lambda", key).list_functions,
        keeping.client_of("iam", temporary).list_users,
        keeping.client_of("lambda", temporary).list_functions,
        keeping.client_of("sts", bad).get_caller_identity,
        keeping.client_of("lambda", {**temporary, "SessionToken": "forged"}).list_functions,
        presigned,
        lambda: iam.list_access_keys(UserName=user),
        iam.get_account_authorization_details,
        lambda: keeping.client("lambda").get_function(FunctionName=function.name),
    ]
    said = json.dumps(answers_of(calls), default=str)
    traces = set(re.findall(r"1-[0-9a-f]{8}-[0-9a-f]{24}", said))
    assert len(traces) >= len(calls) - 1, "every answer names its trace"
    spans = [spans_of(keeping, trace) for trace in traces]
    logs = keeping.client("logs")
    lines = [
        event["message"]
        for group in logs.describe_log_groups()["logGroups"]
        for event in logs.filter_log_events(logGroupName=group["logGroupName"])["events"]
    ]
    assert spans and lines
    keeping.stop()

    shown = {"an answer": said, "a trace": json.dumps(spans), "a log": json.dumps(lines), "the server's log": keeping.stderr()}
    for what, secret in secrets.items():
        for where, text in shown.items():
            assert secret not in text, f"{what} in {where}"
    assert PASSWORD not in shown["a trace"] + shown["a log"] + shown["the server's log"]
    assert "X-Amz-Signature=" not in shown["a trace"] + shown["the server's log"], "a presigned URL is good for its time"
    # Signatures are checked with the secrets themselves, so they are at rest: behind a folder of the server's user alone.
    assert keeping.data.stat().st_mode & 0o077 == 0
