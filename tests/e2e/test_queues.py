"""Queues under kill -9: what was acknowledged is there, in order, once per receive."""

import random
import threading
import time

import pytest
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

ROUNDS = 3
GROUPS = 4


class Sender(threading.Thread):
    """Sends numbered messages of one group, repeating what was not acknowledged under the same deduplication id."""

    def __init__(self, server, url, group, first):
        super().__init__(daemon=True)
        self.client, self.url, self.group, self.next = server.client("sqs"), url, group, first
        self.acknowledged = []

    def run(self):
        try:
            while True:
                self.client.send_message(
                    QueueUrl=self.url,
                    MessageBody=f"{self.group}:{self.next}",
                    MessageGroupId=self.group,
                    MessageDeduplicationId=f"{self.group}:{self.next}",
                )
                self.acknowledged.append(self.next)
                self.next += 1
        except (HTTPClientError, BotoCoreError):
            pass  # the server was killed in the middle of a call


class Consumer(threading.Thread):
    """Receives and deletes; keeps what it got with the ids of messages, and which deletions were acknowledged."""

    def __init__(self, server, url):
        super().__init__(daemon=True)
        self.client, self.url = server.client("sqs"), url
        self.received, self.ids, self.deleted, self.came_back = [], set(), set(), set()

    def run(self):
        try:
            while True:
                got = self.client.receive_message(QueueUrl=self.url, MaxNumberOfMessages=5, WaitTimeSeconds=1)
                for message in got.get("Messages", []):
                    self.received.append(message["Body"])
                    self.ids.add((message["Body"], message["MessageId"]))
                    if message["Body"] in self.deleted:
                        self.came_back.add(message["Body"])
                    try:
                        self.client.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
                    except ClientError:
                        break  # a slow machine: the rest of the batch is visible again and comes anew
                    self.deleted.add(message["Body"])
        except (HTTPClientError, BotoCoreError):
            pass


def on_this_port(server, url):
    """After a restart the server listens on another port."""
    return f"{server.url}/{url.split('/', 3)[3]}"


@pytest.mark.timeout(300)
def test_q1_q10_q11_fifo_order_and_duplicates_across_kills(new_server):
    server = new_server()
    attributes = {"FifoQueue": "true", "VisibilityTimeout": "10"}
    url = server.client("sqs").create_queue(QueueName="q.fifo", Attributes=attributes)["QueueUrl"]
    acknowledged, deleted, received, ids = set(), set(), [], set()
    next_of = {f"g{number}": 0 for number in range(GROUPS)}
    for _ in range(ROUNDS):
        senders = [Sender(server, url, group, first) for group, first in next_of.items()]
        consumer = Consumer(server, url)
        for thread in (*senders, consumer):
            thread.start()
        time.sleep(random.uniform(0.5, 1.5))
        server.kill()
        for thread in (*senders, consumer):
            thread.join(timeout=30)
        for sender in senders:
            acknowledged |= {f"{sender.group}:{number}" for number in sender.acknowledged}
            next_of[sender.group] = sender.next
        assert not consumer.came_back, "a deletion that was acknowledged holds"
        assert not deleted & set(consumer.received), "also across a kill"
        deleted |= consumer.deleted
        received.append(consumer.received)
        ids |= consumer.ids
        server.start()
        url = on_this_port(server, url)
    rest, client, quiet = [], server.client("sqs"), 0
    while quiet < 2:
        got = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=12).get("Messages", [])
        quiet = 0 if got else quiet + 1
        rest += [message["Body"] for message in got]
        ids |= {(message["Body"], message["MessageId"]) for message in got}
        for message in got:
            client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    everything = [body for part in received for body in part] + rest
    assert acknowledged and deleted, "the rounds did something"
    assert acknowledged <= set(everything), "sem:Q1: every acknowledged message was received"
    assert not deleted & set(rest), "a deletion that was acknowledged holds"
    # What a sender repeated because the server died before its answer was stored once.
    assert len(ids) == len({body for body, _ in ids}), "sem:Q10: one message per deduplication id"
    for group in next_of:
        order = [int(body.split(":")[1]) for body in everything if body.startswith(f"{group}:")]
        # A message whose deletion was cut off may come again, but never behind a later one of its group.
        assert order == sorted(order), (group, order)


class PlainSender(Sender):
    """As above to a standard queue: each attempt is a message of its own."""

    def run(self):
        try:
            while True:
                self.client.send_message(QueueUrl=self.url, MessageBody=f"{self.group}:{self.next}")
                self.acknowledged.append(self.next)
                self.next += 1
        except (HTTPClientError, BotoCoreError):
            self.next += 1  # perhaps it was stored, perhaps not: the number is not used again


@pytest.mark.timeout(300)
def test_q1_q13_a_standard_queue_loses_nothing_across_kills_and_deletions_hold(new_server):
    server = new_server()
    url = server.client("sqs").create_queue(QueueName="q", Attributes={"VisibilityTimeout": "10"})["QueueUrl"]
    acknowledged, deleted, seen, attempted = set(), set(), set(), set()
    next_of = {f"s{number}": 0 for number in range(GROUPS)}
    for _ in range(ROUNDS):
        senders = [PlainSender(server, url, name, first) for name, first in next_of.items()]
        consumers = [Consumer(server, url) for _ in range(2)]
        for thread in (*senders, *consumers):
            thread.start()
        time.sleep(random.uniform(0.5, 1.5))
        server.kill()
        for thread in (*senders, *consumers):
            thread.join(timeout=30)
        for sender in senders:
            acknowledged |= {f"{sender.group}:{number}" for number in sender.acknowledged}
            attempted |= {f"{sender.group}:{number}" for number in range(sender.next)}
            next_of[sender.group] = sender.next
        for consumer in consumers:
            assert not deleted & set(consumer.received), "a deletion that was acknowledged holds across a kill"
        for consumer in consumers:
            seen |= set(consumer.received)
            deleted |= consumer.deleted
        server.start()
        url = on_this_port(server, url)
    client, quiet = server.client("sqs"), 0
    while quiet < 2:
        got = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=12).get("Messages", [])
        quiet = 0 if got else quiet + 1
        for message in got:
            assert message["Body"] not in deleted, "a deletion that was acknowledged holds"
            seen.add(message["Body"])
            client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert acknowledged and deleted, "the rounds did something"
    assert acknowledged <= seen <= attempted, "everything that was acknowledged, and nothing that nobody sent"
    attributes = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert attributes["ApproximateNumberOfMessages"] == attributes["ApproximateNumberOfMessagesNotVisible"] == "0"


def test_q2_q3_a_receive_survives_a_kill(new_server):
    server = new_server()
    client = server.client("sqs")
    url = client.create_queue(QueueName="q", Attributes={"VisibilityTimeout": "600"})["QueueUrl"]
    client.send_message(QueueUrl=url, MessageBody="held")
    client.send_message(QueueUrl=url, MessageBody="free")
    (held,) = client.receive_message(QueueUrl=url)["Messages"]
    server.kill()
    server.start()
    client, url = server.client("sqs"), on_this_port(server, url)
    got = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert [message["Body"] for message in got] == ["free"], "what somebody works on stays hidden"
    client.change_message_visibility(QueueUrl=url, ReceiptHandle=held["ReceiptHandle"], VisibilityTimeout=0)
    (again,) = client.receive_message(QueueUrl=url, AttributeNames=["ApproximateReceiveCount"])["Messages"]
    assert again["Body"] == "held" and again["Attributes"]["ApproximateReceiveCount"] == "2"
