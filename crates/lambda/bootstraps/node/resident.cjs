// The AWS SDK that comes with the runtime, loaded before it is known for which function.
//
//   an init of a version loads clients of the runtime's own SDK ─▶ READY says so ─▶ later environments find them loaded
//
// What is loaded is kept by its file, so a package or a layer that brings an SDK of its own loads that all the same.
'use strict';

const FOLDER = '/var/lang/node_modules/';
const VARIABLE = '_TINDERBOX_RESIDENT';
const NAMES_MAX = 8;
// What functions ask for; the rest of the SDK is what these load.
const ASKED_FOR = /^@aws-sdk\/(?:client|lib)-[a-z0-9-]+(?=\/)/;

/** Loads what the server asks for. (Functions with variables that it may read meanwhile never come to this process.) */
function loadResident() {
  const names = process.env[VARIABLE];
  delete process.env[VARIABLE];
  for (const name of names?.split(' ') ?? []) require(FOLDER + name);
}

/** What this init has loaded of the runtime's SDK, as READY says it: a JSON array, or nothing. */
function used() {
  const files = Object.keys(require.cache).filter((file) => file.startsWith(FOLDER));
  const names = new Set(files.map((file) => ASKED_FOR.exec(file.slice(FOLDER.length))?.[0]).filter(Boolean));
  return names.size === 0 || names.size > NAMES_MAX ? '' : JSON.stringify([...names]);
}

module.exports = { loadResident, used };
