//! Memory for a cold start: which idle environments go for it, how long that may take, and what does not wait for it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lambda::function::ImageUse;
use lambda::image::IdleImages as _;
use lambda::{CodeRef, FunctionVersion, InvokeLimits};
use serde_json::json;

use super::extensions::{ECHO, with_extensions};
use super::stage::{NEVER, Setting, Stage, json as answer_of, pause, still_clock};

/// An extension that hears of the end and takes all the time that it has.
const STUBBORN: &str = "
register(['SHUTDOWN'])
say('heard', next_event()['shutdownReason'])
time.sleep(60)
";

fn heard(stage: &Stage) -> usize {
    stage.messages().iter().filter(|line| line.contains("agent: heard spindown")).count()
}

fn sized(memory_mb: u32, function: FunctionVersion) -> FunctionVersion {
    FunctionVersion { memory_mb, ..function }
}

/// Starts an invocation in the background.
fn begin(stage: &Stage, function: &FunctionVersion, event: &str) -> tokio::task::JoinHandle<Option<serde_json::Value>> {
    let (invoker, invocation) = (stage.invoker.clone(), stage.invocation(function, event));
    let function = Arc::new(function.clone());
    sys::task::spawn(
        "invocation",
        async move { answer_of(&invoker.invoke(&function, invocation).await.expect("it runs")) },
    )
}

#[tokio::test]
async fn victims_end_side_by_side_and_hold_up_no_other_start() {
    let clock = still_clock();
    let limits = InvokeLimits { memory_budget_mb: 640, starting_max: 1, ..InvokeLimits::default() };
    let stage = Stage::with(Setting { clock: clock.clone(), limits, ..Setting::default() }).await;
    for _ in 0..3 {
        let victim = sized(128, with_extensions(&stage, ECHO, &[("agent", STUBBORN)]));
        assert_eq!(stage.answer(&victim, "1").await, json!(1));
    }
    let large = begin(&stage, &sized(512, stage.provided(ECHO)), "2");
    stage.until("two are asked at the same time", |stage| heard(stage) == 2).await;
    pause(Duration::from_millis(50)).await;
    assert_eq!(heard(&stage), 2, "no more than are needed");
    // There is memory for this one, and its start does not wait behind those who end.
    assert_eq!(stage.answer(&sized(128, stage.provided(ECHO)), "3").await, json!(3));
    for _ in 0..1_000 {
        if large.is_finished() {
            break;
        }
        clock.advance(Duration::from_millis(50));
        pause(Duration::from_millis(5)).await;
    }
    assert!(large.is_finished(), "it has its memory when they are gone");
    assert_eq!(large.await.unwrap(), Some(json!(2)));
}

#[tokio::test]
async fn an_end_that_was_begun_for_others_goes_on_when_they_need_it_no_more() {
    // What is being frozen at this moment is not idle yet, and no victim.
    let freeze_after = Duration::from_secs(60);
    let limits = InvokeLimits { memory_budget_mb: 256, freeze_after, ..InvokeLimits::default() };
    let stage = Stage::with(Setting { limits, ..Setting::default() }).await;
    let orderly = "
register(['SHUTDOWN'])
say('heard', next_event()['shutdownReason'])
time.sleep(1.5)
say('has put everything away')
";
    let victim = sized(128, with_extensions(&stage, ECHO, &[("agent", orderly)]));
    assert_eq!(stage.answer(&victim, "1").await, json!(1));
    let slow = sized(
        128,
        stage.provided(
            "
def handler(event, headers):
    while event == 'first' and not os.path.exists('/tmp/go'): time.sleep(0.01)
    return event
def release():
    time.sleep(0.6)
    open('/tmp/go', 'w').close()
threading.Thread(target=release).start()
serve(handler)
",
        ),
    );
    let first = begin(&stage, &slow, "\"first\"");
    stage.until("it runs", |stage| stage.streams().len() == 2).await;
    let second = begin(&stage, &slow, "\"second\"");
    stage.until("the victim hears of it", |stage| heard(stage) == 1).await;
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (Some(json!("first")), Some(json!("second"))));
    assert_eq!(stage.streams().len(), 2, "the second took over the first one's environment");
    let done = |stage: &Stage| stage.messages().iter().any(|line| line.contains("has put everything away"));
    stage.until("the victim has its time", done).await;
}

#[tokio::test]
async fn an_answer_does_not_wait_for_the_end_of_an_environment_that_nobody_may_use_again() {
    let clock = still_clock();
    let stage = Stage::with(Setting { clock, ..Setting::default() }).await;
    let runtime = "
def handler(event, headers):
    print('works', flush=True)
    time.sleep(0.5)
    return event
serve(handler)
";
    let function = with_extensions(&stage, runtime, &[("agent", STUBBORN)]);
    let running = begin(&stage, &function, "1");
    stage.until("it works", |stage| stage.messages().iter().any(|line| line == "works")).await;
    stage.invoker.retire(&function.arn, None).await;
    // The clock stands still: the two seconds of the shutdown phase never pass.
    assert_eq!(running.await.unwrap(), Some(json!(1)));
    stage.until("the extension hears of the end", |stage| heard(stage) == 1).await;
}

#[tokio::test]
async fn whoever_waits_for_memory_looks_again_when_something_comes_to_stand_idle() {
    // What is idle stays so: nothing gives its memory back by itself, and the clock of the waits stands still.
    let clock = still_clock();
    let limits = InvokeLimits { memory_budget_mb: 256, ..InvokeLimits::default() };
    let stage = Stage::with(Setting { clock: clock.clone(), limits, ..Setting::default() }).await;
    let slow = "
def handler(event, headers):
    print('at work', flush=True)
    time.sleep(0.5)
    return event
serve(handler)
";
    let busy = begin(&stage, &sized(256, stage.provided(slow)), "1");
    let at_work = |stage: &Stage| stage.messages().iter().any(|line| line.contains("at work"));
    stage.until("it has all memory", at_work).await;
    let waiting = begin(&stage, &sized(256, stage.provided(ECHO)), "2");
    assert_eq!(busy.await.unwrap(), Some(json!(1)));
    for _ in 0..200 {
        if waiting.is_finished() {
            break;
        }
        pause(Duration::from_millis(50)).await;
    }
    assert!(waiting.is_finished(), "the other one has been idle for ten seconds");
    assert_eq!(waiting.await.unwrap(), Some(json!(2)));
}

#[tokio::test]
async fn who_waits_for_an_image_holds_up_no_other_start() {
    let limits = InvokeLimits { starting_max: 1, ..InvokeLimits::default() };
    let stage = Stage::with(Setting { limits, ..Setting::default() }).await;
    let manifest = CodeRef { digest: NEVER.to_owned(), length: 1 };
    let image = Some(ImageUse { manifest, overrides: Default::default() });
    let stuck = FunctionVersion { image, ..stage.provided(ECHO) };
    let waits: Vec<_> = (0..3).map(|_| begin(&stage, &stuck, "1")).collect();
    pause(Duration::from_millis(20)).await;
    assert_eq!(stage.answer(&stage.provided(ECHO), "2").await, json!(2));
    assert!(waits.iter().all(|wait| !wait.is_finished()));
    waits.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn who_looks_for_an_image_has_no_slot_meanwhile() {
    // The clock stands still: the time in which an image that is here would be found never passes.
    let limits = InvokeLimits { starting_max: 1, ..InvokeLimits::default() };
    let stage = Stage::with(Setting { limits, clock: still_clock(), ..Setting::default() }).await;
    let manifest = CodeRef { digest: NEVER.to_owned(), length: 1 };
    let image = Some(ImageUse { manifest, overrides: Default::default() });
    let stuck = begin(&stage, &FunctionVersion { image, ..stage.provided(ECHO) }, "1");
    pause(Duration::from_millis(50)).await;
    let other = begin(&stage, &stage.provided(ECHO), "2");
    for _ in 0..400 {
        if other.is_finished() {
            break;
        }
        pause(Duration::from_millis(25)).await;
    }
    assert!(other.is_finished() && !stuck.is_finished(), "the other starts meanwhile");
    assert_eq!(other.await.unwrap(), Some(json!(2)));
    // One whose image is here takes a slot again.
    let (function, _) = stage.of_image();
    assert_eq!(stage.answer(&function, "0").await, json!(0));
    stuck.abort();
}

#[tokio::test]
async fn e3_environments_of_an_image_end_for_another_one_when_all_of_them_lie_idle_and_none_is_kept() {
    let stage = Stage::new().await;
    let idle = stage.invoker.idle_images();
    assert!(idle.idle().is_empty());
    let (function, root) = stage.of_image();
    let root = root.as_path();
    assert_eq!(stage.answer(&function, "0").await, json!(0));
    stage.until("nothing else runs from it", |_| idle.idle() == [root]).await;
    let at_work = |stage: &Stage| stage.messages().iter().filter(|line| line.contains("at work")).count();
    let running = begin(&stage, &function, "0.5");
    stage.until("it works", |stage| at_work(stage) == 2).await;
    assert!(idle.idle().is_empty(), "something runs from it");
    // Two of them from now on.
    let other = begin(&stage, &function, "0");
    assert_eq!((running.await.unwrap(), other.await.unwrap()), (Some(json!(0.5)), Some(json!(0))));
    stage.until("both lie idle", |_| idle.idle() == [root]).await;
    let version = Arc::new(function.clone());
    stage.invoker.provision(&function.arn, vec![(Arc::clone(&version), 1)]);
    assert!(idle.idle().is_empty(), "one is kept, and the image with it");
    stage.invoker.provision(&function.arn, Vec::new());
    assert_eq!((idle.idle(), stage.invoker.idle(&function)), (vec![root.to_owned()], 2));
    idle.end(Path::new("/elsewhere")).await.expect("told");
    assert_eq!(stage.invoker.idle(&function), 2);
    idle.end(root).await.expect("told when they have ended");
    assert_eq!((stage.registered_keys(), stage.invoker.idle(&function)), (Vec::new(), 0));
    assert!(idle.idle().is_empty());
    assert_eq!(stage.answer(&function, "0").await, json!(0));
}

#[tokio::test]
async fn room_for_the_next_start_is_made_ahead_of_what_has_long_been_idle() {
    let clock = still_clock();
    // What is being frozen when the clock jumps counts as idle from then on.
    let freeze_after = Duration::from_secs(3_600);
    let limits = InvokeLimits { memory_budget_mb: 16 * 128, freeze_after, ..InvokeLimits::default() };
    let stage = Stage::with(Setting { clock: clock.clone(), limits, ..Setting::default() }).await;
    let orderly = "
register(['SHUTDOWN'])
say('heard', next_event()['shutdownReason'])
";
    for n in 0..16 {
        // Those that have to go first say so.
        let extensions: &[_] = if n < 3 { &[("agent", orderly)] } else { &[] };
        let function = sized(128, with_extensions(&stage, ECHO, extensions));
        assert_eq!(stage.answer(&function, "1").await, json!(1));
    }
    let later = async |passed: u64| {
        clock.advance(Duration::from_secs(passed));
        pause(Duration::from_millis(100)).await;
    };
    later(2).await;
    assert_eq!(heard(&stage), 0, "all have been used a moment ago");
    later(61).await;
    assert_eq!(heard(&stage), 0, "nobody starts");
    assert_eq!(stage.answer(&sized(128, stage.provided(ECHO)), "2").await, json!(2));
    stage.until("there was no room for it", |stage| heard(stage) == 1).await;
    later(2).await;
    stage.until("room is made for the next", |stage| heard(stage) == 2).await;
    // Which needs no other's; one environment at a time goes ahead of its time.
    assert_eq!(stage.answer(&sized(128, stage.provided(ECHO)), "3").await, json!(3));
    assert_eq!(heard(&stage), 2);
    later(2).await;
    stage.until("and for the one after that", |stage| heard(stage) == 3).await;
}
