//! What idle environments hold, and that they use no processor time.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::environments::{self, Sandbox};
use crate::invoke::server::{Language, Tinderbox, zip};
use crate::rows::{mean, percentile};

/// Memory of the functions, in MB.
pub(super) const MEMORY_MB: usize = 128;
/// A file of the package: sandboxes that have it are environments of the function, called already or not.
const OF_FUNCTION: &str = "/var/task/of-the-idle-function";
/// What the handler writes at its first call.
const CALLED: &str = "/tmp/called";
/// Longest that anything is waited for.
const WAIT: Duration = Duration::from_secs(60);

const NODE: &str = "\
const fs = require('fs');
exports.handler = async (event) => {
  fs.writeFileSync('/tmp/called', '');
  await new Promise((done) => setTimeout(done, event.ms));
  if (event.exit) process.exit(1);
  return { statusCode: 200, body: 'ok' };
};
";
const PYTHON: &str = "\
import os, time
def handler(event, context):
    open('/tmp/called', 'w').close()
    time.sleep(event['ms'] / 1000)
    if event.get('exit'):
        os._exit(1)
    return {'statusCode': 200, 'body': 'ok'}
";

/// How environments come to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// When somebody calls: a runtime from the pool, or one that is booted, gets the function and runs its init.
    Demand,
    /// Initialised ahead for a published version with SnapStart, and taken by a call.
    SnapStart,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// How long frozen environments are watched.
    pub(super) still: Duration,
    pub(super) raw: bool,
}

/// `count` environments of one function, each called once, all frozen. The server is a new one: an environment that idled
/// and is called again would teach it how long to keep the function's.
pub(super) async fn measure(
    tinderbox: &Tinderbox,
    language: Language,
    start: Start,
    count: usize,
    bounds: Bounds,
) -> anyhow::Result<Value> {
    let server = tinderbox.pid()?;
    let own_before = environments::of_process(server).pss_kib;
    let wanted = reach(tinderbox, language, start, count).await?;
    let idle = all_frozen(server, &wanted).await?;
    let others = environments::below(server)?.iter().filter(|one| !wanted.contains(&one.id)).count();
    let mut row = row(&idle, language, start, bounds.raw);
    row["other sandboxes of the server"] = json!(others);
    let own = environments::of_process(server).pss_kib.saturating_sub(own_before);
    row["growth of the server itself by each, MB"] = json!(mb(own) / (idle.len() as f64));
    still(server, &idle, bounds.still, &mut row).await?;
    Ok(row)
}

/// Makes a function with `count` environments that were called once. On a busy machine the first may have answered before the
/// last has started: then another function is tried, which holds its environments longer.
async fn reach(tinderbox: &Tinderbox, language: Language, start: Start, count: usize) -> anyhow::Result<BTreeSet<u64>> {
    let server = tinderbox.pid()?;
    let mut came = 0;
    for hold_ms in [2_000, 5_000, 12_000] {
        let name = format!("idle-{hold_ms}");
        let qualified = deploy(tinderbox, &name, language, start).await?;
        let ahead = match start {
            Start::Demand => None,
            Start::SnapStart => {
                // Nothing but one stands by for a version before more were needed. These end by themselves.
                let _ = call_at_once(tinderbox, &qualified, count, &json!({ "ms": hold_ms, "exit": true })).await;
                Some(ready(server, count).await?)
            }
        };
        call_at_once(tinderbox, &qualified, count, &json!({ "ms": hold_ms })).await?;
        let called = called(server)?.into_iter().map(|one| one.id);
        let wanted: BTreeSet<u64> = called.filter(|id| ahead.as_ref().is_none_or(|ahead| ahead.contains(id))).collect();
        came = wanted.len();
        if came == count {
            return Ok(wanted);
        }
        tinderbox.api().call("DELETE", &format!("/2015-03-31/functions/{name}"), &Value::Null).await?;
        for _ in waits() {
            if of_function(server)?.is_empty() {
                break;
            }
            pause().await;
        }
    }
    anyhow::bail!("only {came} of {count} environments came to be")
}

/// Makes the function; the name by which it is called.
async fn deploy(tinderbox: &Tinderbox, name: &str, language: Language, start: Start) -> anyhow::Result<String> {
    let source = match language {
        Language::Node => NODE,
        Language::Python => PYTHON,
    };
    let marker = OF_FUNCTION.trim_start_matches("/var/task/");
    let package = zip(&[(language.file(), source.as_bytes()), (marker, b"")])?;
    let mut settings = json!({ "Runtime": language.runtime().await?, "MemorySize": MEMORY_MB, "Timeout": 120 });
    if start == Start::Demand {
        tinderbox.api().create(name, settings, &package).await?;
        return Ok(name.to_owned());
    }
    settings["SnapStart"] = json!({ "ApplyOn": "PublishedVersions" });
    tinderbox.api().create(name, settings, &package).await?;
    let version = tinderbox.api().call("POST", &format!("/2015-03-31/functions/{name}/versions"), &json!({})).await?;
    let qualified = format!("{name}:{}", version["Version"].as_str().context("no Version")?);
    let path = format!("/2015-03-31/functions/{qualified}/configuration");
    for _ in waits() {
        let state = tinderbox.api().call("GET", &path, &Value::Null).await?;
        match state["State"].as_str() {
            Some("Active") => return Ok(qualified),
            Some("Pending") => pause().await,
            _ => anyhow::bail!("the version is not published: {state}"),
        }
    }
    anyhow::bail!("the version is not published within {WAIT:?}")
}

/// The environments that are initialised and wait for their first call, when there are `count` of them, or as many as there will be.
async fn ready(server: u32, count: usize) -> anyhow::Result<BTreeSet<u64>> {
    let mut found = BTreeSet::new();
    for _ in waits() {
        found.clear();
        for one in of_function(server)? {
            if !one.has(CALLED)? && one.is_frozen()? {
                found.insert(one.id);
            }
        }
        if found.len() >= count {
            break;
        }
        pause().await;
    }
    Ok(found)
}

async fn call_at_once(tinderbox: &Tinderbox, name: &str, count: usize, event: &Value) -> anyhow::Result<()> {
    let path = format!("/2015-03-31/functions/{name}/invocations");
    let answers = futures_util::future::join_all((0..count).map(|_| tinderbox.api().call("POST", &path, event))).await;
    answers.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    Ok(())
}

fn of_function(server: u32) -> anyhow::Result<Vec<Sandbox>> {
    let mut found = Vec::new();
    for one in environments::below(server)? {
        if one.has(OF_FUNCTION)? {
            found.push(one);
        }
    }
    Ok(found)
}

/// Environments that have had an event.
fn called(server: u32) -> anyhow::Result<Vec<Sandbox>> {
    let mut found = Vec::new();
    for one in of_function(server)? {
        if one.has(CALLED)? {
            found.push(one);
        }
    }
    Ok(found)
}

/// The environments with these numbers, when all of them are frozen.
async fn all_frozen(server: u32, wanted: &BTreeSet<u64>) -> anyhow::Result<Vec<Sandbox>> {
    for _ in waits() {
        let found: Vec<_> = called(server)?.into_iter().filter(|one| wanted.contains(&one.id)).collect();
        ensure!(found.len() == wanted.len(), "an environment was let go while it was measured");
        if found.iter().map(Sandbox::is_frozen).collect::<anyhow::Result<Vec<_>>>()?.iter().all(|frozen| *frozen) {
            return Ok(found);
        }
        pause().await;
    }
    anyhow::bail!("the environments are not frozen within {WAIT:?}")
}

fn mb(kib: u64) -> f64 {
    kib as f64 / 1_024.0
}

fn row(idle: &[Sandbox], language: Language, start: Start, raw: bool) -> Value {
    let memory: Vec<_> = idle.iter().map(Sandbox::memory).collect();
    let figures = |of: fn(&environments::Memory) -> u64| memory.iter().map(|one| mb(of(one))).collect::<Vec<f64>>();
    let (pss, private) = (figures(|one| one.pss_kib), figures(|one| one.private_kib));
    let shared = figures(|one| one.shared_kib());
    let first: Vec<f64> = idle.iter().map(|one| mb(one.memory_of_first().pss_kib)).collect();
    let charged: Vec<f64> = idle.iter().filter_map(Sandbox::charged_kib).map(mb).collect();
    let processes: usize = idle.iter().map(|one| one.pids.len()).sum();
    let how = match start {
        Start::Demand => "started on demand (from the pool)",
        Start::SnapStart => "initialised ahead (SnapStart)",
    };
    let mut row = json!({
        "what": format!(
            "idle {}: {} frozen environments of one function, {how}, {MEMORY_MB} MB, each called once", language.name(), idle.len()
        ),
        "processes of each": processes as f64 / idle.len() as f64,
        "PSS of each, p50 MB": percentile(&pss, 0.5),
        "PSS of each, mean MB": mean(&pss),
        "PSS of each, most MB": percentile(&pss, 1.0),
        "PSS of each, private, mean MB": mean(&private),
        "PSS of each, share of what others map too, mean MB": mean(&shared),
        "PSS of each, of it the sandbox's first process, mean MB": mean(&first),
        "charged to the control group, p50 MB": percentile(&charged, 0.5),
        "environments in a GiB, by PSS": 1_024.0 / mean(&pss),
    });
    if raw {
        row["PSS, MB"] = json!(pss);
        row["private, MB"] = json!(private);
    }
    row
}

/// Watches them for a while and adds what they used of the processor.
async fn still(server: u32, idle: &[Sandbox], time: Duration, row: &mut Value) -> anyhow::Result<()> {
    let ticks = || idle.iter().map(Sandbox::ticks).sum::<u64>();
    let counted = || idle.iter().map(Sandbox::cpu_us).sum::<Option<u64>>();
    let before = (ticks(), counted());
    sys::Clock::system().sleep(time).await;
    let after = (ticks(), counted());
    let there: BTreeSet<u64> = environments::below(server)?.iter().map(|one| one.id).collect();
    ensure!(idle.iter().all(|one| there.contains(&one.id)), "an environment was let go while it was watched");
    let seconds = time.as_secs();
    row[format!("clock ticks of all of them in {seconds} s")] = json!(after.0 - before.0);
    row[format!("processor time of their groups in {seconds} s, us")] =
        json!(after.1.zip(before.1).map(|(a, b)| a - b));
    Ok(())
}

/// As many looks, with [`pause`] between them, as fit into [`WAIT`].
fn waits() -> std::ops::Range<u64> {
    0..WAIT.as_secs() * 10
}

async fn pause() {
    sys::Clock::system().sleep(Duration::from_millis(100)).await;
}
