"""Functions in containers of an OCI runtime: the same answers, limits and ends as in sandboxes of our own."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from blackbox.functions import NODE, PROVIDED, PYTHON, Function, javascript, package, python
from blackbox.server import binary

FOLDER = Path("/run/tinderbox-oci")
NODE_SOURCE = """
const fs = require('fs');
exports.handler = async (event) => ({
  sum: event.a + event.b, memory: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE, uid: process.getuid(),
  root: fs.readdirSync('/').includes('root'), first: fs.existsSync('/proc/1'),
});
"""
PYTHON_SOURCE = """
import os
def handler(event, context):
    if event.get("eat"):
        return len(bytearray(event["eat"] << 20))
    if event.get("fill"):
        with open("/tmp/f", "wb") as file:
            for _ in range(event["fill"]):
                file.write(bytes(1 << 20))
    if event.get("sleep"):
        import time
        time.sleep(event["sleep"])
    with open("/proc/self/status") as status:
        lines = dict(line.rstrip("\\n").split(":\\t", 1) for line in status if ":\\t" in line)
    return {name: lines[name].strip() for name in ("CapEff", "NoNewPrivs", "Seccomp")} | {"open": os.access("/etc", os.W_OK)}
"""


@pytest.fixture
def server(new_server):
    if not shutil.which("runc"):
        assert not os.environ.get("CI"), "no runc on PATH: apt-get install runc"
        pytest.skip("no runc on PATH (apt-get install runc)")
    return new_server("--isolation", "oci", "--idle-s", "60")


def test_node_python_and_a_bootstrap_of_ones_own_answer(server):
    node = Function(server, javascript(NODE_SOURCE), NODE, MemorySize=256)
    expected = {"sum": 5, "memory": "256", "uid": 1000, "root": False, "first": False}
    assert node.result({"a": 2, "b": 3}) == expected
    assert node.result({"a": 2, "b": 3}) == expected  # warm: thawed
    confined = {"CapEff": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2", "open": False}
    assert Function(server, python(PYTHON_SOURCE), PYTHON).result() == confined
    script = """#!/bin/sh
api=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation
while true; do
  head=$(mktemp); body=$(curl -sS -D $head $api/next); id=$(grep -i request-id $head | tr -d '\\r' | cut -d' ' -f2)
  curl -sS -o /dev/null -d "{\\"got\\":$body}" $api/$id/response
done
"""
    if shutil.which("curl"):
        own = Function(server, package({"bootstrap": script}), PROVIDED, "any", Timeout=20)
        assert own.result({"x": 1}) == {"got": {"x": 1}}


def test_limits_and_ends_are_told_as_always(server):
    function = Function(server, python(PYTHON_SOURCE), PYTHON, MemorySize=128, Timeout=3)
    error = function.error({"eat": 400})
    assert error.body["errorType"] in ("Runtime.OutOfMemory", "Runtime.ExitError", "MemoryError"), error
    assert "NoNewPrivs" in function.result(), "another environment took its place"
    full = function.error({"fill": 600})
    assert "No space left on device" in full.body["errorMessage"], full
    late = function.error({"sleep": 60})
    assert "timed out" in late.body["errorMessage"].lower(), late
    assert "NoNewPrivs" in function.result()


def test_nothing_is_left_after_a_stop_or_a_kill(server):
    function = Function(server, javascript(NODE_SOURCE), NODE)
    assert function.result({"a": 1, "b": 1})["sum"] == 2
    first = set(FOLDER.glob("tinderbox.*"))
    assert list(FOLDER.glob("tinderbox.*/b*")), "the control: there is a container"
    server.kill()
    gone(lambda: not any(path.exists() for path in first))
    server.start()
    function.client = server.client("lambda")
    assert function.result({"a": 1, "b": 2})["sum"] == 3
    second = set(FOLDER.glob("tinderbox.*"))
    assert second and not second & first
    server.stop()
    gone(lambda: not any(path.exists() for path in second))


def gone(condition):
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_which_runtime_it_is_is_said_and_a_missing_one_ends_the_start(server, tmp_path):
    stderr = (server.data.parent / f"{server.data.name}.stderr").read_text()
    assert "functions run in containers of " in stderr + "\n".join(server.lines), stderr
    arguments = ["--listen", "127.0.0.1:0", "--data", str(tmp_path / "other"), "--isolation", "oci", "--oci-runtime", "none-such"]
    refused = subprocess.run([binary(), "serve", *arguments], capture_output=True, text=True, timeout=60)
    assert refused.returncode != 0 and '"none-such" is not there' in refused.stderr, refused
    doctor = subprocess.run([binary(), "--json", "doctor"], capture_output=True, text=True, timeout=60)
    found = [finding for finding in json.loads(doctor.stdout)["findings"] if finding["name"] == "oci runtime"]
    assert found and found[0]["ok"] == bool(shutil.which("runc")), doctor
