"""In the guest: a server, a tenant that runs trinity, a neighbour of another account; prints `RESULT {…}`. See `run`."""

import itertools
import json
import re
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import blackbox.functions
import blackbox.server
from blackbox.functions import PROVIDED, PYTHON, Function, package, python
from blackbox.neighbours import Account, KernelLog, SteadyCaller, kernel_faults, percentile, processes_with
from blackbox.server import Server

# A processor that is computed is slow.
blackbox.server.START_S = blackbox.functions.WAIT_S = 600
EACH_S = 30  # a run of trinity
PACE_S = 2  # a call takes a quarter of a second when nothing else runs
MARK = "MARK=fuzzed"
# What trinity opens before it fuzzes. By itself it also wants what the filter kills for (bpf, userfaultfd), and it crashes when it
# opens sockets here: then it would be dead before its first call. Sockets it makes by the calls that it fuzzes.
OPENED = "pipes,epoll,eventfd,pseudo,timerfd,testfile"
TRACING = Path("/sys/kernel/tracing/events")
KILLED_BY_FILTER = 31  # SIGSYS
# `KILLED` of crates/sandbox/src/process/seccomp.rs, by number.
KILLED = [101, 153, 155, 163, *range(165, 172), 175, 176, 179, 246, 304, 308, *range(310, 314), 320, 321, 323, *range(426, 434), 438, 442]

# What is still there after a run's time is ended, whatever it is.
BOOTSTRAP = r'''#!/usr/bin/python3
import http.client, json, os, shutil, signal, subprocess

def fuzzed(event):
    shutil.rmtree("/tmp/t", ignore_errors=True)
    os.makedirs("/tmp/t", exist_ok=True)
    with open("/tmp/said", "wb") as said:
        ran = subprocess.Popen(["trinity", *event["arguments"]], cwd="/tmp/t", stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            code = ran.wait(timeout=event["seconds"])
        except subprocess.TimeoutExpired:
            code = "time is up"
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        pass
    with open("/tmp/said", errors="replace") as said:
        text = said.read()
    return {"code": code, "said": text if event.get("all") else text[-500:]}

api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
while True:
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    got = api.getresponse()
    event, request = json.loads(got.read()), got.headers["Lambda-Runtime-Aws-Request-Id"]
    result = json.dumps(fuzzed(event))
    api.request("POST", f"/2018-06-01/runtime/invocation/{request}/response", result)
    api.getresponse().read()
'''


class Calls:
    """Counts trinity's system calls where the kernel has let them in, behind the filter, and where they come out again, also those that
    the filter refused."""

    PLACES = {"entered": ("raw_syscalls/sys_enter", "id"), "answered": ("raw_syscalls/sys_exit", "id"), "signals": ("signal/signal_generate", "sig")}

    def __init__(self):
        for place, key in self.PLACES.values():
            (TRACING / place / "trigger").write_text(f'hist:keys={key}:size=2048 if comm ~ "trinity*"\n')

    def counted(self, which):
        place, key = self.PLACES[which]
        rows = re.findall(rf"{{ {key}: *(-?\d+) }} hitcount: *(\d+)", (TRACING / place / "hist").read_text())
        return Counter({int(number): int(count) for number, count in rows})


def tell(*words):
    print(f"[{time.monotonic():.0f} s]", *words, flush=True)


def names_by_number(function):
    """trinity's own list of the 64-bit calls."""
    listed = function.result({"arguments": ["-L"], "seconds": 60, "all": True})["said"]
    found = {int(number): name for number, name in re.findall(r"entrypoint (\d+) (?:sys_)?(\w+) : \[64-bit\]", listed)}
    if not found:
        found = {int(number): name for number, name in re.findall(r"entrypoint (\d+) (\w+)", listed)}
    tell("calls that trinity knows:", len(found), listed[:300].splitlines())
    return found


def targets(kind, calls, names):
    """trinity's arguments for the calls of one of KINDS."""
    if kind == "all":
        return []
    if kind == "none that kills":
        return ["-a", "64", *(word for number in KILLED if number in names for word in ("-x", names[number]))]
    return ["-a", "64", *(word for number in calls.counted("entered") if number in names for word in ("-c", names[number]))]


# By turns, and for how many seconds: with all calls, also the 32-bit ones, little is seen of it any more once its children were killed.
KINDS = {"all": 15, "none that kills": EACH_S, "let through so far": EACH_S}


def fuzz(function, minutes, calls, names):
    """Runs trinity with the KINDS for the minutes given. How each run ended."""
    ends, seed, until = Counter(), 1, time.monotonic() + minutes * 60
    for kind, seconds in itertools.cycle(KINDS.items()):
        if (left := until - time.monotonic()) < 5:
            return ends
        arguments = ["-q", "-l", "off", "-C", "4", "-s", str(seed), "-N", "1000000", f"--enable-fds={OPENED}", *targets(kind, calls, names)]
        before, answer = calls.counted("entered"), function.invoke({"arguments": arguments, "seconds": min(seconds, left)})
        ended = str(answer.body["code"]) if answer.error is None else answer.body["errorType"]
        entered = calls.counted("entered")
        tell(seed, kind, "ended:", ended, "let through:", entered.total() - before.total(), "kinds so far:", len(entered))
        tell(str(answer.body)[-400:])
        ends[f"{kind}: {ended}"] += 1
        seed += 1


def milliseconds(values):
    return {name: round(1000 * percentile(values, share)) for name, share in (("p50", 0.5), ("p99", 0.99))} if values else None


def main(minutes):
    kernel_log = KernelLog()
    server = Server("/data/server").start()
    tell("the server is ready")
    account = Account(server)
    neighbour = Function(account, python("def handler(event, context):\n    return 'unharmed'"), runtime=PYTHON, role=account.role, Timeout=60)
    variables = {"Variables": dict([MARK.split("=")])}
    tenant = Function(server, package({"bootstrap": BOOTSTRAP}), runtime=PROVIDED, MemorySize=512, Timeout=300, Environment=variables)
    path, names = neighbour.url(), names_by_number(tenant)
    tell("the functions are ready")
    broken = []

    def promise(what, kept):
        if not kept:
            broken.append(what)

    with SteadyCaller(server, path, PACE_S) as caller:
        time.sleep(30)
        calls, since = Calls(), time.monotonic()
        ends = fuzz(tenant, minutes, calls, names)
        until = time.monotonic()
        quiet, beside = (caller.took(*span) for span in ((since - 25, since), (since, until)))
    promise("the neighbour is always answered", caller.wrong == [])
    promise("the server lives", server.process.poll() is None and server.get("/_tinderbox/health")[0] == 200)
    after = tenant.invoke({"arguments": ["-h"], "seconds": 20})
    promise("the attacker's environment is usable, or another is", after.error is None)
    tenant.delete()
    give_up = time.monotonic() + 120
    while processes_with(MARK) and time.monotonic() < give_up:
        time.sleep(1)
    promise("no process is left over", processes_with(MARK) == [])
    lines = kernel_log.lines()
    faults = kernel_faults(lines)
    promise("the kernel's log has no warning", faults == [])
    entered, answered = calls.counted("entered"), calls.counted("answered")
    killed = calls.counted("signals")[KILLED_BY_FILTER]
    # A fuzzer that reaches nothing proves nothing.
    promise("trinity's calls reach the kernel", entered.total() > 1000)
    return {
        "broken": broken,
        "minutes": minutes,
        "kernel": Path("/proc/sys/kernel/osrelease").read_text().strip(),
        "trinity_runs": ends,
        "calls_made": answered.total() + killed,
        "calls_let_through": entered.total(),
        "calls_killed": killed,
        "kinds_made": len(answered),
        "kinds_let_through": len(entered),
        "most_let_through": {names.get(number, number): count for number, count in entered.most_common(12)},
        "neighbour_calls": len(beside),
        "neighbour_wrong": caller.wrong[:5],
        "neighbour_ms": {"before": milliseconds(quiet), "beside": milliseconds(beside)},
        "kernel_lines": len(lines),
        "kernel_faults": faults[:10],
    }


if __name__ == "__main__":
    Path("/data").mkdir(exist_ok=True)
    try:
        result = main(float(sys.argv[1]))
    except Exception:
        traceback.print_exc()
        print(Path("/data/server.stderr").read_text()[-3000:] if Path("/data/server.stderr").exists() else "")
        result = {"broken": ["the test itself: see the console"]}
    print("RESULT " + json.dumps(result), flush=True)
