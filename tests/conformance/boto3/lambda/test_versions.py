"""Versions, aliases, layers and what goes with them, through boto3's waiters and paginators."""

import json
import random
import time

import pytest
from blackbox.functions import PYTHON, WAIT_S, javascript, package, python, unique
from botocore.exceptions import ClientError

VERSION = "exports.handler = async (event, context) => ({code: %d, version: context.functionVersion, arn: context.invokedFunctionArn});"


def source(number):
    return javascript(VERSION % number)


def refused(call, **fields):
    with pytest.raises(ClientError) as caught:
        call(**fields)
    return caught.value.response["Error"]["Code"]


def test_versions_and_aliases_run_what_they_were_made_of(deploy, lambda_client):
    function = deploy(source(0), Publish=True)
    assert function.created["Version"] == "1"
    lambda_client.get_waiter("published_version_active").wait(FunctionName=function.name, Qualifier="1")
    lambda_client.update_function_code(FunctionName=function.name, ZipFile=source(2))
    published = lambda_client.publish_version(FunctionName=function.name, Description="second")
    assert (published["Version"], published["Description"]) == ("2", "second")
    lambda_client.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1")
    assert function.result(Qualifier="live") == {"code": 0, "version": "1", "arn": f"{function.created['FunctionArn']}:live"}
    lambda_client.update_alias(FunctionName=function.name, Name="live", FunctionVersion="2")
    assert function.result(Qualifier="live")["code"] == 2
    assert function.result(Qualifier="1")["code"] == 0
    versions = lambda_client.get_paginator("list_versions_by_function")
    pages = versions.paginate(FunctionName=function.name, PaginationConfig={"PageSize": 1})
    assert [one["Version"] for page in pages for one in page["Versions"]] == ["$LATEST", "1", "2"]
    aliases = lambda_client.get_paginator("list_aliases").paginate(FunctionName=function.name)
    assert [one["Name"] for page in aliases for one in page["Aliases"]] == ["live"]
    assert lambda_client.get_alias(FunctionName=function.name, Name="live")["FunctionVersion"] == "2"
    assert refused(lambda_client.delete_function, FunctionName=function.name, Qualifier="2") == "ResourceConflictException"
    lambda_client.delete_alias(FunctionName=function.name, Name="live")
    lambda_client.delete_function(FunctionName=function.name, Qualifier="2")
    assert refused(function.invoke, Qualifier="2") == "ResourceNotFoundException"


def test_a_layer_may_be_larger_than_other_requests(lambda_client):
    content = package({"data/random": random.Random(1).randbytes(11_000_000)})
    published = lambda_client.publish_layer_version(LayerName=unique("large"), Content={"ZipFile": content})
    assert published["Content"]["CodeSize"] == len(content) > 11_000_000


def test_layers_are_merged_below_opt_and_python_imports_from_them(deploy, lambda_client):
    arns = []
    for name, files in {
        "first": {"python/greeting.py": "text = 'first'\n", "words.txt": "first"},
        "second": {"python/other.py": "text = 'other'\n", "words.txt": "second"},
    }.items():
        published = lambda_client.publish_layer_version(
            LayerName=name, Content={"ZipFile": package(files)}, CompatibleRuntimes=[PYTHON]
        )
        arns.append(published["LayerVersionArn"])
    handler = "import greeting, other\ndef handler(event, context):\n    return [greeting.text, other.text, open('/opt/words.txt').read()]\n"
    function = deploy(python(handler), PYTHON, Layers=arns)
    assert [layer["Arn"] for layer in function.created["Layers"]] == arns
    assert function.result() == ["first", "other", "second"]
    listed = lambda_client.get_paginator("list_layers").paginate(CompatibleRuntime=PYTHON)
    assert {"first", "second"} <= {one["LayerName"] for page in listed for one in page["Layers"]}
    versions = lambda_client.get_paginator("list_layer_versions").paginate(LayerName="first")
    assert [one["LayerVersionArn"] for page in versions for one in page["LayerVersions"]] == [arns[0]]
    assert lambda_client.get_layer_version_by_arn(Arn=arns[1])["LayerVersionArn"] == arns[1]
    lambda_client.delete_layer_version(LayerName="first", VersionNumber=1)
    assert refused(lambda_client.get_layer_version, LayerName="first", VersionNumber=1) == "ResourceNotFoundException"


def test_permissions_tags_and_settings(deploy, lambda_client):
    function = deploy(source(0))
    name, arn = function.name, function.created["FunctionArn"]
    lambda_client.add_permission(
        FunctionName=name, StatementId="s3", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com",
        SourceArn="arn:aws:s3:::bucket",
    )
    statement = json.loads(lambda_client.get_policy(FunctionName=name)["Policy"])["Statement"][0]
    assert statement["Condition"] == {"ArnLike": {"AWS:SourceArn": "arn:aws:s3:::bucket"}}
    lambda_client.remove_permission(FunctionName=name, StatementId="s3")
    assert refused(lambda_client.get_policy, FunctionName=name) == "ResourceNotFoundException"
    lambda_client.tag_resource(Resource=arn, Tags={"a": "1", "b": "2"})
    lambda_client.untag_resource(Resource=arn, TagKeys=["a"])
    assert lambda_client.list_tags(Resource=arn)["Tags"] == {"b": "2"}
    assert lambda_client.get_function_recursion_config(FunctionName=name)["RecursiveLoop"] == "Terminate"
    assert lambda_client.get_runtime_management_config(FunctionName=name)["UpdateRuntimeOn"] == "Auto"
    assert lambda_client.get_function_code_signing_config(FunctionName=name)["CodeSigningConfigArn"] == ""
    put = lambda_client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=1)
    assert put["LastModified"].year >= 2026
    configs = lambda_client.get_paginator("list_function_event_invoke_configs").paginate(FunctionName=name)
    assert [one["MaximumRetryAttempts"] for page in configs for one in page["FunctionEventInvokeConfigs"]] == [1]
    assert refused(lambda_client.list_durable_executions_by_function, FunctionName=name) == "NotImplemented"


def test_l10_reserved_concurrency_of_zero_stops_a_function(deploy, lambda_client):
    function = deploy(source(0))
    lambda_client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=0)
    with pytest.raises(lambda_client.exceptions.TooManyRequestsException) as caught:
        function.invoke()
    assert caught.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    lambda_client.delete_function_concurrency(FunctionName=function.name)
    assert function.result()["code"] == 0


def test_provisioned_concurrency_is_there_before_the_first_invocation(deploy, lambda_client):
    code = "exports.handler = async () => process.env.AWS_LAMBDA_INITIALIZATION_TYPE;"
    function = deploy(javascript(code), Publish=True)
    name = function.name
    lambda_client.put_provisioned_concurrency_config(FunctionName=name, Qualifier="1", ProvisionedConcurrentExecutions=2)
    give_up = time.monotonic() + WAIT_S
    while True:
        state = lambda_client.get_provisioned_concurrency_config(FunctionName=name, Qualifier="1")
        if state["Status"] == "READY" or time.monotonic() > give_up:
            break
        time.sleep(0.05)
    assert (state["Status"], state["AvailableProvisionedConcurrentExecutions"]) == ("READY", 2)
    answer = function.invoke(Qualifier="1", LogType="Tail")
    assert answer.body == "provisioned-concurrency"
    assert "Init Duration" not in answer.log, "no cold start"
    lambda_client.delete_provisioned_concurrency_config(FunctionName=name, Qualifier="1")
    code = refused(lambda_client.get_provisioned_concurrency_config, FunctionName=name, Qualifier="1")
    assert code == "ProvisionedConcurrencyConfigNotFoundException"
