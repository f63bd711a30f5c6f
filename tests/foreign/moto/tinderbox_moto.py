"""Loaded into pytest by test_moto.py: moto's reset between tests is ours, we are at the host that its tests name, and what
AWS and we do behind an answer has its time: moto delivers within Publish, and mappings are at work, and gone, at once there."""

import json
import os
import time
import urllib.parse

import boto3
import botocore.httpsession
import requests
from botocore.awsrequest import AWSPreparedRequest

_post = requests.post
_send = botocore.httpsession.URLLib3Session.send

# Seconds that a topic is given to deliver all of a message, and that a receive waits besides.
DELIVERY_S = 0.3
RECEIVE_S = 2
# Seconds until a mapping or a function's first log is there.
BEHIND_S = 20

# Where moto's tests have functions of fixed names.
FUNCTION_REGIONS = ["us-east-1", "us-west-2"]
# Permissive mode checks no signature.
NOBODY = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}

published = False


def _reset_is_ours(url, *arguments, **options):
    global published
    published = False
    if url.endswith("/moto-api/reset"):
        _delete_functions()
    return _post(url.replace("/moto-api/reset", "/_tinderbox/reset"), *arguments, **options)


def _delete_functions():
    """Those of a test that ended early would be in the way of the next of their name."""
    for region in FUNCTION_REGIONS:
        client = boto3.client("lambda", region, endpoint_url=os.environ["TEST_SERVER_MODE_ENDPOINT"], **NOBODY)
        for function in client.list_functions()["Functions"]:
            client.delete_function(FunctionName=function["FunctionName"])


def _as_moto_would(session, request):
    # Some tests expect URLs of moto's default endpoint; ours echo the host that the client used.
    request.headers["Host"] = "localhost:5000"
    target = request.headers.get("X-Amz-Target") or ""
    target = target.decode() if isinstance(target, bytes) else target
    if target == "AmazonSQS.ReceiveMessage":
        return _all_that_comes(session, request)
    answer = _send(session, request)
    if isinstance(request.body, str) and request.body.startswith("Action=Publish"):
        _published()
    if request.method == "POST" and "/event-source-mappings" in request.url:
        return _at_work(session, request, answer)
    if request.method == "DELETE" and "/event-source-mappings/" in request.url:
        return _gone(session, request, answer)
    if target.endswith(".DescribeLogStreams"):
        return _once_it_has_run(session, request, answer)
    return answer


def _published():
    global published
    published = True
    time.sleep(DELIVERY_S)


def _with_body(request, body):
    # Permissive mode checks no signature, so the body may say more than the test did.
    request.body = json.dumps(body).encode()
    request.headers["Content-Length"] = str(len(request.body))


def _all_that_comes(session, request):
    """Waits for the first message; behind a Publish also for others: those of one Publish arrive one after the other."""
    asked = json.loads(request.body)
    _with_body(request, {"WaitTimeSeconds": RECEIVE_S, **asked})
    answer = _send(session, request)
    most = asked.get("MaxNumberOfMessages", 1)
    if not published or answer.status_code != 200 or "WaitTimeSeconds" in asked:
        return answer
    got = json.loads(answer.content)
    while got.get("Messages") and len(got["Messages"]) < most:
        left = most - len(got["Messages"])
        _with_body(request, {**asked, "WaitTimeSeconds": 1, "MaxNumberOfMessages": left})
        more = json.loads(_send(session, request).content).get("Messages")
        if not more:
            break
        got["Messages"] += more
    answer._content = json.dumps(got).encode()
    return answer


def _mapping(session, request, uuid):
    """The answer of GetEventSourceMapping, asked as the request was."""
    split = urllib.parse.urlsplit(request.url)
    url = f"{split.scheme}://{split.netloc}/2015-03-31/event-source-mappings/{uuid}"
    headers = {name: value for name, value in request.headers.items() if name.lower() != "content-length"}
    return _send(session, AWSPreparedRequest("GET", url, headers, None, False))


def _at_work(session, request, answer):
    """CreateEventSourceMapping answers `Creating`; the test goes on when the mapping is as it was asked for."""
    if answer.status_code != 202:
        return answer
    made = json.loads(answer.content)
    end = time.monotonic() + BEHIND_S
    while made["State"] in ("Creating", "Enabling") and time.monotonic() < end:
        time.sleep(0.1)
        made = json.loads(_mapping(session, request, made["UUID"]).content)
    answer._content = json.dumps(made).encode()
    return answer


def _gone(session, request, answer):
    """DeleteEventSourceMapping answers `Deleting`; the test goes on when the mapping is not there any more."""
    end = time.monotonic() + BEHIND_S
    while answer.status_code == 202 and time.monotonic() < end:
        if _mapping(session, request, json.loads(answer.content)["UUID"]).status_code == 404:
            break
        time.sleep(0.1)
    return answer


def _once_it_has_run(session, request, answer):
    """The log group of a function comes with its first invocation."""
    end = time.monotonic() + BEHIND_S
    while answer.status_code == 400 and b"ResourceNotFound" in answer.content and time.monotonic() < end:
        time.sleep(0.2)
        answer = _send(session, request)
    return answer


requests.post = _reset_is_ours
botocore.httpsession.URLLib3Session.send = _as_moto_would
