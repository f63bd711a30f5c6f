"""Python: the runtime hooks of SnapStart."""

import json

HOOKS = """
import snapshot_restore_py as hooks
order = ["init"]
hooks.register_before_snapshot(order.append, "before 1")
hooks.register_before_snapshot(order.append, "before 2")
hooks.register_after_restore(order.append, "after 1")

@hooks.register_after_restore
def second(text="after 2"):
    order.append(text)

def handler(event, context):
    return order
"""


def snap_started(start, source):
    return start("python", source, AWS_LAMBDA_INITIALIZATION_TYPE="snap-start")


def test_hooks_of_snapstart_run_in_their_order_before_the_snapshot_and_after_the_restore(start):
    environment = snap_started(start, HOOKS)
    assert environment.receive().kind == "SUSPENDED"
    environment.restore()
    assert environment.receive().kind == "RESTORED"
    assert environment.result() == ["init", "before 2", "before 1", "after 1", "after 2"]


def test_without_hooks_after_the_restore_nothing_is_suspended(start):
    source = "import snapshot_restore_py as hooks\nhooks.register_before_snapshot(print, 'mine')\ndef handler(e, c):\n    return 1\n"
    assert snap_started(start, source).receive().kind == "READY"
    assert snap_started(start, "def handler(e, c):\n    return 1\n").receive().kind == "READY"
    # On demand there is no snapshot, and no hook is called.
    environment = start("python", HOOKS)
    assert environment.receive().kind == "READY"
    assert environment.result() == ["init"]


def test_a_hook_that_fails_ends_the_process_and_says_how(start):
    environment = snap_started(start, HOOKS.replace('order.append, "before 2"', "int, 'x'"))
    frame = environment.receive()
    assert frame.kind == "INIT_ERROR" and json.loads(frame.body)["errorType"] == "ValueError"
    assert environment.wait() == 64
    environment = snap_started(start, HOOKS.replace("order.append(text)", "raise KeyError(text)"))
    assert environment.receive().kind == "SUSPENDED"
    environment.restore()
    frame = environment.receive()
    assert frame.kind == "RESTORE_ERROR" and json.loads(frame.body)["errorType"] == "KeyError"
    assert environment.wait() == 65
