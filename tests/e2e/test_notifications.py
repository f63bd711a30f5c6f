"""A bucket tells a topic, and the topic a queue: three services that do not know each other, each asked for permission."""

import json
import time

from blackbox.functions import unique

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
