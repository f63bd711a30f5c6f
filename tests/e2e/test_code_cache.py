"""What a language has compiled of a function is there at its next cold start."""

import os
import time

from blackbox.functions import PYTHON, Function, package

FILLER_JS = "".join(f"function unused{n}(a, b) {{ return a + b + {n}; }}\n" for n in range(2_000))
FILLER_PY = "".join(f"def unused{n}(a, b):\n    return a + b + {n}\n" for n in range(800))
FUNCTIONS = [
    ({
        "index.js": "const part = require('./part'); let n = 0;\n"
        "exports.handler = async () => [require('fs').existsSync('/var/code-cache'), part.value, ++n];",
        "part.js": f"exports.value = 5;\n{FILLER_JS}",
    }, "nodejs20.x"),
    ({
        "index.py": "import os, part\nn = 0\ndef handler(event, context):\n    global n\n    n += 1\n"
        "    return [os.path.exists('/var/code-cache'), part.VALUE, n]",
        "part.py": f"VALUE = 5\n{FILLER_PY}",
    }, PYTHON),
]  # fmt: skip


def caches(server):
    folder = server.data / "code-caches"
    return {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def cold(function):
    """The answer of an environment that has served nobody."""
    give_up = time.monotonic() + 60
    while True:
        cached, value, n = function.result()
        if n == 1:
            assert value == 5
            return cached
        assert time.monotonic() < give_up, "it never became idle"
        time.sleep(1.5)


def test_the_next_cold_start_has_it_and_a_restart_keeps_it(new_server):
    server = new_server("--idle-s", "1")
    functions = [Function(server, package(files), runtime) for files, runtime in FUNCTIONS]
    for function in functions:
        before = len(caches(server))
        assert cold(function) is False
        give_up = time.monotonic() + 30
        while len(caches(server)) == before:
            assert time.monotonic() < give_up, "no cache is kept"
            time.sleep(0.05)
        assert cold(function) is True
    assert all(0 < size <= 32 << 20 for size in caches(server).values()), caches(server)
    server.stop()
    server.start()
    for function in functions:
        again = Function.__new__(Function)
        again.name, again.client = function.name, server.client("lambda")
        assert cold(again) is True
        # Another revision has none of the old one's.
        again.client.update_function_configuration(FunctionName=again.name, Description="changed")
        again.client.get_waiter("function_updated_v2").wait(FunctionName=again.name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        assert cold(again) is False
    give_up = time.monotonic() + 30
    while len(caches(server)) < 2 * len(FUNCTIONS):
        assert time.monotonic() < give_up, "no cache is kept"
        time.sleep(0.05)
    for path in caches(server):
        os.unlink(path)
    for function in functions:
        again = Function.__new__(Function)
        again.name, again.client = function.name, server.client("lambda")
        assert cold(again) is False, "lost: made again"
