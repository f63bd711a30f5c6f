"""moto's own tests, in server mode, against the real binary: a ratchet.

Needs a checkout of getmoto/moto (Apache-2.0), never committed: `TINDERBOX_MOTO=/path/to/moto`. What passes stands in
`expected/<service>.txt` and may only grow; `TINDERBOX_MOTO_UPDATE=1` writes what passes now.
Tests of the `*_aws_verified` kind state what AWS does, the others moto's opinion: docs/queues.md, docs/sns.md and
docs/functions.md name where we differ.
"""

import os
import shutil
import subprocess
import sys
import venv
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from blackbox.server import LAMBDA_TRUST
from blackbox.suites import cached

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements.txt"
ACCOUNT = "123456789012"
RUN_S = 1500
# The folder of a service's tests, where it is not called as the service.
FOLDER = {"lambda": "test_awslambda"}


def checkout():
    path = os.environ.get("TINDERBOX_MOTO")
    if not path:
        pytest.skip("SKIPPED: moto's suite needs a checkout of getmoto/moto: set TINDERBOX_MOTO to its folder")
    assert (Path(path) / "tests/test_sqs").is_dir(), f"TINDERBOX_MOTO={path} is no checkout of getmoto/moto"
    return Path(path)


def environment():
    def build(folder):
        venv.create(folder, with_pip=True)
        pip = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", REQUIREMENTS], check=True)

    return cached("moto", [REQUIREMENTS], build) / "bin/python"


def folder_of(service):
    return FOLDER.get(service, f"test_{service}")


def copied(suite, service, folder):
    """The tests alone: beside moto's sources they would import those instead of the release."""
    (folder / "tests").mkdir()
    for file in (suite / "tests").glob("*.py"):
        shutil.copy(file, folder / "tests")
    # What the tests of queues, topics and functions take from others.
    for package in (folder_of(service), "test_awslambda", "test_core", "test_ecr", "test_s3"):
        if (suite / "tests" / package).is_dir():
            shutil.copytree(suite / "tests" / package, folder / "tests" / package, dirs_exist_ok=True)


def passed(report):
    cases = ElementTree.parse(report).getroot().iter("testcase")
    good = [case for case in cases if not any(case.find(bad) is not None for bad in ("failure", "error", "skipped"))]
    return {f"{case.get('classname').rsplit('.', 1)[-1]}::{case.get('name')}" for case in good}


@pytest.mark.timeout(RUN_S + 300)
@pytest.mark.parametrize("service", sorted(path.stem for path in (HERE / "expected").glob("*.txt")))
def test_moto(service, new_server, tmp_path):
    suite, python = checkout(), environment()
    copied(suite, service, tmp_path)
    server = new_server("--auth", "permissive", "--account", ACCOUNT)
    # Else moto's tests make it, with "some policy" that no function could be assumed by.
    server.client("iam").create_role(RoleName="my-role", Path="/my-path/", AssumeRolePolicyDocument=LAMBDA_TRUST)
    report = tmp_path / "report.xml"
    done = subprocess.run(
        [python, "-m", "pytest", f"tests/{folder_of(service)}", "-q", "-p", "no:cacheprovider", "-p", "tinderbox_moto", "-W", "ignore", "--continue-on-collection-errors"]
        + ["--timeout", "60", f"--junitxml={report}"],
        cwd=tmp_path,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "PYTHONPATH": str(HERE),
            "TEST_SERVER_MODE": "true",
            "TEST_SERVER_MODE_ENDPOINT": server.url,
            "AWS_DEFAULT_REGION": "us-east-1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=RUN_S,
    )
    (Path(os.environ.get("TINDERBOX_MOTO_LOG", tmp_path)) / f"moto-{service}.log").write_text(done.stdout)
    assert report.exists(), done.stdout[-6000:]
    now = passed(report)
    listed = HERE / "expected" / f"{service}.txt"
    before = set(listed.read_text().split("\n")) - {""}
    if os.environ.get("TINDERBOX_MOTO_UPDATE"):
        listed.write_text("".join(f"{name}\n" for name in sorted(now | before)))
    print(f"moto {service}: {len(now)} pass, {len(before)} expected, new: {sorted(now - before)}", file=sys.stderr)
    lost = sorted(before - now)
    assert not lost, f"{len(lost)} tests that passed before fail now: {lost}\n{done.stdout[-8000:]}"
