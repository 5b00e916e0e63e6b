//! The history of an event: its facts.

use actix_web::{
    HttpResponse,
    web::{Data, Path, Query},
};
use serde::Deserialize;

use super::{auth::AuthUser, error::ApiError, extract::Speaks};
use crate::{
    domain::id::EventId,
    service::events::{Events, WhichFacts},
};

/// `GET /events/{event}/history`
#[derive(Deserialize)]
pub(super) struct ReadHistory {
    order: Option<String>,
    cursor: Option<String>,
    limit: Option<i64>,
}

/// A page of an event's history, for whoever takes part or did.
pub(super) async fn read(
    event: Path<EventId>,
    query: Query<ReadHistory>,
    user: AuthUser,
    Speaks(language): Speaks,
    events: Data<Events>,
) -> Result<HttpResponse, ApiError> {
    let ReadHistory { order, cursor, limit } = query.into_inner();
    let which = WhichFacts { order, cursor, limit };
    Ok(HttpResponse::Ok().json(events.history(user.id(), *event, &which, language).await?))
}
