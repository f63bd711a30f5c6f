"""The aws command line tool, as a user types it."""

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from blackbox.functions import NODE, javascript, package, unique
from blackbox.server import ROLE
from blackbox.suites import absent

AWS = shutil.which("aws", path=str(Path(sys.executable).parent)) or shutil.which("aws")
CODE = javascript("exports.handler = async (event) => { console.log('said', event.name); return `hello ${event.name}`; };")


@pytest.fixture
def aws(server, tmp_path):
    """aws("lambda", "invoke", …): the parsed JSON that the tool printed."""
    if AWS is None:
        absent("the aws cli")

    def run(*arguments, fails=False):
        done = subprocess.run(
            [AWS, *arguments, "--output", "json"],
            cwd=tmp_path,
            env=server.client_env(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        if fails:
            assert done.returncode != 0
            return done.stderr
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    return run


def test_a_functions_life(aws, tmp_path):
    name = unique("cli")
    (tmp_path / "code.zip").write_bytes(CODE)
    created = aws(
        "lambda",
        "create-function",
        "--function-name",
        name,
        "--runtime",
        NODE,
        "--handler",
        "index.handler",
        "--role",
        ROLE,
        "--zip-file",
        "fileb://code.zip",
        "--environment",
        "Variables={KEY=1}",
        "--timeout",
        "5",
    )
    assert created["FunctionName"] == name and created["Timeout"] == 5
    aws("lambda", "wait", "function-active-v2", "--function-name", name)

    (tmp_path / "event.json").write_text('{"name": "tinder"}')
    invoked = aws(
        "lambda", "invoke", "--function-name", name, "--payload", "fileb://event.json", "--log-type", "Tail", "out.json"
    )
    assert invoked["StatusCode"] == 200 and invoked["ExecutedVersion"] == "$LATEST" and "FunctionError" not in invoked
    assert json.loads((tmp_path / "out.json").read_text()) == "hello tinder"
    assert "said tinder" in base64.b64decode(invoked["LogResult"]).decode()

    assert aws("lambda", "get-function", "--function-name", name)["Configuration"]["Handler"] == "index.handler"
    listed = aws("lambda", "list-functions", "--page-size", "1")["Functions"]
    assert name in [function["FunctionName"] for function in listed]

    (tmp_path / "new.zip").write_bytes(package({"index.js": "exports.handler = async () => 2;"}))
    aws("lambda", "update-function-code", "--function-name", name, "--zip-file", "fileb://new.zip")
    aws("lambda", "wait", "function-updated-v2", "--function-name", name)
    aws("lambda", "update-function-configuration", "--function-name", name, "--memory-size", "192")
    aws("lambda", "wait", "function-updated-v2", "--function-name", name)
    aws("lambda", "invoke", "--function-name", name, "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == 2

    url = aws("lambda", "create-function-url-config", "--function-name", name, "--auth-type", "NONE")["FunctionUrl"]
    assert aws("lambda", "get-function-url-config", "--function-name", name)["FunctionUrl"] == url
    aws("lambda", "delete-function-url-config", "--function-name", name)

    aws("lambda", "delete-function", "--function-name", name)
    assert "ResourceNotFoundException" in aws("lambda", "get-function", "--function-name", name, fails=True)


def test_logs(aws, deploy):
    function = deploy(CODE)
    function.result({"name": "cli"})
    group = f"/aws/lambda/{function.name}"
    function.messages(lambda messages: any("REPORT" in message for message in messages))
    (found,) = aws("logs", "describe-log-groups", "--log-group-name-prefix", group)["logGroups"]
    assert found["logGroupName"] == group
    stream = aws("logs", "describe-log-streams", "--log-group-name", group)["logStreams"][0]["logStreamName"]
    events = aws("logs", "get-log-events", "--log-group-name", group, "--log-stream-name", stream, "--start-from-head")["events"]
    assert any("said cli" in event["message"] for event in events)
    events = aws("logs", "filter-log-events", "--log-group-name", group, "--filter-pattern", "said")["events"]
    assert len(events) == 1


def test_errors_read_as_on_aws(aws, deploy):
    function = deploy(javascript("exports.handler = async () => { throw new Error('cli error'); };"))
    invoked = aws("lambda", "invoke", "--function-name", function.name, "out.json")
    assert invoked["FunctionError"] == "Unhandled"
    text = aws("lambda", "invoke", "--function-name", unique("none"), "out.json", fails=True)
    assert "An error occurred (ResourceNotFoundException) when calling the Invoke operation: Function not found:" in text


def test_account_settings(aws):
    settings = aws("lambda", "get-account-settings")
    assert settings["AccountLimit"]["ConcurrentExecutions"] >= 1000 and "FunctionCount" in settings["AccountUsage"]
