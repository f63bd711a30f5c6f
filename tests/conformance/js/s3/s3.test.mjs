// S3 as the AWS SDK for JavaScript v3 speaks it: streamed uploads with a trailing checksum, multipart, presigned URLs;
// each with one byte changed in one part that the signature or the checksum covers.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { before, test } from 'node:test';
import {
  CreateBucketCommand, DeleteObjectsCommand, GetObjectCommand, HeadObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';

const Bucket = 'js-bucket';
const s3 = new S3Client({ forcePathStyle: true, maxAttempts: 1 });

before(() => s3.send(new CreateBucketCommand({ Bucket })));

const flipped = (text, at = Math.floor(text.length / 2)) => text.slice(0, at) + (text[at] === 'a' ? 'b' : 'a') + text.slice(at + 1);
const absent = (Key) => assert.rejects(s3.send(new HeadObjectCommand({ Bucket, Key })), { name: 'NotFound' });
const bytes = async (output) => Buffer.from(await output.Body.transformToByteArray());

async function collected(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** A client whose requests are changed after they were signed, the streamed body as one buffer. */
function bending(bend) {
  const made = new S3Client({ forcePathStyle: true, maxAttempts: 1 });
  made.middlewareStack.add(
    (next) => async (args) => {
      const { request } = args;
      request.body = await collected(request.body);
      const shown = () => JSON.stringify([request.method, request.path, request.query, request.headers, request.body.toString('latin1')]);
      const original = shown();
      bend(request);
      assert.ok(bend === asItIs || shown() !== original, 'the bend changed nothing');
      return next(args);
    },
    { step: 'deserialize', priority: 'low', name: 'bend' },
  );
  return made;
}

const asItIs = () => {};
const data = Buffer.from('streamed '.repeat(20_000));
const streamed = (Key) => new PutObjectCommand({
  Bucket, Key, Body: Readable.from([data.subarray(0, 70_000), data.subarray(70_000)]), ContentLength: data.length,
  ChecksumAlgorithm: 'CRC32', Metadata: { owner: 'js' },
});
const inBody = (request, from, to) => {
  const text = request.body.toString('latin1');
  assert.ok(text.includes(from), `${from} is in the body`);
  request.body = Buffer.from(text.replace(from, to), 'latin1');
};

test('w12: a stream is stored with the checksum of its trailer', async () => {
  let framing;
  await bending((request) => { framing = request.headers; request.headers = { ...framing }; inBody(request, '', ''); })
    .send(streamed('never')).catch(() => {});
  assert.match(framing['x-amz-content-sha256'], /^STREAMING-.*-TRAILER$/);
  assert.equal(framing['x-amz-trailer'], 'x-amz-checksum-crc32');
  await bending(asItIs).send(streamed('streamed'));
  const got = await s3.send(new GetObjectCommand({ Bucket, Key: 'streamed', ChecksumMode: 'ENABLED' }));
  assert.deepEqual(await bytes(got), data);
  assert.equal(got.Metadata.owner, 'js');
  assert.ok(got.ChecksumCRC32);
});

const bends = {
  'payload byte': (request) => inBody(request, 'streamed streamed', 'streamed strehmed'),
  'trailing checksum': (request) => {
    const sum = request.body.toString('latin1').match(/x-amz-checksum-crc32:(\S+)/)[1];
    inBody(request, sum, flipped(sum, 1));
  },
  'name of the trailer': (request) => inBody(request, 'x-amz-checksum-crc32', 'x-amz-checksum-crc33'),
  'chunk length': (request) => inBody(request, request.body.toString('latin1').match(/^[0-9a-f]+/)[0], '1'),
  'announced trailer': (request) => { request.headers['x-amz-trailer'] = 'x-amz-checksum-sha1'; },
  'announced length': (request) => { request.headers['x-amz-decoded-content-length'] = String(data.length - 1); },
  'kind of payload': (request) => { request.headers['x-amz-content-sha256'] = 'UNSIGNED-PAYLOAD'; },
  metadata: (request) => { request.headers['x-amz-meta-owner'] = 'jt'; },
  'x-amz header more': (request) => { request.headers['x-amz-acl'] = 'public-read'; },
  path: (request) => { request.path = request.path.replace('bent', 'bend'); },
  signature: (request) => {
    const { authorization } = request.headers;
    request.headers.authorization = flipped(authorization, authorization.length - 3);
  },
};

for (const [part, bend] of Object.entries(bends)) {
  test(`g3: a stream with a changed ${part} is refused and nothing is stored`, async () => {
    await assert.rejects(bending(bend).send(streamed('bent')), (error) => {
      const status = error.$metadata?.httpStatusCode;
      assert.ok([400, 403].includes(status), `${part}: ${status} ${error}`);
      return true;
    });
    await absent('bent');
    await absent('bend');
  });
}

test('large streams go up in parts', async () => {
  const large = randomBytes(12 << 20);
  await new Upload({ client: s3, params: { Bucket, Key: 'large', Body: Readable.from([large]) } }).done();
  const head = await s3.send(new HeadObjectCommand({ Bucket, Key: 'large' }));
  assert.match(head.ETag, /-3"$/);
  const got = await s3.send(new GetObjectCommand({ Bucket, Key: 'large' }));
  assert.ok((await bytes(got)).equals(large));
});

test('lists and deletions', async () => {
  for (let at = 0; at < 5; at += 1) await s3.send(new PutObjectCommand({ Bucket, Key: `list/${at}`, Body: `${at}` }));
  const first = await s3.send(new ListObjectsV2Command({ Bucket, Prefix: 'list/', MaxKeys: 3 }));
  assert.equal(first.Contents.length, 3);
  const rest = await s3.send(new ListObjectsV2Command({ Bucket, Prefix: 'list/', ContinuationToken: first.NextContinuationToken }));
  assert.deepEqual(rest.Contents.map((one) => one.Key), ['list/3', 'list/4']);
  const Objects = [...first.Contents, ...rest.Contents].map(({ Key }) => ({ Key }));
  const deleted = await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
  assert.equal(deleted.Deleted.length, 5);
  assert.equal((await s3.send(new ListObjectsV2Command({ Bucket, Prefix: 'list/' }))).KeyCount, 0);
});

test('w7: presigned URLs read and write, and no part of them can be changed', async () => {
  await s3.send(new PutObjectCommand({ Bucket, Key: 'signed', Body: 's' }));
  const url = await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: 'signed' }), { expiresIn: 60 });
  const control = await fetch(url);
  assert.deepEqual([control.status, await control.text()], [200, 's']);
  const names = [...new URL(url).searchParams.keys()];
  assert.ok(names.includes('X-Amz-Signature') && names.includes('X-Amz-Credential'), names.join());
  for (const name of names) {
    const bent = new URL(url);
    const value = bent.searchParams.get(name);
    bent.searchParams.set(name, value.slice(0, -1) + (value.endsWith('0') ? '1' : '0'));
    assert.ok([400, 403].includes((await fetch(bent)).status), `value of ${name}`);
    const without = new URL(url);
    without.searchParams.delete(name);
    assert.notEqual(without.href, url);
    // The SDK's own name of the operation (x-id) is signed as every other parameter.
    assert.ok([400, 403].includes((await fetch(without)).status), `without ${name}`);
  }
  assert.equal((await fetch(url.replace('/signed?', '/signee?'))).status, 403);
  assert.equal((await fetch(url, { method: 'DELETE' })).status, 403);
  assert.equal((await fetch(url, { headers: { 'x-amz-acl': 'public-read' } })).status, 403, 'an unsigned x-amz header');
  const put = await getSignedUrl(s3, new PutObjectCommand({ Bucket, Key: 'put', Body: '' }), { expiresIn: 60, unhoistableHeaders: new Set() });
  assert.equal((await fetch(put.replace('/put?', '/pus?'), { method: 'PUT', body: 'p' })).status, 403);
  await absent('pus');
});
