"""Bad configuration: AWS's code and status, and nothing half done."""

import pytest
from blackbox.functions import NODE, javascript, unique
from blackbox.server import ROLE
from botocore.exceptions import ClientError

CODE = javascript("exports.handler = async () => 1;")
INVALID = "InvalidParameterValueException"
VALIDATION = "ValidationException"

# What is wrong: (fields, acceptable codes, a part of the message)
CASES = {
    "name_with_space": ({"FunctionName": "a b"}, {VALIDATION, INVALID}, "functionName"),
    "name_too_long": ({"FunctionName": "a" * 141}, {VALIDATION, INVALID}, ""),
    "role_is_no_arn": ({"Role": "nobody"}, {VALIDATION}, "role"),
    "handler_with_space": ({"Handler": "index .handler"}, {VALIDATION}, "handler"),
    "handler_too_long": ({"Handler": "i." + "h" * 127}, {VALIDATION}, "handler"),
    "memory_small": ({"MemorySize": 127}, {VALIDATION}, "memorySize"),
    "memory_large": ({"MemorySize": 40_000}, {VALIDATION, INVALID}, "emorySize"),
    "timeout_zero": ({"Timeout": 0}, {VALIDATION}, "timeout"),
    "timeout_large": ({"Timeout": 5_401}, {VALIDATION, INVALID}, "imeout"),
    "runtime_unknown": ({"Runtime": "cobol85"}, {INVALID, VALIDATION}, "cobol85"),
    "runtime_not_on_this_host": ({"Runtime": "java21"}, {INVALID}, "java21"),
    "environment_too_large": ({"Environment": {"Variables": {"KEY": "x" * 4096}}}, {INVALID}, "4KB"),
    "environment_bad_name": ({"Environment": {"Variables": {"1A": "x"}}}, {VALIDATION, INVALID}, ""),
    "t23_environment_reserved": ({"Environment": {"Variables": {"AWS_REGION": "x"}}}, {INVALID}, "AWS_REGION"),
    "t23_environment_handler": ({"Environment": {"Variables": {"_HANDLER": "x"}}}, {INVALID, VALIDATION}, ""),
    "ephemeral_small": ({"EphemeralStorage": {"Size": 511}}, {VALIDATION}, ""),
    "zip_empty": ({"Code": {"ZipFile": b""}}, {INVALID, VALIDATION}, ""),
    "zip_is_text": ({"Code": {"ZipFile": b"not a zip"}}, {INVALID}, "Could not unzip uploaded file."),
    "zip_truncated": ({"Code": {"ZipFile": CODE[:-30]}}, {INVALID}, "Could not unzip uploaded file."),
    "no_code": ({"Code": {}}, {INVALID, VALIDATION}, ""),
}


@pytest.mark.parametrize("name", CASES)
def test_create_refuses(server, name):
    fields, codes, part = CASES[name]
    client = server.client("lambda", parameter_validation=False)
    function_name = unique("bad")
    request = {
        "FunctionName": function_name,
        "Runtime": NODE,
        "Handler": "index.handler",
        "Role": ROLE,
        "Code": {"ZipFile": CODE},
        **fields,
    }
    with pytest.raises(ClientError) as caught:
        client.create_function(**request)
    error = caught.value.response
    assert error["Error"]["Code"] in codes, error
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert part in error["Error"]["Message"]
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function(FunctionName=function_name)


UPDATES = [
    "handler_with_space",
    "memory_small",
    "timeout_zero",
    "environment_too_large",
    "t23_environment_reserved",
    "role_is_no_arn",
]


@pytest.mark.parametrize("name", UPDATES)
def test_update_refuses_and_changes_nothing(deploy, server, name):
    fields, codes, part = CASES[name]
    function = deploy(CODE)
    client = server.client("lambda", parameter_validation=False)
    before = client.get_function_configuration(FunctionName=function.name)
    with pytest.raises(ClientError) as caught:
        client.update_function_configuration(FunctionName=function.name, Description="changed", **fields)
    error = caught.value.response
    assert error["Error"]["Code"] in codes, error
    assert part in error["Error"]["Message"]
    after = client.get_function_configuration(FunctionName=function.name)
    del before["ResponseMetadata"], after["ResponseMetadata"]
    assert after == before


def test_update_code_refuses_a_truncated_zip_and_keeps_the_code(deploy, lambda_client):
    function = deploy(CODE)
    with pytest.raises(ClientError) as caught:
        lambda_client.update_function_code(FunctionName=function.name, ZipFile=CODE[:-30])
    assert caught.value.response["Error"]["Code"] == INVALID
    assert function.result() == 1


def test_an_operation_that_is_not_served_says_so(lambda_client):
    with pytest.raises(ClientError) as caught:
        lambda_client.list_durable_executions_by_function(FunctionName="any")
    error = caught.value.response
    assert error["ResponseMetadata"]["HTTPStatusCode"] in (400, 404, 501)
    assert "ListDurableExecutionsByFunction" in error["Error"]["Message"]
    assert "implemented" in error["Error"]["Message"]
