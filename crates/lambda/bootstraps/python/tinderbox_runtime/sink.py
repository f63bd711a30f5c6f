"""Framed log records on `_LAMBDA_TELEMETRY_LOG_FD`, as AWS's runtimes write them.

    u32 0xa55a0003 (text) or 0xa55a0002 (JSON), or'ed with the level | u32 length | u64 time in microseconds | message

Frames keep records of several lines whole, and text that merely looks like a platform line stays the function's.
"""

import os
import sys
import time

from tinderbox_runtime.channel import write_all

TEXT = 0xA55A0003
JSON = 0xA55A0002
# logging's numbers to the level bits of a frame.
LEVEL_BITS = {10: 8, 20: 12, 30: 16, 40: 20, 50: 24}

NO_BREAK_SPACE = "\u00a0"


class Current:
    """The invoke that log lines belong to; empty during init."""

    request_id = ""
    tenant_id = None


current = Current()
is_json = False
_fd = None


def configure(descriptor, log_format):
    """Uses `descriptor` (a number as text) from now on; None leaves records on stdout."""
    global _fd, is_json
    is_json = log_format.upper() == "JSON"
    if descriptor is not None:
        _fd = int(descriptor)
        os.set_inheritable(_fd, False)


def write(message, levelno=0):
    """Writes one record; `levelno` is logging's number, 0 for none."""
    if _fd is None:
        sys.stdout.write(message if message.endswith("\n") else message + "\n")
        return
    data = message.encode("utf-8", "backslashreplace")
    frame_type = (JSON if is_json else TEXT) | LEVEL_BITS.get(min(50, max(0, levelno)) // 10 * 10, 0)
    header = frame_type.to_bytes(4, "big") + len(data).to_bytes(4, "big") + (time.time_ns() // 1000).to_bytes(8, "big")
    write_all(_fd, header + data)


def log_error(result):
    """Logs an error that ended an init or an invoke; `result` is what the caller gets."""
    if is_json:
        import json

        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        write(json.dumps({"timestamp": now, "level": "ERROR", **result}), 40)
        return
    title = "[ERROR] " + ": ".join(part for part in (result["errorType"], result["errorMessage"]) if part)
    lines = [title, "Traceback (most recent call last):"]
    for entry in result["stackTrace"]:
        for line in entry.splitlines() or [""]:
            text = line.lstrip(" ")
            # Viewers eat plain leading spaces, so AWS indents with no-break spaces.
            lines.append(NO_BREAK_SPACE * (len(line) - len(text)) + text)
    write("\n".join(lines), 40)
