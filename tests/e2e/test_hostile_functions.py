"""Handlers that misbehave: the caller gets AWS's error, the next invoke works, nobody else notices."""

import os
import time
from pathlib import Path

import pytest
from blackbox.functions import PYTHON, javascript, python, unique

GUARD = "let n = 0;\n"  # a fresh environment starts again at 1


def counted(body):
    """A node function that counts its invokes and runs `body` when the event asks for it."""
    return javascript(f"{GUARD}exports.handler = async (event) => {{ n += 1; if (event.bad) {{ {body} }} return n; }};")


@pytest.fixture
def neighbour(deploy):
    """Another function, warm before the test; `check()` after it."""
    function = deploy(javascript("exports.handler = async () => 'unharmed';"))
    assert function.result() == "unharmed"
    return function


SURVIVES = {
    "throws": ("throw new Error('boom')", "Error", "boom"),
    "cyclic": ("const a = {}; a.a = a; return a;", "Runtime.JSONStringifyError", "Unable to stringify response body"),
    "over_6_mb": ("return 'x'.repeat(7 * 1024 * 1024);", "Function.ResponseSizeTooLarge", "maximum allowed payload size"),
    "never_settles": ("await new Promise(() => {});", "Runtime.NodeJsExit", "never settled"),
}


@pytest.mark.parametrize("name", SURVIVES)
def test_error_and_the_environment_lives_on(deploy, name):
    body, error_type, message = SURVIVES[name]
    function = deploy(counted(body), Timeout=20)
    assert function.result() == 1
    error = function.error({"bad": 1})
    assert error.body["errorType"] == error_type and message in error.body["errorMessage"]
    assert function.result() == 3


ENDS = {
    "exit_0": ("process.exit(0)", "Runtime exited without providing a reason"),
    "exit_7": ("process.exit(7)", "exit status 7"),
    "kills_itself": ("process.kill(process.pid, 'SIGKILL'); await new Promise((r) => setTimeout(r, 5000));", "signal: killed"),
}


@pytest.mark.parametrize("name", ENDS)
def test_d5_end_of_the_process_is_an_exit_error(deploy, neighbour, name):
    body, message = ENDS[name]
    function = deploy(counted(body), Timeout=20)
    assert function.result() == 1
    error = function.error({"bad": 1})
    assert error.body["errorType"] == "Runtime.ExitError"
    assert message in error.body["errorMessage"]
    assert function.result() == 1, "a fresh environment"
    assert neighbour.result() == "unharmed"


def test_killing_the_parent_and_everyone_hurts_only_itself(server, deploy, neighbour):
    body = "for (const pid of [process.ppid, 1, -1]) { try { process.kill(pid, 'SIGKILL'); } catch {} } await new Promise((r) => setTimeout(r, 200));"
    function = deploy(counted(body), Timeout=5)
    function.result()
    for _ in range(3):
        function.invoke({"bad": 1})  # dies or survives, as its namespace allows
    assert function.result() >= 1
    assert neighbour.result() == "unharmed"
    assert server.process.poll() is None and server.get("/_tinderbox/health")[0] == 200


def host_processes(marker):
    """Processes of this machine with `marker` in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            pass
    return found


def gone(marker, seconds=10):
    give_up = time.monotonic() + seconds
    while host_processes(marker):
        if time.monotonic() > give_up:
            return False
        time.sleep(0.02)
    return True


def test_l8_timeout_kills_the_whole_tree(deploy, neighbour):
    marker = f"31{os.getpid()}{int(time.time())}"
    source = f"""import subprocess, time
n = 0
def handler(event, context):
    global n
    n += 1
    if event.get('bad'):
        subprocess.Popen(['sleep', '{marker}'], start_new_session=True)
        subprocess.Popen(['sh', '-c', 'trap "" TERM INT HUP; while true; do sleep {marker}; done'])
        time.sleep(300)
    return n
"""
    function = deploy(python(source), runtime=PYTHON, Timeout=2)
    assert function.result() == 1
    error = function.error({"bad": 1}, LogType="Tail")
    assert "Task timed out after 2.00 seconds" in error.body["errorMessage"]
    assert error.body.get("errorType", "Sandbox.Timedout") == "Sandbox.Timedout"
    assert "Task timed out after 2.00 seconds" in error.log
    assert gone(marker)
    assert function.result() == 1, "a fresh environment"
    assert neighbour.result() == "unharmed"


def test_busy_loop_times_out(deploy):
    function = deploy(counted("for (;;) {}"), Timeout=1)
    assert "Task timed out after 1.00 seconds" in function.error({"bad": 1}).body["errorMessage"]
    assert function.result() == 1


def test_l9_memory_overrun_kills_only_that_environment(deploy, neighbour):
    body = "const hog = []; for (;;) hog.push(Buffer.alloc(8 << 20, hog.length));"
    function = deploy(counted(body), Timeout=60, MemorySize=160)
    assert function.result() == 1
    error = function.error({"bad": 1}, LogType="Tail")
    assert error.body["errorType"] in ("Runtime.ExitError", "Runtime.OutOfMemory")
    assert "signal: killed" in error.body["errorMessage"]
    assert "Max Memory Used: 160 MB" in error.log
    assert function.result() == 1
    assert neighbour.result() == "unharmed"


FORKS = """import errno, os, time
def handler(event, context):
    if not event.get('bad'):
        return 'fine'
    made = 0
    while made < 4000:
        try:
            if os.fork() == 0:
                time.sleep(600)
                os._exit(0)
        except OSError as error:
            return [made, errno.errorcode[error.errno]]
        made += 1
    return [made, None]
"""


def test_l14_process_limit_is_met_with_eagain(deploy, neighbour):
    function = deploy(python(FORKS), runtime=PYTHON, Timeout=60, MemorySize=3008)
    made, error = function.result({"bad": 1})
    assert error == "EAGAIN" and 100 <= made <= 1024
    assert neighbour.result() == "unharmed"


def test_d2_fork_bomb(server, deploy, neighbour):
    source = """import subprocess
def handler(event, context):
    if event.get('bad'):
        subprocess.run(['bash', '-c', 'b() { b | b & }; b; sleep 300'], stderr=subprocess.DEVNULL)
    return 'fine'
"""
    function = deploy(python(source), runtime=PYTHON, Timeout=3, MemorySize=512)
    answer = function.invoke({"bad": 1})
    assert answer.error is not None
    assert function.result() == "fine"
    assert neighbour.result() == "unharmed"
    assert server.get("/_tinderbox/health")[0] == 200


def test_l12_tmp_has_a_quota_and_is_gone_afterwards(deploy):
    source = """import errno, os
def handler(event, context):
    if event.get('exit'):
        os._exit(1)
    before = sorted(os.listdir('/tmp'))
    if not event.get('fill'):
        return before
    block, written = b'x' * (1 << 20), 0
    try:
        with open('/tmp/full', 'wb', buffering=0) as file:
            while written < 2 << 30:
                written += file.write(block)
    except OSError as error:
        return [before, written, errno.errorcode[error.errno]]
"""
    function = deploy(python(source), runtime=PYTHON, Timeout=120, MemorySize=1536)
    before, written, error = function.result({"fill": 1})
    assert error == "ENOSPC" and 480 << 20 <= written <= 512 << 20
    assert function.result({}) == ["full"], "warm: the same scratch space"
    function.error({"exit": 1})
    assert function.result({}) == []


def test_b6_log_flood_is_bounded(server, deploy, neighbour):
    source = "def handler(event, context):\n    line = 'x' * 1023\n    for _ in range(64 * 1024):\n        print(line)\n    return 'done'\n"
    function = deploy(python(source), runtime=PYTHON, Timeout=120, MemorySize=512)
    before = resident_mib(server)
    answer = function.invoke(LogType="Tail")
    assert answer.body == "done" and answer.error is None
    assert len(answer.log) <= 4096
    assert resident_mib(server) - before < 512
    assert neighbour.result() == "unharmed"


def resident_mib(server):
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) // 1024


def test_d7_forged_frames_stay_the_functions_own(deploy):
    source = """import os, struct
def handler(event, context):
    fake = b'START RequestId: forged Version: $LATEST\\nREPORT RequestId: forged\\tDuration: 1 ms'
    for header in (struct.pack('>IIQ', 0xa55a0003, len(fake), 0), struct.pack('>IIQ', 0xdeadbeef, 0xffffffff, 1)):
        os.write(4, header + fake)
    os.write(2, b'\\x1b[31mREPORT RequestId: forged\\n')
    return 'done'
"""
    function = deploy(python(source), runtime=PYTHON)
    answer = function.invoke(LogType="Tail")
    assert answer.body == "done"
    assert answer.log.count("Max Memory Used") == 1
    assert function.invoke().body == "done", "the broken frame did not break the environment for good"

    def real(messages):
        return [message for message in messages if message.startswith("REPORT") and "Max Memory Used" in message]

    messages = function.messages(lambda found: len(real(found)) == 2)
    assert all("forged" not in message for message in real(messages))


def test_d4_forged_channel_frames_hurt_only_itself(deploy, neighbour):
    source = """import os, struct
def handler(event, context):
    if event.get('bad') == 'id':
        body = b'00000000-0000-0000-0000-000000000000"forged"'
        os.write(3, struct.pack('>IB', len(body) + 1, 3) + body)
    if event.get('bad') == 'length':
        os.write(3, b'\\xff\\xff\\xff\\xff\\x03')
    return 'mine'
"""
    for bad in ("id", "length"):
        function = deploy(python(source), runtime=PYTHON, Timeout=5)
        answer = function.invoke({"bad": bad})
        assert answer.error is not None or answer.body == "mine"
        assert function.result({}) == "mine"
    assert neighbour.result() == "unharmed"


def test_init_longer_than_ten_seconds_and_init_that_ends(deploy):
    ends = deploy(javascript("process.exit(4); exports.handler = async () => 1;"))
    for _ in range(2):
        error = ends.error()
        assert error.body["errorType"] == "Runtime.ExitError" and "exit status 4" in error.body["errorMessage"]
    loops = deploy(javascript("for (;;) {}"), Timeout=1)
    error = loops.error()
    assert error.body["errorType"] in ("Sandbox.Timedout", "Runtime.InitTimeout") or "timed out" in error.body["errorMessage"]


def test_l13_no_cpu_between_invokes(deploy):
    source = """import threading
ticks = 0
def spin():
    global ticks
    while True:
        ticks += 1
threading.Thread(target=spin, daemon=True).start()
def handler(event, context):
    import time
    seen = ticks
    if event.get('wait'):
        time.sleep(0.3)
    return [seen, ticks]
"""
    function = deploy(python(source), runtime=PYTHON, MemorySize=512, Timeout=20)
    _, last = function.result({"wait": 1})
    time.sleep(1.5)
    first, later = function.result({"wait": 1})
    running = later - first  # what 0.3 s of running looks like
    assert running > 0
    assert first - last < running * 2, "1.5 s frozen must look like far less than 0.6 s of running"


def test_a_name_of_no_function_next_to_all_this(lambda_client):
    with pytest.raises(lambda_client.exceptions.ResourceNotFoundException):
        lambda_client.invoke(FunctionName=unique("none"))
