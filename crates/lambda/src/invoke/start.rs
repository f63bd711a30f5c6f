//! Makes an execution environment: code, sandbox, line, log stream, credentials. The init phase comes after.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sandbox::{Isolation, LaunchError, Mount, Rest, Sandbox, Spec};
use sys::task::CancellationToken;
use sys::{ByteSize, Clock, Timestamp};
use tokio::sync::OwnedSemaphorePermit;

use super::assign::{Folders, function_mounts};
use super::egress::Door;
use super::ending::Ending;
use super::environment::{Environment, Held};
use super::line::{FrameLine, Line};
use super::log_records::{PlatformRecords, stream_date};
use super::log_stream::LogStream;
use super::runtime_api::RuntimeApi;
use super::state::State;
use super::stems::{Stem, address_variables, listeners};
use super::variables::TASK_ROOT;
use super::{EnvironmentPeer, InvokeError, Invoker, egress, endpoint, entry};
use crate::FunctionVersion;
use crate::runtimes::{LaunchPlan, Protocol};

/// L14: processes and threads, and open files, of one environment.
pub(super) const PROCESSES_MAX: u32 = 1_024;
pub(super) const OPEN_FILES_MAX: u32 = 1_024;
/// A sandbox takes milliseconds to launch; after this long it will not come, and who waits must hear it.
const LAUNCH_MAX: Duration = Duration::from_secs(20);
/// One virtual CPU belongs to this much memory (Lambda developer guide, "Configure Lambda function memory").
const MB_PER_CPU: u64 = 1_769;

/// An environment before its init phase, and how long it took to get there.
pub(super) struct Started {
    pub(super) environment: Environment,
    pub(super) timings: StartTimings,
}

/// When the parts of a start began and ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct StartTimings {
    pub(super) code_began: Timestamp,
    pub(super) code_download: Duration,
    pub(super) sandbox_began: Timestamp,
    pub(super) sandbox_start: Duration,
    pub(super) pooled: bool,
}

/// Why there is no environment.
pub(super) enum StartFailure {
    /// The platform's fault, or the host's.
    Platform(InvokeError),
    /// The package's fault: what it brings cannot be executed. The log stream comes back for the records of it.
    Package(Ending, Box<LogStream>),
}

/// Why there is no sandbox.
enum NoSandbox {
    Platform(String),
    /// What the package brings cannot be executed.
    Package(String),
}

impl Invoker {
    /// The log stream of a new environment, with its `INIT_START` record, and the environment's id.
    pub(super) fn open_log_stream(&self, function: &Arc<FunctionVersion>) -> Result<(String, LogStream), InvokeError> {
        let shared = &self.0;
        let resolved = shared.runtimes.resolve(&function.runtime).map_err(missing)?;
        let runtime = match resolved.version {
            Some(version) => format!("{} ({} {version})", function.runtime, resolved.family.as_str()),
            None => function.runtime.clone(),
        };
        let id = sys::id::hex::<16>(&shared.rng);
        let now = shared.clock.now();
        let name = format!("{}/[{}]{id}", stream_date(now), function.version);
        let platform = PlatformRecords::new(&function.logging, &function.version, &runtime);
        let init_start = platform.init_start(now);
        let function = Arc::clone(function);
        let (clock, sink) = (shared.clock.clone(), Arc::clone(&shared.logs));
        let mut logs = LogStream::new(function, name, platform, &shared.limits, clock, sink);
        logs.write(init_start);
        if let Some(warning) = resolved.warning {
            let warning = logs.platform.fault(&format!("WARNING {warning}"), now);
            logs.write(warning);
        }
        Ok((id, logs))
    }

    /// Fetches the code and starts the runtime's process.
    pub(super) async fn start_environment(
        &self,
        function: &Arc<FunctionVersion>,
        memory: OwnedSemaphorePermit,
        id: String,
        mut logs: LogStream,
    ) -> Result<Started, StartFailure> {
        let shared = &self.0;
        let clock = &shared.clock;
        let (code_began, start) = (clock.now(), clock.elapsed());
        let unavailable = |cause: String| StartFailure::Platform(InvokeError::Unavailable { cause });
        let folders = self.folders(function).await.map_err(unavailable)?;
        let code_download = clock.elapsed() - start;
        if folders.layers.as_ref().is_some_and(|layers| layers.join("extensions").is_dir()) {
            let warning = "WARNING /opt/extensions: external extensions are not supported yet, and none is started.";
            let warning = logs.platform.fault(warning, clock.now());
            logs.write(warning);
        }
        let plan = shared
            .runtimes
            .plan(&function.runtime, &folders.package)
            .map_err(|error| StartFailure::Platform(missing(error)))?;
        let mut state = State::Empty;
        let peer = peer(function, &id);
        let credentials = (shared.hooks.issue_credentials)(Arc::clone(function), peer.clone()).await;
        let credentials = credentials.map_err(StartFailure::Platform)?;
        let held = Held {
            hooks: shared.hooks.clone(),
            access_key_id: credentials.access_key_id.clone(),
            keys_expire: credentials.expires,
            open: CancellationToken::new(),
        };
        let variables = Self::variables(function, &plan, logs.name(), &credentials);
        let protocol = plan.protocol;
        let (sandbox_began, start) = (clock.now(), clock.elapsed());
        let stem = self.assigned_stem(&plan, &variables, || self.rest(function, folders.clone())).await;
        let ahead = stem.is_some();
        let (mut sandbox, line) = match stem {
            Some(Stem { sandbox, line }) => (sandbox, Some(line)),
            None => match self.launch(self.spec(function, plan, folders, variables)).await {
                Ok(sandbox) => (sandbox, None),
                Err(NoSandbox::Platform(cause)) => return Err(unavailable(cause)),
                Err(NoSandbox::Package(message)) => {
                    return Err(StartFailure::Package(Ending::NoEntry(message), Box::new(logs)));
                }
            },
        };
        state.become_(State::Prepared);
        let timings = StartTimings {
            code_began,
            code_download,
            sandbox_began,
            sandbox_start: clock.elapsed() - start,
            pooled: ahead || sandbox.timings().pooled,
        };
        state.become_(State::Assigned);
        logs.attach(&mut sandbox);
        let line = connect(&mut sandbox, line, protocol, &held, peer, shared.way_out.door(), clock);
        let line = line.map_err(|cause| unavailable(cause.to_owned()))?;
        let environment = Environment {
            id,
            logs,
            last_trace: None,
            state,
            sandbox,
            line,
            clock: clock.clone(),
            shutdown: shared.shutdown.clone(),
            memory,
            recorder: shared.recorder.clone(),
            rng: shared.rng.clone(),
            held,
        };
        Ok(Started { environment, timings })
    }

    async fn launch(&self, spec: Spec) -> Result<Sandbox, NoSandbox> {
        let shared = &self.0;
        let entry = spec.argv.first().cloned().unwrap_or_default();
        match shared.clock.timeout(LAUNCH_MAX, shared.launcher.launch(spec)).await {
            Some(Ok(sandbox)) => Ok(sandbox),
            Some(Err(error)) if error.is_exec() => Err(NoSandbox::Package(no_entry(&entry, &error))),
            Some(Err(error)) => Err(NoSandbox::Platform(error.to_string())),
            None => Err(NoSandbox::Platform(format!("no sandbox after {} s", LAUNCH_MAX.as_secs()))),
        }
    }

    /// Has the code and the layers of a function brought here.
    async fn folders(&self, function: &FunctionVersion) -> Result<Folders, String> {
        let hooks = &self.0.hooks;
        let package = (hooks.code)(function.code.clone()).await;
        let package = package.map_err(|error| format!("the package cannot be read: {error}"))?;
        let layers = match function.layers.is_empty() {
            true => None,
            false => {
                let merged = (hooks.layers)(function.layers.clone()).await;
                Some(merged.map_err(|error| format!("the layers cannot be read: {error}"))?)
            }
        };
        Ok(Folders { package, layers })
    }

    /// What a runtime that stands by gets: the same as in [`Invoker::spec`], as far as it depends on the function.
    fn rest(&self, function: &FunctionVersion, folders: Folders) -> Rest {
        Rest {
            mounts: function_mounts(folders),
            memory_bytes: ByteSize::mib(u64::from(function.memory_mb)).bytes(),
            cpu_millis: cpu_millis(function.memory_mb).max(self.0.limits.cpu_millis_min),
            scratch_bytes: ByteSize::mib(u64::from(function.ephemeral_mb)).bytes(),
        }
    }

    fn spec(
        &self,
        function: &FunctionVersion,
        plan: LaunchPlan,
        folders: Folders,
        variables: Vec<(String, String)>,
    ) -> Spec {
        let argv = entry::argv(function, &plan);
        let mut mounts: Vec<Mount> = plan.mounts.into_iter().map(|(source, target)| Mount { source, target }).collect();
        mounts.extend(function_mounts(folders));
        let mut spec = Spec {
            argv,
            env: variables,
            address_env: address_variables(&self.0.limits.egress),
            cwd: PathBuf::from(TASK_ROOT),
            memory_bytes: ByteSize::mib(u64::from(function.memory_mb)).bytes(),
            cpu_millis: cpu_millis(function.memory_mb).max(self.0.limits.cpu_millis_min),
            processes_max: PROCESSES_MAX,
            open_files_max: OPEN_FILES_MAX,
            scratch_bytes: ByteSize::mib(u64::from(function.ephemeral_mb)).bytes(),
            listeners: listeners(&self.0.limits.egress),
            mounts,
            folders: Vec::new(),
            awaits_rest: false,
        };
        // Who points the SDK or a proxy elsewhere means it.
        let Spec { address_env, env, .. } = &mut spec;
        address_env.retain(|variable| !env.iter().any(|(name, _)| *name == variable.name));
        if self.0.launcher.isolation() == Isolation::None {
            show_host_paths(&mut spec);
        }
        spec
    }
}

/// Without isolation nothing is mounted: paths of the inside become the host's.
fn show_host_paths(spec: &mut Spec) {
    let mounts = std::mem::take(&mut spec.mounts);
    let outside = |text: &str| {
        let mut text = text.to_owned();
        for mount in mounts.iter().filter(|mount| mount.source != mount.target) {
            text = text.replace(&*mount.target.to_string_lossy(), &mount.source.to_string_lossy());
        }
        text
    };
    spec.argv = spec.argv.iter().map(|argument| outside(argument)).collect();
    for (_, value) in &mut spec.env {
        *value = outside(value);
    }
    spec.cwd = PathBuf::from(outside(&spec.cwd.to_string_lossy()));
}

/// Takes the sandbox's ends: the line to the runtime, and the AWS endpoint.
fn connect(
    sandbox: &mut Sandbox,
    line: Option<FrameLine>,
    protocol: Protocol,
    held: &Held,
    peer: EnvironmentPeer,
    door: Door,
    clock: &Clock,
) -> Result<Line, &'static str> {
    let mut listeners = sandbox.take_listeners().into_iter();
    let (Some(runtime_api), Some(endpoint)) = (listeners.next(), listeners.next()) else {
        return Err("the sandbox has no listeners");
    };
    if let Some(proxy) = listeners.next() {
        drop(sys::task::spawn("egress proxy", egress::serve(proxy, door, held.open.clone())));
    }
    // What a function asked for goes on when it ends: only the accepting stops.
    let open = held.open.clone();
    let serving = endpoint::serve(endpoint, Arc::clone(&held.hooks.connection), peer, clock.clone());
    drop(sys::task::spawn("function endpoint", async move { open.run_until_cancelled(serving).await }));
    if let Some(line) = line {
        return Ok(Line::Frames(line));
    }
    match protocol {
        Protocol::RuntimeApi => Ok(Line::RuntimeApi(RuntimeApi::serve(runtime_api, clock.clone()))),
        Protocol::Frames => {
            let channel = sandbox.take_channel().ok_or("the sandbox has no channel")?;
            Ok(Line::Frames(FrameLine::new(channel)))
        }
    }
}

fn peer(function: &FunctionVersion, id: &str) -> EnvironmentPeer {
    EnvironmentPeer {
        account: function.account.clone(),
        region: function.region.clone(),
        function_arn: function.arn.clone(),
        version: function.version.clone(),
        environment_id: id.to_owned(),
    }
}

fn missing(error: crate::runtimes::MissingRuntime) -> InvokeError {
    InvokeError::RuntimeMissing { remedy: error.remedy }
}

/// AWS's words for a package whose entry cannot be executed. `/opt/bootstrap` is only tried when the package has none.
fn no_entry(entry: &str, error: &LaunchError) -> String {
    let errno = if let LaunchError::Step(step) = error { step.errno } else { 0 };
    match errno {
        2 if entry == "/opt/bootstrap" => {
            "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]".to_owned()
        }
        2 => format!("fork/exec {entry}: no such file or directory"),
        8 => format!("fork/exec {entry}: exec format error"),
        13 => format!("fork/exec {entry}: permission denied"),
        _ => format!("fork/exec {entry}: {error}"),
    }
}

/// CPU in thousandths of one, by memory.
fn cpu_millis(memory_mb: u32) -> u32 {
    u32::try_from(u64::from(memory_mb) * 1_000 / MB_PER_CPU).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_follows_memory() {
        for (memory_mb, millis) in [(128, 72), (1_769, 1_000), (3_538, 2_000), (10_240, 5_788)] {
            assert_eq!(cpu_millis(memory_mb), millis, "{memory_mb} MB");
        }
    }
}
