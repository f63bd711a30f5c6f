"""Loaded into pytest by test_moto.py: moto's reset between tests is ours, we are at the host that its tests name, and
topics take the moment that they take: moto delivers within Publish, AWS and we behind it."""

import json
import time

import botocore.httpsession
import requests

_post = requests.post
_send = botocore.httpsession.URLLib3Session.send

# Seconds that a topic is given to deliver all of a message, and that a receive waits besides.
DELIVERY_S = 0.3
RECEIVE_S = 2


def _reset_is_ours(url, *arguments, **options):
    return _post(url.replace("/moto-api/reset", "/_tinderbox/reset"), *arguments, **options)


def _as_moto_would(session, request):
    # Some tests expect URLs of moto's default endpoint; ours echo the host that the client used.
    request.headers["Host"] = "localhost:5000"
    if request.headers.get("X-Amz-Target") in (b"AmazonSQS.ReceiveMessage", "AmazonSQS.ReceiveMessage"):
        # Permissive mode checks no signature, so the body may say more than the test did.
        asked = json.loads(request.body)
        request.body = json.dumps({"WaitTimeSeconds": RECEIVE_S, **asked}).encode()
        request.headers["Content-Length"] = str(len(request.body))
    answer = _send(session, request)
    if b"Action=Publish" in (request.body if isinstance(request.body, bytes) else b""):
        time.sleep(DELIVERY_S)
    return answer


requests.post = _reset_is_ours
botocore.httpsession.URLLib3Session.send = _as_moto_would
