"""AWS_LAMBDA_EXEC_WRAPPER: a script of the package or of a layer starts the managed runtime."""

import json

import pytest
from blackbox.functions import NODE, PROVIDED, PYTHON, package, unique

SCRIPT = """#!/bin/bash
export WRAPPED="$#:${@: -1}"
echo "the script runs"
exec "$@"
"""
# AWS's own example: more options for the interpreter, before the last argument.
WITH_OPTIONS = """#!/bin/bash
args=("$@")
extra_args=("-X" "importtime")
args=("${args[@]:0:$#-1}" "${extra_args[@]}" "${args[@]: -1}")
exec "${args[@]}"
"""
NODE_SHOWS = "exports.handler = async () => ({ wrapped: process.env.WRAPPED, uid: process.getuid(), argv: process.execArgv });"
PYTHON_SHOWS = """
import os, sys
def handler(event, context):
    return {"wrapped": os.environ.get("WRAPPED"), "uid": os.getuid(), "xoptions": list(sys._xoptions)}
"""


def layer(server, files):
    lambda_client = server.client("lambda")
    return lambda_client.publish_layer_version(LayerName=unique("layer"), Content={"ZipFile": package(files)})["LayerVersionArn"]


def variables(script, **more):
    return {"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": script, **more}}


@pytest.mark.parametrize("runtime, source", [(NODE, {"index.js": NODE_SHOWS}), (PYTHON, {"index.py": PYTHON_SHOWS})])
@pytest.mark.parametrize("where", ["package", "layer"])
def test_the_script_starts_the_runtime_inside_the_sandbox(server, deploy, runtime, source, where):
    if where == "layer":
        function = deploy(
            package(source), runtime, Layers=[layer(server, {"bin/start": SCRIPT})], Environment=variables("/opt/bin/start")
        )
    else:
        function = deploy(package({**source, "start": SCRIPT}), runtime, Environment=variables("/var/task/start"))
    answer = function.invoke(LogType="Tail")
    assert answer.error is None, answer
    count, last = answer.body["wrapped"].split(":")
    assert int(count) >= 2 and last.startswith("/var/runtime/bootstrap.")
    assert answer.body["uid"] != 0
    assert "the script runs" in "".join(function.messages(lambda lines: any("the script runs" in line for line in lines)))
    assert function.result() == answer.body, "warm too"


def test_options_for_the_interpreter(server, deploy):
    function = deploy(
        package({"index.py": PYTHON_SHOWS, "start": WITH_OPTIONS}), PYTHON, Environment=variables("/var/task/start")
    )
    assert function.result()["xoptions"] == ["importtime"]


def test_a_script_that_is_not_there_or_cannot_be_executed(server, deploy):
    for script, said, status in [("/opt/none", "does not exist", 127), ("/etc/passwd", "is not an executable", 126)]:
        function = deploy(package({"index.js": NODE_SHOWS}), NODE, Environment=variables(script))
        answer = function.error()
        assert answer.body["errorType"] == "Runtime.ExitError", answer
        assert f"exit status {status}" in answer.body["errorMessage"], answer
        function.messages(lambda lines: any(f"{script}: {said}" in line for line in lines))


def test_what_a_package_brings_is_started_as_it_is(server, deploy):
    bootstrap = """#!/bin/bash
base="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while true; do
  id=$(curl -sS -D - -o /dev/null "$base/next" | tr -d '\\r' | awk 'tolower($1) == "lambda-runtime-aws-request-id:" { print $2 }')
  curl -sS -o /dev/null -d "\\"${WRAPPED:-plain}\\"" "$base/$id/response"
done
"""
    function = deploy(package({"bootstrap": bootstrap, "start": SCRIPT}), PROVIDED, Environment=variables("/var/task/start"))
    assert function.result() == "plain"


def test_folders_of_layers_are_found(server, deploy):
    files = {
        "bin/tool": "#!/bin/sh\necho from-opt-bin\n",
        "nodejs/node_modules/of-layer/index.js": "module.exports = 'node';",
        "python/of_layer.py": "name = 'python'\n",
    }
    arn = layer(server, files)
    node = """
const { execFileSync } = require("child_process");
exports.handler = async () => [require("of-layer"), execFileSync("tool").toString().trim(),
  process.env.LD_LIBRARY_PATH.split(":").includes("/opt/lib")];
"""
    python = """
import os, subprocess
import of_layer
def handler(event, context):
    said = subprocess.run(["tool"], capture_output=True, text=True, check=True).stdout.strip()
    return [of_layer.name, said, "/opt/lib" in os.environ["LD_LIBRARY_PATH"].split(":")]
"""
    assert deploy(package({"index.js": node}), NODE, Layers=[arn]).result() == ["node", "from-opt-bin", True]
    assert deploy(package({"index.py": python}), PYTHON, Layers=[arn]).result() == ["python", "from-opt-bin", True]


def test_handlers_in_folders_and_module_packages(server, deploy):
    shown = "export const handler = async () => import.meta.url.split('/').pop();"
    cases = [
        (NODE, {"src/api/index.mjs": shown}, "src/api/index.handler", "index.mjs"),
        (NODE, {"package.json": json.dumps({"type": "module"}), "dist/app.js": shown}, "dist/app.handler", "app.js"),
        (PYTHON, {"src/api/app.py": "def handler(event, context):\n    return __name__\n"}, "src/api/app.handler", "src.api.app"),
    ]
    for runtime, files, handler, expected in cases:
        assert deploy(package(files), runtime, handler).result() == expected
