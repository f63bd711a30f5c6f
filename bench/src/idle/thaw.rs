//! How much later the first byte of an answer comes from an environment that is frozen.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::environments::{self, Sandbox};
use crate::invoke::load::Connection;
use crate::invoke::server::{BareNode, Language, Tinderbox};
use crate::rows::percentile;

/// Freezing comes 2 ms after an answer and takes less than one.
const PAUSE: Duration = Duration::from_millis(20);
/// Calls before anything is counted.
const WARM_UP: usize = 50;

/// In turn: a call after a pause, in which the environment was frozen, and one right after its answer. The same two of a bare
/// `node:http` say what a pause costs a server that is never frozen.
pub(super) async fn measure(
    tinderbox: &Tinderbox,
    language: Language,
    count: usize,
    raw: bool,
) -> anyhow::Result<Value> {
    let target = tinderbox.deploy("thaw", language).await?;
    let bare = BareNode::start().await?;
    let (mut ours, mut theirs) = (Connection::open(&target).await?, Connection::open(bare.target()).await?);
    let clock = sys::Clock::system();
    for _ in 0..WARM_UP {
        first_byte_us(&mut ours).await?;
        first_byte_us(&mut theirs).await?;
    }
    let environment = only(tinderbox)?;
    let (mut frozen, mut awake) = (Vec::new(), Vec::new());
    let (mut bare_paused, mut bare_at_once) = (Vec::new(), Vec::new());
    let mut not_frozen = 0_usize;
    for _ in 0..count {
        clock.sleep(PAUSE).await;
        let was_frozen = environment.is_frozen()?;
        let latency = first_byte_us(&mut ours).await?;
        if was_frozen {
            frozen.push(latency);
        } else {
            not_frozen += 1;
        }
        awake.push(first_byte_us(&mut ours).await?);
        clock.sleep(PAUSE).await;
        bare_paused.push(first_byte_us(&mut theirs).await?);
        bare_at_once.push(first_byte_us(&mut theirs).await?);
    }
    ensure!(!frozen.is_empty(), "the environment was never frozen after {PAUSE:?}");
    let thaw = |p: f64| {
        let paused = percentile(&frozen, p) - percentile(&awake, p);
        paused - (percentile(&bare_paused, p) - percentile(&bare_at_once, p))
    };
    let mut row = json!({
        "what": format!(
            "thaw {}: first byte through the function URL after {} ms of pause (frozen) and at once (not), {} and {}, in turn",
            language.name(), PAUSE.as_millis(), frozen.len(), awake.len()
        ),
        "frozen, p50 us": percentile(&frozen, 0.5),
        "frozen, p99 us": percentile(&frozen, 0.99),
        "not frozen, p50 us": percentile(&awake, 0.5),
        "not frozen, p99 us": percentile(&awake, 0.99),
        "bare node:http after the same pause, p50 us": percentile(&bare_paused, 0.5),
        "bare node:http after the same pause, p99 us": percentile(&bare_paused, 0.99),
        "bare node:http at once, p50 us": percentile(&bare_at_once, 0.5),
        "later because frozen, and not because of the pause, p50 us": thaw(0.5),
        "pauses after which it was not frozen": not_frozen,
    });
    if raw {
        row["frozen, us"] = json!(frozen);
        row["not frozen, us"] = json!(awake);
    }
    Ok(row)
}

async fn first_byte_us(connection: &mut Connection) -> anyhow::Result<f64> {
    Ok(connection.fetch().await?.first.as_secs_f64() * 1e6)
}

/// The only environment of the only function: the only sandbox with code.
fn only(tinderbox: &Tinderbox) -> anyhow::Result<Sandbox> {
    let mut with_code = Vec::new();
    for one in environments::below(tinderbox.pid()?)? {
        if one.has("/var/task/index.js")? || one.has("/var/task/index.py")? {
            with_code.push(one);
        }
    }
    ensure!(with_code.len() == 1, "{} environments answer one connection", with_code.len());
    with_code.pop().context("just counted")
}
