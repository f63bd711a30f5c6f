"""S3 by the aws command line tool: the client of buckets, so that Tinderbox needs none of its own.

`TINDERBOX_LONG=1` takes 10,000 files and one of 5 GiB (20 GB of disk, many minutes) instead of 300 files and 64 MiB.
"""

import base64
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from blackbox.functions import unique
from blackbox.suites import absent

AWS = shutil.which("aws", path=str(Path(sys.executable).parent)) or shutil.which("aws")
LONG = bool(os.environ.get("TINDERBOX_LONG"))
FILES, LARGE_MIB = (10_000, 5 * 1024) if LONG else (300, 64)
WAIT_S = 7_200 if LONG else 200
# What the server may take for a file of any size, in MiB: parts stream through it, ten at a time.
GROWTH_MIB_MAX = 256


def tool(server, folder):
    """run("s3", "cp", …): what the tool printed, as bytes; with fails=True what it complained."""
    if AWS is None:
        absent("the aws cli")

    def run(*arguments, fails=False, given=None, **env):
        command, env = [AWS, *map(str, arguments)], {**server.client_env(), **env}
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, timeout=WAIT_S, input=given)
        assert (done.returncode != 0) == fails, (arguments, done.stdout[-2000:], done.stderr[-2000:])
        return done.stderr.decode() if fails else done.stdout

    return run


@pytest.fixture
def aws(server, tmp_path):
    return tool(server, tmp_path)


@pytest.fixture
def bucket(aws):
    name = unique("cli-s3")
    aws("s3", "mb", f"s3://{name}")
    yield name
    aws("s3", "rb", "--force", f"s3://{name}")


def api(aws, operation, *arguments, **fields):
    printed = aws("s3api", operation, *arguments, "--output", "json", **fields)
    return printed if fields.get("fails") else json.loads(printed or "null")


def tree(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_folder_is_synchronised_both_ways(aws, bucket, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    for number in range(FILES):
        path = here / f"folder {number % 7}" / f"{number:05}+ü.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.Random(number).randbytes(number % 3_000))
        # S3 tells whole seconds: a file of the same second counts as newer than its object, on AWS as here.
        os.utime(path, (1_700_000_000, 1_700_000_000))
    files = tree(here)
    assert aws("s3", "sync", here, f"s3://{bucket}/tree").count(b"upload: ") == FILES
    assert aws("s3", "sync", here, f"s3://{bucket}/tree") == b"", "nothing has changed"
    # The paginator of the tool goes over pages smaller than the bucket.
    pages = api(aws, "list-objects-v2", "--bucket", bucket, "--page-size", "97", "--query", "length(Contents)")
    assert pages == FILES
    aws("s3", "sync", f"s3://{bucket}/tree", there)
    assert tree(there) == files
    changed, gone = sorted(files)[0], sorted(files)[1]
    (here / changed).write_bytes(b"changed, and longer than it was: " + files[changed])
    (here / gone).unlink()
    said = aws("s3", "sync", "--delete", here, f"s3://{bucket}/tree").decode()
    assert (said.count("upload: "), said.count("delete: ")) == (1, 1), said
    aws("s3", "sync", "--delete", f"s3://{bucket}/tree", there)
    assert tree(there) == tree(here)
    listed = aws("s3", "ls", "--recursive", "--summarize", f"s3://{bucket}/tree/").decode()
    assert f"Total Objects: {FILES - 1}" in listed
    assert aws("s3", "rm", "--recursive", f"s3://{bucket}/tree").count(b"delete: ") == FILES - 1
    assert aws("s3", "ls", f"s3://{bucket}") == b""


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def memory_mib(server, field):
    """VmRSS or VmHWM (the most so far) of the server."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) // 1024


def test_a_large_file_goes_up_in_parts_and_comes_back_with_little_memory(new_server, tmp_path):
    server = new_server()
    aws = tool(server, tmp_path)
    aws("s3", "mb", "s3://large")
    with open(tmp_path / "large", "wb") as file:
        for number in range(LARGE_MIB):
            file.write(random.Random(number).randbytes(1 << 20))
    wanted, before = digest(tmp_path / "large"), memory_mib(server, "VmRSS")
    aws("s3", "cp", "--no-progress", "large", "s3://large/large")
    os.unlink(tmp_path / "large")
    head = api(aws, "head-object", "--bucket", "large", "--key", "large")
    assert head["ContentLength"] == LARGE_MIB << 20 and head["ETag"].endswith('-%d"' % (LARGE_MIB / 8)), head
    # A copy inside the server, in parts where it is large; then the download, in parallel ranges.
    aws("s3", "mv", "--no-progress", "s3://large/large", "s3://large/copy")
    aws("s3", "cp", "--no-progress", "s3://large/copy", "back")
    assert digest(tmp_path / "back") == wanted
    assert aws("s3", "ls", "s3://large").decode().split()[2:] == [str(LARGE_MIB << 20), "copy"]
    growth = memory_mib(server, "VmHWM") - before
    print(f"{LARGE_MIB} MiB up, copied and down: the server took {growth} MiB more at most")
    assert growth < GROWTH_MIB_MAX, growth
    server.stop()


def test_streams_presigned_urls_and_removal(aws, bucket, tmp_path):
    data = random.Random(1).randbytes(9 << 20)
    aws("s3", "cp", "-", f"s3://{bucket}/piped", given=data)
    assert aws("s3", "cp", f"s3://{bucket}/piped", "-") == data
    presign = ("s3", "presign", f"s3://{bucket}/piped", "--expires-in", "60")
    # Version 1 of the tool presigns with signature version 2 unless its configuration says otherwise; that is off here.
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(aws(*presign).decode().strip())
    assert refused.value.code == 400 and b"AWS4-HMAC-SHA256" in refused.value.read()
    (tmp_path / "config").write_text("[default]\ns3 =\n    signature_version = s3v4\n")
    url = aws(*presign, AWS_CONFIG_FILE=str(tmp_path / "config")).decode().strip()
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == data
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url.replace("/piped?", "/other?"))
    assert refused.value.code == 403
    aws("s3", "rm", f"s3://{bucket}/piped")
    with pytest.raises(urllib.error.HTTPError) as gone:
        urllib.request.urlopen(url)
    assert gone.value.code == 404
    assert "NoSuchBucket" in aws("s3", "ls", "s3://there-is-none-of-that-name", fails=True)
    assert "(404)" in aws("s3", "cp", f"s3://{bucket}/piped", "nowhere", fails=True)


def test_s3api_conditions_checksums_versions_and_tags(aws, bucket, tmp_path):
    (tmp_path / "one").write_bytes(b"one")
    (tmp_path / "two").write_bytes(b"two")
    at = ("--bucket", bucket, "--key", "k")
    api(aws, "put-bucket-versioning", "--bucket", bucket, "--versioning-configuration", "Status=Enabled")
    first = api(aws, "put-object", *at, "--body", "one", "--checksum-algorithm", "SHA256", "--metadata", "a=b", "--if-none-match", "*")
    sha256 = base64.b64encode(hashlib.sha256(b"one").digest()).decode()
    assert first["ChecksumSHA256"] == sha256
    again = api(aws, "put-object", *at, "--body", "two", "--if-none-match", "*", fails=True)
    assert "PreconditionFailed" in again
    wrong = api(aws, "put-object", *at, "--body", "two", "--checksum-sha256", sha256, fails=True)
    assert "BadDigest" in wrong, wrong
    second = api(aws, "put-object", *at, "--body", "two", "--if-match", first["ETag"], "--tagging", "t=1")
    assert api(aws, "get-object", *at, "out")["TagCount"] == 1 and (tmp_path / "out").read_bytes() == b"two"
    old = api(aws, "get-object", *at, "--version-id", first["VersionId"], "--range", "bytes=1-", "--checksum-mode", "ENABLED", "out")
    assert (tmp_path / "out").read_bytes() == b"ne" and old["Metadata"] == {"a": "b"} and old["ContentRange"] == "bytes 1-2/3"
    marker = api(aws, "delete-object", *at)
    assert marker["DeleteMarker"] and "NoSuchKey" in api(aws, "get-object", *at, "out", fails=True)
    found = api(aws, "list-object-versions", "--bucket", bucket)
    assert [version["VersionId"] for version in found["Versions"]] == [second["VersionId"], first["VersionId"]]
    for version in (marker["VersionId"], first["VersionId"], second["VersionId"]):
        api(aws, "delete-object", *at, "--version-id", version)
    assert "Versions" not in (api(aws, "list-object-versions", "--bucket", bucket) or {})
