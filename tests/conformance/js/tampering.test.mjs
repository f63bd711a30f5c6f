// Requests that the AWS SDK for JavaScript v3 signed, each with one byte changed in one signed part.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvokeCommand, LambdaClient, ListFunctionsCommand } from '@aws-sdk/client-lambda';

/** A client whose requests are bent after they were signed. */
function client(bend) {
  const made = new LambdaClient({ maxAttempts: 1 });
  // `low` in the step behind signing: the last thing before the wire.
  made.middlewareStack.add(
    (next) => (args) => {
      bend(args.request);
      return next(args);
    },
    { step: 'deserialize', priority: 'low', name: 'bend' },
  );
  return made;
}

const flipped = (text, at = Math.floor(text.length / 2)) => {
  const other = text[at] === 'a' ? 'b' : 'a';
  return text.slice(0, at) + other + text.slice(at + 1);
};
const within = (request, pattern) => {
  const header = request.headers.authorization;
  const found = header.match(pattern);
  request.headers.authorization = header.replace(found[1], flipped(found[1]));
};

const invoke = () => new InvokeCommand({ FunctionName: 'there-is-none', Payload: '{"name":"js"}', LogType: 'Tail' });
const list = () => new ListFunctionsCommand({ MaxItems: 7 });

test('an unbent request passes', async () => {
  await client(() => {}).send(list());
  await assert.rejects(client(() => {}).send(invoke()), { name: 'ResourceNotFoundException' });
});

const bends = {
  method: [list, (request) => { request.method = 'HEAD'; }],
  path: [invoke, (request) => { request.path = request.path.replace('there-is-none', 'there-is-nona'); }],
  'value of the query': [list, (request) => { request.query.MaxItems = '8'; }],
  'name in the query': [list, (request) => { request.query = { MaxItemz: '7' }; }],
  'a parameter more': [list, (request) => { request.query.Marker = 'x'; }],
  body: [invoke, (request) => { request.body = new TextEncoder().encode('{"name":"jt"}'); }],
  'hash of the body': [invoke, (request) => { request.headers['x-amz-content-sha256'] = flipped(request.headers['x-amz-content-sha256']); }],
  date: [invoke, (request) => { const date = request.headers['x-amz-date']; request.headers['x-amz-date'] = date.slice(0, 14) + ((Number(date[14]) + 1) % 10) + 'Z'; }],
  'an x-amz header': [invoke, (request) => { request.headers['x-amz-log-type'] = 'None'; }],
  'an x-amz header more': [invoke, (request) => { request.headers['x-amz-client-context'] = 'e30='; }],
  'an x-amz header less': [invoke, (request) => { delete request.headers['x-amz-log-type']; }],
  'access key': [invoke, (request) => within(request, /Credential=([^/]+)/)],
  'day of the scope': [invoke, (request) => { request.headers.authorization = request.headers.authorization.replace(/\/(\d{7})\d\//, '/$19/'); }],
  'region of the scope': [invoke, (request) => within(request, /\/\d{8}\/([^/]+)/)],
  'service of the scope': [invoke, (request) => { request.headers.authorization = request.headers.authorization.replace('/lambda/', '/lambdb/'); }],
  'signed headers': [invoke, (request) => { request.headers.authorization = request.headers.authorization.replace('x-amz-date', 'x-amz-dat'); }],
  signature: [invoke, (request) => within(request, /Signature=([0-9a-f]+)/)],
};

for (const [part, [command, bend]] of Object.entries(bends)) {
  test(`g2: a changed ${part} is refused`, async () => {
    let changed = false;
    const bent = client((request) => {
      const before = JSON.stringify([request.method, request.path, request.query, request.headers, String(request.body)]);
      bend(request);
      changed = before !== JSON.stringify([request.method, request.path, request.query, request.headers, String(request.body)]);
    });
    await assert.rejects(bent.send(command()), (error) => {
      const status = error.$metadata?.httpStatusCode;
      // No operation has that method: 404, before anybody asks who calls.
      const allowed = part === 'method' ? [400, 403, 404] : [400, 403];
      assert.ok(allowed.includes(status), `${part}: ${status} ${error}`);
      assert.notEqual(error.name, 'ResourceNotFoundException', 'it reached the function');
      return true;
    });
    assert.ok(changed, 'the bend changed nothing');
  });
}
