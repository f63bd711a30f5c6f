// What V8 has compiled of a function's modules, kept from one environment of the version for the next ones (ADR 0021).
//
//   make: load as ever ─▶ init is over ─▶ compiled code of every module so far, lazy functions included ─▶ GIVEN, before any event
//   use:  the file that the server mounts ─▶ cachedData of each module, while init lasts
//
//   u32 length of the header | header {file: [offset, length]} | data
//
// V8 takes what was compiled by the same version from a source of the same length, and compiles itself where it does not. The files
// are those of read-only mounts that the version always has. node itself reads each, and says of which kind it is: what another hook
// changes, and what is no plain CommonJS, goes node's own way. Whatever goes wrong here, init goes on without a cache.
'use strict';

const fs = require('fs');
const path = require('path');
const vm = require('vm');
const Module = require('module');

const FILE = '/var/code-cache';
const FOLDERS = ['/var/task/', '/opt/'];
const FILES_MAX = 10000;
// It is in memory twice while it is made, and once while it is used.
const bytesMax = () => Math.min(16, (Number(process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE) || 0) / 16) * 1024 * 1024;
// Less source than this compiles in the time that it takes to read what was compiled.
const SOURCE_LENGTH_MIN = 64 * 1024;

// Before any code of the function: whoever changes it changes what is compiled.
const { _compile: compile } = Module.prototype;
const PREFIX_LENGTH = Module.wrapper[0].length;
const importModuleDynamically = vm.constants?.USE_MAIN_CONTEXT_DEFAULT_LOADER;

// Before node 22 what comes out of a cache has lost who loads what its `import()` asks for, and so has the text that it evaluates.
const KEEPS_IMPORT = Number(process.versions.node.split('.')[0]) >= 22;
const MAY_IMPORT = /\b(?:import|eval|Function)\s*\(/;

/** Has node say here, to nobody, that `import()` in a script is experimental: it says so once, and the function has no script. */
function warnNobody() {
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    new vm.Script("import('node:vm')", { importModuleDynamically }).runInThisContext().catch(() => {});
  } finally {
    process.emitWarning = emitWarning;
  }
}
if (KEEPS_IMPORT) warnNobody();

// Flags change what is compiled, and how.
const works = () => importModuleDynamically !== undefined && process.execArgv.length === 0 && !process.env.NODE_OPTIONS;

function requireOf(module) {
  const require = (id) => module.require(id);
  require.resolve = (request, options) => Module._resolveFilename(request, module, false, options);
  require.resolve.paths = (request) => Module._resolveLookupPaths(request, module);
  require.main = process.mainModule;
  require.extensions = Module._extensions;
  require.cache = Module._cache;
  return require;
}

/** What `attempt` answers; undefined where it fails. */
function orNothing(attempt) {
  try {
    return attempt();
  } catch {
    return undefined;
  }
}

/** The script of a CommonJS file; undefined where node has to see to it. */
function scriptOf(filename, source, cachedData) {
  // A byte order mark, or a line for a shell: the wrapper would come before it.
  if (typeof source !== 'string' || source.startsWith('\uFEFF') || source.startsWith('#!')) return undefined;
  if (!KEEPS_IMPORT && MAY_IMPORT.test(source)) return undefined;
  // Where it fails, node says what is wrong with it, or loads it as an ES module.
  const wrapped = Module.wrap(source);
  return new vm.Script(wrapped, { filename, columnOffset: -PREFIX_LENGTH, importModuleDynamically, cachedData });
}

/** Lets `scriptFor(file, source)` give the script of a module until the answer is called. */
function hook(scriptFor) {
  const extensions = Module._extensions;
  const original = extensions['.js'];
  const { registerHooks } = Module;

  const ours = function (module, file) {
    // Whoever gives a module, or all of them, a `_compile` of its own is about to change its source.
    if (scriptFor === undefined || module._compile !== compile || process.sourceMapsEnabled) {
      return original.call(this, module, file);
    }
    const once = function (...given) {
      delete module._compile;
      const [source, filename, format] = given;
      const plain = scriptFor !== undefined && filename === file && (format === undefined || format === 'commonjs');
      const script = plain ? orNothing(() => scriptFor(file, source)) : undefined;
      if (script === undefined) return module._compile(...given);
      const run = script.runInThisContext();
      return run.call(module.exports, module.exports, requireOf(module), module, file, path.dirname(file));
    };
    module._compile = once;
    try {
      return original.call(this, module, file);
    } finally {
      // node has refused the file.
      if (Object.hasOwn(module, '_compile') && module._compile === once) delete module._compile;
    }
  };

  // What follows may be another text of the same length each time.
  const registers = function (...hooks) {
    end();
    return registerHooks.apply(this, hooks);
  };
  const end = () => {
    scriptFor = undefined; // and all that it holds, should another hook hold this one
    orNothing(() => {
      if (extensions['.js'] === ours) extensions['.js'] = original;
      if (Module.registerHooks === registers) Module.registerHooks = registerHooks;
    });
  };
  extensions['.js'] = ours;
  if (registerHooks !== undefined) Module.registerHooks = registers;
  return end;
}

/** The compiled code of scripts in the form of the file; empty where nothing fits. */
function packed(scripts, lengthMax) {
  const header = {};
  const parts = [];
  let offset = 0;
  for (const [file, script] of scripts) {
    const data = script.createCachedData();
    if (offset + data.length > lengthMax) continue;
    header[file] = [offset, data.length];
    offset += data.length;
    parts.push(data);
  }
  if (parts.length === 0) return '';
  const text = Buffer.from(JSON.stringify(header));
  const prefix = Buffer.alloc(4);
  prefix.writeUInt32BE(text.length);
  return Buffer.concat([prefix, text, ...parts]);
}

const isKept = (file) => /\.c?js$/.test(file) && FOLDERS.some((folder) => file.startsWith(folder));

function make() {
  if (!works()) return { given: () => '' };
  const scripts = new Map();
  const lengthMax = bytesMax();
  let length = 0;
  const end = hook((file, source) => {
    const script = scripts.size < FILES_MAX && isKept(file) ? scriptOf(file, source) : undefined;
    if (script === undefined) return undefined;
    scripts.set(file, script);
    length += source.length;
    return script;
  });
  return {
    given() {
      end();
      const given = length < SOURCE_LENGTH_MIN ? '' : orNothing(() => packed(scripts, lengthMax));
      scripts.clear();
      return given ?? '';
    },
  };
}

function use() {
  if (!works()) return {};
  const all = fs.readFileSync(FILE);
  if (all.length === 0) return {}; // it has been given up meanwhile
  const start = 4 + all.readUInt32BE(0);
  const header = JSON.parse(all.toString('utf8', 4, start));
  const end = hook((file, source) => {
    const place = Object.hasOwn(header, file) ? header[file] : undefined;
    return place && scriptOf(file, source, all.subarray(start + place[0], start + place[0] + place[1]));
  });
  return { done: end };
}

/** Keeps what is compiled; `given` answers it, or nothing where it is not worth the while. */
exports.make = () => orNothing(make) ?? { given: () => '' };

/** Uses what an earlier environment has compiled. */
exports.use = () => orNothing(use) ?? {};
