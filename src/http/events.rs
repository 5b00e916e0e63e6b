//! Events: make, read, change, answer, confirm, call off, put out.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::{Data, Path, Query},
};
use serde::{Deserialize, Serialize};

use super::{
    auth::AuthUser,
    error::ApiError,
    etag::{OnlyIf, is_known, tag_of},
    extract::{Body, OptionalBody, Speaks},
    idempotency::{Keyed, marked},
    record::recorded,
};
use crate::{
    domain::{
        id::{EventId, UserId},
        view::EventView,
    },
    i18n::{Language, name_or_unknown, text},
    realtime::Registry,
    service::events::{Changed, CreateEvent, Creation, Events, EventsError, UpdateEvent},
};

/// An event beside a text about what was done to it, as version 1's clients read it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ChangedEvent)]
pub(super) struct EventWithMessage {
    #[serde(flatten)]
    event: EventView,
    message: String,
}

/// `GET /events`; `status`, too, which may come more than once.
#[derive(Deserialize)]
pub(super) struct ListEvents {
    page: Option<i64>,
    limit: Option<i64>,
    from: Option<String>,
    until: Option<String>,
    cursor: Option<String>,
}

/// The caller's events, the newest start first: a bare array, or from a cursor a page that
/// says where the next one begins.
pub(super) async fn list(
    query: Query<ListEvents>,
    user: AuthUser,
    events: Data<Events>,
    registry: Data<Registry>,
    Speaks(language): Speaks,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let ListEvents {
        page,
        limit,
        from,
        until,
        cursor,
    } = query.into_inner();
    let statuses: Vec<_> = url::form_urlencoded::parse(request.query_string().as_bytes())
        .filter(|(name, _)| name == "status")
        .map(|(_, words)| words)
        .collect();
    let request = crate::service::events::ListEvents {
        page,
        limit,
        status: (!statuses.is_empty()).then(|| statuses.join(",")),
        from,
        until,
    };
    Ok(match cursor {
        None => {
            let mut list = events.list(user.id(), request).await?;
            complete(&registry, user.id(), language, &mut list).await;
            HttpResponse::Ok().json(list)
        }
        Some(cursor) => {
            let mut page = events.page(user.id(), &request, &cursor).await?;
            complete(&registry, user.id(), language, &mut page.events).await;
            HttpResponse::Ok().json(page)
        }
    })
}

/// Adds to each of `views` how much of its record `user` has not read, where that can be told,
/// and what those are called whose accounts are gone.
async fn complete(registry: &Registry, user: UserId, language: Language, views: &mut [EventView]) {
    let unknown = name_or_unknown(language, None);
    let events: Vec<EventId> = views.iter().map(|view| view.id).collect();
    let unread = registry.unread(user, &events).await;
    for view in views {
        view.name_the_unknown(&unknown);
        if let Some(unread) = unread.get(&view.id) {
            view.head_seq = Some(unread.head_seq);
            view.unread_messages = Some(unread.messages);
        }
    }
}

/// Makes an event whose host is the caller.
pub(super) async fn create(
    user: AuthUser,
    Keyed(Body(request), key): Keyed<Body<CreateEvent>>,
    Speaks(language): Speaks,
    events: Data<Events>,
    registry: Data<Registry>,
) -> Result<HttpResponse, ApiError> {
    let mut made = events.create_once(user.id(), request, key.as_ref()).await?;
    made.name_the_unknown(&name_or_unknown(language, None));
    let Creation {
        event,
        fact_no,
        answer,
    } = made;
    let response = recorded(&registry, event, fact_no, StatusCode::CREATED, answer.body).await;
    Ok(marked(response, answer.is_repeat))
}

/// An event of the caller's.
pub(super) async fn read(
    event: Path<EventId>,
    user: AuthUser,
    events: Data<Events>,
    registry: Data<Registry>,
    Speaks(language): Speaks,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut event = events.read(user.id(), *event).await?;
    let tag = tag_of(event.id, event.fact_no);
    if is_known(&request, &tag) {
        return Ok(HttpResponse::NotModified()
            .insert_header((header::ETAG, tag))
            .finish());
    }
    complete(&registry, user.id(), language, std::slice::from_mut(&mut event)).await;
    Ok(HttpResponse::Ok().insert_header((header::ETAG, tag)).json(event))
}

/// `POST /events/{event}/cancel`, and version 1's `DELETE /events/{event}`
#[derive(Default, Deserialize, utoipa::ToSchema)]
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
    OnlyIf(events): OnlyIf,
    registry: Data<Registry>,
) -> Result<HttpResponse, ApiError> {
    prepare(&events, &registry, user.id(), *event).await?;
    let changed = events.cancel(user.id(), *event, request.reason).await?;
    Ok(told(&registry, changed, language, "did-cancel").await)
}

/// `PATCH /events/{event}`, and `PUT` with the same meaning
pub(super) async fn update(
    event: Path<EventId>,
    user: AuthUser,
    Body(request): Body<UpdateEvent>,
    Speaks(language): Speaks,
    OnlyIf(events): OnlyIf,
    registry: Data<Registry>,
) -> Result<HttpResponse, ApiError> {
    prepare(&events, &registry, user.id(), *event).await?;
    let changed = events.update(user.id(), *event, request).await?;
    Ok(told(&registry, changed, language, "did-update").await)
}

/// `POST /events/{event}/accept` and `/decline`
#[derive(Default, Deserialize, utoipa::ToSchema)]
pub(super) struct AnswerEvent {
    #[serde(default)]
    reason: Option<String>,
}

/// Says yes to an event.
pub(super) async fn accept(
    event: Path<EventId>,
    user: AuthUser,
    OptionalBody(request): OptionalBody<AnswerEvent>,
    Speaks(language): Speaks,
    OnlyIf(events): OnlyIf,
    registry: Data<Registry>,
) -> Result<HttpResponse, ApiError> {
    prepare(&events, &registry, user.id(), *event).await?;
    let changed = events.answer(user.id(), *event, true, request.reason).await?;
    Ok(told(&registry, changed, language, "did-accept").await)
}

/// Says no to an event.
pub(super) async fn decline(
    event: Path<EventId>,
    user: AuthUser,
    OptionalBody(request): OptionalBody<AnswerEvent>,
    Speaks(language): Speaks,
    OnlyIf(events): OnlyIf,
    registry: Data<Registry>,
) -> Result<HttpResponse, ApiError> {
    prepare(&events, &registry, user.id(), *event).await?;
    let changed = events.answer(user.id(), *event, false, request.reason).await?;
    Ok(told(&registry, changed, language, "did-decline").await)
}

/// Confirms an event: for its host that is the event, for everyone else the own part in it.
pub(super) async fn confirm(
    event: Path<EventId>,
    user: AuthUser,
    Speaks(language): Speaks,
    OnlyIf(events): OnlyIf,
    registry: Data<Registry>,
) -> Result<HttpResponse, ApiError> {
    prepare(&events, &registry, user.id(), *event).await?;
    let changed = events.confirm(user.id(), *event).await?;
    let key = if changed.event.creator_id == user.id() {
        "did-confirm"
    } else {
        "did-accept"
    };
    Ok(told(&registry, changed, language, key).await)
}

/// Confirms the caller's part in an event.
pub(super) async fn confirm_participation(
    event: Path<EventId>,
    user: AuthUser,
    Speaks(language): Speaks,
    OnlyIf(events): OnlyIf,
    registry: Data<Registry>,
) -> Result<HttpResponse, ApiError> {
    prepare(&events, &registry, user.id(), *event).await?;
    let changed = events.answer(user.id(), *event, true, None).await?;
    Ok(told(&registry, changed, language, "did-accept").await)
}

/// Says that an event took place.
pub(super) async fn finish(
    event: Path<EventId>,
    user: AuthUser,
    Speaks(language): Speaks,
    OnlyIf(events): OnlyIf,
    registry: Data<Registry>,
) -> Result<HttpResponse, ApiError> {
    prepare(&events, &registry, user.id(), *event).await?;
    let changed = events.finish(user.id(), *event).await?;
    Ok(told(&registry, changed, language, "did-finish").await)
}

/// Puts a participant out, or lets the caller go.
pub(super) async fn remove_participant(
    path: Path<(EventId, UserId)>,
    user: AuthUser,
    Speaks(language): Speaks,
    OnlyIf(events): OnlyIf,
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

/// The answer to a change: the event as it now stands, beside a text about what was done.
async fn told(registry: &Registry, changed: Changed, language: Language, key: &str) -> HttpResponse {
    let Changed { mut event, fact_no } = changed;
    event.name_the_unknown(&name_or_unknown(language, None));
    let message = text(language, key, &[]);
    let (id, body) = (event.id, EventWithMessage { event, message });
    recorded(registry, id, fact_no, StatusCode::OK, body).await
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
