// The `awslambda` global: response streaming and the store of the current invoke.
//
// When the caller takes a stream, chunks leave as they are written. Otherwise they are gathered and sent at the end, which
// is what a caller with the BUFFERED invoke mode sees on AWS too.
'use strict';

const { STREAMING } = require('./handler.cjs');
const { RuntimeError } = require('./errors.cjs');

const PRELUDE_TYPE = 'application/vnd.awslambda.http-integration-response';
const PRELUDE_END = Buffer.alloc(8);

/**
 * Takes the chunks of an answer: passes them to `out` when the caller streams, else keeps them until the end. `push` returns
 * what `out.chunk` does: nothing, or a promise to wait for before the next chunk.
 */
function collector(out, contentType) {
  const chunks = [];
  let begun = false;
  return {
    begun: () => begun,
    push(bytes) {
      if (out !== undefined && !begun) out.head(contentType());
      begun = true;
      if (out !== undefined) return out.chunk(bytes);
      chunks.push(bytes);
      return undefined;
    },
    end() {
      if (out !== undefined && !begun) out.head(contentType());
      begun = true;
      return Buffer.concat(chunks);
    },
  };
}

/** The Writable that a handler writes its answer to. `stream` is loaded here only: most functions never need it. */
function createResponseStream(out) {
  const { Writable } = require('stream');
  const chunks = collector(out, () => response.contentType);
  const response = new Writable({
    decodeStrings: false,
    objectMode: true,
    write(chunk, encoding, done) {
      if (!chunks.begun() && response._onBeforeFirstWrite) {
        response._onBeforeFirstWrite((first) => chunks.push(Buffer.from(first)));
      }
      let bytes;
      if (typeof chunk === 'string') bytes = Buffer.from(chunk, Buffer.isEncoding(encoding) ? encoding : 'utf8');
      else if (chunk instanceof Uint8Array) bytes = Buffer.from(chunk);
      else bytes = Buffer.from(JSON.stringify(chunk));
      const room = chunks.push(bytes);
      if (room === undefined) done();
      else room.then(() => done(), done);
    },
  });
  response.contentType = 'application/octet-stream';
  response.setContentType = (type) => {
    if (chunks.begun()) throw new RuntimeError('InvalidStreamingOperation', 'Cannot set content-type, too late.');
    response.contentType = type;
  };
  const finished = new Promise((resolve, reject) => {
    response.once('finish', () => resolve(chunks.end()));
    response.once('error', reject);
  });
  finished.catch(() => {}); // awaited later; until then it is not an unhandled rejection
  return { response, finished };
}

async function runStreaming(handler, event, context, out) {
  const { response, finished } = createResponseStream(out);
  const outcome = handler(event, response, context);
  if (typeof outcome?.then !== 'function') throw new Error('Streaming does not support non-async handlers.');
  if ((await outcome) !== undefined) console.warn('Streaming handlers ignore return values.');
  if (!response.writableEnded) throw new Error('Response stream is not finished.');
  return finished;
}

const store = {
  PROTECTED_KEYS: {
    REQUEST_ID: Symbol.for('_AWS_LAMBDA_REQUEST_ID'),
    X_RAY_TRACE_ID: Symbol.for('_AWS_LAMBDA_X_RAY_TRACE_ID'),
    TENANT_ID: Symbol.for('_AWS_LAMBDA_TENANT_ID'),
  },
  context: undefined,
  getContext: () => store.context,
  hasContext: () => store.context !== undefined,
  get: (key) => store.context?.[key],
  set(key, value) {
    if (Object.values(store.PROTECTED_KEYS).includes(key)) {
      throw new Error(`Cannot modify protected Lambda context field: ${String(key)}`);
    }
    store.context = { ...store.context, [key]: value };
  },
  run(context, callback) {
    store.context = context;
    return callback();
  },
  getRequestId: () => store.get(store.PROTECTED_KEYS.REQUEST_ID) ?? '-',
  getXRayTraceId: () => store.get(store.PROTECTED_KEYS.X_RAY_TRACE_ID),
  getTenantId: () => store.get(store.PROTECTED_KEYS.TENANT_ID),
};

function enter(header) {
  store.context = {
    [store.PROTECTED_KEYS.REQUEST_ID]: header.requestId,
    [store.PROTECTED_KEYS.X_RAY_TRACE_ID]: header.traceId,
    [store.PROTECTED_KEYS.TENANT_ID]: header.tenantId,
  };
}

function leave() {
  store.context = undefined;
}

function install() {
  globalThis.awslambda = {
    ...globalThis.awslambda,
    streamifyResponse(handler) {
      handler[STREAMING] = 'response';
      return handler;
    },
    HttpResponseStream: {
      from(response, prelude) {
        response.setContentType(PRELUDE_TYPE);
        const head = JSON.stringify(prelude);
        response._onBeforeFirstWrite = (write) => {
          write(head);
          write(PRELUDE_END);
        };
        return response;
      },
    },
    InvokeStore: store,
  };
}

module.exports = { install, enter, leave, runStreaming };
