// Errors in the shape that AWS's Node.js runtime reports them: { errorType, errorMessage, trace, … }.
'use strict';

/** An error whose `name` is one of AWS's `Runtime.*` types; the stack starts with that name, as AWS prints it. */
class RuntimeError extends Error {
  constructor(type, message, cause) {
    super(message);
    this.name = `Runtime.${type}`;
    // The stack of a SyntaxError shows the user's line: keep it whole under the new name.
    const shown = type === 'UserCodeSyntaxError' ? cause.stack : this.stack.replace(/^[^]*?\n(?= {4}at )/, '');
    this.stack = `${this.name}: ${message}\n${shown}`;
  }
}

const escapeDelete = (text) => (typeof text === 'string' ? text.replaceAll('\x7F', '%7F') : text);

const isError = (value) =>
  value instanceof Error || Object.prototype.toString.call(value) === '[object Error]';

/** What the caller of the function sees. Anything can be thrown, so even reading the fields may throw. */
function describe(error) {
  try {
    if (!isError(error)) return { errorType: typeof error, errorMessage: String(error), trace: [] };
    return {
      errorType: escapeDelete(error.name),
      errorMessage: escapeDelete(error.message),
      trace: (escapeDelete(error.stack) || '').split('\n'),
    };
  } catch {
    return {
      errorType: 'handled',
      errorMessage:
        'callback called with Error argument, but there was a problem while retrieving one or more of its message, name, and stack',
      trace: [],
    };
  }
}

function withOwnFields(_key, value) {
  if (!isError(value)) return value;
  const fields = { errorType: value.name, errorMessage: value.message, code: value.code, ...value };
  if (typeof value.stack === 'string') fields.stack = value.stack.split('\n');
  return fields;
}

/** What the function's log shows: one JSON text with the error's own fields and nested errors. */
function describeForLog(error) {
  const shown = isError(error) ? error : new Error(String(error));
  try {
    return JSON.stringify(shown, withOwnFields);
  } catch {
    return JSON.stringify(describe(shown));
  }
}

module.exports = { RuntimeError, describe, describeForLog, isError };
