// Bundles the package with the host's esbuild and loads the bundle in its place: for `tinderbox functions report`, in an init that is
// run for nothing else. Here, inside the sandbox, because a package may name any file of the machine that bundles it.
'use strict';

const fs = require('fs');
const path = require('path');
const { spawnSync } = require('child_process');
const handlers = require('./handler.cjs');

const ESBUILD = '/var/bundler/esbuild';
const TEXT_LENGTH_MAX = 2000;
// What an ES module must be given, for the CommonJS in the bundle.
const REQUIRE = "import{createRequire as __tinderbox}from'module';const require=__tinderbox(import.meta.url);";

function run(entry, isModule, folder) {
  const out = path.join(folder, isModule ? 'bundle.mjs' : 'bundle.cjs');
  const options = ['--bundle', '--minify', '--tree-shaking=true', '--platform=node', '--log-level=error', '--log-limit=5'];
  options.push(`--target=node${process.versions.node.split('.')[0]}`, `--outfile=${out}`);
  options.push(...(isModule ? ['--format=esm', `--banner:js=${REQUIRE}`] : ['--format=cjs']));
  const ended = spawnSync(ESBUILD, [entry, ...options], { stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' });
  if (ended.status === 0) return { out };
  const why = ended.error?.message ?? (ended.stderr || `it ended by ${ended.signal ?? ended.status}`);
  return { error: why.slice(0, TEXT_LENGTH_MAX) };
}

/** `given` answers JSON `{bytes, loadUs}`, or `{error}`. */
exports.bundle = () => {
  let result;
  return {
    async load(root, name, allowCallbacks) {
      const parsed = handlers.parse(name);
      const entry = handlers.find(root, parsed);
      if (entry === undefined) {
        result = { error: `the handler's file is not found by the path ${name}` };
        return undefined;
      }
      const folder = fs.mkdtempSync('/tmp/bundle-');
      const { out, error } = run(entry, handlers.isModule(entry), folder);
      if (error !== undefined) {
        result = { error };
        return undefined;
      }
      const { size } = fs.statSync(out);
      const start = performance.now();
      try {
        const loaded = await handlers.load(folder, `bundle.${parsed.exportPath}`, allowCallbacks);
        result = { bytes: size, loadUs: Math.round((performance.now() - start) * 1000) };
        return loaded;
      } catch (failed) {
        result = { error: `the bundle does not load: ${failed}`.slice(0, TEXT_LENGTH_MAX) };
        return undefined;
      }
    },
    given: () => JSON.stringify(result),
  };
};
