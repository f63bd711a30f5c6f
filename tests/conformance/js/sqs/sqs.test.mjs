// The AWS SDK for JavaScript v3 against the real binary. Run by test_js_sqs.py, which sets AWS_ENDPOINT_URL.
import assert from 'node:assert/strict';
import test from 'node:test';
import {
  CreateQueueCommand,
  DeleteMessageBatchCommand,
  DeleteQueueCommand,
  GetQueueUrlCommand,
  QueueDoesNotExist,
  ReceiveMessageCommand,
  SQSClient,
  SendMessageBatchCommand,
  SendMessageCommand,
  paginateListQueues,
} from '@aws-sdk/client-sqs';

const client = new SQSClient({ maxAttempts: 1 });
const name = `js-${process.pid}`;

test('a message goes round; the SDK sends to the URL of the queue and checks the digests', async () => {
  const { QueueUrl } = await client.send(new CreateQueueCommand({ QueueName: name, Attributes: { VisibilityTimeout: '0' } }));
  const attributes = {
    text: { DataType: 'String', StringValue: 'ä' },
    bytes: { DataType: 'Binary', BinaryValue: new Uint8Array([0, 255]) },
  };
  const sent = await client.send(new SendMessageCommand({ QueueUrl, MessageBody: 'hello', MessageAttributes: attributes }));
  const { Messages } = await client.send(
    new ReceiveMessageCommand({ QueueUrl, MessageAttributeNames: ['All'], WaitTimeSeconds: 20 }),
  );
  assert.equal(Messages[0].Body, 'hello');
  assert.equal(Messages[0].MessageId, sent.MessageId);
  assert.equal(Messages[0].MessageAttributes.text.StringValue, 'ä');
  assert.deepEqual([...Messages[0].MessageAttributes.bytes.BinaryValue], [0, 255]);
  await client.send(
    new DeleteMessageBatchCommand({ QueueUrl, Entries: [{ Id: 'a', ReceiptHandle: Messages[0].ReceiptHandle }] }),
  );
  const batch = await client.send(
    new SendMessageBatchCommand({ QueueUrl, Entries: [{ Id: 'good', MessageBody: 'm' }, { Id: 'bad', MessageBody: '\u0001' }] }),
  );
  assert.deepEqual([batch.Successful[0].Id, batch.Failed[0].Id], ['good', 'bad']);
  const urls = [];
  for await (const page of paginateListQueues({ client, pageSize: 1 }, { QueueNamePrefix: name })) {
    urls.push(...(page.QueueUrls ?? []));
  }
  assert.deepEqual(urls, [QueueUrl]);
  await client.send(new DeleteQueueCommand({ QueueUrl }));
});

test('errors are classes of the SDK', async () => {
  await assert.rejects(client.send(new GetQueueUrlCommand({ QueueName: 'nobody' })), (error) => {
    assert.ok(error instanceof QueueDoesNotExist, error);
    assert.equal(error.$fault, 'client');
    assert.equal(error.Code ?? error.Error?.Code, 'AWS.SimpleQueueService.NonExistentQueue');
    return true;
  });
});
