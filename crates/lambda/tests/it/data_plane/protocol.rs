//! Abuse of the Runtime API and of the channel (fault test D4): an error for that caller only, never another's answer.

use std::sync::Arc;

use lambda::FunctionError;
use lambda::invoke::{StreamPart, StreamSink};
use serde_json::json;

use super::stage::{Stage, json, text};

#[tokio::test(flavor = "multi_thread")]
async fn d4_wrong_ids_and_second_answers_are_refused_and_change_nothing() {
    let stage = Stage::new().await;
    let function = stage.provided(
        "
seen = []
previous = '00000000-0000-4000-8000-000000000000'
while True:
    request_id, event, headers = next_event()
    wrong = respond(previous, 'for somebody else')
    busy = call('GET', '/invocation/next')[0]
    unknown = call('POST', '/invocation/x/y/z', '{}')[0]
    first = respond(request_id, {'event': event, 'seen': seen})
    second = respond(request_id, 'again')
    late = fail(request_id, 'E', 'm')
    seen = [wrong, busy, unknown, first, second, late]
    previous = request_id
",
    );
    assert_eq!(stage.answer(&function, "1").await, json!({ "event": 1, "seen": [] }));
    for event in 2..5 {
        let answer = stage.answer(&function, &event.to_string()).await;
        assert_eq!(answer, json!({ "event": event, "seen": [400, 403, 404, 202, 403, 403] }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d4_an_answer_over_six_megabytes_is_an_error_and_the_largest_one_is_not() {
    let stage = Stage::new().await;
    let function = stage.provided(
        "
def post(request_id, body):
    return call('POST', f'/invocation/{request_id}/response', body)[0]
while True:
    request_id, event, headers = next_event()
    status = post(request_id, '\"' + 'x' * (event - 2) + '\"')
",
    );
    let largest = stage.invoke(&function, "6291556").await;
    assert_eq!((largest.function_error, largest.payload.len()), (None, 6_291_556));
    let larger = stage.invoke(&function, "7340032").await;
    assert_eq!(larger.function_error, Some(FunctionError::Unhandled));
    assert_eq!(
        json(&larger),
        json!({
            "errorType": "Function.ResponseSizeTooLarge",
            "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
        })
    );
    assert_eq!(stage.invoke(&function, "2").await.payload, "\"\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn d4_half_a_reply_is_none() {
    let stage = Stage::new().await;
    let function = stage.provided(
        "
import socket
def half(request_id):
    host, port = os.environ['AWS_LAMBDA_RUNTIME_API'].split(':')
    s = socket.create_connection((host, int(port)))
    s.sendall(f'POST /2018-06-01/runtime/invocation/{request_id}/response HTTP/1.1\\r\\nhost: x\\r\\ncontent-length: 100\\r\\n\\r\\nhalf'.encode())
    s.close()
while True:
    request_id, event, headers = next_event()
    half(request_id)
    if event == 'die': os._exit(1)
    respond(request_id, 'whole')
",
    );
    assert_eq!(stage.answer(&function, "\"live\"").await, "whole");
    let died = stage.invoke(&function, "\"die\"").await;
    assert_eq!(json(&died)["errorType"], "Runtime.ExitError");
    assert_eq!(stage.answer(&function, "\"live\"").await, "whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn d4_garbage_on_the_runtime_api_leaves_the_environment_usable() {
    let stage = Stage::new().await;
    let function = stage.provided(
        "
import socket
def garbage(data):
    host, port = os.environ['AWS_LAMBDA_RUNTIME_API'].split(':')
    s = socket.create_connection((host, int(port)))
    s.sendall(data)
    s.close()
while True:
    request_id, event, headers = next_event()
    for data in [b'', b'\\0' * 4096, b'GET', b'POST / HTTP/1.1\\r\\ncontent-length: -1\\r\\n\\r\\n', os.urandom(10000)]:
        garbage(data)
    respond(request_id, event)
",
    );
    for event in 0..5 {
        assert_eq!(stage.answer(&function, &event.to_string()).await, event);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d4_nobody_reads_anothers_answer() {
    let stage = std::sync::Arc::new(Stage::new().await);
    let function = std::sync::Arc::new(stage.provided("serve(lambda event, headers: event)"));
    let clients = (0..8).map(|client| {
        let (stage, function) = (stage.clone(), function.clone());
        sys::task::spawn("test", async move {
            for turn in 0..100 {
                let event = json!({ "client": client, "turn": turn });
                assert_eq!(stage.answer(&function, &event.to_string()).await, event);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap().unwrap();
    }
}

/// Python that speaks frames on descriptor 3, in place of our own bootstrap.
const FRAMES: &str = "
import json, os, socket, struct, time
channel = socket.socket(fileno=3)
channel.setblocking(True)
def send(kind, payload): channel.sendall(struct.pack('>IB', len(payload) + 1, kind) + payload)
def read(count):
    data = b''
    while len(data) < count: data += channel.recv(count - len(data))
    return data
def receive():
    length, kind = struct.unpack('>IB', read(5))
    payload = read(length - 1)
    size = struct.unpack('>I', payload[:4])[0]
    return json.loads(payload[4:4 + size]), json.loads(payload[4 + size:])
";

#[tokio::test(flavor = "multi_thread")]
async fn d4_what_breaks_the_frame_protocol_ends_that_environment_only() {
    let stage = Stage::new().await;
    for (broken, error_type) in [
        ("send(3, b'0' * 36 + b'1')", "Runtime.ProtocolError"),
        ("send(77, b'')", "Runtime.ProtocolError"),
        ("send(2, b'')", "Runtime.ProtocolError"),
        ("send(3, b'short')", "Runtime.ProtocolError"),
        ("channel.sendall(b'\\xff' * 5)", "Function.ResponseSizeTooLarge"),
        ("channel.sendall(b'\\0\\0\\1\\0\\3half'); channel.close(); time.sleep(600)", "Runtime.ExitError"),
        ("send(3, header['requestId'].encode() + b'x' * 7000000)", "Function.ResponseSizeTooLarge"),
    ] {
        let index = format!(
            "{FRAMES}
send(2, b'')
while True:
    header, event = receive()
    if event:
        {broken}
        time.sleep(600)
    send(3, header['requestId'].encode() + b'\"well\"')
"
        );
        // The module's init takes the channel over from our bootstrap.
        let function = stage.function("python3.11", "index.handler", &[("index.py", &index)]);
        let well = stage.invoke(&function, "false").await;
        assert_eq!(text(&well.payload), "\"well\"", "{broken}");
        let outcome = stage.invoke(&function, "true").await;
        assert_eq!(json(&outcome)["errorType"], error_type, "{broken}: {}", text(&outcome.payload));
        assert!(stage.invoke(&function, "false").await.report.cold.is_some(), "{broken}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_answer_arrives_in_parts_and_its_trailers_can_make_it_an_error() {
    let stage = Stage::new().await;
    let script = r#"
def stream(request_id, parts, trailers=''):
    connection = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
    connection.putrequest('POST', f'/2018-06-01/runtime/invocation/{request_id}/response')
    for name, value in [('Lambda-Runtime-Function-Response-Mode', 'streaming'), ('Transfer-Encoding', 'chunked'),
                        ('Content-Type', 'text/plain'), ('Trailer', 'Lambda-Runtime-Function-Error-Type')]:
        connection.putheader(name, value)
    connection.endheaders()
    for part in parts:
        connection.send(b'%x\r\n%s\r\n' % (len(part), part))
    connection.send(b'0\r\n' + trailers.encode() + b'\r\n')
    connection.getresponse().read()

while True:
    request_id, event, headers = next_event()
    stream(request_id, [b'one', b'two'], 'Lambda-Runtime-Function-Error-Type: Broken\r\n' if event else '')
"#;
    let function = Arc::new(stage.provided(script));
    for (event, failed) in [("null", false), ("1", true)] {
        let (sink, mut parts) = StreamSink::new();
        let invocation = lambda::Invocation { stream: Some(sink), ..stage.invocation(&function, event) };
        let outcome = stage.invoker.invoke(&function, invocation).await.unwrap();
        let mut seen = Vec::new();
        while let Some(arrived) = parts.try_recv() {
            seen.push(arrived.part);
        }
        assert_eq!(seen.remove(0), StreamPart::Head("text/plain".to_owned()));
        let bytes: Vec<u8> = seen
            .into_iter()
            .flat_map(|part| if let StreamPart::Chunk(bytes) = part { bytes.to_vec() } else { Vec::new() })
            .collect();
        assert_eq!((bytes.as_slice(), outcome.function_error.is_some()), (b"onetwo".as_slice(), failed));
    }
    let buffered = stage.invoke(&function, "null").await;
    assert_eq!(buffered.payload, "onetwo", "without a place for a stream the answer is whole");
}
