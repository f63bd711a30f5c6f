"""What boto3 does before the first request, done before it is known for which function: who gets that, and who does not."""

import json
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from blackbox.botocore_reads import WATCH
from environment import BOOTSTRAPS

BEGIN = f"""
import json, os
import boto3, botocore.handlers, botocore.session
from tinderbox_runtime import sdk_ahead
originals = [botocore.session.create_loader, botocore.session.get_session]
loader = sdk_ahead.prepare(["s3", "dynamodb", "no-such-service"])
os.environ["AWS_EXECUTION_ENV"] = "AWS_Lambda_python3.11"
{WATCH}

def session():
    return boto3.session.Session("key", "secret", region_name="us-east-1")

def are_as_ever():
    return [botocore.session.create_loader, botocore.session.get_session] == originals
"""


def result(source, **env):
    """What a process prints, as JSON, that has prepared clients of S3 and DynamoDB."""
    path = f"{BOOTSTRAPS / 'python'}:{Path(boto3.__file__).parents[1]}"
    command = [sys.executable, "-c", f"{BEGIN}\n{source}"]
    done = subprocess.run(command, env={"PYTHONPATH": path, "HOME": "/nowhere", **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_first_session_reads_nothing_and_the_second_all():
    source = """
first = session()
first.client("s3"), first.resource("dynamodb")
read = len(reads)
session().client("s3")
print(json.dumps([read, len(reads) > 0, are_as_ever()]))
"""
    assert result(source) == [0, True, True]


def test_the_first_session_is_as_every_other():
    source = """
def seen(session):
    clients = [session.client("s3"), session.resource("dynamodb").meta.client]
    session = session._session
    return {
        "handlers": session._events._emitter._handlers._root,
        "of clients": [client.meta.events._emitter._handlers._root for client in clients],
        "agents": [client.meta.config.user_agent for client in clients],
        "endpoints": [client.meta.endpoint_url for client in clients],
        "paths": session.get_component("data_loader").search_paths,
        "models": [client.meta.service_model._service_description for client in clients],
        "own": sorted(vars(session)),
        "profile": [session.profile, session.available_profiles, session.user_agent()],
    }

import re
ahead, fresh = ({name: re.sub("0x[0-9a-f]+", "", repr(it)) for name, it in seen(session()).items()} for _ in range(2))
print(json.dumps([[name for name in ahead if ahead[name] != fresh[name]], "AWS_Lambda_python3.11" in ahead["agents"]]))
"""
    assert result(source) == [[], True]


@pytest.mark.parametrize("name", ["create_loader", "get_session"])
def test_each_is_handed_out_once(name):
    source = f"""
import threading
made, gate = [], threading.Barrier(8)
make = botocore.session.{name}
def get():
    gate.wait()
    made.append(make())
threads = [threading.Thread(target=get) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps([len(set(map(id, made))), sum(one is loader for one in made)]))
"""
    assert result(source) == [8, 1 if name == "create_loader" else 0]


def test_a_session_that_looks_elsewhere_reads_itself(tmp_path):
    source = 'session().client("s3")\nprint(json.dumps([len(reads) > 0, botocore.session.create_loader is originals[0]]))'
    models = tmp_path / "home" / ".aws" / "models"
    models.mkdir(parents=True)
    assert result(source, HOME=str(tmp_path / "home")) == [True, False]
    source = f'os.environ["AWS_DATA_PATH"] = "{tmp_path}"\n{source}'
    assert result(source) == [True, False]


@pytest.mark.parametrize(
    "change",
    [
        'botocore.handlers.BUILTIN_HANDLERS.append(("before-send", called))',
        "botocore.register_initializer(called)",
        'botocore.session.Session = type("Own", (botocore.session.Session,), {"__init__": called})',
    ],
)
def test_who_changes_what_sessions_are_made_from_gets_one_made_from_that(change):
    source = f"""
def called(*args, **kwargs):
    raise ZeroDivisionError
{change}
try:
    botocore.session.get_session().get_component("event_emitter").emit_until_response("before-send.s3.PutObject")
    print("false")
except ZeroDivisionError:
    print("true")
"""
    assert result(source) is True


def test_a_session_that_reads_other_variables_is_not_made_ahead():
    source = """
class Own(botocore.session.Session):
    def __init__(self, *args):
        super().__init__(*args)
        self.mine = os.environ.get("MINE")
botocore.session.get_session, botocore.session.Session = originals[1], Own
sdk_ahead._make_session_ahead(botocore.session)
os.environ["MINE"] = "late"
print(json.dumps(botocore.session.get_session().mine))
"""
    assert result(source) == "late"


def test_services_are_told_by_who_has_read_their_models_or_keeps_a_client():
    source = """
import types
told = [sdk_ahead.services_used(None, []), sdk_ahead.services_used(loader, [])]
boto3.setup_default_session(region_name="us-east-1")
boto3.client("sqs")
told.append(sdk_ahead.services_used(None, []))
boto3.DEFAULT_SESSION = None
module = types.ModuleType("module")
module.queue, module.number = session().client("sqs"), 1
module.table = session().resource("dynamodb").Table("t")
told.append(sdk_ahead.services_used(None, [module]))
print(json.dumps(told))
"""
    # The default session has got the loader that has read two.
    assert result(source) == [[], ["dynamodb", "s3"], ["dynamodb", "s3", "sqs"], ["dynamodb", "sqs"]]
