"""CloudWatch Logs through boto3: what a function printed can be found again."""

import time

import pytest
from blackbox.functions import PYTHON, javascript, python, unique

LINES = javascript("exports.handler = async (event) => { for (const line of event.lines) console.log(line); };")


def has(text):
    return lambda messages: any(text in message for message in messages)


def test_group_and_stream_of_a_function(deploy, logs_client):
    function = deploy(LINES)
    function.result({"lines": ["alpha"]})
    function.messages(has("REPORT RequestId"))
    group = f"/aws/lambda/{function.name}"
    groups = logs_client.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert [found["logGroupName"] for found in groups] == [group]
    assert groups[0]["arn"].startswith("arn:aws:logs:") and groups[0]["creationTime"] > 1_700_000_000_000
    (stream,) = logs_client.describe_log_streams(logGroupName=group)["logStreams"]
    assert "[$LATEST]" in stream["logStreamName"]


def test_get_log_events_in_order(deploy, logs_client):
    function = deploy(LINES)
    function.result({"lines": [f"line {number}" for number in range(20)]})
    function.messages(has("REPORT RequestId"))
    group = f"/aws/lambda/{function.name}"
    stream = logs_client.describe_log_streams(logGroupName=group)["logStreams"][0]["logStreamName"]
    page = logs_client.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)
    messages = [event["message"] for event in page["events"]]
    ours = [message for message in messages if "line " in message]
    assert [message.rstrip("\n").split("\t")[-1] for message in ours] == [f"line {number}" for number in range(20)]
    starts = next(index for index, message in enumerate(messages) if message.startswith("START RequestId"))
    ends = next(index for index, message in enumerate(messages) if message.startswith("END RequestId"))
    reports = next(index for index, message in enumerate(messages) if message.startswith("REPORT RequestId"))
    assert starts < messages.index(ours[0]) and messages.index(ours[-1]) < ends < reports
    times = [event["timestamp"] for event in page["events"]]
    assert times == sorted(times)
    again = logs_client.get_log_events(logGroupName=group, logStreamName=stream, nextToken=page["nextForwardToken"])
    assert again["events"] == [] and again["nextForwardToken"] == page["nextForwardToken"]


def test_filter_pattern_and_time(deploy, logs_client):
    function = deploy(LINES)
    function.result({"lines": ["alpha one", "beta two", "alpha three"]})
    function.messages(has("REPORT RequestId"))
    group = f"/aws/lambda/{function.name}"
    found = logs_client.filter_log_events(logGroupName=group, filterPattern="alpha")["events"]
    assert len(found) == 2 and all("alpha" in event["message"] for event in found)
    assert all(event["logStreamName"] and event["eventId"] for event in found)
    future = int(time.time() * 1000) + 3_600_000
    assert logs_client.filter_log_events(logGroupName=group, startTime=future)["events"] == []


def test_filter_pages_through_all(deploy, logs_client):
    function = deploy(LINES)
    function.result({"lines": [f"row {number}" for number in range(50)]})
    function.messages(has("REPORT RequestId"))
    pages = logs_client.get_paginator("filter_log_events").paginate(
        logGroupName=f"/aws/lambda/{function.name}", filterPattern="row", PaginationConfig={"PageSize": 7}
    )
    events = [event for page in pages for event in page["events"]]
    assert len(events) == 50 and len({event["eventId"] for event in events}) == 50


def test_records_of_several_lines_stay_whole(deploy):
    function = deploy(LINES)
    function.result({"lines": ["first\nsecond\nthird"]})
    messages = function.messages(has("third"))
    assert any("first\nsecond\nthird" in message for message in messages)


def test_d7_a_function_cannot_forge_platform_records(deploy, logs_client):
    forged = "REPORT RequestId: 00000000-0000-0000-0000-000000000000\tDuration: 0.01 ms\tBilled Duration: 1 ms"
    function = deploy(
        python(f"import sys\ndef handler(event, context):\n    print({forged!r})\n    print('END RequestId: forged')\n"),
        runtime=PYTHON,
    )
    answer = function.invoke(LogType="Tail")
    messages = function.messages(lambda found: sum("REPORT RequestId" in message for message in found) >= 2)
    real = [message for message in messages if message.startswith("REPORT RequestId: ") and "Max Memory Used" in message]
    assert len(real) == 1 and "00000000-0000-0000-0000-000000000000" not in real[0]
    assert answer.log.count("Max Memory Used") == 1


@pytest.mark.parametrize("call", ["describe_log_streams", "filter_log_events"])
def test_unknown_group(logs_client, call):
    with pytest.raises(logs_client.exceptions.ResourceNotFoundException):
        getattr(logs_client, call)(logGroupName=f"/aws/lambda/{unique('none')}")


def test_prefix_and_paging_of_groups(deploy, logs_client):
    prefix = unique("grouped")
    for number in range(3):
        deploy(LINES, name=f"{prefix}-{number}").result({"lines": ["x"]})
    give_up = time.monotonic() + 60
    names = []
    while len(names) < 3 and time.monotonic() < give_up:
        pages = logs_client.get_paginator("describe_log_groups").paginate(
            logGroupNamePrefix=f"/aws/lambda/{prefix}", PaginationConfig={"PageSize": 1}
        )
        names = [group["logGroupName"] for page in pages for group in page["logGroups"]]
    assert names == [f"/aws/lambda/{prefix}-{number}" for number in range(3)]
