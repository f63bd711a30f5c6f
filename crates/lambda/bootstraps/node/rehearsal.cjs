// A rehearsal of a cold start, by a generic runtime before it is known for which function.
//
// V8 compiles each function when it is called for the first time, and node loads parts of itself when they are used for the first
// time: half of what a cold start took. So init and an event are gone through once with a function that does nothing, by the same code,
// to a channel that leads nowhere. Everything is then set anew by `start`; what has been seen of a user is nothing.
'use strict';

const fs = require('fs');
const v8 = require('v8');
const { runThrough } = require('./bootstrap.cjs');

// The nursery is at most 16 MiB.
const GARBAGE_LENGTH = 2048;
const GARBAGE_MAX = 2048;

const EVENT = { warm: true };
const HEADER = {
  requestId: '00000000-0000-4000-8000-000000000000',
  deadlineMs: 1,
  invokedFunctionArn: 'arn:aws:lambda:us-east-1:000000000000:function:warm',
  traceId: 'Root=1-00000000-000000000000000000000000;Parent=0000000000000000;Sampled=0',
};
// An identifier with callbacks and one without; the latter loads an ES module.
const PASSES = [
  { _HANDLER: 'warm_mjs.handler', AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs24.x', _TINDERBOX_INIT: 'use' },
  { _HANDLER: 'warm_cjs.handler', AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs22.x', _TINDERBOX_INIT: 'make' },
];

function frame(kind, ...parts) {
  const head = Buffer.alloc(5);
  const payload = Buffer.concat(parts.map((part) => Buffer.from(part)));
  head.writeUInt32BE(1 + payload.length, 0);
  head[4] = kind;
  return Buffer.concat([head, payload]);
}

function invokeFrame() {
  const header = JSON.stringify(HEADER);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(header.length, 0);
  return frame(1, length, header, JSON.stringify(EVENT));
}

/** Goes through everything once, from what `assume` and `arrive` do on. `channel` leads nowhere meanwhile. */
async function rehearse(channel, assume, arrive) {
  // Landlock lets nobody truncate it.
  const nowhere = fs.openSync('/dev/null', fs.constants.O_WRONLY);
  const before = { fd: channel.fd, folder: process.cwd(), environment: { ...process.env } };
  channel.fd = nowhere;
  for (const pass of PASSES) {
    const environment = { ...pass, LAMBDA_TASK_ROOT: __dirname, _LAMBDA_TELEMETRY_LOG_FD: String(nowhere) };
    channel.take(frame(16, JSON.stringify({ environment })));
    assume(channel);
    channel.take(frame(23));
    arrive(channel);
    channel.take(invokeFrame());
    await runThrough(channel);
  }
  delete require.cache[require.resolve('./warm_cjs.cjs')];
  for (const name of Object.keys(process.env)) if (!(name in before.environment)) delete process.env[name];
  Object.assign(process.env, before.environment);
  process.chdir(before.folder);
  channel.fd = before.fd;
  fs.closeSync(nowhere);
}

/**
 * Has V8 collect its nursery, twice, so that what stays is moved out of it. Else the first collection of the process, which maps memory and wakes
 * threads, comes in the middle of an init. (Whoever asks V8 for one needs a flag, and flags change what a code cache is good for.)
 */
function emptyNursery() {
  const used = () => v8.getHeapSpaceStatistics().find((space) => space.space_name === 'new_space').space_used_size;
  for (let collections = 0; collections < 2; collections += 1) {
    let garbage;
    let before = 0;
    for (let now = used(), count = 0; now >= before && count < GARBAGE_MAX; now = used(), count += 1) {
      before = now;
      garbage = new Array(GARBAGE_LENGTH);
    }
    void garbage;
  }
}

module.exports = { rehearse, emptyNursery };
