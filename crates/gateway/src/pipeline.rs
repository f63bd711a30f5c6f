//! The request path: one flat list, top to bottom.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{EXPECT, HOST};
use http::request::Parts;
use http::{HeaderValue, Request, Response, Version};
use http_body::Body as HttpBody;
use sys::ByteSize;
use wire::service::{BoxFuture, Line};
use wire::shape::{self, Protocol};
use wire::sigv4::{PayloadCheck, SigV4Error};
use wire::{ApiError, Body, Cx, Service, service};

use crate::answer_body::AnswerBody;
use crate::answers::{self, signature_error};
use crate::authenticate::Caller;
use crate::body::{self, Share, Waiting};
use crate::exchange::Exchange;
use crate::identify::{Target, scope};
use crate::identity::in_protocol;
use crate::limits::TooLarge;
use crate::{Gateway, Peer};

impl Gateway {
    /// Answers one request, whatever happens on the way.
    pub(crate) async fn answer<B: HttpBody<Data = Bytes> + Send + 'static>(
        &self,
        peer: Arc<Peer>,
        request: Request<B>,
    ) -> Response<AnswerBody> {
        let (mut head, body) = request.into_parts();
        let awaits = awaits_continue(&head);
        let name = format!("{} {}", head.method, head.uri.path());
        let mut exchange = Exchange::begin(self.clone(), peer, &head.headers, name);
        let body = Waiting::new(body);
        let outcome = sys::task::catch_panic(self.steps(&mut exchange, &mut head, &body)).await;
        let outcome = outcome.unwrap_or_else(|| Err(ApiError::internal("a step of the pipeline panicked")));
        // A client that still sends would see a reset connection instead of the answer.
        if body.may_be_coming(awaits)
            && let Some(unread) = body.begin()
        {
            body::drain(unread, self.clock()).await;
        }
        let (mut response, error) = match outcome {
            Ok(response) => (response, None),
            Err(mut error) => (answers::error(&exchange, &head, &mut error), Some(error)),
        };
        self.allow_origin(&exchange, &head, &mut response).await;
        exchange.end(response.status().as_u16(), error.as_ref());
        self.finish(&exchange, response)
    }

    /// The list. What a step needs of an earlier one is a local; what the answer needs is in `exchange`.
    async fn steps<B: HttpBody<Data = Bytes> + Send + 'static>(
        &self,
        exchange: &mut Exchange,
        head: &mut Parts,
        body: &Waiting<B>,
    ) -> Result<Response<Body>, ApiError> {
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
            Target::Admin => return whole(self.administer(exchange, head, body).await),
            Target::FunctionUrl { id, path } => return self.call_url(exchange, head, body, id, path).await,
            Target::Form { known } => return self.post_form(exchange, head, body, known).await,
            Target::Preflight => return self.preflight(exchange, head).await,
            unserved => return whole(self.unserved(exchange, unserved)),
        };
        exchange.shape = Some(known.shape);
        exchange.name = format!("{}.{}", known.shape.name, operation.name);
        let not_served = || wire::service::not_served(known.shape, operation);
        let service = known.service.as_ref().ok_or_else(not_served)?;
        let line = service.line(operation.name).ok_or_else(not_served)?;
        exchange.operation = Some(line.shape);

        let (caller, received) = self.verified(exchange, head, body, (service, line), form, &mut share).await?;
        self.note_use(head, &caller, known.shape.signing_name);

        exchange.enter("decode");
        self.0.directory.settle_path(known, head, &exchange.host)?;
        let (in_head, stream) = received.split(line);
        let protocol = exchange.protocol;
        let input = service.decode(line, protocol, head, &in_head)?;

        exchange.enter("authorise");
        let mut cx = self.context(exchange, &caller);
        if line.shape.auth == shape::Auth::Signature {
            let permissions = line.permissions(&cx, &input);
            let allowed = self.authorize(&caller, cx, line, permissions).await;
            cx = allowed.map_err(|error| in_protocol(error, protocol))?;
        }

        exchange.enter("operate");
        let stream = match stream {
            Received::Whole(bytes) => Body::from(bytes),
            Received::Flowing(check) => self.streamed(body, check)?,
        };
        let output = operate(line.call(cx, input, stream), share).await?;

        exchange.enter("encode");
        service::encode_output(protocol, known.shape, line, &exchange.request_id, output)
    }

    /// Who calls, and the body: strangers are refused before any of it is read, and a body that streams is not read here
    /// at all.
    async fn verified<B: HttpBody<Data = Bytes>>(
        &self,
        exchange: &mut Exchange,
        head: &Parts,
        body: &Waiting<B>,
        (service, line): (&Service, &Line),
        form: Option<Bytes>,
        share: &mut Share,
    ) -> Result<(Caller, Received), ApiError> {
        exchange.enter("admit");
        let protocol = exchange.protocol;
        let refused = |error: SigV4Error| signature_error(&error, protocol);
        let authenticator = self.authenticator(&exchange.peer, head).await?;
        let admission = authenticator.admit(head, service.shape.signing_name, line.shape.uri).map_err(refused)?;
        admission.suffices_for(line.shape.auth, service.is_open_to_grants).map_err(refused)?;
        let headed = match protocol == Protocol::RestXml || line.takes_stream() {
            true => authenticator.verify_head(&admission, head).map_err(refused)?,
            false => None,
        };
        if let Some((caller, check)) = headed {
            let check = check?;
            if line.takes_stream() {
                return Ok((caller, Received::Flowing(check)));
            }
            exchange.enter("receive");
            let bytes = self.receive_for(body, (service, line), form, share).await?;
            return Ok((caller, Received::Whole(check.whole(bytes)?)));
        }
        exchange.enter("receive");
        let bytes = self.receive_for(body, (service, line), form, share).await?;
        exchange.enter("verify");
        let caller = authenticator.verify(admission, head, &bytes).map_err(refused)?;
        Ok((caller, Received::Whole(bytes)))
    }

    /// The whole body of an operation, unless it was read already to find out which one it is.
    async fn receive_for<B: HttpBody<Data = Bytes>>(
        &self,
        body: &Waiting<B>,
        (service, line): (&Service, &Line),
        form: Option<Bytes>,
        share: &mut Share,
    ) -> Result<Bytes, ApiError> {
        let (max, refusal) = self.limits().body_of(service.shape.name, line.shape.name);
        match form {
            Some(form) => Ok(form),
            None => self.receive(body, max, (line.shape.name, refusal), share).await,
        }
    }

    /// What the request is for; only a form that names its operation inside must be read for that.
    async fn identify<B: HttpBody<Data = Bytes>>(
        &self,
        exchange: &mut Exchange,
        head: &Parts,
        body: &Waiting<B>,
        share: &mut Share,
    ) -> Result<(Target, Option<Bytes>), ApiError> {
        let directory = &self.0.directory;
        match directory.identify(head, &exchange.host) {
            Target::InBody { candidates } => {
                exchange.protocol = Protocol::AwsQuery;
                let (max, refusal) = self.limits().body_of("", "");
                let form = self.receive(body, max, ("requested", refusal), share).await?;
                Ok((directory.identify_in_body(&candidates, head, &exchange.host, &form), Some(form)))
            }
            target => Ok((target, None)),
        }
    }

    /// The body, at most `max`; `words` are the operation's name and the refusal of a larger one.
    pub(crate) async fn receive<B: HttpBody<Data = Bytes>>(
        &self,
        body: &Waiting<B>,
        max: ByteSize,
        words: (&str, TooLarge),
        share: &mut Share,
    ) -> Result<Bytes, ApiError> {
        let Some(reading) = body.begin() else { return Ok(Bytes::new()) };
        let read = body::read(reading, max, self.limits(), self.clock(), share).await;
        read.map_err(|error| answers::body_error(error, max.bytes(), words.0, words.1))
    }

    /// The body of a streaming operation: nothing of it is read before the handler asks.
    ///
    /// # Errors
    /// `MissingContentLength`, 411, when nothing says how long it is, as on AWS.
    fn streamed<B: HttpBody<Data = Bytes> + Send + 'static>(
        &self,
        body: &Waiting<B>,
        check: PayloadCheck,
    ) -> Result<Body, ApiError> {
        let length = check.length(body.length())?;
        let Some(reading) = body.begin() else { return Ok(Body::empty()) };
        let max = self.limits().stream;
        let pieces = body::stream(reading, max, self.limits(), self.clock());
        let pieces = pieces.map(move |piece| {
            piece.map_err(|error| answers::body_error(error, max.bytes(), "requested", TooLarge::OBJECT))
        });
        Ok(body::checked(pieces, check, length))
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
            unasked: Vec::new(),
        }
    }
}

/// A request's body once its sender is known.
enum Received {
    /// In memory, verified.
    Whole(Bytes),
    /// Still on the wire; it has to pass this check.
    Flowing(PayloadCheck),
}

impl Received {
    /// What is decoded with the head, and what streams to the handler.
    fn split(self, line: &Line) -> (Bytes, Self) {
        match self {
            Self::Whole(bytes) if !line.takes_stream() => (bytes, Self::Whole(Bytes::new())),
            streaming => (Bytes::new(), streaming),
        }
    }
}

/// Runs an operation: once begun, it ends, also when the client leaves.
pub(crate) async fn operate(
    call: BoxFuture<Result<service::Output, ApiError>>,
    share: Share,
) -> Result<service::Output, ApiError> {
    let running = sys::task::to_the_end("operation", async move {
        let output = call.await;
        drop(share);
        output
    });
    running.await.ok_or_else(|| ApiError::internal("the operation panicked"))?
}

/// An answer whose body lies in memory.
fn whole(answer: Result<Response<Bytes>, ApiError>) -> Result<Response<Body>, ApiError> {
    answer.map(|answer| answer.map(Body::from))
}

/// Whether the client sends its body only once it is told to. Whatever else a client expects is passed over, as S3 does:
/// nobody has to refuse it (RFC 9110, section 10.1.1), and it is not waited for.
fn awaits_continue(head: &Parts) -> bool {
    let mut expectations = head.headers.get_all(EXPECT).iter();
    let first = expectations.next().map(|one| one.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    first == Some(true) && expectations.next().is_none()
}

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
