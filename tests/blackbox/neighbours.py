"""Who lives beside an attacker: accounts of their own, calls at a steady pace, and what the kernel says meanwhile."""

import errno
import http.client
import json
import math
import os
import re
import subprocess
import threading
import time
from pathlib import Path

from blackbox.functions import unique
from blackbox.server import ACCESS_KEY, LAMBDA_TRUST, SECRET_KEY, binary

CALL_S = 30

# What a kernel says when something of its own is wrong. A tenant's end by its memory limit ("invoked oom-killer", with a stack) and
# by a signal ("traps: NAME[…] general protection fault ip:…") are no such thing.
KERNEL_FAULT = re.compile(
    r"\bWARNING: |\bBUG: |\bBUG at |\bOops\b|Kernel panic|general protection fault[,:]|blocked for more than|(soft|hard) (lockup|LOCKUP)|"
    r"rcu.*(stall|self-detected)|K[AC]SAN|UBSAN|refcount_t:|list_(add|del) corruption|scheduling while atomic|Bad page|unable to handle|"
    r"page allocation failure"
)


class Account:
    """An account beside the installation's own; stands where `Function` wants a server."""

    def __init__(self, server):
        operator = {"TINDERBOX_ROOT_ACCESS_KEY_ID": ACCESS_KEY, "TINDERBOX_ROOT_SECRET_ACCESS_KEY": SECRET_KEY, "HOME": "/nowhere"}
        command = [binary(), "--json", "account", "create", "--name", unique("account"), "--endpoint", server.url]
        made = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60, env=operator).stdout)
        self.server, self.key = server, {"access_key": made["accessKeyId"], "secret_key": made["secretAccessKey"]}
        self.role = self.client("iam").create_role(RoleName="any", AssumeRolePolicyDocument=LAMBDA_TRUST)["Role"]["Arn"]

    def client(self, service, **config):
        return self.server.client(service, **self.key, **config)


class SteadyCaller:
    """Calls one path, each `every_s` seconds over one connection. What a call took counts from when it was due, so that a wait holds up
    those behind it in the figures too."""

    def __init__(self, server, path, every_s):
        self.server, self.path, self.every_s = server, path, every_s
        self.calls, self.wrong = [], []  # (when it was due, seconds); what was not the answer
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join(2 * CALL_S)

    def _run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=CALL_S)
        due = time.monotonic()
        while not self._end.wait(max(0.0, due - time.monotonic())):
            try:
                connection.request("GET", self.path)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200:
                    self.wrong.append((answer.status, body[:200]))
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(repr(error))
                connection.close()
            self.calls.append((due, time.monotonic() - due))
            due += self.every_s

    def took(self, since, until):
        """Seconds of each call that was due in between; waits for the last of them."""
        give_up = time.monotonic() + 2 * CALL_S
        while self._thread.is_alive() and (not self.calls or self.calls[-1][0] < until) and time.monotonic() < give_up:
            time.sleep(self.every_s)
        return [seconds for due, seconds in list(self.calls) if since <= due < until]


def percentile(values, share):
    """The smallest value that `share` of all are not above."""
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


class KernelLog:
    """What the kernel says from now on; takes root."""

    def __init__(self):
        self._log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._log, 0, os.SEEK_END)

    def close(self):
        os.close(self._log)

    def lines(self):
        found = []
        while True:
            try:
                found.append(os.read(self._log, 8192).decode(errors="replace").split(";", 1)[1].rstrip("\n"))
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.EPIPE:  # Overwritten before it was read: the next that is there.
                    raise
                found.append("(lines were lost)")


def kernel_faults(lines):
    return [line for line in lines if KERNEL_FAULT.search(line)]


def kernel_memory_kib():
    """What the kernel itself and files in memory take, which is nobody's process: a tenant's rest would be here."""
    counted = {"SUnreclaim", "KernelStack", "PageTables", "Percpu", "Shmem", "Mlocked"}
    rows = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return sum(int(row[1]) for row in rows if row[0].rstrip(":") in counted)


def processes_with(marker):
    """(pid, name) of every process of this machine that was started with `marker` in its variables."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (folder / "environ").read_bytes():
                found.append((int(folder.name), (folder / "comm").read_text().strip()))
        except OSError:
            pass  # It has ended meanwhile.
    return found
