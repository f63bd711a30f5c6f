"""`provided` runtimes that are compiled programs: one in C without any client, one in Go with AWS's own (Rust's: test_official_clients.py)."""

import os
import shutil
from pathlib import Path

import pytest
from blackbox.functions import PROVIDED, package
from blackbox.suites import absent, cached, run

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


def compiled_c():
    if shutil.which("cc") is None:
        absent("a C compiler")
    source = FIXTURES / "c-lambda" / "bootstrap.c"
    options = ["-O1", "-static", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"]
    return cached("c-lambda", [source], lambda folder: run("cc", *options, "-o", str(folder / "bootstrap"), str(source)))


def compiled_go():
    checkout = os.environ.get("TINDERBOX_LAMBDA_GO")
    if checkout is None:
        pytest.skip("SKIPPED: needs a checkout of aws/aws-lambda-go: set TINDERBOX_LAMBDA_GO to it")
    if shutil.which("go") is None:
        absent("go")
    source = FIXTURES / "go-lambda" / "main.go"

    def build(folder):
        # The folders of before modules: nothing is asked of a proxy, and what only the client's tests need is not missed.
        packages = folder / "src" / "github.com" / "aws"
        packages.mkdir(parents=True)
        (packages / "aws-lambda-go").symlink_to(Path(checkout).resolve())
        env = {"GO111MODULE": "off", "GOPATH": str(folder), "CGO_ENABLED": "0"}
        run("go", "build", "-tags", "lambda.norpc", "-o", str(folder / "bootstrap"), str(source), env=env)

    return cached("go-lambda", [source], build)


@pytest.mark.parametrize("compiled", [compiled_c, compiled_go], ids=["c", "go"])
def test_a_compiled_program_is_a_runtime(deploy, compiled):
    code = package({"bootstrap": (compiled() / "bootstrap").read_bytes()})
    function = deploy(code, runtime=PROVIDED, handler="bootstrap", MemorySize=256, Timeout=10)
    cold = function.invoke({"text": "ü"}, LogType="Tail")
    assert cold.error is None, cold
    assert cold.body["invoke"] == 1 and "ü" in (cold.body.get("text") or cold.body["event"]["text"])
    assert "invoke 1" in cold.log and "Init Duration" in cold.log
    warm = function.result({"text": "x"})
    assert warm["invoke"] == 2 and warm["request_id"] != cold.body["request_id"]
    error = function.error({"fail": True})
    assert (error.error, error.body["errorMessage"]) == ("Unhandled", "as asked") and error.body["errorType"]
    assert function.result({"text": "x"})["invoke"] == 4, "an error ends no environment"
    ended = function.error({"end": True})
    assert ended.body["errorType"] == "Runtime.ExitError" and "exit status 3" in ended.body["errorMessage"]
    assert function.result({"text": "x"})["invoke"] == 1, "a fresh environment"
