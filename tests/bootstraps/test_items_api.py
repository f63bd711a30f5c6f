"""examples/items-api on both bootstraps: cold once, warm afterwards, a real database behind it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "items-api"


@pytest.fixture(scope="session")
def node_package(tmp_path_factory):
    """The node variant as `npm ci` installs it, outside the source tree."""
    folder = tmp_path_factory.mktemp("items-api") / "node"
    shutil.copytree(EXAMPLE / "node", folder, ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True)
    return folder


@pytest.fixture(params=["node", "python"])
def items(request, start, tmp_path):
    """call(method, path, body): the parsed answer of a function URL event; `.logs()`: the lines so far."""
    if request.param == "node":
        root, handler = request.getfixturevalue("node_package"), "index.handler"
    else:
        root, handler = EXAMPLE / "python", "app.handler"
    database = tmp_path / "items.db"
    environment = start(request.param, {}, handler, LAMBDA_TASK_ROOT=str(root), DB_PATH=str(database)).ready()

    def call(method=None, path=None, body=None, **fields):
        event = (
            {} if method is None else {"rawPath": path, "requestContext": {"http": {"method": method}}, "body": body, **fields}
        )
        answer = environment.result(event)
        return answer["statusCode"], json.loads(answer["body"])

    def logs():
        environment.channel.close()
        printed = environment.process.communicate()[0].decode()
        return printed + "\n".join(record.message for record in environment.records())

    call.logs = logs
    return call


def test_items_live_in_the_database(items):
    assert items() == (200, {"items": []})
    status, tea = items("POST", "/items", '{"name":"tea","price":2.5}')
    assert status == 201 and (tea["name"], tea["price"]) == ("tea", 2.5)
    status, milk = items("POST", "/items", "eyJuYW1lIjoibWlsayJ9", isBase64Encoded=True)
    assert status == 201 and (milk["name"], milk["price"]) == ("milk", None)
    assert sorted(item["id"] for item in items()[1]["items"]) == sorted([tea["id"], milk["id"]])
    assert items("GET", f"/items/{tea['id']}") == (200, tea)
    assert items("DELETE", f"/items/{tea['id']}") == (200, tea)
    assert items("GET", f"/items/{tea['id']}")[0] == 404
    assert items() == (200, {"items": [milk]})


def test_bad_requests(items):
    assert items("POST", "/items", "{")[0] == 400
    assert items("POST", "/items", "[]")[0] == 400
    assert items("POST", "/items", '{"name":1}')[0] == 400
    assert items("PUT", "/items", "{}")[0] == 405
    assert items("GET", "/other")[0] == 404
    assert items("DELETE", "/items/none")[0] == 404


def test_cold_once_then_warm(items):
    for _ in range(3):
        items()
    text = items.logs()
    assert text.count("Cold Start: ") == 1 and text.count("Warm Start: ") == 2
    assert text.index("Cold Start: ") < text.index("Warm Start: ")
