// `console` as AWS's Node.js runtime patches it: one framed record per call on `_LAMBDA_TELEMETRY_LOG_FD`.
//
//   u32 0xa55a0003 (text) or 0xa55a0002 (JSON), or'ed with the level | u32 length | u64 time in microseconds | message
//
// Frames keep records of several lines whole, and text that merely looks like a platform line stays the function's.
'use strict';

const { format } = require('util');
const { writeAll } = require('./channel.cjs');
const { describeForLog, isError } = require('./errors.cjs');

const HEADER_BYTES = 16;
const FRAME_TEXT = 0xa55a0003;
const FRAME_JSON = 0xa55a0002;
const LEVELS = { TRACE: 4, DEBUG: 8, INFO: 12, WARN: 16, ERROR: 20, FATAL: 24 };

/** The request that log lines belong to; '-' during init. */
const current = { requestId: '-', tenantId: undefined };

let write = writeStdout;

function writeStdout(_frameType, _milliseconds, message) {
  process.stdout.write(`${message.replace(/\n+$/, '').replaceAll('\n', '\r')}\n`);
}

function writeFrame(fd) {
  return (frameType, milliseconds, message) => {
    const length = Buffer.byteLength(message);
    const frame = Buffer.allocUnsafe(HEADER_BYTES + length);
    frame.writeUInt32BE(frameType >>> 0, 0);
    frame.writeUInt32BE(length, 4);
    frame.writeBigUInt64BE(BigInt(milliseconds) * 1000n, 8);
    frame.utf8Write(message, HEADER_BYTES);
    writeAll(fd, frame, 0, frame.length);
  };
}

function logText(level, args) {
  const now = new Date();
  const line = `${now.toISOString()}\t${current.requestId}\t${level}\t${format(...args)}\n`;
  write(FRAME_TEXT | LEVELS[level], now.valueOf(), line);
}

const stackLines = (error) => (typeof error.stack === 'string' ? error.stack.split('\n') : []);

const expandErrors = (_key, value) =>
  isError(value)
    ? {
        errorType: value.constructor?.name ?? 'UnknownError',
        errorMessage: value.message,
        stackTrace: stackLines(value),
        ...value,
      }
    : value;

function logJson(level, args) {
  const now = new Date();
  const record = { timestamp: now.toISOString(), level, requestId: current.requestId };
  if (current.tenantId) record.tenantId = current.tenantId;
  write(FRAME_JSON | LEVELS[level], now.valueOf(), jsonRecord(record, args));
}

function jsonRecord(record, args) {
  if (args.length === 1) {
    record.message = args[0];
    try {
      return JSON.stringify(record, expandErrors);
    } catch {
      record.message = format(args[0]); // cyclic, BigInt, throwing toJSON
      return JSON.stringify(record);
    }
  }
  record.message = format(...args);
  const error = args.find(isError);
  if (error !== undefined) {
    record.errorType = error.constructor?.name ?? 'UnknownError';
    record.errorMessage = error.message;
    record.stackTrace = stackLines(error);
  }
  return JSON.stringify(record);
}

let isJson = false;

/** Patches the global console. `fd` undefined: lines go to stdout. Calls below the minimum level cost nothing. */
function install({ fd, json, level }) {
  write = fd === undefined ? writeStdout : writeFrame(fd);
  isJson = json;
  const minimum = LEVELS[level] ?? LEVELS.TRACE;
  const log = json ? logJson : logText;
  for (const name of Object.keys(LEVELS)) {
    console[name.toLowerCase()] = LEVELS[name] < minimum ? () => {} : (...args) => log(name, args);
  }
  console.log = console.info;
}

/** Logs an error that ended an init or an invoke, under AWS's captions. */
function logError(caption, error) {
  if (isJson) console.error(isError(error) ? error : new Error(String(error)));
  else console.error(caption, `\t${describeForLog(error)}`);
}

module.exports = { install, logError, current };
