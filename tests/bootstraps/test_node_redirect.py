"""Node: the answer of a custom resource reaches a plain HTTP `ResponseURL`, although its handler insists on TLS."""

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


@pytest.fixture
def listener():
    """A plain HTTP server that remembers what was put."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self):
            seen.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
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
    answer = environment.ready().invoke({"ResponseURL": f"http://127.0.0.1:{port}/answer?token=a%2Fb"})
    assert json.loads(answer.body) == 200
    assert seen == [("/answer?token=a%2Fb", b'{"Status":"SUCCESS"}')]


def test_b1_other_hosts_and_other_events_are_left_alone(start, listener):
    port, _ = listener
    code = CJS.replace("event.ResponseURL", "event.Other || event.ResponseURL")
    environment = start("node", {"index.js": code}, "index.handler")
    # Nothing listens on port 443 of this address: the request was not redirected.
    answer = environment.ready().invoke({"ResponseURL": f"http://127.0.0.1:{port}/", "Other": "https://127.0.0.2/"})
    assert "ECONNREFUSED" in json.loads(answer.body)["errorMessage"]
