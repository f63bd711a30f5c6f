// Finds the user's handler by AWS's rules: `folder/file.path.into.exports`.
//
// The base name is cut at the first dot; the file is tried as given, then with .js, .mjs and .cjs, then the way
// `require` resolves a package. The rest is a path into the exports, also tried under `default`.
'use strict';

const fs = require('fs');
const path = require('path');
const { RuntimeError } = require('./errors.cjs');

const EXTENSIONS = ['', '.js', '.mjs', '.cjs'];
const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');

const CALLBACKS_REMOVED =
  'ERROR: AWS Lambda has removed support for callback-based function handlers starting with Node.js 24. ' +
  'You need to modify this function to use a supported handler signature to use Node.js 24 or later. ' +
  'For more information see https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html.';

function parse(handler) {
  if (handler.includes('..')) {
    throw new RuntimeError(
      'MalformedHandlerName',
      `'${handler}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`,
    );
  }
  const base = path.basename(handler);
  const dot = base.indexOf('.');
  if (dot < 0) throw new RuntimeError('MalformedHandlerName', 'Bad handler');
  const folder = handler.slice(0, handler.lastIndexOf(base)).replace(/\/$/, '');
  return { folder, module: base.slice(0, dot), exportPath: base.slice(dot + 1) };
}

/** What is in a file; undefined where it cannot be read. (An error that is caught takes ten times as long as a look.) */
function textOf(file) {
  try {
    return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : undefined;
  } catch {
    return undefined;
  }
}

/** True when the nearest package.json above `file` says `"type": "module"`. What is wrong with one is node's to say. */
function inModulePackage(file) {
  for (let folder = path.dirname(file); ; folder = path.dirname(folder)) {
    const text = textOf(path.join(folder, 'package.json'));
    if (text === undefined) {
      if (folder === path.dirname(folder) || path.basename(folder) === 'node_modules') return false;
      continue;
    }
    try {
      return JSON.parse(text.replace(/^\uFEFF/, ''))?.type === 'module';
    } catch {
      return false;
    }
  }
}

const importFile = (file) => import(require('url').pathToFileURL(file).href);

const isModule = (file) => file.endsWith('.mjs') || (file.endsWith('.js') && inModulePackage(file));

// `require` loads CommonJS faster than `import()` does; what it cannot load (top-level await) goes to `import()`.
async function loadFile(file) {
  if (isModule(file)) return importFile(file);
  try {
    return require(file);
  } catch (error) {
    if (error?.code === 'ERR_REQUIRE_ESM' || error?.code === 'ERR_REQUIRE_ASYNC_MODULE') return importFile(file);
    throw error;
  }
}

/** The file that holds the handler; undefined when it is found in no folder. */
function find(root, { folder, module }) {
  const stem = path.resolve(root, folder, module);
  const extension = EXTENSIONS.find((one) => fs.existsSync(stem + one));
  return extension === undefined ? undefined : stem + extension;
}

async function loadModule(root, parsed) {
  const { folder, module } = parsed;
  try {
    const file = find(root, parsed);
    if (file !== undefined) return await loadFile(file);
    return require(require.resolve(module, { paths: [root, path.join(root, folder)] }));
  } catch (error) {
    if (error instanceof SyntaxError) throw new RuntimeError('UserCodeSyntaxError', String(error), error);
    if (error?.code === 'MODULE_NOT_FOUND') throw new RuntimeError('ImportModuleError', String(error), error);
    throw error;
  }
}

const walk = (exportPath, from) =>
  exportPath
    .split('.')
    .reduce((value, key) => (value && typeof value === 'object' ? value[key] : undefined), from);

function resolve(exports, exportPath, name) {
  let handler = walk(exportPath, exports);
  if (!handler && exports && typeof exports === 'object' && 'default' in exports) {
    handler = walk(exportPath, exports.default);
  }
  if (!handler) throw new RuntimeError('HandlerNotFound', `${name} is undefined or not exported`);
  if (typeof handler !== 'function') throw new RuntimeError('HandlerNotFound', `${name} is not a function`);
  return handler;
}

function isStreaming(handler) {
  const mode = handler[STREAMING];
  if (!mode) return false;
  if (mode === 'response') return true;
  throw new RuntimeError('MalformedStreamingHandler', 'Only response streaming is supported.');
}

/** Loads the handler; `allowCallbacks` is false from nodejs24.x on. */
async function load(root, name, allowCallbacks) {
  const parsed = parse(name);
  const handler = resolve(await loadModule(root, parsed), parsed.exportPath, name);
  const streaming = isStreaming(handler);
  if (!allowCallbacks && !streaming && handler.length >= 3) {
    throw new RuntimeError('CallbackHandlerDeprecated', CALLBACKS_REMOVED);
  }
  return { handler, streaming };
}

module.exports = { find, isModule, load, parse, STREAMING };
