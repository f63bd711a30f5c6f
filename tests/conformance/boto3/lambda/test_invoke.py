"""Invoke through boto3: answers, errors, tails, dry runs, what the function sees."""

import base64
import json
import re

import pytest
from blackbox.functions import NODE, PYTHON, javascript, package, python, unique
from blackbox.server import ACCOUNT, REGION
from botocore.exceptions import ClientError

EVENTS = [None, 0, "", "ü\u2028\U0001f600", [], {"a": [1, {"b": None}]}, {"long": "x" * 1_000_000}]
ECHO = {
    NODE: javascript("exports.handler = async (event) => event;"),
    PYTHON: python("def handler(event, context):\n    return event\n"),
}


@pytest.mark.parametrize("runtime", [NODE, PYTHON])
def test_events_come_back_as_they_went(deploy, runtime):
    function = deploy(ECHO[runtime], runtime=runtime, MemorySize=256)
    for event in EVENTS:
        answer = function.invoke(json.dumps(event, ensure_ascii=False).encode())
        assert (answer.status, answer.error, answer.version, answer.body) == (200, None, "$LATEST", event)


@pytest.mark.parametrize("runtime", [NODE, PYTHON])
def test_environment_is_reused_for_the_same_version(deploy, runtime):
    count = {
        NODE: javascript("let n = 0; exports.handler = async () => (n += 1);"),
        PYTHON: python("n = 0\ndef handler(event, context):\n    global n\n    n += 1\n    return n\n"),
    }
    function = deploy(count[runtime], runtime=runtime)
    assert [function.result() for _ in range(5)] == [1, 2, 3, 4, 5]


def test_no_payload_is_an_empty_event(deploy, lambda_client):
    function = deploy(ECHO[NODE])
    answer = lambda_client.invoke(FunctionName=function.name)
    assert json.loads(answer["Payload"].read()) == {}


def test_dry_run_runs_nothing(deploy, lambda_client):
    function = deploy(javascript("let n = 0; exports.handler = async () => (n += 1);"))
    answer = lambda_client.invoke(FunctionName=function.name, InvocationType="DryRun")
    assert answer["StatusCode"] == 204 and answer["Payload"].read() == b""
    assert function.result() == 1


def test_dry_run_of_nothing_is_not_found(lambda_client):
    with pytest.raises(lambda_client.exceptions.ResourceNotFoundException):
        lambda_client.invoke(FunctionName=unique("none"), InvocationType="DryRun")


REPORT = re.compile(
    r"REPORT RequestId: (\S+)\tDuration: ([\d.]+) ms\tBilled Duration: (\d+) ms\tMemory Size: (\d+) MB\t"
    r"Max Memory Used: (\d+) MB(?:\tInit Duration: ([\d.]+) ms)?"
)


@pytest.mark.parametrize("runtime", [NODE, PYTHON])
def test_tail_has_start_end_report_and_the_functions_lines(deploy, runtime):
    source = {
        NODE: javascript("exports.handler = async () => { console.log('hello from the function'); };"),
        PYTHON: python("def handler(event, context):\n    print('hello from the function')\n"),
    }
    function = deploy(source[runtime], runtime=runtime)
    cold, warm = (function.invoke(LogType="Tail").log for _ in range(2))
    for log, is_cold in ((cold, True), (warm, False)):
        lines = log.splitlines()
        start = next(line for line in lines if line.startswith("START RequestId: "))
        request_id = start.split()[2]
        assert start == f"START RequestId: {request_id} Version: $LATEST"
        assert f"END RequestId: {request_id}" in lines
        assert any("hello from the function" in line for line in lines)
        report = REPORT.search(log)
        assert report.group(1) == request_id and report.group(4) == "128"
        assert int(report.group(3)) >= 1 and 1 <= int(report.group(5)) <= 128
        assert (report.group(6) is not None) == is_cold


def test_tail_is_at_most_4_kib(deploy):
    function = deploy(javascript("exports.handler = async () => { for (let i = 0; i < 500; i += 1) console.log('line ' + i); };"))
    log = function.invoke(LogType="Tail").log
    assert len(log.encode()) <= 4096
    assert "REPORT RequestId: " in log


@pytest.mark.parametrize("runtime", [NODE, PYTHON])
def test_l6_a_function_error_is_200_with_a_header(deploy, runtime):
    source = {
        NODE: javascript("exports.handler = async () => { throw new TypeError('boom'); };"),
        PYTHON: python("def handler(event, context):\n    raise TypeError('boom')\n"),
    }
    answer = deploy(source[runtime], runtime=runtime).error(LogType="Tail")
    assert answer.error == "Unhandled"
    assert (answer.body["errorType"], answer.body["errorMessage"]) == ("TypeError", "boom")
    trace = answer.body["trace" if runtime == NODE else "stackTrace"]
    assert any("index." in line for line in trace)
    assert "boom" in answer.log


BAD_HANDLERS = [
    (NODE, "index.nope", "Runtime.HandlerNotFound", "index.nope is undefined or not exported"),
    (NODE, "nope.handler", "Runtime.ImportModuleError", "Error: Cannot find module 'nope'"),
    (PYTHON, "index.nope", "Runtime.HandlerNotFound", "Handler 'nope' missing on module 'index'"),
    (PYTHON, "nope.handler", "Runtime.ImportModuleError", "Unable to import module 'nope': No module named 'nope'"),
]


@pytest.mark.parametrize("runtime, handler, error_type, message", BAD_HANDLERS)
def test_wrong_handler_name(deploy, runtime, handler, error_type, message):
    function = deploy(ECHO[runtime], runtime=runtime, handler=handler)
    for _ in range(2):
        answer = function.error()
        assert answer.body["errorType"] == error_type
        assert answer.body["errorMessage"].startswith(message)


def test_malformed_json_is_refused_before_anything_runs(deploy, lambda_client):
    function = deploy(javascript("let n = 0; exports.handler = async () => (n += 1);"))
    for payload in (b"{", b'{"a":}', b"\xff", b"{} {}"):
        with pytest.raises(ClientError) as caught:
            lambda_client.invoke(FunctionName=function.name, Payload=payload)
        error = caught.value.response
        assert error["Error"]["Code"] == "InvalidRequestContentException"
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert function.result() == 1


def test_l7_an_event_over_6_mb_is_413_and_nothing_runs(deploy, lambda_client):
    function = deploy(javascript("let n = 0; exports.handler = async () => (n += 1);"))
    with pytest.raises(ClientError) as caught:
        lambda_client.invoke(FunctionName=function.name, Payload=json.dumps("x" * 6_291_560).encode())
    error = caught.value.response
    assert error["Error"]["Code"] == "RequestTooLargeException"
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert function.result() == 1


def test_unknown_qualifier(deploy, lambda_client):
    function = deploy(ECHO[NODE])
    assert function.invoke(1, Qualifier="$LATEST").body == 1
    with pytest.raises(lambda_client.exceptions.ResourceNotFoundException):
        lambda_client.invoke(FunctionName=function.name, Qualifier="7")


def test_names_in_every_form(deploy, lambda_client):
    function = deploy(ECHO[NODE])
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function.name}"
    for name in (function.name, arn, f"{arn}:$LATEST", f"{ACCOUNT}:function:{function.name}"):
        assert json.loads(lambda_client.invoke(FunctionName=name, Payload=b"1")["Payload"].read()) == 1


SEES = """exports.handler = async (event, context) => ({ env: process.env, context, cwd: process.cwd(),
  remaining: context.getRemainingTimeInMillis() });"""


def test_what_the_function_sees(deploy, lambda_client):
    function = deploy(javascript(SEES), Timeout=9, Environment={"Variables": {"MINE": "1"}})
    client_context = base64.b64encode(json.dumps({"custom": {"k": "v"}}).encode()).decode()
    answer = lambda_client.invoke(FunctionName=function.name, ClientContext=client_context)
    request_id = answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"]
    seen = json.loads(answer["Payload"].read())
    env, context = seen["env"], seen["context"]
    assert env["MINE"] == "1"
    for name, value in {
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EXECUTION_ENV": "AWS_Lambda_nodejs20.x",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "_HANDLER": "index.handler",
    }.items():
        assert env[name] == value, name
    for name in (
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ENDPOINT_URL",
        "_X_AMZN_TRACE_ID",
        "TZ",
        "PATH",
        "LANG",
    ):
        assert env[name], name
    assert not [name for name in env if "TINDERBOX" in name or name == "_LAMBDA_TELEMETRY_LOG_FD"]
    assert context["awsRequestId"] == request_id
    assert context["clientContext"] == {"custom": {"k": "v"}}
    assert context["invokedFunctionArn"].endswith(f":function:{function.name}")
    assert seen["cwd"] == "/var/task"
    assert 0 < seen["remaining"] <= 9_000


def test_the_host_is_not_visible(deploy):
    source = """const fs = require('fs');
exports.handler = async () => ({ uid: process.getuid(), pids: fs.readdirSync('/proc').filter((n) => /^\\d+$/.test(n)).length,
  root: fs.readdirSync('/').filter((n) => ['root', 'work', 'boot'].includes(n)), home: fs.readdirSync('/home'), interfaces: Object.keys(require('os').networkInterfaces()) });"""
    seen = deploy(javascript(source)).result()
    assert seen["uid"] != 0
    assert seen["pids"] <= 4
    assert seen["root"] == [] and seen["home"] == []
    assert set(seen["interfaces"]) <= {"lo"}


def test_layers_of_folders_in_the_package(deploy):
    files = {"src/api/index.mjs": "export const handler = async () => import.meta.url;"}
    assert deploy(package(files), handler="src/api/index.handler").result() == "file:///var/task/src/api/index.mjs"
