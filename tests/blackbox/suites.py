"""What suites install or build once: kept below target/suites under the digest of what it was made from."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from blackbox.server import target_folder

BUILD_S = 1800
# AWS's own runtime client for Python.
AWSLAMBDARIC = ["awslambdaric==4.2.2"]


def suites_folder():
    """TINDERBOX_SUITES, else target/suites."""
    return Path(os.environ.get("TINDERBOX_SUITES", target_folder() / "suites"))


def absent(what):
    """Skips a test whose tool is not here; under CI that is a failure, so nothing is left out in silence."""
    message = f"{what} is not on this machine"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def cached(name, inputs, build):
    """The folder that `build(folder)` filled, made once per content of the files `inputs`."""
    digest = hashlib.sha256(sys.version.encode())
    for path in inputs:
        digest.update(Path(path).read_bytes())
    folder = suites_folder() / f"{name}-{digest.hexdigest()[:16]}"
    if not folder.exists():
        partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        build(partial)
        partial.rename(folder)
    return folder


def run(*command, cwd=None, env=None):
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_S,
    )
    assert done.returncode == 0, f"{command} failed:\n{done.stdout[-6000:]}"
    return done.stdout


def npm_packages(name, source):
    """node_modules of the package.json and lock in `source`; install scripts do not run."""

    def build(folder):
        for file in ("package.json", "package-lock.json"):
            shutil.copy(Path(source) / file, folder)
        run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=folder)

    return cached(name, [Path(source) / "package.json", Path(source) / "package-lock.json"], build)


def node_tests(server, source, *files, env=None):
    """Runs `files` of the folder `source` by `node --test`, with its packages and the environment of the server's clients."""
    if shutil.which("node") is None:
        absent("node")
    packages = npm_packages(f"js-{Path(source).name}", source)
    for file in files:
        shutil.copy(Path(source) / file, packages)
    run("node", "--test", *files, cwd=packages, env={**server.client_env(), **(env or {})})


def python_packages(name, *requirements):
    """`pip install --target` of exact requirements."""

    def build(folder):
        run(
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--target",
            str(folder),
            *requirements,
        )

    return cached(f"{name}-{'-'.join(requirements).replace('==', '-')}", [], build)


def compiled_node_ric(source):
    """aws-lambda-ric with its addon: compiles libcurl and aws-lambda-cpp, about three minutes, once."""

    def build(folder):
        shutil.copytree(npm_packages("node-ric", source), folder, dirs_exist_ok=True, symlinks=True)
        client = folder / "node_modules" / "aws-lambda-ric"
        tools = python_packages("cmake", "cmake==4.4.4")
        path = f"{tools}/bin:{client.parent}/.bin:{os.environ['PATH']}"
        # npm 11 skips install scripts, so the package's own two run here.
        for script in ("preinstall", "postinstall"):
            run("sh", f"scripts/{script}.sh", cwd=client, env={"PATH": path, "PYTHONPATH": str(tools)})

    return cached("node-ric-built", [Path(source) / "package-lock.json"], build)
