//! Everything wired together, bottom to top.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use blob::Blobs;
use gateway::{
    AdminRoute, BodyLimit, CredentialStore, FunctionUrls, Gateway, Handle, Peer, TooLarge, UrlRequest, Wiring,
};
use iam::{Decisions, Iam};
use kv::Kv;
use lambda::image::ImageLimits;
use lambda::invoke::PayloadLimits;
use lambda::invoke::code_caches::CodeCaches;
use lambda::invoke::{LogLine, LogSink};
use lambda::limits;
use lambda::package::{Packages, UnpackLimits};
use lambda::runtimes::{OperatorRuntimes, Runtimes};
use lambda::{Hooks, InvokeLimits, Invoker, InvokerParts, Lambda, LambdaParts, NodePlane, PriceTable};
use logs::{LogEvent, Logs};
use s3::S3;
use sandbox::{Launcher, LauncherConfig};
use sns::Sns;
use sqs::{Sqs, SqsError, SqsParts};
use sys::task::CancellationToken;
use sys::{ByteSize, Clock, Rng};
use trace::Recorder;
use triggers::async_invoke::{self, AsyncInvoke};
use triggers::{Functions, Targets, Triggers, notices};
use wire::Service;
use wire::sigv4::{Credential, Secret};

use super::function_keys::FunctionKeys;
use super::function_report::FunctionReport;
use super::identity_admin::IdentityAdmin;
use super::images::Images;
use super::{admin, identity, launcher_program, storage, topics};
use crate::config::{self, Config};
use crate::print;
use crate::root_key::RootKey;

/// How long invocations in flight may go on once the server is told to stop.
const IN_FLIGHT_GRACE: Duration = Duration::from_millis(1_500);

/// What has to be stopped in order.
pub(super) struct Parts {
    invoker: Invoker,
    logs: Logs,
    recorder: Recorder,
    decisions: Decisions,
}

impl Parts {
    /// Takes no more invocations, gives those in flight a moment, then ends all environments.
    pub(super) async fn end_invocations(&self) {
        self.invoker.shutdown(IN_FLIGHT_GRACE).await;
    }

    /// Writes what requests and environments left to be written.
    pub(super) async fn flush(&self) {
        if let Err(error) = self.logs.flush().await {
            tracing::error!(%error, "the last log events could not be written");
        }
        if let Err(error) = self.recorder.flush().await {
            tracing::error!(%error, "the last spans could not be written");
        }
        if let Err(error) = self.decisions.flush().await {
            tracing::error!(%error, "the last decisions could not be recorded");
        }
    }
}

/// Opens the stores, starts the launcher, builds the services and puts the gateway in front of them.
pub(super) async fn wire(
    config: &Config,
    data: &Path,
    root_key: &RootKey,
    stop: CancellationToken,
) -> anyhow::Result<(Parts, Gateway)> {
    let (clock, rng) = (Clock::system(), Rng::system());
    let (kv, blobs) = open_stores(data, &clock, &rng).await?;
    let logs = Logs::start(kv.clone(), clock.clone());
    let traces = trace::Store::start(kv.clone(), clock.clone());
    let recorder = traces.recorder();
    sys::task::spawn("expire traces", expire_hourly(traces.clone(), clock.clone(), stop.clone()));
    let launcher = start_launcher(config).await?;
    let runtimes = find_runtimes(&clock, data, config.runtimes.clone(), launcher.isolation()).await?;
    let may_act = storage::Later::default();
    let (iam, decisions) = identity::open(config, data, kv.clone(), clock.clone(), rng.clone()).await?;
    let may_do = identity::may_do(iam.clone(), config.auth);
    let s3 = storage::open(config, data, kv.clone(), &blobs, &clock, &rng, (&may_act, may_do)).await?;
    storage::start_jobs(&s3, &clock, &stop);
    let packages = Packages::open(&data.join("code"), blobs, (clock.clone(), rng.clone()), unpack_limits(config, data));
    let packages = packages.context("the code folder does not open")?;

    let credentials = root_credentials(config, root_key);
    let function_keys =
        FunctionKeys { iam: iam.clone(), placeholders: credentials.clone(), rng: rng.clone(), auth: config.auth };
    let handle = Handle::new();
    let invoker = Invoker::new(InvokerParts {
        clock: clock.clone(),
        rng: rng.clone(),
        limits: invoke_limits(config),
        prices: prices(config),
        hooks: hooks(&packages, &function_keys, &handle),
        code_caches: open_code_caches(data, &clock, &rng, &stop)?,
        launcher,
        runtimes: runtimes.clone(),
        logs: log_sink(logs.clone()),
        recorder: recorder.clone(),
    });
    packages.may_end(Box::new(invoker.idle_images()));
    let lambda = Lambda::new(LambdaParts {
        kv: kv.clone(),
        packages,
        plane: Arc::new(NodePlane { invoker: invoker.clone(), runtimes: runtimes.clone() }),
        clock: clock.clone(),
        rng: rng.clone(),
        config: lambda_config(config),
        identity: identity::for_lambda(iam.clone(), function_keys, config.auth, may_act.ask()),
        read_object: storage::packages(s3.clone()),
        check_policy: policy_check(config),
        images: Arc::new(Images::new(config, &clock)?),
    });
    make_ready(&lambda).await?;
    let sqs = start_sqs(config, (&kv, &clock, &rng), &stop).await.context("queues cannot be read")?;
    let served = Served { lambda, logs, s3, sqs, sns: topics::service(&kv, &clock, &rng), iam };
    let services = start_background(config, &kv, &served, &may_act, &stop)?;
    let Served { lambda, logs, s3, sqs, sns, iam } = served;
    let operator = operator_routes(config, &iam, &decisions, &services);
    let gateway = Gateway::new(
        gateway_config(config),
        Wiring {
            services,
            identity: Some(identity::of(iam, config.auth)),
            known: model::SERVICES,
            credentials,
            recorder: recorder.clone(),
            cors: Some(storage::cors(s3.clone())),
            function_urls: Some(function_urls(lambda.clone())),
            admin: [admin_routes(config, traces, lambda, sqs, sns, s3), operator].concat(),
            clock,
            rng,
            stop,
        },
    );
    handle.attach(gateway.clone());
    Ok((Parts { invoker, logs, recorder, decisions }, gateway))
}

/// The services, each as its own crate knows it.
struct Served {
    lambda: Lambda,
    logs: Logs,
    s3: S3,
    sqs: Sqs,
    sns: Sns,
    iam: Iam,
}

/// Starts what goes on behind requests: deliveries, pollers, asynchronous invocations. Returns the tables of all services.
fn start_background(
    config: &Config,
    kv: &Kv,
    served: &Served,
    may_act: &storage::Later,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<Service>> {
    let Served { lambda, logs, s3, sqs, sns, iam } = served;
    let own =
        [logs::service(logs.clone()), sqs::service(sqs.clone()), sns::service(sns.clone()), s3::service(s3.clone())];
    // Their resources have policies that the platform must keep to when it acts by itself.
    let known = [own.to_vec(), vec![lambda::service(lambda.clone())]].concat();
    let acts = identity::may_act(iam.clone(), known, config.auth);
    may_act.set(Arc::clone(&acts));
    let targets = Targets {
        functions: Functions::of(lambda.clone(), Rng::system()),
        sqs: sqs.clone(),
        topics: topics::publisher(sns.clone()),
        buckets: storage::records(s3.clone(), iam.clone(), Rng::system()),
        may_act: acts,
    };
    sys::task::spawn("collect packages", lambda::jobs::run(lambda.clone(), stop.clone()));
    let triggers = start_triggers(kv, lambda, &targets, stop);
    lambda.tag_mappings(Box::new(triggers.tags()));
    topics::start(sns, targets, config, stop)?;
    // Of Lambda's operations, those about event source mappings are served by `triggers`.
    let lambda = lambda::service(lambda.clone()).join(triggers::service(triggers));
    Ok([lambda].into_iter().chain(own).chain(iam::services(iam.clone())).collect())
}

/// The key-value store and the blob store, in the data folder.
async fn open_stores(data: &Path, clock: &Clock, rng: &Rng) -> anyhow::Result<(Kv, Blobs)> {
    let kv = Kv::open_fjall(data.join("kv"), clock.clone(), rng.clone());
    let kv = kv.context("the key-value store does not open")?;
    let records = kv.clone();
    let free = blob::beside(Arc::new(blob::free), move || records.needed_bytes());
    let blobs = Blobs::local_with(data.join("blobs"), clock.clone(), rng.clone(), free).await;
    let blobs = blobs.context("the blob store does not open")?;
    tracing::info!(folder = %data.display(), "stores open");
    Ok((kv, blobs))
}

/// What languages have compiled of functions' code: beside the packages, and of no use without them.
fn open_code_caches(data: &Path, clock: &Clock, rng: &Rng, stop: &CancellationToken) -> anyhow::Result<CodeCaches> {
    let caches = CodeCaches::open(&data.join("code-caches"), clock.clone(), rng.clone());
    let caches = caches.context("the folder of code caches does not open")?;
    sys::task::spawn("code caches", caches.clone().run(stop.clone()));
    Ok(caches)
}

fn prices(config: &Config) -> PriceTable {
    PriceTable { request_usd: config.price_million_requests / 1e6, gb_second_usd: config.price_gb_second }
}

/// The language runtimes of this host; our bootstraps are compiled for them meanwhile.
async fn find_runtimes(
    clock: &Clock,
    data: &Path,
    operator: OperatorRuntimes,
    isolation: sandbox::Isolation,
) -> anyhow::Result<Runtimes> {
    let brought: Vec<_> = operator.identifiers().map(str::to_owned).collect();
    let runtimes = Runtimes::discover(clock, data, operator, isolation).await;
    let runtimes = runtimes.context("the bootstraps could not be written")?;
    tracing::info!(runtimes = ?runtimes.found(), ?brought, "runtimes found");
    let compiling = runtimes.clone();
    sys::task::spawn("compile bootstraps", async move { compiling.compile_ahead().await });
    Ok(runtimes)
}

/// What has to be done before functions run.
async fn make_ready(lambda: &Lambda) -> anyhow::Result<()> {
    let swept = lambda.sweep_packages().await.context("packages of the past cannot be swept")?;
    tracing::info!(swept, "packages ready");
    lambda.expect_runtimes().await.context("functions cannot be read")?;
    lambda.provision_all().await.context("provisioned concurrency cannot be read")?;
    lambda.optimise_all().await.context("versions with SnapStart cannot be read")
}

/// Accounts, and the record of decisions.
fn operator_routes(config: &Config, iam: &Iam, decisions: &Decisions, services: &[Service]) -> Vec<AdminRoute> {
    let (iam, decisions, services) = (iam.clone(), decisions.clone(), services.to_vec());
    let own = config.account.clone();
    IdentityAdmin { iam, decisions, services, own }.routes()
}

/// What services ask before they store a resource policy.
fn policy_check(config: &Config) -> wire::CheckPolicy {
    match config.auth {
        config::Auth::Enforced => Arc::new(Iam::check_resource_policy),
        // Nothing is decided by them, and emulators take any text.
        config::Auth::Permissive => Arc::new(|_| Ok(())),
    }
}

/// The queues, and their background work.
async fn start_sqs(
    config: &Config,
    (kv, clock, rng): (&Kv, &Clock, &Rng),
    stop: &CancellationToken,
) -> Result<Sqs, SqsError> {
    let check_policy = policy_check(config);
    let sqs = Sqs::new(SqsParts { kv: kv.clone(), clock: clock.clone(), rng: rng.clone(), check_policy });
    sqs::jobs::resume(&sqs).await?;
    sys::task::spawn("sqs jobs", sqs::jobs::run(sqs.clone(), stop.clone()));
    Ok(sqs)
}

/// What makes functions run because something happened.
fn start_triggers(kv: &Kv, lambda: &Lambda, targets: &Targets, stop: &CancellationToken) -> Triggers {
    let (clock, rng) = (Clock::system(), Rng::system());
    let Targets { functions, sqs, may_act, .. } = targets.clone();
    let notices = notices::run(targets.clone(), kv.clone(), clock.clone(), rng.clone(), stop.clone());
    sys::task::spawn("bucket notifications", notices);
    let send_to = async_invoke::send_to(targets.clone(), clock.clone(), rng.clone());
    let queue = AsyncInvoke { lambda: lambda.clone(), kv: kv.clone(), clock: clock.clone(), send_to };
    sys::task::spawn("asynchronous invocations", queue.run(stop.clone()));
    let triggers = Triggers::new(triggers::Parts { kv: kv.clone(), clock, rng, functions, sqs, may_act });
    sys::task::spawn("event source mappings", triggers.clone().run(stop.clone()));
    triggers
}

fn admin_routes(config: &Config, traces: trace::Store, lambda: Lambda, sqs: Sqs, sns: Sns, s3: S3) -> Vec<AdminRoute> {
    let report = FunctionReport {
        lambda: lambda.clone(),
        clock: Clock::system(),
        traces: traces.clone(),
        account: config.account.clone(),
        region: config.region.clone(),
    };
    let mut routes = vec![
        admin::traces(traces),
        admin::code(lambda),
        report.route(),
        storage::scrub(s3),
        admin::certificate(sns.clone()),
    ];
    // Whoever runs an emulator's tests lets everybody do everything anyway; nobody else may wipe an account.
    if config.auth == config::Auth::Permissive {
        routes.push(admin::reset(sqs, sns, config.account.clone()));
    }
    routes
}

/// Drops spans that are older than a trace is kept.
async fn expire_hourly(traces: trace::Store, clock: Clock, stop: CancellationToken) {
    while stop.run_until_cancelled(clock.sleep(Duration::from_secs(3_600))).await.is_some() {
        if let Err(error) = trace::jobs::expire(&traces).await {
            tracing::error!(%error, "old traces could not be dropped; the next try is in an hour");
        }
    }
}

async fn start_launcher(config: &Config) -> anyhow::Result<Launcher> {
    let oci_runtime = config.oci_runtime.clone();
    let launcher = LauncherConfig { isolation: config.isolation.into(), oci_runtime, ..LauncherConfig::default() };
    let launcher = Launcher::start(launcher_program()?, launcher).await;
    let launcher = launcher.context("functions cannot be isolated here (`tinderbox doctor` tells more)")?;
    let capabilities = launcher.capabilities();
    tracing::info!(?capabilities, "sandboxes ready");
    if let Some(runtime) = capabilities.oci_runtime {
        print::talk(&format!("functions run in containers of {runtime}"));
    }
    Ok(launcher)
}

fn invoke_limits(config: &Config) -> InvokeLimits {
    InvokeLimits {
        concurrency_max: usize::try_from(config.concurrency).unwrap_or(usize::MAX),
        memory_budget_mb: u32::try_from(config.memory_mb).unwrap_or(u32::MAX),
        spare_memory_mb: u32::try_from(config.memory_mb / 4).unwrap_or(u32::MAX),
        idle_max: Duration::from_secs(config.idle_s),
        egress: config.egress.clone(),
        payloads: config.payloads,
        ..InvokeLimits::default()
    }
}

fn lambda_config(config: &Config) -> lambda::Config {
    lambda::Config {
        url_domain: config.domain.clone(),
        account_concurrency_max: i32::try_from(config.concurrency).unwrap_or(i32::MAX),
        provisioned_mb_max: config.memory_mb / 2,
        payloads: config.payloads,
        ..lambda::Config::default()
    }
}

/// The keys that are in no database: the root user's, and later those of functions without a role.
fn root_credentials(config: &Config, root_key: &RootKey) -> CredentialStore {
    let credentials = CredentialStore::new();
    credentials.insert_root(
        &root_key.access_key_id,
        Credential { secret: Secret::new(root_key.secret_access_key.as_str()), session_token: None },
        config.account.clone(),
    );
    credentials
}

fn gateway_config(config: &Config) -> gateway::Config {
    let mut settings = gateway::Config::new(config.account.clone(), &config.region, env!("CARGO_PKG_VERSION"));
    settings.auth = match config.auth {
        config::Auth::Enforced => gateway::Auth::Enforced,
        config::Auth::Permissive => gateway::Auth::Permissive,
    };
    settings.domain = config.domain.clone();
    settings.signature_v2 = config.s3_signature_v2;
    settings.limits.bodies = body_limits(config.payloads);
    settings.limits.function_url_body = ByteSize(config.payloads.sync_bytes as u64);
    // Within the 5 s that SIGTERM promises, with time left to write what was left behind.
    settings.limits.shutdown_grace = Duration::from_millis(3_500);
    settings
}

/// Hands requests to function URLs over to `lambda`.
fn function_urls(lambda: Lambda) -> FunctionUrls {
    Arc::new(move |request: UrlRequest| {
        let lambda = lambda.clone();
        Box::pin(async move {
            let UrlRequest { url_id, method, raw_path, raw_query, protocol, headers, body, cx, .. } = request;
            let target = if raw_query.is_empty() { raw_path } else { format!("{raw_path}?{raw_query}") };
            let mut forwarded = http::Request::new(body);
            *forwarded.method_mut() = method;
            *forwarded.headers_mut() = headers;
            *forwarded.version_mut() =
                if protocol == "HTTP/2.0" { http::Version::HTTP_2 } else { http::Version::HTTP_11 };
            match target.parse() {
                Ok(uri) => *forwarded.uri_mut() = uri,
                Err(_) => {
                    let answer = admin::answer(400, &serde_json::json!({ "message": "Bad Request" }));
                    return answer.map(wire::Body::from);
                }
            }
            lambda.serve_url(&url_id, cx, forwarded).await
        })
    })
}

/// Operations whose bodies may be larger, or must be smaller, than the gateway's 10 MB.
/// Codes and sizes: AWS Lambda developer guide, "Lambda quotas"; API Invoke, RequestTooLargeException.
fn body_limits(payloads: PayloadLimits) -> Vec<BodyLimit> {
    let lambda = |operation, bytes, code| BodyLimit {
        service: "lambda",
        operation,
        size: ByteSize(bytes),
        refusal: TooLarge { code, status: 413 },
    };
    // S3's operations that do not stream take documents, also from strangers. AWS states no size; the longest that fit
    // their own limits are DeleteObjects (1,000 keys of 1,024 bytes) and CompleteMultipartUpload (10,000 parts, each
    // with a checksum of up to 88 characters).
    let s3 = |operation, size| BodyLimit {
        service: "s3",
        operation,
        size,
        refusal: TooLarge { code: "MaxMessageLengthExceeded", status: 400 },
    };
    let (package, payload) = (limits::PACKAGE_REQUEST_BYTES_MAX, payloads.sync_bytes as u64);
    vec![
        lambda("CreateFunction", package, "RequestEntityTooLargeException"),
        lambda("UpdateFunctionCode", package, "RequestEntityTooLargeException"),
        lambda("PublishLayerVersion", package, "RequestEntityTooLargeException"),
        lambda("Invoke", payload, "RequestTooLargeException"),
        lambda("InvokeWithResponseStream", payload, "RequestTooLargeException"),
        s3("CompleteMultipartUpload", ByteSize::mib(4)),
        s3("*", ByteSize::mib(2)),
    ]
}

fn unpack_limits(config: &Config, data: &Path) -> (UnpackLimits, ImageLimits) {
    let image_bytes = ByteSize::mib(config.image_mb).bytes();
    (
        UnpackLimits { bytes_max: limits::PACKAGE_UNZIPPED_BYTES_MAX, nodes_max: limits::PACKAGE_NODES_MAX },
        ImageLimits {
            bytes_max: image_bytes,
            nodes_max: limits::IMAGE_NODES_MAX,
            kept_bytes_max: lambda::image::half_of_disk(data),
        },
    )
}

/// What the data plane asks of the rest of the server.
fn hooks(packages: &Packages, keys: &FunctionKeys, handle: &Handle) -> Hooks {
    let handle = handle.clone();
    let revoked = keys.placeholders.clone();
    Hooks {
        code: packages.hook(),
        layers: packages.layers_hook(),
        image: packages.image_hook(),
        issue_credentials: keys.clone().issuer(),
        revoke_credentials: Arc::new(move |access_key_id| {
            revoked.remove(access_key_id);
        }),
        connection: Arc::new(move |stream, peer| {
            let handle = handle.clone();
            let peer = Peer::Sandbox { function_arn: peer.function_arn };
            Box::pin(async move { handle.serve_connection(stream, peer).await })
        }),
    }
}

/// A function's lines become events of its log group.
fn log_sink(logs: Logs) -> LogSink {
    Arc::new(move |function, stream, lines| {
        let event = |line: LogLine| LogEvent { timestamp_ms: line.timestamp_ms, message: line.message };
        let events = lines.into_iter().map(event).collect();
        logs.append(&function.account, &function.region, &function.logging.group, stream, events);
    })
}
