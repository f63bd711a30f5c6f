"""AWS Powertools for Python and for TypeScript, unmodified: logger, metrics, HTTP routes and batches of their own documentation."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from blackbox.functions import NODE, PYTHON, package
from blackbox.suites import absent, npm_packages, run

TYPESCRIPT = Path(__file__).resolve().parents[2] / "fixtures" / "powertools-ts"

CODE = '''
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

logger = Logger(service="orders")
metrics = Metrics(namespace="shop", service="orders")
app = APIGatewayHttpResolver()
processor = BatchProcessor(event_type=EventType.SQS)

@app.get("/orders/<order_id>")
def order(order_id: str):
    logger.info("asked", extra={"order": order_id})
    metrics.add_metric(name="Orders", unit=MetricUnit.Count, value=1)
    return {"order": order_id}

def take(record):
    if record.body == "bad":
        raise ValueError("bad")

@logger.inject_lambda_context(log_event=True)
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event, context):
    if "Records" in event:
        return process_partial_response(event=event, record_handler=take, processor=processor, context=context)
    return app.resolve(event, context)
'''


def installed(*modules):
    """{path: bytes} of modules of this Python environment, as a package would bring them."""
    files = {}
    for module in modules:
        origin = Path(importlib.util.find_spec(module).origin)
        root = origin.parent if origin.name == "__init__.py" else origin
        for path in [root] if root.is_file() else root.rglob("*.py"):
            files[str(path.relative_to(root.parent))] = path.read_bytes()
    return files


def message(number, body):
    return {
        "messageId": number, "receiptHandle": "r", "body": body, "attributes": {}, "messageAttributes": {},
        "md5OfBody": "", "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:q",
        "awsRegion": "us-east-1",
    }


@pytest.fixture(scope="session")
def bundled(tmp_path_factory):
    """bundled(format): the TypeScript service in one file, as SAM and CDK bundle it (by esbuild)."""
    if shutil.which("node") is None:
        absent("node")
    packages = npm_packages("powertools-ts", TYPESCRIPT)

    def bundle(form):
        out = tmp_path_factory.mktemp(form) / "index.out"
        source = packages / "index.ts"
        shutil.copy(TYPESCRIPT / "index.ts", source)
        # What CommonJS packages inside a module need, as in Powertools' own documentation of bundling.
        banner = "import { createRequire } from 'module'; const require = createRequire(import.meta.url);"
        options = [f"--format={form}", "--bundle", "--platform=node", "--target=node20", f"--outfile={out}"]
        options += [f"--banner:js={banner}"] if form == "esm" else []
        run(str(packages / "node_modules" / ".bin" / "esbuild"), str(source), *options)
        return out.read_bytes()

    return bundle


def check_service(function):
    request = {
        "version": "2.0", "routeKey": "$default", "rawPath": "/orders/7", "rawQueryString": "", "headers": {},
        "requestContext": {
            "http": {"method": "GET", "path": "/orders/7", "sourceIp": "192.0.2.1", "protocol": "HTTP/1.1", "userAgent": "x"},
            "stage": "$default", "domainName": "orders.example", "requestId": "r",
        },
        "isBase64Encoded": False,
    }
    answer = function.invoke(request, LogType="Tail")
    assert answer.error is None, answer
    assert (answer.body["statusCode"], json.loads(answer.body["body"])) == (200, {"order": "7"})
    lines = [json.loads(line) for line in answer.log.splitlines() if line.startswith("{") and line.endswith("}")]
    asked = next(line for line in lines if line.get("message") == "asked")
    assert (asked["service"], asked["order"], asked["function_name"]) == ("orders", "7", function.name)
    assert asked["xray_trace_id"].startswith("1-") and asked["cold_start"] is True
    assert any(line.get("Orders") in (1, [1.0]) and "_aws" in line for line in lines), "metrics in the embedded format"
    batch = function.result({"Records": [message("1", "good"), message("2", "bad")]})
    assert batch == {"batchItemFailures": [{"itemIdentifier": "2"}]}


def test_powertools_for_python_runs_unmodified(deploy):
    files = installed("aws_lambda_powertools", "jmespath", "typing_extensions")
    check_service(deploy(package({**files, "index.py": CODE}), PYTHON, Timeout=60, MemorySize=512))


@pytest.mark.parametrize("form, name", [("cjs", "index.js"), ("esm", "index.mjs")])
def test_powertools_for_typescript_runs_unmodified(bundled, deploy, form, name):
    check_service(deploy(package({name: bundled(form)}), NODE, Timeout=60, MemorySize=512))
