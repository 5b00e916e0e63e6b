//! Events: make, read, call off, put out.

use actix_web::{
    HttpResponse,
    http::StatusCode,
    web::{Data, Path, Query},
};
use serde::{Deserialize, Serialize};

use super::{
    auth::AuthUser,
    error::ApiError,
    extract::{Body, OptionalBody, Speaks},
    record::recorded,
};
use crate::{
    domain::{
        id::{EventId, UserId},
        view::EventView,
    },
    i18n::text,
    realtime::Registry,
    service::events::{Changed, CreateEvent, Events, EventsError},
};

/// An event beside a text about what was done to it, as version 1's clients read it.
#[derive(Serialize)]
struct EventWithMessage {
    #[serde(flatten)]
    event: EventView,
    message: String,
}

/// `GET /events`
#[derive(Deserialize)]
pub(super) struct ListEvents {
    page: Option<i64>,
    limit: Option<i64>,
    status: Option<String>,
}

/// The caller's events, the newest start first, as a bare array.
pub(super) async fn list(
    query: Query<ListEvents>,
    user: AuthUser,
    events: Data<Events>,
) -> Result<HttpResponse, ApiError> {
    let ListEvents { page, limit, status } = query.into_inner();
    let request = crate::service::events::ListEvents { page, limit, status };
    Ok(HttpResponse::Ok().json(events.list(user.id(), request).await?))
}

/// Makes an event whose host is the caller.
pub(super) async fn create(
    user: AuthUser,
    Body(request): Body<CreateEvent>,
    events: Data<Events>,
    registry: Data<Registry>,
) -> Result<HttpResponse, ApiError> {
    let Changed { event, fact_no } = events.create(user.id(), request).await?;
    Ok(recorded(&registry, event.id, fact_no, StatusCode::CREATED, event).await)
}

/// An event of the caller's.
pub(super) async fn read(
    event: Path<EventId>,
    user: AuthUser,
    events: Data<Events>,
) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(events.read(user.id(), *event).await?))
}

/// `POST /events/{event}/cancel`, and version 1's `DELETE /events/{event}`
#[derive(Default, Deserialize)]
pub(super) struct CancelEvent {
    #[serde(default)]
    reason: Option<String>,
}

/// Calls an event off. A repetition succeeds.
pub(super) async fn cancel(
    event: Path<EventId>,
    user: AuthUser,
    OptionalBody(request): OptionalBody<CancelEvent>,
    Speaks(language): Speaks,
    events: Data<Events>,
    registry: Data<Registry>,
) -> Result<HttpResponse, ApiError> {
    prepare(&events, &registry, user.id(), *event).await?;
    let Changed { event, fact_no } = events.cancel(user.id(), *event, request.reason).await?;
    let message = text(language, "did-cancel", &[]);
    let (id, body) = (event.id, EventWithMessage { event, message });
    Ok(recorded(&registry, id, fact_no, StatusCode::OK, body).await)
}

/// Puts a participant out, or lets the caller go.
pub(super) async fn remove_participant(
    path: Path<(EventId, UserId)>,
    user: AuthUser,
    Speaks(language): Speaks,
    events: Data<Events>,
    registry: Data<Registry>,
) -> Result<HttpResponse, ApiError> {
    let (event, participant) = path.into_inner();
    prepare(&events, &registry, user.id(), event).await?;
    let Changed { fact_no, .. } = events.remove_participant(user.id(), event, participant).await?;
    let key = if participant == user.id() {
        "did-leave"
    } else {
        "did-remove"
    };
    let body = serde_json::json!({ "message": text(language, key, &[]) });
    Ok(recorded(&registry, event, fact_no, StatusCode::OK, body).await)
}

/// Has the event's log and store brought to one state before a change takes the next
/// fact's number. Only for somebody who may see the event: a stranger starts no room.
async fn prepare(
    events: &Events,
    registry: &Registry,
    user: UserId,
    event: EventId,
) -> Result<(), EventsError> {
    events.read(user, event).await?;
    registry.before_change(event).await;
    Ok(())
}
