// Times every module that an init loads: for `tinderbox functions report`, and only in the init that is run for it.
//
// A frame is open from the `require` that first asks for a module until its code has run, with all that it loads in turn; its own time
// is what none of those took. ES modules are loaded where nothing of ours can look, but what they import of CommonJS is seen: what
// all frames together leave of the whole time is theirs.
'use strict';

const Module = require('module');

const MODULES_MAX = 10000;
const NAME_LENGTH_MAX = 512;

const microseconds = () => Math.round(performance.now() * 1000);

/** Hooks the loader; `given` answers JSON `{totalUs, modules: [[index of the parent or -1, own time in µs, name]]}`. */
exports.modules = () => {
  const modules = [];
  const open = []; // frames, the innermost last
  const seen = new Set();
  let total = 0;

  const name = (frame, text) => {
    if (modules.length === MODULES_MAX) return;
    const parent = open.slice(0, -1).findLast((above) => above.index >= 0);
    frame.index = modules.push([parent?.index ?? -1, 0, text.slice(0, NAME_LENGTH_MAX)]) - 1;
  };
  const within = (text, run) => {
    const frame = { index: -1, inner: 0 };
    open.push(frame);
    if (text !== undefined) name(frame, text);
    const start = microseconds();
    try {
      return run();
    } finally {
      const took = microseconds() - start;
      open.pop();
      const above = open.at(-1);
      // What loaded nothing new counts as its caller's own time.
      const counted = frame.index >= 0 ? took : frame.inner;
      if (above !== undefined) above.inner += counted;
      if (frame.index >= 0) modules[frame.index][1] = Math.max(0, took - frame.inner);
    }
  };

  const { _load: loadAny } = Module;
  const { load } = Module.prototype;
  Module._load = function (request, ...rest) {
    let builtin;
    if (Module.isBuiltin(request)) {
      builtin = `node:${request.replace(/^node:/, '')}`;
      if (seen.has(builtin)) return loadAny.call(this, request, ...rest);
      seen.add(builtin);
    }
    return within(builtin, () => loadAny.call(this, request, ...rest));
  };
  Module.prototype.load = function (file) {
    const frame = open.at(-1);
    // An ES module's import of CommonJS does not come by `_load`.
    if (frame === undefined || frame.index >= 0) return within(String(file), () => load.call(this, file));
    name(frame, String(file));
    return load.call(this, file);
  };

  return {
    async load(...handler) {
      const { load: loadHandler } = require('./handler.cjs');
      const start = microseconds();
      const loaded = await loadHandler(...handler);
      total = microseconds() - start;
      Module._load = loadAny;
      Module.prototype.load = load;
      return loaded;
    },
    given: () => JSON.stringify({ totalUs: total, modules }),
  };
};
