"""Functions whose cold starts are slow and not rare find an environment that was initialised ahead (ADR 0025)."""

import json
import threading
import time

from blackbox.functions import NODE, PYTHON, WAIT_S, Function, package, unique
from blackbox.reports import report

SLOW_PYTHON = {
    "index.py": "import time\ntime.sleep(0.2)\nloaded = time.time()\n\n"
    "def handler(event, context):\n    called = time.time()\n    time.sleep(event)\n    return called - loaded\n"
}
SLOW_NODE = {
    "index.js": "const end = Date.now() + 200; while (Date.now() < end);\nconst loaded = Date.now();\n"
    "exports.handler = async (event) => { const called = Date.now();"
    " await new Promise((done) => setTimeout(done, event * 1e3)); return (called - loaded) / 1e3; };"
}


def at_once(function, count):
    """The answers of as many invocations at the same time: how long after the end of init each came."""
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(function.result(1))) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(answers) == count
    return sorted(answers)


def inits(server, function):
    logs = server.client("logs")
    events = logs.filter_log_events(logGroupName=f"/aws/lambda/{function.name}", filterPattern="INIT_START")["events"]
    return len(events)


def until(condition):
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def check(server, function):
    assert inits_after(server, function, 2, 3), "two cold starts, and a third environment that nobody has called"
    # Its init has begun and takes 0.2 s and the boot of a runtime.
    time.sleep(3)
    ages = at_once(function, 3)
    # All three were there: the one that nobody had called, too.
    assert min(ages) > 1, ages
    found = json.loads(report(server, function.name, "--json").stdout)["coldStarts"]
    assert (found["count"], found["initialisedAhead"]) == (2, 1), found
    assert "and 1 that took an environment initialised ahead" in report(server, function.name).stdout


def inits_after(server, function, count, expected):
    assert max(at_once(function, count)) < 0.2, "each has waited for an init"
    until(lambda: inits(server, function) >= expected)
    return inits(server, function) == expected


def test_a_python_function_whose_package_loads_slowly(server, deploy):
    check(server, deploy(package(SLOW_PYTHON), PYTHON))


def test_a_node_function_whose_package_loads_slowly(server, deploy):
    check(server, deploy(package(SLOW_NODE), NODE))


def test_a_function_with_reserved_concurrency_has_no_inits_beside_those_of_its_invocations(server, deploy):
    function = deploy(package(SLOW_PYTHON), PYTHON)
    server.client("lambda").put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=5)
    assert inits_after(server, function, 2, 2)
    time.sleep(1)
    assert inits(server, function) == 2


def test_the_runtime_of_a_new_function_stands_by_before_its_first_call(new_server):
    server = new_server()
    # Not the newest: of that one stands by anyway, where the host has several.
    function = Function(server, package({"index.py": "def handler(event, context):\n    return 1\n"}), PYTHON, name=unique())
    # Boots have little weight.
    time.sleep(5)
    assert function.invoke().body == 1
    found = json.loads(report(server, function.name, "--json").stdout)["coldStarts"]
    [runtime_init] = [term for term in found["terms"] if term["name"] == "runtime init"]
    assert runtime_init["maxMs"] < 20, found
