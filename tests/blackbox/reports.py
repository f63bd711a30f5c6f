"""`tinderbox functions report`, run."""

import subprocess

from blackbox.server import ACCESS_KEY, SECRET_KEY, binary


def report(server, name, *arguments, key=(ACCESS_KEY, SECRET_KEY)):
    command = [binary(), *arguments, "functions", "report", name, "--endpoint", server.url]
    env = {"TINDERBOX_ROOT_ACCESS_KEY_ID": key[0], "TINDERBOX_ROOT_SECRET_ACCESS_KEY": key[1], "HOME": "/nowhere"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
