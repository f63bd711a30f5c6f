"""The channel to the server: length-prefixed frames on one inherited unix socket.

u32 length (big-endian, of what follows) | u8 kind | payload

server -> runtime   1 INVOKE      u32 header length, header JSON, event bytes
runtime -> server   2 READY       JSON [name]: what init has loaded of the runtime's AWS SDK; or empty
                    3 RESPONSE    36 bytes request id, body
                    4 ERROR       36 bytes request id, error JSON
                    5 INIT_ERROR  error JSON
                    6 LOADING     empty: the bootstrap is up and begins to load the user's code
server -> runtime  16 ASSIGN      JSON {"environment": {name: value}}: the function of a generic runtime
runtime -> server  17 STANDBY     empty, or why it has not all that it was to load: a generic runtime is up and knows no function
server -> runtime  18 RESTORE     empty: a suspended environment is about to be used
runtime -> server  19 SUSPENDED   empty: init is done, and something is to be done once more before the first INVOKE
                   20 RESTORED    empty: it is done
                   21 RESTORE_ERROR  error JSON: it went wrong
                   22 GIVEN       before READY: what this init was asked for beside itself
server -> runtime  23 PLACED      empty, after ASSIGN: the function's code and folders are in their places
"""

import os

INVOKE = 1
READY = 2
RESPONSE = 3
ERROR = 4
INIT_ERROR = 5
LOADING = 6
ASSIGN = 16
STANDBY = 17
RESTORE = 18
SUSPENDED = 19
RESTORED = 20
RESTORE_ERROR = 21
GIVEN = 22
PLACED = 23

REQUEST_ID_BYTES = 36
READ_BYTES = 64 * 1024
FRAME_BYTES_MAX = 272 * 1024 * 1024  # the largest event that an operator may allow, and its header


def write_all(fd, data):
    """Writes all of `data`, however the kernel cuts it."""
    written = os.write(fd, data)
    if written < len(data):
        rest = memoryview(data)[written:]
        while rest:
            rest = rest[os.write(fd, rest) :]


class Channel:
    def __init__(self, fd):
        self.fd = fd
        os.set_blocking(fd, True)
        os.set_inheritable(fd, False)

    def next(self):
        """Blocks until the next INVOKE: (header bytes, event bytes), or None when the server hung up."""
        data = self._frame(INVOKE, 9)
        if data is None:
            return None
        end = len(data)
        header_end = 9 + int.from_bytes(data[5:9], "big")
        if header_end > end:
            raise ValueError("channel: header longer than its frame")
        return data[9:header_end], data[header_end:]

    def assignment(self):
        """Blocks until a generic runtime is given a function: the JSON of the ASSIGN frame, or None at the end."""
        # No byte more: PLACED may have come, too.
        data = self._frame(ASSIGN, 5, 4)
        return None if data is None else data[5:]

    def placed(self):
        """Blocks until the code of the function is in its place; False when the server hung up."""
        return self._frame(PLACED, 5) is not None

    def restoration(self):
        """Blocks until a suspended environment is about to be used; False when the server hung up."""
        return self._frame(RESTORE, 5) is not None

    def _frame(self, kind, least, at_once=READ_BYTES):
        """The bytes of the next frame, which must be of this kind; None when the server hung up. The first read asks for `at_once`."""
        try:
            data = os.read(self.fd, at_once)
            if not data:
                return None
            while len(data) < 4:
                data += self._more(at_once - len(data))
            end = 4 + int.from_bytes(data[:4], "big")
            if not least <= end <= FRAME_BYTES_MAX:
                raise ValueError(f"channel: bad frame length {end - 4}")
            if len(data) < end:
                data = self._rest(data, end)
        except (EOFError, ConnectionResetError):
            return None
        if data[4] != kind or len(data) != end:
            raise ValueError(f"channel: unexpected frame, kind {data[4]}")
        return data

    def _more(self, count):
        data = os.read(self.fd, count)
        if not data:
            raise EOFError
        return data

    def _rest(self, data, end):
        chunks = [data]
        missing = end - len(data)
        while missing > 0:
            chunks.append(self._more(missing))
            missing -= len(chunks[-1])
        return b"".join(chunks)

    def send(self, kind, request_id, body):
        if kind in (RESPONSE, ERROR):
            start = request_id.encode("latin-1", "replace").ljust(REQUEST_ID_BYTES)[:REQUEST_ID_BYTES]
        else:
            start = b""
        length = 1 + len(start) + len(body)
        write_all(self.fd, b"".join((length.to_bytes(4, "big"), bytes((kind,)), start, body)))
