//! What version 1's clients ask about Google, answered by a server that has nothing to do
//! with it: nobody can sign in by an address that was not proven, and no token is kept.

use actix_web::{
    HttpResponse,
    web::{Data, Path, Query},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{auth::AuthUser, error::ApiError, extract::Body};
use crate::{
    domain::{id::EventId, time::Micros},
    error::{Coded, ErrorCode},
    service::events::Events,
};

/// Why there is nothing here.
#[derive(Debug, Clone, Copy, thiserror::Error)]
enum GoogleError {
    #[error("sign-in with Google is not set up")]
    NotConfigured,
    #[error("the user has no calendar linked")]
    NotLinked,
    #[error("the span ends before it starts")]
    Span,
    #[error("there is no id_token")]
    NoToken,
}

impl Coded for GoogleError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotConfigured => ErrorCode::GoogleNotConfigured,
            Self::NotLinked => ErrorCode::CalendarNotLinked,
            Self::Span | Self::NoToken => ErrorCode::BadRequest,
        }
    }

    fn details(&self) -> Map<String, Value> {
        match self {
            Self::NotConfigured | Self::NotLinked => Map::new(),
            Self::Span | Self::NoToken => Map::from_iter([("reason".to_owned(), self.to_string().into())]),
        }
    }
}

/// `POST /auth/google` and `/auth/google/calendar`; whatever else comes along is not read.
#[derive(Deserialize, utoipa::ToSchema)]
pub(super) struct GoogleSignIn {
    #[serde(default)]
    id_token: Option<String>,
}

/// Signs nobody in.
pub(super) async fn sign_in(Body(request): Body<GoogleSignIn>) -> Result<HttpResponse, ApiError> {
    match request.id_token.as_deref() {
        None | Some("") => Err(GoogleError::NoToken.into()),
        Some(_) => Err(GoogleError::NotConfigured.into()),
    }
}

/// `GET /calendar/status`
pub(super) async fn status(_: AuthUser) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "has_calendar_access": false }))
}

/// `GET /calendar/events`
#[derive(Deserialize)]
pub(super) struct Span {
    start_time: Option<Micros>,
    end_time: Option<Micros>,
}

/// There is no calendar to read.
pub(super) async fn events(span: Query<Span>, _: AuthUser) -> Result<HttpResponse, ApiError> {
    match (span.start_time, span.end_time) {
        (Some(start), Some(end)) if end < start => Err(GoogleError::Span.into()),
        _ => Err(GoogleError::NotLinked.into()),
    }
}

/// `POST /calendar/sync/{event}`: there is no calendar to write, and for a stranger no event.
pub(super) async fn sync(
    event: Path<EventId>,
    user: AuthUser,
    events: Data<Events>,
) -> Result<HttpResponse, ApiError> {
    events.read(user.id(), *event).await?;
    Err(GoogleError::NotLinked.into())
}
