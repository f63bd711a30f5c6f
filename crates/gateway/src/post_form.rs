//! Uploads by HTML forms: the form's fields become the head of a PutObject, its file the body.
//!
//! Source: Amazon S3 API reference, "POST Object".

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body::Body as HttpBody;
use parking_lot::Mutex;
use wire::form::Form;
use wire::protocol::post_object;
use wire::service::Output;
use wire::shape::Protocol;
use wire::sigv4::{PostClaim, SigV4Error};
use wire::{ApiError, Body, Principal};

use crate::answers::{self, signature_error};
use crate::authenticate::{Caller, permitted};
use crate::body::{self, Share, Waiting};
use crate::exchange::Exchange;
use crate::identity::{Lookup, in_protocol};
use crate::limits::TooLarge;
use crate::pipeline::operate;
use crate::{Auth, Gateway};

/// The operation that such a form stands for.
const OPERATION: &str = "PutObject";

impl Gateway {
    /// Steps of a form: like those of any request, but who calls is known only once the fields have been read.
    pub(crate) async fn post_form<B: HttpBody<Data = Bytes> + Send + 'static>(
        &self,
        exchange: &mut Exchange,
        head: &Parts,
        body: &Waiting<B>,
        known: usize,
    ) -> Result<Response<Body>, ApiError> {
        exchange.protocol = Protocol::RestXml;
        let known = self.0.directory.known(known);
        exchange.shape = Some(known.shape);
        exchange.name = format!("{}.PostObject", known.shape.name);
        let absent = || ApiError::client("MethodNotAllowed", 405, "The specified method is not allowed here.");
        let service = known.service.as_ref().ok_or_else(absent)?;
        let line = service.line(OPERATION).ok_or_else(absent)?;
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let form = Form::new(content_type).ok_or_else(absent)?;

        exchange.enter("receive");
        let max = self.limits().stream;
        let reading = body.begin().ok_or_else(absent)?;
        let pieces = body::stream(reading, max, self.limits(), self.clock());
        let mut pieces = Box::pin(pieces.map(move |piece| {
            piece.map_err(|error| answers::body_error(error, max.bytes(), "PostObject", TooLarge::OBJECT))
        }));
        let (mut form, mut first) = (form, Bytes::new());
        while !form.is_at_file() {
            let Some(piece) = pieces.next().await else { return Err(form.finish().err().unwrap_or_else(absent)) };
            first = form.push(&piece?)?;
        }
        let bucket = self.0.directory.bucket(head, &exchange.host);
        let key = post_object::key(&form)?;

        exchange.enter("verify");
        let (caller, sizes) = self.form_sender(exchange, &form, &bucket, &key).await?;
        let put = post_object::head(&form, &bucket, &key)?;

        exchange.enter("decode");
        let input = service.decode(line, Protocol::RestXml, &put, &Bytes::new())?;

        exchange.enter("authorise");
        let cx = self.context(exchange, &caller);
        let permissions = line.permissions(&cx, &input);
        let allowed = self.authorize(&caller, cx, line, permissions).await;
        let cx = allowed.map_err(|error| in_protocol(error, Protocol::RestXml))?;

        exchange.enter("operate");
        let root = match self.0.directory.bucket_in_host(head) {
            Some(_) => format!("http://{}", exchange.host),
            None => format!("http://{}/{bucket}", exchange.host),
        };
        let answer = post_object::Answer::wanted(&form, &bucket, &key, &root);
        let rest = Arc::new(Mutex::new(form));
        let file = futures_util::stream::once(async move { Ok(first) })
            .chain(pieces.map({
                let rest = Arc::clone(&rest);
                move |piece| piece.and_then(|piece| rest.lock().push(&piece))
            }))
            .chain(futures_util::stream::once(async move { rest.lock().finish().map(|()| Bytes::new()) }));
        let file = Body::stream(body::sized(file, sizes), None);
        let output = operate(line.call(cx, input, file), Share::of(&self.0.bodies)).await?;

        exchange.enter("encode");
        let Output { value, .. } = output;
        let put = wire::protocol::encode(Protocol::RestXml, service.shape, line.shape, &exchange.request_id, value)?;
        Ok(answered(put, answer))
    }

    /// Who sends the form, and the sizes that the file may have.
    async fn form_sender(
        &self,
        exchange: &Exchange,
        form: &Form,
        bucket: &str,
        key: &str,
    ) -> Result<(Caller, (u64, u64)), ApiError> {
        let refused = |error: SigV4Error| signature_error(&error, Protocol::RestXml);
        let config = &self.0.config;
        let Some(claim) = PostClaim::read(form)? else {
            let (account, region) = (config.account.clone(), config.default_region().to_owned());
            let stranger = Caller { principal: Principal::Anonymous, account, region, objection: None };
            let caller = match config.auth {
                Auth::Permissive => permitted(config, ("", None), None, SigV4Error::Missing),
                Auth::Enforced => stranger,
            };
            return Ok((caller, (0, u64::MAX)));
        };
        let found = self.lookup(&claim.access_key_id, claim.session_token.clone(), &exchange.peer).await?;
        let caller = match (config.auth, self.signer(&claim, &found)) {
            (_, Ok(caller)) => caller,
            (Auth::Enforced, Err(error)) => return Err(refused(error)),
            (Auth::Permissive, Err(objection)) => {
                let entry = if let Lookup::Found(entry) = found { Some(entry) } else { None };
                permitted(config, (&claim.access_key_id, entry), claim.region(), objection)
            }
        };
        // What the form's maker allows others to upload holds whoever he is.
        let sizes = claim.allows(form, bucket, key, self.clock().now())?;
        Ok((caller, sizes))
    }

    /// Whose signature the form carries, once it is checked.
    fn signer(&self, claim: &PostClaim, found: &Lookup) -> Result<Caller, SigV4Error> {
        let config = &self.0.config;
        if claim.is_version_2() && !(config.signature_v2 || config.auth == Auth::Permissive) {
            return Err(SigV4Error::Unsupported);
        }
        let entry = match found {
            Lookup::Found(entry) => entry.clone(),
            Lookup::Expired => return Err(SigV4Error::ExpiredToken),
            Lookup::Unknown => return Err(SigV4Error::UnknownKey),
        };
        let region = claim.region().unwrap_or(config.default_region()).to_owned();
        if !config.regions.contains(&region) {
            return Err(SigV4Error::WrongRegion);
        }
        claim.check(&entry.credential)?;
        Ok(Caller { principal: entry.principal, account: entry.account, region, objection: None })
    }
}

/// The answer that the form wants, with the headers of the one that PutObject gives.
fn answered(put: Response<Bytes>, wanted: post_object::Answer) -> Response<Body> {
    let (mut head, _) = put.into_parts();
    let etag = head.headers.get(ETAG).and_then(|etag| etag.to_str().ok()).unwrap_or_default().to_owned();
    let (status, location, document) = wanted.with_etag(&etag);
    head.status = StatusCode::from_u16(status).unwrap_or(StatusCode::NO_CONTENT);
    if let Ok(location) = HeaderValue::from_str(&location) {
        head.headers.insert(LOCATION, location);
    }
    if !document.is_empty() {
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    }
    Response::from_parts(head, Body::from(Bytes::from(document)))
}

/// Whether a request is such a form.
pub(crate) fn is_form(head: &Parts) -> bool {
    let content_type: HeaderName = CONTENT_TYPE;
    let content_type = head.headers.get(content_type).and_then(|value| value.to_str().ok()).unwrap_or_default();
    head.method == Method::POST && content_type.to_ascii_lowercase().starts_with("multipart/form-data")
}
