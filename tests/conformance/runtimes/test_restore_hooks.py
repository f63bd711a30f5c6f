"""SnapStart through the official Python client: its hooks, and the two calls of the Runtime API that they need."""

import io
import zipfile

import pytest
from blackbox.functions import PROVIDED, package

HOOKS = """import os
from snapshot_restore_py import register_after_restore, register_before_snapshot
order = [os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]]
register_before_snapshot(order.append, "before 1")
register_before_snapshot(order.append, "before 2")
register_after_restore(order.append, "after 1")
register_after_restore({second})
def handler(event, context):
    return order
"""


@pytest.fixture
def hooked(python_ric, deploy, lambda_client):
    """hooked(second): a published version on awslambdaric whose second after-restore hook is this expression's value."""

    def make(second):
        files = zipfile.ZipFile(io.BytesIO(python_ric))
        contents = {name: files.read(name) for name in files.namelist()}
        function = deploy(
            package({**contents, "index.py": HOOKS.format(second=second)}),
            runtime=PROVIDED,
            MemorySize=512,
            Timeout=30,
            SnapStart={"ApplyOn": "PublishedVersions"},
            Publish=True,
        )
        lambda_client.get_waiter("published_version_active").wait(
            FunctionName=function.name, Qualifier="1", WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
        return function

    return make


def test_hooks_of_awslambdaric_run_before_the_snapshot_and_after_the_restore(hooked):
    function = hooked("order.append, 'after 2'")
    answer = function.invoke(Qualifier="1", LogType="Tail")
    assert answer.body == ["snap-start", "before 2", "before 1", "after 1", "after 2"]
    assert "RESTORE_REPORT Restore Duration: " in answer.log and "Billed Restore Duration: " in answer.log, answer.log
    assert function.result(Qualifier="1") == answer.body, "hooks run once"


def test_a_failing_hook_of_awslambdaric_is_a_snap_start_exception(hooked, lambda_client):
    function = hooked("int, 'x'")
    with pytest.raises(lambda_client.exceptions.SnapStartException):
        lambda_client.invoke(FunctionName=function.name, Qualifier="1")
