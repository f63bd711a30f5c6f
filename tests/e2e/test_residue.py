"""H16: what an owner leaves in an environment, or a crash does, nobody finds again: neither another function nor its own next environment."""

import os
import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from blackbox.functions import PYTHON, python

# Environments, one after the other, of each of the functions. The campaign: TINDERBOX_CANARIES=25000 pytest tests/e2e/test_residue.py
EACH = int(os.environ.get("TINDERBOX_CANARIES", 24))
FUNCTIONS = 4
# How an owner leaves; what is not here ends by itself when the function's next environment is wanted.
ENDS = ["exit", "SIGKILL", "SIGABRT", "SIGSEGV", "children"]

SOURCE = r'''
import ctypes, os, re, signal, subprocess, sys

OWN_CODE = "canary:%s"
CANARY = re.compile(b"canary" + b":([0-9a-f]{32})")
kept = []

def in_memory():
    found = set()
    for line in open("/proc/self/maps"):
        span, rights = line.split()[:2]
        if not rights.startswith("rw") or "[v" in line:
            continue
        start, end = (int(edge, 16) for edge in span.split("-"))
        found.update(CANARY.findall(ctypes.string_at(start, end - start)))
    return found

def in_files():
    found = set()
    for top in ("/tmp", "/dev/shm", "/var", "/opt", "/run", "/home", "/root", "/mnt", "/srv", "."):
        for folder, folders, names in os.walk(top):
            # The runtime's own files, which every environment shows and nobody can change.
            folders[:] = [name for name in folders if os.path.join(folder, name) != sys.base_prefix]
            found.update(CANARY.findall(" ".join(names).encode()))
            for name in names:
                path = os.path.join(folder, name)
                try:
                    if os.path.isfile(path) and os.path.getsize(path) < 1 << 20:
                        with open(path, "rb") as file:
                            found.update(CANARY.findall(file.read()))
                except OSError:
                    pass
    return found

def in_processes():
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("environ", "cmdline", "comm"):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    found.update(CANARY.findall(file.read()))
            except OSError:
                pass
    return found

def plant(marked):
    os.environ["LEFT"] = marked
    kept.append([marked.encode() * 3 for _ in range(200)])
    for folder in ("/tmp", "/dev/shm", "/var/task", "/var"):
        try:
            os.makedirs(f"{folder}/d", exist_ok=True)
            for name in ("f", f"d/{marked}"):
                with open(f"{folder}/{name}", "w") as file:
                    file.write(marked)
        except OSError:
            pass

def handler(event, context):
    how = event.get("end")
    if how is None:
        looks = {"memory": in_memory, "files": in_files, "processes": in_processes}
        found = {where: sorted(canary.decode() for canary in look()) for where, look in looks.items()}
        plant(event["canary"])
        return found
    if how == "children":
        for _ in range(3):
            subprocess.Popen(["sh", "-c", f"sleep 1000 # {os.environ['LEFT']}"], start_new_session=True)
    if how.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, how))
    os._exit(3)
'''


@pytest.fixture
def owners(deploy):
    """(function, the two canaries that are its own): in its code and in its variables."""
    made = []
    for _ in range(FUNCTIONS):
        code, variable = secrets.token_hex(16), secrets.token_hex(16)
        variables = {"Variables": {"OWN": f"canary:{variable}"}}
        made.append((deploy(python(SOURCE % code), runtime=PYTHON, Environment=variables, Timeout=30), {code, variable}))
    return made


def test_h16_nobody_finds_what_a_former_owner_left(owners):
    def one_after_the_other(owner):
        function, own = owner
        seen = Counter()
        for turn in range(EACH):
            planted = secrets.token_hex(16)
            found = function.result({"canary": f"canary:{planted}"})
            everywhere = {canary for canaries in found.values() for canary in canaries}
            assert everywhere <= own | {planted}, f"of another owner: {everywhere - own - {planted}} in {found}"
            # The looks are good: what must be there is found, and after planting it is found in files and variables too.
            assert own <= everywhere and planted in found["memory"], found
            if turn % 8 == 0:
                again = function.result({"canary": f"canary:{planted}"})
                assert all(planted in again[where] for where in ("memory", "files")), again
            end = ENDS[turn % len(ENDS)]
            error = function.error({"end": end})
            assert error.body["errorType"].startswith("Runtime."), error
            seen[end] += 1
        return seen

    with ThreadPoolExecutor(FUNCTIONS) as pool:
        ended = sum(pool.map(one_after_the_other, owners), Counter())
    assert sum(ended.values()) == EACH * FUNCTIONS and set(ended) == set(ENDS[:EACH])
    print(f"{EACH * FUNCTIONS} environments one after the other, no canary of another owner; ends: {dict(ended)}")
