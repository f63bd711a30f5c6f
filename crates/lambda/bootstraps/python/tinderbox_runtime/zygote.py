"""A process that has booted Python and this bootstrap, knows no function, and forks a runtime into a sandbox for each packet.

    launcher --packet, descriptors--> zygote --fork--> first half of the calls --fork--> second half --held--> launcher
                                      (waits)                  pid --> launcher              <--!--   goes on as the runtime

A packet is {"outside": [[number, [argument, ...]], ...], "inside": [...]}: system calls that the launcher has written down
(crates/sandbox/src/process/script.rs). Nothing is decided here, and whatever fails ends the fork. It runs with the launcher's
privilege until the calls have taken that away: nothing of any function is ever loaded here.
"""

import os
import sys

# The C library decides at its start whether every thread is to have restartable sequences, and ends a program in which that fails
# later. The filter of a sandbox knows no such call: a program that is executed there does without, and its forks must, too.
if os.environ.pop("GLIBC_TUNABLES", None) is None:
    # As it was given: Python itself has added to it by now.
    with open("/proc/self/environ", "rb") as file:
        given = [variable.partition(b"=")[::2] for variable in file.read().split(b"\0") if variable]
    os.execve(sys.executable, sys.orig_argv, {**dict(given), b"GLIBC_TUNABLES": b"glibc.pthread.rseq=0"})

import ctypes
import gc
import json
import threading
import time

import _socket

from tinderbox_runtime import generic  # noqa: F401  (what every runtime will need)

CONTROL = 3
PACKET_BYTES_MAX = 200 * 1024
DESCRIPTORS_MAX = 64
# Where the descriptor for answers lies in a packet, and as which number it ends up.
STATUS = 5

_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long


def _address(given, kept):
    buffer = ctypes.create_string_buffer(bytes.fromhex(given["bytes"]))
    kept.append(buffer)
    for offset, text in given["pointers"]:
        target = ctypes.create_string_buffer(bytes.fromhex(text))
        kept.append(target)
        address = ctypes.c_void_p(ctypes.addressof(target))
        ctypes.memmove(ctypes.addressof(buffer) + offset, ctypes.byref(address), ctypes.sizeof(address))
    return ctypes.addressof(buffer)


def _value(given, descriptors, kept):
    if isinstance(given, int):
        return given
    return descriptors[given["descriptor"]] if "descriptor" in given else _address(given, kept)


def _make(calls, descriptors):
    for at, (number, arguments) in enumerate(calls):
        kept = []  # what the addresses are of
        values = [ctypes.c_long(_value(given, descriptors, kept)) for given in arguments]
        if _syscall(ctypes.c_long(number), *values) < 0:
            raise OSError(ctypes.get_errno(), f"call {at}, number {number}")


def _tell(descriptors, text):
    # Its first number is closed once it has the other.
    for number in (descriptors[STATUS], STATUS):
        try:
            os.write(number, text)
            return
        except OSError:
            pass


def _receive(control):
    """The next packet and its descriptors; None when the launcher has gone."""
    data, beside, _, _ = control.recvmsg(PACKET_BYTES_MAX, _socket.CMSG_SPACE(4 * DESCRIPTORS_MAX))
    numbers = [
        int.from_bytes(content[start : start + 4], sys.byteorder)
        for level, kind, content in beside
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS
        for start in range(0, len(content), 4)
    ]
    return (data, numbers) if data else None


def _enter(data, descriptors):
    """In a fork: enters the sandbox, and returns in the process that is to be the runtime."""
    try:
        calls = json.loads(data)
        _make(calls["outside"], descriptors)
        # Only a child is in the other namespace of processes.
        if pid := os.fork():
            _tell(descriptors, b"pid %d\n" % pid)
            os._exit(0)
        _make(calls["inside"], descriptors)
        os.write(STATUS, b"held\n")
        if os.read(STATUS, 1) != b"!":
            os._exit(1)
        os.close(STATUS)
    except BaseException as error:
        _tell(descriptors, f"failed: {error}\n".encode("ascii", "replace")[:256])
        os._exit(1)


def _renew():
    """What was true of the zygote and is not of its fork. `random` sees to itself (os.register_at_fork)."""
    logging = sys.modules["logging"]
    logging._startTime = time.time_ns() if isinstance(logging._startTime, int) else time.time()
    threading.main_thread()._set_native_id()


def wait():
    """Serves packets; returns in each runtime."""
    del sys.argv[1:]
    control = _socket.socket(fileno=CONTROL)
    # What lives now lives in every runtime: the collector must not touch it there.
    gc.collect()
    gc.freeze()
    control.send(b'"ready"')
    while (packet := _receive(control)) is not None:
        if not (pid := os.fork()):
            control.detach()  # the number will be the runtime's channel
            _enter(*packet)
            _renew()
            return
        for number in packet[1]:
            os.close(number)
        os.waitpid(pid, 0)
    sys.exit(0)
