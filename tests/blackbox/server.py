"""The real `tinderbox serve`, started and ended the way an operator would."""

import json
import os
import queue
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import boto3
from botocore.config import Config

REPOSITORY = Path(__file__).resolve().parents[2]
ACCESS_KEY = "AKIAROOTROOTROOTROOT"
SECRET_KEY = "secret/root+key/for/the/black/box/suites"
REGION = "us-east-1"
ACCOUNT = "000000000000"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/any"
LAMBDA_TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
)
START_S = 60
STOP_S = 5


def target_folder():
    return Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))


def binary():
    """TINDERBOX_BIN, else the newest build in the target folder; None when there is none."""
    named = os.environ.get("TINDERBOX_BIN")
    if named:
        return named
    built = [target_folder() / profile / "tinderbox" for profile in ("release", "debug")]
    built = [path for path in built if path.exists()]
    return str(max(built, key=lambda path: path.stat().st_mtime)) if built else None


class Server:
    """One server process on a data folder; `start` again after `stop` or `kill` continues on the same data."""

    def __init__(self, data, *arguments, env=None):
        self.data, self.arguments, self.env = Path(data), arguments, env or {}
        self.process = None

    def start(self):
        env = {
            **os.environ,
            "TINDERBOX_ROOT_ACCESS_KEY_ID": ACCESS_KEY,
            "TINDERBOX_ROOT_SECRET_ACCESS_KEY": SECRET_KEY,
            **self.env,  # None takes a variable away
        }
        self.process = subprocess.Popen(
            [binary(), "serve", "--listen", "127.0.0.1:0", "--data", str(self.data), *self.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=open(self.data.parent / f"{self.data.name}.stderr", "ab"),
            text=True,
            env={name: value for name, value in env.items() if value is not None},
        )
        self.lines, lines = [], queue.Queue()

        def read(stdout):
            for line in stdout:
                self.lines.append(line.rstrip("\n"))
                lines.put(line)
            lines.put(None)

        threading.Thread(target=read, args=(self.process.stdout,), daemon=True).start()
        self.url = self._listening(lines)
        self.port = int(self.url.rsplit(":", 1)[1])
        self._wait_until_ready()
        self._make_role()
        return self

    def _make_role(self):
        """ROLE, which functions may run as and which allows nothing."""
        if {**self.env}.get("TINDERBOX_ROOT_ACCESS_KEY_ID", ACCESS_KEY) != ACCESS_KEY:
            return  # A server with a key of its own: the test makes what it needs.
        iam = self.client("iam")
        try:
            iam.create_role(RoleName=ROLE.rsplit("/", 1)[1], AssumeRolePolicyDocument=LAMBDA_TRUST)
        except iam.exceptions.EntityAlreadyExistsException:
            pass

    def _listening(self, lines):
        give_up = time.monotonic() + START_S
        while True:
            line = lines.get(timeout=max(0.01, give_up - time.monotonic()))
            assert line is not None, f"serve ended before it listened: {self.stderr()[-4000:]}"
            if line.startswith("listening on "):
                return line.split()[2]

    def _wait_until_ready(self):
        give_up = time.monotonic() + START_S
        while True:
            try:
                status, _, body = self.get("/_tinderbox/health")
                if status == 200:
                    assert json.loads(body)["status"] == "ready"
                    return
            except OSError:
                pass
            assert time.monotonic() < give_up, f"not ready: {self.stderr()[-4000:]}"
            time.sleep(0.01)

    def stderr(self):
        path = self.data.parent / f"{self.data.name}.stderr"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self):
        """SIGTERM; the promise is a clean end within five seconds."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=STOP_S)
        assert code == 0, (code, self.stderr()[-4000:])

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        """Whatever state it is in: for fixtures."""
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def get(self, path, method="GET", body=None, headers=None):
        """Status, headers and body of an unsigned request."""
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.headers, answer.read()

    def client_of(self, service, key):
        """A boto3 client with a key as IAM or STS gave it."""
        return self.client(service, key["AccessKeyId"], key["SecretAccessKey"], session_token=key.get("SessionToken"))

    def client(self, service, access_key=ACCESS_KEY, secret_key=SECRET_KEY, region=REGION, session_token=None, **config):
        """A boto3 client without retries, so that tests see each answer as it is."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            aws_session_token=session_token,
            config=Config(
                retries={"total_max_attempts": 1},
                max_pool_connections=256,
                read_timeout=120,
                connect_timeout=10,
                **config,
            ),
        )

    def client_env(self):
        """The environment that makes any AWS tool talk to this server."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }
