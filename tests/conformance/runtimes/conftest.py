"""The three official runtime clients and the Lambda Web Adapter, unmodified, each in a package of its own."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from blackbox.functions import package
from blackbox.suites import AWSLAMBDARIC, absent, compiled_node_ric, python_packages, run, rust_program, suites_folder

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"

PYTHON_HANDLER = """import os, sys, time
invokes = 0
def handler(event, context):
    global invokes
    invokes += 1
    print(f"invoke {invokes}")
    if event.get("meet"):
        open(f"/tmp/in-{context.aws_request_id}", "w").close()
        while len([name for name in os.listdir("/tmp") if name.startswith("in-")]) < event["meet"]:
            time.sleep(0.005)
    if event.get("fail"):
        raise RuntimeError("as asked")
    if event.get("end"):
        sys.exit(3)
    return {"invoke": invokes, "event": event, "request_id": context.aws_request_id, "arn": context.invoked_function_arn,
            "trace": os.environ.get("_X_AMZN_TRACE_ID"), "client": sys.modules["awslambdaric"].__name__}
"""

NODE_HANDLER = """import fs from 'node:fs';
let invokes = 0;
export const handler = async (event, context) => {
  invokes += 1;
  console.log(`invoke ${invokes}`);
  if (event.meet) {
    fs.writeFileSync(`/tmp/in-${context.awsRequestId}`, '');
    while (fs.readdirSync('/tmp').filter((name) => name.startsWith('in-')).length < event.meet) await new Promise((done) => setTimeout(done, 5));
  }
  if (event.fail) throw new RangeError('as asked');
  if (event.end) process.exit(3);
  return { invoke: invokes, event, request_id: context.awsRequestId, arn: context.invokedFunctionArn, trace: process.env._X_AMZN_TRACE_ID };
};
"""

# The client's compiled part fits one minor version; where that lies differs between this machine and the sandbox.
PYTHON_BOOTSTRAP = """#!/bin/sh
export PYTHONPATH=/var/task/packages:/var/task PYTHONDONTWRITEBYTECODE=1
for python in /usr/bin/{name} {path} {name}; do
  command -v "$python" >/dev/null && exec "$python" -m awslambdaric "$_HANDLER"
done
echo "no {name} in this environment" >&2
exit 127
"""

NODE_BOOTSTRAP = """#!/bin/sh
exec {node} /var/task/node_modules/aws-lambda-ric/index.mjs "$_HANDLER"
"""


@pytest.fixture(scope="session")
def python_ric():
    """A package with awslambdaric inside and a bootstrap that starts it."""
    folder = python_packages("awslambdaric", *AWSLAMBDARIC)
    files = {
        f"packages/{path.relative_to(folder)}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    python, name = os.path.realpath(sys.executable), f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return package({**files, "index.py": PYTHON_HANDLER, "bootstrap": PYTHON_BOOTSTRAP.format(name=name, path=python)})


@pytest.fixture(scope="session")
def node_ric():
    """A package with aws-lambda-ric and its compiled addon; compiling libcurl takes minutes, once."""
    node = shutil.which("node")
    if node is None:
        absent("node")
    client = compiled_node_ric(FIXTURES / "node-ric") / "node_modules" / "aws-lambda-ric"
    names = ["index.mjs", "package.json", "rapid-client.node"]
    files = {f"node_modules/aws-lambda-ric/{name}": (client / name).read_bytes() for name in names}
    bootstrap = NODE_BOOTSTRAP.format(node=os.path.realpath(node))
    return package({**files, "index.mjs": NODE_HANDLER, "bootstrap": bootstrap})


@pytest.fixture(scope="session")
def rust_client():
    """tests/fixtures/rust-lambda, a binary on the crate lambda_runtime."""
    folder = suites_folder() / "rust-lambda"
    run("cargo", "build", "--locked", cwd=FIXTURES / "rust-lambda", env={"CARGO_TARGET_DIR": str(folder)})
    return package({"bootstrap": (folder / "debug" / "bootstrap").read_bytes()})


@pytest.fixture(scope="session")
def web_adapter_layer(server):
    """The ARN of a layer as AWS publishes it: the adapter is an extension, the script starts the function's handler."""
    adapter = rust_program("lambda_web_adapter", "1.0.0-rc1", "lambda-adapter").read_bytes()
    script = '#!/bin/bash\nexec -- "${LAMBDA_TASK_ROOT}/${_HANDLER}"\n'
    layer = package({"extensions/lambda-adapter": adapter, "bootstrap": script})
    published = server.client("lambda").publish_layer_version(LayerName="web-adapter", Content={"ZipFile": layer})
    return published["LayerVersionArn"]
