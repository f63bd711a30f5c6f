"""A language runtime that lies where every sandbox has something of its own is passed over, and that is said."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from blackbox.functions import NODE, Function, javascript
from blackbox.server import binary

SOURCE = "exports.handler = async (event) => event.n + 1;"
# It says what it is when it is looked for, and is the host's node else: where it can be seen, functions run on it.
NODE_IN_TMP = """#!/bin/sh
[ "$1" = -e ] && {{ printf '{major}.999.0\\n{path}\\n\\n'; exit; }}
exec /usr/bin/node "$@"
"""


@pytest.fixture
def hidden():
    """The path of a node below /tmp, which is newer than the host's."""
    if not Path("/usr/bin/node").exists():
        assert not os.environ.get("CI"), "no /usr/bin/node: apt-get install nodejs"
        pytest.skip("no /usr/bin/node (apt-get install nodejs)")
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    path = folder / "node"
    major = subprocess.check_output(["/usr/bin/node", "-p", "process.versions.node.split('.')[0]"], text=True).strip()
    path.write_text(NODE_IN_TMP.format(path=path, major=major))
    path.chmod(0o755)
    yield path
    shutil.rmtree(folder)


def before_all(path):
    return {"PATH": f"{path.parent}:{os.environ['PATH']}"}


def test_functions_run_on_a_node_that_sandboxes_show(new_server, hidden):
    server = new_server(env=before_all(hidden))
    assert Function(server, javascript(SOURCE), NODE).result({"n": 1}) == 2
    lines = [line for line in server.stderr().splitlines() if "passed over" in line]
    assert len(lines) == 1 and str(hidden) in lines[0] and "/usr/local" in lines[0], server.stderr()


def test_without_isolation_nothing_is_hidden(new_server, hidden):
    server = new_server("--isolation", "none", env=before_all(hidden))
    assert Function(server, javascript(SOURCE), NODE).result({"n": 1}) == 2
    stderr = server.stderr()
    assert "passed over" not in stderr and str(hidden) in stderr, stderr


def test_doctor_says_so(hidden):
    env = {**os.environ, **before_all(hidden)}
    doctor = subprocess.run([binary(), "--json", "doctor"], capture_output=True, text=True, timeout=60, env=env)
    findings = [finding for finding in json.loads(doctor.stdout)["findings"] if finding["name"] == "runtime node"]
    assert [finding["ok"] for finding in findings] == [True, False], doctor
    assert str(hidden) not in findings[0]["detail"], findings
    assert str(hidden) in findings[1]["detail"] and "/usr/local" in findings[1]["remedy"], findings
