//! Invariant 7: every phase is a span.

use wire::TraceId;

use crate::server::{Answer, Call, ROOT, Server};

fn trace_id(answer: &Answer) -> TraceId {
    let header = answer.header("x-amzn-trace-id").expect("a trace id");
    wire::TraceContext::parse_header(header).expect("well formed").trace_id
}

#[tokio::test]
async fn every_phase_of_a_request_is_a_span_under_the_request() {
    let server = Server::start().await;
    let answer = server.send(&Call::echo()).await;
    let spans = server.traces.spans(&trace_id(&answer)).await.expect("readable");
    let root = spans.iter().find(|span| span.name == "rest.Echo").expect("the request's span");
    assert_eq!(root.parent, None);
    assert_eq!(root.attribute("http.status"), Some(&200.into()));
    let request_id = answer.header("x-amzn-requestid").expect("an id");
    assert_eq!(root.attribute("request.id"), Some(&request_id.into()));
    for phase in ["identify", "admit", "receive", "verify", "decode", "authorise", "operate", "encode"] {
        let span = spans.iter().find(|span| span.name == phase).unwrap_or_else(|| panic!("{phase}: {spans:?}"));
        assert_eq!(span.parent.as_ref(), Some(&root.span_id), "{phase}");
        assert!(span.start >= root.start && span.end <= root.end && span.error.is_none(), "{phase}");
    }
    assert_eq!(spans.len(), 9);
    // The handler hangs its own spans under the request.
    let seen = answer.json()["Trace"].as_str().expect("text").to_owned();
    assert!(seen.contains(root.span_id.as_str()), "{seen}");
}

#[tokio::test]
async fn a_callers_trace_is_continued() {
    let server = Server::start().await;
    let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";
    let answer = server.send(&Call::echo().header("x-amzn-trace-id", header)).await;
    let id = TraceId::parse("1-5759e988-bd862e3fe1be46a994272793").expect("well formed");
    assert_eq!(trace_id(&answer), id);
    let spans = server.traces.spans(&id).await.expect("readable");
    let root = spans.iter().find(|span| span.name == "rest.Echo").expect("the request's span");
    assert_eq!(root.parent.as_ref().map(|parent| parent.as_str()), Some("53995c3f42cd8ad8"));
}

#[tokio::test]
async fn a_refused_request_shows_where_it_ended() {
    let server = Server::start().await;
    let answer = server.send(&Call { secret: "wrong", ..Call::echo() }).await;
    let spans = server.traces.spans(&trace_id(&answer)).await.expect("readable");
    let failed: Vec<&str> = spans.iter().filter(|span| span.error.is_some()).map(|span| &*span.name).collect();
    assert!(failed.contains(&"verify") && failed.contains(&"rest.Echo") && failed.len() == 2, "{spans:?}");
    assert!(!spans.iter().any(|span| span.name == "operate"));
}

#[tokio::test]
async fn a_client_that_leaves_is_seen_and_its_operation_still_ends() {
    let server = Server::start().await;
    let id = "1-5759e988-bd862e3fe1be46a994272793";
    let call = Call::new("POST", "/wait/x").header("x-amzn-trace-id", format!("Root={id}")).signed(ROOT, "rest");
    let mut stream = server.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, &call.bytes(&server.clock)).await.expect("written");
    server.until(|state| state.begun() == 1).await;
    drop(stream);
    let id = TraceId::parse(id).expect("well formed");
    let left = loop {
        let spans = server.traces.spans(&id).await.expect("readable");
        if let Some(root) = spans.into_iter().find(|span| span.name == "rest.Wait") {
            break root;
        }
        server.clock.sleep(std::time::Duration::from_millis(2)).await;
    };
    assert!(left.error.is_some_and(|error| error.contains("client left")));
    assert_eq!(server.state.ended(), 0);
    server.state.gate.add_permits(1);
    server.until(|state| state.ended() == 1).await;
    assert_eq!(server.send(&Call::echo()).await.status, 200);
}
