"""Loaded into pytest by test_moto.py: moto's reset between tests is ours, and we are at the host that its tests name."""

import botocore.httpsession
import requests

_post = requests.post
_send = botocore.httpsession.URLLib3Session.send


def _reset_is_ours(url, *arguments, **options):
    return _post(url.replace("/moto-api/reset", "/_tinderbox/reset"), *arguments, **options)


def _to_the_default_host(session, request):
    # Some tests expect URLs of moto's default endpoint; ours echo the host that the client used.
    request.headers["Host"] = "localhost:5000"
    return _send(session, request)


requests.post = _reset_is_ours
botocore.httpsession.URLLib3Session.send = _to_the_default_host
