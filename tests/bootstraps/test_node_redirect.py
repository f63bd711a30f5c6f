"""Node: the answer of a custom resource reaches a plain HTTP `ResponseURL`, although its handler insists on TLS."""

import base64
import http.server
import json
import threading

import pytest

# The shape of the handlers that CDK deploys (aws-cdk-lib, custom-resources: `respond`): host and path only.
CJS = """
const https = require("https");
const url = require("url");
exports.handler = (event) => new Promise((resolve, reject) => {
  const parsed = url.parse(event.ResponseURL);
  const body = JSON.stringify({ Status: "SUCCESS" });
  const request = https.request(
    { hostname: parsed.hostname, path: parsed.path, method: "PUT", headers: { "content-length": body.length } },
    (answer) => { answer.resume(); resolve(answer.statusCode); },
  );
  request.on("error", reject);
  request.end(body);
});
"""
ESM = CJS.replace('const https = require("https");', 'import * as https from "https";').replace(
    'const url = require("url");', 'import * as url from "url";'
).replace("exports.handler =", "export const handler =")


# What handlers do that give the URL as one.
WHOLE = """
const https = require("https");
exports.handler = (event) => new Promise((resolve, reject) => {
  const request = https.request(
    event.ResponseURL.replace(/^http:/, "https:").replace(/:\\d+\\//, "/"),
    { method: "PUT", headers: { "content-length": 2 } },
    (answer) => { answer.resume(); resolve(answer.statusCode); },
  );
  request.on("error", reject);
  request.end("{}");
});
"""


def custom_resource(url, **members):
    """What CloudFormation sends; a member that is None is left out."""
    event = {
        "RequestType": "Create",
        "StackId": "arn:aws:cloudformation:us-east-1:000000000000:stack/s/1",
        "LogicalResourceId": "Custom",
        "ResponseURL": url,
        **members,
    }
    return {name: value for name, value in event.items() if value is not None}


@pytest.fixture
def listener():
    """A plain HTTP server that remembers what was put."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self):
            seen.append((self.path, self.rfile.read(int(self.headers["content-length"])), self.headers["authorization"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1], seen
    server.shutdown()


@pytest.mark.parametrize("files", [{"index.js": CJS}, {"index.mjs": ESM}], ids=["cjs", "esm"])
def test_b1_a_plain_response_url_is_answered(start, listener, files):
    port, seen = listener
    environment = start("node", files, "index.handler")
    answer = environment.ready().invoke(custom_resource(f"http://127.0.0.1:{port}/answer?token=a%2Fb"))
    assert json.loads(answer.body) == 200
    assert seen == [("/answer?token=a%2Fb", b'{"Status":"SUCCESS"}', None)]


def test_b1_user_and_password_of_the_url_are_kept(start, listener):
    port, seen = listener
    environment = start("node", {"index.js": WHOLE}, "index.handler")
    answer = environment.ready().invoke(custom_resource(f"http://us%40er:pass@127.0.0.1:{port}/answer"))
    assert json.loads(answer.body) == 200
    expected = base64.b64encode(b"us@er:pass").decode()
    assert seen == [("/answer", b"{}", f"Basic {expected}")]


def test_b1_the_endpoint_of_the_sdks_is_the_platform_too(start, listener):
    port, seen = listener
    # No name server is asked: the handler's host is the endpoint's, and the request would go to its port.
    code = CJS.replace('method: "PUT"', 'method: "PUT", lookup: (_, options, done) => done(null, [{address: "127.0.0.1", family: 4}])')
    environment = start("node", {"index.js": code}, "index.handler", AWS_ENDPOINT_URL="http://platform.test:4566")
    answer = environment.ready().invoke(custom_resource(f"http://platform.test:{port}/answer"))
    assert json.loads(answer.body) == 200
    assert [path for path, _, _ in seen] == ["/answer"]


def refused(environment, event):
    """Nothing listens on port 443 of a loopback address: the request was not redirected."""
    assert "ECONNREFUSED" in json.loads(environment.ready().invoke(event).body)["errorMessage"]


def test_b1_requests_to_other_hosts_are_left_alone(start, listener):
    port, seen = listener
    code = CJS.replace("event.ResponseURL", "event.Other || event.ResponseURL")
    environment = start("node", {"index.js": code}, "index.handler")
    refused(environment, custom_resource(f"http://127.0.0.1:{port}/", Other="https://127.0.0.2/"))
    assert seen == []


@pytest.mark.parametrize("absent", ["RequestType", "StackId", "LogicalResourceId"])
def test_b1_an_event_that_is_no_custom_resources_keeps_tls(start, listener, absent):
    port, seen = listener
    environment = start("node", {"index.js": CJS}, "index.handler")
    refused(environment, custom_resource(f"http://127.0.0.1:{port}/answer", **{absent: None}))
    assert seen == []


def test_b1_an_event_that_names_a_foreign_host_keeps_tls(start, listener):
    port, seen = listener
    # The handler's host is a foreign one by its name; it is looked up as this machine, where nothing listens on port 443.
    code = CJS.replace('method: "PUT"', 'method: "PUT", lookup: (_, options, done) => done(null, [{address: "127.0.0.1", family: 4}])')
    environment = start("node", {"index.js": code}, "index.handler", AWS_ENDPOINT_URL="http://127.0.0.1:4566")
    refused(environment, custom_resource(f"http://attacker.test:{port}/answer"))
    assert seen == []
