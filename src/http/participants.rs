//! Those who take part in an event, page by page.

use actix_web::{
    HttpResponse,
    web::{Data, Path, Query},
};
use serde::Deserialize;

use super::{auth::AuthUser, error::ApiError, extract::Speaks};
use crate::{domain::id::EventId, i18n::name_or_unknown, service::events::Events};

/// `GET /events/{event}/participants`
#[derive(Deserialize)]
pub(super) struct ListParticipants {
    #[serde(default)]
    cursor: String,
    limit: Option<i64>,
}

/// A page of those who take part in an event, the host too.
pub(super) async fn list(
    event: Path<EventId>,
    query: Query<ListParticipants>,
    user: AuthUser,
    Speaks(language): Speaks,
    events: Data<Events>,
) -> Result<HttpResponse, ApiError> {
    let ListParticipants { cursor, limit } = query.into_inner();
    let mut page = events.participants(user.id(), *event, &cursor, limit).await?;
    let unknown = name_or_unknown(language, None);
    for participant in &mut page.participants {
        participant.person.name_if_unknown(&unknown);
    }
    Ok(HttpResponse::Ok().json(page))
}
