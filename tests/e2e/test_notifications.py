"""A bucket tells a topic, and the topic a queue: three services that do not know each other, each asked for permission.
Or an alias of a function, which is asked too."""

import json
import time

import pytest
from blackbox.functions import PYTHON, python, unique
from botocore.exceptions import ClientError

ACCOUNT = "000000000000"


def open_to(service, action, arn, source):
    condition = {"ArnEquals": {"aws:SourceArn": source}}
    principal = {"Service": service}
    statement = {"Effect": "Allow", "Principal": principal, "Action": action, "Resource": arn, "Condition": condition}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_i6_a_put_reaches_a_queue_by_way_of_a_topic(server):
    s3, sns, sqs = map(server.client, ("s3", "sns", "sqs"))
    name = unique("notices")
    bucket, queue_arn = f"arn:aws:s3:::{name}", f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}"
    topic = sns.create_topic(Name=name)["TopicArn"]
    sns.set_topic_attributes(
        TopicArn=topic,
        AttributeName="Policy",
        AttributeValue=open_to("s3.amazonaws.com", "sns:Publish", topic, bucket),
    )
    policy = open_to("sns.amazonaws.com", "sqs:SendMessage", queue_arn, topic)
    queue = sqs.create_queue(QueueName=name, Attributes={"Policy": policy})["QueueUrl"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn, Attributes={"RawMessageDelivery": "true"})
    s3.create_bucket(Bucket=name)
    wanted = {"TopicArn": topic, "Events": ["s3:ObjectCreated:*"]}
    wanted["Filter"] = {"Key": {"FilterRules": [{"Name": "prefix", "Value": "in/"}]}}
    s3.put_bucket_notification_configuration(
        Bucket=name, NotificationConfiguration={"TopicConfigurations": [wanted]}
    )
    s3.put_object(Bucket=name, Key="out/silent", Body=b"-")
    s3.put_object(Bucket=name, Key="in/loud", Body=b"123")

    keys, give_up = [], time.monotonic() + 60
    while not keys and time.monotonic() < give_up:
        answer = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5, MaxNumberOfMessages=10)
        for message in answer.get("Messages", []):
            records = json.loads(message["Body"]).get("Records", [])  # the test event of the configuration has none
            keys += [(record["s3"]["object"]["key"], record["s3"]["object"]["size"]) for record in records]
    assert keys == [("in/loud", 3)]


SEE = python(
    """
def handler(event, context):
    for record in event["Records"]:
        print("SAW", record["s3"]["object"]["key"], context.invoked_function_arn)
"""
)


def test_i6_an_alias_is_opened_by_its_own_policy(server, deploy):
    s3, name = server.client("s3"), unique("aliased")
    function = deploy(SEE, runtime=PYTHON, Publish=True)
    alias = function.client.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1")["AliasArn"]
    s3.create_bucket(Bucket=name)
    wanted = {"LambdaFunctionArn": alias, "Events": ["s3:ObjectCreated:*"]}

    def tell():
        s3.put_bucket_notification_configuration(
            Bucket=name, NotificationConfiguration={"LambdaFunctionConfigurations": [wanted]}
        )

    def open_to_bucket(**qualifier):
        function.client.add_permission(
            FunctionName=function.name,
            StatementId="bucket",
            Action="lambda:InvokeFunction",
            Principal="s3.amazonaws.com",
            SourceArn=f"arn:aws:s3:::{name}",
            **qualifier,
        )

    open_to_bucket()
    with pytest.raises(ClientError, match="Unable to validate the following destination"):
        tell()
    function.client.remove_permission(FunctionName=function.name, StatementId="bucket")
    open_to_bucket(Qualifier="live")
    tell()
    s3.put_object(Bucket=name, Key="k", Body=b"123")
    function.messages(lambda messages: any(f"SAW k {alias}" in message for message in messages))
