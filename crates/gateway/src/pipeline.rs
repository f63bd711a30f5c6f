//! The request path: one flat list, top to bottom.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{EXPECT, HOST};
use http::request::Parts;
use http::{HeaderValue, Request, Response, Version};
use http_body::Body;
use http_body_util::Full;
use sys::ByteSize;
use wire::shape::{self, Protocol};
use wire::sigv4::SigV4Error;
use wire::{ApiError, Cx, protocol};

use crate::answers::{self, signature_error};
use crate::authenticate::Caller;
use crate::body::{self, Share};
use crate::exchange::Exchange;
use crate::identify::{Target, scope};
use crate::identity::in_protocol;
use crate::{Gateway, Peer};

impl Gateway {
    /// Answers one request, whatever happens on the way.
    pub(crate) async fn answer<B: Body<Data = Bytes>>(
        &self,
        peer: Arc<Peer>,
        request: Request<B>,
    ) -> Response<Full<Bytes>> {
        let (mut head, body) = request.into_parts();
        let name = format!("{} {}", head.method, head.uri.path());
        let mut exchange = Exchange::begin(self.clone(), peer, &head.headers, name);
        let mut body = Waiting(Some(Box::pin(body)));
        let outcome = sys::task::catch_panic(self.steps(&mut exchange, &mut head, &mut body)).await;
        let outcome = outcome.unwrap_or_else(|| Err(ApiError::internal("a step of the pipeline panicked")));
        // A client that still sends would see a reset connection instead of the answer.
        if let Some(unread) = body.0.take().filter(|_| !head.headers.contains_key(EXPECT)) {
            body::drain(unread, self.clock()).await;
        }
        let (response, error) = match outcome {
            Ok(response) => (response, None),
            Err(error) => (answers::error(&exchange, &error), Some(error)),
        };
        exchange.end(response.status().as_u16(), error.as_ref());
        self.finish(&exchange, response)
    }

    /// The list. What a step needs of an earlier one is a local; what the answer needs is in `exchange`.
    async fn steps<B: Body<Data = Bytes>>(
        &self,
        exchange: &mut Exchange,
        head: &mut Parts,
        body: &mut Waiting<B>,
    ) -> Result<Response<Bytes>, ApiError> {
        exchange.enter("identify");
        // A head that is refused may hide another request behind it.
        exchange.must_close = head.version < Version::HTTP_2;
        self.limits().check_head(head)?;
        exchange.host = settle_host(head)?;
        exchange.must_close = false;
        exchange.is_signed = scope(&head.headers, head.uri.query().unwrap_or_default()).is_some();
        let mut share = Share::of(&self.0.bodies);
        let (target, form) = self.identify(exchange, head, body, &mut share).await?;
        let (known, operation) = match target {
            Target::Operation { known, protocol, operation } => {
                exchange.protocol = protocol;
                (self.0.directory.known(known), operation)
            }
            Target::Admin => return self.administer(exchange, head, body).await,
            Target::FunctionUrl { id, path } => return self.call_url(exchange, head, body, id, path).await,
            unserved => return self.unserved(exchange, unserved),
        };
        exchange.shape = Some(known.shape);
        exchange.name = format!("{}.{}", known.shape.name, operation.name);
        let not_served = || wire::service::not_served(known.shape, operation);
        let service = known.service.as_ref().ok_or_else(not_served)?;
        let line = service.line(operation.name).ok_or_else(not_served)?;
        exchange.operation = Some(line.shape);

        exchange.enter("admit");
        let protocol = exchange.protocol;
        let refused = |error: SigV4Error| signature_error(&error, protocol);
        let authenticator = self.authenticator(&exchange.peer, head).await?;
        let admission = authenticator.admit(head, known.shape.signing_name).map_err(refused)?;
        admission.suffices_for(line.shape.auth, service.is_open_to_grants).map_err(refused)?;

        exchange.enter("receive");
        let bytes = match form {
            Some(form) => form,
            None => {
                let (max, code) = self.limits().body_of(known.shape.name, operation.name);
                self.receive(body, max, (operation.name, code), &mut share).await?
            }
        };

        exchange.enter("verify");
        let caller = authenticator.verify(admission, head, &bytes).map_err(refused)?;

        exchange.enter("decode");
        let input = service.decode(line, protocol, head, &bytes)?;

        exchange.enter("authorise");
        let cx = self.context(exchange, &caller);
        if line.shape.auth == shape::Auth::Signature {
            let permissions = line.permissions(&cx, &input);
            self.authorize(&caller, &cx, permissions).await.map_err(|error| in_protocol(error, protocol))?;
        }

        exchange.enter("operate");
        let call = line.call(cx, input);
        // In a task of its own: once begun, an operation ends, also when the client leaves.
        let running = sys::task::spawn("operation", async move {
            let output = call.await;
            drop(share);
            output
        });
        let output = running.await.ok().flatten().ok_or_else(|| ApiError::internal("the operation panicked"))??;

        exchange.enter("encode");
        protocol::encode(protocol, known.shape, line.shape, &exchange.request_id, output)
    }

    /// What the request is for; only a form that names its operation inside must be read for that.
    async fn identify<B: Body<Data = Bytes>>(
        &self,
        exchange: &mut Exchange,
        head: &Parts,
        body: &mut Waiting<B>,
        share: &mut Share,
    ) -> Result<(Target, Option<Bytes>), ApiError> {
        let directory = &self.0.directory;
        match directory.identify(head, &exchange.host) {
            Target::InBody { candidates } => {
                exchange.protocol = Protocol::AwsQuery;
                let (max, code) = self.limits().body_of("", "");
                let form = self.receive(body, max, ("requested", code), share).await?;
                Ok((directory.identify_in_body(&candidates, head, &exchange.host, &form), Some(form)))
            }
            target => Ok((target, None)),
        }
    }

    /// The body, at most `max`; `words` are the operation's name and the code of the 413.
    pub(crate) async fn receive<B: Body<Data = Bytes>>(
        &self,
        body: &mut Waiting<B>,
        max: ByteSize,
        words: (&str, &'static str),
        share: &mut Share,
    ) -> Result<Bytes, ApiError> {
        let Some(waiting) = body.0.as_mut() else { return Ok(Bytes::new()) };
        let read = body::read(waiting, max, self.limits(), self.clock(), share).await;
        let bytes = read.map_err(|error| answers::body_error(error, max.bytes(), words.0, words.1))?;
        body.0 = None;
        Ok(bytes)
    }

    pub(crate) fn context(&self, exchange: &Exchange, caller: &Caller) -> Cx {
        Cx {
            account: caller.account.clone(),
            region: caller.region.clone(),
            principal: caller.principal.clone(),
            request_id: exchange.request_id.clone(),
            trace: exchange.trace.clone(),
            source_ip: exchange.peer.ip(),
            host: exchange.host.clone(),
        }
    }
}

/// A body that is still on the wire until somebody has read it whole.
pub(crate) struct Waiting<B>(Option<std::pin::Pin<Box<B>>>);

/// The host that the client means. HTTP/2 says it in `:authority`: there it becomes a header, which signatures cover.
fn settle_host(head: &mut Parts) -> Result<String, ApiError> {
    let malformed =
        || ApiError::client("BadRequestException", 400, "The request's Host is malformed or contradictory.");
    let authority = head.uri.authority().map(|authority| authority.as_str().to_owned());
    let header = head.headers.get(HOST).map(|value| value.to_str().map(str::to_owned));
    match (header.transpose().map_err(|_| malformed())?, authority) {
        (Some(header), Some(authority)) if !header.eq_ignore_ascii_case(&authority) => Err(malformed()),
        (Some(header), _) => Ok(header),
        (None, Some(authority)) => {
            head.headers.insert(HOST, HeaderValue::from_str(&authority).map_err(|_| malformed())?);
            Ok(authority)
        }
        (None, None) => Ok(String::new()),
    }
}
