import pytest
from blackbox.suites import absent
from environment import NODE, Environment


@pytest.fixture(params=["own", "generic"])
def start(request, tmp_path):
    """start(language, files, handler, **env): an Environment that ends with the test."""
    started = []

    def begin(language, files, handler="index.handler", **env):
        if language == "node" and NODE is None:
            absent("node")
        if isinstance(files, str):
            files = {"index.js" if language == "node" else "index.py": files}
        environment = Environment(language, tmp_path, files, handler, generic=request.param == "generic", **env)
        started.append(environment)
        return environment

    yield begin
    for environment in started:
        environment.close()
