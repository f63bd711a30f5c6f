"""Tenant isolation mode through boto3: what a tenant sees of another, and who must name one."""

import json
import time

import pytest
from blackbox.functions import NODE, PYTHON, javascript, python

MODE = {"TenantIsolationMode": "PER_TENANT"}
COUNT = {
    NODE: javascript("let n = 0; exports.handler = async (event, context) => ({ n: (n += 1), tenant: context.tenantId });"),
    PYTHON: python(
        "n = 0\ndef handler(event, context):\n    global n\n    n += 1\n    print('for', context.tenant_id, n)\n"
        "    return {'n': n, 'tenant': context.tenant_id}\n"
    ),
}


@pytest.mark.parametrize("runtime", [NODE, PYTHON])
def test_each_tenant_has_environments_of_its_own(deploy, runtime):
    function = deploy(COUNT[runtime], runtime=runtime, TenancyConfig=MODE)
    assert function.created["TenancyConfig"] == MODE
    for expected in [1, 2]:
        for tenant in ["blue", "green", "team/42 @x"]:
            assert function.result(TenantId=tenant) == {"n": expected, "tenant": tenant}


def test_a_tenant_is_named_where_it_must_be_and_nowhere_else(deploy, lambda_client):
    per_tenant, plain = deploy(COUNT[PYTHON], runtime=PYTHON, TenancyConfig=MODE), deploy(COUNT[PYTHON], runtime=PYTHON)
    invalid = lambda_client.exceptions.InvalidParameterValueException
    for call in [lambda_client.invoke, lambda_client.invoke_with_response_stream]:
        with pytest.raises(invalid, match="Add a valid tenant ID"):
            call(FunctionName=per_tenant.name)
        with pytest.raises(invalid, match="Remove the tenant ID"):
            call(FunctionName=plain.name, TenantId="blue")
    with pytest.raises(invalid):
        lambda_client.create_function_url_config(FunctionName=per_tenant.name, AuthType="NONE")


def test_streams_and_events_reach_the_tenant_they_are_for(deploy, lambda_client):
    function = deploy(COUNT[PYTHON], runtime=PYTHON, TenancyConfig=MODE)
    answer = lambda_client.invoke_with_response_stream(FunctionName=function.name, TenantId="blue")
    chunks = [part["PayloadChunk"]["Payload"] for part in answer["EventStream"] if "PayloadChunk" in part]
    assert json.loads(b"".join(chunks)) == {"n": 1, "tenant": "blue"}
    accepted = lambda_client.invoke(FunctionName=function.name, InvocationType="Event", TenantId="green", Payload=b"{}")
    assert accepted["StatusCode"] == 202
    function.messages(lambda messages: any("for green 1" in message for message in messages))
    give_up = time.monotonic() + 30
    while function.result(TenantId="green")["n"] < 2:
        assert time.monotonic() < give_up
    assert function.result(TenantId="blue") == {"n": 2, "tenant": "blue"}
