// The AWS SDK for JavaScript v3 against the real binary. Run by test_js_sdk.py, which sets AWS_ENDPOINT_URL and CODE_ZIP.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import {
  CreateFunctionCommand,
  CreateFunctionUrlConfigCommand,
  DeleteFunctionCommand,
  GetFunctionCommand,
  InvokeCommand,
  LambdaClient,
  UpdateFunctionConfigurationCommand,
  paginateListFunctions,
  waitUntilFunctionActiveV2,
  waitUntilFunctionUpdatedV2,
} from '@aws-sdk/client-lambda';
import { CloudWatchLogsClient, FilterLogEventsCommand } from '@aws-sdk/client-cloudwatch-logs';

const client = new LambdaClient({ maxAttempts: 1 });
const logs = new CloudWatchLogsClient({ maxAttempts: 1 });
const name = `js-${process.pid}`;
const waiting = { client, maxWaitTime: 60, minDelay: 1, maxDelay: 1 };
const text = (payload) => Buffer.from(payload).toString();

test('a function from create to delete', async () => {
  const created = await client.send(
    new CreateFunctionCommand({
      FunctionName: name,
      Runtime: 'nodejs20.x',
      Handler: 'index.handler',
      Role: 'arn:aws:iam::000000000000:role/any',
      Code: { ZipFile: readFileSync(process.env.CODE_ZIP) },
      Environment: { Variables: { GREETING: 'hello' } },
    }),
  );
  assert.equal(created.$metadata.httpStatusCode, 201);
  assert.equal(created.FunctionName, name);
  await waitUntilFunctionActiveV2(waiting, { FunctionName: name });

  const answer = await client.send(
    new InvokeCommand({ FunctionName: name, Payload: JSON.stringify({ name: 'js' }), LogType: 'Tail' }),
  );
  assert.equal(answer.StatusCode, 200);
  assert.equal(answer.FunctionError, undefined);
  assert.equal(answer.ExecutedVersion, '$LATEST');
  assert.equal(text(answer.Payload), '"hello js"');
  assert.match(Buffer.from(answer.LogResult, 'base64').toString(), /said js[^]*REPORT RequestId/);

  await client.send(
    new UpdateFunctionConfigurationCommand({ FunctionName: name, Environment: { Variables: { GREETING: 'bye' } } }),
  );
  await waitUntilFunctionUpdatedV2(waiting, { FunctionName: name });
  const again = await client.send(new InvokeCommand({ FunctionName: name, Payload: '{"name":"js"}' }));
  assert.equal(text(again.Payload), '"bye js"');

  const url = await client.send(new CreateFunctionUrlConfigCommand({ FunctionName: name, AuthType: 'NONE' }));
  assert.match(url.FunctionUrl, /^https?:\/\/[a-z0-9]+\.lambda-url\./);

  const names = [];
  for await (const page of paginateListFunctions({ client, pageSize: 1 }, {})) {
    names.push(...page.Functions.map((found) => found.FunctionName));
  }
  assert.ok(names.includes(name));

  let messages = [];
  for (let tries = 0; tries < 600 && !messages.some((message) => message.includes('said js')); tries += 1) {
    const page = await logs
      .send(new FilterLogEventsCommand({ logGroupName: `/aws/lambda/${name}` }))
      .catch((error) => (error.name === 'ResourceNotFoundException' ? { events: [] } : Promise.reject(error)));
    messages = page.events.map((event) => event.message);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.ok(messages.some((message) => message.includes('said js')));

  await client.send(new DeleteFunctionCommand({ FunctionName: name }));
  await assert.rejects(client.send(new GetFunctionCommand({ FunctionName: name })), {
    name: 'ResourceNotFoundException',
  });
});

test('errors carry code, status and request id', async () => {
  await assert.rejects(client.send(new InvokeCommand({ FunctionName: 'there-is-none' })), (error) => {
    assert.equal(error.name, 'ResourceNotFoundException');
    assert.equal(error.$metadata.httpStatusCode, 404);
    assert.ok(error.$metadata.requestId);
    assert.match(error.message, /^Function not found: arn:aws:lambda:us-east-1:000000000000:function:there-is-none/);
    return true;
  });
});
