"""Plain HTTP servers in packages, on the managed runtimes, behind the unmodified Lambda Web Adapter; and what else a script starts."""

import base64
import json

import pytest
from blackbox.functions import NODE, PYTHON, package

NODE_SERVER = """
const http = require('http');
let count = 0;
http.createServer((request, response) => {
  if (request.url === '/end') process.exit(3);
  const body = [];
  request.on('data', (piece) => body.push(piece));
  request.on('end', () => {
    count += request.url !== '/'; // the adapter asks there whether the server is up
    console.log(`request ${count} ${request.url}`);
    response.writeHead(request.url.startsWith('/missing') ? 404 : 200, { 'content-type': 'application/json', 'set-cookie': ['a=1', 'b=2'] });
    response.end(JSON.stringify({
      count, method: request.method, url: request.url, body: Buffer.concat(body).toString(), header: request.headers['x-own'],
      id: JSON.parse(request.headers['x-amzn-lambda-context'] ?? '{}').request_id, pid: process.pid,
    }));
  });
}).listen(8080);
"""
PYTHON_SERVER = """
import http.server, json, os, sys
count = 0
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        global count
        if self.path == '/end':
            os._exit(3)
        count += self.path != '/'  # the adapter asks there whether the server is up
        print(f'request {count} {self.path}', flush=True)
        body = self.rfile.read(int(self.headers.get('content-length') or 0)).decode()
        context = json.loads(self.headers.get('x-amzn-lambda-context') or '{}')
        answer = json.dumps({'count': count, 'method': self.command, 'url': self.path, 'body': body,
                             'header': self.headers.get('x-own'), 'id': context.get('request_id'), 'pid': os.getpid()}).encode()
        self.send_response(404 if self.path.startswith('/missing') else 200)
        for name, value in [('content-type', 'application/json'), ('set-cookie', 'a=1'), ('set-cookie', 'b=2'),
                            ('content-length', str(len(answer)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)
    do_POST = do_GET
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(('127.0.0.1', 8080), Handler).serve_forever()
"""
SERVERS = {
    "node": (NODE, {"server.js": NODE_SERVER, "run.sh": "#!/bin/bash\nexec node server.js\n"}),
    "python": (PYTHON, {"server.py": PYTHON_SERVER, "run.sh": "#!/bin/bash\nexec python3 server.py\n"}),
}
REST = {
    "resource": "/{proxy+}",
    "path": "/things/7",
    "httpMethod": "POST",
    "headers": {"x-own": "rest", "content-type": "text/plain", "Host": "api.example.com"},
    "multiValueHeaders": {"x-own": ["rest"], "content-type": ["text/plain"], "Host": ["api.example.com"]},
    "queryStringParameters": {"x": "1"},
    "multiValueQueryStringParameters": {"x": ["1"]},
    "requestContext": {"resourcePath": "/{proxy+}", "httpMethod": "POST", "path": "/things/7", "stage": "prod", "requestId": "r"},
    "body": "hello",
    "isBase64Encoded": False,
}


@pytest.fixture
def web(deploy, web_adapter_layer):
    """web(language, **variables): a function whose package is a plain HTTP server."""

    def make(language, **variables):
        runtime, files = SERVERS[language]
        return deploy(
            package(files),
            runtime,
            "run.sh",
            Layers=[web_adapter_layer],
            MemorySize=512,
            Timeout=20,
            Environment={"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/bootstrap", **variables}},
        )

    return make


def body_of(answer):
    text = answer["body"]
    return json.loads(base64.b64decode(text) if answer.get("isBase64Encoded") else text)


@pytest.mark.parametrize("language", SERVERS)
def test_an_event_of_api_gateway_becomes_a_request(web, language):
    function = web(language)
    first = function.result(REST)
    assert first["statusCode"] == 200, first
    seen = body_of(first)
    assert (seen["count"], seen["method"], seen["url"]) == (1, "POST", "/things/7?x=1")
    assert (seen["body"], seen["header"]) == ("hello", "rest")
    assert first["multiValueHeaders"]["set-cookie"] == ["a=1", "b=2"], first
    second = body_of(function.result({**REST, "path": "/missing"}))
    assert second["count"] == 2 and second["pid"] == seen["pid"], "warm: the same server"
    assert second["id"] and second["id"] != seen["id"]
    assert function.result({**REST, "path": "/missing"})["statusCode"] == 404
    function.messages(lambda lines: any("request 1 /things/7" in line for line in lines))


@pytest.mark.parametrize("language", SERVERS)
def test_a_function_url_leads_to_the_server(server, web, language):
    function = web(language)
    prefix = function.url()
    status, headers, body = server.get(f"{prefix}/p/q?x=1&x=2", "POST", b"through a URL", {"x-own": "url"})
    seen = json.loads(body)
    assert (status, headers["content-type"]) == (200, "application/json"), body
    assert (seen["method"], seen["url"], seen["body"], seen["header"]) == ("POST", "/p/q?x=1&x=2", "through a URL", "url")
    assert headers.get_all("set-cookie") == ["a=1", "b=2"]
    status, _, body = server.get(f"{prefix}/missing")
    assert status == 404 and json.loads(body)["count"] == 2


def test_an_answer_that_streams(server, web):
    function = web("node", AWS_LWA_INVOKE_MODE="response_stream")
    client = function.client
    function.url()
    client.update_function_url_config(FunctionName=function.name, InvokeMode="RESPONSE_STREAM")
    status, headers, body = server.get(f"/_tinderbox/url/{function.url_id}/streamed", "GET")
    assert (status, headers["content-type"]) == (200, "application/json"), body
    assert json.loads(body)["url"] == "/streamed"


@pytest.mark.parametrize("language", SERVERS)
def test_the_end_of_the_server_is_the_end_of_the_environment(web, language):
    function = web(language)
    assert body_of(function.result(REST))["count"] == 1
    error = function.error({**REST, "path": "/end", "queryStringParameters": {}, "multiValueQueryStringParameters": {}})
    # The adapter tells of the broken connection, unless the platform has seen the end of the process first.
    assert error.body["errorType"] == "Runtime.ExitError" or "client error" in error.body["errorMessage"], error
    assert body_of(function.result(REST))["count"] == 1, "a fresh environment"


def test_a_script_that_runs_a_runtime_client_of_its_own(deploy, python_ric):
    """The same package as on `provided`: the script never executes the command that it is given."""
    function = deploy(
        python_ric,
        PYTHON,
        MemorySize=512,
        Timeout=30,
        Environment={"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/bootstrap"}},
    )
    first, second = function.result({"n": 1}), function.result({"n": 2})
    assert (first["invoke"], second["invoke"], second["event"]) == (1, 2, {"n": 2})
    assert first["client"] == "awslambdaric"
    assert function.error({"fail": True}).body["errorMessage"] == "as asked"
