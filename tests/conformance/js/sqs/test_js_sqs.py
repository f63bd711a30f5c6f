"""Runs sqs.test.mjs, the AWS SDK for JavaScript v3."""

import shutil
import subprocess
from pathlib import Path

from blackbox.suites import absent, npm_packages

HERE = Path(__file__).parent


def test_js_sqs(server):
    if shutil.which("node") is None:
        absent("node")
    packages = npm_packages("conformance-js-sqs", HERE)
    shutil.copy(HERE / "sqs.test.mjs", packages)
    done = subprocess.run(
        ["node", "--test", "sqs.test.mjs"],
        cwd=packages,
        env=server.client_env(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
