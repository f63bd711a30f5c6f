//! Inits that are run for what they tell.

use std::sync::Arc;
use std::time::Duration;

use lambda::invoke::NotInitialised;
use lambda::invoke::init_run::{Asked, InitRun, Told};
use lambda::invoke::module_times::{ModuleTimes, Origin};
use lambda::{EnvironmentVariables, FunctionVersion};

use super::stage::Stage;

async fn run(stage: &Stage, function: &FunctionVersion, asked: Asked) -> Result<InitRun, NotInitialised> {
    stage.invoker.run_init(&Arc::new(function.clone()), asked).await
}

async fn modules(stage: &Stage, function: &FunctionVersion) -> ModuleTimes {
    let told = run(stage, function, Asked::Modules).await.expect("init succeeds").told;
    let Some(Told::Modules(times)) = told else { panic!("it tells of modules: {told:?}") };
    times
}

/// Own time and time with what it loads, in milliseconds.
fn of(times: &ModuleTimes, name: &str) -> (Origin, usize, f64, f64) {
    let found = times.packages.iter().find(|package| package.name == name);
    let found = found.unwrap_or_else(|| panic!("{name} in {times:?}"));
    (found.origin, found.modules, found.own.as_secs_f64() * 1e3, found.cumulative.as_secs_f64() * 1e3)
}

const BUSY_JS: &str = "const end = performance.now() + 60; while (performance.now() < end);";

#[tokio::test(flavor = "multi_thread")]
async fn node_tells_what_each_package_took() {
    let stage = Stage::new().await;
    let outer = format!("{BUSY_JS} require('inner'); require('crypto');");
    let index = "require('@scope/outer'); console.log('init', process.env._TINDERBOX_INIT, process.env.MINE); \
                 exports.handler = async () => { console.log('event'); };";
    let files = [
        ("index.js", index),
        ("node_modules/@scope/outer/index.js", &outer),
        ("node_modules/inner/index.js", BUSY_JS),
        ("node_modules/never/index.js", BUSY_JS),
    ];
    let mut function = stage.function("nodejs20.x", "index.handler", &files);
    function.environment = EnvironmentVariables([("MINE".to_owned(), "yes".to_owned())].into());
    let times = modules(&stage, &function).await;
    let (origin, count, own, cumulative) = of(&times, "@scope/outer");
    assert_eq!((origin, count), (Origin::Package, 1));
    assert!(own >= 60.0 && cumulative >= own + 60.0, "{own} {cumulative}");
    let (_, _, inner, with_its_own) = of(&times, "inner");
    assert!(inner >= 60.0 && inner == with_its_own);
    assert_eq!(of(&times, "node:crypto").0, Origin::Runtime);
    assert!(of(&times, "(own code)").3 >= 120.0);
    assert!(times.packages.iter().all(|package| package.name != "never"), "only what was loaded");
    assert!(times.total >= Duration::from_millis(120));
    // Nothing was invoked, nothing stays, and the function has its own variables and not ours.
    let messages = stage.messages();
    assert!(messages.iter().any(|line| line.contains("init undefined yes")), "{messages:?}");
    assert!(!messages.iter().any(|line| line.contains("event") || line.starts_with("START")), "{messages:?}");
    stage.until("its keys are given back", |stage| stage.registered_keys().is_empty()).await;
    assert_eq!(stage.invoker.idle(&function), 0);
    // An ordinary init tells nothing, and takes what it takes.
    let plain = run(&stage, &function, Asked::Nothing).await.unwrap();
    // On a busy machine it is noticed late that init has come to the function's code.
    let init = plain.cold.runtime_init + plain.cold.user_init;
    assert!(plain.told.is_none() && init >= Duration::from_millis(120), "{plain:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_es_module_tells_of_the_commonjs_that_it_imports() {
    let stage = Stage::new().await;
    let index = format!("import 'dependency'; {BUSY_JS} export const handler = async () => 1;");
    let files = [("index.mjs", &*index), ("node_modules/dependency/index.js", BUSY_JS)];
    let times = modules(&stage, &stage.function("nodejs20.x", "index.handler", &files)).await;
    assert!(of(&times, "dependency").2 >= 60.0);
    assert!(times.rest >= Duration::from_millis(60), "its own code is not told apart: {times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn python_tells_what_each_package_took() {
    let stage = Stage::new().await;
    let busy = "import time\nend = time.perf_counter() + .06\nwhile time.perf_counter() < end: pass\n";
    let outer = format!("{busy}import inner\n");
    let files = [
        ("index.py", "import outer.core, own.part, json\ndef handler(event, context): print('event')"),
        ("outer/__init__.py", &outer),
        ("outer/core.py", busy),
        ("outer-1.0.dist-info/RECORD", "outer/__init__.py,,\nouter/core.py,,\nouter-1.0.dist-info/RECORD,,\n"),
        ("inner.py", busy),
        ("inner-1.0.dist-info/RECORD", "inner.py,,\n__pycache__/inner.cpython-311.pyc,,\n../../bin/inner,,\n"),
        ("own/part.py", busy),
    ];
    let function = stage.function("python3.11", "index.handler", &files);
    let times = modules(&stage, &function).await;
    let (origin, count, own, cumulative) = of(&times, "outer");
    assert_eq!((origin, count), (Origin::Package, 2));
    assert!(own >= 120.0 && cumulative >= own + 60.0, "{own} {cumulative}");
    assert_eq!((of(&times, "inner").0, of(&times, "inner").1), (Origin::Package, 1));
    assert_eq!(of(&times, "(own code)").0, Origin::Own);
    assert!(of(&times, "(own code)").2 >= 60.0 && of(&times, "(own code)").3 >= 240.0, "{times:?}");
    assert!(!stage.messages().iter().any(|line| line.contains("event")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_makes_things_up_harms_nobody() {
    let stage = Stage::new().await;
    // The channel is at hand for whoever looks for it.
    let send = "const send = (body) => { const frame = Buffer.alloc(5 + body.length); frame.writeUInt32BE(1 + body.length); \
                frame[4] = 22; frame.write(body, 5); require('fs').writeSync(3, frame); };";
    let handler = "exports.handler = async () => 1;";
    let liar = format!("{send} send('no JSON'); send('twice'); {handler}");
    let liar = stage.function("nodejs20.x", "index.handler", &[("index.js", &*liar)]);
    let NotInitialised::Failed { .. } = run(&stage, &liar, Asked::Modules).await.expect_err("a second one") else {
        panic!("the function is at fault")
    };
    // Nobody asked.
    assert!(run(&stage, &liar, Asked::Nothing).await.is_err());
    let outcome = stage.invoke(&liar, "{}").await;
    assert!(outcome.function_error.is_some());
    let steering = "\\u001b]0;owned\\u0007";
    let answer = format!(r#"{{"totalUs":5,"modules":[[-1,5,"/var/task/node_modules/{steering}/x.js"]]}}"#);
    // Its own answer, and then no other: the bootstrap's would be a second one.
    let forger = format!("{send} send('{}'); setInterval(() => {{}}, 9); {handler}", answer.replace('\\', "\\\\"));
    let forger = stage.function("nodejs20.x", "index.handler", &[("index.js", &*forger)]);
    assert!(run(&stage, &forger, Asked::Modules).await.is_err(), "two answers");
    let failing = stage.function("nodejs20.x", "index.handler", &[("index.js", "throw new Error('no');")]);
    assert!(matches!(run(&stage, &failing, Asked::Modules).await, Err(NotInitialised::Failed { .. })));
    // A runtime that is not ours tells nothing.
    let provided = stage.provided("serve(lambda event, headers: 1)");
    assert_eq!(run(&stage, &provided, Asked::Modules).await.unwrap().told, None);
}
