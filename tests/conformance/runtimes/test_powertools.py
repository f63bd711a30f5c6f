"""AWS Powertools for Python, unmodified: logger, metrics, HTTP resolver and batch processor of its own documentation."""

import importlib.util
import json
from pathlib import Path

from blackbox.functions import PYTHON, package

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


def test_powertools_for_python_runs_unmodified(deploy):
    files = installed("aws_lambda_powertools", "jmespath", "typing_extensions")
    function = deploy(package({**files, "index.py": CODE}), PYTHON, Timeout=60, MemorySize=512)
    request = {
        "version": "2.0", "routeKey": "$default", "rawPath": "/orders/7", "rawQueryString": "", "headers": {},
        "requestContext": {"http": {"method": "GET", "path": "/orders/7"}, "stage": "$default"}, "isBase64Encoded": False,
    }
    answer = function.invoke(request, LogType="Tail")
    assert answer.error is None, answer
    assert (answer.body["statusCode"], json.loads(answer.body["body"])) == (200, {"order": "7"})
    lines = [json.loads(line) for line in answer.log.splitlines() if line.startswith("{") and line.endswith("}")]
    asked = next(line for line in lines if line.get("message") == "asked")
    assert (asked["service"], asked["order"], asked["function_name"]) == ("orders", "7", function.name)
    assert asked["xray_trace_id"].startswith("1-") and asked["cold_start"] is True
    assert any(line.get("Orders") == [1.0] and "_aws" in line for line in lines), "metrics in the embedded format"
    batch = function.result({"Records": [message("1", "good"), message("2", "bad")]})
    assert batch == {"batchItemFailures": [{"itemIdentifier": "2"}]}
