// Tinderbox's Node.js bootstrap: loads the user's handler once, then serves one invoke at a time (several: concurrent.cjs).
//
//   server ──INVOKE──▶ readSync ─▶ handler(event, context[, callback]) ─▶ writeSync ──RESPONSE | ERROR──▶ server
//            (blocks, or arrival)  event loop turns while it awaits
//
// Behaviour follows AWS's managed runtimes: identifiers up to nodejs22.x take callbacks and `context.done`, later ones
// do not (docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html).
'use strict';

const { Channel } = require('./channel.cjs');
const { RuntimeError, describe } = require('./errors.cjs');
const logs = require('./logs.cjs');
const { load } = require('./handler.cjs');
const redirect = require('./redirect.cjs');
const { used } = require('./resident.cjs');
const streaming = require('./streaming.cjs');

const env = process.env;
const RESPONSE_BYTES_MAX = 6291556; // 6 MiB and a little: the limit in AWS's error text, unless the operator raised it
let answerBytesMax = RESPONSE_BYTES_MAX;
const LAST_IDENTIFIER_WITH_CALLBACKS = 22;

// What stdout and stderr look like among the active resources, once something has touched them; nobody waits for those.
const STANDARD_STREAMS = ['PipeWrap', 'TTYWrap'];

const EXIT_INIT_ERROR = 1;
const EXIT_UNHANDLED_REJECTION = 128;
const EXIT_UNCAUGHT_EXCEPTION = 129;

const NEVER_SETTLED =
  'The Lambda runtime client detected an unexpected Node.js exit code. This is most commonly caused by a Promise that ' +
  'was never settled. For more information, see https://nodejs.org/docs/latest/api/process.html#exit-codes';

function takeDescriptor(name) {
  const fd = Number(env[name]);
  delete env[name]; // the user's code and its children have no business with it
  return Number.isInteger(fd) && fd > 2 ? fd : undefined;
}

// What the server may ask an init for beside itself: it says so by a variable of its own, and gets what `given` answers.
const BESIDE_INIT = {
  modules: './module_times.cjs',
  bundle: './bundle.cjs',
  make: './code_cache.cjs',
  use: './code_cache.cjs',
};

function besideInit() {
  const asked = env._TINDERBOX_INIT;
  if (asked === undefined) return undefined;
  delete env._TINDERBOX_INIT;
  return require(BESIDE_INIT[asked])[asked]();
}

// Set by `start`: a generic runtime (generic.cjs) is up before it knows for which function.
let channel;
let allowCallbacks;
let fixed; // the fields of every context object

const turn = () => new Promise((resolve) => setImmediate(resolve));

// What an error outside the handler's own promise belongs to: null is init, else the request id being served.
let serving = null;
// Called when the event loop runs empty while an invoke is open.
let whenIdle = null;

function die(caption, error, code) {
  logs.logError(caption, error);
  const json = JSON.stringify(describe(error));
  if (serving === null) channel.initError(json);
  else channel.error(serving, json);
  process.exit(code);
}

let listens = false;

function listenToProcess() {
  if (listens) return;
  listens = true;
  process.on('beforeExit', () => {
    const callback = whenIdle;
    whenIdle = null;
    if (callback !== null) setImmediate(callback);
  });
  process.on('uncaughtException', (error) => die('Uncaught Exception', error, EXIT_UNCAUGHT_EXCEPTION));
  process.on('unhandledRejection', (reason, promise) => {
    const error = new RuntimeError('UnhandledPromiseRejection', String(reason));
    die('Unhandled Promise Rejection', Object.assign(error, { reason, promise }), EXIT_UNHANDLED_REJECTION);
  });
}

// Client context and identity travel as JSON text (a header on the Runtime API) or already as an object.
const decoded = (value) => (typeof value === 'string' && value !== '' ? JSON.parse(value) : value || undefined);

// One literal: every context has the same shape, which V8 compiles for. (What has its own for each invoke costs 40 µs of it.)
function createContext(header) {
  const deadline = header.deadlineMs;
  return {
    functionName: fixed.functionName,
    functionVersion: fixed.functionVersion,
    memoryLimitInMB: fixed.memoryLimitInMB,
    logGroupName: fixed.logGroupName,
    logStreamName: fixed.logStreamName,
    clientContext: decoded(header.clientContext),
    identity: decoded(header.cognitoIdentity),
    invokedFunctionArn: header.invokedFunctionArn,
    awsRequestId: header.requestId,
    tenantId: header.tenantId,
    xRayTraceId: header.traceId,
    getRemainingTimeInMillis: () => deadline - Date.now(),
  };
}

/** Runs a handler of an identifier that knows callbacks; settles when the invoke is to be answered. */
function runWithCallback(handler, event, context) {
  return new Promise((resolve, reject) => {
    let settled = false;
    const settle = (error, result) => {
      if (settled) return;
      settled = true;
      whenIdle = null;
      if (error === undefined || error === null) resolve(result);
      else reject(error);
    };
    let called = false;
    context.callbackWaitsForEmptyEventLoop = true;
    context.succeed = (result) => settle(null, result);
    context.fail = (error) => settle(error ?? 'handled');
    context.done = settle;
    const callback = (error, result) => {
      if (called || settled) return;
      called = true;
      // By default the answer leaves when the event loop is empty; an error does not wait.
      const isError = error !== undefined && error !== null;
      if (context.callbackWaitsForEmptyEventLoop && !isError) whenIdle = () => settle(null, result);
      else settle(error, result);
    };
    // A handler that neither calls back nor returns a promise answers null once nothing is left to do.
    whenIdle = () => settle(null, null);
    const outcome = handler(event, context, callback);
    if (typeof outcome?.then === 'function') {
      whenIdle = () => settle(new RuntimeError('NodeJsExit', NEVER_SETTLED));
      outcome.then(context.succeed, (error) => settle(error ?? 'handled'));
    }
  });
}

/** Passes `outcome` on, and fails it when the event loop runs empty before it settles. */
function orNeverSettled(outcome) {
  if (typeof outcome?.then !== 'function') return outcome;
  return new Promise((resolve, reject) => {
    whenIdle = () => reject(new RuntimeError('NodeJsExit', NEVER_SETTLED));
    outcome.then(resolve, reject);
  });
}

function run({ handler, streaming: streams }, event, context, out) {
  if (streams) return orNeverSettled(streaming.runStreaming(handler, event, context, out));
  return allowCallbacks ? runWithCallback(handler, event, context) : orNeverSettled(handler(event, context));
}

function serialize(result) {
  try {
    // A function or symbol has no JSON text at all; like undefined it answers null.
    return JSON.stringify(result) ?? 'null';
  } catch {
    throw new RuntimeError('JSONStringifyError', 'Unable to stringify response body');
  }
}

function tooLarge(body) {
  if (body.length * 3 <= answerBytesMax) return false;
  return (typeof body === 'string' ? Buffer.byteLength(body) : body.length) > answerBytesMax;
}

function answer(requestId, body) {
  if (tooLarge(body)) {
    const error = {
      errorType: 'Function.ResponseSizeTooLarge',
      errorMessage: `Response payload size exceeded maximum allowed payload size (${answerBytesMax} bytes).`,
    };
    channel.error(requestId, JSON.stringify(error));
  } else {
    channel.response(requestId, body);
  }
}

/** Where a streaming handler's chunks go, when the caller takes a stream. */
function streamTo({ stream, requestId }) {
  if (!stream) return undefined;
  return {
    head: (contentType) => channel.head(requestId, contentType),
    chunk: (bytes) => channel.chunk(requestId, bytes),
  };
}

async function serveOne(loaded, { header, event }) {
  serving = header.requestId;
  answerBytesMax = header.answerBytesMax ?? RESPONSE_BYTES_MAX;
  logs.current.requestId = header.requestId;
  logs.current.tenantId = header.tenantId;
  if (header.traceId) env._X_AMZN_TRACE_ID = header.traceId;
  else delete env._X_AMZN_TRACE_ID;
  streaming.enter(header);
  try {
    const given = JSON.parse(event || '{}');
    redirect.watch(given);
    const result = await run(loaded, given, createContext(header), streamTo(header));
    whenIdle = null;
    // One turn of the loop lets an unhandled rejection or a thrown timer fail this invoke rather than the next one.
    await turn();
    answer(header.requestId, loaded.streaming ? result : serialize(result));
  } catch (error) {
    whenIdle = null;
    await turn();
    logs.logError('Invoke Error', error);
    channel.error(header.requestId, JSON.stringify(describe(error)));
  }
}

/** Init. In a frame of its own, with which what was asked for beside it goes. */
async function initialise() {
  const beside = besideInit();
  const loadHandler = beside?.load ?? load;
  channel.loading();
  let loaded;
  try {
    loaded = await loadHandler(env.LAMBDA_TASK_ROOT ?? process.cwd(), env._HANDLER ?? '', allowCallbacks);
  } catch (error) {
    die('Init Error', error, EXIT_INIT_ERROR);
  }
  whenIdle = null;
  // An internal extension has begun within init, and init is over when it asks for its first event, now or in a while: what
  // it waits for until then (a connection, a timer, a look-up) is active after one turn.
  await turn();
  const loops = process.getActiveResourcesInfo().some((resource) => !STANDARD_STREAMS.includes(resource));
  beside?.done?.();
  if (beside?.given !== undefined) channel.given(beside.given());
  channel.ready(used());
  return { loaded, loops };
}

async function main() {
  const { loaded, loops: left } = await initialise();
  let loops = left;
  for (;;) {
    // The loop also runs what the function does at its end.
    loops ||= process.listenerCount('SIGTERM') > 0;
    if (loops) await channel.arrival();
    const invoke = channel.next();
    if (invoke === null) process.exit(0);
    await serveOne(loaded, invoke);
  }
}

/** Reads what is the same for every invoke from the environment variables. */
function prepare() {
  delete env._TINDERBOX_CHANNEL_FD;
  logs.install({
    fd: takeDescriptor('_LAMBDA_TELEMETRY_LOG_FD'),
    json: env.AWS_LAMBDA_LOG_FORMAT?.toUpperCase() === 'JSON',
    level: env.AWS_LAMBDA_LOG_LEVEL?.toUpperCase(),
  });
  const identifier = /nodejs(\d+)/.exec(env.AWS_EXECUTION_ENV ?? '');
  allowCallbacks = identifier !== null && Number(identifier[1]) <= LAST_IDENTIFIER_WITH_CALLBACKS;
  fixed = {
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
  };
}

/**
 * Init and an event on a channel, for the sake of the code that it compiles (rehearsal.cjs). What it leaves behind is what `start`
 * sets anew.
 */
async function runThrough(open) {
  channel = open;
  prepare();
  listenToProcess();
  streaming.install();
  const { loaded } = await initialise();
  await serveOne(loaded, channel.next());
  serving = null;
  logs.current.requestId = '-';
  logs.current.tenantId = undefined;
  streaming.leave();
}

/** Becomes the runtime of the function that the environment variables describe; `arrive` waits until its files are there. */
function start(open = new Channel(takeDescriptor('_TINDERBOX_CHANNEL_FD') ?? 3), arrive = () => {}) {
  channel = open;
  prepare();
  listenToProcess();
  streaming.install();
  arrive(channel);
  // A top-level await that never settles in the user's module leaves the loop empty during init.
  whenIdle = () => die('Init Error', new RuntimeError('NodeJsExit', NEVER_SETTLED), EXIT_INIT_ERROR);
  main();
}

module.exports = { start, runThrough, prepare, createContext, serialize, allowsCallbacks: () => allowCallbacks };
if (require.main === module) {
  // Reserved, unlike AWS_LAMBDA_MAX_CONCURRENCY, which any function may set.
  if (env.AWS_LAMBDA_INITIALIZATION_TYPE === 'lambda-managed-instances') require('./concurrent.cjs').start();
  else start();
}
