"""Writers of objects that remember what was acknowledged, and the comparison with what is there after a fault.

The memory is the test's own process, which outlives every fault that is done to the server.
"""

import random
import threading
import time

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

KEYS = 10
PART = 5 << 20
# Nothing, one inline value, the last size that is inline, the first that is a file, several chunks of a file.
SIZES = [0, 300, 64 << 10, (64 << 10) + 1, 200_000]
SHARED = "shared"


def body_of(tag, size):
    return random.Random(tag).randbytes(size)


class Writer:
    """One client with keys of its own and one key that all share. `load` in a thread of its own, `check` after the fault."""

    def __init__(self, name, bucket, seed):
        self.name, self.bucket, self.chance = name, bucket, random.Random(f"{seed} {name}")
        self.settled = {}  # key: (tag, size), of what exists
        self.pending = None  # key, (tag, size) or None for a delete, upload id or None
        self.shared = []  # [begun, ended or None, (tag, size)]
        self.acknowledged, self.errors = 0, []

    def load(self, server, stop):
        """Until the server is gone, an operation fails or `stop` is set. What is answered after that stays unsure."""
        s3 = server.client("s3")
        try:
            while not stop.is_set():
                self._operation(s3)
                if stop.is_set():
                    return
                self._settle()
        except (HTTPClientError, BotoCoreError):
            pass  # the server was killed in the middle of a call
        except ClientError as error:
            self.errors.append(error.response)

    def _operation(self, s3):
        key = f"{self.name}/{self.chance.randrange(KEYS)}"
        what = self.chance.choices(["put", "shared", "delete", "multipart"], [8, 3, 3, 2])[0]
        new = (f"{self.name}-{self.chance.getrandbits(48):012x}", self.chance.choice(SIZES))
        if what == "shared":
            self.shared.append([time.monotonic(), None, new])
            self._put(s3, SHARED, new)
        elif what == "multipart":
            self._multipart(s3, key, new[0])
        elif what == "delete":
            self.pending = (key, None, None)
            s3.delete_object(Bucket=self.bucket, Key=key)
        else:
            self.pending = (key, new, None)
            self._put(s3, key, new)

    def _settle(self):
        """The operation was acknowledged in time."""
        self.acknowledged += 1
        if self.pending is None:
            self.shared[-1][1] = time.monotonic()
            return
        self._becomes(*self.pending[:2])

    def _becomes(self, key, state):
        self.settled.pop(key, None)
        if state is not None:
            self.settled[key] = state
        self.pending = None

    def _put(self, s3, key, new):
        s3.put_object(Bucket=self.bucket, Key=key, Body=body_of(*new), Metadata={"tag": new[0], "size": str(new[1])})

    def _multipart(self, s3, key, tag):
        size = self.chance.choices([200_000, PART + 70_000], [5, 1])[0]
        body, metadata = body_of(tag, size), {"tag": tag, "size": str(size)}
        upload = s3.create_multipart_upload(Bucket=self.bucket, Key=key, Metadata=metadata)["UploadId"]
        named = {"Bucket": self.bucket, "Key": key, "UploadId": upload}
        parts = []
        for number, start in enumerate(range(0, size, PART), 1):
            etag = s3.upload_part(PartNumber=number, Body=body[start : start + PART], **named)["ETag"]
            parts.append({"PartNumber": number, "ETag": etag})
        self.pending = (key, (tag, size), (upload, parts))
        s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **named)

    def check(self, s3):
        """Every key shows its last acknowledged state, or the one that was under way. Settles what was unsure."""
        key, new, upload = self.pending or (None, None, None)
        if key is not None:
            found = read(s3, self.bucket, key)
            if upload and found != new:
                # A completion that did not happen left its upload whole: it can be completed now.
                assert found == self.settled.get(key), (key, found, new)
                parts = {"Parts": upload[1]}
                s3.complete_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload[0], MultipartUpload=parts)
                found = read(s3, self.bucket, key)
                assert found == new, (key, found, new)
            assert found in (new, self.settled.get(key)), (key, found, new, self.settled.get(key))
            self._becomes(key, found)
        for number in range(KEYS):
            key = f"{self.name}/{number}"
            found = read(s3, self.bucket, key)
            assert found == self.settled.get(key), (key, found, self.settled.get(key))


def read(s3, bucket, key):
    """The (tag, size) of a whole object, `None` where there is none; anything else ends the test."""
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
    except s3.exceptions.NoSuchKey:
        return None
    found = (answer["Metadata"]["tag"], int(answer["Metadata"]["size"]))
    assert answer["Body"].read() == body_of(*found), f"{key} is not the object that was written as {found}"
    return found


def run_load(server, writers, fault):
    """All writers at once while `fault(stop)` happens; returns when all have ended. A fault that the server outlives sets
    `stop` before it strikes: nothing that is answered later was promised."""
    stop = threading.Event()
    threads = [threading.Thread(target=writer.load, args=(server, stop), daemon=True) for writer in writers]
    for thread in threads:
        thread.start()
    fault(stop)
    stop.set()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()


def check_all(server, bucket, writers):
    """Compares everything with what the writers remember."""
    s3 = server.client("s3")
    for writer in writers:
        writer.check(s3)
    _check_shared(read(s3, bucket, SHARED), [write for writer in writers for write in writer.shared])
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    listed = {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", [])}
    listed.pop(SHARED, None)
    wanted = {key: size for writer in writers for key, (_, size) in writer.settled.items()}
    assert listed == wanted, "the list differs from the objects"


def _check_shared(found, writes):
    """What all wrote to is one of their writes, and none that had ended before another acknowledged one began."""
    if found is None:
        assert not [write for write in writes if write[1] is not None], "the shared object is lost"
        return
    (mine,) = [write for write in writes if write[2] == found]
    ended = mine[1] or float("inf")
    later = [write for write in writes if write[1] is not None and write[0] > ended]
    assert not later, f"{found} came back over {later[-1]}"
