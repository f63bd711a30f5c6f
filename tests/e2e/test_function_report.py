"""`tinderbox functions report`: where the time of a cold start goes."""

import json
import os
import urllib.error
import urllib.request

import pytest
from blackbox.functions import PYTHON, Function, package, unique
from blackbox.reports import report

BUSY_JS = "const end = performance.now() + 50; while (performance.now() < end);"
NODE_FILES = {
    "index.js": "require('heavy'); exports.handler = async (event) => { console.log('an event'); return event; };",
    "node_modules/heavy/index.js": f"{BUSY_JS} require('light');",
    "node_modules/light/index.js": "exports.x = 1;",
}


def packages(found):
    return {one["name"]: one for one in found["dependencies"]["packages"]}


def test_dependencies_and_cold_starts_of_node(server, deploy):
    function = deploy(package(NODE_FILES))
    assert function.result({"a": 1}) == {"a": 1}
    ran = report(server, function.name, "--json")
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["coldStarts"]["count"] == 1 and found["inits"]["count"] == 3
    assert [term["name"] for term in found["coldStarts"]["terms"]] == [
        "code download", "sandbox start", "runtime init", "user init", "together",
    ]  # fmt: skip
    for terms in (found["coldStarts"]["terms"], found["inits"]["terms"]):
        assert all(0 <= term["p50Ms"] <= term["p90Ms"] <= term["maxMs"] for term in terms)
        assert terms[3]["p50Ms"] >= 50
    heavy, light = packages(found)["heavy"], packages(found)["light"]
    assert heavy["ownMs"] >= 50 and heavy["origin"] == "package" and heavy["modules"] == 1
    assert heavy["cumulativeMs"] >= round(heavy["ownMs"] + light["ownMs"], 3)
    inits = 1 + 1 + 3
    log = function.messages(lambda lines: sum("INIT_START" in line for line in lines) >= inits)
    assert sum("an event" in line for line in log) == 1, "the report invokes nothing"
    text = report(server, function.name)
    assert "COLD STARTS  1 in the newest" in text.stdout and "heavy" in text.stdout


def test_dependencies_of_python(server, deploy):
    files = {
        "index.py": "import heavy\ndef handler(event, context):\n    return 1",
        "heavy/__init__.py": "import time\nend = time.perf_counter() + .05\nwhile time.perf_counter() < end: pass",
        "heavy-1.dist-info/RECORD": "heavy/__init__.py,,",
    }
    function = deploy(package(files), PYTHON)
    found = json.loads(report(server, function.name, "--json").stdout)
    assert packages(found)["heavy"]["ownMs"] >= 50 and packages(found)["heavy"]["origin"] == "package"
    assert found["coldStarts"] == {"tracesRead": found["coldStarts"]["tracesRead"], "count": 0, "initialisedAhead": 0, "terms": []}
    assert found["bundle"] == {"unavailable": "for nodejs* only."}


def test_a_bundle_is_measured_where_there_is_an_esbuild_and_else_unknown(new_server):
    bundler = os.environ.get("TINDERBOX_TEST_ESBUILD")  # the program
    path = f"{os.path.dirname(bundler)}:/usr/bin:/bin" if bundler else "/usr/bin:/bin"
    server = new_server(env={"PATH": path, "NODE_PATH": None})
    function = Function(server, package(NODE_FILES), MemorySize=512)
    found = json.loads(report(server, function.name, "--json").stdout)["bundle"]
    if bundler is None:
        assert set(found) == {"unavailable"} and "npm install" in found["unavailable"]
        return
    assert found["count"] == 3 and 0 < found["bytes"] < 5_000
    assert found["loadMs"] >= 50 and found["asItIsMs"] >= 50
    # What the package names of the machine is not there.
    secret = server.data / "root-key.json"
    index = f"import key from '{secret}'; export const handler = async () => key;"
    thief = Function(server, package({"index.mjs": index}))
    ran = report(server, thief.name, "--json")
    assert ran.returncode == 1 or "unavailable" in json.loads(ran.stdout)["bundle"]


def test_an_init_that_fails_and_a_function_that_does_not_exist_are_told(server, deploy):
    function = deploy(package({"index.js": "throw new Error('no');"}))
    ran = report(server, function.name)
    assert ran.returncode == 1 and "its init does not succeed" in ran.stderr and not ran.stdout
    ran = report(server, unique("missing"))
    assert ran.returncode == 1 and "404" in ran.stderr


def test_only_the_root_user_may_ask(server, deploy):
    function = deploy(package(NODE_FILES))
    request = urllib.request.Request(f"{server.url}/_tinderbox/functions/report/{function.name}", b"{}", method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 403
    iam = server.client("iam")
    name = unique("admin")
    iam.create_user(UserName=name)
    try:
        allow = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        ran = report(server, function.name, key=(key["AccessKeyId"], key["SecretAccessKey"]))
        assert ran.returncode == 1 and "AccessDenied" in ran.stderr, ran.stderr
        iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
        iam.delete_user_policy(UserName=name, PolicyName="all")
    finally:
        iam.delete_user(UserName=name)
