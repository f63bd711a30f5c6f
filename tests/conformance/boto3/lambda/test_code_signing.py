"""Code signing configurations through boto3. Nothing can be signed here: one that enforces keeps every package out."""

import pytest
from blackbox.functions import javascript, package, unique
from blackbox.server import ACCOUNT, REGION

ENFORCE, WARN = {"UntrustedArtifactOnDeployment": "Enforce"}, {"UntrustedArtifactOnDeployment": "Warn"}
PUBLISHERS = {"SigningProfileVersionArns": [f"arn:aws:signer:{REGION}:{ACCOUNT}:/signing-profiles/team/ab12cd34ef"]}
CODE = "exports.handler = async () => %d;"


@pytest.fixture
def config(lambda_client):
    made = []

    def create(policies, **fields):
        one = lambda_client.create_code_signing_config(AllowedPublishers=PUBLISHERS, CodeSigningPolicies=policies, **fields)
        made.append(one["CodeSigningConfig"]["CodeSigningConfigArn"])
        return one["CodeSigningConfig"]

    yield create
    for arn in made:
        for function in lambda_client.list_functions_by_code_signing_config(CodeSigningConfigArn=arn)["FunctionArns"]:
            lambda_client.delete_function(FunctionName=function)
        lambda_client.delete_code_signing_config(CodeSigningConfigArn=arn)


def test_a_configuration_is_made_changed_tagged_and_listed(lambda_client, config):
    made = config(ENFORCE, Description="d", Tags={"team": "a"})
    arn = made["CodeSigningConfigArn"]
    assert arn == f"arn:aws:lambda:{REGION}:{ACCOUNT}:code-signing-config:{made['CodeSigningConfigId']}"
    assert (made["AllowedPublishers"], made["CodeSigningPolicies"], made["Description"]) == (PUBLISHERS, ENFORCE, "d")
    assert lambda_client.get_code_signing_config(CodeSigningConfigArn=arn)["CodeSigningConfig"] == made
    changed = lambda_client.update_code_signing_config(CodeSigningConfigArn=arn, CodeSigningPolicies=WARN)
    assert changed["CodeSigningConfig"]["CodeSigningPolicies"] == WARN
    assert changed["CodeSigningConfig"]["Description"] == "d"
    assert lambda_client.list_tags(Resource=arn)["Tags"] == {"team": "a"}
    lambda_client.tag_resource(Resource=arn, Tags={"b": "2"})
    lambda_client.untag_resource(Resource=arn, TagKeys=["team"])
    assert lambda_client.list_tags(Resource=arn)["Tags"] == {"b": "2"}
    others = {config(WARN)["CodeSigningConfigArn"] for _ in range(3)}
    pages = lambda_client.get_paginator("list_code_signing_configs").paginate(PaginationConfig={"PageSize": 2})
    listed = [one["CodeSigningConfigArn"] for page in pages for one in page["CodeSigningConfigs"]]
    assert len(listed) == len(set(listed)) and {arn, *others} <= set(listed)


def test_warn_lets_code_in_and_says_so_in_the_log(server, deploy, lambda_client, config):
    arn = config(WARN)["CodeSigningConfigArn"]
    function = deploy(javascript(CODE % 1), CodeSigningConfigArn=arn)
    assert function.result() == 1
    assert lambda_client.get_function_code_signing_config(FunctionName=function.name)["CodeSigningConfigArn"] == arn
    lambda_client.update_function_code(FunctionName=function.name, ZipFile=javascript(CODE % 2))
    assert function.result() == 2
    log = (server.data.parent / f"{server.data.name}.stderr").read_text()
    lines = [line for line in log.splitlines() if "code without a signature is deployed" in line and arn in line]
    assert len(lines) == 2 and all("WARN" in line.upper() and function.name in line for line in lines)


def test_enforce_keeps_code_out_and_the_function_as_it_was(deploy, lambda_client, config):
    arn, name = config(ENFORCE)["CodeSigningConfigArn"], unique("signed")
    refused = lambda_client.exceptions.CodeVerificationFailedException
    with pytest.raises(refused, match="Check the provided signature for"):
        deploy(javascript(CODE % 1), CodeSigningConfigArn=arn, name=name)
    with pytest.raises(lambda_client.exceptions.ResourceNotFoundException):
        lambda_client.get_function(FunctionName=name)
    function = deploy(javascript(CODE % 1))
    lambda_client.put_function_code_signing_config(FunctionName=function.name, CodeSigningConfigArn=arn)
    with pytest.raises(refused, match=f"Check the provided signature for {function.name}\\."):
        lambda_client.update_function_code(FunctionName=function.name, ZipFile=javascript(CODE % 2))
    layer = lambda_client.publish_layer_version(LayerName=unique("layer"), Content={"ZipFile": package({"a": "b"})})
    with pytest.raises(refused):
        lambda_client.update_function_configuration(FunctionName=function.name, Layers=[layer["LayerVersionArn"]])
    assert function.result() == 1, "what was there runs on"
    with pytest.raises(lambda_client.exceptions.ResourceConflictException):
        lambda_client.delete_code_signing_config(CodeSigningConfigArn=arn)
    lambda_client.delete_function_code_signing_config(FunctionName=function.name)
    lambda_client.update_function_code(FunctionName=function.name, ZipFile=javascript(CODE % 2))
    assert function.result() == 2
