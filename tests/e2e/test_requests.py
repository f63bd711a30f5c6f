"""HTTP as it comes: malformed bodies, unknown paths, sizes, the contract for scripts, traces."""

import json
import socket
import time

import pytest
from blackbox.functions import NODE, PYTHON, Function, javascript, python
from blackbox.server import ROLE
from blackbox.signing import error_code, send, sign

JSON = {"Content-Type": "application/json"}
FUNCTIONS = "/2015-03-31/functions"
# What they are told to say, or the event.
PYTHON_ECHO = "def handler(event, context):\n    return 'x' * event['repeat'] if 'repeat' in event else event\n"
NODE_ECHO = "exports.handler = async (event) => ('repeat' in event ? 'x'.repeat(event.repeat) : event);"


def signed(server, method, path, body=b"", headers=None, **how):
    return send(server, method, path, body, sign(server, method, path, body, headers, **how))


def test_health_tells_the_version(server):
    status, headers, body = server.get("/_tinderbox/health")
    document = json.loads(body)
    assert status == 200 and document["status"] == "ready" and document["version"]
    assert headers["content-type"].startswith("application/json")


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff\xfe", b'"text"', b'{"FunctionName": 7}', b"[" * 100_000], ids=range(6))
def test_malformed_json_is_refused_and_the_server_lives(server, body):
    reply = signed(server, "POST", FUNCTIONS, body, JSON)
    assert 400 <= reply.status < 500, reply
    assert error_code(reply) and reply.headers["x-amzn-requestid"]
    assert server.get("/_tinderbox/health")[0] == 200


def test_unknown_paths_get_an_aws_shaped_error(server):
    for method, path in (("GET", "/2015-03-31/nothing"), ("PATCH", FUNCTIONS), ("GET", "/_tinderbox/nothing")):
        reply = signed(server, method, path)
        assert 400 <= reply.status < 502 and reply.body


def test_every_answer_has_a_request_id(server):
    first, second = (signed(server, "GET", FUNCTIONS).headers["x-amzn-requestid"] for _ in range(2))
    assert first and second and first != second


def test_raw_garbage_is_answered_or_closed(server):
    for data in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"\0" * 5000,
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(65536)
            except OSError:  # closed in the middle of it
                answer = b""
            assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5", b"HTTP/1.0 4"))
    assert server.get("/_tinderbox/health")[0] == 200


def test_f1_conflicting_lengths_are_refused(server):
    text = f"POST {FUNCTIONS} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{{}}   "
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(text.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")


def test_f4_a_body_over_the_limit_is_413(server):
    code = javascript("exports.handler = async () => 1;")
    body = json.dumps({"FunctionName": "big", "Role": ROLE, "Description": "x" * (80 << 20)}).encode() + code
    headers = sign(server, "POST", FUNCTIONS, body, JSON)
    try:
        reply = send(server, "POST", FUNCTIONS, body, headers)
        assert reply.status in (400, 413)
    except (ConnectionError, BrokenPipeError):
        pass  # refused before the whole body was read
    assert server.get("/_tinderbox/health")[0] == 200


def spans_of(server, trace_id):
    """The spans of a trace, read until they stop growing (they are written behind)."""
    give_up = time.monotonic() + 30
    while True:
        status, _, body = server.get(f"/_tinderbox/traces/{trace_id}")
        spans = json.loads(body).get("spans", []) if status == 200 else []
        if any("init" in span["name"] for span in spans) and len(spans) >= 4:
            return spans
        assert time.monotonic() < give_up, (status, body)
        time.sleep(0.05)


TRACED = "exports.handler = async () => process.env._X_AMZN_TRACE_ID;"


def test_trace_header_is_accepted_passed_on_and_answered(server, deploy):
    function = deploy(javascript(TRACED))
    root = "1-5759e988-bd862e3fe1be46a994272793"
    path = f"{FUNCTIONS}/{function.name}/invocations"
    reply = signed(server, "POST", path, b"{}", {"X-Amzn-Trace-Id": f"Root={root};Parent=53995c3f42cd8ad8;Sampled=1", **JSON})
    assert reply.status == 200
    inside = json.loads(reply.body)
    assert f"Root={root}" in inside and "Sampled=1" in inside and "Parent=" in inside
    assert root in reply.headers["x-amzn-trace-id"]


def test_a_trace_is_made_where_none_came(server, deploy):
    function = deploy(javascript(TRACED))
    first, second = function.result(), function.result()
    roots = [dict(part.split("=", 1) for part in text.split(";"))["Root"] for text in (first, second)]
    assert roots[0] != roots[1] and all(root.startswith("1-") and len(root) == 35 for root in roots)


def test_invariant_7_every_phase_is_a_span(server, deploy):
    function = deploy(javascript(TRACED))
    path = f"{FUNCTIONS}/{function.name}/invocations"
    reply = signed(server, "POST", path, b"{}", JSON)
    root = dict(part.split("=", 1) for part in json.loads(reply.body).split(";"))["Root"]
    spans = spans_of(server, root)
    ids = {span["span_id"] for span in spans}
    assert len(ids) == len(spans)
    tops = [span for span in spans if span["parent"] not in ids]
    assert len(tops) == 1, "one tree"
    names = " | ".join(span["name"] for span in spans)
    for phase in ("sandbox", "init", "invoke"):
        assert phase in names, names
    for span in spans:
        assert span["end_us"] >= span["start_us"] and span["duration_us"] == span["end_us"] - span["start_us"]


def test_unknown_trace(server):
    status, _, body = server.get("/_tinderbox/traces/1-00000000-000000000000000000000000")
    assert status == 404 or json.loads(body)["spans"] == []


@pytest.mark.parametrize("runtime, code", [(PYTHON, python(PYTHON_ECHO)), (NODE, javascript(NODE_ECHO))])
def test_l7_an_operator_raises_the_largest_payload(new_server, runtime, code):
    event = {"x": "y" * (8 << 20)}
    server = new_server("--payload-mb", "16")
    raised = Function(server, code, runtime, MemorySize=512, Timeout=30)
    assert raised.result(event) == event
    text = {"Content-Type": "text/plain"}
    status, _, body = server.get(raised.url() + "/", method="POST", body=b"z" * (8 << 20), headers=text)
    assert (status, json.loads(body)["body"]) == (200, "z" * (8 << 20))
    too_large = raised.error({"repeat": 17 << 20})
    assert too_large.body["errorMessage"] == "Response payload size exceeded maximum allowed payload size (16777316 bytes)."
    with pytest.raises(raised.client.exceptions.RequestTooLargeException, match="16777316"):
        raised.invoke({"x": "y" * (17 << 20)})
