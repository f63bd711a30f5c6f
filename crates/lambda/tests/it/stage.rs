//! What a test stands on.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Cursor, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Request;
use kv::Kv;
use lambda::image::{ImageLimits, ImageSource, NoImages};
use lambda::invoke::init_run::{Asked, InitRun};
use lambda::invoke::{BoxFuture, NotInitialised, Report, Status, StreamPart};
use lambda::package::{Packages, UnpackLimits};
use lambda::runtimes::{Family, MissingRuntime, Resolved, RuntimeVersion};
use lambda::{
    Config, DataPlane, FunctionError, FunctionVersion, Identity, Invocation, InvokeError, InvokeOutcome, Lambda,
    LambdaParts, Provisioned, QueuedEvent,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sys::{Clock, Rng, Timestamp};
use tempfile::TempDir;
use wire::shape::Protocol;
use wire::{AccountId, ApiError, Cx, Principal, Service, TraceContext};

pub(crate) const FUNCTIONS: &str = "/2015-03-31/functions";

/// A data plane that remembers what it was asked and answers what a test set.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) invoked: Mutex<Vec<(Arc<FunctionVersion>, Invocation)>>,
    pub(crate) retired: Mutex<Vec<String>>,
    /// Runtimes that are to stand by, in the order in which that was said.
    pub(crate) expected: Mutex<Vec<String>>,
    /// By function: versions and how many environments of each are kept.
    pub(crate) provisioned: Mutex<BTreeMap<String, Vec<(String, u32)>>>,
    /// What the init of the next versions comes to, first come first served; the rest succeed.
    pub(crate) inits: Mutex<VecDeque<Result<(), NotInitialised>>>,
    /// What a version's init waits for.
    pub(crate) init_gate: Mutex<Option<tokio::sync::oneshot::Receiver<()>>>,
    /// Versions that were initialised, and those of which a spare is held.
    pub(crate) initialised: Mutex<Vec<String>>,
    pub(crate) held: Mutex<Vec<String>>,
    /// What the function streams before it answers.
    pub(crate) parts: Mutex<Vec<StreamPart>>,
    /// What it waits for between the last part and its answer.
    pub(crate) gate: Mutex<Option<tokio::sync::oneshot::Receiver<()>>>,
    pub(crate) answer: Mutex<Option<Result<(Bytes, bool), InvokeError>>>,
}

impl DataPlane for Script {
    fn resolve(&self, runtime: &str) -> Result<Resolved, MissingRuntime> {
        let version = RuntimeVersion([22, 1, 0]);
        match runtime {
            "nodejs20.x" | "nodejs22.x" => Ok(Resolved { family: Family::Node, version: Some(version), warning: None }),
            "python3.12" | "python3.13" => {
                Ok(Resolved { family: Family::Python, version: Some(version), warning: None })
            }
            "provided.al2023" => Ok(Resolved { family: Family::Provided, version: None, warning: None }),
            "nodejs24.x" => {
                let warning = Some("nodejs24.x runs on node 22.1.0".to_owned());
                Ok(Resolved { family: Family::Node, version: Some(version), warning })
            }
            _ => Err(MissingRuntime { remedy: format!("Install something for {runtime}.") }),
        }
    }

    fn expect_runtime(&self, runtime: &str) {
        self.expected.lock().push(runtime.to_owned());
    }

    fn invoke(
        &self,
        function: Arc<FunctionVersion>,
        invocation: Invocation,
    ) -> BoxFuture<Result<InvokeOutcome, InvokeError>> {
        let (echo, executed_version) = (invocation.payload.clone(), function.version.clone());
        let (stream, parts) = (invocation.stream.clone(), std::mem::take(&mut *self.parts.lock()));
        let gate = self.gate.lock().take();
        self.invoked.lock().push((function, invocation));
        let answer = self.answer.lock().clone().unwrap_or(Ok((echo, false)));
        Box::pin(async move {
            for part in parts {
                let sink = stream.as_ref().expect("only a caller that takes a stream is streamed to");
                sink.send(part).await;
            }
            if let Some(gate) = gate {
                gate.await.expect("the test opens it");
            }
            let (payload, failed) = answer?;
            Ok(InvokeOutcome {
                payload,
                function_error: failed.then_some(FunctionError::Unhandled),
                log_tail: vec![b'x'; 5_000],
                executed_version,
                report: report(),
            })
        })
    }

    fn retire(&self, function_arn: &str, version: Option<String>) -> BoxFuture<()> {
        let version = version.map(|version| format!(":{version}")).unwrap_or_default();
        self.retired.lock().push(format!("{function_arn}{version}"));
        Box::pin(std::future::ready(()))
    }

    fn provision(&self, function_arn: &str, wanted: Vec<(Arc<FunctionVersion>, u32)>) {
        let wanted = wanted.into_iter().map(|(function, count)| (function.version.clone(), count)).collect();
        self.provisioned.lock().insert(function_arn.to_owned(), wanted);
    }

    fn provisioned(&self, function_arn: &str, version: &str) -> Provisioned {
        let provisioned = self.provisioned.lock();
        let of_function = provisioned.get(function_arn).into_iter().flatten();
        let count = of_function.filter(|(one, _)| one == version).map(|(_, count)| *count).sum();
        Provisioned { allocated: count, available: count, failure: None }
    }

    fn initialise(&self, function: Arc<FunctionVersion>) -> BoxFuture<Result<(), NotInitialised>> {
        self.initialised.lock().push(function.qualified_arn());
        let (result, gate) = (self.inits.lock().pop_front().unwrap_or(Ok(())), self.init_gate.lock().take());
        Box::pin(async move {
            if let Some(gate) = gate {
                gate.await.expect("the test opens it");
            }
            result
        })
    }

    fn hold_spare(&self, function: Arc<FunctionVersion>) {
        self.held.lock().push(function.qualified_arn());
    }

    fn run_init(&self, _: Arc<FunctionVersion>, _: Asked) -> BoxFuture<Result<InitRun, NotInitialised>> {
        let cause = "no sandbox here".to_owned();
        Box::pin(std::future::ready(Err(InvokeError::Unavailable { cause }.into())))
    }
}

fn report() -> Report {
    Report {
        duration: std::time::Duration::from_millis(1),
        billed_ms: 1,
        init: None,
        restore: None,
        max_memory_mb: 1,
        memory_mb: 128,
        cold: None,
        cost_usd: 0.0,
        status: Status::Answered,
    }
}

/// A role that Lambda may not assume.
pub(crate) const CLOSED_ROLE: &str = "arn:aws:iam::000000000000:role/closed";

/// Lambda may assume every role but [`CLOSED_ROLE`], and the account's root may do everything.
fn identity() -> Identity {
    Identity {
        may_assume: Arc::new(|role, _| Box::pin(std::future::ready(Ok(role != CLOSED_ROLE)))),
        authorize: Arc::new(|cx, _| {
            let may = match &cx.principal {
                Principal::Root { account } => account.as_str() == "000000000000",
                // As if every function's policy allowed everything to everyone, without a condition.
                principal => *principal == Principal::Anonymous,
            };
            let denied = || ApiError::client("AccessDenied", 403, "denied");
            Box::pin(std::future::ready(may.then_some(()).ok_or_else(denied)))
        }),
        // Nobody may anything to what is `closed`.
        may_act: Arc::new(|act| {
            let denied = || ApiError::client("AccessDenied", 403, "denied");
            let is_closed = act.resource.contains("closed") && act.action != "s3:PutObject";
            Box::pin(std::future::ready((!is_closed).then_some(()).ok_or_else(denied)))
        }),
    }
}

/// The service with everything around it.
pub(crate) struct Stage {
    pub(crate) lambda: Lambda,
    pub(crate) script: Arc<Script>,
    pub(crate) clock: Clock,
    pub(crate) kv: Kv,
    pub(crate) folder: TempDir,
    packages: Packages,
    pub(crate) objects: Arc<Objects>,
    service: Service,
}

/// An answer, its body as JSON where it is JSON.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) json: Value,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Status, error code and message of a failed call.
    #[track_caller]
    pub(crate) fn error(&self) -> (u16, String, String) {
        let code = self.headers["x-amzn-errortype"].to_str().unwrap().to_owned();
        let message = self.json.get("message").or(self.json.get("Message")).and_then(Value::as_str);
        (self.status, code, message.unwrap_or_default().to_owned())
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.json);
        self.json
    }
}

fn lambda_over(
    kv: &Kv,
    packages: &Packages,
    script: &Arc<Script>,
    objects: &Arc<Objects>,
    (clock, rng): (&Clock, &Rng),
    config: Config,
    images: Arc<dyn ImageSource>,
) -> Lambda {
    let objects = Arc::clone(objects);
    Lambda::new(LambdaParts {
        kv: kv.clone(),
        packages: packages.clone(),
        plane: Arc::<Script>::clone(script),
        clock: clock.clone(),
        rng: rng.clone(),
        config,
        identity: identity(),
        read_object: Arc::new(move |cx, object| Box::pin(Arc::clone(&objects).read(cx, object))),
        check_policy: Arc::new(unreadable),
        images,
    })
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(Config::default()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        Self::with_images(config, Arc::new(NoImages)).await
    }

    /// With a place that images come from.
    pub(crate) async fn with_images(config: Config, source: Arc<dyn ImageSource>) -> Self {
        let clock = Clock::manual(Timestamp::from_unix_s(1_795_424_400));
        let kv = Kv::memory(clock.clone(), Rng::seeded(7));
        Self::over(clock, kv, tempfile::tempdir().unwrap(), config, source).await
    }

    /// The next process on the same data: what the one before had in memory is gone.
    pub(crate) async fn restarted(self, source: Arc<dyn ImageSource>) -> Self {
        let Self { clock, kv, folder, .. } = self;
        Self::over(clock, kv, folder, Config::default(), source).await
    }

    async fn over(clock: Clock, kv: Kv, folder: TempDir, config: Config, source: Arc<dyn ImageSource>) -> Self {
        let rng = Rng::seeded(7);
        let blobs = blob::Blobs::local(folder.path().join("blobs"), clock.clone(), rng.clone()).await.unwrap();
        let limits = UnpackLimits { bytes_max: 1 << 20, nodes_max: 100 };
        let images = ImageLimits { bytes_max: 1 << 20, nodes_max: 100, kept_bytes_max: 1 << 30 };
        let packages =
            Packages::open(&folder.path().join("code"), blobs, (clock.clone(), rng.clone()), (limits, images)).unwrap();
        let (script, objects) = (Arc::new(Script::default()), Arc::new(Objects::default()));
        let lambda = lambda_over(&kv, &packages, &script, &objects, (&clock, &rng), config, source);
        Self { service: lambda::service(lambda.clone()), lambda, script, clock, kv, folder, packages, objects }
    }

    /// The service as the next process makes it, beside this one.
    pub(crate) fn again(&self) -> Lambda {
        lambda_over(
            &self.kv,
            &self.packages,
            &self.script,
            &self.objects,
            (&self.clock, &Rng::seeded(8)),
            Config::default(),
            Arc::new(NoImages),
        )
    }

    /// The context of a request by the account's root.
    pub(crate) fn cx(&self) -> Cx {
        let account = AccountId::parse("000000000000").unwrap();
        Cx {
            account: account.clone(),
            region: "us-east-1".to_owned(),
            principal: Principal::Root { account },
            request_id: "11111111-2222-4333-8444-555555555555".to_owned(),
            trace: TraceContext::new(self.clock.now(), &Rng::seeded(9)),
            source_ip: Some([127, 0, 0, 1].into()),
            host: "127.0.0.1:4566".to_owned(),
            unasked: Vec::new(),
        }
    }

    /// What authorisation hears about a function.
    pub(crate) async fn facts(&self, arn: &str) -> wire::ResourceFacts {
        self.service.facts_of(arn).await.unwrap()
    }

    /// Raw bytes in, raw bytes out.
    pub(crate) async fn call(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.call_as(self.cx(), method, uri, headers, body).await
    }

    /// A call in the midst of a trace.
    pub(crate) async fn call_in(&self, trace: &TraceContext, method: &str, uri: &str, body: &'static str) -> Answer {
        self.call_as(Cx { trace: trace.clone(), ..self.cx() }, method, uri, &[], body).await
    }

    async fn call_as(
        &self,
        cx: Cx,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, body) = request.body(body.into()).unwrap().into_parts();
        let response = self.service.call(cx, Protocol::RestJson1, &parts, body).await;
        let (parts, body) = response.into_parts();
        let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status: parts.status.as_u16(), headers: parts.headers, json, body }
    }

    /// What authorisation is asked about a request, `METHOD URI`: action, resource without what all of the account's
    /// functions and layers have in common, condition keys.
    pub(crate) fn asked(&self, line: &str, body: &Value) -> Vec<String> {
        let (method, uri) = line.split_once(' ').unwrap();
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let (parts, ()) = Request::builder().method(method).uri(uri).body(()).unwrap().into_parts();
        let line = self.service.identify(Protocol::RestJson1, &parts, &body).unwrap();
        let input = self.service.decode(line, Protocol::RestJson1, &parts, &body).unwrap();
        let asked = line.permissions(&self.cx(), &input).into_iter();
        let shown = asked.map(|one| {
            let resources = one.resources.0.join(",").replace("arn:aws:lambda:us-east-1:000000000000:", "");
            let keys = one.keys.iter().map(|(name, values)| format!(" {name}={}", values.join(",")));
            format!("{} {resources}{}", one.action, keys.collect::<String>())
        });
        shown.collect()
    }

    /// The events in the queue of asynchronous invocations, once there are `count`; they are taken out.
    pub(crate) async fn queued(&self, count: usize) -> Vec<QueuedEvent> {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(16);
        let stop = sys::task::CancellationToken::new();
        let delivering = kv::layer::outbox::deliver(
            lambda::EVENTS,
            self.kv.clone(),
            self.clock.clone(),
            kv::layer::outbox::Config::default(),
            stop.clone(),
            move |delivery| {
                let sender = sender.clone();
                async move {
                    sender.send(QueuedEvent::decode(&delivery.payload).unwrap()).await.unwrap();
                    kv::layer::outbox::Verdict::Done
                }
            },
        );
        let delivering = sys::task::spawn("deliver", delivering);
        let mut queued = Vec::new();
        while queued.len() < count {
            queued.push(receiver.recv().await.expect("the queue is delivered"));
        }
        stop.cancel();
        delivering.await.unwrap();
        queued
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.call("GET", uri, &[], "").await
    }

    pub(crate) async fn delete(&self, uri: &str) -> Answer {
        self.call("DELETE", uri, &[], "").await
    }

    /// The text of `PublishVersion` of a function whose code is changed first, so that it is always a new version.
    pub(crate) async fn publish(&self, name: &str, code: &str) -> Value {
        let uri = format!("{FUNCTIONS}/{name}/code");
        self.send("PUT", &uri, json!({ "ZipFile": package(code), "Publish": true })).await.expect(200)
    }

    pub(crate) async fn send(&self, method: &str, uri: &str, body: Value) -> Answer {
        self.call(method, uri, &[], body.to_string()).await
    }

    /// CreateFunction with `change` laid over a plain input.
    pub(crate) async fn create(&self, name: &str, change: Value) -> Answer {
        let mut input = json!({
            "FunctionName": name,
            "Role": "arn:aws:iam::000000000000:role/r",
            "Runtime": "nodejs22.x",
            "Handler": "index.handler",
            "Code": { "ZipFile": package("exports.handler = async () => 1") },
        });
        for (member, value) in change.as_object().unwrap() {
            match value {
                Value::Null => input.as_object_mut().unwrap().remove(member),
                value => input.as_object_mut().unwrap().insert(member.clone(), value.clone()),
            };
        }
        self.send("POST", FUNCTIONS, input).await
    }
}

/// A zip file with one `index.js`, in base64.
pub(crate) fn package(code: &str) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, zipped(code))
}

/// A zip file with one `index.js`.
pub(crate) fn zipped(code: &str) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("index.js", zip::write::SimpleFileOptions::default()).unwrap();
    writer.write_all(code.as_bytes()).unwrap();
    writer.finish().unwrap().into_inner()
}

/// As if the identity service could not read wildcards in the ARN of a principal, nor variables that do not end.
fn unreadable(policy: &str) -> Result<(), String> {
    match (policy.contains(":role/*"), policy.contains("${")) {
        (true, _) => Err("Invalid principal in policy".to_owned()),
        (_, true) => Err("The policy failed legacy parsing".to_owned()),
        _ => Ok(()),
    }
}

/// A bucket `code` with a key `f.zip`, whose package tells its version, and one that nobody may decrypt.
#[derive(Default)]
pub(crate) struct Objects {
    /// Objects that were asked for.
    pub(crate) reads: AtomicUsize,
    reading: AtomicUsize,
    /// Most that were asked for at the same time.
    pub(crate) reading_most: AtomicUsize,
}

impl Objects {
    async fn read(self: Arc<Self>, cx: Cx, object: lambda::CodeObject) -> Result<Bytes, ApiError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.reading_most.fetch_max(self.reading.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.reading.fetch_sub(1, Ordering::SeqCst);
        match (object.bucket.as_str(), object.key.as_str()) {
            ("code", "f.zip") => Ok(Bytes::from(zipped(&format!("object {}", object.version.unwrap_or_default())))),
            ("code", "sealed.zip") => {
                let denied = format!("{} is not authorized to perform: kms:Decrypt", cx.principal.arn());
                Err(ApiError::client("AccessDenied", 403, denied))
            }
            _ => Err(ApiError::client("NoSuchKey", 404, "The specified key does not exist.")),
        }
    }
}
