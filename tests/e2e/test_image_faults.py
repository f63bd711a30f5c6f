"""Images under kill -9, and images that mean harm."""

import json
import random
import tarfile
import time
from pathlib import Path

import pytest
from blackbox.functions import unique
from blackbox.images import Image, Registry, program, special, tar, write_layout
from blackbox.server import ROLE
from blackbox.suites import suites_folder
from botocore.exceptions import BotoCoreError, HTTPClientError

BOOTSTRAP = Path(__file__).resolve().parents[1] / "fixtures" / "image-bootstrap" / "bootstrap.c"
WAIT = {"Delay": 1, "MaxAttempts": 60}


@pytest.fixture(scope="module")
def bootstrap():
    return program(BOOTSTRAP, suites_folder() / "image-bootstrap")


def create(client, uri, **fields):
    name = unique()
    client.create_function(
        FunctionName=name, Role=ROLE, PackageType="Image", Code={"ImageUri": uri}, **{"Timeout": 10, **fields}
    )
    return name


def active(client, name):
    client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig=WAIT)


def result(client, name, event=None):
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event or {}))
    body = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, body
    return body


def test_kill_9_while_images_come_leaves_none_half_done(new_server, bootstrap):
    """Ten kills at random moments of pulls and unpacking; every function that was acknowledged runs, with all its files."""
    registry = Registry()
    rng = random.Random(11)
    try:
        running = new_server("--image-registry", registry.url)
        acknowledged = []
        for round_number in range(10):
            client = running.client("lambda")
            files = {f"files/{n}": bytes([n % 251]) * 3_000 for n in range(1_500)}
            files["mark"] = str(round_number).encode()
            image = Image([tar({"boot": (bootstrap, 0o755)}), tar(files)], {"Entrypoint": ["/boot"]})
            uri = registry.push("app", f"r{round_number}", image)
            try:
                acknowledged.append((create(client, uri), round_number))
                time.sleep(rng.random() * 1.5)
            except (BotoCoreError, HTTPClientError):
                pass
            running.kill()
            running.start()
        client = running.client("lambda")
        assert len(acknowledged) == 10
        for name, mark in acknowledged:
            active(client, name)
            assert result(client, name, {"do": "read /mark"})["did"] == str(mark)
            assert len(result(client, name, {"do": "list /files"})["did"].split()) == 1_502
        unfinished = list((running.data / "code").glob("boot-*/unfinished-*"))
        assert not unfinished, unfinished
        # What is here needs no registry.
        registry.close()
        running.stop()
        running.start()
        name, mark = acknowledged[-1]
        assert result(running.client("lambda"), name, {"do": "read /mark"})["did"] == str(mark)
    finally:
        registry.close()


def test_an_image_that_means_harm_is_held(new_server, tmp_path, bootstrap):
    """setuid programs, devices, links to the host, a /proc of its own, folders that everybody may write to."""
    secret = tmp_path / "secret"
    secret.write_text("the host's secret")
    entries = {
        "boot": (bootstrap, 0o755),
        "suid": (bootstrap, 0o6755),
        "disk": special(tarfile.BLKTYPE, device=(8, 0)),
        "mem": special(tarfile.CHRTYPE, device=(1, 1)),
        "pipe": special(tarfile.FIFOTYPE),
        "out": special(tarfile.SYMTYPE, secret),
        "up": special(tarfile.SYMTYPE, f"../../../../../../..{secret}"),
        "open": special(tarfile.DIRTYPE, mode=0o777),
        "proc/self/status": b"forged",
        "proc/kcore": b"forged",
        "dev/null": b"forged",
        "dev/mem": special(tarfile.CHRTYPE, device=(1, 1)),
        "tmp/forged": b"forged",
        "etc/ld.so.preload": b"/evil.so\n",
        "etc/hosts": special(tarfile.SYMTYPE, secret),
        "etc/passwd": b"root::0:0::/:/boot\n",
        "sys/kernel": b"forged",
    }
    layouts = tmp_path / "layouts"
    config = {"Entrypoint": ["/boot"], "User": "0:0", "Volumes": {"/host": {}}}
    write_layout(layouts / "evil", {"v1": Image([tar(entries)], config)})
    links = {"proc": special(tarfile.SYMTYPE, "/"), "dev": special(tarfile.SYMTYPE, tmp_path), "tmp": special(tarfile.SYMTYPE, "/etc")}
    write_layout(layouts / "links", {"v1": Image([tar({"boot": (bootstrap, 0o755), **links})], {"Entrypoint": ["/boot"]})})

    running = new_server("--image-registry", f"images.local={layouts}")
    client = running.client("lambda")
    name = create(client, "images.local/evil:v1")
    active(client, name)
    did = lambda event, name=name: result(client, name, {"do": event})["did"]  # noqa: E731
    seen = result(client, name)
    assert seen["uid"] != 0
    uid, gid = did("run /suid").split()
    assert uid == str(seen["uid"]) and gid != "0"
    for path in ["/out", "/up", "/disk", "/mem", "/dev/mem", "/pipe"]:
        assert did(f"read {path}") in ("No such file or directory", "Permission denied"), path
    assert "Uid:" in did("read /proc/self/status") and "forged" not in did("read /proc/kcore")
    assert did("read /dev/null") == "" and did("read /etc/hosts").startswith("127.0.0.1 localhost")
    assert "forged" not in did("list /tmp")
    for folder in ["/", "/open", "/dev", "/proc", "/etc", "/sys"]:
        assert did(f"write {folder}/x") in ("Read-only file system", "Permission denied", "No such file or directory"), folder
    assert did("write /tmp/x") == "written"
    for pid in ["1", "self"]:
        assert "secret" not in did(f"read /proc/{pid}/root{secret}")

    links = create(client, "images.local/links:v1")
    active(client, links)
    assert sorted(did("list /dev", links).split())[:4] == [".", "..", "fd", "full"]
    assert did("write /tmp/x", links) == "written"
    assert not list(tmp_path.glob("x")) and secret.read_text() == "the host's secret"

    # The first program of an environment is the image's choice: our own is none.
    for entry in ["/proc/self/exe", "/proc/1/exe", "/dev/stdin", "/"]:
        odd = create(client, "images.local/evil:v1", ImageConfig={"EntryPoint": [entry]}, Timeout=3)
        active(client, odd)
        answer = client.invoke(FunctionName=odd)
        assert answer["FunctionError"] == "Unhandled", (entry, answer["Payload"].read())
    assert result(client, name)["uid"] != 0
