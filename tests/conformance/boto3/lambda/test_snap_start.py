"""SnapStart through boto3: publication, its waiter, restored environments, failures."""

import re

import pytest
from blackbox.functions import NODE, PYTHON, javascript, python
from botocore.exceptions import WaiterError

ON = {"ApplyOn": "PublishedVersions"}
REPORT = re.compile(r"REPORT .*\tRestore Duration: [\d.]+ ms\tBilled Restore Duration: \d+ ms")
COUNT = {
    NODE: javascript("const born = Math.random(); let n = 0; exports.handler = async () => ({ born, n: (n += 1) });"),
    PYTHON: python(
        "import random\nfrom snapshot_restore_py import register_after_restore\nborn, n = random.random(), 0\n"
        "@register_after_restore\ndef restored():\n    print('restored')\n"
        "def handler(event, context):\n    global n\n    n += 1\n    return {'born': born, 'n': n}\n"
    ),
}


def publish(client, function):
    version = client.publish_version(FunctionName=function.name)["Version"]
    client.get_waiter("published_version_active").wait(
        FunctionName=function.name, Qualifier=version, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    return version


@pytest.mark.parametrize("runtime", [NODE, PYTHON])
def test_a_published_version_is_restored(deploy, lambda_client, runtime):
    function = deploy(COUNT[runtime], runtime=runtime, SnapStart=ON)
    assert function.created["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}
    version = publish(lambda_client, function)
    shown = lambda_client.get_function_configuration(FunctionName=function.name, Qualifier=version)
    assert (shown["State"], shown["SnapStart"]) == ("Active", {**ON, "OptimizationStatus": "On"})
    answer = function.invoke(Qualifier=version, LogType="Tail")
    assert answer.body["n"] == 1 and REPORT.search(answer.log) and "Init Duration" not in answer.log, answer.log
    assert function.result(Qualifier=version) == {"born": answer.body["born"], "n": 2}
    if runtime == PYTHON:
        assert "restored" in answer.log
    assert function.invoke(LogType="Tail").log.count("Restore Duration") == 0, "$LATEST starts on demand"


def test_an_init_that_fails_makes_the_version_failed(deploy, lambda_client):
    function = deploy(python("raise RuntimeError('at import')\n"), runtime=PYTHON, SnapStart=ON)
    with pytest.raises(WaiterError, match="State"):
        publish(lambda_client, function)
    shown = lambda_client.get_function(FunctionName=function.name, Qualifier="1")["Configuration"]
    assert (shown["State"], shown["StateReasonCode"]) == ("Failed", "FunctionError.RuntimeInitError")
    with pytest.raises(lambda_client.exceptions.ResourceConflictException):
        lambda_client.invoke(FunctionName=function.name, Qualifier="1")


def test_a_hook_that_fails_after_the_restore_is_awss_error(deploy, lambda_client):
    failing = "import snapshot_restore_py as hooks\nhooks.register_after_restore(int, 'x')\ndef handler(event, context):\n    return 1\n"
    function = deploy(python(failing), runtime=PYTHON, SnapStart=ON)
    publish(lambda_client, function)
    with pytest.raises(lambda_client.exceptions.SnapStartException):
        lambda_client.invoke(FunctionName=function.name, Qualifier="1")
