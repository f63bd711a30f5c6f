"""H20: code that has left its sandbox, as the very user that an environment's program or its pid 1 is on the host: what stands behind the walls.

The same attacks are made as root, where each of them works: they are attacks.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from blackbox.functions import PYTHON, python

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")

# What reading of a process that ends meanwhile says.
GONE = (FileNotFoundError, ProcessLookupError)

DRILL = r'''
import ctypes, json, os, signal, socket, sys

target = json.load(sys.stdin)
libc = ctypes.CDLL(None, use_errno=True)
PTRACE_SEIZE, PTRACE_DETACH, PIDFD_OPEN, PIDFD_GETFD = 0x4206, 17, 434, 438

def called(name, *arguments):
    result = getattr(libc, name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result

def read(path):
    with open(path, "rb") as file:
        return file.read(64)

def in_memory(pid):
    with open(f"/proc/{pid}/maps") as maps:
        start = next(int(line.split("-")[0], 16) for line in maps if " r" in line)
    with open(f"/proc/{pid}/mem", "rb") as memory:
        memory.seek(start)
        return memory.read(16)

def descriptor_of(pid):
    pidfd = called("syscall", PIDFD_OPEN, pid, 0)
    return called("syscall", PIDFD_GETFD, pidfd, 0, 0)

def traced(pid):
    called("ptrace", PTRACE_SEIZE, pid, None, None)
    os.kill(pid, 0)

def opened_groups(pid):
    # Opened and not joined: the group may be frozen.
    for folder in target["cgroups"][str(pid)]:
        os.close(os.open(f"{folder}/cgroup.procs", os.O_WRONLY))

def connected(name):
    with socket.socket(socket.AF_UNIX) as one:
        one.connect("\0" + name[1:] if name.startswith("@") else name)

of_process = {
    "its variables": lambda pid: read(f"/proc/{pid}/environ"),
    "its memory": in_memory,
    "its folder": lambda pid: os.listdir(f"/proc/{pid}/cwd/"),
    "its root": lambda pid: os.listdir(f"/proc/{pid}/root/"),
    "its descriptors": lambda pid: os.listdir(f"/proc/{pid}/fd"),
    "one of its descriptors": descriptor_of,
    "tracing it": traced,
    "a signal": lambda pid: os.kill(pid, 0),
    "its control groups": opened_groups,
}
attacks = [(f"process {pid}: {name}", lambda pid=pid, attack=attack: attack(pid))
           for pid in target["processes"] for name, attack in of_process.items()]
attacks += [(f"folder {path}", lambda path=path: os.listdir(path)) for path in target["folders"]]
attacks += [(f"file {path}", lambda path=path: read(path)) for path in target["files"]]
attacks += [(f"writing {path}", lambda path=path: open(path, "ab").close()) for path in target["files"]]
attacks += [(f"socket {name}", lambda name=name: connected(name)) for name in target["sockets"]]

worked = []
for name, attack in attacks:
    try:
        attack()
        worked.append(name)
    except OSError:
        pass
print(json.dumps({"uid": os.getuid(), "made": [name for name, _ in attacks], "worked": worked}))
'''

ASLEEP = """import subprocess
def handler(event, context):
    subprocess.Popen(['sleep', event['marker']])
    return 'asleep'
"""


def drill(target, uid):
    """What works as `uid`, with nothing else of the sandbox around it."""
    leave = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid else []
    ended = subprocess.run([*leave, sys.executable, "-I", "-c", DRILL], input=json.dumps(target), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["uid"] == uid
    return told


def status(pid, field):
    text = Path(f"/proc/{pid}/status").read_text()
    return next(line for line in text.splitlines() if line.startswith(field + ":")).split()[1:]


def parent(pid):
    return int(status(pid, "PPid")[0])


def asleep(function):
    """The host's process id of a child of the function's."""
    marker = f"27{os.getpid()}{time.monotonic_ns() % 10**8}"
    assert function.result({"marker": marker}) == "asleep"
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if path.read_bytes() == f"sleep\0{marker}\0".encode():
                    return int(path.parent.name)
            except OSError:
                pass
    raise AssertionError("no such process")


def descendants(pid):
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in path.read_text().split()]
        except GONE:
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def control_groups(pid):
    """The folders of the process's own control groups, whatever version they are of."""
    found = []
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        folder = Path("/sys/fs/cgroup") / controllers.split("=")[-1] / path.lstrip("/")
        if path != "/" and (folder / "cgroup.procs").exists():
            found.append(str(folder))
    return found


def listening(pid):
    """What the process listens on in the host's network: TCP ports, and Unix sockets by name."""
    inodes = set()
    if os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net"):
        return set(), set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(os.readlink(link).removeprefix("socket:[").rstrip("]"))
        except OSError:
            pass
    ports, names = set(), set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[6] in inodes and fields[3] == "00010000":
            names.add(fields[7] if len(fields) > 7 else "")
    return ports, names


@pytest.mark.parametrize("who", ["program", "pid 1"])
def test_h20_code_that_left_its_sandbox_meets_the_host_as_a_stranger(server, deploy, who):
    escaped, neighbour = (asleep(deploy(python(ASLEEP), runtime=PYTHON, MemorySize=256)) for _ in range(2))
    bootstrap = parent(escaped)
    of = escaped if who == "program" else parent(bootstrap)
    uid = int(status(of, "Uid")[0])
    assert uid != 0 and uid not in (int(status(pid, "Uid")[0]) for pid in (neighbour, parent(neighbour)))

    # Everything of ours that is no part of the environment: the server, its launchers, other environments.
    own = {of, escaped, bootstrap, parent(bootstrap)}
    processes = [server.process.pid, *descendants(server.process.pid)]
    ports, sockets, groups = set(), set(), {}
    for pid in processes:
        try:
            of_pid, group = listening(pid), control_groups(pid)
        except GONE:
            continue  # Environments come and go.
        ports, sockets = ports | of_pid[0], sockets | of_pid[1]
        if pid not in own:
            groups[pid] = group
    assert {server.process.pid, neighbour, parent(neighbour)} <= set(groups)
    assert groups[neighbour], "it is in control groups of its own"
    assert ports == {server.port}, "there is one port, and it asks for signatures"

    files = [path for path in server.data.rglob("*") if path.is_file()]
    target = {
        "processes": list(groups),
        "cgroups": groups,
        "folders": [str(path) for path in [server.data, *server.data.iterdir()] if path.is_dir()],
        "files": [str(path) for path in files[:: max(1, len(files) // 50)]],
        "sockets": sorted(sockets),
    }
    told = drill(target, uid)
    assert told["worked"] == []

    # The control. A kernel may keep these from root as well: of a neighbour in a user namespace nothing is kept.
    as_root = drill(target, 0)
    assert as_root["made"] == told["made"]
    neighbours = {name for name in as_root["made"] if name.startswith(f"process {neighbour}:")}
    assert neighbours <= set(as_root["worked"]), neighbours - set(as_root["worked"])
    for kind in ("folder", "file", "writing", f"process {server.process.pid}"):
        assert any(name.startswith(kind) for name in as_root["worked"]), kind
    print(f"as {who} (uid {uid}): {len(told['made'])} attacks, none worked; as root {len(as_root['worked'])}")
