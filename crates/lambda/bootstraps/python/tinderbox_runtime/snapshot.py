"""SnapStart: runtime hooks before the snapshot and after the restore (docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html)."""

import sys

from tinderbox_runtime import channel as frames
from tinderbox_runtime import sink
from tinderbox_runtime.fault import describe
from tinderbox_runtime.marshal_json import dumps

EXIT_BEFORE_SNAPSHOT = 64
EXIT_AFTER_RESTORE = 65


def _attempt(act, channel, kind, code):
    try:
        act()
    except BaseException as error:
        result = describe(error)
        sink.log_error(result)
        sys.stdout.flush()
        channel.send(kind, "", dumps(result))
        # The process ends whatever the hook meant to end with.
        raise SystemExit(code) from None
    sys.stdout.flush()


def _before_snapshot(library):
    registered = library.get_before_snapshot()
    while registered:  # the last first
        function, args, kwargs = registered.pop()
        function(*args, **kwargs)


def _after_restore(library):
    for function, args, kwargs in library.get_after_restore():
        function(*args, **kwargs)


def pass_through(channel, library):
    """Ends init with the hooks before the snapshot, waits until the environment is taken, and runs the hooks after it. False at the end."""
    _attempt(lambda: _before_snapshot(library), channel, frames.INIT_ERROR, EXIT_BEFORE_SNAPSHOT)
    if not library.get_after_restore():
        channel.send(frames.READY, "", b"")
        return True
    channel.send(frames.SUSPENDED, "", b"")
    if not channel.restoration():
        return False
    _attempt(lambda: _after_restore(library), channel, frames.RESTORE_ERROR, EXIT_AFTER_RESTORE)
    channel.send(frames.RESTORED, "", b"")
    return True
