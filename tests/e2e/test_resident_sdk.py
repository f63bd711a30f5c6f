"""Runtimes that stand by with the AWS SDK that comes with the runtime loaded, for the functions that load it in their init."""

import itertools
import shutil
import tempfile
import threading
import time
from pathlib import Path

import boto3
import pytest
from blackbox.botocore_reads import WATCH
from blackbox.functions import NODE, PYTHON, WAIT_S, Function, package
from blackbox.server import target_folder

# An SDK that tells whether it was loaded before it was known for which function.
NODE_SDK = "exports.early = process.env.AWS_LAMBDA_FUNCTION_NAME === undefined; exports.who = '{who}';"
PYTHON_SDK = "import os\nearly = 'AWS_LAMBDA_FUNCTION_NAME' not in os.environ\nwho = '{who}'\n"
SLOW_NODE = "new Promise((done) => setTimeout(() => done([sdk.who, sdk.early]), 300))"

COMMONJS = {"index.js": f"const sdk = require('@aws-sdk/client-s3'); exports.handler = () => {SLOW_NODE};"}
ES_MODULE = {"index.mjs": f"import * as sdk from '@aws-sdk/client-s3'; export const handler = () => {SLOW_NODE};"}
BOTO3 = {
    "index.py": "import time, boto3, made_up_helper\n\ndef handler(event, context):\n    time.sleep(0.3)\n"
    "    return [boto3.who, boto3.early, made_up_helper.who]\n"
}
LOADS_BOTO3 = """
import sys, time
early = "boto3" in sys.modules
import boto3

def handler(event, context):
    time.sleep(0.3)
    return ["the host", early]
"""
MODELS = f"""
import sys, time
early = "boto3" in sys.modules
{WATCH}import boto3
clients = [boto3.client("s3"), boto3.resource("dynamodb").meta.client]
at_init = list(reads)

def handler(event, context):
    time.sleep(0.3)
    session = boto3.session.Session()
    fresh = [session.client("s3"), session.resource("dynamodb").meta.client]
    models = [[client.meta.service_model._service_description for client in some] for some in (clients, fresh)]
    paths = [session._session.get_component("data_loader").search_paths for session in (boto3.DEFAULT_SESSION, session)]
    return ["the host", not at_init, len(reads) > len(at_init), models[0] == models[1], paths[0] == paths[1], early]
"""
KINDS = {
    "require": (NODE, COMMONJS, "node_modules/@aws-sdk/client-s3/index.js", NODE_SDK),
    "import": (NODE, ES_MODULE, "node_modules/@aws-sdk/client-s3/index.js", NODE_SDK),
    "boto3": (PYTHON, BOTO3, "boto3/__init__.py", PYTHON_SDK),
}


@pytest.fixture
def hosts_sdk():
    """A folder with made-up SDKs. Not below /tmp, where a sandbox has its own."""
    folder = Path(tempfile.mkdtemp(prefix="made-up-sdk-", dir=target_folder()))
    folder.chmod(0o755)
    for file, text in {
        "node_modules/@aws-sdk/client-s3/index.js": NODE_SDK.format(who="the host"),
        "python/boto3/__init__.py": PYTHON_SDK.format(who="the host") + "import made_up_helper\n",
        "python/boto3/s3/__init__.py": "",
        "python/boto3/s3/inject.py": "",
        "python/made_up_helper.py": "who = 'the host'\n",
    }.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def sdk_server(new_server, hosts_sdk):
    """A server whose node and Python have them."""
    return new_server(env={"NODE_PATH": str(hosts_sdk / "node_modules"), "PYTHONPATH": str(hosts_sdk / "python")})


def at_once(function, count):
    """The answers of so many calls at the same time: each has an environment of its own."""
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(function.result())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == count
    return answers


def some_early(function):
    """Calls a function, each time for one more environment, until one of them was early; all answers."""
    answers, give_up = [], time.monotonic() + WAIT_S
    for count in itertools.count(2):
        answers += at_once(function, count)
        if any(answer[1] for answer in answers):
            return answers
        assert time.monotonic() < give_up, f"the SDK never stood by: {answers[-1]}"
        time.sleep(0.2)  # a runtime boots when nobody else needs the machine


@pytest.mark.parametrize("kind", KINDS)
def test_later_environments_of_a_version_find_the_runtimes_sdk_loaded(sdk_server, kind):
    runtime, files, _, _ = KINDS[kind]
    function = Function(sdk_server, package(files), runtime)
    # Of a version that nobody has seen nothing is known.
    assert function.result()[:2] == ["the host", False]
    assert {answer[0] for answer in some_early(function)} == {"the host"}
    # What one version loads says nothing about the next.
    function.client.update_function_configuration(FunctionName=function.name, Description="another revision")
    function.client.get_waiter("function_updated_v2").wait(FunctionName=function.name, WaiterConfig={"Delay": 1})
    assert function.result()[:2] == ["the host", False]


def test_later_environments_find_the_models_of_their_services_read(new_server):
    server = new_server(env={"PYTHONPATH": str(Path(boto3.__file__).parents[1])})
    function = Function(server, package({"index.py": MODELS}), PYTHON)
    answers = [function.result(), *some_early(function)]
    assert answers[0][1] is False, "of a version that nobody has seen nothing is known"
    # Nothing differs from what a session reads itself, as every session but the first does.
    assert all(answer[2:5] == [True, True, True] for answer in answers)


def test_where_none_stands_by_with_all_that_a_version_loads_one_with_most_of_it_serves(new_server):
    server = new_server("--idle-s", "1", env={"PYTHONPATH": str(Path(boto3.__file__).parents[1])})
    some_early(Function(server, package({"index.py": LOADS_BOTO3}), PYTHON))
    function, give_up = Function(server, package({"index.py": MODELS}), PYTHON), time.monotonic() + WAIT_S
    answers = []
    # One stands by with the models, so the second of two has boto3 alone.
    while not any(early and not has_models for _, has_models, *_, early in answers):
        assert time.monotonic() < give_up, f"boto3 alone never served: {answers}"
        answers = at_once(function, 2)
        time.sleep(2)  # both are let go
    assert all(answer[2:5] == [True, True, True] for answer in answers)


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_that_brings_its_own_sdk_gets_that(sdk_server, kind):
    runtime, files, file, sdk = KINDS[kind]
    # One stands by with the host's.
    some_early(Function(sdk_server, package(files), runtime))
    brings = Function(sdk_server, package({**files, file: sdk.format(who="the package")}), runtime)
    answers = [answer[:2] for count in (1, 2, 4) for answer in at_once(brings, count)]
    assert answers == [["the package", False]] * 7


def test_a_package_that_brings_what_boto3_needs_gets_its_own_of_that(sdk_server):
    runtime, files, _, _ = KINDS["boto3"]
    some_early(Function(sdk_server, package(files), runtime))
    brings = Function(sdk_server, package({**files, "made_up_helper.py": "who = 'the package'\n"}), runtime)
    answers = [answer for count in (1, 2, 4) for answer in at_once(brings, count)]
    assert answers == [["the host", False, "the package"]] * 7


@pytest.mark.parametrize("variable", ["AWS_MADE_UP", "HOME"])
def test_a_variable_that_an_sdk_may_read_when_it_is_loaded_counts(sdk_server, variable):
    # As botocore reads AWS_NEW_RETRIES_2026 and HOME.
    source = f"const sdk = require('@aws-sdk/client-s3'); const handler = () => {SLOW_NODE}; exports.handler = handler;"
    some_early(Function(sdk_server, package({"index.js": source})))
    sets = Function(sdk_server, package({"index.js": source}), Environment={"Variables": {variable: "/mine"}})
    answers = [answer for count in (1, 2, 4) for answer in at_once(sets, count)]
    assert answers == [["the host", False]] * 7


def test_what_a_runtime_was_to_load_is_told_to_no_function(sdk_server):
    source = f"const sdk = require('@aws-sdk/client-s3'); const handler = () => {SLOW_NODE}; exports.handler = async () => "
    source += "[...(await handler()), Object.keys(process.env).filter((name) => name.startsWith('_TINDERBOX'))];"
    answers = some_early(Function(sdk_server, package({"index.js": source})))
    assert all(answer[2] == [] for answer in answers)
