//! The items API as a `provided` function: for machines that have neither Node nor Python.
//!
//! It speaks the Lambda Runtime API (2018-06-01) over plain HTTP/1.1 and keeps its items in an embedded
//! database. The database is opened once, before the first invocation, and reused while the environment is warm.

mod items;
mod runtime_api;

use std::time::SystemTime;

use serde_json::Value;

#[expect(clippy::print_stdout, reason = "what a function prints is its log")]
#[expect(
    clippy::disallowed_methods,
    reason = "an example is no part of Tinderbox: it reads the clock as any function does"
)]
fn main() -> anyhow::Result<()> {
    let api = runtime_api::RuntimeApi::from_environment()?;
    let started = SystemTime::now();
    let items = match items::Items::open(std::path::Path::new("/tmp/items-db")) {
        Ok(items) => items,
        Err(error) => return api.init_error("Items.OpenError", &format!("{error:#}")),
    };
    let mut opened_ms = Some(started.elapsed().unwrap_or_default().as_millis());
    loop {
        let invocation = api.next()?;
        match opened_ms.take() {
            Some(ms) => println!("Cold Start: database connection opened in {ms} ms"),
            None => println!("Warm Start: database connection reused"),
        }
        let event: Value = serde_json::from_slice(&invocation.event).unwrap_or_default();
        match items.answer(&event) {
            Ok(answer) => api.respond(&invocation.request_id, &answer)?,
            Err(error) => api.error(&invocation.request_id, "Items.Error", &format!("{error:#}"))?,
        }
    }
}
