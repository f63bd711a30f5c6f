"""The policy corpus before a foreign oracle, @cloud-copilot/iam-simulate. Our engine's answers to the same corpus and
expectations are checked by `cargo test -p iam --test policy`. Where the oracle differs, the case holds its answer
(`oracle`) and the reason (`why`)."""

import json
import shutil
import subprocess
from pathlib import Path

from blackbox.suites import absent, npm_packages

HERE = Path(__file__).parent
CORPUS = HERE / "corpus.json"


def test_the_oracle_agrees_but_for_explained_differences():
    if shutil.which("node") is None:
        absent("node")
    packages = npm_packages("conformance-iam-simulate", HERE)
    shutil.copy(HERE / "compare.mjs", packages)
    done = subprocess.run(
        ["node", "compare.mjs", str(CORPUS)], cwd=packages, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    cases = json.loads(CORPUS.read_text())
    assert [answer["name"] for answer in answers] == [case["name"] for case in cases]
    assert [answer for answer in answers if answer["decision"] != answer["expect"]] == []
    explained = [case for case in cases if "oracle" in case]
    assert all(case["why"] and case["oracle"] != case["expect"] for case in explained)
