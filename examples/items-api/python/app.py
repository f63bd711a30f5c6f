"""A small items API on an embedded database, for AWS Lambda."""

import base64
import datetime
import json
import os
import sqlite3
import time
import uuid

# Lives outside the handler, so a warm environment finds it open.
db_connection = None

TABLE = "CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, name TEXT NOT NULL, price REAL, created_at TEXT NOT NULL)"


def connect():
    global db_connection
    if db_connection is not None:
        print("Warm Start: reusing the database connection")
        return db_connection
    started = time.monotonic()
    db_connection = sqlite3.connect(os.environ.get("DB_PATH", "/tmp/items.db"), isolation_level=None)
    db_connection.row_factory = sqlite3.Row
    db_connection.execute(TABLE)
    print(f"Cold Start: opened the database with sqlite3 in {(time.monotonic() - started) * 1000:.0f} ms")
    return db_connection


def handler(event, context):
    db = connect()
    method = event.get("requestContext", {}).get("http", {}).get("method", "GET")
    path = event.get("rawPath", "/items")
    collection, _, item_id = path.strip("/").partition("/")
    if collection != "items":
        return answer(404, {"message": f"no such path: {path}"})
    if method == "POST" and not item_id:
        return create(db, event)
    if method == "GET" and not item_id:
        rows = db.execute("SELECT * FROM items ORDER BY created_at, id").fetchall()
        return answer(200, {"items": [dict(row) for row in rows]})
    if method == "GET":
        return one(db.execute("SELECT * FROM items WHERE id = ?", (item_id,)), item_id)
    if method == "DELETE" and item_id:
        return one(db.execute("DELETE FROM items WHERE id = ? RETURNING *", (item_id,)), item_id)
    return answer(405, {"message": f"{method} is not allowed on {path}"})


def create(db, event):
    text = event.get("body") or ""
    if event.get("isBase64Encoded"):
        text = base64.b64decode(text)
    try:
        data = json.loads(text)
    except ValueError:
        return answer(400, {"message": "the body is not JSON"})
    if not isinstance(data, dict) or not isinstance(data.get("name"), str) or not data["name"]:
        return answer(400, {"message": "an item needs a name"})
    price = data.get("price")
    item = {
        "id": str(uuid.uuid4()),
        "name": data["name"],
        "price": price if isinstance(price, (int, float)) and not isinstance(price, bool) else None,
        "created_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
    }
    db.execute("INSERT INTO items VALUES (:id, :name, :price, :created_at)", item)
    print(f"created {item['id']}")
    return answer(201, item)


def one(cursor, item_id):
    row = cursor.fetchone()
    return answer(200, dict(row)) if row else answer(404, {"message": f"no item {item_id}"})


def answer(status, body):
    return {"statusCode": status, "headers": {"content-type": "application/json"}, "body": json.dumps(body)}
