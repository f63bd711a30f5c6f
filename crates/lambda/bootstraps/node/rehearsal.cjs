// A rehearsal of a cold start, by a generic runtime before it is known for which function.
//
// V8 compiles each function when it is called for the first time, and node loads parts of itself when they are used for the first
// time: half of what a cold start took. So init and an event are gone through once with a function that does nothing, by the same code,
// to a channel that leads nowhere. Everything is then set anew by `start`; what has been seen of a user is nothing.
'use strict';

const fs = require('fs');
const { runThrough } = require('./bootstrap.cjs');

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

function invokeFrame() {
  const header = Buffer.from(JSON.stringify(HEADER));
  const event = Buffer.from(JSON.stringify(EVENT));
  const frame = Buffer.alloc(9);
  frame.writeUInt32BE(5 + header.length + event.length, 0);
  frame[4] = 1;
  frame.writeUInt32BE(header.length, 5);
  return Buffer.concat([frame, header, event]);
}

/** Goes through everything once. `channel` leads nowhere meanwhile. */
async function rehearse(channel) {
  const nowhere = fs.openSync('/dev/null', 'w');
  const { fd } = channel;
  const before = { ...process.env };
  channel.fd = nowhere;
  for (const pass of PASSES) {
    Object.assign(process.env, pass, { LAMBDA_TASK_ROOT: __dirname, _LAMBDA_TELEMETRY_LOG_FD: String(nowhere) });
    channel.take(invokeFrame());
    await runThrough(channel);
  }
  delete require.cache[require.resolve('./warm_cjs.cjs')];
  for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
  Object.assign(process.env, before);
  channel.fd = fd;
  fs.closeSync(nowhere);
}

module.exports = { rehearse };
