//! Cold starts of functions whose own init is the most of it: the AWS SDK for node, boto3.
//!
//! The first cold start of a version makes the cache of compiled code that later ones use (ADR 0021), so both are told
//! apart; and those that find an environment which was initialised ahead (ADR 0025), as later ones do. Beside them, in turn: a bare start of the language, and the same file loaded by a bare process of it.

mod package;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::cold;
use super::load::{Connection, Target};
use super::server::{Language, Tinderbox};
use crate::packages::Packages;
use crate::rows::percentile;
use package::Package;

/// Functions of the same package: each has one first cold start.
const FUNCTIONS: usize = 5;
/// An idle environment is let go after the server's shortest time, one second; a function's turn comes later than that. A quarter of
/// the memory is for what is initialised ahead: one of each function.
const SERVER: [&str; 4] = ["--idle-s", "1", "--memory-mb", "65536"];
/// Pause before each cold start: what is held ready is there again.
const PAUSE: Duration = Duration::from_millis(150);
/// In an environment that is older than this when it gets its first event, init ran before anybody called.
const AHEAD_MIN_MS: u64 = 100;
/// How often a call may find the environment of the last one still there.
const TRIES: usize = 10;

/// What was measured of one package, in milliseconds.
struct Figures {
    package: Package,
    urls: Vec<Target>,
    first: Vec<f64>,
    later: Vec<f64>,
    ahead: Vec<f64>,
    bare: Vec<f64>,
    loaded: Vec<f64>,
}

/// `count` later cold starts of each package.
pub(super) async fn compare(binary: &Path, packages: &Packages, count: usize, raw: bool) -> anyhow::Result<Vec<Value>> {
    let sdks = package::sdks(packages).await?;
    let tinderbox = Tinderbox::start_with(binary, &SERVER, &sdks).await?;
    let mut all = Vec::new();
    for package in Package::all(packages, sdks).await? {
        let mut urls = Vec::new();
        for n in 0..FUNCTIONS {
            let name = format!("heavy-{}-{n}", package.name);
            let settings = json!({ "Runtime": package.language.runtime().await?, "MemorySize": 512, "Timeout": 60 });
            tinderbox.api().create(&name, settings, &package.zip).await?;
            urls.push(tinderbox.api().url(&name).await?);
        }
        all.push(Figures { package, urls, first: vec![], later: vec![], ahead: vec![], bare: vec![], loaded: vec![] });
    }
    let python = cold::interpreter().await?;
    for round in 0..FUNCTIONS + count {
        for figures in &mut all {
            figures.bare.push(bare(figures.package.language, &python).await?);
            let call = cold_call(&figures.urls[round % FUNCTIONS]).await?;
            let of_its_kind = match call.initialised_ahead {
                true => &mut figures.ahead,
                false if round < FUNCTIONS => &mut figures.first,
                false => &mut figures.later,
            };
            of_its_kind.push(call.latency_ms);
            figures.loaded.push(loaded(&figures.package, &python).await?);
        }
    }
    Ok(all.iter().map(|figures| figures.row(raw)).collect())
}

/// A call that is the first of its environment.
struct ColdCall {
    latency_ms: f64,
    initialised_ahead: bool,
}

/// The handler answers which of its calls it is, and how long after init it came.
async fn cold_call(target: &Target) -> anyhow::Result<ColdCall> {
    for _ in 0..TRIES {
        sys::Clock::system().sleep(PAUSE).await;
        let answer = Connection::open(target).await?.fetch().await?;
        let body = String::from_utf8_lossy(&answer.body);
        if let Some(age_ms) = body.strip_prefix("call 1 after ").and_then(|rest| rest.strip_suffix(" ms")) {
            let initialised_ahead = age_ms.parse::<u64>()? >= AHEAD_MIN_MS;
            return Ok(ColdCall { latency_ms: answer.whole.as_secs_f64() * 1e3, initialised_ahead });
        }
        ensure!(body.starts_with("call "), "not the handler's answer: {body}");
        // Longer than an idle environment is kept.
        sys::Clock::system().sleep(Duration::from_secs(2)).await;
    }
    anyhow::bail!("{}: the environment is never let go", target.host)
}

async fn bare(language: Language, python: &str) -> anyhow::Result<f64> {
    let took = match language {
        Language::Node => cold::process("node", &["-e", "0"]).await?,
        Language::Python => cold::process(python, &["-c", "pass"]).await?,
    };
    Ok(took.as_secs_f64() * 1e3)
}

/// A bare process that loads the function's file, from start to end.
async fn loaded(package: &Package, python: &str) -> anyhow::Result<f64> {
    let file = package.folder.path().join(package.language.file());
    let file = file.to_str().context("the folder's path is no UTF-8")?;
    let mut command = match package.language {
        // Clients hold nothing open, but would not have to.
        Language::Node => cold::command("node", &["-e", &format!("require('{file}'); process.exit()")]),
        // It runs the file, and keeps what it has compiled of all others in their `__pycache__`.
        Language::Python => cold::command(python, &[file]),
    };
    if let Some((variable, folder)) = &package.sdk {
        command.env(variable, folder);
    }
    Ok(cold::timed(&mut command).await?.as_secs_f64() * 1e3)
}

impl Figures {
    fn row(&self, raw: bool) -> Value {
        let bare = percentile(&self.bare, 0.5);
        let bare_name = match self.package.language {
            Language::Node => "node -e 0",
            Language::Python => "python3 -c pass",
        };
        let mut row = json!({
            "what": format!(
                "cold {}: call through the function URL beside `{bare_name}`, {} first and {} later cold starts, and {} that found an \
                 environment initialised ahead, in turn",
                self.package.title, self.first.len(), self.later.len(), self.ahead.len()
            ),
            "file with the handler, KiB": self.package.handler_kib,
            "of which before node 22 no compiled code is kept": self.package.compiled_anew_before_22,
            "package, zipped, KiB": self.package.zip.len() / 1_024,
            "bare process, p50 ms": bare,
            "bare process that loads the same file, p50 ms": percentile(&self.loaded, 0.5),
        });
        let kinds = [
            ("first of a version (makes the code cache)", &self.first),
            ("later of the version", &self.later),
            ("initialised ahead", &self.ahead),
        ];
        for (kind, latencies) in kinds.into_iter().filter(|(_, latencies)| !latencies.is_empty()) {
            let p50 = percentile(latencies, 0.5);
            row[format!("{kind}: p50 ms")] = json!(p50);
            row[format!("{kind}: p99 ms")] = json!(percentile(latencies, 0.99));
            row[format!("{kind}: ratio p50 / bare process")] = json!(p50 / bare);
            row[format!("{kind}: ratio p50 / bare that loads the same")] = json!(p50 / percentile(&self.loaded, 0.5));
            if raw {
                row[format!("{kind}: ms")] = json!(latencies);
            }
        }
        if raw {
            row["bare processes, ms"] = json!(self.bare);
            row["bare processes that load the same, ms"] = json!(self.loaded);
        }
        row
    }
}
