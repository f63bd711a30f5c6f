"""examples/items-api on the real server: cold once, warm afterwards, through the URL and through Invoke."""

import json
import shutil
from pathlib import Path

import pytest
from blackbox.functions import NODE, PYTHON, package_folder
from blackbox.suites import absent, npm_packages

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "items-api"


@pytest.fixture(params=[NODE, PYTHON])
def items(request, deploy):
    if request.param == PYTHON:
        return deploy(package_folder(EXAMPLE / "python"), runtime=PYTHON, handler="app.handler", MemorySize=256, Timeout=20)
    if shutil.which("node") is None:
        absent("node")
    installed = npm_packages("items-api", EXAMPLE / "node")
    files = {name: (EXAMPLE / "node" / name).read_text() for name in ("index.js", "database.js", "package.json")}
    return deploy(package_folder(installed, files), runtime=NODE, MemorySize=256, Timeout=20)


def test_items_api(server, items):
    prefix = items.url()

    def call(method, path, body=None):
        status, _, text = server.get(prefix + path, method, body, {"Content-Type": "application/json"} if body else {})
        return status, json.loads(text)

    status, tea = call("POST", "/items", b'{"name":"tea","price":2.5}')
    assert status == 201 and tea["name"] == "tea"
    assert call("GET", "/items") == (200, {"items": [tea]})
    assert call("GET", f"/items/{tea['id']}") == (200, tea)
    assert json.loads(items.result({})["body"]) == {"items": [tea]}, "Invoke reaches the same warm environment"
    assert call("DELETE", f"/items/{tea['id']}") == (200, tea)
    assert call("GET", f"/items/{tea['id']}")[0] == 404
    messages = items.messages(lambda found: sum("REPORT RequestId" in message for message in found) == 6)
    assert sum("Cold Start: " in message for message in messages) == 1
    assert sum("Warm Start: " in message for message in messages) == 5
    assert sum("Init Duration" in message for message in messages) == 1
