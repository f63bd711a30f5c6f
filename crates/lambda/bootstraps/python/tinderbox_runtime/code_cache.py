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

CodeType = type((lambda: None).__code__)

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

        ours = code_of
        return ours(self.path, otherwise) if ours is not None and type(self) is SourceFileLoader else otherwise()

    SourceFileLoader.get_code = get_code

    def end():
        nonlocal code_of
        code_of = None  # and all that it holds, should another hook hold this one
        if SourceFileLoader.__dict__.get("get_code") is get_code:
            del SourceFileLoader.get_code

    return end


def make():
    """Keeps what is compiled; answers a function that answers it once init is done."""
    # It is in memory twice while it is made, and once while it is used.
    bytes_max = min(BYTES_MAX, int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]) << 16)
    codes = {}

    def code_of(path, otherwise):
        code = otherwise()
        # Of a path that leads elsewhere, or that is no text, nothing is kept.
        if type(path) is str and path.startswith(FOLDERS) and len(codes) < FILES_MAX and os.path.normpath(path) == path:
            codes[path] = code
        return code

    end = _hook(code_of)

    def given():
        try:
            end()
            return _packed(list(codes.items()), bytes_max)
        except Exception:
            return b""  # whatever it is: it must not be what an init fails of
        finally:
            codes.clear()

    return given


def _packed(codes, bytes_max):
    """Bytecode in the form of the file; empty where it is not worth the while."""
    header, parts, offset = {}, [], 0
    for path, code in codes:
        data = marshal.dumps(code)
        if offset + len(data) > bytes_max:
            continue
        header[path] = [offset, len(data)]
        offset += len(data)
        parts.append(data)
    if offset < BYTES_MIN:
        return b""
    text = json.dumps(header).encode()
    return b"".join((len(text).to_bytes(4, "big"), text, *parts))


def use():
    """Uses what an earlier environment has compiled; answers a function to call once init is done."""
    with open(FILE, "rb") as file:
        everything = memoryview(file.read())
    if not everything:
        return None  # it has been given up meanwhile
    start = 4 + int.from_bytes(everything[:4], "big")
    header = json.loads(bytes(everything[4:start]))

    def kept(path):
        try:
            offset, length = header[path]
            code = marshal.loads(everything[start + offset : start + offset + length])
        except Exception:
            return None  # it is not there, or it is rotten
        return code if type(code) is CodeType else None

    def code_of(path, otherwise):
        code = kept(path)
        return otherwise() if code is None else code

    return _hook(code_of)
