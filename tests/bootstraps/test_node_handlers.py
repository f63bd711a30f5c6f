"""Node: where a handler is looked for, what it may answer and how."""

import json

import pytest

ECHO = "async (event) => ({ echo: event })"
NODE22 = {"AWS_EXECUTION_ENV": "AWS_Lambda_nodejs22.x"}

FOUND = {
    "commonjs": ({"index.js": f"exports.handler = {ECHO};"}, "index.handler"),
    "cjs_extension": ({"index.cjs": f"exports.handler = {ECHO};"}, "index.handler"),
    "mjs_extension": ({"index.mjs": f"export const handler = {ECHO};"}, "index.handler"),
    "module_package": ({"package.json": '{"type":"module"}', "index.js": f"export const handler = {ECHO};"}, "index.handler"),
    "module_package_cjs_file": ({"package.json": '{"type":"module"}', "a.cjs": f"exports.handler = {ECHO};"}, "a.handler"),
    "top_level_await": ({"index.mjs": f"const h = await Promise.resolve({ECHO}); export {{ h as handler }};"}, "index.handler"),
    "export_default_object": ({"index.mjs": f"export default {{ handler: {ECHO} }};"}, "index.handler"),
    "export_default_function": ({"index.mjs": f"export default {ECHO};"}, "index.default"),
    "path_into_exports": ({"index.js": f"exports.api = {{ items: {{ get: {ECHO} }} }};"}, "index.api.items.get"),
    "first_dot_cuts": ({"a.js": f"exports.b = {{ c: {ECHO} }};"}, "a.b.c"),
    "folder": ({"src/api/index.js": f"exports.handler = {ECHO};"}, "src/api/index.handler"),
    "folder_with_dot": ({"v1.2/index.js": f"exports.handler = {ECHO};"}, "v1.2/index.handler"),
    "odd_file_name": ({"a#b%20c.mjs": f"export const handler = {ECHO};"}, "a#b%20c.handler"),
    "js_wins_over_mjs": (
        {"index.js": f"exports.handler = {ECHO};", "index.mjs": "throw new Error('wrong file')"},
        "index.handler",
    ),
    "package_in_node_modules": (
        {"node_modules/app/package.json": '{"main":"m.js"}', "node_modules/app/m.js": f"exports.handler = {ECHO};"},
        "app.handler",
    ),
    "requires_a_dependency": (
        {"index.js": f"require('dep'); exports.handler = {ECHO};", "node_modules/dep/index.js": ""},
        "index.handler",
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_handler_is_found(start, name):
    files, handler = FOUND[name]
    assert start("node", files, handler).ready().result({"a": 1}) == {"echo": {"a": 1}}


INIT_ERRORS = {
    "missing_file": ("exports.handler = 1", "nope.handler", "Runtime.ImportModuleError", "Error: Cannot find module 'nope'"),
    "missing_require": ("require('gone')", "index.handler", "Runtime.ImportModuleError", "Error: Cannot find module 'gone'"),
    "missing_export": (
        "exports.other = 1",
        "index.handler",
        "Runtime.HandlerNotFound",
        "index.handler is undefined or not exported",
    ),
    "not_a_function": ("exports.handler = 1", "index.handler", "Runtime.HandlerNotFound", "index.handler is not a function"),
    "no_dot": ("", "index", "Runtime.MalformedHandlerName", "Bad handler"),
    "empty": ("", "", "Runtime.MalformedHandlerName", "Bad handler"),
    "parent_folder": ("", "../index.handler", "Runtime.MalformedHandlerName", "'../index.handler' is not a valid handler name."),
    "syntax": ("exports.handler = (", "index.handler", "Runtime.UserCodeSyntaxError", "SyntaxError: Unexpected end of input"),
    "throws": ("throw new RangeError('at init')", "index.handler", "RangeError", "at init"),
    "throws_text": ("throw 'plain'", "index.handler", "string", "plain"),
    "callback_on_24": (
        "exports.handler = (a, b, c) => c()",
        "index.handler",
        "Runtime.CallbackHandlerDeprecated",
        "ERROR: AWS Lambda has removed",
    ),
}


@pytest.mark.parametrize("name", INIT_ERRORS)
def test_init_error(start, name):
    source, handler, error_type, message = INIT_ERRORS[name]
    environment = start("node", source, handler)
    error = environment.init_error()
    assert error["errorType"] == error_type
    assert error["errorMessage"].startswith(message)
    assert environment.wait() == 1
    (record,) = environment.records()
    assert record.frame_type == 0xA55A0003 | 20
    assert "\tERROR\t" in record.message and message.split("\n")[0] in record.message


def test_syntax_error_shows_the_line(start):
    trace = start("node", "let a = 1;\nlet b = = 2;\n").init_error()["trace"]
    assert trace[0].startswith("Runtime.UserCodeSyntaxError: SyntaxError")
    assert any("index.js:2" in line for line in trace) and "let b = = 2;" in trace


def test_errors_outside_the_handlers_promise_during_init(start):
    rejected = start("node", "Promise.reject(new Error('r')); exports.handler = async () => new Promise(() => {});")
    frame = rejected.receive()
    if frame.kind == "READY":  # the rejection is noticed when the event loop turns
        frame = rejected.invoke()
    assert json.loads(frame.body)["errorType"] == "Runtime.UnhandledPromiseRejection"
    assert rejected.wait() == 128


def test_top_level_await_that_never_settles(start):
    environment = start("node", {"index.mjs": "await new Promise(() => {}); export const handler = 1;"})
    assert environment.init_error()["errorType"] == "Runtime.NodeJsExit"
    assert environment.wait() == 1


ANSWERS = {
    "undefined": ("async () => {}", None),
    "null": ("async () => null", None),
    "number": ("async () => 1.5", 1.5),
    "text": ("async () => 'grüße \\u{1F600} \\u2028'", "grüße \U0001f600 \u2028"),
    "a_function_is_null": ("async () => () => 1", None),
    "to_json": ("async () => new Date(0)", "1970-01-01T00:00:00.000Z"),
    "buffer": ("async () => Buffer.from('a')", {"type": "Buffer", "data": [97]}),
    "thenable": ("() => ({ then: (ok) => ok(7) })", 7),
    "plain_value_on_24": ("() => ({ statusCode: 200 })", {"statusCode": 200}),
    "timer": ("() => new Promise((ok) => setTimeout(() => ok('later'), 5))", "later"),
    "io": ("async () => (await require('fs').promises.stat('/')).isDirectory()", True),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answer(start, name):
    source, expected = ANSWERS[name]
    environment = start("node", f"exports.handler = {source};").ready()
    assert environment.result() == expected
    assert environment.result() == expected, "warm"


CALLBACKS = {
    "callback": ("(e, c, done) => done(null, 'ok')", "ok"),
    "callback_undefined": ("(e, c, done) => done()", None),
    "callback_later": ("(e, c, done) => { setTimeout(() => done(null, 'ok'), 5); }", "ok"),
    "first_callback_wins": ("(e, c, done) => { done(null, 1); done(null, 2); }", 1),
    "never_called": ("(e, c, done) => {}", None),
    "sync_value_is_ignored": ("(e, c) => 'ignored'", None),
    "promise": ("async (e, c, done) => 'promise'", "promise"),
    "succeed": ("(e, c) => c.succeed('s')", "s"),
    "done": ("(e, c) => c.done(null, 'd')", "d"),
    "waits_for_the_loop": ("(e, c, done) => { const r = { n: 0 }; done(null, r); setTimeout(() => { r.n = 1; }, 5); }", {"n": 1}),
    "does_not_wait": (
        "(e, c, done) => { c.callbackWaitsForEmptyEventLoop = false; setInterval(() => {}, 1000); done(null, 'now'); }",
        "now",
    ),
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_callbacks_up_to_nodejs22(start, name):
    source, expected = CALLBACKS[name]
    environment = start("node", f"exports.handler = {source};", **NODE22).ready()
    assert environment.result() == expected
    assert environment.result() == expected, "warm"


CALLBACK_ERRORS = {
    "callback_error": ("(e, c, done) => done(new TypeError('t'))", "TypeError", "t"),
    "callback_text": ("(e, c, done) => done('text')", "string", "text"),
    "fail": ("(e, c) => c.fail(new Error('f'))", "Error", "f"),
    "fail_without_error": ("(e, c) => c.fail()", "string", "handled"),
    "throws": ("() => { throw new Error('sync') }", "Error", "sync"),
}


@pytest.mark.parametrize("name", CALLBACK_ERRORS)
def test_callback_errors_up_to_nodejs22(start, name):
    source, error_type, message = CALLBACK_ERRORS[name]
    environment = start("node", f"exports.handler = {source};", **NODE22).ready()
    for _ in range(2):
        error = environment.error()
        assert (error["errorType"], error["errorMessage"]) == (error_type, message)


STREAM = """exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  const out = event.html ? awslambda.HttpResponseStream.from(stream, { statusCode: 201 }) : stream;
  out.write('a'); out.write({ b: 1 }); out.end('c');
});"""


def test_streaming_handler_answers_whole(start):
    environment = start("node", STREAM).ready()
    assert environment.invoke({}).body == b'a{"b":1}c'
    assert environment.invoke({"html": True}).body == b'{"statusCode":201}' + bytes(8) + b'a{"b":1}c'
