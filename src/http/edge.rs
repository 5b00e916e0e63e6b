//! What every request passes on its way in and out: id, span, origin, headers, figures,
//! and the one body of errors.

use std::time::Instant;

use actix_web::{
    Error, HttpMessage as _, HttpResponse, ResponseError,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    middleware::Next,
    rt,
    web::Data,
};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{
    Settings,
    error::{ApiError, Asked, RequestError},
    extract::UserLanguage,
};
use crate::{metrics, service::auth::RequestsLeft};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID: usize = 64;
/// What version 1's server names, so that no client loses a header it sends today.
const CORS_METHODS: &str = "GET, POST, PUT, PATCH, DELETE, OPTIONS";
const CORS_HEADERS: &str = "Content-Type, Content-Length, Accept-Encoding, Accept-Language, X-CSRF-Token, \
     Authorization, accept, origin, Cache-Control, X-Requested-With, X-Request-Id, \
     Idempotency-Key, If-Match, If-None-Match";
const CORS_EXPOSED: &str = "X-Request-Id, Retry-After, ETag, Idempotency-Replayed, Content-Disposition, \
     X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset";

/// The id of one request, in its answer and in every log line it causes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestId(String);

impl RequestId {
    /// The client's own id if it is harmless in a log and a header, else a new one.
    fn of(headers: &HeaderMap) -> Self {
        let harmless = |id: &&str| {
            !id.is_empty()
                && id.len() <= MAX_REQUEST_ID
                && id
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        };
        headers
            .get(REQUEST_ID)
            .and_then(|value| value.to_str().ok())
            .filter(harmless)
            .map_or_else(|| Self(Uuid::new_v4().to_string()), |id| Self(id.to_owned()))
    }
}

/// In an answer's extensions: a failure that has a body for people already.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnBody;

/// Wraps the whole application: use with `actix_web::middleware::from_fn`.
///
/// # Errors
/// Only what a middleware nearer to the handlers fails with; handlers' errors are
/// answers already.
pub async fn edge(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let id = RequestId::of(request.headers());
    let asked = Asked::of(request.headers());
    let origin = allowed_origin(&request);
    let method = method_name(request.method());
    request.extensions_mut().insert(id.clone());
    let span = tracing::info_span!("request", request.id = id.0, http.method = method);
    async {
        let response = if *request.method() == Method::OPTIONS {
            request.into_response(preflight(origin.is_some()))
        } else {
            // A task of its own: a client that hangs up must not stop a transaction half way.
            let answered = rt::spawn(next.call(request).in_current_span()).await;
            let Ok(response) = answered else {
                return Err(Fallen { asked, id }.into());
            };
            one_error_body(response?.map_into_boxed_body(), asked, &id)
        };
        let mut response = response;
        add_headers(response.headers_mut(), &id, origin);
        let left = response.request().extensions().get::<RequestsLeft>().copied();
        if let Some(left) = left {
            add_requests_left(response.headers_mut(), left);
        }
        let route = response
            .request()
            .match_pattern()
            .unwrap_or_else(|| "none".to_owned());
        let (status, elapsed) = (response.status().as_u16(), started.elapsed());
        tracing::debug!(
            http.route = route,
            http.status = status,
            elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            "request answered"
        );
        metrics::http_request(route, method, status, elapsed);
        Ok(response)
    }
    .instrument(span)
    .await
}

/// A handler panicked; the panic itself has been printed.
#[derive(Debug)]
struct Fallen {
    asked: Asked,
    id: RequestId,
}

impl std::fmt::Display for Fallen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a handler panicked")
    }
}

impl ResponseError for Fallen {
    fn error_response(&self) -> HttpResponse<BoxBody> {
        let failed = RequestError::Failed(StatusCode::INTERNAL_SERVER_ERROR.as_u16());
        let mut response = ApiError::from(failed).render(self.asked, None, &self.id.0);
        add_headers(response.headers_mut(), &self.id, None);
        response
    }
}

/// Gives every failure its body, whoever made it: a handler, an extractor, the router.
fn one_error_body(
    response: ServiceResponse<BoxBody>,
    asked: Asked,
    id: &RequestId,
) -> ServiceResponse<BoxBody> {
    let status = response.status();
    let has_own = response.response().extensions().contains::<OwnBody>();
    if has_own || !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let (request, response) = response.into_parts();
    let user = request.extensions().get::<UserLanguage>().copied();
    let rendered = match response.error().and_then(Error::as_error::<ApiError>) {
        Some(error) => error.render(asked, user, &id.0),
        None => ApiError::from(RequestError::of_status(status)).render(asked, user, &id.0),
    };
    ServiceResponse::new(request, rendered)
}

/// The request's origin, if its pages may read our answers.
fn allowed_origin(request: &ServiceRequest) -> Option<HeaderValue> {
    let origin = request.headers().get(header::ORIGIN)?;
    let text = origin.to_str().ok()?;
    let listed = request
        .app_data::<Data<Settings>>()
        .is_some_and(|settings| settings.allowed_origins.iter().any(|listed| listed == text));
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let own = host.is_some() && text.split_once("://").map(|(_, authority)| authority) == host;
    (listed || own).then(|| origin.clone())
}

fn preflight(allowed: bool) -> HttpResponse {
    let mut response = HttpResponse::NoContent();
    if allowed {
        response
            .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, CORS_METHODS))
            .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, CORS_HEADERS))
            .insert_header((header::ACCESS_CONTROL_MAX_AGE, "600"));
    }
    response.finish()
}

fn add_headers(headers: &mut HeaderMap, id: &RequestId, origin: Option<HeaderValue>) {
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    // Also without an origin: a shared cache must not hand one site's answer to another.
    set(header::VARY, "Origin, Accept, Accept-Language");
    if origin.is_some() {
        set(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        set(header::ACCESS_CONTROL_EXPOSE_HEADERS, CORS_EXPOSED);
    }
    // What a page needs differs from what data needs: the handler's own word stands.
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ] {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    if let Ok(id) = HeaderValue::from_str(&id.0) {
        headers.insert(REQUEST_ID, id);
    }
}

/// The headers by which version 1's documents tell what is left of a user's requests.
fn add_requests_left(headers: &mut HeaderMap, left: RequestsLeft) {
    let full_at = left.full_at.0.div_euclid(1_000_000);
    for (name, value) in [
        ("x-ratelimit-limit", i64::from(left.limit)),
        ("x-ratelimit-remaining", i64::from(left.remaining)),
        // In seconds since 1970.
        ("x-ratelimit-reset", full_at),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
    }
}

/// A label from a closed set: a client can invent methods.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
