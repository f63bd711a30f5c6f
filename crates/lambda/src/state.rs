//! What every handler of the service holds.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use kv::Kv;
use parking_lot::Mutex;
use sys::{Clock, Rng, Timestamp};
use tokio::sync::Semaphore;
use wire::{AccountId, CheckPolicy, Cx, Principal, ResourceFacts, TraceContext};

use crate::capacity;
use crate::code_link::CodeLinks;
use crate::code_source::{OBJECTS_AT_ONCE, ReadObject};
use crate::error::LambdaError;
use crate::function::{CodeRef, Concurrency, FunctionVersion};
use crate::identity::Identity;
use crate::image::ImageSource;
use crate::image::found::{ACCOUNT_LOOK_UPS_AT_ONCE, LOOK_UPS_AT_ONCE};
use crate::image::pull::{ACCOUNT_PULLS_AT_ONCE, PULLS_AT_ONCE, Pulling};
use crate::invoke::PayloadLimits;
use crate::keys::FunctionRecord;
use crate::lately::Lately;
use crate::limits;
use crate::mapping_tags::MappingTags;
use crate::name::function_arn;
use crate::ops::snap_start::is_snap_started;
use crate::package::Packages;
use crate::plane::DataPlane;
use crate::remembered::Remembered;
use crate::turns::Turns;

/// What the operator may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Function URLs are `http://ID.lambda-url.REGION.` + this, with the port of the `Host` that asked. Every name below
    /// `localhost` is this machine for curl, browsers and resolvers with systemd.
    pub url_domain: String,
    /// Zipped packages of one account in one region, in bytes.
    pub account_code_bytes_max: u64,
    /// Concurrent executions of one account in one region, as GetAccountSettings reports them.
    pub account_concurrency_max: i32,
    /// Memory that provisioned environments of this node may take together, in MB: the rest is for what starts when it is
    /// called.
    pub provisioned_mb_max: u64,
    /// Largest events and answers: what the data plane has.
    pub payloads: PayloadLimits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url_domain: "localhost".to_owned(),
            account_code_bytes_max: limits::ACCOUNT_CODE_BYTES_MAX,
            account_concurrency_max: limits::ACCOUNT_CONCURRENCY_MAX,
            provisioned_mb_max: u64::MAX,
            payloads: PayloadLimits::default(),
        }
    }
}

/// Everything the service is made from.
pub struct LambdaParts {
    /// Records.
    pub kv: Kv,
    /// Packages of this node.
    pub packages: Packages,
    /// Runs functions.
    pub plane: Arc<dyn DataPlane>,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub rng: Rng,
    /// What the operator may change.
    pub config: Config,
    /// Roles and rights.
    pub identity: Identity,
    /// Packages that are objects of S3.
    pub read_object: ReadObject,
    /// Asked before a statement of a resource policy is stored.
    pub check_policy: CheckPolicy,
    /// Where container images come from.
    pub images: Arc<dyn ImageSource>,
}

/// The Lambda service's state. Cloning is cheap.
#[derive(Clone)]
pub struct Lambda(Arc<State>);

/// Inside of [`Lambda`]; opaque outside of this crate.
pub struct State {
    pub(crate) kv: Kv,
    pub(crate) packages: Packages,
    pub(crate) plane: Arc<dyn DataPlane>,
    pub(crate) clock: Clock,
    pub(crate) rng: Rng,
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) code_links: CodeLinks,
    pub(crate) read_object: ReadObject,
    /// By ARN: what follows from a function's record and its policy.
    pub(crate) remembered_facts: Remembered<ResourceFacts>,
    /// By qualified ARN: what is made of a version's record and runs. Who runs it compares its concurrency, which has records of its own.
    pub(crate) remembered_versions: Remembered<Arc<FunctionVersion>>,
    pub(crate) object_turns: Arc<Semaphore>,
    pub(crate) lately: Lately,
    pub(crate) check_policy: CheckPolicy,
    /// Who tells the data plane what is provisioned of a function.
    pub(crate) provisioning: Turns,
    /// Revisions of versions that are being initialised (SnapStart).
    pub(crate) optimising: Mutex<HashSet<String>>,
    pub(crate) images: Arc<dyn ImageSource>,
    /// Images that are brought here at the same time.
    pub(crate) pulls: sys::turns::Turns,
    pub(crate) pulling: Mutex<Pulling>,
    /// Images that are looked up at the same time.
    pub(crate) look_ups: sys::turns::Turns,
    /// Who keeps event source mappings; nobody where it is not set.
    pub(crate) mapping_tags: OnceLock<Box<dyn MappingTags>>,
    /// Held shared while a record comes to name what is stored here already, and alone while what no record names is removed.
    pub(crate) naming: tokio::sync::RwLock<()>,
}

impl std::ops::Deref for Lambda {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl Lambda {
    /// The service over `parts`.
    pub fn new(parts: LambdaParts) -> Self {
        let LambdaParts { kv, packages, plane, clock, rng, config, identity, read_object, check_policy, images } =
            parts;
        let code_links = CodeLinks::new(&rng);
        Self(Arc::new(State {
            kv,
            packages,
            plane,
            clock,
            rng,
            config,
            identity,
            code_links,
            read_object,
            remembered_facts: Remembered::new(),
            remembered_versions: Remembered::new(),
            object_turns: Arc::new(Semaphore::new(OBJECTS_AT_ONCE)),
            lately: Lately::default(),
            check_policy,
            provisioning: Turns::default(),
            optimising: Mutex::default(),
            images,
            pulls: sys::turns::Turns::new(PULLS_AT_ONCE, ACCOUNT_PULLS_AT_ONCE),
            pulling: Mutex::default(),
            look_ups: sys::turns::Turns::new(LOOK_UPS_AT_ONCE, ACCOUNT_LOOK_UPS_AT_ONCE),
            mapping_tags: OnceLock::new(),
            naming: tokio::sync::RwLock::new(()),
        }))
    }

    /// From now on event source mappings have tags. What is said first counts.
    pub fn tag_mappings(&self, mappings: Box<dyn MappingTags>) {
        // A server has one crate that keeps them.
        let _ = self.mapping_tags.set(mappings);
    }

    /// The context of what the service does by itself, in one account and region.
    pub(crate) fn own_cx(&self, account: AccountId, region: String) -> Cx {
        Cx {
            principal: Principal::Root { account: account.clone() },
            account,
            region,
            request_id: sys::id::uuid(&self.rng),
            trace: TraceContext::new(self.clock.now(), &self.rng),
            source_ip: None,
            host: String::new(),
            unasked: Vec::new(),
        }
    }

    /// A link to a package, for `Code.Location`.
    pub(crate) fn package_link(&self, cx: &Cx, code: &CodeRef) -> String {
        let token = self.code_links.token(code, self.clock.now());
        format!("http://{}/_tinderbox/code/{token}", cx.host)
    }

    /// L14: a package and its layers together are within what an environment may see.
    pub(crate) async fn check_unpacked(&self, record: &FunctionRecord) -> Result<(), LambdaError> {
        if record.layers.is_empty() {
            return Ok(());
        }
        let mut bytes = self.packages.unpacked_bytes(&record.code).await?;
        for layer in &record.layers {
            bytes += self.packages.unpacked_bytes(&layer.code).await?;
        }
        match bytes > self.packages.bytes_max() {
            true => Err(LambdaError::invalid(format!(
                "Function code combined with layers exceeds the maximum allowed size of {} bytes. The actual size is \
                 {bytes} bytes.",
                self.packages.bytes_max()
            ))),
            false => Ok(()),
        }
    }

    /// The time as records keep it.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now().unix_ms()
    }

    /// The version that the data plane runs.
    pub(crate) fn version(
        &self,
        cx: &Cx,
        name: &str,
        version: String,
        record: FunctionRecord,
        concurrency: Concurrency,
    ) -> FunctionVersion {
        let record = record.running();
        FunctionVersion {
            snap_start: is_snap_started(&record, &version),
            managed: capacity::managed(&record),
            version,
            image: record.image.map(|image| image.used(&record.code)),
            account: cx.account.clone(),
            region: cx.region.clone(),
            name: name.to_owned(),
            arn: function_arn(&cx.region, cx.account.as_str(), name),
            layers: record.layers.into_iter().map(|layer| layer.code).collect(),
            concurrency,
            per_tenant: record.per_tenant,
            revision_id: record.revision_id,
            role: record.role,
            runtime_warning: self.warning(&record.runtime),
            runtime: record.runtime,
            handler: record.handler,
            unpacked_dir: self.packages.folder(&record.code),
            code: record.code,
            environment: record.environment.unwrap_or_default(),
            memory_mb: record.memory_mb,
            timeout_s: record.timeout_s,
            ephemeral_mb: record.ephemeral_mb,
            tracing: record.tracing,
            logging: record.logging,
            architecture: record.architecture,
        }
    }

    /// What there is to say about a runtime identifier; nothing when the host has just that version.
    pub(crate) fn warning(&self, runtime: &str) -> Option<String> {
        // Of an image.
        if runtime.is_empty() {
            return None;
        }
        match self.plane.resolve(runtime) {
            Ok(resolved) => resolved.warning,
            Err(missing) => Some(missing.remedy),
        }
    }

    /// Fails when nothing here runs `runtime`.
    pub(crate) fn check_runtime(&self, runtime: &str) -> Result<(), LambdaError> {
        match self.plane.resolve(runtime) {
            Ok(_) => Ok(()),
            Err(missing) => Err(LambdaError::invalid(format!(
                "The runtime {runtime} is not available on this host. {}",
                missing.remedy
            ))),
        }
    }
}

/// `2026-11-23T09:00:00.000+0000`, the form of `LastModified`.
pub(crate) fn last_modified(unix_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(unix_ms).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S.%3f+0000").to_string()
}

/// `2026-11-23T09:00:00.000000Z`, the form of times of function URLs.
pub(crate) fn url_time(time: Timestamp) -> String {
    let time = jiff::Timestamp::from_microsecond(time.unix_us()).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}
