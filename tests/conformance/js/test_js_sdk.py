"""Runs lambda.test.mjs and tampering.test.mjs, the AWS SDK for JavaScript v3."""

from pathlib import Path

from blackbox.functions import javascript
from blackbox.suites import node_tests

CODE = "exports.handler = async (event) => { console.log('said', event.name); return `${process.env.GREETING} ${event.name}`; };"


def test_js_sdk(server, tmp_path):
    (tmp_path / "code.zip").write_bytes(javascript(CODE))
    env = {"CODE_ZIP": str(tmp_path / "code.zip")}
    node_tests(server, Path(__file__).parent, "lambda.test.mjs", "tampering.test.mjs", env=env)
