//! The stores that every conformance test runs on.

use kv::{Error, Kv, RangeOptions, Txn};
use sys::{Clock, Rng, Timestamp};

/// An empty store over one engine.
pub(crate) struct Store {
    pub(crate) engine: &'static str,
    pub(crate) kv: Kv,
    pub(crate) clock: Clock,
    _folder: Option<tempfile::TempDir>,
}

/// One empty store per engine, on the machine's clock.
pub(crate) fn each() -> Vec<Store> {
    each_on(Clock::system)
}

/// One empty store per engine, on a clock that only the test moves.
pub(crate) fn each_stopped() -> Vec<Store> {
    each_on(|| Clock::manual(Timestamp::from_unix_s(0)))
}

fn each_on(clock: impl Fn() -> Clock) -> Vec<Store> {
    let memory = clock();
    let durable = clock();
    let folder = tempfile::tempdir().unwrap();
    let kv = Kv::open_fjall(folder.path(), durable.clone(), Rng::seeded(1)).unwrap();
    vec![
        Store { engine: "memory", kv: Kv::memory(memory.clone(), Rng::seeded(1)), clock: memory, _folder: None },
        Store { engine: "fjall", kv, clock: durable, _folder: Some(folder) },
    ]
}

/// Commits `pairs`.
pub(crate) async fn put(kv: &Kv, pairs: &[(&str, &str)]) {
    kv.transact(|tx| async move {
        for (key, value) in pairs {
            tx.set(key, value.as_bytes().to_vec());
        }
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
}

/// What `begin..end` holds, as `key=value` words.
pub(crate) async fn show(tx: &Txn, begin: &str, end: &str, options: RangeOptions) -> String {
    let pairs = tx.range(begin, end, options).await.unwrap();
    let words: Vec<_> = pairs
        .iter()
        .map(|(key, value)| format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value)))
        .collect();
    words.join(" ")
}

/// Everything that is committed.
pub(crate) async fn show_all(kv: &Kv) -> String {
    kv.read(|tx| async move { Ok::<_, Error>(show(&tx, "", "\u{7f}", RangeOptions::default()).await) }).await.unwrap()
}
