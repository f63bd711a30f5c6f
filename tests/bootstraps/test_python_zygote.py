"""What a zygote does for one packet, beside what every runtime does (the other tests, with `forked`)."""

import os
import socket
import time

import pytest
from environment import GENERIC_COMMANDS
from forked import Zygote, status_of


@pytest.fixture
def zygote():
    one = Zygote(GENERIC_COMMANDS["python"], {"PATH": os.environ["PATH"]})
    yield one
    one.control.close()
    assert one.process.wait(timeout=30) == 0, "it ends when the launcher does"


def fork(zygote, **calls):
    ours, theirs = socket.socketpair()
    with theirs:
        return ours, zygote.fork([1, 2, theirs.fileno(), 2], **calls)


@pytest.mark.parametrize("half", ["outside", "inside"])
def test_a_call_that_fails_ends_the_fork_and_not_the_zygote(zygote, half):
    close = 3 if os.uname().machine == "x86_64" else 57
    channel, said = fork(zygote, **{half: [[close, [77]]]})
    assert "failed: [Errno 9]" in said and f"number {close}" in said
    assert channel.recv(10) == b"", "nobody has its channel"
    channel, pid = fork(zygote)
    assert isinstance(pid, int) and channel.recv(10) == b"\0\0\0\1\x11", "the next one stands by"


def test_buffers_reach_the_kernel_with_the_addresses_in_them(zygote):
    writev = 20 if os.uname().machine == "x86_64" else 66
    # Two `struct iovec`: address and length.
    text, more = b"one ", b"two"
    vectors = b"".join(bytes(8) + len(part).to_bytes(8, "little") for part in (text, more))
    argument = {"bytes": vectors.hex(), "pointers": [[0, text.hex()], [16, more.hex()]]}
    channel, pid = fork(zygote, inside=[[writev, [3, argument, 2]]])
    assert isinstance(pid, int)
    assert channel.recv(7) == b"one two"


def test_nothing_of_the_zygote_is_open_in_a_fork(zygote):
    channel, pid = fork(zygote)
    assert channel.recv(10)
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2", "3", "4"]
    ours = os.stat(zygote.control.fileno()).st_ino
    assert ours not in [os.stat(f"/proc/{pid}/fd/{number}").st_ino for number in range(5)]
    channel.close()
    until = time.monotonic() + 30
    while status_of(pid) is None:
        assert time.monotonic() < until, "it ends with its channel"
        time.sleep(0.01)
