//! The way out of an execution environment.

use lambda::EnvironmentVariables;
use lambda::invoke::InvokeLimits;
use lambda::invoke::egress::Egress;
use serde_json::json;

use super::stage::{Setting, Stage};

/// Asks the proxy for a tunnel and tells what it said.
const ASK: &str = "
import os, socket
def handler(event, context):
    proxy = os.environ.get('HTTPS_PROXY')
    if not proxy or not proxy.startswith('http://127.0.0.1:'):
        return {'proxy': proxy}
    host, port = proxy[len('http://'):].split(':')
    line = socket.create_connection((host, int(port)))
    line.sendall(('CONNECT %s HTTP/1.1\\r\\n\\r\\n' % event['to']).encode())
    said = b''
    while True:
        chunk = line.recv(4096)
        if not chunk:
            return {'proxy': proxy, 'status': said.split(b' ')[1].decode(), 'text': said.decode()}
        said += chunk
";

async fn stage(egress: Egress) -> Stage {
    let limits = InvokeLimits { egress, ..InvokeLimits::default() };
    Stage::with(Setting { limits, ..Setting::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn h15_a_function_reaches_neither_the_node_nor_metadata_whatever_the_policy() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stage = stage("0.0.0.0/0,[::]/0,localhost".parse().unwrap()).await;
    let function = stage.function("python3.11", "index.handler", &[("index.py", ASK)]);
    for to in [address.as_str(), "169.254.169.254:80", "localhost:4566", "[::1]:4566", "[::ffff:127.0.0.1]:4566"] {
        let answer = stage.answer(&function, &json!({ "to": to }).to_string()).await;
        assert_eq!((&answer["status"], &answer["proxy"]), (&json!("403"), &json!("http://127.0.0.1:9002")), "{to}");
        assert!(answer["text"].as_str().unwrap().contains("TINDERBOX_EGRESS"), "the function's author is told why");
    }
    // Control: the address is there for whoever may reach it.
    assert!(listener.accept().is_err(), "nobody came from inside");
    std::net::TcpStream::connect(&address).unwrap();
    assert!(listener.accept().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_there_is_no_proxy_and_a_functions_own_proxy_is_left_alone() {
    let stage_of_none = stage(Egress::None).await;
    let mut function = stage_of_none.function("python3.11", "index.handler", &[("index.py", ASK)]);
    assert_eq!(stage_of_none.answer(&function, "{}").await, json!({ "proxy": null }));
    let stage_of_all = stage(Egress::All).await;
    let own = stage_of_all.function("python3.11", "index.handler", &[("index.py", ASK)]);
    function = own;
    function.environment =
        EnvironmentVariables([("HTTPS_PROXY".to_owned(), "http://proxy.internal:1".to_owned())].into());
    assert_eq!(stage_of_all.answer(&function, "{}").await, json!({ "proxy": "http://proxy.internal:1" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn h15_a_function_that_narrows_its_way_out_is_held_to_it_and_its_neighbour_is_not() {
    let stage = stage("192.0.2.0/24:443".parse().unwrap()).await;
    let asks = |to: &str| json!({ "to": to }).to_string();
    let mut function = stage.function("python3.11", "index.handler", &[("index.py", ASK)]);
    function.environment = EnvironmentVariables([("TINDERBOX_EGRESS".to_owned(), "none".to_owned())].into());
    let answer = stage.answer(&function, &asks("192.0.2.7:443")).await;
    let says = |answer: &serde_json::Value, what: &str| answer["text"].as_str().unwrap().contains(what);
    assert!(answer["status"] == "403" && says(&answer, "the function's own variable TINDERBOX_EGRESS"), "{answer}");
    // What the node forbids is the node's to tell, there and at a neighbour that says nothing.
    let neighbour = stage.function("python3.11", "index.handler", &[("index.py", ASK)]);
    for function in [&function, &neighbour] {
        let answer = stage.answer(function, &asks("192.0.2.7:80")).await;
        assert!(answer["status"] == "403" && says(&answer, "this node's egress policy"), "{answer}");
    }
}
