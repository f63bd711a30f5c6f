"""Node: errors of an invoke, ends of the process, the context object, logs."""

import json
import time

import pytest
from environment import request_id

NODE22 = {"AWS_EXECUTION_ENV": "AWS_Lambda_nodejs22.x"}

THROWN = {
    "error": ("async () => { throw new Error('boom') }", "Error", "boom"),
    "sync": ("() => { throw new Error('boom') }", "Error", "boom"),
    "subclass": ("async () => { class MyError extends Error { name = 'MyError' } throw new MyError('m') }", "MyError", "m"),
    "text": ("async () => { throw 'text' }", "string", "text"),
    "number": ("async () => { throw 7 }", "number", "7"),
    "undefined": ("() => Promise.reject()", "undefined", "undefined"),
    "delete_character": ("async () => { throw new Error('a\\x7fb') }", "Error", "a%7Fb"),
    "hostile_getter": (
        "async () => { const e = new Error(); Object.defineProperty(e, 'message', { get() { throw 1 } }); throw e }",
        "handled",
        "callback called with Error argument",
    ),
    "cyclic_answer": (
        "async () => { const a = {}; a.a = a; return a }",
        "Runtime.JSONStringifyError",
        "Unable to stringify response body",
    ),
    "bigint_answer": ("async () => 1n", "Runtime.JSONStringifyError", "Unable to stringify response body"),
    "answer_over_6_mib": ("async () => 'x'.repeat(6291555)", "Function.ResponseSizeTooLarge", "Response payload size exceeded"),
    "never_settles": ("() => new Promise(() => {})", "Runtime.NodeJsExit", "The Lambda runtime client detected"),
}


@pytest.mark.parametrize("name", THROWN)
def test_error_answers_the_invoke_and_the_environment_lives_on(start, name):
    source, error_type, message = THROWN[name]
    environment = start("node", f"const bad = {source};\nexports.handler = (e, c) => e.ok ? 'fine' : bad(e, c);").ready()
    error = environment.error()
    assert error["errorType"] == error_type
    assert error["errorMessage"].startswith(message)
    if error_type == "Error":
        assert any("index.js:1" in line for line in error["trace"])
    assert environment.invoke({"ok": True}).body == b'"fine"'


def test_largest_answer_passes(start):
    frame = start("node", "exports.handler = async () => 'x'.repeat(6291554);").ready().invoke()
    assert frame.kind == "RESPONSE" and len(frame.body) == 6291556


FATAL = {
    "unhandled_rejection": (
        "async () => { Promise.reject(new Error('late')); return 1 }",
        128,
        "Runtime.UnhandledPromiseRejection",
        "Error: late",
    ),
    "rejection_with_text": ("async () => { Promise.reject('t'); return 1 }", 128, "Runtime.UnhandledPromiseRejection", "t"),
    "uncaught_exception": (
        "() => new Promise(() => { setTimeout(() => { throw new TypeError('timer') }, 1) })",
        129,
        "TypeError",
        "timer",
    ),
}


@pytest.mark.parametrize("name", FATAL)
def test_error_outside_the_promise_ends_the_process(start, name):
    source, code, error_type, message = FATAL[name]
    environment = start("node", f"exports.handler = {source};").ready()
    error = environment.error()
    assert (error["errorType"], error["errorMessage"]) == (error_type, message)
    assert environment.receive() is None
    assert environment.wait() == code


@pytest.mark.parametrize("code", [0, 1, 42])
def test_process_exit_sends_nothing(start, code):
    environment = start("node", f"exports.handler = async () => process.exit({code});").ready()
    assert environment.invoke() is None
    assert environment.wait() == code


def test_hang_up_ends_the_process_cleanly(start):
    environment = start("node", "exports.handler = async () => 1; setInterval(() => {}, 10);").ready()
    environment.result()
    assert environment.finish() == (0, "", "")


def test_work_left_over_goes_on_in_the_next_invoke(start):
    source = """let ticks = 0;
exports.handler = async (e) => {
  if (e.begin) { setTimeout(() => { ticks += 1; }, 1); return ticks; }
  await new Promise((ok) => setTimeout(ok, 50));
  return ticks;
};"""
    environment = start("node", source).ready()
    assert environment.result({"begin": True}) == 0
    time.sleep(0.1)
    assert environment.result({}) == 1


def test_events_of_every_size_and_kind(start):
    environment = start("node", "exports.handler = async (e) => e;").ready()
    for event in [None, 0, "", "ü\u2028\U0001f600", [], {"a": [1, {"b": None}]}, "x" * 70_000, "é" * 3_000_000, "y"]:
        assert environment.result(json.dumps(event, ensure_ascii=False).encode()) == event
    assert environment.result(b"") == {}
    assert environment.error(b"{not json")["errorType"] == "SyntaxError"
    assert environment.result(b"1") == 1


CONTEXT = """exports.handler = async (e, c) => ({ ...c, remaining: c.getRemainingTimeInMillis(),
  trace: process.env._X_AMZN_TRACE_ID ?? null, store: awslambda.InvokeStore.getRequestId(), fds:
  [process.env._TINDERBOX_CHANNEL_FD ?? null, process.env._LAMBDA_TELEMETRY_LOG_FD ?? null] });"""


def test_context(start):
    environment = start("node", CONTEXT).ready()
    client = {"client": {"installation_id": "i"}, "custom": {"a": "b"}}
    context = environment.result(
        clientContext=json.dumps(client),
        cognitoIdentity={"cognitoIdentityId": "id", "cognitoIdentityPoolId": "pool"},
        tenantId="blue",
    )
    remaining = context.pop("remaining")
    assert 0 < remaining <= 60_000
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    assert context == {
        "functionName": "fn",
        "functionVersion": "$LATEST",
        "memoryLimitInMB": "128",
        "logGroupName": "/aws/lambda/fn",
        "logStreamName": "2026/11/23/[$LATEST]0",
        "clientContext": client,
        "identity": {"cognitoIdentityId": "id", "cognitoIdentityPoolId": "pool"},
        "invokedFunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:fn",
        "awsRequestId": request_id(1),
        "tenantId": "blue",
        "xRayTraceId": trace,
        "trace": trace,
        "store": request_id(1),
        "fds": [None, None],
    }
    second = environment.result(traceId=None)
    assert second["awsRequestId"] == request_id(2) and second["trace"] is None and "clientContext" not in second


def test_old_context_methods_exist_up_to_nodejs22_only(start):
    source = (
        "exports.handler = async (e, c) => ['done', 'succeed', 'fail', 'callbackWaitsForEmptyEventLoop'].filter((k) => k in c);"
    )
    assert start("node", source, **NODE22).ready().result() == ["done", "succeed", "fail", "callbackWaitsForEmptyEventLoop"]
    assert start("node", source).ready().result() == []


LEVELS = {"trace": 4, "debug": 8, "log": 12, "info": 12, "warn": 16, "error": 20}


def test_console_levels_as_text(start):
    source = (
        f"exports.handler = async () => {{ for (const m of {list(LEVELS)}) console[m]('m %s', m, {{ a: 1 }}, '\\nsecond'); }};"
    )
    environment = start("node", source).ready()
    before = time.time_ns() // 1000 - 1000
    environment.result()
    records = environment.records()
    assert [record.frame_type for record in records] == [0xA55A0003 | bits for bits in LEVELS.values()]
    for method, record in zip(LEVELS, records, strict=False):
        moment, request, level, message = record.message.split("\t")
        assert moment.endswith("Z") and len(moment) == 24
        assert request == request_id(1)
        assert level == {"log": "INFO"}.get(method, method.upper())
        assert message == f"m {method} {{ a: 1 }} \nsecond\n"
        assert before <= record.time_us <= time.time_ns() // 1000


def test_console_as_json_with_level(start):
    source = """console.warn('init');
exports.handler = async () => { console.info('no'); console.warn({ a: 1 }); console.error('x', new TypeError('t')); console.error(new Error('e'));
  const cyclic = {}; cyclic.self = cyclic; console.error(cyclic); };"""
    environment = start("node", source, AWS_LAMBDA_LOG_FORMAT="JSON", AWS_LAMBDA_LOG_LEVEL="WARN").ready()
    environment.result()
    records = environment.records()
    assert [record.frame_type for record in records] == [0xA55A0002 | bits for bits in (16, 16, 20, 20, 20)]
    first, second, third, fourth, fifth = (json.loads(record.message) for record in records)
    assert (first["requestId"], first["message"], first["level"]) == ("-", "init", "WARN")
    assert second["message"] == {"a": 1} and second["requestId"] == request_id(1)
    assert third["errorType"] == "TypeError" and third["errorMessage"] == "t" and third["stackTrace"]
    assert fourth["message"]["errorMessage"] == "e"
    assert "Circular" in fifth["message"]


def test_invoke_error_is_logged_with_its_stack(start):
    source = "exports.handler = async () => { throw Object.assign(new Error('b'), { code: 'E_X', cause: new Error('inner') }) };"
    environment = start("node", source).ready()
    environment.error()
    (record,) = environment.records()
    caption, document = record.message.split("\t", 3)[3].split("\t")
    logged = json.loads(document)
    assert caption == "Invoke Error "
    assert (logged["errorType"], logged["errorMessage"], logged["code"]) == ("Error", "b", "E_X")
    assert logged["stack"][0] == "Error: b"


def test_children_do_not_inherit_the_descriptors(start):
    source = """const { execFileSync } = require('child_process');
const script = 'for fd in 3 4; do test -e /proc/self/fd/$fd && echo $fd; done; echo end';
exports.handler = async () => execFileSync('/bin/sh', ['-c', script]).toString();"""
    assert start("node", source).ready().result() == "end\n"
