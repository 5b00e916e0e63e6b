//! Invite links: make one, look where it leads, follow it.

use actix_web::{
    HttpResponse,
    http::StatusCode,
    web::{Data, Path},
};
use serde::Serialize;

use super::{
    auth::AuthUser,
    error::ApiError,
    extract::{LenientBody, Speaks},
    record::recorded,
};
use crate::{
    domain::{id::EventId, view::EventView},
    i18n::text,
    realtime::Registry,
    service::invites::{CreateLink, Invites},
};

/// Makes a link. A missing or broken body means the defaults, as in version 1.
pub(super) async fn create(
    event: Path<EventId>,
    user: AuthUser,
    LenientBody(request): LenientBody<CreateLink>,
    invites: Data<Invites>,
) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(invites.create_link(user.id(), *event, request).await?))
}

/// Where a link leads.
pub(super) async fn info(
    code: Path<String>,
    user: AuthUser,
    invites: Data<Invites>,
) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(invites.info(user.id(), &code).await?))
}

#[derive(Serialize)]
struct JoinedView {
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
    let (event, fact_no) = (joined.changed.event, joined.changed.fact_no);
    let body = JoinedView {
        message: text(language, key, &[]),
        event_id: event.id,
        already_joined: joined.is_repeat,
        event,
    };
    Ok(recorded(&registry, body.event_id, fact_no, StatusCode::OK, body).await)
}
