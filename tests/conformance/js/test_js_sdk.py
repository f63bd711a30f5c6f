"""Runs lambda.test.mjs and tampering.test.mjs, the AWS SDK for JavaScript v3."""

import shutil
import subprocess
from pathlib import Path

from blackbox.functions import javascript
from blackbox.suites import absent, npm_packages

HERE = Path(__file__).parent
CODE = "exports.handler = async (event) => { console.log('said', event.name); return `${process.env.GREETING} ${event.name}`; };"


def test_js_sdk(server, tmp_path):
    if shutil.which("node") is None:
        absent("node")
    packages = npm_packages("conformance-js", HERE)
    tests = ["lambda.test.mjs", "tampering.test.mjs"]
    for test in tests:
        shutil.copy(HERE / test, packages)
    (tmp_path / "code.zip").write_bytes(javascript(CODE))
    done = subprocess.run(
        ["node", "--test", *tests],
        cwd=packages,
        env={**server.client_env(), "CODE_ZIP": str(tmp_path / "code.zip")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
