"""Python: the context object, `logging`, `print`, what the user's code sees of the process."""

import json
import time

import pytest
from environment import request_id

CONTEXT = """import os
def handler(event, c):
    names = ['aws_request_id', 'invoked_function_arn', 'function_name', 'function_version', 'memory_limit_in_mb',
             'log_group_name', 'log_stream_name', 'tenant_id']
    found = {name: getattr(c, name) for name in names}
    found['remaining'] = c.get_remaining_time_in_millis()
    found['trace'] = os.environ.get('_X_AMZN_TRACE_ID')
    found['identity'] = [c.identity.cognito_identity_id, c.identity.cognito_identity_pool_id]
    if c.client_context:
        found['client'] = [c.client_context.custom, c.client_context.env, c.client_context.client.installation_id, c.client_context.client.app_title]
    found['fds'] = [os.environ.get('_TINDERBOX_CHANNEL_FD'), os.environ.get('_LAMBDA_TELEMETRY_LOG_FD')]
    return found
"""


def test_context(start):
    environment = start("python", CONTEXT).ready()
    client = {"client": {"installation_id": "i"}, "custom": {"a": "b"}}
    context = environment.result(
        clientContext=client,
        cognitoIdentity=json.dumps({"cognitoIdentityId": "id", "cognitoIdentityPoolId": "pool"}),
        tenantId="blue",
    )
    assert 0 < context.pop("remaining") <= 60_000
    assert context == {
        "aws_request_id": request_id(1),
        "invoked_function_arn": "arn:aws:lambda:us-east-1:000000000000:function:fn",
        "function_name": "fn",
        "function_version": "$LATEST",
        "memory_limit_in_mb": "128",
        "log_group_name": "/aws/lambda/fn",
        "log_stream_name": "2026/11/23/[$LATEST]0",
        "tenant_id": "blue",
        "trace": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
        "identity": ["id", "pool"],
        "client": [{"a": "b"}, None, "i", None],
        "fds": [None, None],
    }
    second = environment.result(traceId=None, deadlineMs=1)
    assert (second["aws_request_id"], second["trace"], second["remaining"]) == (request_id(2), None, 0)
    assert second["identity"] == [None, None] and "client" not in second


def test_malformed_client_context(start):
    error = start("python", CONTEXT).ready().error(clientContext="{")
    assert error["errorType"] == "Runtime.LambdaContextUnmarshalError"
    assert error["errorMessage"].startswith("Unable to parse Client Context JSON: ")


LEVELS = {"debug": 8, "info": 12, "warning": 16, "error": 20, "critical": 24}
LOGGING = f"""import logging
logging.warning('at init')
def handler(event, context):
    logging.getLogger().setLevel(event.get('level', 'WARNING'))
    for name in {list(LEVELS)}:
        getattr(logging.getLogger('x'), name)('m %s\\nsecond', name)
"""


def test_logging_as_text(start):
    environment = start("python", LOGGING).ready()
    before = time.time_ns() // 1000 - 1000
    environment.result({"level": "DEBUG"})
    first, *records = environment.records()
    assert first.message.startswith("[WARNING]\t") and first.message.endswith("Z\t\tat init\n")
    assert [record.frame_type for record in records] == [0xA55A0003 | bits for bits in LEVELS.values()]
    for name, record in zip(LEVELS, records, strict=False):
        level, moment, request, message = record.message.split("\t")
        assert level == f"[{name.upper()}]"
        assert len(moment) == len("2026-11-23T09:00:00.000Z") and moment.endswith("Z")
        assert (request, message) == (request_id(1), f"m {name}\nsecond\n")
        assert before <= record.time_us <= time.time_ns() // 1000


def test_default_level_is_warning(start):
    environment = start(
        "python", "import logging\ndef handler(e, c):\n    logging.info('no')\n    logging.warning('yes')\n"
    ).ready()
    environment.result()
    assert [record.message.split("\t")[3] for record in environment.records()] == ["yes\n"]


JSON_LOGGING = """import logging
log = logging.getLogger('app')
def handler(event, context):
    log.debug('no')
    log.info({'a': 1}, extra={'order': 7, 'odd': object})
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception('failed %d', 1)
    raise KeyError('k')
"""


def test_logging_as_json_with_level(start):
    environment = start("python", JSON_LOGGING, AWS_LAMBDA_LOG_FORMAT="JSON", AWS_LAMBDA_LOG_LEVEL="INFO").ready()
    environment.error(tenantId="blue")
    records = environment.records()
    assert [record.frame_type for record in records] == [0xA55A0002 | bits for bits in (12, 20, 20)]
    info, failed, error = (json.loads(record.message) for record in records)
    assert info["message"] == {"a": 1} and info["order"] == 7 and "class 'object'" in info["odd"]
    assert (info["level"], info["logger"], info["requestId"], info["tenantId"]) == ("INFO", "app", request_id(1), "blue")
    assert (failed["message"], failed["errorType"], failed["errorMessage"]) == (
        "failed 1",
        "ZeroDivisionError",
        "division by zero",
    )
    assert "1 / 0" in failed["stackTrace"][0] and failed["location"].endswith("index.py:handler:9")
    assert (error["level"], error["errorType"], error["errorMessage"]) == ("ERROR", "KeyError", "'k'")


def test_invoke_error_is_logged_with_its_stack(start):
    environment = start("python", "def handler(e, c):\n    raise KeyError('k')\n").ready()
    environment.error()
    (record,) = environment.records()
    title, caption, place, *_ = record.message.split("\n")
    assert record.frame_type == 0xA55A0003 | 20
    assert (title, caption) == ("[ERROR] KeyError: 'k'", "Traceback (most recent call last):")
    assert place.startswith("\u00a0\u00a0File ") and "line 2, in handler" in place


def test_print_is_out_before_the_answer(start):
    source = "import sys\ndef handler(e, c):\n    print('a'); sys.stdout.write('no newline'); print('e', file=sys.stderr)\n"
    environment = start("python", source).ready()
    environment.result()
    environment.process.kill()
    out, err = environment.process.communicate()
    assert (out, err) == (b"a\nno newline", b"e\n")


def test_context_log_writes_a_record(start):
    environment = start("python", "def handler(e, c):\n    c.log('direct')\n").ready()
    environment.result()
    assert [(record.frame_type, record.message) for record in environment.records()] == [(0xA55A0003, "direct")]


@pytest.mark.parametrize("name", ["logging", "traceback", "re", "importlib"])
def test_standard_modules_are_not_shadowed_or_missing(start, name):
    source = f"import {name}\ndef handler(e, c):\n    return {name}.__file__\n"
    files = {"index.py": source, "tinderbox.py": ""}
    assert str(start("python", files).ready().result()).startswith("/")


def test_logging_of_the_users_own_does_not_win(start):
    files = {"index.py": "import logging\ndef handler(e, c):\n    return logging.WARNING\n", "logging.py": "WARNING = 'mine'"}
    assert start("python", files).ready().result() == 30


@pytest.mark.parametrize("start", ["own"], indirect=True)
def test_logging_is_not_loaded_for_functions_that_only_print(start):
    source = "import sys\ndef handler(e, c):\n    return [name in sys.modules for name in ('logging', 'traceback', 'site')]\n"
    assert start("python", source).ready().result() == [False, False, False]


def test_children_do_not_inherit_the_descriptors(start):
    source = """import subprocess
def handler(e, c):
    script = 'for fd in 3 4; do test -e /proc/self/fd/$fd && echo $fd; done; echo end'
    return subprocess.run(['/bin/sh', '-c', script], capture_output=True, close_fds=False, text=True).stdout
"""
    assert start("python", source).ready().result() == "end\n"


def test_a_background_thread_runs_while_the_handler_waits(start):
    source = """import threading, time
done = threading.Event()
def handler(e, c):
    threading.Thread(target=done.set, daemon=True).start()
    return done.wait(30)
"""
    assert start("python", source).ready().result() is True
