//! What the tests stand on: an invoker with a real launcher, functions written on the spot, and what they logged.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lambda::function::{ImageOverrides, ImageUse};
use lambda::image::{ImageRoot, Lease, Settings};
use lambda::invoke::code_caches::CodeCaches;
use lambda::invoke::{ConnectionHook, Credentials, LogLine};
use lambda::runtimes::{Family, OperatorRuntimes, Runtimes};
use lambda::{
    Architecture, CodeRef, EnvironmentVariables, FunctionVersion, Hooks, Invocation, InvokeError, InvokeLimits,
    InvokeOutcome, Invoker, InvokerParts, LogFormat, Logging, PriceTable, TracingMode,
};
use parking_lot::Mutex;
use sandbox::{Launcher, LauncherConfig};
use serde_json::Value;
use sys::{Clock, Rng, Timestamp};
use tempfile::TempDir;
use wire::{AccountId, TraceContext};

/// One server's data plane, alone.
pub(crate) struct Stage {
    pub(crate) invoker: Invoker,
    pub(crate) clock: Clock,
    pub(crate) store: trace::Store,
    recorder: trace::Recorder,
    lines: Arc<Mutex<Vec<(String, LogLine)>>>,
    packages: Arc<Mutex<HashMap<String, PathBuf>>>,
    images: Images,
    credentials: Arc<Mutex<Vec<String>>>,
    pub(crate) runtimes: Runtimes,
    folder: TempDir,
    rng: Rng,
}

/// How a stage differs from the usual one.
pub(crate) struct Setting {
    pub(crate) limits: InvokeLimits,
    pub(crate) clock: Clock,
    pub(crate) connection: ConnectionHook,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            limits: InvokeLimits::default(),
            clock: Clock::system(),
            connection: Arc::new(|_, _| Box::pin(async {})),
        }
    }
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(Setting::default()).await
    }

    pub(crate) async fn with(setting: Setting) -> Self {
        let Setting { limits, clock, connection } = setting;
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let rng = Rng::system();
        let program = vec![env!("CARGO_BIN_EXE_lambda-launcher").into()];
        let launcher = Launcher::start(program, LauncherConfig::default()).await.expect("a launcher starts");
        // Discovery has a time limit of its own: it runs on the real clock even where a test stops time.
        let (real, isolation) = (Clock::system(), launcher.isolation());
        let runtimes = Runtimes::discover(&real, folder.path(), OperatorRuntimes::default(), isolation).await.unwrap();
        let kv = kv::Kv::memory(clock.clone(), rng.clone());
        let store = trace::Store::start(kv, clock.clone());
        let recorder = store.recorder();
        let lines: Arc<Mutex<Vec<(String, LogLine)>>> = Arc::default();
        let packages: Arc<Mutex<HashMap<String, PathBuf>>> = Arc::default();
        let images = Images::default();
        let credentials: Arc<Mutex<Vec<String>>> = Arc::default();
        let invoker = Invoker::new(InvokerParts {
            clock: clock.clone(),
            rng: rng.clone(),
            launcher,
            runtimes: runtimes.clone(),
            limits,
            prices: PriceTable::default(),
            recorder: recorder.clone(),
            logs: {
                let lines = Arc::clone(&lines);
                Arc::new(move |_, stream, new| {
                    lines.lock().extend(new.into_iter().map(|line| (stream.to_owned(), line)));
                })
            },
            hooks: hooks((&packages, &images), &credentials, connection, clock.clone()),
            code_caches: CodeCaches::open(&folder.path().join("code-caches"), clock.clone(), Rng::system()).unwrap(),
        });
        Self { invoker, clock, store, recorder, lines, packages, images, credentials, runtimes, folder, rng }
    }

    /// A `provided.al2023` function whose bootstrap is a Python script with `api` and `json` at hand.
    pub(crate) fn provided(&self, script: &str) -> FunctionVersion {
        let bootstrap = format!("#!{} -SE\n{MINI_RUNTIME}\n{script}", self.python().display());
        self.function("provided.al2023", "unused", &[("bootstrap", &bootstrap)])
    }

    /// A function of an image that has nothing but a shell. It says `at work`, sleeps for as many seconds as the event says, and
    /// answers with it.
    pub(crate) fn of_image(&self) -> (FunctionVersion, PathBuf) {
        let digest = sys::id::hex::<32>(&self.rng);
        let root = self.folder.path().join(format!("image-{digest}"));
        shell_image(&root);
        let image = ImageRoot { root: root.clone(), settings: Settings::default(), lease: Lease::default() };
        self.images.lock().insert(digest.clone(), image);
        let entry_point = ["/bin/bash", "-c", SHELL_RUNTIME].map(str::to_owned).to_vec();
        let overrides = ImageOverrides { entry_point, ..ImageOverrides::default() };
        let image = Some(ImageUse { manifest: CodeRef { digest, length: 1 }, overrides });
        (FunctionVersion { image, ..self.function("", "", &[]) }, root)
    }

    /// The host's Python.
    pub(crate) fn python(&self) -> PathBuf {
        let found = self.runtimes.found();
        let python = found.iter().find(|(family, ..)| *family == Family::Python);
        python.expect("tests need a Python 3").2.to_owned()
    }

    /// A function with a package of these files.
    pub(crate) fn function(&self, runtime: &str, handler: &str, files: &[(&str, &str)]) -> FunctionVersion {
        let digest = sys::id::hex::<32>(&self.rng);
        let unpacked_dir = self.folder.path().join(&digest);
        for (name, text) in files {
            let path = unpacked_dir.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::create_dir_all(&unpacked_dir).unwrap();
        self.packages.lock().insert(digest.clone(), unpacked_dir.clone());
        let name = format!("f-{}", &digest[..8]);
        FunctionVersion {
            account: AccountId::parse("000000000000").unwrap(),
            region: "us-east-1".to_owned(),
            arn: format!("arn:aws:lambda:us-east-1:000000000000:function:{name}"),
            version: lambda::LATEST.to_owned(),
            revision_id: sys::id::uuid(&self.rng),
            role: "arn:aws:iam::000000000000:role/r".to_owned(),
            runtime: runtime.to_owned(),
            handler: handler.to_owned(),
            code: CodeRef { digest, length: 1 },
            unpacked_dir,
            environment: EnvironmentVariables::default(),
            memory_mb: 256,
            timeout_s: 20,
            ephemeral_mb: 512,
            tracing: TracingMode::default(),
            logging: Logging {
                group: format!("/aws/lambda/{name}"),
                format: LogFormat::Text,
                application_level: None,
                system_level: None,
            },
            architecture: Architecture::host().unwrap(),
            runtime_warning: None,
            layers: Vec::new(),
            image: None,
            concurrency: lambda::Concurrency::default(),
            per_tenant: false,
            snap_start: false,
            managed: None,
            name,
        }
    }

    /// Where a package, or a layer, of a function lies.
    pub(crate) fn folder_of(&self, code: &CodeRef) -> PathBuf {
        self.packages.lock()[&code.digest].clone()
    }

    /// The caches of compiled code that were made: account, and length.
    pub(crate) fn code_caches(&self) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        let boots = std::fs::read_dir(self.folder.path().join("code-caches")).unwrap();
        for account in boots.flatten().flat_map(|boot| std::fs::read_dir(boot.path()).unwrap().flatten()) {
            if let Ok(caches) = std::fs::read_dir(account.path()) {
                found.extend(caches.flatten().map(|cache| (cache.path(), cache.metadata().unwrap().len())));
            }
        }
        found
    }

    pub(crate) fn invocation(&self, function: &FunctionVersion, event: &str) -> Invocation {
        Invocation {
            request_id: sys::id::uuid(&self.rng),
            payload: Bytes::from(event.to_owned()),
            client_context: None,
            cognito_identity: None,
            tenant_id: None,
            invoked_arn: function.arn.clone(),
            trace: TraceContext::new(self.clock.now(), &self.rng),
            stream: None,
            wants_log: true,
        }
    }

    pub(crate) async fn try_invoke(
        &self,
        function: &FunctionVersion,
        event: &str,
    ) -> Result<InvokeOutcome, InvokeError> {
        self.invoker.invoke(&Arc::new(function.clone()), self.invocation(function, event)).await
    }

    pub(crate) async fn invoke(&self, function: &FunctionVersion, event: &str) -> InvokeOutcome {
        self.try_invoke(function, event).await.expect("the function runs")
    }

    /// Invokes and returns the answer's JSON; panics when the function failed.
    pub(crate) async fn answer(&self, function: &FunctionVersion, event: &str) -> Value {
        let outcome = self.invoke(function, event).await;
        assert_eq!(outcome.function_error, None, "{} — {}", text(&outcome.payload), text(&outcome.log_tail));
        json(&outcome)
    }

    /// Every message logged so far, in order.
    pub(crate) fn messages(&self) -> Vec<String> {
        self.lines.lock().iter().map(|(_, line)| line.message.clone()).collect()
    }

    /// Names of the log streams written so far.
    pub(crate) fn streams(&self) -> Vec<String> {
        let mut streams: Vec<String> = self.lines.lock().iter().map(|(stream, _)| stream.clone()).collect();
        streams.sort();
        streams.dedup();
        streams
    }

    /// Access keys that are registered now.
    pub(crate) fn registered_keys(&self) -> Vec<String> {
        self.credentials.lock().clone()
    }

    /// Spans of a trace, by name.
    pub(crate) async fn span_names(&self, context: &TraceContext) -> Vec<String> {
        self.spans(context).await.into_iter().map(|span| span.name.into_owned()).collect()
    }

    pub(crate) async fn spans(&self, context: &TraceContext) -> Vec<trace::Span> {
        self.recorder.flush().await.unwrap();
        self.store.spans(&context.trace_id).await.unwrap()
    }

    /// Waits until `condition` holds; panics after a time that no machine needs.
    pub(crate) async fn until(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        for _ in 0..20_000 {
            if condition(self) {
                return;
            }
            pause(Duration::from_millis(1)).await;
        }
        panic!("never happened: {what}");
    }
}

/// How long the keys of an environment live.
pub(crate) const KEYS_LIVE: Duration = Duration::from_secs(43_200);
/// Digest of an image that never comes.
pub(crate) const NEVER: &str = "never";
/// A role that cannot be assumed.
pub(crate) const GONE_ROLE: &str = "arn:aws:iam::000000000000:role/gone";

/// Puts a shell and its libraries into a folder, and what an unpacked image always has.
fn shell_image(root: &Path) {
    let programs = ["bash", "sleep"].map(|name| std::fs::canonicalize(format!("/bin/{name}")).unwrap());
    let listed = Command::new("ldd").args(&programs).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'));
    let mut files: Vec<_> = libraries.map(|library| (PathBuf::from(library), library.to_owned())).collect();
    files.extend(programs.into_iter().map(|path| {
        let target = format!("/bin/{}", path.file_name().unwrap().to_string_lossy());
        (path, target)
    }));
    for (source, target) in files {
        let target = root.join(target.trim_start_matches('/'));
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        // By another process: a descriptor open for writing here could be inherited by one that is being started.
        assert!(Command::new("/bin/cp").arg("-L").arg(source).arg(target).status().unwrap().success());
    }
    for name in ["proc", "dev", "tmp", "etc"] {
        std::fs::create_dir(root.join(name)).unwrap();
    }
    for name in ["hosts", "hostname", "resolv.conf"] {
        std::fs::write(root.join("etc").join(name), "").unwrap();
    }
}

/// A Runtime API client in a few lines of bash.
const SHELL_RUNTIME: &str = r#"
api() {
    exec 3<>"/dev/tcp/${AWS_LAMBDA_RUNTIME_API/://}"
    printf '%s HTTP/1.1\r\nHost: api\r\nConnection: close\r\nContent-Length: %s\r\n\r\n%s' "$1" "${#2}" "$2" >&3
    length=0
    while read -r line <&3; do
        line=${line%$'\r'}
        case ${line,,} in
            lambda-runtime-aws-request-id:*) id=${line#*: } ;;
            content-length:*) length=${line#*: } ;;
            '') break ;;
        esac
    done
    read -r -N "$length" body <&3
    exec 3>&-
}
while :; do
    api 'GET /2018-06-01/runtime/invocation/next' ''
    event=$body
    echo at work
    sleep "$event"
    api "POST /2018-06-01/runtime/invocation/$id/response" "$event"
done
"#;

/// Images by their digests.
type Images = Arc<Mutex<HashMap<String, ImageRoot>>>;

fn hooks(
    (packages, images): (&Arc<Mutex<HashMap<String, PathBuf>>>, &Images),
    credentials: &Arc<Mutex<Vec<String>>>,
    connection: ConnectionHook,
    clock: Clock,
) -> Hooks {
    let (packages, registered, revoked) = (Arc::clone(packages), Arc::clone(credentials), Arc::clone(credentials));
    let (layers, images) = (Arc::clone(&packages), Arc::clone(images));
    Hooks {
        image: Arc::new(move |_, manifest| {
            let image = images.lock().get(&manifest.digest).cloned();
            Box::pin(async move {
                if manifest.digest == NEVER {
                    std::future::pending::<()>().await;
                }
                image.ok_or_else(|| std::io::ErrorKind::NotFound.into())
            })
        }),
        // One layer, which is unpacked like a package: several are merged by `Packages`, which this stage does without.
        layers: Arc::new(move |wanted| {
            let found = layers.lock().get(&wanted[0].digest).cloned();
            Box::pin(async move { found.ok_or_else(|| std::io::ErrorKind::NotFound.into()) })
        }),
        code: Arc::new(move |code| {
            let found = packages.lock().get(&code.digest).cloned();
            Box::pin(async move { found.ok_or_else(|| std::io::ErrorKind::NotFound.into()) })
        }),
        issue_credentials: Arc::new(move |function, peer| {
            let access_key_id = format!("ASIA{}", peer.environment_id);
            registered.lock().push(access_key_id.clone());
            let credentials = Credentials {
                access_key_id,
                secret_access_key: "secret".to_owned(),
                session_token: "token".to_owned(),
                expires: Some(clock.now() + KEYS_LIVE),
            };
            let issued = if function.role == GONE_ROLE { Err(InvokeError::RoleNotAssumable) } else { Ok(credentials) };
            Box::pin(std::future::ready(issued))
        }),
        revoke_credentials: Arc::new(move |access_key_id| revoked.lock().retain(|key| key != access_key_id)),
        connection,
    }
}

pub(crate) fn json(outcome: &InvokeOutcome) -> Value {
    serde_json::from_slice(&outcome.payload).expect("the answer is JSON")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A clock that stands still at a date of this decade.
pub(crate) fn still_clock() -> Clock {
    Clock::manual(Timestamp::from_unix_s(1_780_000_000))
}

/// A Runtime API client in a few lines of the standard library.
pub(crate) const MINI_RUNTIME: &str = r#"
import http.client, json, os, sys, threading, time

def call(method, path, body=None):
    connection = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
    connection.request(method, '/2018-06-01/runtime' + path, body)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()

def next_event():
    status, headers, body = call('GET', '/invocation/next')
    assert status == 200, (status, body)
    return headers['Lambda-Runtime-Aws-Request-Id'], json.loads(body), headers

def respond(request_id, value):
    return call('POST', f'/invocation/{request_id}/response', json.dumps(value))[0]

def fail(request_id, error_type, message):
    error = json.dumps({'errorType': error_type, 'errorMessage': message})
    return call('POST', f'/invocation/{request_id}/error', error)[0]

def serve(handler):
    while True:
        request_id, event, headers = next_event()
        respond(request_id, handler(event, headers))
"#;

/// Lets real time pass, also where the stage's clock stands still.
pub(crate) async fn pause(duration: Duration) {
    Clock::system().sleep(duration).await;
}
