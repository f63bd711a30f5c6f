"""Many invokes at once: each caller gets its own answer."""

from concurrent.futures import ThreadPoolExecutor

from blackbox.functions import PYTHON, javascript, python

CALLERS = 200


def test_200_concurrent_invokes_of_one_function(deploy):
    source = (
        "import time\ndef handler(event, context):\n    time.sleep(0.05)\n    return [event['caller'], context.aws_request_id]\n"
    )
    function = deploy(python(source), runtime=PYTHON, Timeout=60)
    with ThreadPoolExecutor(CALLERS) as callers:
        answers = list(callers.map(lambda caller: function.result({"caller": caller}), range(CALLERS)))
    assert [caller for caller, _ in answers] == list(range(CALLERS))
    assert len({request_id for _, request_id in answers}) == CALLERS


def test_no_mix_up_between_environments(deploy):
    source = "exports.handler = async (event, context) => ({ event, id: context.awsRequestId, pid: process.pid });"
    function = deploy(javascript(source), Timeout=60)
    events = [{"number": number, "pad": "x" * (number * 37 % 5000)} for number in range(400)]
    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(function.result, events))
    assert [answer["event"] for answer in answers] == events
    assert len({answer["id"] for answer in answers}) == len(events)


def test_one_environment_serves_one_invoke_at_a_time(deploy):
    source = """import time
busy = False
def handler(event, context):
    global busy
    assert not busy, 'two invokes in one environment'
    busy = True
    time.sleep(0.1)
    busy = False
    return True
"""
    function = deploy(python(source), runtime=PYTHON, Timeout=60)
    with ThreadPoolExecutor(16) as callers:
        assert all(callers.map(lambda _: function.result(), range(48)))


def test_functions_do_not_see_each_others_scratch_space(deploy):
    write = "const fs = require('fs'); exports.handler = async (e) => { if (e.write) fs.writeFileSync('/tmp/mine', e.write); return fs.readdirSync('/tmp'); };"
    first, second = deploy(javascript(write)), deploy(javascript(write))
    assert first.result({"write": "secret"}) == ["mine"]
    assert second.result() == []
