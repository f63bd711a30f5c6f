// Serves several events at once (Lambda Managed Instances): asks the Runtime API, and runs each handler side by side with the
// others on this thread. What belongs to one invoke (log lines, `awslambda.InvokeStore`) follows its asynchronous calls.
//
//   next ─▶ handler(event, context) ─▶ response | error      by request id, in any order
//    └─ asked again at once: as many run as the platform hands out, `AWS_LAMBDA_MAX_CONCURRENCY` at most
'use strict';

const { AsyncLocalStorage } = require('async_hooks');
const { Agent, request } = require('http'); // taken before the user's code may change the module
const bootstrap = require('./bootstrap.cjs');
const { RuntimeError, describe } = require('./errors.cjs');
const logs = require('./logs.cjs');
const { load } = require('./handler.cjs');
const streaming = require('./streaming.cjs');

const env = process.env;
const PREFIX = '/2018-06-01/runtime';
/** Calls to `next` that wait side by side: an event that comes finds one while the one before is still being taken. */
const ASKS_MAX = 4;
const EXIT_INIT_ERROR = 1;
const EXIT_UNHANDLED_REJECTION = 128;
const EXIT_UNCAUGHT_EXCEPTION = 129;

/** The invoke that the running code belongs to. */
const current = new AsyncLocalStorage();
let address;
let agent;

function open(method, path, headers, resolve, reject) {
  const call = request({ ...address, agent, method, path: PREFIX + path, headers }, (answer) => {
    const chunks = [];
    answer.on('data', (chunk) => chunks.push(chunk));
    answer.on('end', () => resolve({ status: answer.statusCode, headers: answer.headers, body: Buffer.concat(chunks) }));
    answer.on('error', reject);
  });
  call.on('error', reject);
  return call;
}

const call = (method, path, body, headers = {}) =>
  new Promise((resolve, reject) => open(method, path, headers, resolve, reject).end(body));

// Header values travel as UTF-8; node reads them as Latin-1.
const text = (value) => (value === undefined ? undefined : Buffer.from(value, 'latin1').toString('utf8'));

function headerOf(headers) {
  const of = (name) => text(headers[`lambda-runtime-${name}`]);
  return {
    requestId: of('aws-request-id'),
    deadlineMs: Number(of('deadline-ms')),
    invokedFunctionArn: of('invoked-function-arn'),
    traceId: of('trace-id'),
    clientContext: of('client-context'),
    cognitoIdentity: of('cognito-identity'),
    tenantId: of('aws-tenant-id'),
  };
}

/** Makes log lines and `awslambda.InvokeStore` those of the invoke that the running code belongs to. */
function followCalls() {
  const field = (get) => ({ get, set() {}, enumerable: true });
  Object.defineProperties(logs.current, {
    requestId: field(() => current.getStore()?.requestId ?? '-'),
    tenantId: field(() => current.getStore()?.tenantId),
  });
  const store = globalThis.awslambda.InvokeStore;
  Object.defineProperty(store, 'context', {
    get: () => current.getStore()?.context,
    set: (context) => {
      const invoke = current.getStore();
      if (invoke !== undefined) invoke.context = context;
    },
  });
  store.run = (context, callback) => current.run({ ...current.getStore(), context }, callback);
}

/** Settles when the invoke is to be answered. A callback answers at once: here the event loop is never empty. */
function run({ handler }, event, context) {
  if (!bootstrap.allowsCallbacks()) return handler(event, context);
  return new Promise((resolve, reject) => {
    const done = (error, result) => (error === undefined || error === null ? resolve(result) : reject(error));
    context.succeed = resolve;
    context.fail = (error) => reject(error ?? 'handled');
    context.done = done;
    context.callbackWaitsForEmptyEventLoop = false;
    const outcome = handler(event, context, done);
    if (typeof outcome?.then === 'function') outcome.then(resolve, (error) => reject(error ?? 'handled'));
  });
}

/** Writes to a request; while its buffer is full, a promise that there is room again, or that the connection is gone. */
function written(stream, bytes) {
  if (stream.write(bytes) || stream.destroyed) return undefined;
  return new Promise((resolve) => {
    const over = () => {
      stream.off('drain', over);
      stream.off('close', over);
      resolve();
    };
    stream.on('drain', over);
    stream.on('close', over);
  });
}

const invokePath = (requestId, what) => `/invocation/${requestId}/${what}`;

/** Runs a streaming handler; its answer leaves as it is written. */
async function runStream({ handler }, event, context, requestId) {
  let answered;
  let stream;
  const out = {
    head(contentType) {
      const headers = {
        'Content-Type': contentType,
        'Lambda-Runtime-Function-Response-Mode': 'streaming',
        'Transfer-Encoding': 'chunked',
        Trailer: 'Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body',
      };
      answered = new Promise((resolve, reject) => {
        stream = open('POST', invokePath(requestId, 'response'), headers, resolve, reject);
      });
      answered.catch(() => {}); // awaited below
    },
    chunk: (bytes) => written(stream, bytes),
  };
  try {
    await streaming.runStreaming(handler, event, context, out);
  } catch (error) {
    if (stream === undefined) throw error;
    logs.logError('Invoke Error', error);
    const described = describe(error);
    stream.addTrailers({
      'Lambda-Runtime-Function-Error-Type': described.errorType,
      'Lambda-Runtime-Function-Error-Body': Buffer.from(JSON.stringify(described)).toString('base64'),
    });
  }
  stream.end();
  await answered;
}

async function answer(loaded, header, event) {
  streaming.enter(header);
  try {
    const given = JSON.parse(event.toString('utf8') || '{}');
    const context = bootstrap.createContext(header);
    if (loaded.streaming) return await runStream(loaded, given, context, header.requestId);
    const result = bootstrap.serialize(await run(loaded, given, context));
    await call('POST', invokePath(header.requestId, 'response'), result);
  } catch (error) {
    logs.logError('Invoke Error', error);
    await call('POST', invokePath(header.requestId, 'error'), JSON.stringify(describe(error)));
  }
}

async function ask(loaded) {
  for (;;) {
    const { status, headers, body } = await call('GET', '/invocation/next');
    if (status !== 200) throw new RuntimeError('ProtocolError', `next: ${status} ${body}`);
    const header = headerOf(headers);
    // What goes wrong in it is its own answer; what is left is a broken connection, which ends this process.
    current.run({ requestId: header.requestId, tenantId: header.tenantId }, () => answer(loaded, header, body));
  }
}

function end(caption, error, code) {
  logs.logError(caption, error);
  process.exit(code); // which of the invokes it belongs to nobody can tell: they all end
}

async function start() {
  bootstrap.prepare();
  const [hostname, port] = env.AWS_LAMBDA_RUNTIME_API.split(':');
  address = { hostname, port };
  agent = new Agent({ keepAlive: true });
  streaming.install();
  followCalls();
  process.on('uncaughtException', (error) => end('Uncaught Exception', error, EXIT_UNCAUGHT_EXCEPTION));
  process.on('unhandledRejection', (reason, promise) => {
    const error = new RuntimeError('UnhandledPromiseRejection', String(reason));
    end('Unhandled Promise Rejection', Object.assign(error, { reason, promise }), EXIT_UNHANDLED_REJECTION);
  });
  let loaded;
  try {
    loaded = await load(env.LAMBDA_TASK_ROOT ?? process.cwd(), env._HANDLER ?? '', bootstrap.allowsCallbacks());
  } catch (error) {
    logs.logError('Init Error', error);
    await call('POST', '/init/error', JSON.stringify(describe(error)));
    process.exit(EXIT_INIT_ERROR);
  }
  const asks = Math.min(Number(env.AWS_LAMBDA_MAX_CONCURRENCY), ASKS_MAX);
  for (let n = 0; n < asks; n++) ask(loaded);
}

module.exports = { start };
