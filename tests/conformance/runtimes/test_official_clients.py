"""awslambdaric, aws-lambda-ric and lambda_runtime on the Runtime API (2018-06-01): cold, warm, errors, ends."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from blackbox.functions import PROVIDED

CLIENTS = ["python_ric", "node_ric", "rust_client"]
SCRIPTED = ["python_ric", "node_ric"]
TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793"


@pytest.fixture
def client_function(request, deploy):
    def make(client, **fields):
        return deploy(
            request.getfixturevalue(client),
            runtime=PROVIDED,
            handler="index.handler",
            **{"MemorySize": 512, "Timeout": 30, **fields},
        )

    return make


@pytest.mark.parametrize("client", CLIENTS)
def test_cold_then_warm_then_error_then_warm(client_function, client):
    function = client_function(client)
    event = {"text": "ü\U0001f600", "deep": [{"a": None}]}
    cold = function.result(event)
    assert cold["invoke"] == 1 and cold["event"] == event
    assert cold["arn"].endswith(f":function:{function.name}")
    assert "Root=1-" in cold["trace"]
    warm = function.result(event)
    assert warm["invoke"] == 2 and warm["request_id"] != cold["request_id"]
    error = function.error({"fail": True})
    assert error.error == "Unhandled" and error.body["errorMessage"] == "as asked"
    assert error.body["errorType"]
    assert function.result(event)["invoke"] == 4


@pytest.mark.parametrize("client", CLIENTS)
def test_output_is_logged(client_function, client):
    function = client_function(client)
    answer = function.invoke({}, LogType="Tail")
    assert "invoke 1" in answer.log and "START RequestId" in answer.log and "Init Duration" in answer.log
    function.messages(lambda messages: any("invoke 1" in message for message in messages))


@pytest.mark.parametrize("client", SCRIPTED)
def test_end_of_the_process_is_an_exit_error(client_function, client):
    function = client_function(client)
    function.result({})
    error = function.error({"end": True})
    assert error.body["errorType"] == "Runtime.ExitError"
    assert "exit status 3" in error.body["errorMessage"]
    assert function.result({})["invoke"] == 1, "a fresh environment"


@pytest.mark.parametrize("client", CLIENTS)
def test_largest_answer_and_the_one_after(client_function, client):
    function = client_function(client)
    event = {"x": "y" * 3_000_000}
    assert function.result(event)["event"] == event
    assert json.dumps(function.result({})["event"]) == "{}"


@pytest.mark.parametrize("client", SCRIPTED)
def test_import_error_is_reported_through_init_error(request, deploy, client):
    function = deploy(request.getfixturevalue(client), runtime=PROVIDED, handler="gone.handler", MemorySize=512)
    error = function.error({})
    assert error.body["errorType"] == "Runtime.ImportModuleError"


@pytest.mark.parametrize("client", SCRIPTED)
def test_several_events_at_once_in_one_environment(client_function, capacity, client):
    function = client_function(client, **capacity(3, MemorySize=2048))
    with ThreadPoolExecutor(3) as threads:
        # None answers before all three are inside.
        answers = list(threads.map(lambda _: function.result({"meet": 3}), range(3)))
    assert len({answer["request_id"] for answer in answers}) == 3
    messages = function.messages(lambda messages: sum("platform.report" in message for message in messages) == 3)
    assert sum("platform.initStart" in message for message in messages) == 1


RAW = """#!/bin/bash
# A runtime written in bash with /dev/tcp: speaks the API by hand, so that misuse can be tried too.
host=${AWS_LAMBDA_RUNTIME_API%:*} port=${AWS_LAMBDA_RUNTIME_API#*:}
call() { # method path body -> answer
  exec 5<>/dev/tcp/$host/$port
  printf '%s /2018-06-01/runtime/%s HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n%s' "$1" "$2" "${#3}" "$3" >&5
  answer=$(tr -d '\\r\\0' <&5)
  exec 5>&-
}
while true; do
  call GET invocation/next ''
  id=$(grep -i '^lambda-runtime-aws-request-id:' <<<"$answer"); id=${id##* }
  call POST invocation/00000000-0000-0000-0000-000000000000/response '"wrong id"'; wrong=${answer%%$'\\n'*}
  call POST invocation/$id/response "\\"${wrong#HTTP/1.1 }\\""; right=${answer%%$'\\n'*}
  call POST invocation/$id/response '"twice"'
  echo "right ${right#HTTP/1.1 } twice ${answer%%$'\\n'*}"
done
"""


def test_d4_wrong_ids_and_second_answers_are_refused(deploy):
    from blackbox.functions import package

    function = deploy(package({"bootstrap": RAW}), runtime=PROVIDED, Timeout=30, MemorySize=256)
    for _ in range(2):
        assert function.result({}).startswith("40")
    messages = function.messages(lambda found: any("twice" in message for message in found))
    line = next(message for message in messages if "twice" in message)
    assert "right 202" in line and "twice HTTP/1.1 40" in line
