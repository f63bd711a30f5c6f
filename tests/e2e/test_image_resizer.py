"""`examples/image-resizer` as its README runs it: every picture has its thumbnail, and the function is refused elsewhere."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

from blackbox.suites import cached

EXAMPLE = Path(__file__).parents[2] / "examples" / "image-resizer"
PICTURES = 6


def packages():
    """Pillow and boto3 as the example itself installs them, once."""
    spec = importlib.util.spec_from_file_location("image_resizer", EXAMPLE / "run.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    return cached("image-resizer", [EXAMPLE / "requirements.txt"], example.packages)


def test_l1_i8_pictures_become_thumbnails_and_the_role_allows_nothing_else(server):
    command = [sys.executable, EXAMPLE / "run.py", "--pictures", str(PICTURES), "--packages", packages()]
    ran = subprocess.run(command, env=server.client_env(), capture_output=True, text=True, timeout=280)
    assert ran.returncode == 0, (ran.stdout, ran.stderr)
    report = json.loads(ran.stdout)
    assert (report["exact"], report["thumbnails"]) == (True, PICTURES)
    refusals = report["refusals"]
    # The control: by hand, the same function does its job. Then each way out of its two prefixes names what was refused.
    assert refusals["control"] == ["thumbs/0000.png"] and refusals["nothing_written"]
    assert all("s3:GetObject" in text and "is not authorized" in text for text in refusals["reading"].values()), refusals
    assert all("s3:PutObject" in text and "is not authorized" in text for text in refusals["writing"].values()), refusals
    assert set(refusals["reading"]) == {"thumbs/0000.png", "code/resizer.zip"} and set(refusals["writing"]) == {"source/again-", "code/"}
