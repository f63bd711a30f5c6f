//! What a language has compiled, from one environment of a version to the next ones.

use lambda::FunctionVersion;
use serde_json::{Value, json};
use wire::AccountId;

use super::stage::{Stage, json, text};

/// Enough source for a cache, of functions that nobody calls.
fn filler() -> String {
    (0..2_000).map(|n| format!("function unused{n}(a, b) {{ return a + b + {n}; }}\n")).collect()
}

fn python_filler() -> String {
    (0..800).map(|n| format!("def unused{n}(a, b):\n    return a + b + {n}\n")).collect()
}

/// Tells what a module sees of itself, and whether a cache is there.
const NODE: &str = "
const part = require('./lib/part');
const where = new Error('x').stack.split('\\n')[1].trim();
exports.handler = async (event) => {
  const imported = await import('./lib/other.mjs');
  return {
    value: part.value, cached: require('fs').existsSync('/var/code-cache'), asked: process.env._TINDERBOX_INIT ?? null,
    seen: [part.seen, where, imported.default, module.id, module.children.map((one) => one.id), typeof require.main,
           require.resolve('./lib/part'), require.resolve.paths('x').length,
           Object.keys(require.cache).filter((file) => file.startsWith('/var/task/')), this === module.exports,
           part.late()],
  };
};
";

const PART: &str = "const first = new Error('z').stack.split('\\n')[1].trim(); exports.seen = [first, __filename, __dirname, module.parent.filename, module.loaded, module.paths[0], require.main === module,
  arguments.length, new Error('y').stack.split('\\n')[1].trim()]; exports.late = () => require('./late').text; exports.value = 'AAA';\n";

fn node(stage: &Stage) -> FunctionVersion {
    let part = format!("{PART}{}", filler());
    let files = [
        ("index.js", NODE),
        ("lib/part.js", &part),
        ("lib/other.mjs", "export default import.meta.url;"),
        ("lib/late.js", "exports.text = 'late';"),
    ];
    stage.function("nodejs20.x", "index.handler", &files)
}

fn python(stage: &Stage) -> FunctionVersion {
    let part = format!("VALUE = 'AAA'\nSEEN = [__file__, __name__, __cached__ is None]\n{}", python_filler());
    let index = "import inspect, os, part
def handler(event, context):
    return {'value': part.VALUE, 'cached': os.path.exists('/var/code-cache'), 'asked': os.environ.get('_TINDERBOX_INIT'),
            'seen': [part.SEEN, handler.__code__.co_filename, inspect.getsource(part.unused7), part.unused3(1, 2)]}";
    stage.function("python3.11", "index.handler", &[("index.py", index), ("part.py", &part)])
}

/// A cold start.
async fn cold(stage: &Stage, function: &FunctionVersion) -> Value {
    stage.invoker.retire(&function.arn, None).await;
    let outcome = stage.invoke(function, "{}").await;
    assert!(outcome.report.cold.is_some());
    assert_eq!(outcome.function_error, None, "{}", text(&outcome.payload));
    json(&outcome)
}

/// A cold start after which a cache is there.
async fn make(stage: &Stage, function: &FunctionVersion) -> Value {
    let before = stage.code_caches().len();
    let first = cold(stage, function).await;
    stage.until("a cache is kept", |stage| stage.code_caches().len() > before).await;
    first
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_cold_start_uses_what_the_first_has_compiled_and_sees_no_difference() {
    let stage = Stage::new().await;
    for (function, part) in [(node(&stage), "lib/part.js"), (python(&stage), "part.py")] {
        let first = make(&stage, &function).await;
        assert_eq!((&first["value"], &first["cached"], &first["asked"]), (&json!("AAA"), &json!(false), &json!(null)));
        let second = cold(&stage, &function).await;
        assert_eq!(
            (&second["value"], &second["cached"], &second["asked"]),
            (&json!("AAA"), &json!(true), &json!(null))
        );
        assert_eq!(first["seen"], second["seen"], "{}", function.runtime);
        // What runs is what was compiled: a package's files never change, but here they do.
        let file = stage.folder_of(&function.code).join(part);
        let changed = std::fs::read_to_string(&file).unwrap().replace("'AAA'", "'BBB'");
        std::fs::write(&file, changed).unwrap();
        assert_eq!(cold(&stage, &function).await["value"], "AAA", "{}", function.runtime);
        // Another revision of the same function has none yet.
        let other = FunctionVersion { revision_id: "another".to_owned(), ..function.clone() };
        let fresh = make(&stage, &other).await;
        assert_eq!((&fresh["value"], &fresh["cached"]), (&json!("BBB"), &json!(false)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l12_nobody_else_gets_it_even_with_the_same_code() {
    let stage = Stage::new().await;
    let function = node(&stage);
    make(&stage, &function).await;
    let other = FunctionVersion { account: AccountId::parse("111111111111").unwrap(), ..function.clone() };
    let namesake = FunctionVersion { arn: format!("{}-b", function.arn), ..function.clone() };
    for one in [&other, &namesake] {
        assert_eq!(make(&stage, one).await["cached"], false);
        assert_eq!(cold(&stage, one).await["cached"], true, "its own");
    }
    let mut tenants = FunctionVersion { revision_id: "tenants".to_owned(), ..function };
    tenants.per_tenant = true;
    let before = stage.code_caches().len();
    for tenant in ["a", "a", "b"] {
        stage.invoker.retire(&tenants.arn, None).await;
        let mut invocation = stage.invocation(&tenants, "{}");
        invocation.tenant_id = Some(tenant.to_owned());
        let outcome = stage.invoker.invoke(&std::sync::Arc::new(tenants.clone()), invocation).await.unwrap();
        assert_eq!(json(&outcome)["cached"], false);
    }
    assert_eq!(stage.code_caches().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_is_rotten_costs_a_cold_start_and_no_answer() {
    let stage = Stage::new().await;
    for function in [node(&stage), python(&stage)] {
        let before: Vec<_> = stage.code_caches();
        make(&stage, &function).await;
        let made = stage.code_caches().into_iter().find(|cache| !before.contains(cache)).unwrap().0;
        let good = std::fs::read(&made).unwrap();
        let mut half = good.clone();
        half.truncate(good.len() / 2);
        for bad in [b"no".to_vec(), u32::MAX.to_be_bytes().repeat(9), half] {
            std::fs::remove_file(&made).unwrap();
            std::fs::write(&made, &bad).unwrap();
            assert_eq!(cold(&stage, &function).await["value"], "AAA", "{}", function.runtime);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_forges_its_cache_fools_itself_at_most() {
    let stage = Stage::new().await;
    let send = "const send = (body, length = body.length) => { const frame = Buffer.alloc(5 + body.length); frame.writeUInt32BE(1 + length); \
                frame[4] = 22; frame.write(body, 5, 'latin1'); require('fs').writeSync(3, frame); };";
    let tell = "require('fs').existsSync('/var/code-cache')";
    // Names that lead elsewhere are names to nobody; more than a cache may have ends the environment.
    let names =
        r#"{"../../../../etc/passwd":[0,9],"/etc/passwd":[0,9],"__proto__":[0,9],"/var/task/index.js":[0,4294967295]}"#;
    let forged = format!("'\\0\\0\\0\\x{:02x}' + '{names}'", names.len());
    for body in [forged.as_str(), "'x', 33 << 20"] {
        let source = format!("{send} send({body}); exports.handler = async () => ({{ value: {tell} }});");
        let function = stage.function("nodejs20.x", "index.handler", &[("index.js", &*source)]);
        let outcome = stage.invoke(&function, "{}").await;
        // The bootstrap's own is a second one.
        assert!(outcome.function_error.is_some(), "{}", text(&outcome.payload));
        assert!(stage.code_caches().iter().all(|cache| cache.1 == 0), "nothing is kept of an init that fails");
    }
    // After init nothing is taken: what an event has done to an environment stays in it.
    let source = format!(
        "{send} exports.handler = async (event) => {{ if (event.bad) send('late'); return {tell}; }};\n{}",
        filler()
    );
    let function = stage.function("nodejs20.x", "index.handler", &[("index.js", &*source)]);
    stage.answer(&function, "{}").await;
    stage.until("a cache is kept", |stage| stage.code_caches().iter().any(|cache| cache.1 > 0)).await;
    let kept = stage.code_caches();
    let outcome = stage.invoke(&function, r#"{"bad": true}"#).await;
    assert!(outcome.function_error.is_some(), "{}", text(&outcome.payload));
    assert_eq!(stage.code_caches(), kept);
    assert_eq!(stage.answer(&function, "{}").await, json!(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_that_does_not_survive_making_it_is_run_without() {
    let stage = Stage::new().await;
    // Ends its process when it is asked for what was compiled, as one that has no memory left for that would.
    let index = "const { Script } = require('vm'); Script.prototype.createCachedData = () => process.abort();
const part = require('./part'); exports.handler = async () => part.value;";
    let part = format!("exports.value = 5;\n{}", filler());
    let function = stage.function("nodejs20.x", "index.handler", &[("index.js", index), ("part.js", &part)]);
    assert_eq!(stage.answer(&function, "{}").await, json!(5));
    assert!(stage.code_caches().iter().all(|cache| cache.1 == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_with_which_the_handler_crashes_is_given_up() {
    let stage = Stage::new().await;
    // Init goes well with it; code that runs only then does not.
    let index = "const part = require('./part'); exports.handler = async () => {
  if (require('fs').existsSync('/var/code-cache')) process.abort();
  return part.value;
};";
    let part = format!("exports.value = 5;\n{}", filler());
    let function = stage.function("nodejs20.x", "index.handler", &[("index.js", index), ("part.js", &part)]);
    let answers = async || {
        stage.invoker.retire(&function.arn, None).await;
        stage.invoke(&function, "{}").await.function_error.is_none()
    };
    assert!(answers().await);
    stage.until("a cache is kept", |stage| stage.code_caches().iter().any(|cache| cache.1 > 0)).await;
    // With it, without it, with it again: then it is known whose fault it is.
    for expected in [false, true, false, true, true] {
        assert_eq!(answers().await, expected);
    }
    assert_eq!(stage.code_caches().iter().map(|cache| cache.1).sum::<u64>(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_small_or_made_by_flags_is_left_alone() {
    let stage = Stage::new().await;
    let index = "exports.handler = async () => require('fs').existsSync('/var/code-cache');";
    let small = stage.function("nodejs20.x", "index.handler", &[("index.js", index)]);
    let before = stage.code_caches().len();
    assert_eq!(stage.answer(&small, "{}").await, json!(false));
    stage.until("it is known", |stage| stage.code_caches().len() > before).await;
    assert_eq!(stage.code_caches().iter().map(|cache| cache.1).sum::<u64>(), 0);
    stage.invoker.retire(&small.arn, None).await;
    assert_eq!(stage.answer(&small, "{}").await, json!(false));
    let mut flags = node(&stage);
    flags.environment.0.insert("NODE_OPTIONS".to_owned(), "--no-warnings".to_owned());
    let first = cold(&stage, &flags).await;
    stage.until("it is known", |stage| stage.code_caches().len() > before + 1).await;
    assert_eq!(cold(&stage, &flags).await["seen"], first["seen"]);
    assert_eq!(stage.code_caches().iter().map(|cache| cache.1).sum::<u64>(), 0);
    let ours = cold(&stage, &node(&stage)).await;
    assert_eq!(ours["seen"], first["seen"], "modules see no difference to node's own way");
}
