"""S3 and Lambda by the official Rust SDK. `TINDERBOX_RUST_SDK=1` asks for it: its build is the longest of all suites'."""

import os
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from blackbox.functions import package
from blackbox.server import ROLE
from blackbox.suites import run, suites_folder

FIXTURE = Path(__file__).parents[2] / "fixtures" / "rust-sdk"

HANDLERS = """export const plain = async (event) => {
  if (event?.fail) throw new RangeError('as asked');
  return { event, setting: process.env.SETTING ?? null };
};
export const streaming = awslambda.streamifyResponse(async (event, stream) => {
  for (let n = 0; n < event.parts; n++) stream.write(`part ${n};`);
  stream.end();
});
"""

pytestmark = pytest.mark.skipif(not os.environ.get("TINDERBOX_RUST_SDK"), reason="TINDERBOX_RUST_SDK is not set")


@pytest.fixture(scope="module")
def walk(server):
    """walk(arguments …): the lines that the program printed; it fails where something did not hold."""
    folder = suites_folder() / "rust-sdk"
    run("cargo", "build", "--locked", cwd=FIXTURE, env={"CARGO_TARGET_DIR": str(folder)})

    def walked(*arguments):
        lines = run(str(folder / "debug" / "rust-sdk"), *arguments, env=server.client_env()).splitlines()
        assert lines[-1] == "all held"
        return lines[:-1]

    return walked


def test_objects_streams_parts_pages_tags_and_presigned_urls(walk):
    put, get = walk("s3")
    sent = urllib.request.Request(put, data=b"by hand", method="PUT", headers={"Content-Type": ""})
    with urllib.request.urlopen(sent) as answer:
        assert answer.status == 200
    with urllib.request.urlopen(get) as answer:
        assert answer.read() == b"by hand"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(get.replace("presigned%20", "presigned-"))


def test_functions_waiters_invokes_and_response_streams(walk, tmp_path):
    zipped = tmp_path / "function.zip"
    zipped.write_bytes(package({"index.mjs": HANDLERS}))
    walk("lambda", str(zipped), ROLE)
