"""A generic runtime rehearses a cold start before it knows its function: nothing of that may be seen by the function."""

import time

import pytest
from environment import Environment, Frame

NODE_SEES = """
const fs = require('fs');
const atInit = {
  environment: Object.keys(process.env).sort(),
  request: awslambda.InvokeStore.hasContext(),
  callbacks: process.listenerCount('uncaughtException'),
  descriptors: fs.readdirSync('/proc/self/fd').length,
};
exports.handler = async (event, context) => ({
  ...atInit,
  globals: Object.keys(globalThis).sort(),
  modules: Object.keys(require.cache).filter((file) => !file.includes('/bootstraps/node/')).length,
  console: Object.keys(console).sort(),
  listeners: process.eventNames().map(String).sort(),
  program: process.argv.slice(1).map((path) => path.split('/').pop()),
  context: Object.keys(context).sort(),
  extensions: require('module')._extensions['.js'].name,
  event,
});
"""

PYTHON_SEES = """
import logging, os, sys, warnings
from tinderbox_runtime import sink
at_init = {
    "environment": sorted(os.environ),
    "request": sink.current.request_id,
    "descriptors": len(os.listdir("/proc/self/fd")),
    "handlers": [type(handler).__name__ for handler in logging.getLogger().handlers],
}

def handler(event, context):
    return {**at_init, "path": sys.path, "context": repr(context), "tenant": context.tenant_id,
            "identity": repr(context.identity), "log": context.log_stream_name, "filters": len(warnings.filters),
            "folder": os.getcwd(), "trace": os.environ["_X_AMZN_TRACE_ID"], "event": event}
"""


def seen(language, source, folder, generic):
    name = "index.js" if language == "node" else "index.py"
    environment = Environment(language, folder, {name: source}, "index.handler", generic=generic)
    try:
        assert not generic or environment.lacks == ""
        return environment.ready().result({"a": 1})
    finally:
        environment.close()


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize(
    "language, name, source",
    [("node", "index.js", "exports.handler = async (event) => event;"), ("python", "index.py", "def handler(event, context):\n    return event\n")],
)
def test_a_generic_runtime_looks_at_nothing_of_its_function_before_it_is_in_its_place(tmp_path, language, name, source, late):
    folder = tmp_path / "task"

    def place():
        if late:  # else both frames come at once
            time.sleep(0.3)
        folder.mkdir()
        (folder / name).write_text(source)

    environment = Environment(language, folder, {}, "index.handler", generic=True, place=place)
    try:
        assert environment.ready().result({"a": 1}) == {"a": 1}
    finally:
        environment.close()


def test_node_sees_the_same_with_and_without(tmp_path):
    own, generic = (seen("node", NODE_SEES, tmp_path, generic) for generic in (False, True))
    # The ES module loader of node keeps descriptors of its own once it has loaded one.
    assert abs(own.pop("descriptors") - generic.pop("descriptors")) <= 2
    assert own == generic and own["request"] is False


@pytest.mark.parametrize("names, lacks", [("boto3", ""), ("boto3 boto3/s3", "ImportError: cannot import name 'session' from 'botocore'")])
def test_a_python_that_cannot_make_ready_what_it_was_asked_for_says_why_and_serves(tmp_path, names, lacks):
    for file in ("boto3/__init__.py", "boto3/s3/__init__.py", "boto3/s3/inject.py", "botocore/__init__.py"):
        path = tmp_path / "sdk" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    boot = {"_TINDERBOX_RESIDENT": names, "PYTHONPATH": str(tmp_path / "sdk")}
    source = "import boto3\ndef handler(event, context):\n    return event"
    environment = Environment("python", tmp_path, {"index.py": source}, "index.handler", generic=True, boot=boot)
    try:
        assert environment.lacks.partition(" (")[0] == lacks
        assert environment.receive() == Frame("READY", "", b'["boto3"]')
        assert environment.result({"a": 1}) == {"a": 1}
    finally:
        environment.close()


def test_python_sees_the_same_with_and_without(tmp_path):
    own, generic = (seen("python", PYTHON_SEES, tmp_path, generic) for generic in (False, True))
    assert own == generic and own["request"] == ""
