"""Errors in the shape that AWS's Python runtime reports them."""

import os


class Fault(Exception):
    """An error of the runtime itself; `kind` is one of AWS's `Runtime.*` types."""

    def __init__(self, kind, message, trace=()):
        super().__init__(message)
        self.kind = kind
        self.trace = list(trace)


_OWN_FOLDER = os.path.dirname(__file__)
_ENTRY_POINT = os.path.join(os.path.dirname(_OWN_FOLDER), "bootstrap.py")


def describe(error, request_id=""):
    """The error document of the caller and of the log: errorMessage, errorType, requestId, stackTrace."""
    if isinstance(error, Fault):
        kind, trace = error.kind, error.trace
    else:
        import traceback

        frames = list(traceback.extract_tb(error.__traceback__))
        # The bootstrap's own frames lie on top of the user's.
        while frames and (frames[0].filename.startswith(_OWN_FOLDER) or frames[0].filename == _ENTRY_POINT):
            frames.pop(0)
        kind, trace = type(error).__name__, traceback.format_list(frames)
    return {"errorMessage": _text(error), "errorType": kind, "requestId": request_id, "stackTrace": trace}


def _text(error):
    try:
        return str(error)
    except Exception:  # the user's own __str__ may throw
        return ""
