"""One bootstrap on a socket pair: what the server sees of an execution environment, without the server."""

import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

BOOTSTRAPS = Path(__file__).resolve().parents[2] / "crates" / "lambda" / "bootstraps"
NODE = os.environ.get("TINDERBOX_TEST_NODE") or shutil.which("node")
PYTHON = shutil.which("python3") or sys.executable

INVOKE, READY, RESPONSE, ERROR, INIT_ERROR, LOADING, CHUNK, HEAD, ASSIGN, STANDBY = 1, 2, 3, 4, 5, 6, 7, 8, 16, 17
RESTORE, SUSPENDED, RESTORED, RESTORE_ERROR, GIVEN, PLACED = 18, 19, 20, 21, 22, 23
KINDS = {
    READY: "READY",
    RESPONSE: "RESPONSE",
    ERROR: "ERROR",
    INIT_ERROR: "INIT_ERROR",
    LOADING: "LOADING",
    CHUNK: "CHUNK",
    HEAD: "HEAD",
    STANDBY: "STANDBY",
    SUSPENDED: "SUSPENDED",
    RESTORED: "RESTORED",
    RESTORE_ERROR: "RESTORE_ERROR",
    GIVEN: "GIVEN",
}
DEADLINE_S = 30  # generous: a busy machine must not fail a test

Frame = namedtuple("Frame", "kind request_id body")
Record = namedtuple("Record", "frame_type time_us message")

COMMANDS = {
    "node": [NODE, str(BOOTSTRAPS / "node" / "bootstrap.cjs")],
    "python": [PYTHON, "-S", str(BOOTSTRAPS / "python" / "bootstrap.py")],
}
# Up before it is known for which function: the variables come in an ASSIGN frame.
GENERIC_COMMANDS = {
    "node": [NODE, str(BOOTSTRAPS / "node" / "generic.cjs")],
    "python": [PYTHON, "-S", str(BOOTSTRAPS / "python" / "generic.py")],
}
IDENTIFIERS = {"node": "AWS_Lambda_nodejs24.x", "python": "AWS_Lambda_python3.13"}


def request_id(number):
    return f"00000000-0000-4000-8000-{number:012d}"


class Environment:
    """Starts the bootstrap with descriptor 3 as channel and 4 as log pipe, as the sandbox does."""

    def __init__(self, language, folder, files, handler, generic=False, boot=(), place=lambda: None, **env):
        """A generic runtime knows its function before `place` is called, and is told that everything is in its place after it."""
        for name, text in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        ours, theirs = socket.socketpair()
        logs, logs_in = os.pipe()
        fixed = {"PATH": os.environ["PATH"], "_TINDERBOX_CHANNEL_FD": "3", "_LAMBDA_TELEMETRY_LOG_FD": "4", **dict(boot)}
        own = {
            "_HANDLER": handler,
            "LAMBDA_TASK_ROOT": str(folder),
            "AWS_EXECUTION_ENV": IDENTIFIERS[language],
            "AWS_LAMBDA_FUNCTION_NAME": "fn",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/fn",
            "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/23/[$LATEST]0",
            **env,
        }
        program = (GENERIC_COMMANDS if generic else COMMANDS)[language]
        command = 'exec 3<&%d 4>&%d "$@"' % (theirs.fileno(), logs_in)
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", command, "bootstrap", *program],
            cwd="/" if generic else folder,
            pass_fds=(theirs.fileno(), logs_in),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=fixed if generic else {**fixed, **own},
        )
        theirs.close()
        os.close(logs_in)
        ours.settimeout(DEADLINE_S)
        self.channel, self.logs, self.invokes, self.loading = ours, logs, 0, None
        if generic:
            standby = self._frame()
            assert standby.kind == "STANDBY", (standby, self.finish())
            self.lacks = standby.body.decode()
            assign = bytes((ASSIGN,)) + json.dumps({"environment": own}).encode()
            self._send_frame(assign)
            place()
            self._send_frame(bytes((PLACED,)))

    def _send_frame(self, payload):
        self.channel.sendall(struct.pack(">I", len(payload)) + payload)

    def receive(self):
        """The next frame, or None when the bootstrap has closed its end. LOADING comes first, and only then."""
        if not self.loading:
            self.loading = self._frame()
            assert self.loading == Frame("LOADING", "", b""), (self.loading, self.finish())
        return self._frame()

    def _frame(self):
        head = self._exactly(4)
        if head is None:
            return None
        data = self._exactly(struct.unpack(">I", head)[0])
        kind = data[0]
        cut = 37 if kind in (RESPONSE, ERROR, CHUNK, HEAD) else 1
        return Frame(KINDS.get(kind, kind), data[1:cut].decode(), data[cut:])

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            chunk = self.channel.recv(count - len(data))
            if not chunk:
                return None
            data += chunk
        return data

    def ready(self):
        frame = self.receive()
        assert frame == Frame("READY", "", b""), (frame, self.finish())
        return self

    def send(self, event, **header):
        """Sends one INVOKE and returns its request id; `event` is bytes or JSON-able."""
        self.invokes += 1
        head = {
            "requestId": request_id(self.invokes),
            "deadlineMs": int(time.time() * 1000) + 60_000,
            "invokedFunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:fn",
            "traceId": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
            **header,
        }
        head = json.dumps({key: value for key, value in head.items() if value is not None}).encode()
        event = event if isinstance(event, bytes) else json.dumps(event).encode()
        payload = struct.pack(">BI", INVOKE, len(head)) + head + event
        self._send_frame(payload)
        return request_id(self.invokes)

    def restore(self):
        """Tells a suspended bootstrap that it is about to be used."""
        self._send_frame(bytes((RESTORE,)))

    def invoke(self, event=None, **header):
        """One round trip; checks that the answer carries the request id."""
        sent = self.send({} if event is None else event, **header)
        frame = self.receive()
        if frame is not None:
            assert frame.request_id == sent
        return frame

    def result(self, event=None, **header):
        frame = self.invoke(event, **header)
        assert frame is not None and frame.kind == "RESPONSE", (frame, self.finish())
        return json.loads(frame.body)

    def error(self, event=None, **header):
        frame = self.invoke(event, **header)
        assert frame is not None and frame.kind == "ERROR", (frame, self.finish())
        return json.loads(frame.body)

    def init_error(self):
        frame = self.receive()
        assert frame is not None and frame.kind == "INIT_ERROR", (frame, self.finish())
        return json.loads(frame.body)

    def records(self):
        """The log records that are in the pipe by now; all of them once the process has ended."""
        data = b""
        while select.select([self.logs], [], [], 0)[0]:
            chunk = os.read(self.logs, 1 << 16)
            if not chunk:
                break
            data += chunk
        found = []
        while data:
            frame_type, length, time_us = struct.unpack(">IIQ", data[:16])
            found.append(Record(frame_type, time_us, data[16 : 16 + length].decode()))
            data = data[16 + length :]
        return found

    def finish(self):
        """Hangs up and returns (exit code, stdout, stderr)."""
        self.channel.close()
        out, err = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, out.decode(), err.decode()

    def wait(self):
        """The exit code of a bootstrap that ends by itself."""
        return self.process.wait(timeout=DEADLINE_S)

    def close(self):
        self.channel.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        os.close(self.logs)
