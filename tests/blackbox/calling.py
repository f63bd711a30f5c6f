"""A function that calls AWS: it signs what its event asks for, with its own keys or with given ones, in plain Python."""

from blackbox.functions import PYTHON, python

SOURCE = r'''
import datetime, hashlib, hmac, http.client, os, urllib.parse

def sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()

def call(service, method, path, headers, body, keys):
    endpoint = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL"])
    region = os.environ["AWS_REGION"]
    moment = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(body.encode()).hexdigest()
    headers = {**headers, "host": endpoint.netloc, "x-amz-date": moment, "x-amz-content-sha256": digest}
    if keys.get("SessionToken"):
        headers["x-amz-security-token"] = keys["SessionToken"]
    names = ";".join(sorted(headers))
    canonical = "\n".join(
        [method, path, "", *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names, digest]
    )
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = sign(("AWS4" + keys["SecretAccessKey"]).encode(), moment[:8])
    for part in (region, service, "aws4_request"):
        key = sign(key, part)
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys['AccessKeyId']}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    connection = http.client.HTTPConnection(endpoint.netloc, timeout=20)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return {"status": answer.status, "body": answer.read().decode()}

def handler(event, context):
    own = {
        "AccessKeyId": os.environ["AWS_ACCESS_KEY_ID"],
        "SecretAccessKey": os.environ["AWS_SECRET_ACCESS_KEY"],
        "SessionToken": os.environ["AWS_SESSION_TOKEN"],
    }
    if event.get("tell_keys"):
        return own
    return call(
        event["service"], event.get("method", "POST"), event.get("path", "/"), event.get("headers", {}),
        event.get("body", ""), event.get("keys") or own,
    )
'''

CODE = python(SOURCE)
RUNTIME = PYTHON
FORM = {"content-type": "application/x-www-form-urlencoded"}


def query(service, action, **parameters):
    """The event for one operation of a service that speaks awsQuery."""
    version = {"sts": "2011-06-15", "iam": "2010-05-08"}[service]
    form = {"Action": action, "Version": version, **parameters}
    from urllib.parse import urlencode

    return {"service": service, "headers": FORM, "body": urlencode(form)}


def json_call(service, target, body="{}"):
    """The event for one operation of a service that speaks awsJson 1.1."""
    return {"service": service, "headers": {"content-type": "application/x-amz-json-1.1", "x-amz-target": target}, "body": body}


def get(service, path):
    return {"service": service, "method": "GET", "path": path}
