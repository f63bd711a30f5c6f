"""A disk that loses power: `crashfs`, of crates/crashfs, which a server under test writes to."""

import itertools
import subprocess
from pathlib import Path

from blackbox.server import binary
from blackbox.suites import absent

# What the file system promises, what is there beyond that, and what is written in one piece.
CRASHES = [
    *itertools.product(["ordered", "strict"], ["some"], [512, 4096]),
    *itertools.product(["ordered", "strict"], ["nothing", "everything"], [4096]),
]
ANSWER_S = 60


class CrashDisk:
    """Mounted at `folder`. After `cut` every access fails; `restore` gives the power back, with what a crash left."""

    def __init__(self, folder):
        program = Path(binary()).with_name("crashfs")
        if not program.exists():
            absent(f"{program} (cargo build -p crashfs)")
        self.folder = folder
        folder.mkdir()
        self.process = subprocess.Popen([program, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        answer = self.process.stdout.readline().strip()
        if answer != "mounted":
            absent(f"FUSE ({answer})")

    def _tell(self, line, answer):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answered = self.process.stdout.readline()
        assert answered.startswith(answer), (line, answered)
        return answered.strip()

    def cut(self):
        return self._tell("cut", "cut")

    def restore(self, model, keep, sector, seed):
        return self._tell(f"restore {model} {keep} {sector} {seed}", "restored")

    def unmount(self):
        """Also where a test ended in the midst of something."""
        self.process.stdin.close()
        try:
            self.process.wait(timeout=ANSWER_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        subprocess.run(["umount", "--lazy", self.folder], capture_output=True)
