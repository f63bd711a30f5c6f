"""Runtimes from a zygote, with a packet as the launcher sends it, but for what needs privilege: nothing is entered and nothing given up."""

import array
import ctypes
import functools
import json
import os
import select
import signal
import socket
import subprocess
import time

DUP3, CLOSE_RANGE, SETSID = (292, 436, 112) if os.uname().machine == "x86_64" else (24, 436, 157)
STATUS = 5
SUBREAPER = 36


class Zygote:
    def __init__(self, program, environment):
        # What is between the zygote and a runtime ends, and its child becomes ours.
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.output, output = os.pipe()
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", 'exec 3<&%d "$@"' % theirs.fileno(), "zygote", *program, "zygote"],
            cwd="/",
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
        )
        theirs.close()
        os.close(output)
        assert self.control.recv(100) == b'"ready"'

    def fork(self, descriptors, outside=(), inside=()):
        """A runtime with these descriptors as 1-4: its process, or what the zygote says of the failure."""
        status, theirs = socket.socketpair()
        null = os.open("/dev/null", os.O_RDONLY)
        places = [[DUP3, [{"descriptor": place}, place, 0]] for place in range(STATUS + 1)]
        calls = [*places, [CLOSE_RANGE, [STATUS + 1, 0xFFFFFFFF, 0]], [SETSID, []], *inside]
        packet = json.dumps({"outside": list(outside), "inside": calls}).encode()
        numbers = array.array("i", [null, *descriptors, theirs.fileno()])
        self.control.sendmsg([packet], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)])
        theirs.close()
        os.close(null)
        words = b""
        while not (b"held\n" in words and b"pid " in words):
            if not (more := status.recv(1000)):
                return words.decode()
            words += more
        status.send(b"!")
        assert status.recv(10) == b"", "its end is closed before anything runs"
        lines = words.decode().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("pid "))


@functools.cache
def zygote(program, environment):
    return Zygote(program, dict(environment))


def status_of(pid):
    """How a fork has ended; None before."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # what is between us is still ending
        return None
    return os.waitstatus_to_exitcode(status) if ended else None


class Forked:
    """As much of subprocess.Popen as the tests use."""

    def __init__(self, program, environment, channel, logs):
        (self.stdout, out), (self.stderr, err) = os.pipe(), os.pipe()
        self.pid = zygote(tuple(program), tuple(sorted(environment.items()))).fork([out, err, channel, logs])
        assert isinstance(self.pid, int), self.pid
        os.close(out)
        os.close(err)
        self.returncode = None

    def poll(self):
        if self.returncode is None:
            self.returncode = status_of(self.pid)
        return self.returncode

    def wait(self, timeout=30):
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("a fork", timeout)
            time.sleep(0.005)
        return self.returncode

    def communicate(self, timeout=30):
        texts = {self.stdout: b"", self.stderr: b""}
        open_ends = set(texts)
        while open_ends:
            for end in select.select(list(open_ends), [], [], timeout)[0]:
                chunk = os.read(end, 65536)
                texts[end] += chunk
                if not chunk:
                    open_ends.remove(end)
        self.wait(timeout)
        return texts[self.stdout], texts[self.stderr]

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)
        self.wait()
