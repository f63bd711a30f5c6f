//! `POST functions/report/{name}`: where the time of a function's cold starts goes. For the root user: it runs the function's init.
//!
//! ```text
//!   traces that are kept ─▶ the four terms of recent cold starts
//!   init, INITS times ────▶ the four terms now
//!   init, modules timed ──▶ what each dependency takes
//!   init, bundled ────────▶ what the package would take in one file (where this host has an esbuild)
//! ```
//! Every init runs in an environment of its own, with the function's role, variables and limits, and gets no event. All of them
//! together have [`INITS_MAX`]; the report names what was not measured by then.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gateway::{AdminRequest, AdminRoute};
use http::{Method, Response};
use lambda::invoke::ColdStart;
use lambda::invoke::init_run::{Asked, Bundle, InitRun, Told};
use lambda::{FunctionVersion, Lambda, LambdaError};
use serde::Deserialize;
use serde_json::{Value, json};
use sys::Clock;
use trace::{Attribute, Span};
use wire::{AccountId, ServiceError};

use super::admin::answer;

/// Inits of which a median is shown.
const INITS: usize = 3;
/// How long all inits of a report may take together.
const INITS_MAX: Duration = Duration::from_secs(300);
/// Traces in which cold starts are looked for.
const TRACES: usize = trace::limits::NEWEST_MAX;

const NO_ESBUILD: &str = "unknown: esbuild not found. Install it on this host (`npm install --global esbuild`) so that the server finds it on \
                          PATH or NODE_PATH, and start the server again.";

/// What the route stands on.
#[derive(Clone)]
pub(super) struct FunctionReport {
    pub(super) lambda: Lambda,
    pub(super) clock: Clock,
    pub(super) traces: trace::Store,
    pub(super) account: AccountId,
    pub(super) region: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Input {
    region: Option<String>,
}

impl FunctionReport {
    pub(super) fn route(self) -> AdminRoute {
        AdminRoute {
            method: Method::POST,
            path: "/_tinderbox/functions/report/",
            open_to_loopback: false,
            handler: Arc::new(move |request| {
                let at = self.clone();
                Box::pin(async move { at.answer(request).await })
            }),
        }
    }

    async fn answer(&self, request: AdminRequest) -> Response<Bytes> {
        let input = if request.body.is_empty() { Ok(Input::default()) } else { serde_json::from_slice(&request.body) };
        let Ok(Input { region }) = input else {
            return answer(400, &json!({ "message": "the body is no JSON object with a region" }));
        };
        let region = region.unwrap_or_else(|| self.region.clone());
        let function = match self.lambda.version_named(self.account.clone(), &region, &request.rest).await {
            Ok(function) => function,
            Err(error) => return refusal(&error),
        };
        let cold_starts = match self.traces.newest(TRACES).await {
            Ok(traces) => cold_starts(&traces, &function),
            Err(error) => {
                tracing::error!(%error, "traces could not be read");
                return answer(500, &json!({ "message": "the traces could not be read" }));
            }
        };
        match self.inits(&function).await {
            Ok(inits) => answer(200, &report(&function, &cold_starts, &inits)),
            Err(reason) => answer(422, &json!({ "message": format!("its init does not succeed: {reason}") })),
        }
    }

    async fn inits(&self, function: &Arc<FunctionVersion>) -> Result<Inits, String> {
        let esbuild = match function.image.is_none() && function.runtime.starts_with("nodejs") {
            true => sys::task::blocking(find_esbuild).await.flatten(),
            false => None,
        };
        let run = |asked| {
            let (lambda, function) = (self.lambda.clone(), Arc::clone(function));
            async move { lambda.run_init(function, asked).await.map_err(|error| error.to_string()) }
        };
        Inits::run(&self.clock, esbuild, run).await
    }
}

/// What the inits told.
struct Inits {
    /// `None` when there was no time for it.
    modules: Option<InitRun>,
    plain: Vec<ColdStart>,
    esbuild: Option<PathBuf>,
    bundled: Vec<Result<InitRun, String>>,
    /// For what there was no time, or not for all of it: members of the report.
    missing: Vec<&'static str>,
}

impl Inits {
    /// Runs them one after the other, as long as there is time.
    async fn run<R: Future<Output = Result<InitRun, String>>>(
        clock: &Clock,
        esbuild: Option<PathBuf>,
        run: impl Fn(Asked) -> R,
    ) -> Result<Self, String> {
        let deadline = clock.elapsed() + INITS_MAX;
        let run = async |asked| {
            let left = deadline.saturating_sub(clock.elapsed());
            if left.is_zero() { None } else { clock.timeout(left, run(asked)).await }
        };
        // First, so that what it reads is in the page cache for those that are compared.
        let modules = run(Asked::Modules).await.transpose()?;
        let mut plain = Vec::with_capacity(INITS);
        while plain.len() < INITS
            && let Some(init) = run(Asked::Nothing).await
        {
            plain.push(init?.cold);
        }
        let mut inits = Self { modules, plain, esbuild, bundled: Vec::new(), missing: Vec::new() };
        let mut missed = |name, missed: bool| inits.missing.extend(missed.then_some(name));
        missed("dependencies", inits.modules.is_none());
        missed("inits", inits.plain.len() < INITS);
        if let Some(program) = &inits.esbuild {
            for _ in 0..INITS {
                let Some(outcome) = run(Asked::Bundle(program.clone())).await else {
                    missed("bundle", true);
                    break;
                };
                let failed = !matches!(&outcome, Ok(InitRun { told: Some(Told::Bundle(Bundle::Loaded { .. })), .. }));
                inits.bundled.push(outcome);
                if failed {
                    break;
                }
            }
        }
        Ok(inits)
    }
}

/// Why something is not in the report that could be.
fn too_late() -> Value {
    let text = format!("unknown: the inits of this report took longer than {} s together.", INITS_MAX.as_secs());
    json!({ "unavailable": text })
}

fn refusal(error: &LambdaError) -> Response<Bytes> {
    answer(error.status(), &json!({ "message": error.to_string() }))
}

/// Cold starts of a version that traces tell of.
#[derive(Debug, Default, PartialEq)]
struct Found {
    traces: usize,
    starts: Vec<ColdStart>,
    /// Those that took an environment which was initialised ahead.
    initialised_ahead: usize,
}

fn cold_starts(traces: &[Vec<Span>], function: &FunctionVersion) -> Found {
    let mut found = Found { traces: traces.len(), ..Found::default() };
    let text = |span: &Span, name: &str, value: &str| span.attribute(name) == Some(&Attribute::Text(value.to_owned()));
    for spans in traces {
        for invoke in spans {
            let cold = invoke.attribute("cold") == Some(&Attribute::Boolean(true));
            if !cold || !text(invoke, "function_arn", &function.arn) || !text(invoke, "version", &function.version) {
                continue;
            }
            let term = |name: &str| {
                let parts =
                    spans.iter().filter(|span| span.parent.as_ref() == Some(&invoke.span_id) && span.name == name);
                parts.map(Span::duration).next()
            };
            match (term("code download"), term("sandbox start"), term("runtime init"), term("user init")) {
                (Some(code_download), Some(sandbox_start), Some(runtime_init), Some(user_init)) => {
                    found.starts.push(ColdStart { code_download, sandbox_start, runtime_init, user_init });
                }
                _ => found.initialised_ahead += 1,
            }
        }
    }
    found
}

fn report(function: &FunctionVersion, found: &Found, inits: &Inits) -> Value {
    json!({
        "function": function.arn,
        "version": function.version,
        "runtime": if function.image.is_some() { "(image)" } else { &function.runtime },
        "memoryMb": function.memory_mb,
        "coldStarts": {
            "tracesRead": found.traces,
            "count": found.starts.len(),
            "initialisedAhead": found.initialised_ahead,
            "terms": terms(&found.starts),
        },
        "inits": { "count": inits.plain.len(), "terms": terms(&inits.plain) },
        "dependencies": inits.modules.as_ref().map_or_else(too_late, dependencies),
        "bundle": bundle(function, inits),
        "notMeasured": inits.missing,
    })
}

/// A term of a cold start: its name, and how to take it out.
type Part = (&'static str, fn(&ColdStart) -> Duration);

/// The distribution of each term; nothing of no cold start.
fn terms(starts: &[ColdStart]) -> Vec<Value> {
    if starts.is_empty() {
        return Vec::new();
    }
    let parts: [Part; 5] = [
        ("code download", |start| start.code_download),
        ("sandbox start", |start| start.sandbox_start),
        ("runtime init", |start| start.runtime_init),
        ("user init", |start| start.user_init),
        ("together", ColdStart::total),
    ];
    let row = |(name, part): Part| {
        let times = sorted(starts.iter().map(part));
        json!({ "name": name, "p50Ms": ms(rank(&times, 50)), "p90Ms": ms(rank(&times, 90)), "maxMs": ms(rank(&times, 100)) })
    };
    parts.into_iter().map(row).collect()
}

fn sorted(times: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times
}

/// The nearest rank; `times` are sorted and at least one.
fn rank(times: &[Duration], percent: usize) -> Duration {
    times[(times.len() * percent).div_ceil(100).max(1) - 1]
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn dependencies(run: &InitRun) -> Value {
    match &run.told {
        Some(Told::Modules(times)) => {
            let package = |one: &lambda::invoke::module_times::PackageTime| {
                json!({
                    "name": one.name, "origin": one.origin, "modules": one.modules,
                    "ownMs": ms(one.own), "cumulativeMs": ms(one.cumulative),
                })
            };
            let packages: Vec<_> = times.packages.iter().map(package).collect();
            json!({ "totalMs": ms(times.total), "restMs": ms(times.rest), "packages": packages })
        }
        Some(Told::Nonsense(why)) => {
            json!({ "unavailable": format!("unknown: what its process tells makes no sense ({why})") })
        }
        Some(Told::Bundle(_)) | None => {
            json!({ "unavailable": "unknown: modules are timed by Tinderbox's own bootstraps for node and Python, and this function starts another runtime." })
        }
    }
}

fn bundle(function: &FunctionVersion, inits: &Inits) -> Value {
    if function.image.is_some() || !function.runtime.starts_with("nodejs") {
        return json!({ "unavailable": "for nodejs* only." });
    }
    let Some(esbuild) = &inits.esbuild else { return json!({ "unavailable": NO_ESBUILD }) };
    let (mut loads, mut bytes) = (Vec::new(), 0);
    for outcome in &inits.bundled {
        let why = match outcome {
            Ok(InitRun { told: Some(Told::Bundle(Bundle::Loaded { bytes: length, load_us })), .. }) => {
                bytes = *length;
                loads.push(Duration::from_micros(*load_us));
                continue;
            }
            Ok(InitRun { told: Some(Told::Bundle(Bundle::Failed { error })), .. }) => error.clone(),
            Ok(_) => "its process does not tell".to_owned(),
            Err(reason) => {
                format!("{reason} (esbuild runs within the function's own memory, {} MB)", function.memory_mb)
            }
        };
        return json!({ "unavailable": format!("unknown: it cannot be bundled: {why}") });
    }
    if loads.is_empty() || inits.plain.is_empty() {
        return too_late();
    }
    let (loads, plain) = (sorted(loads.into_iter()), sorted(inits.plain.iter().map(|cold| cold.user_init)));
    json!({
        "esbuild": esbuild.display().to_string(), "count": loads.len(), "bytes": bytes,
        "loadMs": ms(rank(&loads, 50)), "asItIsMs": ms(rank(&plain, 50)),
    })
}

/// The host's esbuild: the program itself, for the sandbox has none of what npm puts around it.
fn find_esbuild() -> Option<PathBuf> {
    esbuild_in(std::env::var_os("PATH").as_deref(), std::env::var_os("NODE_PATH").as_deref())
}

fn esbuild_in(path: Option<&OsStr>, node_path: Option<&OsStr>) -> Option<PathBuf> {
    let folders = |list: Option<&OsStr>| -> Vec<PathBuf> {
        let split = list.map(|list| std::env::split_paths(list).filter(|folder| folder.is_absolute()).collect());
        split.unwrap_or_default()
    };
    let platform = match std::env::consts::ARCH {
        "aarch64" => "@esbuild/linux-arm64/bin/esbuild",
        _ => "@esbuild/linux-x64/bin/esbuild",
    };
    let on_path = folders(path).into_iter().filter_map(|folder| folder.join("esbuild").canonicalize().ok());
    // npm's is a script at node_modules/esbuild/bin/esbuild, unless its install has put the program there.
    let beside = |file: PathBuf| {
        let modules = file.ancestors().nth(3).map(|modules| modules.join(platform));
        [Some(file), modules]
    };
    let of_npm = folders(node_path).into_iter().map(|folder| folder.join(platform));
    on_path.flat_map(beside).flatten().chain(of_npm).find(|file| is_program(file))
}

/// Whether it is an ELF file.
fn is_program(file: &Path) -> bool {
    use std::io::Read as _;
    let mut magic = [0; 4];
    std::fs::File::open(file).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_the_nearest() {
        let times: Vec<_> = (1..=10).map(Duration::from_millis).collect();
        for (percent, expected) in [(50, 5), (90, 9), (100, 10), (1, 1)] {
            assert_eq!(rank(&times, percent), Duration::from_millis(expected), "{percent}");
        }
        assert_eq!(rank(&times[..1], 50), Duration::from_millis(1));
        assert_eq!(terms(&[]), Vec::<Value>::new());
    }

    /// The inits of a report, each of which lasts so long.
    async fn inits_of(lasting: Duration) -> (Inits, usize) {
        let clock = Clock::manual(sys::Timestamp::default());
        let begun = std::cell::Cell::new(0);
        let run = |asked| {
            begun.set(begun.get() + 1);
            let clock = clock.clone();
            async move {
                clock.sleep(lasting).await;
                let cold = ColdStart {
                    code_download: Duration::ZERO,
                    sandbox_start: Duration::ZERO,
                    runtime_init: Duration::ZERO,
                    user_init: lasting,
                };
                let loaded = Told::Bundle(Bundle::Loaded { bytes: 1, load_us: 1 });
                Ok(InitRun { cold, told: matches!(asked, Asked::Bundle(_)).then_some(loaded) })
            }
        };
        let ticking = async {
            loop {
                clock.advance(Duration::from_secs(1));
                tokio::task::yield_now().await;
            }
        };
        let inits = tokio::select! {
            inits = Inits::run(&clock, Some(PathBuf::from("/esbuild")), run) => inits.expect("none fails"),
            () = ticking => unreachable!("it never ends"),
        };
        assert!(clock.elapsed() <= INITS_MAX + Duration::from_secs(2));
        (inits, begun.get())
    }

    #[tokio::test]
    async fn all_inits_of_a_report_have_one_time_and_what_was_not_measured_is_named() {
        let (inits, begun) = inits_of(Duration::from_secs(40)).await;
        assert_eq!((begun, inits.plain.len(), inits.bundled.len()), (7, INITS, INITS));
        assert!(inits.modules.is_some() && inits.missing.is_empty());
        let (inits, begun) = inits_of(Duration::from_secs(110)).await;
        assert_eq!((begun, inits.plain.len(), inits.bundled.len()), (3, 1, 0));
        assert!(inits.modules.is_some());
        assert_eq!(inits.missing, ["inits", "bundle"]);
        let (inits, begun) = inits_of(Duration::from_secs(900)).await;
        assert_eq!((begun, inits.plain.len(), inits.modules.is_some()), (1, 0, false));
        assert_eq!(inits.missing, ["dependencies", "inits", "bundle"]);
    }

    #[test]
    fn esbuild_is_the_program_and_not_the_script_around_it() {
        let folder = tempfile::tempdir().unwrap();
        let put = |path: &str, bytes: &[u8]| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            path.canonicalize().unwrap()
        };
        let platform = if std::env::consts::ARCH == "aarch64" { "linux-arm64" } else { "linux-x64" };
        let script = put("lib/node_modules/esbuild/bin/esbuild", b"#!/usr/bin/env node\n");
        std::fs::create_dir_all(folder.path().join("bin")).unwrap();
        std::os::unix::fs::symlink(script, folder.path().join("bin/esbuild")).unwrap();
        let bin = folder.path().join("bin");
        let modules = folder.path().join("lib/node_modules");
        assert_eq!(esbuild_in(Some(bin.as_os_str()), Some(modules.as_os_str())), None, "a script alone is none");
        let program = put(&format!("lib/node_modules/@esbuild/{platform}/bin/esbuild"), b"\x7fELF...");
        assert_eq!(esbuild_in(Some(bin.as_os_str()), None), Some(program.clone()));
        assert_eq!(esbuild_in(None, Some(modules.as_os_str())), Some(program));
        let alone = put("alone/esbuild", b"\x7fELF...");
        let path = format!("relative:{}", folder.path().join("alone").display());
        assert_eq!(esbuild_in(Some(OsStr::new(&path)), None), Some(alone));
    }
}
