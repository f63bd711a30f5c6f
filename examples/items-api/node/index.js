'use strict';

const { randomUUID } = require('crypto');
const database = require('./database');

// Lives outside the handler, so a warm environment finds it open.
let dbConnection;

function connect() {
  if (dbConnection) {
    console.log('Warm Start: reusing the database connection');
  } else {
    const started = Date.now();
    dbConnection = database.open(process.env.DB_PATH ?? '/tmp/items.db');
    console.log(`Cold Start: opened the database with ${dbConnection.engine} in ${Date.now() - started} ms`);
  }
  return dbConnection;
}

exports.handler = async (event) => {
  const db = connect();
  const method = event.requestContext?.http?.method ?? 'GET';
  const path = event.rawPath ?? '/items';
  const [, collection, id] = path.split('/');
  if (collection !== 'items') return answer(404, { message: `no such path: ${path}` });

  switch (`${method} ${id ? 'item' : 'items'}`) {
    case 'POST items':
      return create(db, event);
    case 'GET items':
      return answer(200, { items: db.all('SELECT * FROM items ORDER BY created_at, id') });
    case 'GET item':
      return one(db.all('SELECT * FROM items WHERE id = ?', id), id);
    case 'DELETE item':
      return one(db.all('DELETE FROM items WHERE id = ? RETURNING *', id), id);
    default:
      return answer(405, { message: `${method} is not allowed on ${path}` });
  }
};

function create(db, event) {
  const text = event.isBase64Encoded ? Buffer.from(event.body, 'base64').toString() : event.body;
  let input;
  try {
    input = JSON.parse(text);
  } catch {
    return answer(400, { message: 'the body is not JSON' });
  }
  if (typeof input?.name !== 'string' || input.name === '') return answer(400, { message: 'an item needs a name' });
  const item = {
    id: randomUUID(),
    name: input.name,
    price: typeof input.price === 'number' ? input.price : null,
    created_at: new Date().toISOString(),
  };
  db.all('INSERT INTO items VALUES (?, ?, ?, ?)', ...Object.values(item));
  console.log(`created ${item.id}`);
  return answer(201, item);
}

const one = ([item], id) => (item ? answer(200, item) : answer(404, { message: `no item ${id}` }));

const answer = (statusCode, body) => ({
  statusCode,
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});
