"""The root handler of `logging`, in AWS's text and JSON formats. Imported together with `logging`, not before."""

import json
import logging
import os
import time

from tinderbox_runtime import sink

# What logging itself puts on a record; everything else came from `extra=`.
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "aws_request_id", "tenant_id"}
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


class InvokeFilter(logging.Filter):
    """Puts the current request id on each record, where formatters of the user's own find it too."""

    def filter(self, record):
        record.aws_request_id = sink.current.request_id
        record.tenant_id = sink.current.tenant_id
        return True


class SinkHandler(logging.Handler):
    def emit(self, record):
        try:
            sink.write(self.format(record), record.levelno)
        except Exception:
            self.handleError(record)


class JsonFormatter(logging.Formatter):
    """One JSON object per record; fields without a value are left out."""

    def format(self, record):
        plain = isinstance(record.msg, dict) and not record.args
        fields = {
            "timestamp": self.formatTime(record, _TIME_FORMAT),
            "level": record.levelname,
            "message": record.msg if plain else record.getMessage(),
            "logger": record.name,
            "requestId": record.aws_request_id,
            "tenantId": record.tenant_id,
        }
        if record.exc_info and record.exc_info[0] is not None:
            import traceback

            kind, error, frames = record.exc_info
            fields["stackTrace"] = traceback.format_tb(frames)
            fields["errorType"] = kind.__name__
            fields["errorMessage"] = str(error)
            fields["location"] = f"{record.pathname}:{record.funcName}:{record.lineno}"
        for name, value in vars(record).items():
            if name not in _STANDARD_FIELDS:
                fields.setdefault(name, value)
        present = {name: value for name, value in fields.items() if value is not None}
        return json.dumps(present, ensure_ascii=False, default=str) + "\n"


def install():
    logging.Formatter.converter = time.gmtime
    handler = SinkHandler()
    if sink.is_json:
        handler.setFormatter(JsonFormatter())
    else:
        text = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"
        handler.setFormatter(logging.Formatter(text, "%Y-%m-%dT%H:%M:%S"))
    handler.addFilter(InvokeFilter())
    root = logging.getLogger()
    root.addHandler(handler)
    level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
    level = {"TRACE": "DEBUG", "FATAL": "CRITICAL"}.get(level, level)
    if isinstance(logging.getLevelName(level), int):
        root.setLevel(level)
