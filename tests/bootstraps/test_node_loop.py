"""Node: the event loop turns between two invokes where something of the function waits for it."""

import http.server
import queue
import signal
import threading

import pytest

ECHO = "exports.handler = async (event) => event;"
SIGTERM = 'process.on("SIGTERM", () => { console.log("asked"); process.exit(0); });' + ECHO
# Handlers that are over when nothing is left to do, and what they answer then.
UNSETTLED = [
    ("22", "(event, context, callback) => callback(null, 1)", b"1"),
    ("22", "() => {}", b"null"),
    ("22", "() => new Promise(() => {})", None),
    ("24", "() => {}", b"null"),
    ("24", "() => new Promise(() => {})", None),
]
# Something that makes the runtime wait by the loop, and holds up nothing.
LISTENS = 'process.on("SIGTERM", () => process.exit(0));'
# An internal extension that has registered when the module is loaded, and then takes its time before its first `next`.
DAWDLES = """
await (await fetch(process.env.NEXT)).text();
setTimeout(async () => {
  for (;;) await (await fetch(process.env.NEXT)).text();
}, 50);
export const handler = async (event) => event;
"""
# What an internal extension does: one call after the other, each of which waits.
FOLLOWS = """
(async () => { for (;;) await (await fetch(process.env.NEXT)).text(); })();
exports.handler = async (event) => event;
"""


@pytest.fixture
def events():
    """A server whose answers the test gives: (requests that came, answers to give, its address)."""
    came, answers = queue.Queue(), queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            came.put(self.path)
            body = answers.get()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield came, answers, f"http://127.0.0.1:{server.server_port}/next"
    answers.put(b"end")
    server.shutdown()


def test_a_signal_handler_runs_while_the_runtime_waits(start):
    environment = start("node", SIGTERM).ready()
    assert environment.invoke({"n": 1}).body == b'{"n":1}'
    environment.process.send_signal(signal.SIGTERM)
    assert environment.process.wait(timeout=10) == 0


def test_an_internal_extension_goes_on_between_two_invokes(start, events):
    came, answers, address = events
    environment = start("node", FOLLOWS, NEXT=address).ready()
    for number in range(3):
        assert came.get(timeout=10) == "/next"
        answers.put(b"event")
        assert environment.invoke({"n": number}).body == b'{"n":%d}' % number
    assert came.get(timeout=10) == "/next"


def test_large_events_arrive_whole_by_the_loop(start, events):
    came, _, address = events
    environment = start("node", FOLLOWS, NEXT=address).ready()
    assert came.get(timeout=10) == "/next"
    for size in (1, 70_000, 3_000_000, 5):
        assert len(environment.invoke("x" * size).body) == size + 2


def test_the_end_of_the_channel_ends_the_runtime_by_the_loop_too(start, events):
    came, _, address = events
    environment = start("node", FOLLOWS, NEXT=address).ready()
    assert came.get(timeout=10) == "/next"
    environment.channel.close()
    assert environment.process.wait(timeout=10) == 0


@pytest.mark.parametrize("listens", ["", LISTENS], ids=["blocking", "by the loop"])
@pytest.mark.parametrize("version, handler, answer", UNSETTLED)
def test_a_handler_is_over_when_the_loop_is_empty(start, listens, version, handler, answer):
    identifier = f"AWS_Lambda_nodejs{version}.x"
    environment = start("node", f"{listens}exports.handler = {handler};", AWS_EXECUTION_ENV=identifier).ready()
    for _ in range(2):
        if answer is None:
            assert environment.error()["errorType"] == "Runtime.NodeJsExit"
        else:
            assert environment.invoke().body == answer


def test_an_internal_extension_may_pause_before_its_first_next(start, events):
    came, answers, address = events
    answers.put(b"registered")
    environment = start("node", {"index.mjs": DAWDLES}, NEXT=address).ready()
    for number in range(3):
        assert came.get(timeout=10) == "/next"
        if number == 0:
            # The registration; what follows is the first call to next, for which nobody has sent an event yet.
            assert came.get(timeout=10) == "/next"
        answers.put(b"event")
    assert environment.invoke({"n": 1}).body == b'{"n":1}'
