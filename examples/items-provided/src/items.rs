//! The items themselves: an embedded database behind four routes.

use std::path::Path;

use anyhow::Context;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use serde_json::{Value, json};

/// Items by their number.
pub(crate) struct Items {
    _database: Database,
    items: Keyspace,
}

impl Items {
    /// Opens or creates the database in `folder`.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        let database = Database::builder(folder).open().context("could not open the database")?;
        let items = database.keyspace("items", KeyspaceCreateOptions::default).context("could not open the items")?;
        Ok(Self { _database: database, items })
    }

    /// Answers a function URL's event (payload 2.0).
    pub(crate) fn answer(&self, event: &Value) -> anyhow::Result<Value> {
        let method = event["requestContext"]["http"]["method"].as_str().unwrap_or("GET");
        let path = event["rawPath"].as_str().unwrap_or("/items").trim_end_matches('/');
        let id = path.strip_prefix("/items/");
        match (method, id) {
            ("POST", None) => self.create(event["body"].as_str().unwrap_or_default()),
            ("GET", None) => self.list(),
            ("GET", Some(id)) => self.get(id),
            ("DELETE", Some(id)) => self.delete(id),
            _ => Ok(answer(404, &json!({ "message": "no such route" }))),
        }
    }

    fn create(&self, body: &str) -> anyhow::Result<Value> {
        let Ok(item) = serde_json::from_str::<Value>(body) else {
            return Ok(answer(400, &json!({ "message": "the body is not JSON" })));
        };
        let Some(name) = item["name"].as_str() else {
            return Ok(answer(400, &json!({ "message": "name is missing" })));
        };
        let last = self.items.iter().next_back().map(|entry| entry.key()).transpose()?;
        let last = last.and_then(|key| Some(u64::from_be_bytes(key.as_ref().try_into().ok()?)));
        let id = last.unwrap_or(0) + 1;
        self.items.insert(id.to_be_bytes(), name)?;
        Ok(answer(201, &json!({ "id": id, "name": name })))
    }

    fn list(&self) -> anyhow::Result<Value> {
        let mut all = Vec::new();
        for entry in self.items.iter() {
            let (key, name) = entry.into_inner()?;
            let id = u64::from_be_bytes(key.as_ref().try_into().context("a key is not a number")?);
            all.push(json!({ "id": id, "name": String::from_utf8_lossy(&name) }));
        }
        Ok(answer(200, &json!({ "items": all })))
    }

    fn get(&self, id: &str) -> anyhow::Result<Value> {
        let found = id.parse::<u64>().ok().map(|id| (id, self.items.get(id.to_be_bytes())));
        match found {
            Some((id, name)) => match name? {
                Some(name) => Ok(answer(200, &json!({ "id": id, "name": String::from_utf8_lossy(&name) }))),
                None => Ok(not_found()),
            },
            None => Ok(not_found()),
        }
    }

    fn delete(&self, id: &str) -> anyhow::Result<Value> {
        let Ok(id) = id.parse::<u64>() else { return Ok(not_found()) };
        if self.items.get(id.to_be_bytes())?.is_none() {
            return Ok(not_found());
        }
        self.items.remove(id.to_be_bytes())?;
        Ok(json!({ "statusCode": 204 }))
    }
}

fn not_found() -> Value {
    answer(404, &json!({ "message": "no such item" }))
}

fn answer(status: u16, body: &Value) -> Value {
    json!({ "statusCode": status, "headers": { "content-type": "application/json" }, "body": body.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(items: &Items, method: &str, path: &str, body: &str) -> (u64, Value) {
        let event = json!({ "requestContext": { "http": { "method": method } }, "rawPath": path, "body": body });
        let answer = items.answer(&event).expect("the database works");
        let body = answer["body"].as_str().and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default();
        (answer["statusCode"].as_u64().expect("a status"), body)
    }

    #[test]
    fn items_are_created_listed_read_and_deleted() {
        let folder = std::env::temp_dir().join(format!("items-provided-{}", std::process::id()));
        let items = Items::open(&folder).expect("opens");
        assert_eq!(call(&items, "POST", "/items", r#"{"name":"a"}"#), (201, json!({ "id": 1, "name": "a" })));
        assert_eq!(call(&items, "GET", "/items", "").1["items"][0]["name"], "a");
        assert_eq!(call(&items, "GET", "/items/1", "").0, 200);
        assert_eq!(call(&items, "DELETE", "/items/1", "").0, 204);
        for (method, path, body, status) in [
            ("GET", "/items/1", "", 404),
            ("DELETE", "/items/x", "", 404),
            ("POST", "/items", "{", 400),
            ("PUT", "/x", "", 404),
        ] {
            assert_eq!(call(&items, method, path, body).0, status, "{method} {path}");
        }
        drop(items);
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
