"""H18: tenants that do all that stress-ng can, inside their limits, and a neighbour of another account that must not notice.

Whoever shares two processors with others who use up what is theirs waits for its turn, however well the others behave. The neighbour's
p99 is therefore compared with its p99 beside the same number of *honest* tenants: environments of the same size with as many processes
that only count. What an attack adds to that comes through the kernel or the server, and 1.5 times is all it may be. The p99 beside
nobody is printed too.

Everything stress-ng has (302 stressors in eleven classes, some ten minutes): `TINDERBOX_STRESS=1 pytest tests/e2e/test_hostile_neighbours.py`,
one class of it with `-k class-network`. Without that, two stressors for a second each. A class that misses only the p99 is an expected failure
where plain processes in plain control groups make the neighbour miss it too, and by about as much (docs/threat-model.md).
"""

import itertools
import os
import shutil
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from blackbox.functions import PROVIDED, Function, javascript, package, unique
from blackbox.neighbours import Account, KernelLog, SteadyCaller, kernel_faults, kernel_memory_kib, percentile, processes_with

# From the narrow to the wide: most stressors are in two or three classes, and each is run in the first of them.
CLASSES = ["pipe", "io", "network", "vm", "interrupt", "cpu-cache", "scheduler", "filesystem", "memory", "cpu", "os"]
TENANTS = 2  # as many as this machine's processors, each may use one
PROCESSES = 2  # of each tenant
EACH_S = 1  # a stressor
ROUND = 8  # stressors, then honest tenants for HONEST_S: whatever else the machine does is beside both
HONEST_S = 3
PACE_S = 0.02
P99_RATIO_MAX = 1.5
LEFT_KIB_MAX = 64 << 10

# A runtime that does what its event says and then ends whatever is still there, itself excepted.
BOOTSTRAP = r'''#!/usr/bin/python3
import http.client, json, os, shutil, signal, subprocess, sys, time

def stressed(event):
    ran = subprocess.Popen(["stress-ng", *event["stress"], "--timeout", f"{event['seconds']}s", "--temp-path", "/tmp"],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True)
    try:
        said = ran.communicate(timeout=event["seconds"] + 4)[0]
    except subprocess.TimeoutExpired:
        return ["does not end", ""]
    return [ran.returncode, said[-300:]]

def counted(event):
    for _ in range(event["count"]):
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
    time.sleep(event["seconds"])
    return [0, ""]

api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
while True:
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    got = api.getresponse()
    event, request = json.loads(got.read()), got.headers["Lambda-Runtime-Aws-Request-Id"]
    result = stressed(event) if "stress" in event else counted(event)
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        pass
    for name in os.listdir("/tmp"):
        shutil.rmtree(f"/tmp/{name}", ignore_errors=True)
        if os.path.lexists(f"/tmp/{name}"):
            os.unlink(f"/tmp/{name}")
    api.request("POST", f"/2018-06-01/runtime/invocation/{request}/response", json.dumps(result))
    api.getresponse().read()
'''

# What stress-ng ends with (its man page, EXIT STATUS).
MEANING = {0: "done", 1: "not possible as this user", 2: "failed", 3: "out of its share", 4: "not here", 5: "killed", 6: "ended early", 7: "no figures", -31: "killed by the filter"}


def stressors(of_class):
    """Those that are in no class before it, as stress-ng itself tells."""
    if shutil.which("stress-ng") is None:
        pytest.fail("stress-ng is not on this machine: apt-get install stress-ng")

    def names(one):
        told = subprocess.run(["stress-ng", "--class", f"{one}?"], capture_output=True, text=True)
        return (told.stdout + told.stderr).split("stressors:", 1)[1].split()

    earlier = {name for one in CLASSES[: CLASSES.index(of_class)] for name in names(one)}
    return [name for name in names(of_class) if name not in earlier]


@pytest.fixture
def tenants(deploy):
    """(the functions, the mark that all their processes carry)."""
    mark = f"MARK={unique('stressed')}"
    variables = dict([mark.split("=")])
    made = [
        deploy(package({"bootstrap": BOOTSTRAP}), runtime=PROVIDED, MemorySize=512, Timeout=30, Environment={"Variables": variables})
        for _ in range(TENANTS)
    ]
    with ThreadPoolExecutor(TENANTS) as pool:
        list(pool.map(lambda function: function.result({"count": 0, "seconds": 0}), made))
    assert processes_with(mark), "the mark can be seen"
    return made, mark


@pytest.fixture
def neighbour(server):
    """A warm function of another account that is called all the time."""
    account = Account(server)
    function = Function(account, javascript("exports.handler = async () => 'unharmed';"), role=account.role)
    with SteadyCaller(server, function.url(), PACE_S) as caller:
        while not caller.calls:
            time.sleep(PACE_S)
        yield caller
    function.delete()


@pytest.fixture
def kernel_log():
    if os.geteuid() != 0:
        pytest.skip("reading the kernel's log and others' processes takes root")
    log = KernelLog()
    yield log
    log.close()


class Watch:
    """What the neighbour, the server and the host are like before, beside and after the tenants' doing."""

    groups_p99 = None

    def __init__(self, server, tenants, caller, kernel_log):
        self.server, (self.tenants, self.mark), self.caller, self.kernel_log = server, tenants, caller, kernel_log
        self.memory_kib = kernel_memory_kib()

    def beside_nobody(self, seconds):
        since = time.monotonic()
        time.sleep(seconds)
        return self.caller.took(since, time.monotonic())

    def beside(self, events, seconds_max):
        """Every tenant takes the next of the events until none is left. What the neighbour's calls took, and what the tenants answered."""
        waiting, answers = iter(events), []
        since = time.monotonic()

        def work(function):
            for event in waiting:
                assert time.monotonic() - since < seconds_max, "the stressors take too long"
                answer = function.invoke(event)
                answers.append((event, answer.body if answer.error is None else [answer.body["errorType"], answer.body["errorMessage"]]))

        with ThreadPoolExecutor(TENANTS) as pool:
            list(pool.map(work, self.tenants))
        return self.caller.took(since, time.monotonic()), answers

    def beside_honest(self):
        event = {"count": PROCESSES, "seconds": HONEST_S}
        took, answers = self.beside([event] * TENANTS, 4 * HONEST_S)
        assert all(answer == [0, ""] for _, answer in answers), answers
        return took

    def groups_alone(self):
        """The neighbour's p99 beside plain processes of this host that call each other all the time, in plain control groups with the
        tenants' share of the processors, and beside such that only count: what of it is the kernel's own. Measured once."""
        if Watch.groups_p99 is not None:
            return Watch.groups_p99
        took = {"--switch": [], "--cpu": []}
        for _, stressor in itertools.product(range(4), took):
            with ExitStack() as stack:
                groups = [stack.enter_context(cpu_group()) for _ in range(TENANTS)]
                since = time.monotonic()
                command = ["stress-ng", stressor, str(PROCESSES), "--timeout", f"{HONEST_S}s"]
                ran = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=join) for join in groups]
                assert all(one.wait(30) == 0 for one in ran)
                took[stressor] += self.caller.took(since, time.monotonic())
        print("  by plain control groups alone:", ", ".join(tell(*part) for part in took.items()))
        Watch.groups_p99 = [percentile(one, 0.99) for one in took.values()]
        return Watch.groups_p99

    def all_is_well(self):
        """The promises but that of time."""
        assert self.caller.wrong == [], "the neighbour is always answered"
        assert self.server.process.poll() is None and self.server.get("/_tinderbox/health")[0] == 200
        for function in self.tenants:
            assert function.result({"stress": ["--cpu", "1"], "seconds": 1})[0] == 0, "the attacker's environment is usable, or another is"
            function.delete()
        give_up = time.monotonic() + 20
        while left := processes_with(self.mark):
            assert time.monotonic() < give_up, f"left over: {left}"
            time.sleep(0.1)
        while (more := kernel_memory_kib() - self.memory_kib) > LEFT_KIB_MAX:
            assert time.monotonic() < give_up, f"{more} KiB of the host's memory have not come back"
            time.sleep(0.1)
        lines = self.kernel_log.lines()
        assert kernel_faults(lines) == [], lines


@contextmanager
def cpu_group():
    """A control group that may use one processor; gives what a process does to be in it."""
    of_cpu = Path("/sys/fs/cgroup/cpu")
    folder = (of_cpu if of_cpu.exists() else of_cpu.parent) / unique("stressed")
    folder.mkdir()
    if of_cpu.exists():
        (folder / "cpu.cfs_quota_us").write_text("100000")
    else:
        (folder / "cpu.max").write_text("100000 100000")
    try:
        yield lambda: (folder / "cgroup.procs").write_text(str(os.getpid()))
    finally:
        folder.rmdir()


@pytest.fixture
def watch(server, tenants, neighbour, kernel_log):
    return Watch(server, tenants, neighbour, kernel_log)


def each_alone(names):
    return [{"stress": [f"--{name}", str(PROCESSES)], "seconds": EACH_S} for name in names]


@pytest.mark.skipif(shutil.which("stress-ng") is None, reason="needs stress-ng")
def test_h18_two_stressors(watch):
    _, answers = watch.beside(each_alone(["vm", "fork"]), 20)
    assert [answer[0] for _, answer in answers] == [0, 0], answers
    watch.all_is_well()


def tell(name, values):
    p50, p99 = (percentile(values, share) * 1000 for share in (0.5, 0.99))
    return f"{name} {p50:.1f}/{p99:.1f} ms of {len(values)}"


@pytest.mark.skipif("TINDERBOX_STRESS" not in os.environ, reason="some ten minutes: set TINDERBOX_STRESS=1")
@pytest.mark.parametrize("of_class", CLASSES, ids=[f"class-{one}" for one in CLASSES])
def test_h18_a_neighbour_does_not_notice_stressors(watch, of_class):
    names = stressors(of_class)
    alone, honest, stressed, answers = watch.beside_nobody(2), [], [], []
    for first in range(0, len(names), ROUND):
        took, answered = watch.beside(each_alone(names[first : first + ROUND]), 60)
        stressed, answers, honest = stressed + took, answers + answered, honest + watch.beside_honest()
    # All that ran at all, at once, in both environments.
    at_once = {"stress": [word for event, answer in answers if answer[0] == 0 for word in (event["stress"][0], "1")], "seconds": 5}
    took, answers_of_all = watch.beside([at_once] * TENANTS, 60)
    honest += watch.beside_honest()

    kinds = Counter(MEANING.get(answer[0], answer[0]) for _, answer in answers)
    print(f"{of_class}: {len(names)} stressors {dict(kinds)}; all at once {[answer[0] for _, answer in answers_of_all]}; p50/p99 of the neighbour:")
    parts = {"beside nobody": alone, "honest": honest, "stressed": stressed, "all at once": took}
    print("  " + ", ".join(tell(*part) for part in parts.items()))
    for event, answer in answers:
        if answer[0] != 0:
            print(f"    {event['stress'][0]}: {MEANING.get(answer[0], answer[0])}: {' '.join(answer[1].split())[-160:]}")
    assert kinds["done"] * 2 >= len(names), "most of them do what they are for"
    watch.all_is_well()
    p99, honest_p99 = (percentile(one, 0.99) for one in (stressed + took, honest))
    print(f"  stressed : honest = {p99 / honest_p99:.2f}")
    if p99 > P99_RATIO_MAX * honest_p99:
        switching, counting = watch.groups_alone()
        if switching > P99_RATIO_MAX * counting and p99 <= P99_RATIO_MAX * switching:
            pytest.xfail(f"{p99 / honest_p99:.1f} times; plain control groups without Tinderbox: {switching / counting:.1f} (docs/threat-model.md)")
    assert p99 <= P99_RATIO_MAX * honest_p99
