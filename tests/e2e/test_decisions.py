"""Permissive mode, the record of decisions and what `tinderbox iam` makes of it; accounts."""

import json
import subprocess
import time

import boto3
import pytest
from blackbox import calling
from blackbox.functions import PYTHON, Function, python, unique
from blackbox.server import ACCESS_KEY, LAMBDA_TRUST, SECRET_KEY, binary
from botocore.exceptions import ClientError

FUNCTIONS = calling.get("lambda", "/2015-03-31/functions/")
GROUPS = calling.json_call("logs", "Logs_20140328.DescribeLogGroups")


def tinderbox(server, *arguments, code=0, env=None):
    """Runs a subcommand as the operator; its JSON."""
    ran = subprocess.run(
        [binary(), "--json", *arguments, "--endpoint", server.url],
        capture_output=True,
        text=True,
        timeout=60,
        env=env or {"TINDERBOX_ROOT_ACCESS_KEY_ID": ACCESS_KEY, "TINDERBOX_ROOT_SECRET_ACCESS_KEY": SECRET_KEY, "HOME": "/nowhere"},
    )
    assert ran.returncode == code, (ran.stdout, ran.stderr)
    return json.loads(ran.stdout) if ran.stdout else ran.stderr


def client(server, service, access_key, secret):
    return boto3.client(service, endpoint_url=server.url, region_name="us-east-1", aws_access_key_id=access_key, aws_secret_access_key=secret)


def test_w5_permissive_mode_takes_any_key_and_says_so(new_server):
    server = new_server("--auth", "permissive")
    assert client(server, "sts", "123456789012", "x").get_caller_identity()["Account"] == "123456789012"
    answer = client(server, "sts", "test", "test").get_caller_identity()
    assert answer["Account"] == "000000000000"
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-tinderbox-auth"] == "permissive"
    assert server.get("/2015-03-31/functions/")[0] == 200, "no key at all"
    assert "permissive" in server.stderr()
    # Emulators' accounts are apart from each other.
    client(server, "iam", "123456789012", "x").create_user(UserName="there")
    with pytest.raises(ClientError):
        client(server, "iam", "test", "test").get_user(UserName="there")


def test_least_privilege_from_permissive_traffic(new_server, tmp_path):
    """Run anything in permissive mode, take the suggestion, enforce it: the function still does its job."""
    server = new_server("--auth", "permissive")
    function = Function(server, calling.CODE, calling.RUNTIME, name="job", role="arn:aws:iam::000000000000:role/job")
    assert function.result(FUNCTIONS)["status"] == 200
    assert function.result(GROUPS)["status"] == 200
    suggested = tinderbox(server, "iam", "suggest", "job")
    assert (suggested["requests"], suggested["denied"]) == (2, 2)
    actions = sorted(action for statement in suggested["policy"]["Statement"] for action in statement["Action"])
    assert actions == ["lambda:ListFunctions", "logs:DescribeLogGroups"]
    iam = server.client("iam")
    iam.create_role(RoleName="job", AssumeRolePolicyDocument=LAMBDA_TRUST)
    iam.put_role_policy(RoleName="job", PolicyName="p", PolicyDocument=json.dumps(suggested["policy"]))
    server.stop()

    enforced = new_server()
    job = Function.__new__(Function)
    job.server, job.name, job.client = enforced, "job", enforced.client("lambda")
    assert job.result(FUNCTIONS)["status"] == 200
    assert job.result(GROUPS)["status"] == 200
    assert job.result(calling.query("iam", "ListUsers"))["status"] == 403

    # What would a smaller policy break?
    smaller = tmp_path / "smaller.json"
    smaller.write_text(json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "lambda:*", "Resource": "*"}]}))
    found = tinderbox(enforced, "iam", "simulate", "--policy", str(smaller), "--role", "job", code=1)
    assert {change["action"] for change in found["breaks"]} == {"logs:DescribeLogGroups"}
    same = tmp_path / "same.json"
    same.write_text(json.dumps(suggested["policy"]))
    assert tinderbox(enforced, "iam", "simulate", "--policy", str(same), "--function", "job")["breaks"] == []


def test_a_decision_is_explained_by_its_request_id(server):
    iam = server.client("iam")
    user = unique("user")
    iam.create_user(UserName=user)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    functions = client(server, "lambda", key["AccessKeyId"], key["SecretAccessKey"])
    with pytest.raises(ClientError) as caught:
        functions.list_functions()
    metadata = caught.value.response["ResponseMetadata"]
    found = tinderbox(server, "iam", "explain", metadata["RequestId"])
    assert found["allowed"] is False
    [answer] = found["record"]["answers"]
    assert answer["action"] == "lambda:ListFunctions" and "no identity-based policy" in answer["denial"]
    encoded = metadata["HTTPHeaders"]["x-tinderbox-authorization-message"]
    decoded = json.loads(server.client("sts").decode_authorization_message(EncodedMessage=encoded)["DecodedMessage"])
    assert decoded["context"]["action"] == "lambda:ListFunctions"
    # The use of the key is known, its secret is not written anywhere.
    deadline = time.monotonic() + 10
    while "LastUsedDate" not in iam.get_access_key_last_used(AccessKeyId=key["AccessKeyId"])["AccessKeyLastUsed"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for path in [*(server.data / "decisions").iterdir(), server.data.parent / f"{server.data.name}.stderr"]:
        assert key["SecretAccessKey"] not in path.read_text(errors="replace"), path
    assert all(path.stat().st_mode & 0o077 == 0 for path in [server.data / "decisions", *(server.data / "decisions").iterdir()])


def test_accounts_are_apart_and_open_to_each_other_by_policies_on_both_sides(server):
    made = tinderbox(server, "account", "create", "--name", "tenant")
    account = made["account"]
    assert any(one["id"] == account and one["name"] == "tenant" for one in tinderbox(server, "account", "list")["accounts"])
    tenant = lambda service: client(server, service, made["accessKeyId"], made["secretAccessKey"])  # noqa: E731
    assert tenant("sts").get_caller_identity()["Arn"] == f"arn:aws:iam::{account}:root"
    # Apart …
    name = unique("user")
    server.client("iam").create_user(UserName=name)
    with pytest.raises(ClientError):
        tenant("iam").get_user(UserName=name)
    assert tenant("lambda").list_functions()["Functions"] == []
    queue = unique("queue")
    url = server.client("sqs").create_queue(QueueName=queue)["QueueUrl"]
    assert "QueueUrls" not in tenant("sqs").list_queues(QueueNamePrefix=queue)
    with pytest.raises(ClientError):
        tenant("sqs").send_message(QueueUrl=url, MessageBody="x")
    # … and the tenant's root is no operator.
    env = {"TINDERBOX_ROOT_ACCESS_KEY_ID": made["accessKeyId"], "TINDERBOX_ROOT_SECRET_ACCESS_KEY": made["secretAccessKey"], "HOME": "/nowhere"}
    assert "Only the root user of this installation" in tinderbox(server, "account", "list", code=1, env=env)

    # A role of the tenant's for a user of ours: one side alone does not do.
    trust = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "sts:AssumeRole"}
    role = tenant("iam").create_role(RoleName=unique("role"), AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}))["Role"]
    key = server.client("iam").create_access_key(UserName=name)["AccessKey"]
    assume = lambda: client(server, "sts", key["AccessKeyId"], key["SecretAccessKey"]).assume_role(RoleArn=role["Arn"], RoleSessionName="session")  # noqa: E731
    with pytest.raises(ClientError):
        assume()
    own = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role["Arn"]}]}
    server.client("iam").put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(own))
    assert assume()["AssumedRoleUser"]["Arn"].startswith(f"arn:aws:sts::{account}:assumed-role/")


def test_i7_a_function_of_another_account_needs_policies_on_both_sides(server, deploy):
    """Invoke across accounts: by ARN, with the function's policy and the caller's; the same two steps for its qualifier."""
    made = tinderbox(server, "account", "create", "--name", unique("caller"))
    account = made["account"]
    tenant = lambda service: client(server, service, made["accessKeyId"], made["secretAccessKey"])  # noqa: E731
    user = unique("user")
    tenant("iam").create_user(UserName=user)
    key = tenant("iam").create_access_key(UserName=user)["AccessKey"]
    function = deploy(python("def handler(event, context):\n    return context.invoked_function_arn"), PYTHON)
    arn = function.created["FunctionArn"]
    lambdas, own = client(server, "lambda", key["AccessKeyId"], key["SecretAccessKey"]), server.client("lambda")

    def invoke(name=arn):
        return json.loads(lambdas.invoke(FunctionName=name)["Payload"].read())

    def refused(name=arn):
        with pytest.raises(ClientError) as caught:
            invoke(name)
        assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
        return str(caught.value)

    assert f"User: arn:aws:iam::{account}:user/{user} is not authorized to perform: lambda:InvokeFunction" in refused()
    statement = {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": [arn, f"{arn}:*"]}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    tenant("iam").put_user_policy(UserName=user, PolicyName="p", PolicyDocument=document)
    assert "no resource-based policy allows" in refused(), "the caller's side alone"
    own.add_permission(FunctionName=arn, StatementId="s", Action="lambda:InvokeFunction", Principal=account)
    assert invoke() == arn
    # A name without an account is one of the caller's own, and what was opened is nothing but Invoke.
    assert f"on resource: arn:aws:lambda:us-east-1:{account}:function:{function.name}" in refused(function.name)
    for call in (lambdas.get_function, lambdas.delete_function):
        with pytest.raises(ClientError) as caught:
            call(FunctionName=arn)
        assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
    # A version has a policy of its own.
    version = own.publish_version(FunctionName=arn)["FunctionArn"]
    refused(version)
    own.add_permission(FunctionName=version, StatementId="s", Action="lambda:InvokeFunction", Principal=account)
    assert invoke(version) == version
    tenant("iam").delete_user_policy(UserName=user, PolicyName="p")
    assert "no identity-based policy allows" in refused(), "the function's side alone"


def test_service_control_policies_bind_an_account(server, tmp_path):
    made = tinderbox(server, "account", "create")
    users = client(server, "iam", made["accessKeyId"], made["secretAccessKey"])
    users.list_users()
    policy = tmp_path / "no-iam.json"
    statements = [{"Effect": "Allow", "Action": "*", "Resource": "*"}, {"Effect": "Deny", "Action": "iam:*", "Resource": "*"}]
    policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}))
    tinderbox(server, "account", "bind", made["account"], str(policy))
    with pytest.raises(ClientError) as caught:
        users.list_users()
    assert "explicit deny in a service control policy" in str(caught.value)
    tinderbox(server, "account", "bind", made["account"])
    users.list_users()
