"""Python: where a handler is looked for, what it may answer, how it fails."""

import json

import pytest
from environment import request_id

ECHO = "def handler(event, context):\n    return {'echo': event}\n"

FOUND = {
    "plain": ({"index.py": ECHO}, "index.handler"),
    "folder_with_slash": ({"src/api/index.py": ECHO}, "src/api/index.handler"),
    "last_dot_cuts": ({"src/api/index.py": ECHO}, "src.api.index.handler"),
    "package": ({"app/__init__.py": ECHO}, "app.handler"),
    "class_method": (
        {"index.py": "class A:\n    def __call__(self, e, c):\n        return {'echo': e}\nhandler = A()"},
        "index.handler",
    ),
    "lambda": ({"index.py": "handler = lambda e, c: {'echo': e}"}, "index.handler"),
    "imports_beside_it": ({"index.py": "from dep import handler", "dep.py": ECHO}, "index.handler"),
    "name_of_a_bootstrap_file": ({"bootstrap.py": ECHO}, "bootstrap.handler"),
}


@pytest.mark.parametrize("name", FOUND)
def test_handler_is_found(start, name):
    files, handler = FOUND[name]
    assert start("python", files, handler).ready().result({"a": 1}) == {"echo": {"a": 1}}


INIT_ERRORS = {
    "missing_module": ("", "nope.handler", "Runtime.ImportModuleError", "Unable to import module 'nope': No module named 'nope'"),
    "missing_import": (
        "import gone",
        "index.handler",
        "Runtime.ImportModuleError",
        "Unable to import module 'index': No module named 'gone'",
    ),
    "missing_function": ("", "index.handler", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'index'"),
    "no_dot": (
        "",
        "index",
        "Runtime.MalformedHandlerName",
        "Bad handler 'index': not enough values to unpack (expected 2, got 1)",
    ),
    "built_in": ("", "sys.exit", "Runtime.BuiltInModuleConflict", "Cannot use built-in module sys as a handler module"),
    "syntax": (
        "def handler(:\n",
        "index.handler",
        "Runtime.UserCodeSyntaxError",
        "Syntax error in module 'index': invalid syntax",
    ),
    "throws": ("1 / 0", "index.handler", "ZeroDivisionError", "division by zero"),
    "throws_value_error": ("raise ValueError('mine')", "index.handler", "ValueError", "mine"),
    "relative_module": ("", "../index.handler", "Runtime.ImportModuleError", "Unable to import module '../index': "),
}


@pytest.mark.parametrize("name", INIT_ERRORS)
def test_init_error(start, name):
    source, handler, error_type, message = INIT_ERRORS[name]
    environment = start("python", source, handler)
    error = environment.init_error()
    assert error["errorType"] == error_type
    assert error["errorMessage"].startswith(message)
    assert error["requestId"] == ""
    assert environment.wait() == 1
    (record,) = environment.records()
    assert record.frame_type == 0xA55A0003 | 20
    assert record.message.startswith(f"[ERROR] {error_type}: {message}")


def test_traces_of_init_errors_show_the_users_lines(start):
    (line,) = start("python", "a = 1\ndef handler(:\n").init_error()["stackTrace"]
    assert "index.py" in line and "Line 2" in line and "def handler(:" in line
    (line,) = start("python", "a = 1\n1 / 0\n").init_error()["stackTrace"]
    assert "index.py" in line and "line 2" in line and "1 / 0" in line


ANSWERS = {
    "none": ("None", b"null"),
    "text": ("'gr\\u00fc\\u00dfe'", '"grüße"'.encode()),
    "bytes_pass": ("b'\\x00raw'", b"\x00raw"),
    "tuple": ("(1, 2)", b"[1, 2]"),
    "nan": ("float('nan')", b"NaN"),
    "decimal": ("{'d': __import__('decimal').Decimal('1.10'), 'f': 1.5}", b'{"d": 1.10, "f": 1.5}'),
    "decimal_in_list": (
        "['\\u00fc', __import__('decimal').Decimal('12345678901234567890.5')]",
        '["ü", 12345678901234567890.5]'.encode(),
    ),
    "decimal_nan": ("__import__('decimal').Decimal('-NaN')", b"NaN"),
    "lone_surrogate": ("'\\ud800'", b'"\xed\xa0\x80"'),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answer(start, name):
    source, expected = ANSWERS[name]
    environment = start("python", f"def handler(event, context):\n    return {source}\n").ready()
    assert environment.invoke().body == expected
    assert environment.invoke().body == expected, "warm"


def test_identifiers_before_312_escape(start):
    source = "def handler(event, context):\n    return '\\u00fc'\n"
    assert start("python", source, AWS_EXECUTION_ENV="AWS_Lambda_python3.11").ready().invoke().body == b'"\\u00fc"'


THROWN = {
    "error": ("raise RuntimeError('boom')", "RuntimeError", "boom"),
    "subclass": ("class MyError(Exception): pass\n    raise MyError('m')", "MyError", "m"),
    "empty_message": ("raise KeyError()", "KeyError", ""),
    "hostile_str": ("class E(Exception):\n        def __str__(self): raise ValueError\n    raise E", "E", ""),
    "cyclic_answer": (
        "a = []; a.append(a); return a",
        "Runtime.MarshalError",
        "Unable to marshal response: Circular reference detected",
    ),
    "unserialisable": (
        "return {1, 2}",
        "Runtime.MarshalError",
        "Unable to marshal response: Object of type set is not JSON serializable",
    ),
    "answer_over_6_mib": ("return 'x' * 6291555", "Function.ResponseSizeTooLarge", "Response payload size exceeded"),
    "recursion": ("return handler(event, context)", "RecursionError", "maximum recursion depth exceeded"),
}


@pytest.mark.parametrize("name", THROWN)
def test_error_answers_the_invoke_and_the_environment_lives_on(start, name):
    source, error_type, message = THROWN[name]
    code = f"def handler(event, context):\n    if event.get('ok'): return 'fine'\n    {source}\n"
    environment = start("python", code).ready()
    error = environment.error()
    assert error["errorType"] == error_type
    assert error["errorMessage"].startswith(message)
    if error_type == "RuntimeError":
        assert error["requestId"] == request_id(1)
        (frame,) = error["stackTrace"]
        assert "index.py" in frame and "line 3, in handler" in frame and "raise RuntimeError('boom')" in frame
    assert environment.invoke({"ok": True}).body == b'"fine"'


def test_largest_answer_passes(start):
    frame = start("python", "def handler(e, c):\n    return 'x' * 6291554\n").ready().invoke()
    assert frame.kind == "RESPONSE" and len(frame.body) == 6291556


ENDS = {
    "sys_exit": ("import sys; sys.exit(3)", 3),
    "sys_exit_clean": ("import sys; sys.exit()", 0),
    "exit_builtin": ("exit(4)", 4),
    "quit_builtin": ("quit()", 0),
    "os_exit": ("import os; os._exit(5)", 5),
    "abort": ("import os; os.abort()", -6),
    "keyboard_interrupt": ("raise KeyboardInterrupt", -2),
}


@pytest.mark.parametrize("name", ENDS)
def test_end_of_the_process_sends_nothing(start, name):
    source, code = ENDS[name]
    environment = start("python", f"def handler(event, context):\n    {source}\n").ready()
    assert environment.invoke() is None
    assert environment.wait() == code


def test_exit_at_import_sends_nothing(start):
    environment = start("python", "import sys; sys.exit(9)")
    assert environment.receive() is None
    assert environment.wait() == 9


def test_hang_up_ends_the_process_cleanly(start):
    environment = start("python", ECHO).ready()
    environment.result()
    assert environment.finish() == (0, "", "")


def test_events_of_every_size_and_kind(start):
    environment = start("python", "def handler(e, c):\n    return e\n").ready()
    for event in [None, 0, "", "ü\u2028\U0001f600", [], {"a": [1, {"b": None}]}, "x" * 70_000, "é" * 3_000_000, "y"]:
        assert environment.result(json.dumps(event, ensure_ascii=False).encode()) == event
    assert environment.result(b"") == {}
    error = environment.error(b"{not json")
    assert error["errorType"] == "Runtime.UnmarshalError"
    assert error["errorMessage"].startswith("Unable to unmarshal input: Expecting property name")
    assert environment.result(b"1") == 1
