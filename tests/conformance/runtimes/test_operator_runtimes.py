"""Runtimes that the operator brings (docs/runtimes.md): AWS's own clients for languages that Tinderbox has no bootstrap for."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from blackbox.functions import Function, package, python
from blackbox.suites import AWSLAMBDARIC, absent, python_packages

PYTHON_BOOTSTRAP = """#!/bin/sh
export PYTHONPATH=/var/runtime/packages:/var/task PYTHONDONTWRITEBYTECODE=1
for python in /usr/bin/{name} {path}; do
  test -x "$python" && exec "$python" -m awslambdaric "$_HANDLER"
done
exit 127
"""

RUBY_BOOTSTRAP = """#!/usr/bin/ruby
require '/var/runtime/client/lib/aws_lambda_ric'
AwsLambdaRIC::Bootstrap.new.start
"""

RUBY_HANDLER = """
$invokes = 0
module Orders
  def self.take(event:, context:)
    $invokes += 1
    puts "invoke #{$invokes}"
    raise ArgumentError, 'as asked' if event['fail']
    File.write('/var/runtime/mine', 'x') if event['write']
    { invoke: $invokes, event: event, id: context.aws_request_id, name: context.function_name,
      left: context.get_remaining_time_in_millis, env: ENV['AWS_EXECUTION_ENV'] }
  end
end
"""


def entry(folder, text):
    path = folder / "bootstrap"
    path.write_text(text)
    path.chmod(0o755)


def test_a_folder_of_the_operator_serves_its_identifier(new_server, tmp_path):
    folder = tmp_path / "runtime"
    shutil.copytree(python_packages("awslambdaric", *AWSLAMBDARIC), folder / "packages")
    path, name = os.path.realpath(sys.executable), f"python{sys.version_info[0]}.{sys.version_info[1]}"
    entry(folder, PYTHON_BOOTSTRAP.format(path=path, name=name))
    server = new_server("--runtime", f"java21={folder}")
    code = """import os, sys
def handler(event, context):
    try:
        open("/var/runtime/mine", "w")
    except OSError as error:
        refused = error.strerror
    return {"event": event, "client": "awslambdaric" in sys.modules, "refused": refused,
            "env": os.environ["AWS_EXECUTION_ENV"], "folder": sorted(os.listdir("/var/runtime"))}
"""
    function = Function(server, python(code), runtime="java21", MemorySize=512, Timeout=30)
    assert function.result({"n": 1}) == {
        "event": {"n": 1}, "client": True, "refused": "Read-only file system", "env": "AWS_Lambda_java21",
        "folder": ["bootstrap", "packages"],
    }
    with pytest.raises(server.client("lambda").exceptions.InvalidParameterValueException, match="java17"):
        Function(server, python(code), runtime="java17")


def test_aws_own_client_for_ruby(new_server, tmp_path):
    checkout = os.environ.get("TINDERBOX_RUBY_RIC")
    if checkout is None:
        pytest.skip("SKIPPED: needs a checkout of aws/aws-lambda-ruby-runtime-interface-client: set TINDERBOX_RUBY_RIC to it")
    if not Path("/usr/bin/ruby").exists():
        absent("ruby")
    folder = tmp_path / "runtime"
    shutil.copytree(Path(checkout) / "lib", folder / "client" / "lib")
    entry(folder, RUBY_BOOTSTRAP)
    server = new_server("--runtime", f"ruby3.3={folder}")
    zipped = package({"orders.rb": RUBY_HANDLER})
    function = Function(server, zipped, runtime="ruby3.3", handler="orders.Orders.take", MemorySize=512, Timeout=30)
    first = function.invoke({"text": "ü"}, LogType="Tail")
    assert first.error is None, first
    assert (first.body["invoke"], first.body["event"], first.body["name"]) == (1, {"text": "ü"}, function.name)
    assert 0 < first.body["left"] <= 30_000 and first.body["env"] == "AWS_Lambda_ruby3.3"
    assert "invoke 1" in first.log and "Init Duration" in first.log
    error = function.error({"fail": True})
    assert (error.error, error.body["errorMessage"]) == ("Unhandled", "as asked") and "ArgumentError" in error.body["errorType"]
    assert "Read-only" in function.error({"write": True}).body["errorMessage"]
    assert function.result({})["invoke"] == 4, "one environment all the while"
