"""Models of botocore that are read before it is known for which function: who gets them, and who does not."""

import json
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from environment import BOOTSTRAPS

BEGIN = """
import json, sys
import boto3, botocore.loaders, botocore.session
from tinderbox_runtime import sdk_models
make = botocore.session.create_loader
loader = sdk_models.read_ahead(["s3", "no-such-service"])
reads, load_file = [], botocore.loaders.JSONFileLoader.load_file
botocore.loaders.JSONFileLoader.load_file = lambda self, path: reads.append(path) or load_file(self, path)

def session():
    return boto3.session.Session("key", "secret", region_name="us-east-1")
"""


def result(source, **env):
    """What a process prints, as JSON, that has read the models of S3 ahead."""
    path = f"{BOOTSTRAPS / 'python'}:{Path(boto3.__file__).parents[1]}"
    command = [sys.executable, "-c", f"{BEGIN}\n{source}"]
    done = subprocess.run(command, env={"PYTHONPATH": path, "HOME": "/nowhere", **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_first_session_reads_nothing_and_the_second_all():
    source = """
session().client("s3")
first = len(reads)
session().client("s3")
print(json.dumps([first, len(reads) > 0, botocore.session.create_loader is make]))
"""
    assert result(source) == [0, True, True]


@pytest.mark.parametrize("threads", [2, 8])
def test_what_was_read_is_handed_out_once(threads):
    source = f"""
import threading
loaders, gate = [], threading.Barrier({threads})
create = botocore.session.create_loader
def get():
    gate.wait()
    loaders.append(create())
threads = [threading.Thread(target=get) for _ in range({threads})]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps([len(set(map(id, loaders))), sum(one is loader for one in loaders)]))
"""
    assert result(source) == [threads, 1]


def test_a_session_that_looks_elsewhere_reads_itself(tmp_path):
    source = """
session().client("s3")
print(json.dumps([len(reads) > 0, loader._cache == {}, botocore.session.create_loader is make]))
"""
    assert result(source, AWS_DATA_PATH=str(tmp_path)) == [True, False, False]
    models = tmp_path / "home" / ".aws" / "models"
    models.mkdir(parents=True)
    assert result(source, HOME=str(tmp_path / "home")) == [True, False, False]


@pytest.mark.parametrize("first", [[], ["s3"]])
def test_services_are_told_whoever_has_read_them(first):
    source = f"""
sessions = [session(), session()]
for service in {first}: sessions[0].client(service)
sessions[1].client("sqs")
print(json.dumps([sdk_models.services_read(), sdk_models.services_read(loader)]))
"""
    assert result(source) == [["s3", "sqs"], ["s3", "sqs"]]
