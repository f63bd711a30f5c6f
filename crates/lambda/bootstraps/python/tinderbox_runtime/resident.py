"""The AWS SDK that comes with the runtime, loaded before it is known for which function; and who may have it so.

    an init of a version loads boto3 of the runtime's own --> READY says so --> later environments of the version find it loaded,
    and makes clients of some services                                          and the models of these services read

What is loaded is found before what a package brings under the same name. So a function whose package or layers have loaded a module
that the SDK's folder or the standard library has, too, says nothing: its environments load everything themselves.
"""

import os
import sys

# All else is loaded where it is needed: what boots for one function pays for it in its cold start.

NAME = "boto3"
# Before the name of a service: its models, too.
MODELS = "boto3/"
# Names in all; whoever makes clients of more services says of none.
NAMES_MAX = 8
VARIABLE = "_TINDERBOX_RESIDENT"
# Characters of what is said about an SDK that we do not know.
LACKS_MAX = 300
FOLDERS = ("/var/task/", "/opt/")

_loader = None


def load():
    """Loads what the server asks for; answers why something of it is not ready, or an empty text. (Functions with variables that it may
    read meanwhile never come to this process.)"""
    global _loader
    names = os.environ.pop(VARIABLE, "").split()
    if NAME in names:
        import boto3.s3.inject  # noqa: F401  (what clients and resources of S3 load when they are made, and nothing else does)

        from tinderbox_runtime import sdk_ahead

        services = [name[len(MODELS) :] for name in names if name.startswith(MODELS)]
        try:
            _loader = sdk_ahead.prepare(services) if services else None
        except Exception as error:  # a botocore that we do not know: making a client takes as long as ever
            return f"{type(error).__name__}: {error}"[:LACKS_MAX]
    return ""


def _sdk_folder():
    """Where the host's boto3 lies, if it has one: the last place of the path that a runtime starts with."""
    return os.environ.get("PYTHONPATH", "").rpartition(":")[2]


def _is_in(folder, name):
    return any(os.path.exists(f"{folder}/{name}{suffix}") for suffix in ("", ".py"))


def used():
    """What this init has loaded of the runtime's SDK, as READY says it: a JSON array, or nothing."""
    try:
        sdk = _sdk_folder()
        module = sys.modules.get(NAME)
        if module is None or module.__spec__.origin != f"{sdk}/{NAME}/__init__.py":
            return b""
        standard = sys.stdlib_module_names  # since Python 3.10
        own = []
        for name, module in list(sys.modules.items()):
            origin = getattr(getattr(module, "__spec__", None), "origin", None)
            if not isinstance(origin, str) or not origin.startswith(FOLDERS):
                continue
            if "." not in name and (name in standard or _is_in(sdk, name)):
                return b""
            own.append(module)
        return _with_services(own)
    except Exception:
        return b""  # whatever it is: it must not be what an init fails of


def _with_services(modules):
    """The SDK's name, and those of the services of which this init has made clients."""
    import json

    from tinderbox_runtime import sdk_ahead

    try:
        services = sdk_ahead.services_used(_loader, modules)
    except Exception:
        services = []  # an SDK that we do not know
    names = [NAME, *(MODELS + service for service in services)]
    return json.dumps(names if len(names) <= NAMES_MAX else [NAME]).encode()
