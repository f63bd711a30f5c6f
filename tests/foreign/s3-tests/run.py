"""ceph/s3-tests against the real binary.

    TINDERBOX_S3_TESTS=<checkout of ceph/s3-tests> python run.py [--update] [pytest arguments …]

Starts a server of its own with two accounts, runs the core subset and compares with `expected.txt`, which may only grow:
exit code 1 when a test of that list fails. `--update` adds what passes now. Nothing of the suite is committed.
"""

import argparse
import collections
import json
import os
import re
import subprocess
import sys
import tempfile
import venv
import xml.etree.ElementTree as ElementTree
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2]))

from tests.blackbox.server import ACCESS_KEY, SECRET_KEY, Server, binary, target_folder  # noqa: E402

EXPECTED = HERE / "expected.txt"
PACKAGES = ["boto3==1.44.5", "PyYAML", "munch", "isodate", "requests", "pytz", "httplib2", "lxml", "pytest==9.2.0"]
PACKAGES += ["pytest-timeout==2.4.0", "pytest-xdist"]
# The subset that the competitors were measured with.
LEFT_OUT = [
    "fails_on_aws", "fails_on_s3", "cloud_transition", "cloud_restore", "bucket_logging", "s3website", "appendobject",
    "storage_class", "iam_tenant", "lifecycle_expiration", "lifecycle_transition", "auth_aws2",
]
FILES = ["s3tests/functional/test_s3.py", "s3tests/functional/test_headers.py"]
KMS_KEYS = ["--s3-kms-key", "testkey-1", "--s3-kms-key", "testkey-2"]

CONFIGURATION = """
[DEFAULT]
host = 127.0.0.1
port = {port}
is_secure = False
ssl_verify = False
[fixtures]
bucket prefix = s3t-{{random}}-
iam name prefix = s3-tests-
iam path prefix = /s3-tests/
[s3 main]
display_name = {main[name]}
user_id = {main[account]}
email = main@example.com
api_name = eu-west-1
access_key = {main[key]}
secret_key = {main[secret]}
kms_keyid = arn:aws:kms:us-east-1:{main[name]}:key/testkey-1
kms_keyid2 = arn:aws:kms:us-east-1:{main[name]}:key/testkey-2
[s3 alt]
display_name = {alt[name]}
user_id = {alt[account]}
email = alt@example.com
access_key = {alt[key]}
secret_key = {alt[secret]}
[s3 tenant]
display_name = {tenant[name]}
user_id = {tenant[account]}
email = tenant@example.com
access_key = {tenant[key]}
secret_key = {tenant[secret]}
tenant = testx
[iam]
display_name = {main[name]}
user_id = {main[account]}
email = iam@example.com
access_key = {main[key]}
secret_key = {main[secret]}
[iam root]
access_key = {main[key]}
secret_key = {main[secret]}
user_id = {main[account]}
email = root@example.com
[iam alt root]
access_key = {alt[key]}
secret_key = {alt[secret]}
user_id = {alt[account]}
email = altroot@example.com
"""


def python():
    """An environment with what the suite needs, made once in the target folder."""
    named = os.environ.get("TINDERBOX_S3_TESTS_PYTHON")
    if named:
        return named
    folder = target_folder() / "s3-tests-venv"
    program = folder / "bin/python"
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True)
        subprocess.run([program, "-m", "pip", "install", "-q", *PACKAGES], check=True)
        (folder / "complete").touch()
    return str(program)


def make_account(server, name):
    """Another account with a root key."""
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    command = [binary(), "account", "create", "--json", "--endpoint", server.url, "--name", name]
    made = subprocess.run(command, env={**os.environ, **keys}, check=True, capture_output=True, text=True)
    made = json.loads(made.stdout)
    return with_owner(server, made["accessKeyId"], made["secretAccessKey"])


def with_owner(server, key, secret):
    """A key with the canonical id and the display name of its account, as S3 tells them."""
    owner = server.client("s3", access_key=key, secret_key=secret).list_buckets()["Owner"]
    return {"account": owner["ID"], "name": owner["DisplayName"], "key": key, "secret": secret}


def run(checkout, arguments):
    """Outcome of each test: `passed`, `failed`, `error` or `skipped`."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        server = Server(folder / "data", "--s3-acls", "--s3-signature-v2", *KMS_KEYS).start()
        try:
            main = with_owner(server, ACCESS_KEY, SECRET_KEY)
            accounts = {name: make_account(server, name) for name in ("alt", "tenant")}
            configuration = folder / "s3tests.conf"
            configuration.write_text(CONFIGURATION.format(port=server.port, main=main, **accounts))
            report = folder / "report.xml"
            marks = " and ".join(f"not {mark}" for mark in LEFT_OUT)
            command = [python(), "-m", "pytest", "-q", "--timeout", "180", "-p", "no:cacheprovider", "-m", marks]
            command += ["--junitxml", str(report), *arguments, *([] if any(".py" in a for a in arguments) else FILES)]
            environment = {**os.environ, "S3TEST_CONF": str(configuration)}
            log = target_folder() / "s3-tests.log"
            with open(log, "w") as out:
                subprocess.run(command, cwd=checkout, env=environment, stdout=out, stderr=subprocess.STDOUT)
            print(f"the suite's own output: {log}")
            return outcomes(report)
        finally:
            server.end()


def outcomes(report):
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{(case.get('classname') or '').rsplit('.', 1)[-1]}::{case.get('name')}"
        kinds = {child.tag for child in case}
        failed = next((kind for kind in ("error", "failure", "skipped") if kind in kinds), "passed")
        found[name] = "failed" if failed == "failure" else failed
    return found


def expected():
    lines = EXPECTED.read_text().splitlines() if EXPECTED.exists() else []
    return {line for line in lines if line and not line.startswith("#")}


def update(passed):
    """Adds to the list; the explanations of what fails (lines with #) stay."""
    lines = EXPECTED.read_text().splitlines() if EXPECTED.exists() else []
    comments = [line for line in lines if line.startswith("#") and not explains(line, passed)]
    names = sorted(expected() | passed)
    EXPECTED.write_text("\n".join([*comments, *names]) + "\n")


def explains(line, passed):
    match = re.match(r"# (\S+::\S+): ", line)
    return bool(match) and match.group(1) in passed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--update", action="store_true")
    options, arguments = parser.parse_known_args()
    checkout = os.environ.get("TINDERBOX_S3_TESTS")
    if not checkout:
        print("SKIPPED: no checkout of ceph/s3-tests; name one in TINDERBOX_S3_TESTS")
        return 0
    found = run(checkout, arguments)
    passed = {name for name, outcome in found.items() if outcome == "passed"}
    print(dict(collections.Counter(found.values())), "of", len(found))
    if not passed:
        print("nothing passed: the suite did not run; see its output")
        return 1
    if options.update:
        update(passed)
    lost = sorted(name for name in expected() & found.keys() if name not in passed)
    for name in lost:
        print(f"passed before: {name} ({found[name]})")
    news = sorted(passed - expected())
    if news:
        print(f"{len(news)} pass that are not in expected.txt (--update adds them)")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
