"""Functions on a capacity provider (Lambda Managed Instances) through boto3: several events at once in one environment."""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from blackbox.functions import PROVIDED, javascript, package, python

MEET_NODE = javascript("""
const fs = require("fs");
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
exports.handler = async (event, context) => {
  fs.writeFileSync(`/tmp/in-${context.awsRequestId}`, "");
  while (event.meet && fs.readdirSync("/tmp").filter((name) => name.startsWith("in-")).length < event.meet) await sleep(5);
  console.log({ from: context.awsRequestId });
  if (event.exit) process.exit(event.exit);
  await sleep(event.sleep ?? 0);
  return { id: context.awsRequestId, key: process.env.AWS_ACCESS_KEY_ID, slots: process.env.AWS_LAMBDA_MAX_CONCURRENCY };
};
""")
MEET_PYTHON = python("""
import logging, os, time
def handler(event, context):
    open(f"/tmp/in-{context.aws_request_id}", "w").close()
    while event.get("meet") and len([name for name in os.listdir("/tmp") if name.startswith("in-")]) < event["meet"]:
        time.sleep(0.005)
    logging.getLogger().warning({"from": context.aws_request_id})
    if event.get("exit"):
        os._exit(event["exit"])
    time.sleep(event.get("sleep", 0) / 1000)
    return {"id": context.aws_request_id, "key": os.environ["AWS_ACCESS_KEY_ID"], "slots": os.environ["AWS_LAMBDA_MAX_CONCURRENCY"]}
""")
STREAM_NODE = javascript("""
exports.handler = awslambda.streamifyResponse(async (event, out, context) => {
  for (const part of event.parts) { out.write(part); await new Promise((resolve) => setTimeout(resolve, 20)); }
  if (event.fail) throw new Error("midway");
  out.end();
});
""")
RUNTIMES = [("nodejs22.x", MEET_NODE), ("python3.13", MEET_PYTHON)]


def at_once(function, events):
    with ThreadPoolExecutor(len(events)) as threads:
        return list(threads.map(function.invoke, events))


@pytest.mark.parametrize(("runtime", "code"), RUNTIMES)
def test_events_meet_in_one_environment_and_each_has_its_own_lines(deploy, capacity, runtime, code):
    function = deploy(code, runtime=runtime, Timeout=30, **capacity(4))
    shown = function.created["CapacityProviderConfig"]["LambdaManagedInstancesCapacityProviderConfig"]
    assert shown["PerExecutionEnvironmentMaxConcurrency"] == 4 and shown["ExecutionEnvironmentMemoryGiBPerVCpu"] == 2.0
    assert function.created["MemorySize"] == 2048 and function.created["LoggingConfig"]["LogFormat"] == "JSON"
    answers = [answer.body for answer in at_once(function, [{"meet": 4}] * 4)]
    assert len({answer["id"] for answer in answers}) == 4
    assert {answer["key"] for answer in answers} == {answers[0]["key"]} and answers[0]["slots"] == "4"
    # Frozen meanwhile; thawed for the next.
    time.sleep(0.2)
    assert function.result()["key"] == answers[0]["key"]

    def whole(messages):
        return sum("platform.report" in message for message in messages) == 5

    records = [json.loads(message) for message in function.messages(whole)]
    lines = [record for record in records if isinstance(record.get("message"), dict)]
    assert {line["requestId"] for line in lines} >= {answer["id"] for answer in answers}
    assert all(line["message"]["from"] == line["requestId"] for line in lines)


def test_a_crash_ends_what_is_in_flight_with_it(deploy, capacity):
    function = deploy(MEET_NODE, runtime="nodejs22.x", Timeout=30, **capacity(3))
    answers = at_once(function, [{"meet": 3, "sleep": 20_000}, {"meet": 3, "sleep": 20_000}, {"meet": 3, "exit": 5}])
    for answer in answers:
        assert answer.error == "Unhandled" and answer.body["errorType"] == "Runtime.ExitError", answer
        assert "exit status 5" in answer.body["errorMessage"]
    assert function.result()["slots"] == "3"


def test_of_several_one_times_out(deploy, capacity):
    function = deploy(MEET_PYTHON, runtime="python3.13", Timeout=2, **capacity(2))
    first = function.result()
    late, neighbour = at_once(function, [{"sleep": 3_000}, {"sleep": 100}])
    assert late.body["errorType"] == "Sandbox.Timedout" and neighbour.body["key"] == first["key"]
    assert function.result()["key"] == first["key"]


def test_answers_stream_side_by_side(deploy, capacity, lambda_client):
    function = deploy(STREAM_NODE, runtime="nodejs22.x", Timeout=30, **capacity(3))

    def stream(event):
        answer = lambda_client.invoke_with_response_stream(FunctionName=function.name, Payload=json.dumps(event).encode())
        body, error = b"", None
        for part in answer["EventStream"]:
            body += part.get("PayloadChunk", {}).get("Payload", b"")
            error = part.get("InvokeComplete", {}).get("ErrorCode", error)
        return body, error

    events = [{"parts": ["a"] * 20}, {"parts": ["b"] * 20}, {"parts": ["c"], "fail": True}]
    with ThreadPoolExecutor(3) as threads:
        one, two, three = threads.map(stream, events)
    assert (one, two) == ((b"a" * 20, None), (b"b" * 20, None))
    assert three[0] == b"c" and three[1] is not None


def test_a_capacity_provider_from_its_making_to_its_end(deploy, capacity, lambda_client):
    fields = capacity(2)
    arn = fields["CapacityProviderConfig"]["LambdaManagedInstancesCapacityProviderConfig"]["CapacityProviderArn"]
    function = deploy(MEET_NODE, runtime="nodejs22.x", **fields)
    found = lambda_client.get_capacity_provider(CapacityProviderName=arn)["CapacityProvider"]
    assert found["State"] == "Active" and found["CapacityProviderArn"] == arn
    with pytest.raises(lambda_client.exceptions.ResourceConflictException):
        lambda_client.create_capacity_provider(
            CapacityProviderName=arn.rsplit(":", 1)[1],
            **{name: found[name] for name in ["VpcConfig", "PermissionsConfig"]},
        )
    changed = lambda_client.update_capacity_provider(
        CapacityProviderName=arn.rsplit(":", 1)[1], CapacityProviderScalingConfig={"MaxVCpuCount": 30}
    )["CapacityProvider"]
    assert changed["CapacityProviderScalingConfig"] == {"MaxVCpuCount": 30}
    paginator = lambda_client.get_paginator("list_capacity_providers")
    assert arn in [one["CapacityProviderArn"] for page in paginator.paginate() for one in page["CapacityProviders"]]
    name = arn.rsplit(":", 1)[1]
    users = lambda_client.list_function_versions_by_capacity_provider(CapacityProviderName=name)["FunctionVersions"]
    assert [one["FunctionArn"] for one in users] == [f"{function.created['FunctionArn']}:$LATEST"]
    with pytest.raises(lambda_client.exceptions.ResourceConflictException):
        lambda_client.delete_capacity_provider(CapacityProviderName=name)
    version = lambda_client.publish_version(FunctionName=function.name)["Version"]
    scaling = {"MinExecutionEnvironments": 1, "MaxExecutionEnvironments": 1}
    named = {"FunctionName": function.name, "Qualifier": version}
    lambda_client.put_function_scaling_config(**named, FunctionScalingConfig=scaling)
    assert lambda_client.get_function_scaling_config(**named)["AppliedFunctionScalingConfig"] == scaling
    # Two run in the one environment that there may be; a third is throttled.
    answers = []
    with ThreadPoolExecutor(3) as threads:
        for _ in range(2):
            answers.append(threads.submit(function.invoke, {"sleep": 1_500}, Qualifier=version))
        time.sleep(0.7)
        with pytest.raises(lambda_client.exceptions.TooManyRequestsException):
            lambda_client.invoke(FunctionName=function.name, Qualifier=version)
    assert len({answer.result().body["key"] for answer in answers}) == 1
    function.delete()
    assert lambda_client.delete_capacity_provider(CapacityProviderName=name)["CapacityProvider"]["State"] == "Deleting"
    with pytest.raises(lambda_client.exceptions.ResourceNotFoundException):
        lambda_client.get_capacity_provider(CapacityProviderName=name)


def test_what_does_not_go_with_it(deploy, capacity, lambda_client):
    invalid = lambda_client.exceptions.InvalidParameterValueException
    for fields in [
        {"SnapStart": {"ApplyOn": "PublishedVersions"}},
        {"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}},
        {"MemorySize": 1024},
        {"LoggingConfig": {"LogFormat": "Text"}},
    ]:
        with pytest.raises(invalid):
            deploy(MEET_NODE, runtime="nodejs22.x", **capacity(2, **fields))
    with pytest.raises(invalid):
        deploy(MEET_NODE, runtime="nodejs20.x", **capacity(2))


CLIENT = """#!{python} -SE
import http.client, json, os, threading, time

def call(method, path, body=None):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    connection.request(method, "/2018-06-01/runtime/invocation" + path, body)
    answer = connection.getresponse()
    return answer.headers, answer.read()

inside = set()

def work():
    while True:
        headers, event = call("GET", "/next")
        request_id, event = headers["Lambda-Runtime-Aws-Request-Id"], json.loads(event)
        inside.add(request_id)
        while len(inside) < event.get("meet", 0):
            time.sleep(0.005)
        call("POST", f"/{request_id}/response", json.dumps({"id": request_id, "pid": os.getpid()}))

for _ in range(int(os.environ["AWS_LAMBDA_MAX_CONCURRENCY"])):
    threading.Thread(target=work).start()
"""


def test_a_client_of_the_runtime_api_with_several_threads(deploy, capacity):
    function = deploy(package({"bootstrap": CLIENT.replace("{python}", os.path.realpath(sys.executable))}), runtime=PROVIDED, handler="x", Timeout=30, **capacity(8))
    answers = [answer.body for answer in at_once(function, [{"meet": 8}] * 8)]
    assert len({answer["id"] for answer in answers}) == 8 and len({answer["pid"] for answer in answers}) == 1
