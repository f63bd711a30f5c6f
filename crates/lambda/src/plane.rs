//! The seam between control plane and data plane.

use std::sync::Arc;

use crate::function::FunctionVersion;
use crate::invoke::init_run::{Asked, InitRun};
use crate::invoke::{BoxFuture, Invocation, InvokeError, InvokeOutcome, Invoker, NotInitialised};
use crate::runtimes::{MissingRuntime, Resolved, Runtimes};

/// What the control plane asks of the data plane. A trait, so that service tests run without a sandbox.
pub trait DataPlane: Send + Sync + 'static {
    /// What a runtime identifier runs on here.
    ///
    /// # Errors
    /// When this host has nothing that runs it.
    fn resolve(&self, runtime: &str) -> Result<Resolved, MissingRuntime>;

    /// A function with this runtime identifier is there: what its cold starts begin with may be made ready. Returns at once.
    fn expect_runtime(&self, runtime: &str);

    /// Runs a function.
    fn invoke(
        &self,
        function: Arc<FunctionVersion>,
        invocation: Invocation,
    ) -> BoxFuture<Result<InvokeOutcome, InvokeError>>;

    /// Ends the execution environments of one version (or of all) of a function that was changed or deleted: idle ones
    /// now, those in use when they have answered.
    fn retire(&self, function_arn: &str, version: Option<String>) -> BoxFuture<()>;

    /// Keeps that many environments of these versions of the function initialised, and of no others any more. Returns
    /// at once; [`DataPlane::provisioned`] tells how far it has come.
    fn provision(&self, function_arn: &str, wanted: Vec<(Arc<FunctionVersion>, u32)>);

    /// How far [`DataPlane::provision`] has come with one version.
    fn provisioned(&self, function_arn: &str, version: &str) -> Provisioned;

    /// Runs the init of a version with SnapStart, and keeps what it made for its first invocation. From then on its
    /// environments are initialised ahead, until it is retired.
    fn initialise(&self, function: Arc<FunctionVersion>) -> BoxFuture<Result<(), NotInitialised>>;

    /// Initialises environments of a version ahead that [`DataPlane::initialise`] has succeeded with in an earlier life of
    /// this node. Returns at once.
    fn hold_spare(&self, function: Arc<FunctionVersion>);

    /// Runs the init of a function in an environment that serves nobody, for what is asked of it.
    fn run_init(&self, function: Arc<FunctionVersion>, asked: Asked) -> BoxFuture<Result<InitRun, NotInitialised>>;
}

/// The state of a version's provisioned concurrency.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provisioned {
    /// Environments that are initialised, idle or in use.
    pub allocated: u32,
    /// Those of them that are idle.
    pub available: u32,
    /// Why there are not as many as asked for, when starting one went wrong.
    pub failure: Option<String>,
}

/// The data plane of this node.
#[derive(Clone)]
pub struct NodePlane {
    /// Runs functions.
    pub invoker: Invoker,
    /// The language runtimes of this host: those that the invoker was made with.
    pub runtimes: Runtimes,
}

impl DataPlane for NodePlane {
    fn resolve(&self, runtime: &str) -> Result<Resolved, MissingRuntime> {
        self.runtimes.resolve(runtime)
    }

    fn expect_runtime(&self, runtime: &str) {
        self.invoker.expect_runtime(runtime);
    }

    fn invoke(
        &self,
        function: Arc<FunctionVersion>,
        invocation: Invocation,
    ) -> BoxFuture<Result<InvokeOutcome, InvokeError>> {
        let invoker = self.invoker.clone();
        Box::pin(async move { invoker.invoke(&function, invocation).await })
    }

    fn retire(&self, function_arn: &str, version: Option<String>) -> BoxFuture<()> {
        let (invoker, function_arn) = (self.invoker.clone(), function_arn.to_owned());
        Box::pin(async move { invoker.retire(&function_arn, version.as_deref()).await })
    }

    fn provision(&self, function_arn: &str, wanted: Vec<(Arc<FunctionVersion>, u32)>) {
        self.invoker.provision(function_arn, wanted);
    }

    fn provisioned(&self, function_arn: &str, version: &str) -> Provisioned {
        self.invoker.provisioned(function_arn, version)
    }

    fn initialise(&self, function: Arc<FunctionVersion>) -> BoxFuture<Result<(), NotInitialised>> {
        let invoker = self.invoker.clone();
        Box::pin(async move { invoker.initialise(function).await })
    }

    fn hold_spare(&self, function: Arc<FunctionVersion>) {
        self.invoker.hold_spare(function);
    }

    fn run_init(&self, function: Arc<FunctionVersion>, asked: Asked) -> BoxFuture<Result<InitRun, NotInitialised>> {
        let invoker = self.invoker.clone();
        Box::pin(async move { invoker.run_init(&function, asked).await })
    }
}
