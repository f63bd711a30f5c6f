"""Signed requests by hand, so that tests can bend them after signing."""

import http.client
import json
from collections import namedtuple

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from blackbox.server import ACCESS_KEY, REGION, SECRET_KEY

Reply = namedtuple("Reply", "status headers body")


def sign(
    server,
    method,
    path,
    body=b"",
    headers=None,
    service="lambda",
    region=REGION,
    access_key=ACCESS_KEY,
    secret_key=SECRET_KEY,
    token=None,
):
    """The headers of a request signed by botocore."""
    host = server.url.removeprefix("http://")
    request = AWSRequest(method, server.url + path, data=body, headers={"Host": host, **(headers or {})})
    SigV4Auth(Credentials(access_key, secret_key, token), service, region).add_auth(request)
    return dict(request.headers.items())


def presign(server, method, path, service="lambda", expires=60):
    """Path and query of a request signed in its query."""
    request = AWSRequest(method, server.url + path, headers={"Host": server.url.removeprefix("http://")})
    SigV4QueryAuth(Credentials(ACCESS_KEY, SECRET_KEY), service, REGION, expires=expires).add_auth(request)
    return request.url.removeprefix(server.url)


def send(server, method, path, body=b"", headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        headers = {"Host": server.url.removeprefix("http://"), **(headers or {})}
        if body or method in ("POST", "PUT"):
            headers.setdefault("Content-Length", str(len(body)))
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body or None)
        answer = connection.getresponse()
        return Reply(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def error_code(reply):
    """The AWS error code of a rest-json answer."""
    named = reply.headers.get("x-amzn-errortype")
    if named:
        return named.split(":")[0]
    document = json.loads(reply.body)
    return (document.get("__type") or document.get("code") or document.get("Code")).rpartition("#")[2]
