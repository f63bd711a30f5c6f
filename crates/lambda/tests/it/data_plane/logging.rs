//! Log records: order, framing, floods, forgery.

use std::time::Duration;

use lambda::{InvokeLimits, LogFormat};
use serde_json::Value;

use super::stage::{Setting, Stage, text};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_before_the_answer_precedes_end_and_multi_line_frames_stay_whole() {
    let stage = Stage::new().await;
    let function = stage.provided(
        "
import struct
log = int(os.environ['_LAMBDA_TELEMETRY_LOG_FD'])
def handler(event, headers):
    message = b'[ERROR] first\\n  second\\n  third\\n'
    os.write(log, struct.pack('>IIQ', 0xa55a0003 | 20, len(message), time.time_ns() // 1000) + message)
    print('stdout line')
    print('stderr line', file=sys.stderr)
    print('unfinished', end='', flush=True)
    return None
print('init line', flush=True)
serve(handler)
",
    );
    for turn in 0..20 {
        let before = stage.messages().len();
        let outcome = stage.invoke(&function, "{}").await;
        let mut messages = stage.messages().split_off(before);
        let mut expected = vec!["START", "END", "REPORT"];
        if turn == 0 {
            assert!(messages.remove(0).starts_with("INIT_START Runtime Version: provided.al2023"));
            assert_eq!(messages.remove(0), "init line");
        }
        let first_words: Vec<&str> = messages.iter().map(|line| line.split(' ').next().unwrap()).collect();
        let own: Vec<&str> = first_words[1..first_words.len() - 2].to_vec();
        assert_eq!([first_words[0], first_words[first_words.len() - 2], first_words[first_words.len() - 1]], *expected);
        expected = vec!["[ERROR]", "stderr", "stdout", "unfinished"];
        let mut sorted = own.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, expected, "{messages:#?}");
        assert!(messages.contains(&"[ERROR] first\n  second\n  third".to_owned()));
        assert!(text(&outcome.log_tail).contains("[ERROR] first\n  second\n  third\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d7_a_function_cannot_forge_the_platforms_records() {
    let stage = Stage::new().await;
    let function = stage.provided(
        "
def handler(event, headers):
    print('END RequestId: forged')
    print('REPORT RequestId: forged\\tDuration: 0.01 ms\\tBilled Duration: 0 ms\\tMemory Size: 1 MB\\tMax Memory Used: 1 MB', flush=True)
    return 1
serve(handler)
",
    );
    let outcome = stage.invoke(&function, "{}").await;
    assert!(outcome.report.billed_ms >= 1, "what is billed was measured, not read");
    let messages = stage.messages();
    let last = messages.last().unwrap();
    assert!(last.starts_with("REPORT RequestId: ") && !last.contains("forged"), "{last}");
    // The forged lines are two records of the function's own, between the real START and END.
    let at = |start: &str| messages.iter().position(|line| line.starts_with(start)).unwrap();
    assert!(at("START") < at("END RequestId: forged"));
    assert!(at("REPORT RequestId: forged") < messages.len() - 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn b6_a_flood_is_capped_and_the_cut_is_told() {
    let limits = InvokeLimits { log_burst_bytes: 100_000, log_bytes_per_s: 10_000, ..InvokeLimits::default() };
    let stage = Stage::with(Setting { limits, ..Setting::default() }).await;
    let function = stage.provided(
        "
def handler(event, headers):
    for _ in range(event):
        os.write(1, (b'x' * 99 + b'\\n') * 1000)
    return 'done'
serve(handler)
",
    );
    let outcome = stage.invoke(&function, "200").await;
    assert_eq!(text(&outcome.payload), "\"done\"");
    let messages = stage.messages();
    let logged: usize = messages.iter().filter(|line| line.starts_with("xxx")).map(String::len).sum();
    let allowed = 100_000 + 10_000 * usize::try_from(outcome.report.duration.as_secs() + 10).unwrap();
    assert!(logged <= allowed, "{logged} > {allowed}");
    assert!(messages.iter().any(|line| line.starts_with("LOGS_DROPPED Records: ")), "the cut is told");
    assert!(messages.iter().any(|line| line.starts_with("END")), "the platform's own records are never dropped");
    assert_eq!(outcome.log_tail.len().max(4_096), 4_096);
}

#[tokio::test(flavor = "multi_thread")]
async fn output_after_the_answer_belongs_to_the_next_invocation() {
    let limits = InvokeLimits { freeze_after: Duration::ZERO, ..InvokeLimits::default() };
    let stage = Stage::with(Setting { limits, ..Setting::default() }).await;
    let function = stage.provided(
        "
while True:
    request_id, event, headers = next_event()
    respond(request_id, None)
    time.sleep(0.5)
    print('afterwards', flush=True)
",
    );
    stage.invoke(&function, "{}").await;
    let second = stage.invoke(&function, "{}").await;
    assert!(text(&second.log_tail).contains("afterwards\n"));
    let messages = stage.messages();
    let afterwards = messages.iter().position(|line| line == "afterwards").unwrap();
    let end = messages.iter().position(|line| line.starts_with("END")).unwrap();
    assert!(afterwards > end);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_functions_get_json_platform_records() {
    let stage = Stage::new().await;
    let mut function = stage.provided("serve(lambda event, headers: os.environ['AWS_LAMBDA_LOG_FORMAT'])");
    function.logging.format = LogFormat::Json;
    assert_eq!(stage.answer(&function, "{}").await, "JSON");
    let types: Vec<String> = stage
        .messages()
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(types, ["platform.initStart", "platform.start", "platform.report"]);
}
