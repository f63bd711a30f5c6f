"""Users, roles and policies decide over every call: nothing is allowed that no policy allows.

I8 promises that a change holds everywhere within a second; on one node it is stronger: the very next call. So no test waits.
"""

import json
import time

import pytest
from botocore.exceptions import ClientError

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "sts:AssumeRole"}],
}


def allow(*actions, resource="*"):
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": resource}]})


def refused(call, *codes):
    with pytest.raises(ClientError) as caught:
        call()
    assert caught.value.response["Error"]["Code"] in codes, caught.value
    return caught.value.response["Error"]["Message"]


@pytest.fixture
def user(server):
    """A fresh user's name and key."""
    iam = server.client("iam")
    name = f"user-{time.time_ns()}"
    iam.create_user(UserName=name)
    return name, iam.create_access_key(UserName=name)["AccessKey"]


def test_i1_a_user_may_do_what_a_policy_allows_and_nothing_else(server, user):
    name, key = user
    functions = server.client_of("lambda", key)
    message = refused(functions.list_functions, "AccessDeniedException")
    assert f"User: arn:aws:iam::000000000000:user/{name} is not authorized to perform: lambda:ListFunctions" in message
    server.client("iam").put_user_policy(UserName=name, PolicyName="p", PolicyDocument=allow("lambda:List*"))
    functions.list_functions()
    refused(lambda: functions.get_account_settings(), "AccessDeniedException")
    deny = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]})
    server.client("iam").put_user_policy(UserName=name, PolicyName="deny", PolicyDocument=deny)
    message = refused(functions.list_functions, "AccessDeniedException")
    assert "explicit deny" in message


def test_i1_another_partition_slips_through_no_deny(server, user):
    name, key = user
    topic = server.client("sns").create_topic(Name=name)["TopicArn"]
    statements = [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "sns:Publish", "Resource": topic},
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    server.client("iam").put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy)
    sns = server.client_of("sns", key)
    sns.list_topics()
    refused(lambda: sns.publish(TopicArn=topic, Message="m"), "AuthorizationError", "AccessDenied")
    for partition in ["x", "aws-cn", ""]:
        elsewhere = topic.replace("arn:aws:", f"arn:{partition}:")
        refused(lambda: sns.publish(TopicArn=elsewhere, Message="m"), "InvalidParameter")


def test_i8_a_deleted_key_is_refused(server, user):
    name, key = user
    sts = server.client_of("sts", key)
    assert sts.get_caller_identity()["Arn"] == f"arn:aws:iam::000000000000:user/{name}"
    server.client("iam").delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
    refused(sts.get_caller_identity, "InvalidClientTokenId")


def test_an_assumed_role_has_the_roles_rights_and_its_token_is_needed(server, user):
    name, key = user
    iam = server.client("iam")
    role = iam.create_role(RoleName=f"role-{time.time_ns()}", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]
    iam.put_role_policy(RoleName=role["RoleName"], PolicyName="p", PolicyDocument=allow("lambda:ListFunctions"))
    sts = server.client_of("sts", key)
    assume = lambda: sts.assume_role(RoleArn=role["Arn"], RoleSessionName="session")  # noqa: E731
    refused(assume, "AccessDenied")
    iam.put_user_policy(UserName=name, PolicyName="assume", PolicyDocument=allow("sts:AssumeRole", resource=role["Arn"]))
    session = assume()["Credentials"]
    server.client_of("lambda", session).list_functions()
    refused(server.client_of("lambda", session).get_account_settings, "AccessDeniedException")
    without = {name: value for name, value in session.items() if name != "SessionToken"}
    refused(server.client_of("lambda", without).list_functions, "UnrecognizedClientException", "InvalidClientTokenId")
    iam.delete_role_policy(RoleName=role["RoleName"], PolicyName="p")
    refused(server.client_of("lambda", session).list_functions, "AccessDeniedException")


def test_i7_attaching_a_role_needs_pass_role(server, user):
    name, key = user
    server.client("iam").put_user_policy(UserName=name, PolicyName="p", PolicyDocument=allow("lambda:*"))
    create = lambda: server.client_of("lambda", key).create_function(  # noqa: E731
        FunctionName="passed", Runtime="nodejs20.x", Handler="i.h", Role="arn:aws:iam::000000000000:role/strong", Code={"ZipFile": b"x"}
    )
    assert "iam:PassRole" in refused(create, "AccessDeniedException")
