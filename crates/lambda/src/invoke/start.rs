//! Makes an execution environment: code, sandbox, line, log stream, credentials. The init phase comes after.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sandbox::{Isolation, LaunchError, Mount, Rest, Sandbox, Spec};
use sys::task::CancellationToken;
use sys::{ByteSize, Clock, Timestamp};

use super::apis::{self, Apis};
use super::assign::{Folders, function_mounts};
use super::beside::Beside;
use super::code_caches::Cached;
use super::egress::{Door, Egress};
use super::either::EitherLine;
use super::ending::Ending;
use super::environment::{Environment, Held};
use super::environments::{EnvironmentKey, Memory};
use super::extensions::{
    self, About, EXTENSIONS_MAX, EXTENSIONS_ROOT, Extensions, Failure, FailureKind, Standing, VARIABLES_MISSED,
};
use super::image;
use super::line::{FrameLine, Line};
use super::log_records::{PlatformRecords, stream_date};
use super::log_stream::LogStream;
use super::runtime_api::RuntimeApi;
use super::state::State;
use super::stems::{Learner, Stem, address_variables, links, listeners};
use super::telemetry::Telemetry;
use super::variables::{counts_at_start, counts_for_sdk};
use super::{Credentials, EnvironmentPeer, InvokeError, Invoker, PayloadLimits, egress, endpoint, entry};
use crate::FunctionVersion;
use crate::image::ImageRoot;
use crate::runtimes::{LaunchPlan, Protocol, TASK_ROOT};

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
    /// An external extension cannot be executed: its name, AWS's error type, and the words for it.
    Extension {
        name: String,
        error_type: &'static str,
        text: String,
    },
}

/// A sandbox in which the runtime runs, or waits.
struct Launched {
    sandbox: Sandbox,
    /// The line to a runtime that stood by.
    line: Option<FrameLine>,
    /// The runtime's program, when it waits for extensions.
    held: Option<String>,
    /// Where later environments of the version may come from a runtime that stands by.
    learns: Option<Learner>,
}

impl Invoker {
    /// The log stream of a new environment, with its `INIT_START` record, and the environment's id.
    pub(super) fn open_log_stream(
        &self,
        function: &Arc<FunctionVersion>,
        tenant: Option<String>,
    ) -> Result<(String, LogStream), InvokeError> {
        let shared = &self.0;
        let resolved = match function.image {
            Some(_) => image::resolved(),
            None => shared.runtimes.resolve(&function.runtime).map_err(missing)?,
        };
        let runtime = match resolved.version {
            None if function.image.is_some() => image::DESCRIPTION.to_owned(),
            Some(version) => format!("{} ({} {version})", function.runtime, resolved.family.as_str()),
            None => function.runtime.clone(),
        };
        let id = sys::id::hex::<16>(&shared.rng);
        let now = shared.clock.now();
        let name = format!("{}/[{}]{id}", stream_date(now), function.version);
        let platform = PlatformRecords::new(function, &runtime, tenant);
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
        memory: Memory,
        id: String,
        logs: LogStream,
    ) -> Result<Started, StartFailure> {
        self.start_beside(function, memory, id, logs, None).await
    }

    /// The same, for an init that is asked for something beside itself; without it, for the version's cache of compiled code.
    pub(super) async fn start_beside(
        &self,
        function: &Arc<FunctionVersion>,
        memory: Memory,
        id: String,
        mut logs: LogStream,
        asked: Option<Beside>,
    ) -> Result<Started, StartFailure> {
        let (shared, clock) = (&self.0, &self.0.clock);
        let (code_began, start) = (clock.now(), clock.elapsed());
        let mut folders = self.folders(function).await.map_err(unavailable)?;
        let code_download = clock.elapsed() - start;
        let external = match self.external_extensions(&folders, &mut logs).await {
            Ok(external) => external,
            Err(none) => return Err(start_failure(none, logs, clock)),
        };
        let extensions = Extensions::new(About::of(function), shared.rng.clone(), &external);
        let (plan, mut logs) = self.plan(function, &folders, logs)?;
        let mut state = State::Empty;
        let peer = peer(function, &id);
        let credentials = self.credentials(function, &peer, folders.image.clone());
        let ((beside, cached), credentials) = tokio::join!(self.beside(function, &plan, asked), credentials);
        let (credentials, holds) = credentials.map_err(StartFailure::Platform)?;
        folders.beside = beside.mount();
        let mut variables = Self::variables(function, &plan, logs.name(), &credentials);
        variables.extend(beside.variable());
        let protocol = entry::protocol(function, &plan);
        let (sandbox_began, start) = (clock.now(), clock.elapsed());
        let launched = self.sandbox_for(function, plan, folders, variables, &external).await;
        let Launched { mut sandbox, line, held, learns } = match launched {
            Ok(launched) => launched,
            Err(none) => return Err(start_failure(none, logs, clock)),
        };
        state.become_(State::Prepared);
        let timings = StartTimings {
            code_began,
            code_download,
            sandbox_began,
            sandbox_start: clock.elapsed() - start,
            pooled: line.is_some() || sandbox.timings().pooled,
        };
        state.become_(State::Assigned);
        let telemetry = Telemetry::new(clock.clone(), sandbox.take_sockets());
        logs.attach(&mut sandbox, telemetry.clone());
        let door = shared.way_out.door(Egress::of(&function.environment));
        let speech = (protocol, function.managed.map(|managed| managed.slots as usize));
        let apis = apis_of(&extensions, &telemetry);
        let mut line = connect(&mut sandbox, line, speech, &holds, peer, door, apis, shared).map_err(unavailable)?;
        line.expect_given(beside.given_bytes_max());
        let environment = Environment {
            id,
            logs,
            last_trace: None,
            state,
            sandbox,
            line,
            extensions,
            telemetry,
            companions: external.len(),
            held,
            given: None,
            cached,
            first_event: None,
            suspended: false,
            clock: clock.clone(),
            shutdown: shared.shutdown.clone(),
            memory,
            recorder: shared.recorder.clone(),
            rng: shared.rng.clone(),
            learns,
            holds,
        };
        Ok(Started { environment, timings })
    }

    /// The credentials of a new environment, and what ends with it.
    async fn credentials(
        &self,
        function: &Arc<FunctionVersion>,
        peer: &EnvironmentPeer,
        image: Option<ImageRoot>,
    ) -> Result<(Credentials, Held), InvokeError> {
        let hooks = &self.0.hooks;
        let credentials = (hooks.issue_credentials)(Arc::clone(function), peer.clone()).await?;
        let holds = Held {
            hooks: hooks.clone(),
            access_key_id: credentials.access_key_id.clone(),
            keys_expire: credentials.expires,
            open: CancellationToken::new(),
            image,
        };
        Ok((credentials, holds))
    }

    /// What the init of a function is to do beside itself: what it is asked for, or something about what was compiled of its code.
    async fn beside(&self, function: &FunctionVersion, plan: &LaunchPlan, asked: Option<Beside>) -> (Beside, Cached) {
        if let Some(beside) = asked {
            return (beside, Cached::Not);
        }
        // Behind a script of the user's own it is not known what runs, nor with what flags.
        let ours = entry::protocol(function, plan) == Protocol::Frames && function.image.is_none();
        // Nothing passes from one tenant's environments to another's, not even what init has made.
        if !ours || function.per_tenant || self.0.launcher.isolation() == Isolation::None {
            return (Beside::Nothing, Cached::Not);
        }
        self.0.code_caches.beside(function, plan).await
    }

    /// How the program of a function is started. The log stream comes back.
    fn plan(
        &self,
        function: &FunctionVersion,
        folders: &Folders,
        logs: LogStream,
    ) -> Result<(LaunchPlan, LogStream), StartFailure> {
        let plan = match (&function.image, &folders.image) {
            (Some(used), Some(root)) => match image::plan(used, root) {
                Ok(plan) => plan,
                Err(ending) => return Err(StartFailure::Package(ending, Box::new(logs))),
            },
            _ => {
                let plan = self.0.runtimes.plan(&function.runtime, &folders.package);
                plan.map_err(|error| StartFailure::Platform(missing(error)))?
            }
        };
        Ok((plan, logs))
    }

    /// A sandbox for a function: with a runtime that stood by, or a new one.
    async fn sandbox_for(
        &self,
        function: &FunctionVersion,
        plan: LaunchPlan,
        folders: Folders,
        variables: Vec<(String, String)>,
        external: &[String],
    ) -> Result<Launched, NoSandbox> {
        let mut learns = None;
        // External extensions start before the runtime, and some variables only count at the start of a process: one that runs
        // already comes too late for them.
        let late = !external.is_empty() || counts_at_start(&plan, &variables);
        if !late && plan.generic_argv.is_some() && function.managed.is_none() {
            // Nothing passes from one tenant's environments to another's.
            let finds_sdk = !function.per_tenant && !counts_for_sdk(function);
            let version = finds_sdk.then(|| EnvironmentKey::of(function, None));
            let rest = || self.rest(function, folders.clone());
            let stem = self.assigned_stem(&plan, &variables, version.as_ref(), rest).await;
            learns = version.map(|version| self.0.stems.learner(&plan, version));
            if let Some(Stem { sandbox, line }) = stem {
                return Ok(Launched { sandbox, line: Some(line), held: None, learns });
            }
        }
        let mut spec = self.spec(function, plan, folders, variables);
        spec.companions = external.iter().map(|name| Path::new(EXTENSIONS_ROOT).join(name)).collect();
        spec.sockets = 1 + external.len();
        let held = (!external.is_empty()).then(|| spec.argv[0].clone());
        let sandbox = self.launch(spec).await?;
        Ok(Launched { sandbox, line: None, held, learns })
    }

    /// Names of the external extensions that the layers bring.
    async fn external_extensions(&self, folders: &Folders, logs: &mut LogStream) -> Result<Vec<String>, NoSandbox> {
        if folders.image.is_none() && folders.layers.is_none() {
            return Ok(Vec::new());
        }
        let (image, layers) = (folders.image.clone(), folders.layers.clone());
        let found = sys::task::blocking(move || {
            let folder = image.as_ref().and_then(image::opt).or(layers);
            folder.map_or_else(|| Ok(Vec::new()), |folder| extensions::external(&folder))
        })
        .await;
        let found = found.unwrap_or_else(|| Err(std::io::Error::other("the server is shutting down")));
        let unreadable = |error| NoSandbox::Platform(format!("{EXTENSIONS_ROOT} cannot be read: {error}"));
        let mut external = found.map_err(unreadable)?;
        if !external.is_empty() && self.0.launcher.isolation() == Isolation::None {
            let warning = "WARNING /opt/extensions: without isolation external extensions are not started.";
            let warning = logs.platform.fault(warning, self.0.clock.now());
            logs.write(warning);
            return Ok(Vec::new());
        }
        match external.len() > EXTENSIONS_MAX {
            true => Err(NoSandbox::Extension {
                name: external.swap_remove(EXTENSIONS_MAX),
                error_type: "TooManyExtensions",
                text: format!("more than {EXTENSIONS_MAX} extensions in {EXTENSIONS_ROOT}"),
            }),
            false => Ok(external),
        }
    }

    async fn launch(&self, spec: Spec) -> Result<Sandbox, NoSandbox> {
        let shared = &self.0;
        let entry = spec.argv.first().cloned().unwrap_or_default();
        let companions = spec.companions.clone();
        match shared.clock.timeout(LAUNCH_MAX, shared.launcher.launch(spec)).await {
            Some(Ok(sandbox)) => Ok(sandbox),
            Some(Err(error)) if error.is_exec() => Err(match companion_at_fault(&companions, &error) {
                Some((name, path)) => NoSandbox::Extension {
                    name,
                    error_type: if errno(&error) == 13 { "PermissionDenied" } else { "UnknownError" },
                    text: no_entry(&path, &error),
                },
                None => NoSandbox::Package(no_entry(&entry, &error)),
            }),
            Some(Err(error)) => Err(NoSandbox::Platform(error.to_string())),
            None => Err(NoSandbox::Platform(format!("no sandbox after {} s", LAUNCH_MAX.as_secs()))),
        }
    }

    /// The image of a function that is one, unpacked here where it is not: that may take minutes. Nobody who waits for it should
    /// hold the right to start, which others need. As long as somebody has it, the next who asks waits for nothing.
    pub(super) async fn image_of(&self, function: &FunctionVersion) -> Result<Option<ImageRoot>, String> {
        let Some(image) = &function.image else { return Ok(None) };
        match self.0.launcher.isolation() {
            Isolation::Process => {}
            Isolation::Oci => return Err("functions of container images do not run with isolation = oci".to_owned()),
            Isolation::None => return Err("functions of container images need isolation".to_owned()),
        }
        let image = (self.0.hooks.image)(function.account.clone(), image.manifest.clone()).await;
        image.map(Some).map_err(|error| format!("the image cannot be read: {error}"))
    }

    /// Has the code and the layers of a function brought here.
    async fn folders(&self, function: &FunctionVersion) -> Result<Folders, String> {
        let hooks = &self.0.hooks;
        if let Some(image) = self.image_of(function).await? {
            return Ok(Folders { package: image.root.clone(), layers: None, image: Some(image), beside: None });
        }
        let package = (hooks.code)(function.code.clone()).await;
        let package = package.map_err(|error| format!("the package cannot be read: {error}"))?;
        let layers = match function.layers.is_empty() {
            true => None,
            false => {
                let merged = (hooks.layers)(function.layers.clone()).await;
                Some(merged.map_err(|error| format!("the layers cannot be read: {error}"))?)
            }
        };
        Ok(Folders { package, layers, image: None, beside: None })
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
        let root = folders.image.as_ref().map(|image| image.root.clone());
        let cwd = match (&function.image, &folders.image) {
            (Some(used), Some(root)) => image::working_directory(used, root),
            _ => PathBuf::from(TASK_ROOT),
        };
        let links = links(&plan);
        let mut mounts: Vec<Mount> = plan.mounts.into_iter().map(|(source, target)| Mount { source, target }).collect();
        mounts.extend(function_mounts(folders));
        let mut spec = Spec {
            root,
            argv,
            env: variables,
            address_env: address_variables(&self.0.limits.egress),
            cwd,
            memory_bytes: ByteSize::mib(u64::from(function.memory_mb)).bytes(),
            cpu_millis: cpu_millis_of(function).max(self.0.limits.cpu_millis_min),
            processes_max: PROCESSES_MAX + function.managed.map_or(0, |managed| managed.slots),
            open_files_max: OPEN_FILES_MAX + function.managed.map_or(0, |managed| 2 * managed.slots),
            scratch_bytes: ByteSize::mib(u64::from(function.ephemeral_mb)).bytes(),
            listeners: listeners(&self.0.limits.egress),
            mounts,
            folders: Vec::new(),
            links,
            awaits_rest: false,
            companions: Vec::new(),
            companions_miss: VARIABLES_MISSED.map(str::to_owned).to_vec(),
            sockets: 1,
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

/// What it means for a start that there is no sandbox. The log says which extension cannot be started.
fn start_failure(none: NoSandbox, mut logs: LogStream, clock: &Clock) -> StartFailure {
    let ending = match none {
        NoSandbox::Platform(cause) => return StartFailure::Platform(InvokeError::Unavailable { cause }),
        NoSandbox::Package(message) => Ending::NoEntry(message),
        NoSandbox::Extension { name, error_type, text } => {
            let record = logs.platform.extension(&Standing::not_launched(&name, error_type), clock.now());
            logs.write(record);
            Ending::Extension(Failure { kind: FailureKind::Launch, name, text })
        }
    };
    StartFailure::Package(ending, Box::new(logs))
}

/// The companion that could not be executed: its name and its path.
fn companion_at_fault(companions: &[PathBuf], error: &LaunchError) -> Option<(String, String)> {
    let LaunchError::Step(step) = error else { return None };
    let path = companions.iter().find(|path| step.detail.starts_with(&format!("{}: ", path.display())))?;
    Some((path.file_name()?.to_string_lossy().into_owned(), path.display().to_string()))
}

fn errno(error: &LaunchError) -> i32 {
    if let LaunchError::Step(step) = error { step.errno } else { 0 }
}

fn apis_of(extensions: &Extensions, telemetry: &Telemetry) -> Apis {
    Apis { runtime: None, extensions: extensions.clone(), telemetry: telemetry.clone() }
}

/// Takes the sandbox's ends: the line to the runtime, the Extensions API, and the AWS endpoint.
#[expect(clippy::too_many_arguments, reason = "the ends of one environment, which meet nowhere else")]
fn connect(
    sandbox: &mut Sandbox,
    line: Option<FrameLine>,
    (protocol, slots): (Protocol, Option<usize>),
    held: &Held,
    peer: EnvironmentPeer,
    door: Door,
    apis: Apis,
    shared: &super::Shared,
) -> Result<Line, &'static str> {
    let (clock, limits) = (&shared.clock, shared.limits.payloads);
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
    if protocol != Protocol::Frames {
        let api = RuntimeApi::serve(runtime_api, clock.clone(), apis.extensions, apis.telemetry, limits, slots);
        return match protocol {
            Protocol::Either => Ok(Line::Either(EitherLine::new(frames(sandbox, limits)?, api))),
            _ => Ok(Line::RuntimeApi(api)),
        };
    }
    let serving = apis::serve(runtime_api, clock.clone(), apis, held.open.clone(), 1);
    drop(sys::task::spawn("extensions api", serving));
    line.map_or_else(|| frames(sandbox, limits), Ok).map(Line::Frames)
}

fn frames(sandbox: &mut Sandbox, limits: PayloadLimits) -> Result<FrameLine, &'static str> {
    let channel = sandbox.take_channel().ok_or("the sandbox has no channel")?;
    Ok(FrameLine::new(channel, limits))
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

fn unavailable(cause: impl Into<String>) -> StartFailure {
    StartFailure::Platform(InvokeError::Unavailable { cause: cause.into() })
}

fn missing(error: crate::runtimes::MissingRuntime) -> InvokeError {
    InvokeError::RuntimeMissing { remedy: error.remedy }
}

/// AWS's words for a package whose entry cannot be executed. `/opt/bootstrap` is only tried when the package has none.
pub(super) fn no_entry(entry: &str, error: &LaunchError) -> String {
    match errno(error) {
        2 if entry == "/opt/bootstrap" => {
            "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]".to_owned()
        }
        2 => format!("fork/exec {entry}: no such file or directory"),
        8 => format!("fork/exec {entry}: exec format error"),
        13 => format!("fork/exec {entry}: permission denied"),
        _ => format!("fork/exec {entry}: {error}"),
    }
}

/// CPU in thousandths of one that a function's environments have.
fn cpu_millis_of(function: &FunctionVersion) -> u32 {
    match function.managed {
        Some(managed) => function.memory_mb.saturating_mul(1_000) / managed.memory_mb_per_cpu.max(1),
        None => cpu_millis(function.memory_mb),
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
