//! Tinderbox's own routes below `/_tinderbox/`, beside `health`.

use std::sync::Arc;

use bytes::Bytes;
use gateway::AdminRoute;
use http::{Method, Response};
use serde_json::{Value, json};
use wire::TraceId;

/// `GET traces/{id}`: the spans of a trace as JSON. The id is the capability: 96 random bits.
pub(super) fn traces(store: trace::Store) -> AdminRoute {
    AdminRoute {
        method: Method::GET,
        path: "/_tinderbox/traces/",
        open_to_loopback: true,
        handler: Arc::new(move |request| {
            let store = store.clone();
            Box::pin(async move {
                let Some(id) = TraceId::parse(&request.rest) else {
                    return answer(
                        400,
                        &json!({ "message": "a trace id looks like 1-5759e988-bd862e3fe1be46a994272793" }),
                    );
                };
                match store.spans(&id).await {
                    Ok(spans) if spans.is_empty() => answer(404, &json!({ "message": "no such trace" })),
                    Ok(spans) => answer(200, &trace::to_json(&id, &spans)),
                    Err(error) => {
                        tracing::error!(%error, trace = %id, "a trace could not be read");
                        answer(500, &json!({ "message": "the trace could not be read" }))
                    }
                }
            })
        }),
    }
}

/// `GET code/{token}`: a package, where `GetFunction` said it could be downloaded. The token is the capability.
pub(super) fn code(lambda: lambda::Lambda) -> AdminRoute {
    AdminRoute {
        method: Method::GET,
        path: "/_tinderbox/code/",
        open_to_loopback: true,
        handler: Arc::new(move |request| {
            let lambda = lambda.clone();
            Box::pin(async move {
                match lambda.code_download(&request.rest).await {
                    Ok(Some(zip)) => Response::new(zip),
                    Ok(None) => {
                        answer(403, &json!({ "message": "the link is not valid any more; call GetFunction again" }))
                    }
                    Err(error) => {
                        tracing::error!(%error, "a package could not be read");
                        answer(500, &json!({ "message": "the package could not be read" }))
                    }
                }
            })
        }),
    }
}

/// `GET sns/{file}`: the certificate that messages of SNS are verified with, where `SigningCertURL` says.
pub(super) fn certificate(sns: sns::Sns) -> AdminRoute {
    AdminRoute {
        method: Method::GET,
        path: sns::sign::CERTIFICATE_PATH,
        open_to_loopback: true,
        handler: Arc::new(move |request| {
            let sns = sns.clone();
            Box::pin(async move {
                match sns.signer().certificate().await {
                    Ok(certificate) if certificate.file == request.rest => Response::new(certificate.pem.into()),
                    Ok(_) => answer(404, &json!({ "message": "no such certificate" })),
                    Err(error) => {
                        tracing::error!(%error, "the certificate could not be read");
                        answer(500, &json!({ "message": "the certificate could not be read" }))
                    }
                }
            })
        }),
    }
}

/// `POST reset`, only with `--auth permissive`: deletes all queues and topics of the server's account. For the suites of emulators,
/// which start each test from nothing.
pub(super) fn reset(sqs: sqs::Sqs, sns: sns::Sns, account: wire::AccountId) -> AdminRoute {
    AdminRoute {
        method: Method::POST,
        path: "/_tinderbox/reset",
        open_to_loopback: true,
        handler: Arc::new(move |_| {
            let (sqs, sns, account) = (sqs.clone(), sns.clone(), account.clone());
            Box::pin(async move {
                let queues = sqs.reset(&account).await.map_err(|error| error.to_string());
                let topics = sns.reset(account.as_str()).await.map_err(|error| error.to_string());
                match queues.and(topics) {
                    Ok(()) => answer(200, &json!({ "status": "ok" })),
                    Err(error) => {
                        tracing::error!(%error, "the reset failed");
                        answer(500, &json!({ "message": "the reset failed" }))
                    }
                }
            })
        }),
    }
}

/// A JSON answer.
pub(super) fn answer(status: u16, body: &Value) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from(body.to_string()));
    *answer.status_mut() = http::StatusCode::from_u16(status).expect("a status of ours is a status");
    answer.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    answer
}
