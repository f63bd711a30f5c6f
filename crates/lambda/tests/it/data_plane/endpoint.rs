//! The AWS endpoint inside an execution environment.

use std::sync::Arc;

use lambda::invoke::ConnectionHook;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use super::stage::{Setting, Stage};

/// Places that the gateway has for connections of all functions together.
const PLACES: usize = 200;

/// Opens as many connections as it is told and keeps them; tells how many were answered.
const OPEN: &str = "
import socket
kept = []
def handler(event, headers):
    host, port = os.environ['AWS_ENDPOINT_URL'].removeprefix('http://').split(':')
    served = 0
    for _ in range(event):
        line = socket.create_connection((host, int(port)))
        kept.append(line)
        try:
            line.sendall(b'?')
            served += line.recv(1) == b'!'
        except ConnectionError:
            pass
    return served
serve(handler)
";

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_opens_connections_without_end_takes_no_others_places() {
    let places = Arc::new(Semaphore::new(PLACES));
    let connection: ConnectionHook = Arc::new(move |mut stream, _| {
        let place = Arc::clone(&places).try_acquire_owned();
        Box::pin(async move {
            while place.is_ok() && stream.read(&mut [0]).await.is_ok_and(|read| read == 1) {
                let _ = stream.write_all(b"!").await;
            }
        })
    });
    let stage = Stage::with(Setting { connection, ..Setting::default() }).await;
    let (greedy, modest) = (stage.provided(OPEN), stage.provided(OPEN));
    let served = stage.answer(&greedy, "400").await.as_u64().unwrap();
    assert!(served >= 100 && served < PLACES as u64, "it has its share and no more: {served}");
    assert_eq!(stage.answer(&modest, "10").await, json!(10));
}
