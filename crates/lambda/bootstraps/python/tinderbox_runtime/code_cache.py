"""Bytecode of a function's modules, kept from one environment of the version for the next ones (ADR 0021).

    make: import as ever --> init is over --> the code of every module so far --> GIVEN, before any event
    use:  the file that the server mounts --> the code of each module, while init lasts

    u32 length of the header | header {file: [offset, length]} | data

A package lies on a read-only mount, and whatever `__pycache__` it brings was made for other times of its files: without this its
sources are compiled at every cold start. Loaders that change what they load are classes of their own, and are left alone.
"""

import json
import marshal
import os
from importlib.machinery import SourceFileLoader

FILE = "/var/code-cache"
FOLDERS = ("/var/task/", "/opt/")
FILES_MAX = 10_000
BYTES_MAX = 16 << 20
# Less than this compiles in the time that it takes to read what was compiled.
BYTES_MIN = 16 << 10


def _hook(code_of):
    """Lets `code_of(path, otherwise)` give the code of a module until the answer is called."""
    original = SourceFileLoader.get_code

    def get_code(self, fullname):
        def otherwise():
            return original(self, fullname)

        return code_of(self.path, otherwise) if type(self) is SourceFileLoader else otherwise()

    SourceFileLoader.get_code = get_code

    def end():
        if SourceFileLoader.__dict__.get("get_code") is get_code:
            del SourceFileLoader.get_code

    return end


def make():
    """Keeps what is compiled; answers a function that answers it once init is done."""
    codes = {}

    def code_of(path, otherwise):
        code = otherwise()
        if path.startswith(FOLDERS) and len(codes) < FILES_MAX:
            codes[path] = code
        return code

    end = _hook(code_of)

    def given():
        end()
        # It is in memory twice while it is made, and once while it is used.
        bytes_max = min(BYTES_MAX, int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]) << 16)
        header, parts, offset = {}, [], 0
        for path, code in codes.items():
            data = marshal.dumps(code)
            if offset + len(data) > bytes_max:
                break
            header[path] = [offset, len(data)]
            offset += len(data)
            parts.append(data)
        if offset < BYTES_MIN:
            return b""
        text = json.dumps(header).encode()
        return b"".join((len(text).to_bytes(4, "big"), text, *parts))

    return given


def use():
    """Uses what an earlier environment has compiled; answers a function to call once init is done."""
    with open(FILE, "rb") as file:
        everything = memoryview(file.read())
    if not everything:
        return lambda: None  # it has been given up meanwhile
    start = 4 + int.from_bytes(everything[:4], "big")
    header = json.loads(bytes(everything[4:start]))

    def code_of(path, otherwise):
        place = header.get(path)
        if place is None:
            return otherwise()
        offset = start + place[0]
        return marshal.loads(everything[offset : offset + place[1]])

    return _hook(code_of)
