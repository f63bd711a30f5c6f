"""Objects stream through the server: what a request takes does not grow with its object."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MIB = 1 << 20
LARGE_MIB = 128
AT_ONCE = 2
# A body that was held whole would take LARGE_MIB for each of the requests; this is half of one.
GROWTH_MIB_MAX = 64


def memory_mib(server, field):
    """VmRSS or VmHWM (the most so far) of the server."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) // 1024


def test_one_put_and_one_get_of_any_size_take_the_same_memory(new_server, tmp_path):
    server = new_server()
    s3 = server.client("s3", s3={"payload_signing_enabled": False})
    s3.create_bucket(Bucket="large")
    with open(tmp_path / "large", "wb") as file:
        file.truncate(LARGE_MIB * MIB)  # sparse: zeros, which the server does not know

    def put(key, size):
        with open(tmp_path / "large", "rb") as file:
            body = file if size == LARGE_MIB else file.read(size * MIB)
            s3.put_object(Bucket="large", Key=key, Body=body)

    def get(key):
        body, size = s3.get_object(Bucket="large", Key=key)["Body"], 0
        while piece := body.read(MIB):
            assert not piece.strip(b"\0")
            size += len(piece)
        return size // MIB

    # What the first requests of any size take, code pages too, is not what is looked for.
    put("small", 4)
    assert get("small") == 4
    before = memory_mib(server, "VmRSS")
    keys = [f"k{number}" for number in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda key: put(key, LARGE_MIB), keys))
        assert list(pool.map(get, keys)) == [LARGE_MIB] * AT_ONCE
    growth = memory_mib(server, "VmHWM") - before
    print(f"{AT_ONCE} times {LARGE_MIB} MiB in and out at once: the server took {growth} MiB more at most")
    assert growth < GROWTH_MIB_MAX, growth
    server.stop()
