"""What was acknowledged survives kill -9; SIGTERM ends cleanly; the data folder is the whole state."""

import base64
import hashlib
import os
import random
import threading
import time
from pathlib import Path

import pytest
from blackbox.functions import NODE, Function, javascript, log_messages, package
from blackbox.server import ROLE
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

WRITERS = 4
ROUNDS = 3


def sha256(data):
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


class Writer(threading.Thread):
    """Creates, updates, invokes and deletes its own functions and keeps what was acknowledged."""

    def __init__(self, server, number, round_number):
        super().__init__(daemon=True)
        self.client = server.client("lambda")
        self.prefix = f"w{number}-r{round_number}"
        self.live, self.deleted, self.unsure = {}, set(), set()
        self.error = None

    def run(self):
        number = 0
        try:
            while True:
                number += 1
                self._one_life(f"{self.prefix}-{number}", number)
        except (HTTPClientError, BotoCoreError):
            pass  # the server was killed in the middle of a call
        except ClientError as error:
            self.error = error

    def _one_life(self, name, number):
        code = package({"index.js": f"exports.handler = async () => '{name}';"})
        self.unsure.add(name)
        self.client.create_function(
            FunctionName=name, Runtime=NODE, Handler="index.handler", Role=ROLE, Code={"ZipFile": code}, Description=str(number)
        )
        self.live[name] = (sha256(code), str(number))
        self.unsure.discard(name)
        if number % 3 == 0:
            self.unsure.add(name)
            self.client.update_function_configuration(FunctionName=name, Description=f"updated {number}")
            self.live[name] = (sha256(code), f"updated {number}")
            self.unsure.discard(name)
        if number % 4 == 0:
            self.unsure.add(name)
            self.client.delete_function(FunctionName=name)
            del self.live[name]
            self.deleted.add(name)
            self.unsure.discard(name)


def kill_under_load(server, round_number, seconds):
    writers = [Writer(server, number, round_number) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    time.sleep(seconds)
    server.kill()
    for writer in writers:
        writer.join(timeout=60)
        assert not writer.is_alive()
        assert writer.error is None, writer.error
    return writers


def test_a1_kill_9_under_load_loses_nothing_acknowledged(new_server):
    server = new_server()
    chance = random.Random(20261123)
    live, deleted, unsure = {}, set(), set()
    for round_number in range(ROUNDS):
        for writer in kill_under_load(server, round_number, chance.uniform(0.5, 2.0)):
            live.update(writer.live)
            deleted |= writer.deleted
            unsure |= writer.unsure
        server.start()
        client = server.client("lambda")
        found = {
            function["FunctionName"]: (function["CodeSha256"], function["Description"])
            for page in client.get_paginator("list_functions").paginate()
            for function in page["Functions"]
        }
        sure = {name: state for name, state in live.items() if name not in unsure}
        assert {name: found.get(name) for name in sure} == sure
        assert not deleted & set(found)
        assert set(found) <= set(live) | unsure, "a function that nobody created"
        assert live, "the load did nothing"
    for name in chance.sample(sorted(sure), min(3, len(sure))):
        answer = client.invoke(FunctionName=name)
        assert answer["Payload"].read().decode() == f'"{name}"'
    server.stop()


def test_logs_that_were_read_are_there_after_kill_9(new_server):
    server = new_server()
    function = Function(server, javascript("exports.handler = async (event) => { console.log(`marker ${event.number}`); };"))
    for number in range(10):
        function.result({"number": number})
    before = function.messages(lambda found: sum("marker" in message for message in found) == 10)
    server.kill()
    server.start()
    after = log_messages(server, f"/aws/lambda/{function.name}", lambda found: len(found) >= len(before))
    assert after == before
    function.server, function.client = server, server.client("lambda")
    function.result({"number": 10})
    function.messages(lambda found: sum("marker" in message for message in found) == 11)
    server.stop()


def test_the_gate_of_code_signing_is_shut_after_kill_9(new_server):
    server = new_server()
    function = Function(server, javascript("exports.handler = async () => 1;"))
    profile = "arn:aws:signer:us-east-1:000000000000:/signing-profiles/team/ab12cd34ef"
    made = function.client.create_code_signing_config(
        AllowedPublishers={"SigningProfileVersionArns": [profile]}, CodeSigningPolicies={"UntrustedArtifactOnDeployment": "Enforce"}
    )["CodeSigningConfig"]
    arn = made["CodeSigningConfigArn"]
    function.client.put_function_code_signing_config(FunctionName=function.name, CodeSigningConfigArn=arn)
    server.kill()
    server.start()
    client = server.client("lambda")
    assert client.get_code_signing_config(CodeSigningConfigArn=arn)["CodeSigningConfig"] == made
    users = client.list_functions_by_code_signing_config(CodeSigningConfigArn=arn)["FunctionArns"]
    assert users == [function.created["FunctionArn"]]
    with pytest.raises(client.exceptions.CodeVerificationFailedException):
        client.update_function_code(FunctionName=function.name, ZipFile=javascript("exports.handler = async () => 2;"))
    with pytest.raises(client.exceptions.ResourceConflictException):
        client.delete_code_signing_config(CodeSigningConfigArn=arn)
    function.server, function.client = server, client
    assert function.result() == 1
    server.stop()


def test_restart_keeps_functions_urls_and_configuration(new_server):
    server = new_server()
    function = Function(
        server, javascript("exports.handler = async () => process.env.KEY;"), Environment={"Variables": {"KEY": "kept"}}
    )
    prefix = function.url()
    assert server.get(prefix + "/")[2] in (b"kept", b'"kept"')
    before = function.client.get_function_configuration(FunctionName=function.name)
    server.stop()
    server.start()
    client = server.client("lambda")
    after = client.get_function_configuration(FunctionName=function.name)
    for answer in (before, after):
        del answer["ResponseMetadata"]
    assert after == before
    assert client.invoke(FunctionName=function.name)["Payload"].read() == b'"kept"'
    assert server.get(prefix + "/")[0] == 200
    server.stop()


def processes_with(marker):
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            pass
    return found


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_no_function_process_outlives_the_server(new_server, end):
    server = new_server()
    marker = f"32{os.getpid()}{int(time.time() * 1000) % 10**9}"
    source = f"const {{ spawn }} = require('child_process'); spawn('sleep', ['{marker}'], {{ detached: true }}); exports.handler = async () => 1;"
    assert Function(server, javascript(source)).result() == 1
    assert processes_with(marker)
    getattr(server, end)()
    give_up = time.monotonic() + 10
    while processes_with(marker):
        assert time.monotonic() < give_up, "processes of a function outlived the server"
        time.sleep(0.02)


def test_sigterm_during_an_invoke_ends_cleanly(new_server):
    server = new_server()
    function = Function(
        server, javascript("exports.handler = async () => new Promise((ok) => setTimeout(() => ok(1), 60000));"), Timeout=90
    )
    outcome = []

    def call():
        try:
            outcome.append(function.invoke())
        except (ClientError, BotoCoreError, HTTPClientError) as error:
            outcome.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    time.sleep(1)
    server.stop()
    caller.join(timeout=30)
    assert not caller.is_alive() and len(outcome) == 1


def test_two_servers_on_one_data_folder_are_refused(new_server):
    server = new_server()
    from blackbox.server import Server

    second = Server(server.data)
    with pytest.raises(AssertionError, match="serve ended before it listened"):
        second.start()
    assert server.get("/_tinderbox/health")[0] == 200
    server.stop()
