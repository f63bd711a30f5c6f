"""Lambda extensions from layers and from within the runtime, with plain bash, Python and Node as on AWS."""

import time

import pytest
from blackbox.functions import NODE, PYTHON, Function, package, unique

# Close to AWS's own sample (aws-lambda-extensions/custom-runtime-extension-demo): curl and nothing else.
BASH = """#!/bin/bash
NAME=$(basename "$0")
BASE="http://${AWS_LAMBDA_RUNTIME_API}/2020-01-01/extension"
HEADERS=/tmp/$NAME.headers
EVENT=/tmp/$NAME.event
curl -sS -XPOST "$BASE/register" -H "Lambda-Extension-Name: $NAME" -D "$HEADERS" -d '{"events": ["INVOKE", "SHUTDOWN"]}' > "$EVENT"
ID=$(grep -Fi lambda-extension-identifier "$HEADERS" | tr -d '[:space:]' | cut -d: -f2)
echo "[$NAME] registered: $(cat "$EVENT")"
while true; do
  curl -sS "$BASE/event/next" -H "Lambda-Extension-Identifier: $ID" > "$EVENT"
  echo "[$NAME] event: $(cat "$EVENT")"
  if grep -q SHUTDOWN "$EVENT"; then exit 0; fi
done
"""

# A Python extension that takes a while with each event.
PYTHON_SLOW = """#!/usr/bin/env python3
import json, os, time, urllib.request
BASE = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2020-01-01/extension"
def call(path, headers, body=None):
    with urllib.request.urlopen(urllib.request.Request(BASE + path, data=body, headers=headers)) as answer:
        return answer.headers, json.load(answer)
headers, _ = call("/register", {"Lambda-Extension-Name": os.path.basename(__file__)}, json.dumps({"events": ["INVOKE"]}).encode())
me = {"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]}
while True:
    _, event = call("/event/next", me)
    time.sleep(1.5)
    print("[slow] done with", event["requestId"], flush=True)
"""

NODE_ECHO = """
process.on("SIGTERM", () => { console.log("runtime: SIGTERM"); process.exit(0); });
exports.handler = async (event) => event;
"""

# An internal extension: a thread of the runtime's own process.
INTERNAL = """
import json, os, threading, urllib.request
BASE = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2020-01-01/extension"
seen = []
def call(path, headers, body=None):
    with urllib.request.urlopen(urllib.request.Request(BASE + path, data=body, headers=headers)) as answer:
        return answer.headers, json.load(answer)
headers, about = call("/register", {"Lambda-Extension-Name": "inside", "Lambda-Extension-Accept-Feature": "accountId"}, b'{"events": ["INVOKE"]}')
def follow():
    while True:
        seen.append(call("/event/next", {"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]})[1])
threading.Thread(target=follow, daemon=True).start()
def handler(event, context):
    return {"about": about, "seen": [one["requestId"] for one in seen], "me": context.aws_request_id}
"""


def layer(server, files):
    lambda_client = server.client("lambda")
    return lambda_client.publish_layer_version(LayerName=unique("layer"), Content={"ZipFile": package(files)})["LayerVersionArn"]


@pytest.mark.parametrize(
    "runtime, source",
    [(NODE, {"index.js": NODE_ECHO}), (PYTHON, {"index.py": "def handler(event, context):\n    return event\n"})],
)
def test_a_bash_extension_of_a_layer(server, deploy, runtime, source):
    arn = layer(server, {"extensions/agent.sh": BASH})
    function = deploy(package(source), runtime, Layers=[arn])
    answer = function.invoke({"n": 1}, LogType="Tail")
    assert (answer.error, answer.body) == (None, {"n": 1}), answer
    assert '"eventType":"INVOKE"' in answer.log and "REPORT RequestId" in answer.log, answer.log
    assert function.result({"n": 2}) == {"n": 2}, "warm"
    messages = function.messages(lambda lines: sum('"eventType":"INVOKE"' in line for line in lines) >= 2)
    registered = next(line for line in messages if line.startswith("[agent.sh] registered"))
    assert f'"functionName":"{function.name}"' in registered and '"functionVersion":"$LATEST"' in registered
    ready = next(index for index, line in enumerate(messages) if line.startswith("EXTENSION\tName: agent.sh\tState: Ready"))
    assert ready < next(index for index, line in enumerate(messages) if line.startswith("START"))
    # A change of the function ends its environments, in good order.
    function.client.update_function_configuration(FunctionName=function.name, Description="other")
    said = '"eventType":"SHUTDOWN","shutdownReason":"spindown"'
    messages = function.messages(lambda lines: any(said in line for line in lines))
    if runtime == NODE:
        term = next(index for index, line in enumerate(messages) if "runtime: SIGTERM" in line)
        assert term < next(index for index, line in enumerate(messages) if said in line), messages


def test_the_answer_does_not_wait_for_an_extension(server, deploy):
    function = deploy(package({"index.js": NODE_ECHO}), NODE, Layers=[layer(server, {"extensions/slow": PYTHON_SLOW})])
    function.result({})
    function.messages(lambda lines: any("[slow] done" in line for line in lines))
    function.messages(lambda lines: any(line.startswith("REPORT") for line in lines))
    began = time.monotonic()
    assert function.result({"warm": True}) == {"warm": True}
    assert time.monotonic() - began < 1.2
    messages = function.messages(lambda lines: sum(line.startswith("REPORT") for line in lines) == 2)
    report = [line for line in messages if line.startswith("REPORT")][-1]
    assert float(report.split("\tDuration: ")[1].split(" ms")[0]) >= 1_500, "the whole invocation is billed"


def test_an_internal_extension_of_a_managed_runtime(deploy):
    function = deploy(package({"index.py": INTERNAL}), PYTHON)
    first = function.result()
    assert first["about"] == {
        "functionName": function.name,
        "functionVersion": "$LATEST",
        "handler": "index.handler",
        "accountId": "000000000000",
    }
    # Until the extension has asked for its next event another invocation has another environment.
    function.messages(lambda lines: any(line.startswith("REPORT") for line in lines))
    second = function.result()
    assert first["me"] in second["seen"]
    function.messages(lambda lines: any(line.startswith("EXTENSION\tName: inside\tState: Ready\tEvents: [INVOKE]") for line in lines))


def test_an_extension_that_crashes_fails_the_invocation_and_not_the_next_one(server, deploy):
    crashes = BASH.replace("if grep -q SHUTDOWN", 'if [ ! -e /tmp/crashed ] && grep -q INVOKE "$EVENT"; then exit 3; fi\n  if grep -q SHUTDOWN')
    function = deploy(
        package({"index.js": "exports.handler = async () => new Promise((done) => setTimeout(done, 5000));"}),
        NODE,
        Timeout=10,
        Layers=[layer(server, {"extensions/agent": crashes})],
    )
    for _ in range(2):
        answer = function.error()
        assert answer.body["errorType"] == "Extension.Crash" and answer.body["errorMessage"].endswith("Error: exit status 3"), answer


def test_a_server_that_ends_lets_extensions_end_first(new_server):
    server = new_server()
    functions = [
        Function(server, package({"index.js": NODE_ECHO}), NODE, Layers=[layer(server, {"extensions/agent": BASH})]) for _ in range(3)
    ]
    for function in functions:
        function.result()
    server.stop()  # Within five seconds, although each environment may take two.
    server.start()
    for function in functions:
        again = Function.__new__(Function)
        again.server, again.name = server, function.name
        again.messages(lambda lines: any('"shutdownReason":"spindown"' in line for line in lines))


# An internal extension of Node: it registers during init, and nobody awaits the rest.
INTERNAL_NODE = """
const base = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2020-01-01/extension`;
const seen = [];
const registered = await fetch(`${base}/register`, {
  method: "POST",
  headers: { "Lambda-Extension-Name": "inside" },
  body: JSON.stringify({ events: ["INVOKE"] }),
});
(async () => {
  const headers = { "Lambda-Extension-Identifier": registered.headers.get("lambda-extension-identifier") };
  for (;;) {
    seen.push(await (await fetch(`${base}/event/next`, { headers })).json());
    await new Promise((done) => setTimeout(done, 300));
  }
})();
export const handler = async (event, context) => ({ seen: seen.map((one) => one.requestId), me: context.awsRequestId });
"""


def test_an_internal_extension_of_node(deploy):
    function = deploy(package({"index.mjs": INTERNAL_NODE}), NODE)
    first = function.invoke(LogType="Tail")
    assert first.error is None, first
    second = function.result()
    assert first.body["me"] in second["seen"]
    assert function.invoke(LogType="Tail").error is None
