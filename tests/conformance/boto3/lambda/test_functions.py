"""CreateFunction … DeleteFunction through boto3."""

import base64
import hashlib
import io
import urllib.request
import zipfile

import pytest
from blackbox.functions import NODE, PYTHON, javascript, package, unique
from blackbox.server import ACCOUNT, REGION, ROLE
from botocore.exceptions import ClientError

ECHO = javascript("exports.handler = async (event) => event;")
ONE = javascript("exports.handler = async () => 1;")
TWO = javascript("exports.handler = async () => 2;")


def sha256(data):
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def refused(call, *arguments, **fields):
    """Calls and returns (code, status, message) of the refusal."""
    with pytest.raises(ClientError) as caught:
        call(*arguments, **fields)
    answer = caught.value.response
    assert answer["ResponseMetadata"]["RequestId"]
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


def test_create_answers_the_configuration(deploy):
    function = deploy(
        ECHO,
        Description="what it is",
        Timeout=7,
        MemorySize=256,
        Environment={"Variables": {"KEY": "1"}},
        EphemeralStorage={"Size": 600},
    )
    created = function.created
    assert created["ResponseMetadata"]["HTTPStatusCode"] == 201
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function.name}"
    expected = {
        "FunctionName": function.name,
        "FunctionArn": arn,
        "Runtime": NODE,
        "Role": ROLE,
        "Handler": "index.handler",
        "Description": "what it is",
        "Timeout": 7,
        "MemorySize": 256,
        "CodeSize": len(ECHO),
        "CodeSha256": sha256(ECHO),
        "Version": "$LATEST",
        "PackageType": "Zip",
        "Architectures": ["x86_64"],
    }
    assert {key: created[key] for key in expected} == expected
    assert created["Environment"] == {"Variables": {"KEY": "1"}}
    assert created["EphemeralStorage"] == {"Size": 600}
    assert created["State"] in ("Pending", "Active")
    assert created["RevisionId"] and created["LastModified"]


def test_defaults(deploy):
    created = deploy(ECHO).created
    assert (created["Timeout"], created["MemorySize"], created["Description"]) == (3, 128, "")
    assert created["EphemeralStorage"] == {"Size": 512}
    assert created["TracingConfig"] == {"Mode": "PassThrough"}
    assert created["LoggingConfig"]["LogGroup"] == f"/aws/lambda/{created['FunctionName']}", "T18"


def test_t12_waiters_see_truthful_states(deploy, lambda_client):
    function = deploy(ECHO, wait=False)
    lambda_client.get_waiter("function_active_v2").wait(FunctionName=function.name, WaiterConfig={"Delay": 1})
    lambda_client.get_waiter("function_exists").wait(FunctionName=function.name, WaiterConfig={"Delay": 1})
    lambda_client.update_function_code(FunctionName=function.name, ZipFile=ONE)
    lambda_client.get_waiter("function_updated_v2").wait(FunctionName=function.name, WaiterConfig={"Delay": 1})
    configuration = lambda_client.get_function_configuration(FunctionName=function.name)
    assert (configuration["State"], configuration["LastUpdateStatus"]) == ("Active", "Successful")


def test_get_function_gives_the_code_back(deploy, lambda_client):
    function = deploy(ECHO)
    for name in (function.name, function.created["FunctionArn"], f"{ACCOUNT}:function:{function.name}"):
        found = lambda_client.get_function(FunctionName=name)
        assert found["Configuration"]["CodeSha256"] == sha256(ECHO)
        assert found["Code"]["RepositoryType"] == "S3"
    with urllib.request.urlopen(found["Code"]["Location"], timeout=30) as answer:
        assert zipfile.ZipFile(io.BytesIO(answer.read())).namelist() == ["index.js"]


def test_update_code_changes_the_next_invoke(deploy, lambda_client):
    function = deploy(ONE)
    assert function.result() == 1
    before = lambda_client.get_function_configuration(FunctionName=function.name)
    updated = lambda_client.update_function_code(FunctionName=function.name, ZipFile=TWO)
    assert updated["CodeSha256"] == sha256(TWO) and updated["RevisionId"] != before["RevisionId"]
    lambda_client.get_waiter("function_updated_v2").wait(FunctionName=function.name, WaiterConfig={"Delay": 1})
    assert function.result() == 2


def test_update_code_dry_run_changes_nothing(deploy, lambda_client):
    function = deploy(ONE)
    lambda_client.update_function_code(FunctionName=function.name, ZipFile=TWO, DryRun=True)
    assert lambda_client.get_function_configuration(FunctionName=function.name)["CodeSha256"] == sha256(ONE)


def test_revision_id_guards_updates(deploy, lambda_client):
    function = deploy(ONE)
    name = function.name
    code, status, _ = refused(lambda_client.update_function_code, FunctionName=name, ZipFile=TWO, RevisionId="stale")
    assert (code, status) == ("PreconditionFailedException", 412)
    code, status, _ = refused(lambda_client.update_function_configuration, FunctionName=name, Timeout=9, RevisionId="stale")
    assert (code, status) == ("PreconditionFailedException", 412)
    revision = lambda_client.get_function_configuration(FunctionName=name)["RevisionId"]
    lambda_client.update_function_configuration(FunctionName=name, Timeout=9, RevisionId=revision)


def test_update_configuration_reaches_the_function(deploy, lambda_client):
    source = "exports.handler = async (e, c) => [process.env.KEY ?? null, c.memoryLimitInMB];"
    function = deploy(javascript(source), Environment={"Variables": {"KEY": "1"}})
    assert function.result() == ["1", "128"]
    lambda_client.update_function_configuration(
        FunctionName=function.name, Environment={"Variables": {"KEY": "2"}}, MemorySize=192, Description="new"
    )
    lambda_client.get_waiter("function_updated_v2").wait(FunctionName=function.name, WaiterConfig={"Delay": 1})
    assert function.result() == ["2", "192"]
    configuration = lambda_client.get_function_configuration(FunctionName=function.name)
    assert (configuration["Description"], configuration["Timeout"]) == ("new", 3)


def test_list_functions_pages_through_all(deploy, lambda_client):
    prefix = unique("page")
    names = {deploy(ECHO, name=f"{prefix}-{number}", wait=False).name for number in range(7)}
    pages = list(lambda_client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2}))
    assert all(len(page["Functions"]) <= 2 for page in pages)
    listed = [function["FunctionName"] for page in pages for function in page["Functions"]]
    assert len(listed) == len(set(listed))
    assert names <= set(listed)


def test_delete_is_final(deploy, lambda_client):
    function = deploy(ONE)
    assert function.result() == 1
    answer = lambda_client.delete_function(FunctionName=function.name)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] in (200, 204)
    for call in (
        lambda_client.get_function,
        lambda_client.get_function_configuration,
        lambda_client.delete_function,
        lambda_client.invoke,
    ):
        code, status, message = refused(call, FunctionName=function.name)
        assert (code, status) == ("ResourceNotFoundException", 404)
        assert f"function:{function.name}" in message


def test_same_name_conflicts(deploy, lambda_client):
    function = deploy(ONE)
    code, status, message = refused(
        lambda_client.create_function,
        FunctionName=function.name,
        Runtime=NODE,
        Handler="index.handler",
        Role=ROLE,
        Code={"ZipFile": ONE},
    )
    assert (code, status) == ("ResourceConflictException", 409)
    assert message == f"Function already exist: {function.name}"


def test_account_settings(deploy, lambda_client):
    before = lambda_client.get_account_settings()
    deploy(ECHO)
    after = lambda_client.get_account_settings()
    assert after["AccountUsage"]["FunctionCount"] == before["AccountUsage"]["FunctionCount"] + 1
    assert after["AccountUsage"]["TotalCodeSize"] >= before["AccountUsage"]["TotalCodeSize"] + len(ECHO)
    assert after["AccountLimit"]["ConcurrentExecutions"] >= 1000


def test_an_identifier_newer_than_the_host_runs_with_a_warning(deploy):
    function = deploy(ONE, runtime="nodejs24.x")
    assert function.result() == 1


@pytest.mark.parametrize("runtime", [NODE, PYTHON])
def test_task_root_is_read_only_and_tmp_is_not(deploy, runtime):
    if runtime == NODE:
        source = {
            "index.js": """const fs = require('fs');
exports.handler = async () => { fs.writeFileSync('/tmp/a', 'x');
  try { fs.writeFileSync('/var/task/a', 'x'); } catch (e) { return [fs.readFileSync('/tmp/a', 'utf8'), e.code]; } };"""
        }
    else:
        source = {
            "index.py": """def handler(event, context):
    open('/tmp/a', 'w').write('x')
    try:
        open('/var/task/a', 'w')
    except OSError as error:
        import errno
        return [open('/tmp/a').read(), errno.errorcode[error.errno]]
"""
        }
    assert deploy(package(source), runtime=runtime).result() == ["x", "EROFS"]
