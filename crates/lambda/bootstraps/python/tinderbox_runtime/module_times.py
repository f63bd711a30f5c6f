"""Times every module that an init imports: for `tinderbox functions report`, and only in the init that is run for it.

A module's time is that of finding it, of making it (a library is linked then) and of running its code; its own time is what the modules
that it imports in turn have not taken. Modules that other threads import are not told apart.
"""

import json
import os
import sys
import threading
import time

MODULES_MAX = 10_000
NAME_LENGTH_MAX = 512
RECORDS_MAX = 2_000
RECORD_BYTES_MAX = 4 << 20


def now():
    return time.perf_counter_ns() // 1000


class Finder:
    """Asks the other finders, and has the loaders that they answer timed."""

    def __init__(self):
        self.modules = []  # [index of the parent or -1, own time in microseconds, file or name]
        self.open = []  # [index, time of what is within], the innermost last
        self.thread = threading.get_ident()
        self.asking = False

    def find_spec(self, name, path=None, target=None):
        if self.asking or threading.get_ident() != self.thread:
            return None
        self.asking = True
        start = now()
        try:
            found = (finder.find_spec(name, path, target) for finder in sys.meta_path if hasattr(finder, "find_spec"))
            spec = next((spec for spec in found if spec is not None), None)
        finally:
            self.asking = False
        # Classes load what is built in or frozen: in no time, and they are not this module's alone.
        if spec is not None and hasattr(spec.loader, "exec_module") and not isinstance(spec.loader, type):
            self.time(spec, now() - start)
        return spec

    def time(self, spec, finding):
        loader = spec.loader
        make, execute = getattr(loader, "create_module", None), loader.exec_module
        spent = [finding]

        def create_module(spec):
            start = now()
            try:
                return make(spec)
            finally:
                spent[0] += now() - start

        def exec_module(module):
            self.within(spec.origin or spec.name, spent[0], lambda: execute(module))

        try:
            loader.exec_module = exec_module
            if make is not None:
                loader.create_module = create_module
        except AttributeError:
            pass  # a loader of somebody's own that takes no attributes

    def within(self, name, before, run):
        if threading.get_ident() != self.thread or len(self.modules) == MODULES_MAX:
            return run()
        frame = [len(self.modules), 0]
        parent = self.open[-1] if self.open else None
        self.modules.append([parent[0] if parent else -1, 0, str(name)[:NAME_LENGTH_MAX]])
        self.open.append(frame)
        start = now()
        try:
            return run()
        finally:
            took = now() - start
            self.open.pop()
            self.modules[frame[0]][1] = max(0, took - frame[1]) + before
            if parent:
                parent[1] += took + before


def installed():
    """The top-level names that packages brought: in a function's package they lie beside its own code."""
    names = set()
    folders = [os.environ.get("LAMBDA_TASK_ROOT", ""), "/opt/python"]
    records = []
    for folder in filter(os.path.isdir, folders):
        records += [os.path.join(folder, name, "RECORD") for name in os.listdir(folder) if name.endswith(".dist-info")]
    for record in records[:RECORDS_MAX]:
        try:
            with open(record, encoding="utf-8", errors="replace") as file:
                lines = file.read(RECORD_BYTES_MAX).splitlines()
        except OSError:
            continue
        names.update(line.split(",", 1)[0].split("/", 1)[0].split(".", 1)[0] for line in lines)
    return sorted(name for name in names if name.isidentifier() and name != "__pycache__")[:MODULES_MAX]


def watch():
    finder = Finder()
    sys.meta_path.insert(0, finder)
    start = now()

    def given():
        total = now() - start
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)
        answer = {"totalUs": total, "modules": finder.modules, "packages": installed()}
        return json.dumps(answer).encode()

    return given
