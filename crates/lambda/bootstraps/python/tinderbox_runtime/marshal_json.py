"""Events in and answers out, as AWS's runtime turns them: Decimal becomes a number, bytes pass unchanged."""

import json
import os
import sys

from tinderbox_runtime.fault import Fault

# From python3.12 on AWS writes text as it is; older identifiers escape everything beyond ASCII.
_escapes = False
_encode = None


def configure(execution_environment):
    """Follows the identifier in `AWS_EXECUTION_ENV`. Comes before the first call."""
    global _escapes, _encode
    minor = execution_environment.rpartition("python3.")[2]
    _escapes = minor.isdigit() and int(minor) < 12
    _encode = json.JSONEncoder(ensure_ascii=_escapes, default=_default).encode


_decoder = json.JSONDecoder()


def _decode(text):
    """`json.loads` without its two searches for blanks round the document, which cost more than a small event."""
    try:
        value, end = _decoder.raw_decode(text)
        if end == len(text):
            return value
    except ValueError:
        pass
    return _decoder.decode(text)  # blanks after all, or an error that deserves its exact text


class _DecimalNumber(float):
    """Carries the exact digits of a Decimal through the encoder's float path."""

    def __new__(cls, decimal):
        number = super().__new__(cls, decimal)
        number.digits = "NaN" if decimal.is_nan() else str(decimal)
        return number


class _DecimalMet(Exception):
    pass


def _is_decimal(value):
    decimal = sys.modules.get("decimal")
    return decimal is not None and isinstance(value, decimal.Decimal)


def _refuse(value):
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _default(value):
    if _is_decimal(value):
        raise _DecimalMet
    _refuse(value)


def _encode_with_decimals(value):
    """The slow path: the pure-Python encoder, because the C one prints floats by itself."""
    from json import encoder

    def number(value):
        if isinstance(value, _DecimalNumber):
            return value.digits
        if value != value:
            return "NaN"
        if value in (float("inf"), float("-inf")):
            return "Infinity" if value > 0 else "-Infinity"
        return float.__repr__(value)

    def default(value):
        return _DecimalNumber(value) if _is_decimal(value) else _refuse(value)

    quote = encoder.encode_basestring_ascii if _escapes else encoder.encode_basestring
    chunks = encoder._make_iterencode({}, default, quote, None, number, ": ", ", ", False, False, False)
    return "".join(chunks(value, 0))


def unmarshal(event):
    """The handler's first argument; an empty payload is an empty object, as on AWS."""
    if not event:
        return {}
    try:
        return _decode(str(event, "utf-8", "surrogatepass"))
    except Exception as error:
        raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {error}") from None


def marshal(result):
    """The bytes of the response."""
    if isinstance(result, bytes):
        return result
    try:
        try:
            text = _encode(result)
        except _DecimalMet:
            text = _encode_with_decimals(result)
        return text.encode("utf-8", "surrogatepass")
    except Exception as error:
        raise Fault("Runtime.MarshalError", f"Unable to marshal response: {error}") from None


def optional_object(value, name):
    """Client context and identity arrive as JSON text (a header on the Runtime API) or already as an object."""
    if not isinstance(value, str):
        return value
    try:
        return _decode(value) if value else None
    except Exception as error:
        raise Fault("Runtime.LambdaContextUnmarshalError", f"Unable to parse {name} JSON: {error}") from None


def dumps(value):
    """ASCII JSON bytes of a document of our own."""
    return json.dumps(value).encode()


def loads(data):
    return _decode(data.decode())
