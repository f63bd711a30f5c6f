//! Lambda extensions: programs of layers (external) and parts of the runtime's process (internal) that live as long as the
//! environment does and hear of its events. The Extensions API, version 2020-01-01.
//!
//! ```text
//!   external ones start ─▶ all registered ─▶ the runtime starts ─▶ runtime and all extensions have called next: ready
//!   INVOKE ─▶ runtime and subscribers ─▶ the answer goes out at once ─▶ all have called next: frozen, or the next event
//!   end ─▶ SIGTERM to the runtime ─▶ SHUTDOWN to the subscribers ─▶ SIGKILL to what is left (winding_down.rs)
//! ```
//!
//! External extensions are companions of the runtime in one sandbox: the same walls and the same limits hold for all.
//! Source: Lambda developer guide, "Using the Lambda Extensions API to create extensions".

pub(super) mod http;
mod registry;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sandbox::{Exit, Sandbox};
use serde::Serialize;
use sys::Rng;
use tokio::sync::watch;
use wire::AccountId;

use super::apis::Refused;
use super::channel::InvokeHeader;
use super::ending::exit_words;
use crate::FunctionVersion;

pub(crate) use registry::EXTENSIONS_MAX;
use registry::{EventType, Registry};

/// Where external extensions lie inside.
pub(crate) const EXTENSIONS_ROOT: &str = "/opt/extensions";

/// What external extensions do not see of the runtime's variables (developer guide, "Permissions and configuration"), and
/// what is between the platform and its bootstrap: two descriptors, and what the init is asked for.
pub(crate) const VARIABLES_MISSED: [&str; 13] = [
    super::beside::VARIABLE,
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_XRAY_CONTEXT_MISSING",
    "AWS_XRAY_DAEMON_ADDRESS",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "_AWS_XRAY_DAEMON_ADDRESS",
    "_AWS_XRAY_DAEMON_PORT",
    "_HANDLER",
    "_LAMBDA_TELEMETRY_LOG_FD",
    "_TINDERBOX_CHANNEL_FD",
];

/// An event for extensions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "eventType", rename_all_fields = "camelCase")]
pub(crate) enum Event {
    /// The runtime got an event.
    #[serde(rename = "INVOKE")]
    Invoke {
        /// Milliseconds since 1970.
        deadline_ms: i64,
        request_id: String,
        invoked_function_arn: String,
        tracing: Tracing,
    },
    /// The environment ends.
    #[serde(rename = "SHUTDOWN")]
    Shutdown {
        shutdown_reason: ShutdownReason,
        /// Milliseconds since 1970.
        deadline_ms: i64,
    },
}

/// The trace of an invocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Tracing {
    #[serde(rename = "type")]
    kind: &'static str,
    value: String,
}

/// Why an environment ends. AWS documents these words in capitals and sends them like this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ShutdownReason {
    /// In good order.
    Spindown,
    /// Init or an invocation ran out of time.
    Timeout,
    /// The runtime or an extension failed.
    Failure,
}

/// How an extension brought its environment down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) name: String,
    /// How its process ended, the error type that it reported, or why it cannot be executed.
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// `POST /extension/init/error`
    Init,
    /// `POST /extension/exit/error`
    Exit,
    /// Its process ended.
    Crash,
    /// It could not be started.
    Launch,
}

impl Failure {
    /// AWS's error type.
    pub(crate) fn error_type(&self) -> &'static str {
        match self.kind {
            FailureKind::Init => "Extension.InitError",
            FailureKind::Exit => "Extension.ExitError",
            FailureKind::Crash => "Extension.Crash",
            FailureKind::Launch => "Extension.LaunchError",
        }
    }
}

/// What the log says about one extension after init.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) name: String,
    pub(crate) state: &'static str,
    pub(crate) events: Vec<&'static str>,
    pub(crate) error_type: Option<String>,
}

impl Standing {
    /// Of an extension that could not be started.
    pub(crate) fn not_launched(name: &str, error_type: &str) -> Self {
        let (name, error_type) = (name.to_owned(), Some(error_type.to_owned()));
        Self { name, state: "LaunchError", events: Vec::new(), error_type }
    }
}

/// How long a shutdown may take: the runtime's part, and all of it. Developer guide, "Shutdown phase".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShutdownTime {
    pub(crate) runtime: Duration,
    pub(crate) whole: Duration,
}

/// The extensions of one environment. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Extensions(Arc<Shared>);

/// What an extension learns about its function when it registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) handler: String,
    pub(crate) account: AccountId,
    /// Its environments serve several events at once: no extension can follow them.
    pub(crate) several: bool,
}

impl About {
    pub(crate) fn of(function: &FunctionVersion) -> Self {
        Self {
            name: function.name.clone(),
            version: function.version.clone(),
            handler: function.handler.clone(),
            account: function.account.clone(),
            several: function.managed.is_some(),
        }
    }
}

#[derive(Debug)]
struct Shared {
    about: About,
    rng: Rng,
    /// Whoever waits for a step of an extension waits for a change here.
    registry: watch::Sender<Registry>,
}

impl Extensions {
    /// With external ones of these names, which are about to be started in this order.
    pub(crate) fn new(about: About, rng: Rng, external: &[String]) -> Self {
        let registry = Registry::new(external.iter().map(|name| (name.clone(), sys::id::uuid(&rng))));
        Self(Arc::new(Shared { about, rng, registry: watch::Sender::new(registry) }))
    }

    /// True when one has subscribed to invocations.
    pub(crate) fn follow_invocations(&self) -> bool {
        self.0.registry.borrow().all().iter().any(|one| one.subscribes(EventType::Invoke))
    }

    /// Waits until every external one has registered.
    pub(crate) async fn registered(&self) {
        self.wait(Registry::have_registered).await;
    }

    /// The runtime is ready: nobody may register any more. Waits until every one that did has called `next`.
    pub(crate) async fn ready(&self) {
        self.0.registry.send_modify(Registry::close);
        self.wait(Registry::are_ready).await;
    }

    /// Tells the subscribers of an invocation.
    pub(crate) fn deliver(&self, header: &InvokeHeader) {
        let event = Event::Invoke {
            deadline_ms: header.deadline_ms,
            request_id: header.request_id.clone(),
            invoked_function_arn: header.invoked_function_arn.clone(),
            tracing: Tracing { kind: "X-Amzn-Trace-Id", value: header.trace_id.clone() },
        };
        self.0.registry.send_modify(|registry| registry.deliver(EventType::Invoke, &event));
    }

    /// Waits until every subscriber is done with the invocation that was delivered last.
    pub(crate) async fn done(&self) {
        self.wait(Registry::are_done).await;
    }

    /// Tells the subscribers of the end. Returns the programs of the external extensions that have not subscribed to it.
    pub(crate) fn shut_down(&self, shutdown_reason: ShutdownReason, deadline_ms: i64) -> Vec<usize> {
        let event = Event::Shutdown { shutdown_reason, deadline_ms };
        self.0.registry.send_modify(|registry| registry.deliver(EventType::Shutdown, &event));
        let registry = self.0.registry.borrow();
        let unconcerned = registry.all().iter().filter(|one| !one.subscribes(EventType::Shutdown));
        unconcerned.filter_map(|one| one.program).collect()
    }

    /// How long a shutdown may take; `None` without extensions: then everything is killed at once.
    pub(crate) fn shutdown_time(&self) -> Option<ShutdownTime> {
        let registry = self.0.registry.borrow();
        let internal = registry.all().iter().any(|one| one.program.is_none());
        let external = registry.all().iter().any(|one| one.program.is_some());
        let ms = |runtime, whole| {
            Some(ShutdownTime { runtime: Duration::from_millis(runtime), whole: Duration::from_millis(whole) })
        };
        match (external, internal) {
            (false, false) => None,
            (false, true) => ms(500, 500),
            (true, false) => ms(300, 2_000),
            (true, true) => ms(500, 2_000),
        }
    }

    /// Waits for an extension to fail: by its own words, or by the end of its process in `sandbox`.
    pub(crate) async fn failure(&self, sandbox: &Sandbox) -> Failure {
        tokio::select! {
            biased;
            failure = self.reported() => failure,
            (program, exit) = companion_end(sandbox) => self.crash(program, exit),
        }
    }

    async fn reported(&self) -> Failure {
        let mut news = self.0.registry.subscribe();
        let failed = news.wait_for(|registry| registry.failure().is_some()).await;
        failed.ok().and_then(|registry| registry.failure().cloned()).expect("the sender lives in this value")
    }

    fn crash(&self, program: usize, exit: Exit) -> Failure {
        let registry = self.0.registry.borrow();
        let name = registry.all().iter().find(|one| one.program == Some(program)).map(|one| one.name.clone());
        // AWS's words for what ends without an error differ between runtime and extension.
        let text = if exit == Exit::Code(0) { "exit code 0".to_owned() } else { exit_words(exit) };
        Failure { kind: FailureKind::Crash, name: name.unwrap_or_default(), text }
    }

    /// What the log says about each of them.
    pub(crate) fn standing(&self) -> Vec<Standing> {
        let registry = self.0.registry.borrow();
        let standing = registry.all().iter().map(|one| Standing {
            name: one.name.clone(),
            state: one.phase.name(),
            events: one.events.iter().map(|event| event.as_str()).collect(),
            error_type: one.error_type.clone(),
        });
        standing.collect()
    }

    async fn wait(&self, condition: impl Fn(&Registry) -> bool) {
        let mut news = self.0.registry.subscribe();
        // The sender lives in this value: it cannot close while this waits.
        let _ = news.wait_for(|registry| condition(registry)).await;
    }

    /// The name of whoever calls with this identifier.
    pub(super) fn name_of(&self, id: &str) -> Result<String, Refused> {
        self.0.registry.borrow().name_of(id)
    }

    /// `POST /extension/register`
    fn register(&self, name: &str, events: &[String]) -> Result<String, Refused> {
        if self.0.about.several && events.iter().any(|event| event == EventType::Invoke.as_str()) {
            // As on Lambda Managed Instances; the words are not confirmed.
            let message = "INVOKE: NotSupportedForManagedInstances".to_owned();
            return Err(Refused { status: 403, error_type: "Extension.InvalidEventType", message });
        }
        let id = sys::id::uuid(&self.0.rng);
        let mut registered = None;
        self.0.registry.send_modify(|registry| registered = Some(registry.register(name, events, id)));
        registered.expect("the closure ran")
    }

    /// `GET /extension/event/next`: waits for an event.
    async fn next(&self, id: &str) -> Result<Event, Refused> {
        let mut asked = Ok(());
        self.0.registry.send_modify(|registry| asked = registry.ask(id));
        asked?;
        let _asked = Asked { extensions: self, id };
        let mut news = self.0.registry.subscribe();
        loop {
            let mut taken = None;
            self.0.registry.send_if_modified(|registry| {
                taken = registry.take(id);
                taken.is_some()
            });
            if let Some(event) = taken {
                return Ok(event);
            }
            // The sender lives in this value.
            let _ = news.changed().await;
        }
    }

    fn fail(&self, id: &str, kind: FailureKind, error_type: &str) -> Result<(), Refused> {
        let mut failed = Ok(());
        self.0.registry.send_modify(|registry| failed = registry.fail(id, kind, error_type));
        failed
    }
}

/// One waiting call to `next`. A client that hangs up while it waits leaves no trace.
struct Asked<'a> {
    extensions: &'a Extensions,
    id: &'a str,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.extensions.0.registry.send_modify(|registry| registry.hang_up(self.id));
    }
}

/// The end of the main program of `sandbox`.
pub(crate) async fn runtime_end(sandbox: &Sandbox) -> Exit {
    tokio::select! {
        biased;
        exit = program_end(sandbox, |program| program == 0) => exit.1,
        exit = sandbox.exited() => exit,
    }
}

async fn companion_end(sandbox: &Sandbox) -> (usize, Exit) {
    program_end(sandbox, |program| program > 0).await
}

/// Waits until all companions of `sandbox` have ended, or everything has.
pub(crate) async fn companions_end(sandbox: &Sandbox, count: usize) {
    let mut ends = sandbox.program_ends();
    // Closed: the sandbox has ended.
    let _ = ends.wait_for(|ends| ends.iter().filter(|end| end.program > 0).count() >= count).await;
}

/// Waits for a program that is told apart; for ever when the whole sandbox ends first.
async fn program_end(sandbox: &Sandbox, wanted: impl Fn(usize) -> bool) -> (usize, Exit) {
    let mut ends = sandbox.program_ends();
    let found = |ends: &Vec<sandbox::ProgramEnd>| ends.iter().find(|end| wanted(end.program)).copied();
    let ended = ends.wait_for(|ends| found(ends).is_some()).await.ok().and_then(|ends| found(&ends));
    match ended {
        Some(end) => (end.program, end.exit),
        None => std::future::pending().await,
    }
}

/// Names of the external extensions in a function's merged layers, in their order; those beyond the first too many are not
/// looked at. Blocks on the disk.
///
/// # Errors
/// The disk's: a function must not start without extensions that it has.
pub(crate) fn external(layers: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(layers.join("extensions")) {
        Ok(entries) => entries,
        // None, or a file of that name, which AWS passes over too.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            // What the archive called it in another encoding than UTF-8 cannot be the name of an extension.
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort();
    names.truncate(EXTENSIONS_MAX + 1);
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_extensions_are_the_files_of_one_folder_and_what_cannot_be_read_is_no_empty_folder() {
        let layers = tempfile::tempdir().unwrap();
        let found = || external(layers.path()).map_err(|error| error.raw_os_error());
        assert_eq!(found(), Ok(vec![]));
        let folder = layers.path().join("extensions");
        std::os::unix::fs::symlink("extensions", &folder).unwrap();
        assert_eq!(found(), Err(Some(rustix::io::Errno::LOOP.raw_os_error())));
        std::fs::remove_file(&folder).unwrap();
        std::fs::write(&folder, "").unwrap();
        assert_eq!(found(), Ok(vec![]), "a file");
        std::fs::remove_file(&folder).unwrap();
        std::fs::create_dir_all(folder.join("lib")).unwrap();
        for name in 0..=EXTENSIONS_MAX + 5 {
            std::fs::write(folder.join(format!("{name:02}")), "").unwrap();
        }
        let names = found().unwrap();
        assert_eq!((names.len(), names[0].as_str()), (EXTENSIONS_MAX + 1, "00"), "one more than there may be");
    }
}
