"""Init, then the invoke loop."""

import os
import sys

from tinderbox_runtime import channel as frames
from tinderbox_runtime import resident, sink
from tinderbox_runtime.context import LambdaContext
from tinderbox_runtime.fault import Fault, describe
from tinderbox_runtime.lazy import hook_logging
from tinderbox_runtime.marshal_json import configure, dumps, loads, marshal, optional_object, unmarshal

RESPONSE_BYTES_MAX = 6291556  # 6 MiB and a little: the limit in AWS's error text, unless the operator raised it


def prepare_path():
    """The import path of a managed runtime: the package, then layers, then what the host's Python has."""
    task_root = os.environ.get("LAMBDA_TASK_ROOT", os.getcwd())
    runtime_folder, sys.path[0] = sys.path[0], task_root
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    layers = [f"/opt/python/lib/{version}/site-packages", "/opt/python"]
    sys.path[1:1] = [folder for folder in layers if os.path.isdir(folder)]
    sys.path.append(runtime_folder)
    if sys.flags.no_site:
        # `-S` saves the cost of `site`; these are the parts of it that functions rely on.
        prefixes = (
            f"{sys.prefix}/lib/{version}/site-packages",
            "/usr/local/lib/python3/dist-packages",
            "/usr/lib/python3/dist-packages",
        )
        sys.path.extend(folder for folder in prefixes if os.path.isdir(folder))
        import builtins

        builtins.exit = builtins.quit = sys.exit


def load_handler(name):
    """The callable named `folder/module.function`, cut at the last dot."""
    try:
        module_name, function_name = name.rsplit(".", 1)
    except ValueError as error:
        raise Fault("Runtime.MalformedHandlerName", f"Bad handler '{name}': {error}") from None
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise Fault("Runtime.BuiltInModuleConflict", f"Cannot use built-in module {module_name} as a handler module")
    dotted = module_name.replace("/", ".")
    try:
        __import__(dotted)
        module = sys.modules[dotted]
    except (ImportError, ValueError) as error:
        if isinstance(error, ValueError) and error.__traceback__.tb_next is not None:
            raise  # the module's own
        raise Fault("Runtime.ImportModuleError", f"Unable to import module '{module_name}': {error}") from None
    except SyntaxError as error:
        trace = [f'  File "{error.filename}" Line {error.lineno}\n    {error.text}']
        raise Fault("Runtime.UserCodeSyntaxError", f"Syntax error in module '{module_name}': {error}", trace) from None
    try:
        return getattr(module, function_name)
    except AttributeError:
        message = f"Handler '{function_name}' missing on module '{module_name}'"
        raise Fault("Runtime.HandlerNotFound", message) from None


def make_context(header):
    return LambdaContext(
        header["requestId"],
        header.get("invokedFunctionArn"),
        header.get("deadlineMs", 0),
        optional_object(header.get("clientContext"), "Client Context"),
        optional_object(header.get("cognitoIdentity"), "Cognito Identity"),
        header.get("tenantId"),
    )


def enter(header):
    """Makes `header` the current invoke for logs and tracing."""
    sink.current.request_id = header["requestId"]
    sink.current.tenant_id = header.get("tenantId")
    trace_id = header.get("traceId")
    if trace_id:
        os.environ["_X_AMZN_TRACE_ID"] = trace_id
    else:
        os.environ.pop("_X_AMZN_TRACE_ID", None)


def run(handler, header, event):
    """One invoke: (kind, body) of the frame that answers it. SystemExit passes through and ends the process."""
    try:
        body = marshal(handler(unmarshal(event), make_context(header)))
    except Exception as error:
        result = describe(error, header["requestId"])
        sink.log_error(result)
        return frames.ERROR, dumps(result)
    bytes_max = header.get("answerBytesMax", RESPONSE_BYTES_MAX)
    if len(body) > bytes_max:
        limit = f"Response payload size exceeded maximum allowed payload size ({bytes_max} bytes)."
        return frames.ERROR, dumps({"errorType": "Function.ResponseSizeTooLarge", "errorMessage": limit})
    return frames.RESPONSE, body


def serve(channel, handler):
    stdout, stderr = sys.stdout, sys.stderr
    while (invoke := channel.next()) is not None:
        header = loads(invoke[0])
        enter(header)
        kind, body = run(handler, header, invoke[1])
        # The environment freezes after the answer: what was printed must be out before.
        stdout.flush()
        stderr.flush()
        channel.send(kind, header["requestId"], body)


def hooks():
    """The library with which the function registered SnapStart's hooks; None when it has not, or is not snap-started."""
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "snap-start":
        return None
    return sys.modules.get("snapshot_restore_py")


def beside_init(asked):
    """What the server asks this init for beside itself: a function that answers it once init is done; None for nothing."""
    if asked is None:
        return None
    if asked == "modules":
        from tinderbox_runtime import module_times

        return module_times.watch()
    from tinderbox_runtime import code_cache

    try:
        return code_cache.use() if asked == "use" else code_cache.make()
    except Exception:
        return None  # a cache is never what an init fails of


def give(channel, given):
    """Tells the server what it has asked for. What that takes of memory is free again afterwards."""
    answer = given()
    if answer is not None:
        channel.send(frames.GIVEN, "", answer)


def prepare(arrive=lambda: None):
    """Reads what is the same for every invoke from the environment variables, and waits by `arrive` until the function's files are there. Returns the
    descriptor of the channel."""
    take = os.environ.pop  # neither the user's code nor its children have any business with the descriptors
    descriptor = int(take("_TINDERBOX_CHANNEL_FD", "3"))
    configure(os.environ.get("AWS_EXECUTION_ENV", ""))
    LambdaContext.configure()
    sink.configure(take("_LAMBDA_TELEMETRY_LOG_FD", None), os.environ.get("AWS_LAMBDA_LOG_FORMAT", ""))
    sys.stdout.reconfigure(line_buffering=True)
    hook_logging()
    arrive()
    prepare_path()
    return descriptor


def main(channel=None, arrive=lambda: None):
    # Reserved, unlike AWS_LAMBDA_MAX_CONCURRENCY, which any function may set.
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "lambda-managed-instances":
        from tinderbox_runtime import concurrent

        return concurrent.main()
    descriptor = prepare(arrive)
    given = beside_init(os.environ.pop("_TINDERBOX_INIT", None))
    channel = channel or frames.Channel(descriptor)
    channel.send(frames.LOADING, "", b"")
    try:
        handler = load_handler(os.environ.get("_HANDLER", ""))
    except Exception as error:
        result = describe(error)
        sink.log_error(result)
        sys.stdout.flush()
        channel.send(frames.INIT_ERROR, "", dumps(result))
        sys.exit(1)
    sys.stdout.flush()
    if given is not None:
        give(channel, given)
        given = None  # this frame stays as long as the environment
    if library := hooks():
        from tinderbox_runtime import snapshot

        if not snapshot.pass_through(channel, library):
            return
    else:
        channel.send(frames.READY, "", resident.used())
    serve(channel, handler)
