"""Every function has a role of its own: it can do its job and nothing else."""

import json

import boto3
import pytest
from blackbox import calling
from blackbox.functions import unique
from blackbox.server import LAMBDA_TRUST
from botocore.exceptions import ClientError

FUNCTIONS = calling.get("lambda", "/2015-03-31/functions/")
GROUPS = calling.json_call("logs", "Logs_20140328.DescribeLogGroups")
WHO = calling.query("sts", "GetCallerIdentity")


def policy(*actions, resource="*", **condition):
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": resource, **condition}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def expect(function, event, status):
    answer = function.result(event)
    assert answer["status"] == status, answer
    return answer["body"]


@pytest.fixture
def role(server):
    """role(policy or None, trust): the name and ARN of a fresh role."""
    iam, made = server.client("iam"), []

    def make(document=None, trust=LAMBDA_TRUST):
        name = unique("role")
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
        made.append(name)
        if document:
            iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document)
        return name, arn

    yield make
    for name in made:
        try:
            for attached in iam.list_role_policies(RoleName=name)["PolicyNames"]:
                iam.delete_role_policy(RoleName=name, PolicyName=attached)
            iam.delete_role(RoleName=name)
        except iam.exceptions.NoSuchEntityException:
            pass


@pytest.fixture
def caller(deploy):
    """caller(role ARN): a function with that role that makes the AWS calls of its events."""
    return lambda arn, **fields: deploy(calling.CODE, calling.RUNTIME, role=arn, **fields)


def test_i8_two_functions_with_two_roles_each_do_their_job_and_nothing_else(role, caller):
    (lister_role, lister_arn), (logger_role, logger_arn) = role(policy("lambda:ListFunctions")), role(policy("logs:DescribeLogGroups"))
    lister, logger = caller(lister_arn), caller(logger_arn)
    # Its job …
    expect(lister, FUNCTIONS, 200)
    expect(logger, GROUPS, 200)
    # … nothing of the other's, and nothing that would make it stronger.
    denied = expect(logger, FUNCTIONS, 403)
    assert f"assumed-role/{logger_role}/{logger.name} is not authorized to perform: lambda:ListFunctions" in denied
    expect(lister, GROUPS, 400)
    for function in (lister, logger):
        for event in (
            calling.query("iam", "ListUsers"),
            calling.query("iam", "AttachRolePolicy", RoleName=lister_role, PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess"),
            calling.query("sts", "AssumeRole", RoleArn=lister_arn, RoleSessionName="session"),
            calling.get("lambda", f"/2015-03-31/functions/{lister.name}"),
        ):
            expect(function, event, 403)


def test_i8_calls_from_inside_arrive_as_the_role_with_the_function_as_source(server, role, caller):
    name, arn = role()
    function = caller(arn)
    body = expect(function, WHO, 200)
    assert f"<Arn>arn:aws:sts::000000000000:assumed-role/{name}/{function.name}</Arn>" in body
    source = function.created["FunctionArn"]
    iam = server.client("iam")
    for wanted, status in ((source, 200), (source + "x", 403)):
        condition = {"Condition": {"ArnEquals": {"lambda:SourceFunctionArn": wanted}}}
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=policy("lambda:ListFunctions", **condition))
        # I8 allows a second; on one node the very next call is decided by the new policy.
        expect(function, FUNCTIONS, status)


def test_i8_keys_of_one_function_are_refused_inside_another(server, role, caller):
    _, arn = role(policy("lambda:ListFunctions"))
    victim, thief = caller(arn), caller(arn)
    stolen = victim.result({"tell_keys": True})
    assert "security token" in expect(thief, {**FUNCTIONS, "keys": stolen}, 403)
    expect(victim, {**FUNCTIONS, "keys": stolen}, 200)
    expect(thief, FUNCTIONS, 200)


def test_i8_what_is_taken_from_a_role_is_gone_within_a_second_also_in_running_environments(server, role, caller):
    iam = server.client("iam")
    name, arn = role(policy("lambda:ListFunctions"))
    function = caller(arn)
    expect(function, FUNCTIONS, 200)
    iam.delete_role_policy(RoleName=name, PolicyName="p")
    # A second is promised; on one node the very next call is refused.
    expect(function, FUNCTIONS, 403)
    expect(function, WHO, 200)
    iam.delete_role(RoleName=name)
    expect(function, WHO, 403)
    # Nor does another role of the same name revive the keys.
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=LAMBDA_TRUST)
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=policy("*"))
    expect(function, WHO, 403)


def test_i7_a_function_needs_a_role_that_trusts_lambda(server, role, deploy):
    text = "The role defined for the function cannot be assumed by Lambda."
    closed = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
        }
    )
    other = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "lambda.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                    "Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:lambda:*:*:function:another-*"}},
                }
            ],
        }
    )
    for arn in ("arn:aws:iam::000000000000:role/nobody", role(trust=closed)[1], role(trust=other)[1]):
        with pytest.raises(ClientError) as caught:
            deploy(calling.CODE, calling.RUNTIME, role=arn)
        error = caught.value.response["Error"]
        assert (error["Code"], error["Message"]) == ("InvalidParameterValueException", text)
    name, arn = role()
    function = deploy(calling.CODE, calling.RUNTIME, role=arn)
    server.client("iam").delete_role(RoleName=name)
    with pytest.raises(ClientError) as caught:
        function.invoke(WHO)
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException", "a role that is gone starts no environment"


def test_iam_urls_ask_for_invoke_function_url(server, deploy):
    function = deploy(calling.CODE, calling.RUNTIME)
    path = function.url("AWS_IAM")
    iam = server.client("iam")
    user = unique("caller")
    iam.create_user(UserName=user)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    credentials = boto3.Session(key["AccessKeyId"], key["SecretAccessKey"]).get_credentials()
    body = json.dumps(WHO).encode()

    def call():
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest("POST", server.url + path, data=body, headers={"host": f"127.0.0.1:{server.port}"})
        SigV4Auth(credentials, "lambda", "us-east-1").add_auth(request)
        return server.get(path, "POST", body, dict(request.headers))[0]

    # A policy for everyone opens the URL to every principal, and to nobody who is none.
    every = {"FunctionName": function.name, "StatementId": "every"}
    function.client.add_permission(Action="lambda:InvokeFunctionUrl", Principal="*", **every)
    forged = (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261126/us-east-1/lambda/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={'0' * 64}"
    )
    assert server.get(path, "POST", body)[0] == 403
    assert server.get(path, "POST", body, {"authorization": forged, "x-amz-date": "20261126T000000Z"})[0] == 403
    assert call() == 502
    function.client.remove_permission(**every)
    assert call() == 403
    for action, key, value, status in (
        ("lambda:InvokeFunction", "lambda:FunctionUrlAuthType", "AWS_IAM", 403),
        ("lambda:InvokeFunctionUrl", "lambda:FunctionUrlAuthType", "NONE", 403),
        ("lambda:InvokeFunctionUrl", "lambda:FunctionUrlAuthType", "AWS_IAM", 502),
    ):
        # 502: the function was reached, and this test's answer is no HTTP answer to its event.
        document = policy(action, resource=function.created["FunctionArn"], Condition={"StringEquals": {key: value}})
        iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=document)
        assert call() == status


def test_a_principal_that_cannot_be_read_is_refused_and_locks_nobody_out(deploy):
    function = deploy(calling.CODE, calling.RUNTIME)
    statement = {"FunctionName": function.name, "StatementId": "s", "Action": "lambda:InvokeFunction"}
    with pytest.raises(ClientError) as caught:
        function.client.add_permission(Principal="arn:aws:iam::000000000000:role/*", **statement)
    error = caught.value.response["Error"]
    assert (error["Code"], error["Message"]) == (
        "InvalidParameterValueException",
        "The provided principal was invalid. Please check the principal and try again.",
    )
    function.client.add_permission(Principal="arn:aws:iam::000000000000:root", **statement)
    function.client.remove_permission(FunctionName=function.name, StatementId="s")


def test_permissive_mode_takes_a_role_that_does_not_exist(new_server):
    from blackbox.functions import Function

    server = new_server("--auth", "permissive")
    function = Function(server, calling.CODE, calling.RUNTIME, role="arn:aws:iam::000000000000:role/nobody")
    expect(function, FUNCTIONS, 200)
