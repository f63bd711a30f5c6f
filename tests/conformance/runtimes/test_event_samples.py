"""The sample events that AWS publishes with its Rust library (fixtures of the crate aws_lambda_events, which come from those of
aws-lambda-go): each goes through a function and comes back as it was.
"""

import json
import shutil
from pathlib import Path

import pytest
from blackbox.functions import NODE, PYTHON, Function, javascript, python
from blackbox.suites import cached, run

MANIFEST = Path(__file__).resolve().parents[2] / "fixtures" / "lambda-events"
# As many as version 0.16.0 has: none is left out in silence.
SAMPLES = 143

ECHOES = {
    NODE: javascript("exports.handler = async (event) => event;"),
    PYTHON: python("def handler(event, context):\n    return event\n"),
}


@pytest.fixture(scope="session")
def samples():
    """The samples by name, as texts."""

    def build(folder):
        shutil.copytree(MANIFEST, folder / "manifest")
        run("cargo", "vendor", "--locked", str(folder / "vendor"), cwd=folder / "manifest")

    folder = cached("lambda-events", [MANIFEST / "Cargo.toml", MANIFEST / "Cargo.lock"], build)
    files = sorted((folder / "vendor" / "aws_lambda_events" / "src" / "fixtures").glob("*.json"))
    return {file.stem: file.read_text() for file in files}


@pytest.mark.parametrize("runtime", ECHOES)
def test_every_sample_event_comes_back_as_it_was(server, samples, runtime):
    assert len(samples) == SAMPLES
    function = Function(server, ECHOES[runtime], runtime=runtime)
    for name, text in samples.items():
        answer = function.invoke(text.encode())
        assert answer.error is None, (name, answer)
        assert answer.body == json.loads(text), name
    function.delete()
