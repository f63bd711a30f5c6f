"""A generic runtime: boot, perhaps the AWS SDK (resident.py), STANDBY, wait for ASSIGN, then init and the invoke loop as ever.

Nothing of any user has been seen until ASSIGN. What only counts when a process starts (PYTHON* variables, LD_LIBRARY_PATH, TZ …) cannot be
assigned: the server starts such functions with bootstrap.py.
"""

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


def main():
    channel = frames.Channel(int(os.environ.pop("_TINDERBOX_CHANNEL_FD", "3")))
    resident.load()
    channel.send(frames.STANDBY, "", b"")
    assignment = channel.assignment()
    if assignment is None:
        sys.exit(0)
    environment = json.loads(assignment)["environment"]
    os.environ.update(environment)
    os.chdir(environment["LAMBDA_TASK_ROOT"])
    # Folders that were not there at the start are now.
    sys.path_importer_cache.clear()
    serve.main(channel)
