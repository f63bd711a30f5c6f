//! A Lambda service whose functions the test plays, for what stands between it and the triggers.

use std::io::{Cursor, Write as _};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use lambda::invoke::init_run::{Asked, InitRun};
use lambda::invoke::{BoxFuture, NotInitialised, Report, Status};
use lambda::package::{Packages, UnpackLimits};
use lambda::runtimes::{Family, MissingRuntime, Resolved, RuntimeVersion};
use lambda::{
    Config, DataPlane, FunctionVersion, Identity, Invocation, InvokeError, InvokeOutcome, Lambda, LambdaParts,
    Provisioned,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sys::Rng;
use tempfile::TempDir;
use wire::Service;
use wire::shape::Protocol;

use super::{ROLE, World, cx};

/// A data plane that answers an invocation with its event, unless it refuses.
#[derive(Default)]
pub(crate) struct Plane {
    pub(crate) invoked: Mutex<Vec<Invocation>>,
    /// Why no function runs.
    pub(crate) refuses: Mutex<Option<InvokeError>>,
}

impl DataPlane for Plane {
    fn resolve(&self, _runtime: &str) -> Result<Resolved, MissingRuntime> {
        Ok(Resolved { family: Family::Node, version: Some(RuntimeVersion([24, 0, 0])), warning: None })
    }

    fn expect_runtime(&self, _runtime: &str) {}

    fn invoke(
        &self,
        function: Arc<FunctionVersion>,
        invocation: Invocation,
    ) -> BoxFuture<Result<InvokeOutcome, InvokeError>> {
        let outcome = InvokeOutcome {
            payload: invocation.payload.clone(),
            function_error: None,
            log_tail: Vec::new(),
            executed_version: function.version.clone(),
            report: report(),
        };
        let answer = self.refuses.lock().clone().map_or(Ok(outcome), Err);
        self.invoked.lock().push(invocation);
        Box::pin(std::future::ready(answer))
    }

    fn retire(&self, _function_arn: &str, _version: Option<String>) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }

    fn provision(&self, _function_arn: &str, _wanted: Vec<(Arc<FunctionVersion>, u32)>) {}

    fn provisioned(&self, _function_arn: &str, _version: &str) -> Provisioned {
        Provisioned::default()
    }

    fn initialise(&self, _function: Arc<FunctionVersion>) -> BoxFuture<Result<(), NotInitialised>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn hold_spare(&self, _function: Arc<FunctionVersion>) {}

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

/// The service, over the store and the clock of a world.
pub(crate) struct Lambdas {
    pub(crate) lambda: Lambda,
    pub(crate) plane: Arc<Plane>,
    service: Service,
    _folder: TempDir,
}

impl Lambdas {
    pub(crate) async fn new(world: &World) -> Self {
        let (folder, rng) = (tempfile::tempdir().unwrap(), Rng::seeded(7));
        let blobs = blob::Blobs::local(folder.path().join("blobs"), world.clock.clone(), rng.clone()).await.unwrap();
        let limits = UnpackLimits { bytes_max: 1 << 20, nodes_max: 100 };
        let images = lambda::image::ImageLimits { bytes_max: 1 << 20, nodes_max: 100, kept_bytes_max: 1 << 30 };
        let plane = Arc::new(Plane::default());
        let lambda = Lambda::new(LambdaParts {
            kv: world.kv.clone(),
            packages: {
                let seams = (world.clock.clone(), rng.clone());
                Packages::open(&folder.path().join("code"), blobs, seams, (limits, images)).unwrap()
            },
            plane: plane.clone(),
            clock: world.clock.clone(),
            rng,
            config: Config::default(),
            identity: Identity {
                may_assume: Arc::new(|_, _| Box::pin(std::future::ready(Ok(true)))),
                authorize: Arc::new(|_, _| Box::pin(std::future::ready(Ok(())))),
                may_act: Arc::new(|_| Box::pin(std::future::ready(Ok(())))),
            },
            check_policy: Arc::new(|_| Ok(())),
            images: Arc::new(lambda::image::NoImages),
            read_object: Arc::new(|_, _| unreachable!("no package is an object")),
        });
        Self { service: lambda::service(lambda.clone()), lambda, plane, _folder: folder }
    }

    /// A call of the Lambda API: the status, and what is in the answer.
    pub(crate) async fn answer(&self, method: &str, path: &str, input: Value) -> (u16, Value) {
        let body = if input.is_null() { Bytes::new() } else { Bytes::from(input.to_string()) };
        let (parts, ()) = http::Request::builder().method(method).uri(path).body(()).unwrap().into_parts();
        let answer = self.service.call(cx(), Protocol::RestJson1, &parts, body).await;
        (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap_or(Value::Null))
    }

    /// A successful call of the Lambda API.
    pub(crate) async fn call(&self, method: &str, path: &str, input: Value) -> Value {
        let (status, answer) = self.answer(method, path, input).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// What authorisation hears of a resource.
    pub(crate) async fn facts(&self, arn: &str) -> wire::ResourceFacts {
        self.service.facts_of(arn).await.unwrap()
    }

    /// The function `f` with a version 1, its alias `live`, and further settings.
    pub(crate) async fn create(&self, more: Value) {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file("index.js", zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(b"exports.handler = async () => 1").unwrap();
        let mut input = json!({
            "FunctionName": "f",
            "Role": ROLE,
            "Runtime": "nodejs24.x",
            "Handler": "index.handler",
            "Publish": true,
            "Code": { "ZipFile": STANDARD.encode(zip.finish().unwrap().into_inner()) },
        });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.call("POST", "/2015-03-31/functions", input).await;
        let alias = json!({ "Name": "live", "FunctionVersion": "1" });
        self.call("POST", "/2015-03-31/functions/f/aliases", alias).await;
    }
}
