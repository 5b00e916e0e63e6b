//! Coming into somebody else's event: invite links, and being put in by its host.

use actix_web::{
    HttpResponse,
    http::StatusCode,
    web::{Data, Path},
};
use serde::{Deserialize, Serialize};

use super::{
    auth::AuthUser,
    error::ApiError,
    etag::OnlyIf,
    extract::{Body, LenientBody, Speaks},
    idempotency::{Keyed, marked},
    record::recorded,
};
use crate::{
    domain::{
        id::{EventId, UserId},
        view::EventView,
    },
    i18n::{name_or_unknown, text},
    realtime::Registry,
    service::{
        events::Creation,
        idempotency::Answer,
        invites::{CreateLink, Invites},
    },
};

/// Makes a link. A missing or broken body means the defaults, as in version 1.
pub(super) async fn create(
    event: Path<EventId>,
    user: AuthUser,
    Keyed(LenientBody(request), key): Keyed<LenientBody<CreateLink>>,
    invites: Data<Invites>,
) -> Result<HttpResponse, ApiError> {
    let Answer { body, is_repeat } = invites
        .create_link_once(user.id(), *event, request, key.as_ref())
        .await?;
    Ok(marked(HttpResponse::Ok().json(body), is_repeat))
}

/// The links into an event, the newest first, as a bare array.
pub(super) async fn list(
    event: Path<EventId>,
    user: AuthUser,
    invites: Data<Invites>,
) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(invites.links(user.id(), *event).await?))
}

/// Ends a link. A repetition succeeds.
pub(super) async fn deactivate(
    code: Path<String>,
    user: AuthUser,
    Speaks(language): Speaks,
    invites: Data<Invites>,
) -> Result<HttpResponse, ApiError> {
    invites.deactivate(user.id(), &code).await?;
    Ok(HttpResponse::Ok().json(serde_json::json!({ "message": text(language, "did-deactivate", &[]) })))
}

/// `POST /events/{event}/participants`
#[derive(Deserialize, utoipa::ToSchema)]
pub(super) struct AddParticipant {
    participant_id: UserId,
}

#[derive(Serialize)]
struct AddedView {
    #[serde(flatten)]
    event: serde_json::Value,
    message: String,
}

/// Puts in somebody whom the caller knows. A repetition succeeds.
pub(super) async fn add(
    event: Path<EventId>,
    user: AuthUser,
    Keyed(Body(AddParticipant { participant_id }), key): Keyed<Body<AddParticipant>>,
    Speaks(language): Speaks,
    OnlyIf(events): OnlyIf,
    invites: Data<Invites>,
    registry: Data<Registry>,
) -> Result<HttpResponse, ApiError> {
    // A stranger starts no room.
    events.read(user.id(), *event).await?;
    registry.before_change(*event).await;
    let mut added = invites
        .add_once(user.id(), *event, participant_id, key.as_ref(), events.expected())
        .await?;
    added.name_the_unknown(&name_or_unknown(language, None));
    let Creation {
        event,
        fact_no,
        answer,
    } = added;
    let body = AddedView {
        event: answer.body,
        message: text(language, "did-add", &[]),
    };
    let response = recorded(&registry, event, fact_no, StatusCode::OK, body).await;
    Ok(marked(response, answer.is_repeat))
}

/// Where a link leads.
pub(super) async fn info(
    code: Path<String>,
    user: AuthUser,
    Speaks(language): Speaks,
    invites: Data<Invites>,
) -> Result<HttpResponse, ApiError> {
    let mut info = invites.info(user.id(), &code).await?;
    info.creator.name_if_unknown(&name_or_unknown(language, None));
    Ok(HttpResponse::Ok().json(info))
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = JoinedEvent)]
pub(super) struct JoinedView {
    message: String,
    event_id: EventId,
    already_joined: bool,
    event: EventView,
}

/// Lets the caller take part. A repetition succeeds.
pub(super) async fn join(
    code: Path<String>,
    user: AuthUser,
    Speaks(language): Speaks,
    invites: Data<Invites>,
    registry: Data<Registry>,
) -> Result<HttpResponse, ApiError> {
    let leads_to = invites.info(user.id(), &code).await?.event.id;
    registry.before_change(leads_to).await;
    let joined = invites.join(user.id(), &code).await?;
    let key = if joined.is_repeat {
        "did-join-before"
    } else {
        "did-join"
    };
    let (mut event, fact_no) = (joined.changed.event, joined.changed.fact_no);
    event.name_the_unknown(&name_or_unknown(language, None));
    let body = JoinedView {
        message: text(language, key, &[]),
        event_id: event.id,
        already_joined: joined.is_repeat,
        event,
    };
    Ok(recorded(&registry, body.event_id, fact_no, StatusCode::OK, body).await)
}
