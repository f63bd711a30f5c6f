#!/usr/bin/env python3
"""Pictures into a bucket → function with Pillow → thumbnails; its role reads source/* and writes thumbs/*, nothing else.

    python examples/image-resizer/run.py --pictures 20

Needs boto3 and pip, and the three `export` lines of `tinderbox serve` in the environment.
"""

import argparse
import contextlib
import io
import json
import secrets
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

import boto3

HERE = Path(__file__).parent
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
SIDE = 128
PNG = b"\x89PNG\r\n\x1a\n"


def packages(folder):
    """What requirements.txt names, installed into `folder` for the machine that functions run on."""
    target = ["--platform", "manylinux_2_28_x86_64", "--platform", "manylinux2014_x86_64", "--python-version", "3.11"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    subprocess.run([*command, *target, "--target", folder, "-r", HERE / "requirements.txt"], check=True)


def package(folder):
    """The zip of the handler and its packages, without the models of services that it does not call."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(HERE / "resizer.py", "resizer.py")
        for path in sorted(Path(folder).rglob("*")):
            below = path.relative_to(folder)
            of_service = below.parts[:2] == ("botocore", "data") and len(below.parts) > 3
            if path.is_file() and "__pycache__" not in below.parts and not (of_service and below.parts[2] != "s3"):
                archive.write(path, str(below))
    return buffer.getvalue()


def picture(width, height):
    """A PNG with a gradient, so that this script needs no library for pictures itself."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    line = b"\0" + bytes(value for x in range(width) for value in (x * 255 // width, 90, 160))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return PNG + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(line * height)) + chunk(b"IEND", b"")


def size(png):
    """Width and height as its header tells them."""
    assert png.startswith(PNG), png[:20]
    return struct.unpack(">II", png[16:24])


class Stack(contextlib.ExitStack):
    """Everything that the run makes; leaving it unmakes all of it."""

    def __init__(self, folder):
        super().__init__()
        self.s3, self.iam, self.functions = map(boto3.client, ("s3", "iam", "lambda"))
        self.name = f"image-resizer-{secrets.token_hex(4)}"
        self.bucket = self.name
        self.folder = folder

    def build(self):
        self.s3.create_bucket(Bucket=self.bucket)
        self.callback(self.empty)
        # A package with a library in it is better uploaded than sent: CreateFunction takes 50 MB at most.
        self.s3.put_object(Bucket=self.bucket, Key="code/resizer.zip", Body=package(self.folder))
        made = self.functions.create_function(
            FunctionName=self.name,
            Runtime="python3.11",
            Handler="resizer.handler",
            Role=self.role(),
            Code={"S3Bucket": self.bucket, "S3Key": "code/resizer.zip"},
            Timeout=60,
            MemorySize=512,
            Environment={"Variables": {"SIDE": str(SIDE)}},
        )
        self.callback(self.functions.delete_function, FunctionName=self.name)
        self.functions.get_waiter("function_active_v2").wait(FunctionName=self.name)
        self.functions.add_permission(
            FunctionName=self.name,
            StatementId="bucket",
            Action="lambda:InvokeFunction",
            Principal="s3.amazonaws.com",
            SourceArn=f"arn:aws:s3:::{self.bucket}",
        )
        uploads = {"Key": {"FilterRules": [{"Name": "prefix", "Value": "source/"}]}}
        wanted = {"LambdaFunctionArn": made["FunctionArn"], "Events": ["s3:ObjectCreated:*"], "Filter": uploads}
        self.s3.put_bucket_notification_configuration(
            Bucket=self.bucket, NotificationConfiguration={"LambdaFunctionConfigurations": [wanted]}
        )

    def role(self):
        arn = self.iam.create_role(RoleName=self.name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
        self.callback(self.iam.delete_role, RoleName=self.name)
        inside = f"arn:aws:s3:::{self.bucket}"
        log = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
        statements = [
            {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{inside}/source/*"},
            {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"{inside}/thumbs/*"},
            {"Effect": "Allow", "Action": log, "Resource": f"arn:aws:logs:*:*:log-group:/aws/lambda/{self.name}*"},
        ]
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self.iam.put_role_policy(RoleName=self.name, PolicyName="own", PolicyDocument=document)
        self.callback(self.iam.delete_role_policy, RoleName=self.name, PolicyName="own")
        return arn

    def empty(self):
        keys = [{"Key": key} for key in self.keys("")]
        for start in range(0, len(keys), 1000):
            self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": keys[start : start + 1000]})
        self.s3.delete_bucket(Bucket=self.bucket)

    def keys(self, prefix):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def read(self, key):
        return self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def asked(self, key):
        """What the function answers when it is told by hand that `key` was uploaded: its keys, or the error's text."""
        event = {"Records": [{"s3": {"bucket": {"name": self.bucket}, "object": {"key": key}}}]}
        answer = self.functions.invoke(FunctionName=self.name, Payload=json.dumps(event))
        said = json.load(answer["Payload"])
        return said["errorMessage"] if "FunctionError" in answer else said

    def send_thumbs_to(self, prefix):
        variables = {"SIDE": str(SIDE), "THUMBS": prefix}
        self.functions.update_function_configuration(FunctionName=self.name, Environment={"Variables": variables})
        self.functions.get_waiter("function_updated_v2").wait(FunctionName=self.name)


def fits(thumb, width, height):
    """Whether a thumbnail of that size is right for the picture: no longer than SIDE, in its proportions."""
    scale = min(1, SIDE / max(width, height))
    return all(abs(have - want * scale) <= 1 for have, want in zip(thumb, (width, height)))


def resized(stack, pictures, patience_s):
    """Uploads pictures and waits for their thumbnails; how many of them are right."""
    sizes = {f"{number:04}.png": (160 + 37 * number % 900, 90 + 53 * number % 700) for number in range(pictures)}
    for name, (width, height) in sizes.items():
        stack.s3.put_object(Bucket=stack.bucket, Key=f"source/{name}", Body=picture(width, height))
    give_up = time.monotonic() + patience_s
    while len(stack.keys("thumbs/")) < pictures and time.monotonic() < give_up:
        time.sleep(0.3)
    made = [key.removeprefix("thumbs/") for key in stack.keys("thumbs/")]
    return sum(fits(size(stack.read(f"thumbs/{name}")), *sizes[name]) for name in made)


def refusals(stack):
    """What the same function is told when it tries to leave its two prefixes. The first answer is the control."""
    allowed = stack.asked("source/0000.png")
    read = {key: stack.asked(key) for key in ("thumbs/0000.png", "code/resizer.zip")}
    before = stack.keys("")
    written = {}
    for prefix in ("source/again-", "code/"):
        stack.send_thumbs_to(prefix)
        written[prefix] = stack.asked("source/0000.png")
    return {"control": allowed, "reading": read, "writing": written, "nothing_written": stack.keys("") == before}


def refused(answers):
    said = [*answers["reading"].values(), *answers["writing"].values()]
    return answers["nothing_written"] and all("(AccessDenied)" in text for text in said)


def run(pictures, folder, patience_s):
    with Stack(folder) as stack:
        stack.build()
        started = time.monotonic()
        right = resized(stack, pictures, patience_s)
        took = time.monotonic() - started
        answers = refusals(stack)
    report = {
        "pictures": pictures,
        "thumbnails": right,
        "seconds": round(took, 1),
        "refusals": answers,
        "exact": right == pictures and answers["control"] == ["thumbs/0000.png"] and refused(answers),
    }
    print(json.dumps(report, indent=2))
    return report["exact"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--packages", type=Path, help="a folder with what requirements.txt names; made when it is not there")
    parser.add_argument("--patience-s", type=int, default=120)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.packages or Path(temporary) / "packages"
        if not folder.exists():
            packages(folder)
        sys.exit(0 if run(arguments.pictures, folder, arguments.patience_s) else 1)


if __name__ == "__main__":
    main()
