"""Serves several events at once (Lambda Managed Instances): a process for each, which asks the Runtime API.

    parent ──fork──▶ worker: init ─▶ all have finished it ─▶ next ─▶ handler ─▶ response | error, one event at a time
       │                └─ init failed: all end
       └─ a worker has ended: its event ends as it did, and another worker takes its place

Each worker runs its own init, as on AWS: they share neither globals nor connections, but `/tmp`. All stand on one board in
shared memory, where the parent sees who is ready and who works on what.
"""

import fcntl
import http.client
import mmap
import os
import signal
import sys
import threading
from time import sleep  # before the user's code may change the module

from tinderbox_runtime import channel as frames
from tinderbox_runtime import serve, sink
from tinderbox_runtime.fault import describe
from tinderbox_runtime.marshal_json import dumps

PREFIX = "/2018-06-01/runtime"
# What AWS calls the signals that end a process; the others go by their number.
SIGNALS = {6: "aborted", 7: "bus error", 9: "killed", 11: "segmentation fault", 15: "terminated"}


class Board:
    """Of each worker a line: whether it has finished its init, and the id of the request that it works on. Behind them, whether
    all have finished it."""

    LINE_BYTES = 64
    # All workers of an environment together look this often whether the others are ready.
    LOOKS_PER_S = 2000

    def __init__(self, count):
        self._count = count
        self._memory = mmap.mmap(-1, count * self.LINE_BYTES + 1)

    def _write(self, at, offset, data):
        start = at * self.LINE_BYTES + offset
        self._memory[start : start + len(data)] = data

    def ready(self, at):
        self._write(at, 0, b"\x01")

    def wait_for_all(self):
        """Waits until all have finished their init: before, the environment is not ready. Who comes later waits no more."""
        end = self._count * self.LINE_BYTES
        while not self._memory[end]:
            if all(self._memory[0 : end : self.LINE_BYTES]):
                self._memory[end] = 1
            else:
                sleep(self._count / self.LOOKS_PER_S)

    def works_on(self, at, request_id):
        self._write(at, 1, request_id.encode().ljust(self.LINE_BYTES - 1, b"\0")[: self.LINE_BYTES - 1])

    def take(self, at):
        """What stood there, and an empty line in its place."""
        start = at * self.LINE_BYTES
        line = self._memory[start : start + self.LINE_BYTES]
        self._write(at, 0, bytes(self.LINE_BYTES))
        return line[0] == 1, line[1:].rstrip(b"\0").decode()


def header_of(headers):
    """The header of an invoke, as frames have it."""

    def field(name):
        value = headers.get(f"Lambda-Runtime-{name}")
        # Header values travel as UTF-8; http.client reads them as Latin-1.
        return None if value is None else value.encode("latin-1").decode("utf-8", "replace")

    return {
        "requestId": field("Aws-Request-Id"),
        "deadlineMs": int(field("Deadline-Ms")),
        "invokedFunctionArn": field("Invoked-Function-Arn"),
        "traceId": field("Trace-Id"),
        "clientContext": field("Client-Context"),
        "cognitoIdentity": field("Cognito-Identity"),
        "tenantId": field("Aws-Tenant-Id"),
        "answerBytesMax": sys.maxsize,  # the platform looks
    }


class Api:
    """One connection to the Runtime API."""

    def __init__(self):
        self._connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])

    def call(self, method, path, body=None):
        self._connection.request(method, PREFIX + path, body)
        answer = self._connection.getresponse()
        return answer.status, answer.headers, answer.read()


def one_at_a_time(write_all):
    """Records of several processes do not mix in the one pipe to the log. The kernel frees the lock of a process that ends."""
    path = f"/tmp/.log-{os.getpid()}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    threads = threading.Lock()

    def write(fd, data):
        with threads:
            fcntl.lockf(descriptor, fcntl.LOCK_EX)
            try:
                write_all(fd, data)
            finally:
                fcntl.lockf(descriptor, fcntl.LOCK_UN)

    return write


def work(at, board):
    api = Api()
    try:
        handler = serve.load_handler(os.environ.get("_HANDLER", ""))
    except Exception as error:
        result = describe(error)
        sink.log_error(result)
        api.call("POST", "/init/error", dumps(result))
        sys.exit(1)
    sys.stdout.flush()
    board.ready(at)
    board.wait_for_all()
    while True:
        try:
            status, headers, event = api.call("GET", "/invocation/next")
        except ConnectionError:
            sys.exit(0)  # the environment ends
        if status != 200:
            raise RuntimeError(f"next: {status} {event!r}")
        header = header_of(headers)
        board.works_on(at, header["requestId"])
        serve.enter(header)
        kind, body = serve.run(handler, header, event)
        sys.stdout.flush()
        sys.stderr.flush()
        what = "error" if kind == frames.ERROR else "response"
        api.call("POST", f"/invocation/{header['requestId']}/{what}", body)
        board.works_on(at, "")


def fork(at, board):
    """Starts a worker. Its number."""
    number = os.fork()
    if number != 0:
        return number
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    code = 1
    try:
        work(at, board)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code & 0xFF)


def exit_words(status):
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"Runtime exited with error: signal: {SIGNALS.get(number, number)}"
    code = os.WEXITSTATUS(status)
    return f"Runtime exited with error: exit status {code}" if code else "Runtime exited without providing a reason"


def report(request_id, status):
    """Ends the event of a worker that has ended."""
    message = f"RequestId: {request_id} Error: {exit_words(status)}"
    Api().call("POST", f"/invocation/{request_id}/error", dumps({"errorType": "Runtime.ExitError", "errorMessage": message}))


def main():
    serve.prepare()
    sink.write_all = one_at_a_time(sink.write_all)
    count = int(os.environ["AWS_LAMBDA_MAX_CONCURRENCY"])
    board = Board(count)
    workers = {}
    ending = False

    def pass_on(number, _frame):
        nonlocal ending
        ending = True
        for worker in list(workers):
            os.kill(worker, number)

    signal.signal(signal.SIGTERM, pass_on)
    for at in range(count):
        workers[fork(at, board)] = at
    while workers:
        number, status = os.wait()
        at = workers.pop(number, None)
        if at is None:
            continue
        ready, request_id = board.take(at)
        if ending:
            continue
        if not ready:
            # Another would fare no better.
            for worker in workers:
                os.kill(worker, signal.SIGKILL)
            os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1)
        if request_id:
            report(request_id, status)
        workers[fork(at, board)] = at
