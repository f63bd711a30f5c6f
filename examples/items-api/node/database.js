'use strict';

// One small face over two embedded databases: `node:sqlite` where Node has it (22.5 and later), else SQLite compiled
// to WebAssembly. Both are the real SQLite on a real file.

function open(path) {
  const db = openNative(path) ?? openWasm(path);
  db.all('CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, name TEXT NOT NULL, price REAL, created_at TEXT NOT NULL)');
  return db;
}

function openNative(path) {
  // Undefined both before Node 20.16 and where `node:sqlite` does not exist yet.
  const sqlite = process.getBuiltinModule?.('node:sqlite');
  if (sqlite === undefined) return undefined;
  const connection = new sqlite.DatabaseSync(path);
  return { engine: 'node:sqlite', all: (sql, ...values) => connection.prepare(sql).all(...values) };
}

function openWasm(path) {
  const { Database } = require('node-sqlite3-wasm');
  const connection = new Database(path);
  return { engine: 'node-sqlite3-wasm', all: (sql, ...values) => connection.all(sql, values) };
}

module.exports = { open };
