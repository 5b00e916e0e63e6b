//! `Idempotency-Key`: a creation that is asked for twice happens once.

use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    dev::Payload,
    http::header::{HeaderName, HeaderValue},
    web::Data,
};
use futures_util::future::{FutureExt as _, LocalBoxFuture};

use super::{
    Settings,
    error::{ApiError, RequestError},
    extract::read,
};
use crate::service::idempotency::IdempotencyKey;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The body of a creation as `B` takes it, and the key under which it may be asked for again.
#[derive(Debug)]
pub(super) struct Keyed<B>(pub(super) B, pub(super) Option<IdempotencyKey>);

impl<B> FromRequest for Keyed<B>
where
    B: FromRequest<Error = ApiError> + 'static,
{
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if !request.headers().contains_key(KEY) {
            let body = B::from_request(request, payload);
            return async { Ok(Self(body.await?, None)) }.boxed_local();
        }
        let (request, bytes) = (request.clone(), read(request, payload));
        async move {
            let bytes = bytes.await?;
            let key = key_of(&request, &bytes)?;
            let body = B::from_request(&request, &mut Payload::from(bytes)).await?;
            Ok(Self(body, Some(key)))
        }
        .boxed_local()
    }
}

fn key_of(request: &HttpRequest, body: &[u8]) -> Result<IdempotencyKey, ApiError> {
    let settings = request
        .app_data::<Data<Settings>>()
        .ok_or(RequestError::Failed(500))?;
    let mut values = request.headers().get_all(KEY);
    // Two of them are as good as none that can be read.
    let key = match (values.next().map(HeaderValue::to_str), values.next()) {
        (Some(Ok(key)), None) => key,
        _ => "",
    };
    let (method, path) = (request.method().as_str(), request.path());
    let life = settings.idempotency_life;
    Ok(IdempotencyKey::new(key, method, path, body, life)?)
}

/// `response`, marked if it repeats an earlier one.
pub(super) fn marked(mut response: HttpResponse, is_repeat: bool) -> HttpResponse {
    if is_repeat {
        response
            .headers_mut()
            .insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}
