"""Objects under kill -9, power cuts, rot and a full disk: nothing acknowledged is lost or altered, nothing wrong is served.

`TINDERBOX_KILLS`, `TINDERBOX_POWER_CUTS` and `TINDERBOX_LOST_CACHES` make longer runs of it, `TINDERBOX_SEED` repeats one.
"""

import fcntl
import json
import os
import random
import struct
import subprocess
import time

import pytest
from blackbox.disks import CRASHES, CrashDisk
from blackbox.functions import unique
from blackbox.objects import Writer, body_of, check_all, run_load
from blackbox.server import Server, binary
from blackbox.suites import absent
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

WRITERS = 4
BUCKET = "oracle"
KILLS = int(os.environ.get("TINDERBOX_KILLS", "4"))
POWER_CUTS = int(os.environ.get("TINDERBOX_POWER_CUTS", "3"))
LOST_CACHES = int(os.environ.get("TINDERBOX_LOST_CACHES", str(len(CRASHES))))
EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2  # the journal is not written out either: what a power cut leaves


@pytest.fixture
def seed():
    """Printed with a failure."""
    chosen = int(os.environ.get("TINDERBOX_SEED", random.SystemRandom().randrange(2**32)))
    print(f"TINDERBOX_SEED={chosen}")
    return chosen


def scrub(server):
    """`tinderbox s3 scrub`: whether it found everything sound, and its report."""
    command = [binary(), "--json", "s3", "scrub", "--endpoint", server.url]
    ran = subprocess.run(command, env=server.client_env(), capture_output=True, text=True, timeout=120)
    assert ran.stdout, ran.stderr
    return ran.returncode == 0, json.loads(ran.stdout)


def writers_on(server, seed):
    server.client("s3").create_bucket(Bucket=BUCKET)
    return [Writer(f"w{number}", BUCKET, seed) for number in range(WRITERS)]


def test_a1_kill_9_loses_and_alters_no_acknowledged_object(new_server, seed):
    server, chance = new_server(), random.Random(seed)
    writers = writers_on(server, seed)

    def fault(_stop):
        time.sleep(chance.uniform(0.2, 2.5))
        server.kill()

    for _ in range(KILLS):
        run_load(server, writers, fault)
        assert [writer.errors for writer in writers] == [[]] * WRITERS
        server.start()
        check_all(server, BUCKET, writers)
    print(f"{KILLS} kills, {sum(writer.acknowledged for writer in writers)} acknowledged operations")
    assert all(writer.acknowledged for writer in writers), "the load did nothing"
    sound, report = scrub(server)
    assert sound and report["versions"] >= sum(len(writer.settled) for writer in writers), report
    server.stop()


class Mount:
    """A file system of the test's own at `folder`."""

    def __init__(self, folder, *arguments):
        self.folder, self.arguments = folder, arguments
        folder.mkdir()

    def mount(self):
        ran = subprocess.run(["mount", *self.arguments, self.folder], capture_output=True, text=True)
        if ran.returncode != 0:
            absent(f"permission to mount ({' '.join(map(str, self.arguments))}: {ran.stderr.strip()})")

    def unmount(self):
        """Sandboxes of a killed server may hold it for a moment."""
        give_up = time.monotonic() + 20
        while True:
            ran = subprocess.run(["umount", self.folder], capture_output=True, text=True)
            if ran.returncode == 0 or "not mounted" in ran.stderr:
                return
            assert time.monotonic() < give_up, ran.stderr
            time.sleep(0.05)

    def cut_power(self):
        """From now on every access fails, and only what was flushed will be there after the next mount."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(descriptor)


@pytest.fixture
def mounted_server(tmp_path):
    """mounted_server(*arguments of mount): a server whose data folder is that file system, and the file system."""
    made = []

    def make(*arguments):
        mount = Mount(tmp_path / "data", *arguments)
        mount.mount()
        server = Server(mount.folder)
        made.append((server, mount))
        return server.start(), mount

    yield make
    for server, mount in made:
        server.end()
        mount.unmount()


def cut_again_and_again(server, seed, cuts, cut_power, power_returns):
    """Writers write; the power goes and the server with it; `power_returns(number)` makes the disk that the next server starts on."""
    writers, chance, refused = writers_on(server, seed), random.Random(seed), 0

    def fault(stop):
        time.sleep(chance.uniform(0.2, 2.5))
        # A machine without power answers nobody, but this one lives on for a moment, and an fsync that is under way while
        # the file system goes may report success. Only what was answered before counts.
        stop.set()
        cut_power()
        server.kill()

    for number in range(cuts):
        run_load(server, writers, fault)
        answers = [answer for writer in writers for answer in writer.errors]
        assert all(answer["ResponseMetadata"]["HTTPStatusCode"] >= 500 for answer in answers), answers
        refused += len(answers)
        for writer in writers:
            writer.errors.clear()
        power_returns(number)
        server.start()
        check_all(server, BUCKET, writers)
        assert scrub(server)[0]
    print(f"{cuts} cuts, {sum(writer.acknowledged for writer in writers)} acknowledged, {refused} refused")
    assert all(writer.acknowledged for writer in writers), "the load did nothing"


def test_a3_a_power_cut_loses_and_alters_no_acknowledged_object(mounted_server, tmp_path, seed):
    disk = tmp_path / "disk"
    with open(disk, "wb") as file:
        file.truncate(768 << 20)
    try:
        subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=1", disk], check=True, capture_output=True)
    except FileNotFoundError:
        absent("mkfs.ext4")
    server, mount = mounted_server("-o", "loop", disk)

    def power_returns(cut):
        nonlocal disk
        mount.unmount()
        # Sandboxes of other servers may hold the dead file system in mount namespaces of theirs, and a second mount of
        # this disk would be the same dead one: a copy of the disk is another.
        after = tmp_path / f"disk-{cut}"
        subprocess.run(["cp", "--sparse=always", disk, after], check=True)
        disk.unlink()
        disk, mount.arguments = after, ("-o", "loop", after)
        mount.mount()

    cut_again_and_again(server, seed, POWER_CUTS, mount.cut_power, power_returns)


@pytest.fixture
def crash_disk(tmp_path):
    disk = CrashDisk(tmp_path / "data")
    server = Server(disk.folder)
    yield disk, server
    server.end()
    disk.unmount()


def test_a5_what_a_disk_forgot_tore_or_reordered_was_never_acknowledged(crash_disk, seed):
    """Whatever was not synced when the power went is lost, kept, torn or out of order; the server starts on the rest."""
    disk, server = crash_disk
    server.start()
    chance = random.Random(seed)

    def power_returns(number):
        crash = CRASHES[number % len(CRASHES)]
        print(f"{crash}: {disk.restore(*crash, chance.randrange(2**32))}")

    cut_again_and_again(server, seed, LOST_CACHES, disk.cut, power_returns)


def flip(chance, data):
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


DAMAGES = {
    "flipped": flip,
    "truncated": lambda chance, data: data[: chance.randrange(len(data))],
    "zeroed": lambda chance, data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
    "grown": lambda chance, data: data + chance.randbytes(100),
    "emptied": lambda chance, data: b"",
}


def served(s3, key):
    """What a client gets of an object: its bytes, and whether it could take them for the whole."""
    try:
        answer = s3.get_object(Bucket=BUCKET, Key=key)
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 500, error.response
        return b"", False
    read = b""
    try:
        for piece in answer["Body"].iter_chunks(4096):
            read += piece
    except (HTTPClientError, BotoCoreError):
        return read, False
    return read, True


def test_a8_a9_rot_is_never_served_and_scrub_names_it(new_server, seed):
    server, chance = new_server(), random.Random(seed)
    s3 = server.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    files, bodies = {}, {}
    blobs = server.data / "blobs" / "s3"
    for number in range(3 * len(DAMAGES)):
        key = f"k{number:02}"
        bodies[key] = body_of(key, chance.randrange(70_000, 400_000))
        before = set(blobs.rglob("*"))
        s3.put_object(Bucket=BUCKET, Key=key, Body=bodies[key])
        (files[key],) = [path for path in set(blobs.rglob("*")) - before if path.is_file()]
    sound, report = scrub(server)
    assert sound and report["versions"] == len(bodies), "the control"
    damaged = {}
    for kind, damage in DAMAGES.items():
        for key in chance.sample(sorted(set(bodies) - set(damaged)), 2):
            files[key].write_bytes(damage(chance, files[key].read_bytes()))
            damaged[key] = kind
    for key, body in bodies.items():
        read, whole = served(s3, key)
        if key in damaged:
            assert not whole, f"{key}, {damaged[key]}, was served as if it were sound"
            assert body.startswith(read), f"{key}, {damaged[key]}: wrong bytes were served"
        else:
            assert whole and read == body, f"{key} suffers from its neighbours"
    sound, report = scrub(server)
    assert not sound and {found["key"] for found in report["damaged"]} == set(damaged), report
    # The same bytes written again heal the object; deleted ones are not damaged any more.
    again, *gone = sorted(damaged)
    s3.put_object(Bucket=BUCKET, Key=again, Body=bodies[again])
    for key in gone:
        s3.delete_object(Bucket=BUCKET, Key=key)
    assert served(s3, again) == (bodies[again], True)
    assert scrub(server)[0]
    server.stop()


def status_of(call, **fields):
    """The HTTP status of a call's answer."""
    try:
        return call(Bucket=BUCKET, **fields)["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.parametrize("size", [1 << 20, 20_000], ids=["files", "inline"])
def test_a10_a_full_disk_refuses_writes_serves_reads_and_recovers_by_itself(mounted_server, size):
    server, mount = mounted_server("-t", "tmpfs", "-o", "size=256m", "none")
    s3 = server.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    kept = {f"kept-{number}": body_of(str(number), size) for number in range(5)}
    for key, body in kept.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    # Others fill the disk, as fast as a disk is: a log, a dump. Not a byte is left.
    ballast = mount.folder / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        for piece in (1 << 20, 4096):
            try:
                while True:
                    file.write(bytes(piece))
                    time.sleep(0.005 if piece > 4096 else 0)
            except OSError:
                pass
    written, refused = {}, None
    for number in range(20_000):
        key, body = f"new-{number}", body_of(unique(), size)
        status = status_of(s3.put_object, Key=key, Body=body)
        if status != 200:
            refused = status
            break
        written[key] = body
    assert refused is not None and refused >= 500, (refused, len(written))
    for key, body in {**kept, **written}.items():
        assert served(s3, key) == (body, True), key
    assert server.get("/_tinderbox/health")[0] == 200
    assert status_of(s3.delete_object, Key="kept-0") == 204
    assert status_of(s3.head_object, Key="kept-0") == 404
    ballast.unlink()
    give_up = time.monotonic() + 15
    while status_of(s3.put_object, Key="after", Body=kept["kept-1"]) != 200:
        assert time.monotonic() < give_up, "there is room again, and writes are still refused"
        time.sleep(0.2)
    assert served(s3, "after") == (kept["kept-1"], True)
    server.kill()
    server.start()
    s3 = server.client("s3")
    del kept["kept-0"]
    for key, body in {**kept, **written}.items():
        assert served(s3, key) == (body, True), key
    assert status_of(s3.head_object, Key="kept-0") == 404


def test_a10_a_disk_that_is_full_of_inline_objects_is_emptied_by_deletes(mounted_server):
    """The store's own memtables and merges must find room, or one of them ends it until a restart."""
    server, _ = mounted_server("-t", "tmpfs", "-o", "size=256m", "none")
    s3 = server.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    chance, written, refused = random.Random(1), [], None
    body = chance.randbytes(60_000)
    for number in range(5_000):
        key = f"{chance.randrange(1 << 32):08x}-{number}"
        refused = status_of(s3.put_object, Key=key, Body=body)
        if refused != 200:
            break
        written.append(key)
    assert refused >= 500 and len(written) * len(body) > 40 << 20, (refused, len(written))
    assert all(served(s3, key) == (body, True) for key in written[::50])
    for at in range(0, len(written), 100):
        keys = [{"Key": key} for key in written[at : at + 100]]
        answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": keys})
        assert len(answer["Deleted"]) == len(keys), answer.get("Errors")
    give_up = time.monotonic() + 15
    while (status := status_of(s3.put_object, Key="after", Body=body)) != 200:
        assert time.monotonic() < give_up, f"{status}: all is deleted, and writes are still refused"
        time.sleep(0.2)
    server.kill()
    server.start()
    assert served(server.client("s3"), "after") == (body, True)
