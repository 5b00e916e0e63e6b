//! Renders every failure as one JSON body that clients of both versions can read.
//!
//! Version 1 reads `error` (a text) and `code`; RFC 9457 names `type`, `title`,
//! `status` and `detail`. A handler only returns an [`ApiError`]; the body is made
//! by [`super::edge()`], which knows the language and the types that were asked for.

use actix_web::{
    HttpResponse, ResponseError,
    body::BoxBody,
    error::{PathError, PayloadError, QueryPayloadError},
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderValue},
    },
};
use serde_json::{Map, Value};

use super::{
    etag,
    extract::{UserLanguage, named_language},
};
use crate::{
    error::{Coded, ErrorCode},
    i18n::{self, Language},
};

/// What a client is told to wait when nobody knows better.
const DEFAULT_RETRY_MS: u64 = 1_000;
/// A parser's complaint can quote the client's own value; it needs no more than this.
const MAX_REASON_CHARS: usize = 200;

/// The only error a handler returns. Any [`Coded`] error converts with `?`.
#[derive(Debug)]
pub(super) struct ApiError(Box<dyn Coded>);

impl<E: Coded> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        status_of(&*self.0)
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        HttpResponse::new(self.status_code())
    }
}

/// What a request asked of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// The language that it names.
    named: Option<Language>,
    /// Whether `application/problem+json` may be sent.
    problem_json: bool,
}

impl Asked {
    /// What these headers ask for.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let is_problem_json = |range: &str| {
            let media = range.split(';').next().unwrap_or_default();
            media.trim().eq_ignore_ascii_case("application/problem+json")
        };
        Self {
            named: named_language(headers),
            problem_json: headers
                .get_all(header::ACCEPT)
                .filter_map(|value| value.to_str().ok())
                .flat_map(|value| value.split(','))
                .any(is_problem_json),
        }
    }

    /// In which language texts are for somebody who has set `user`.
    fn language(self, user: Option<UserLanguage>) -> Language {
        let set = user.map(|UserLanguage(set)| set);
        self.named.or(set).unwrap_or_default()
    }

    const fn content_type(self) -> &'static str {
        if self.problem_json {
            "application/problem+json"
        } else {
            "application/json"
        }
    }
}

/// The content type and the body with which `error` is told to whoever sent `headers` and has
/// set the language `own`, for answers that do not pass [`super::edge()`].
pub fn render_error(error: &dyn Coded, headers: &HeaderMap, own: Option<Language>) -> (String, String) {
    let asked = Asked::of(headers);
    let body = Value::Object(problem(error, asked.language(own.map(UserLanguage))));
    (asked.content_type().to_owned(), body.to_string())
}

/// The members of the one error body but `request_id`.
fn problem(error: &dyn Coded, language: Language) -> Map<String, Value> {
    let (code, status) = (error.code(), status_of(error));
    let text = i18n::error_text(language, error);
    let mut details = error.details();
    let errors = details.remove("errors");
    let retry_after = retry_after_ms(error);
    if let (ErrorCode::RateLimitExceeded, Some(ms)) = (code, retry_after) {
        // Where version 1's documents have it, in seconds.
        details.insert("retry_after".to_owned(), seconds(ms).into());
    }
    let mut body = Map::from_iter([
        ("error".to_owned(), text.clone().into()),
        ("code".to_owned(), code.as_str().into()),
        ("details".to_owned(), details.into()),
        ("type".to_owned(), "about:blank".into()),
        ("title".to_owned(), status.canonical_reason().into()),
        ("status".to_owned(), status.as_u16().into()),
        ("detail".to_owned(), text.into()),
    ]);
    if let Some(errors) = errors {
        body.insert("errors".to_owned(), errors);
    }
    if let Some(ms) = retry_after {
        body.insert("retry_after_ms".to_owned(), ms.into());
    }
    body
}

fn status_of(error: &dyn Coded) -> StatusCode {
    StatusCode::from_u16(error.code().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// When to try again, for the statuses that have to say so.
fn retry_after_ms(error: &dyn Coded) -> Option<u64> {
    let is_for_now = error.code().is_temporary() && matches!(error.code().status(), 429 | 503);
    is_for_now.then(|| error.retry_after_ms().unwrap_or(DEFAULT_RETRY_MS))
}

fn seconds(ms: u64) -> u64 {
    ms.div_ceil(1_000).max(1)
}

impl ApiError {
    /// The answer, and one line in the log when the fault is ours.
    pub(super) fn render(
        &self,
        asked: Asked,
        user: Option<UserLanguage>,
        request_id: &str,
    ) -> HttpResponse<BoxBody> {
        let error = &*self.0;
        let status = status_of(error);
        // What this server is not set up for is no fault; anybody could fill the log with it.
        if status.is_server_error() && error.code() != ErrorCode::GoogleNotConfigured {
            tracing::error!(
                error.code = error.code().as_str(),
                error.chain = chain(error),
                "request failed"
            );
        }
        let mut body = problem(error, asked.language(user));
        body.insert("request_id".to_owned(), request_id.into());
        let mut response = HttpResponse::build(status);
        if let Some(ms) = retry_after_ms(error) {
            response.insert_header((header::RETRY_AFTER, seconds(ms)));
        }
        if let Some(allow) = error.details().get("allow").and_then(Value::as_str)
            && let Ok(allow) = HeaderValue::from_str(allow)
        {
            response.insert_header((header::ALLOW, allow));
        }
        if error.code() == ErrorCode::PreconditionFailed
            && let Some(tag) = etag::tag_in(&error.details())
        {
            response.insert_header((header::ETAG, tag));
        }
        response
            .content_type(asked.content_type())
            .body(Value::Object(body).to_string())
    }
}

/// The error and what caused it, outermost first.
fn chain(error: &dyn Coded) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += ": ";
        text += &error.to_string();
        cause = error.source();
    }
    text
}

/// Why a request could not be understood, before any use case saw it.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// The body is not the JSON that the route takes.
    #[error("the body cannot be read: {0}")]
    Body(String),
    /// The body did not come in time.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The body is over the limit.
    #[error("the body is over the limit")]
    TooBig,
    /// A part of the path is not what the route takes.
    #[error("the path cannot be read")]
    Path,
    /// The query is not what the route takes.
    #[error("the query cannot be read: {0}")]
    Query(String),
    /// There is no such path.
    #[error("no such path")]
    NotFound,
    /// The path takes other methods.
    #[error("the path takes {allow}")]
    Method {
        /// Which.
        allow: String,
    },
    /// The framework refused the request for another reason.
    #[error("the request was refused with status {0}")]
    Refused(u16),
    /// The framework failed.
    #[error("the request failed with status {0}")]
    Failed(u16),
}

impl Coded for RequestError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Body(_) | Self::TooSlow | Self::Path | Self::Query(_) | Self::Refused(_) => {
                ErrorCode::BadRequest
            }
            Self::TooBig => ErrorCode::FrameTooBig,
            Self::NotFound => ErrorCode::NotFound,
            Self::Method { .. } => ErrorCode::MethodNotAllowed,
            Self::Failed(_) => ErrorCode::InternalError,
        }
    }

    fn details(&self) -> Map<String, Value> {
        let entry = |key: &str, value: Value| Map::from_iter([(key.to_owned(), value)]);
        match self {
            Self::Body(reason) | Self::Query(reason) => entry("reason", shortened(reason).into()),
            Self::Method { allow } => entry("allow", allow.as_str().into()),
            Self::TooSlow
            | Self::TooBig
            | Self::Path
            | Self::NotFound
            | Self::Refused(_)
            | Self::Failed(_) => Map::new(),
        }
    }
}

impl RequestError {
    /// What a status of the framework's own making means.
    pub(super) fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            404 => Self::NotFound,
            405 => Self::Method { allow: String::new() },
            413 => Self::TooBig,
            status if status < 500 => Self::Refused(status),
            status => Self::Failed(status),
        }
    }

    pub(super) fn of_payload(error: &actix_web::Error) -> Self {
        match error.as_error::<PayloadError>() {
            Some(PayloadError::Overflow) => Self::TooBig,
            Some(other) => Self::Body(other.to_string()),
            None => Self::of_status(error.as_response_error().status_code()),
        }
    }

    pub(super) fn of_path(_: &PathError) -> Self {
        Self::Path
    }

    pub(super) fn of_query(error: &QueryPayloadError) -> Self {
        Self::Query(error.to_string())
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_REASON_CHARS).collect()
}
