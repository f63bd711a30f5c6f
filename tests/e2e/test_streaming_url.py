"""Function URLs with InvokeMode RESPONSE_STREAM: what a function writes reaches the client before the function ends."""

import http.client
import json
import urllib.parse

import pytest
from blackbox.functions import NODE, PROVIDED, PYTHON, javascript, package, python, unique

# Begins its answer, waits until an object is there, and ends with what is in it.
WAITS = javascript(
    """
const http = require("http");
const get = (url) => new Promise((resolve, reject) => {
  const asked = new URL(url), endpoint = new URL(process.env.AWS_ENDPOINT_URL);
  http.get({ host: endpoint.hostname, port: endpoint.port, path: asked.pathname + asked.search,
             headers: { host: asked.host } }, (answer) => {
    let body = "";
    answer.on("data", (part) => (body += part));
    answer.on("end", () => resolve([answer.statusCode, body]));
  }).on("error", reject);
});
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  const { url } = JSON.parse(event.body);
  stream = awslambda.HttpResponseStream.from(stream, {
    statusCode: 201, headers: { "Content-Type": "text/plain", "x-mine": "1" }, cookies: ["a=1", "b=2"],
  });
  stream.write("begun\\n");
  for (;;) {
    const [status, body] = await get(url);
    if (status === 200) { stream.write(body); break; }
    if (status !== 404) { stream.write(`unexpected ${status} ${body}`); break; }
  }
  stream.end();
});
"""
)

# The same over the Runtime API as it is documented, without any client library.
BOOTSTRAP = r"""#!/usr/bin/env python3
import http.client, json, os
PREFIX = "/2018-06-01/runtime/invocation/"
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
while True:
    api.request("GET", PREFIX + "next")
    answer = api.getresponse()
    event, request_id = json.loads(answer.read()), answer.headers["Lambda-Runtime-Aws-Request-Id"]
    how = event["rawPath"]
    api.putrequest("POST", PREFIX + request_id + "/response")
    api.putheader("Lambda-Runtime-Function-Response-Mode", "streaming")
    api.putheader("Transfer-Encoding", "chunked")
    if how == "/plain":
        api.putheader("Content-Type", "text/event-stream")
    else:
        api.putheader("Content-Type", "application/vnd.awslambda.http-integration-response")
        api.putheader("Trailer", "Lambda-Runtime-Function-Error-Type")
        api.putheader("Trailer", "Lambda-Runtime-Function-Error-Body")
    api.endheaders()
    def send(data):
        api.send(b"%x\r\n%s\r\n" % (len(data), data))
    if how != "/plain":
        send(b'{"statusCode": 418, "headers": {"x-mine": "2"}, "cookies": ["c=3"]}' + bytes(4))
        send(bytes(4) + b"one,")
    send(b"two")
    if how == "/fails":
        api.send(b"0\r\nLambda-Runtime-Function-Error-Type: Function.Broken\r\n\r\n")
    else:
        api.send(b"0\r\n\r\n")
    api.getresponse().read()
"""


def streaming_url(function, auth="NONE"):
    path = function.url(auth)
    changed = function.client.update_function_url_config(FunctionName=function.name, InvokeMode="RESPONSE_STREAM")
    assert changed["InvokeMode"] == "RESPONSE_STREAM"
    return path


def begin(server, path, body=None):
    """An answer whose body has not been read."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(server.url).netloc, timeout=60)
    connection.request("POST" if body else "GET", path, body, {"Content-Type": "application/json"})
    return connection.getresponse()


def test_the_first_byte_arrives_before_the_function_ends(server, deploy):
    s3, bucket = server.client("s3", signature_version="s3v4", s3={"addressing_style": "path"}), unique("gate")
    s3.create_bucket(Bucket=bucket)
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "gate"})
    path = streaming_url(deploy(WAITS, NODE, Timeout=50))
    answer = begin(server, path + "/", json.dumps({"url": url}))
    assert (answer.status, answer.headers["x-mine"], answer.headers["content-type"]) == (201, "1", "text/plain")
    assert answer.headers.get_all("set-cookie") == ["a=1", "b=2"]
    assert answer.readline() == b"begun\n"
    # The function cannot end before this object is there, and it was not when its first bytes were read.
    s3.put_object(Bucket=bucket, Key="gate", Body=b"opened")
    assert answer.read() == b"opened"


def test_a_function_over_the_runtime_api_streams(server, deploy):
    path = streaming_url(deploy(package({"bootstrap": BOOTSTRAP}), PROVIDED))
    answer = begin(server, path + "/")
    assert (answer.status, answer.headers["x-mine"], answer.headers["set-cookie"]) == (418, "2", "c=3")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.read() == b"one,two"
    answer = begin(server, path + "/plain")
    assert (answer.status, answer.headers["content-type"], answer.read()) == (200, "text/event-stream", b"two")
    answer = begin(server, path + "/fails")
    assert answer.status == 418
    with pytest.raises(http.client.IncompleteRead) as broken:
        answer.read()
    # That it broke off is what the client must see; what was on the way at that moment may be lost.
    assert b"one,two".startswith(broken.value.partial)
    assert begin(server, path + "/").read() == b"one,two", "and the environment goes on"


def test_a_function_that_does_not_stream_is_passed_on_whole(server, deploy):
    source = "def handler(event, context):\n    assert event['rawPath'] != '/fails'\n    return {'statusCode': 201, 'body': 'x'}\n"
    path = streaming_url(deploy(python(source), PYTHON))
    answer = begin(server, path + "/")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert json.loads(answer.read()) == {"statusCode": 201, "body": "x"}
    assert begin(server, path + "/fails").status == 502


def test_more_than_a_buffered_answer_may_have(server, deploy):
    source = """
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  for (let n = 0; n < 20; n++) stream.write(Buffer.alloc(1 << 20, n));
  stream.end();
});
"""
    path = streaming_url(deploy(javascript(source), NODE))
    body = begin(server, path + "/").read()
    assert len(body) == 20 << 20 and body[::1 << 20] == bytes(range(20))


def test_aws_iam_refuses_strangers_before_anything_runs(server, deploy):
    path = streaming_url(deploy(WAITS, NODE), auth="AWS_IAM")
    answer = begin(server, path + "/", "{}")
    assert answer.status == 403 and b"Forbidden" in answer.read()
