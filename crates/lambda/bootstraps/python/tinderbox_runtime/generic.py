"""A generic runtime: boot, perhaps the AWS SDK (resident.py), STANDBY, wait for ASSIGN and PLACED, then init and the invoke loop as ever.

Nothing of any user has been seen until ASSIGN. What only counts when a process starts (PYTHON* variables, LD_LIBRARY_PATH, TZ …) cannot be
assigned: the server starts such functions with bootstrap.py.
"""

import gc
import os
import sys

# What handlers import most: loaded here, off every request's path. AWS's own runtime has loaded most of these, too.
import base64  # noqa: F401
import collections  # noqa: F401
import datetime  # noqa: F401
import decimal  # noqa: F401
import functools  # noqa: F401
import hashlib  # noqa: F401
import json  # noqa: F401
import logging  # noqa: F401
import random  # noqa: F401  (seeded by this process alone, from the kernel)
import re  # noqa: F401
import time  # noqa: F401
import traceback  # noqa: F401
import typing  # noqa: F401
import urllib.parse  # noqa: F401
import uuid  # noqa: F401

from tinderbox_runtime import channel as frames
from tinderbox_runtime import code_cache, context, fault, logs, marshal_json, resident, serve, sink  # noqa: F401


# A little of everything that a module may have.
WARM_SOURCE = """
import os
class Warm(Exception):
    field: int = 0
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
async def wait(it): return [f"{one!r}" async for one in it if one]
def handler(event, context):
    try:
        with open(event["a"]) as file:
            return {"statusCode": 200, "body": lambda x, *y: (x[1:2], not y or -x ** 2 <= 3)}
    except (KeyError, OSError) as error:
        raise Warm from error
    for a, b in {}.items(): yield a if b is None else {c for c in b}
"""


def rehearse():
    """Does once what the first source of every function and the first event need: Python makes the types of its syntax trees when it
    compiles for the first time in a process, which takes as long as all the rest of a short init."""
    compile(WARM_SOURCE, "warm", "exec")
    marshal_json.configure("")  # once more when it is known for which identifier
    header = b'{"requestId": "00000000-0000-4000-8000-000000000000", "deadlineMs": 1, "clientContext": "{}"}'
    kind, _ = serve.run(lambda event, _: event, marshal_json.loads(header), b'{"warm": [true, 1.5, "text"]}')
    assert kind == frames.RESPONSE, "the rehearsal failed"


def settle():
    """What is there now stays: no collection looks through it again in the middle of an init."""
    gc.collect()
    gc.freeze()


def main():
    rehearse()
    channel = frames.Channel(int(os.environ.pop("_TINDERBOX_CHANNEL_FD", "3")))
    lacks = resident.load()
    settle()
    channel.send(frames.STANDBY, "", lacks.encode())
    assignment = channel.assignment()
    if assignment is None:
        sys.exit(0)
    environment = json.loads(assignment)["environment"]
    # Its files are put in their places meanwhile.
    os.environ.update(environment)
    serve.main(channel, lambda: arrive(channel))


def arrive(channel):
    """Waits for the files of the function."""
    if not channel.placed():
        sys.exit(0)
    os.chdir(os.environ["LAMBDA_TASK_ROOT"])
    # Folders that were not there at the start are now.
    sys.path_importer_cache.clear()
