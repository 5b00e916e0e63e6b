//! Making, reading and changing events.
//!
//! A change is one transaction: the event's facts get their numbers first, then rights
//! are checked against the event as nobody else can change it any more, then rows change
//! and the facts are written. The room appends them to its log afterwards.

mod change;
mod new;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;

use diesel_async::{AsyncConnection, TransactionManager};

pub use self::new::CreateEvent;
pub(super) use self::change::{apply, changed};
use super::problems::Problems;
use crate::{
    adapters::sql::{self, Conn, Snapshots, Sql, SqlError, participants, participants::TakingPart},
    domain::{
        event::{Action, Denied, Event, EventStatus, Participant, REASON_CHARS, life::Ask, may},
        fact::Change,
        id::{EventId, UserId},
        time::Clock,
        view::{EventView, event_view},
    },
    error::{Coded, ErrorCode},
};

/// The largest page of a list, and the default.
const MAX_PAGE: i64 = 100;

/// Why an event was not made, read or changed.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// Not allowed to this person, or not in this state.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Values break rules.
    #[error(transparent)]
    Invalid(#[from] Problems),
    /// The host's account is gone.
    #[error("no such user")]
    NoUser,
    /// The store failed.
    #[error(transparent)]
    Sql(#[from] SqlError),
}

impl From<diesel::result::Error> for EventsError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Sql(error.into())
    }
}

impl Coded for EventsError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Denied(error) => error.code(),
            Self::Invalid(error) => error.code(),
            Self::NoUser => ErrorCode::UserNotFound,
            Self::Sql(error) => error.code(),
        }
    }

    fn text_key(&self) -> &'static str {
        match self {
            Self::Denied(error) => error.text_key(),
            Self::Invalid(error) => error.text_key(),
            Self::Sql(error) => error.text_key(),
            Self::NoUser => self.code().as_str(),
        }
    }

    fn details(&self) -> serde_json::Map<String, serde_json::Value> {
        match self {
            Self::Denied(error) => error.details(),
            Self::Invalid(error) => error.details(),
            Self::Sql(error) => error.details(),
            Self::NoUser => serde_json::Map::new(),
        }
    }
}

/// An event after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The event as it now stands.
    pub event: EventView,
    /// Up to which fact its room's log has to go; what the room is asked for.
    pub fact_no: u64,
}

/// Which part of one's list of events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListEvents {
    /// 1 for the first page, which is the default.
    pub page: Option<i64>,
    /// Events of a page, 1-100; by default 100.
    pub limit: Option<i64>,
    /// Only events in this state; a word that is no state finds nothing.
    pub status: Option<String>,
}

/// Makes, reads and changes events.
#[derive(Debug, Clone)]
pub struct Events {
    sql: Sql,
    clock: Clock,
}

impl Events {
    /// Events in `sql`, dated by `clock`.
    pub fn new(sql: Sql, clock: Clock) -> Self {
        Self { sql, clock }
    }

    /// Makes a proposed event with `host` as its first participant.
    ///
    /// # Errors
    /// [`EventsError::Invalid`] with all problems, [`EventsError::NoUser`], or the store failed.
    pub async fn create(&self, host: UserId, request: CreateEvent) -> Result<Changed, EventsError> {
        let valid = request.validate()?;
        let mut conn = self.sql.get().await?;
        conn.transaction(async |conn| {
            let now = self.clock.now();
            let zone = sql::events::zone_of(conn, host)
                .await?
                .ok_or(EventsError::NoUser)?;
            let new = valid.into_new(host, zone);
            let event = sql::events::insert(conn, &new, 1, now).await?;
            participants::insert(conn, event.id, &Participant::host(host, now), now).await?;
            let change = Change::EventCreated {
                event: event.id,
                title: event.title.clone(),
                start_time: event.start_time,
                end_time: event.end_time,
                timezone: event.timezone.clone(),
                location: event.location.clone(),
            };
            change::record(conn, &event, now, &[(Some(host), change)]).await?;
            Ok(changed(conn, &event).await?)
        })
        .await
    }

    /// The event, for who takes part in it.
    ///
    /// # Errors
    /// [`Denied::Unknown`] for everyone else, or the store failed.
    pub async fn read(&self, user: UserId, event: EventId) -> Result<EventView, EventsError> {
        let mut conn = self.sql.get().await?;
        Snapshots::transaction(&mut *conn, async |conn| {
            let found = sql::events::find(conn, event).await?.ok_or(Denied::Unknown)?;
            let role = participants::role_of(conn, event, user).await?;
            may(role, found.status, Action::Read)?;
            Ok(view(conn, &found).await?)
        })
        .await
    }

    /// A page of the events in which `user` takes part now: those that begin last first,
    /// of equal ones the newest first.
    ///
    /// # Errors
    /// [`EventsError::Invalid`] for a page or limit out of range, or the store failed.
    pub async fn list(&self, user: UserId, request: ListEvents) -> Result<Vec<EventView>, EventsError> {
        let page = request.page.unwrap_or(1);
        let limit = request.limit.unwrap_or(MAX_PAGE);
        let mut problems = Problems::default();
        if !(1..=i64::from(i32::MAX)).contains(&page) {
            problems.note("/page", "a number from 1");
        }
        if !(1..=MAX_PAGE).contains(&limit) {
            problems.note("/limit", format!("a number from 1 to {MAX_PAGE}"));
        }
        problems.or(())?;
        let status = match request.status.as_deref() {
            None | Some("") => None,
            Some(word) => match status_of(word) {
                Some(status) => Some(status),
                None => return Ok(Vec::new()),
            },
        };
        let mut conn = self.sql.get().await?;
        Snapshots::transaction(&mut *conn, async |conn| {
            let events = sql::events::page_of(conn, user, status, limit, (page - 1) * limit).await?;
            let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
            let taking_part = participants::of_events(conn, &ids).await?;
            Ok(events.iter().map(|event| view_in(&taking_part, event)).collect())
        })
        .await
    }

    /// Ends the taking part of `user`: the host puts somebody out, or somebody goes.
    ///
    /// # Errors
    /// Not allowed, [`Denied::NotParticipant`], or the store failed.
    pub async fn remove_participant(
        &self,
        actor: UserId,
        event: EventId,
        user: UserId,
    ) -> Result<Changed, EventsError> {
        self.change(actor, event, Ask::Remove(user)).await
    }

    /// Calls the event off. Calling off what is called off succeeds and changes nothing.
    ///
    /// # Errors
    /// Not allowed, a `reason` longer than 1,000 characters, or the store failed.
    pub async fn cancel(
        &self,
        actor: UserId,
        event: EventId,
        reason: Option<String>,
    ) -> Result<Changed, EventsError> {
        let reason = checked_reason(reason)?;
        self.change(actor, event, Ask::Cancel { reason }).await
    }

    /// One step of one event, as a transaction of its own.
    async fn change(&self, actor: UserId, event: EventId, ask: Ask) -> Result<Changed, EventsError> {
        let mut conn = self.sql.get().await?;
        conn.transaction(async |conn| {
            let now = self.clock.now();
            let outcome = apply::<EventsError>(conn, event, Some(actor), ask, now).await?;
            Ok(changed(conn, &outcome.event).await?)
        })
        .await
    }
}

fn checked_reason(reason: Option<String>) -> Result<Option<String>, Problems> {
    let mut problems = Problems::default();
    let reason = problems.text("/reason", reason, REASON_CHARS, true);
    problems.or(reason)
}

/// The event as clients read it, with those who take part now.
pub(super) async fn view(conn: &mut Conn, event: &Event) -> Result<EventView, SqlError> {
    let taking_part = participants::of_events(conn, &[event.id]).await?;
    Ok(view_in(&taking_part, event))
}

fn view_in(taking_part: &HashMap<EventId, TakingPart>, event: &Event) -> EventView {
    let nobody = TakingPart::default();
    let those = taking_part.get(&event.id).unwrap_or(&nobody);
    event_view(event, &those.participants, &|user| {
        those.names.get(&user).cloned()
    })
}

fn status_of(word: &str) -> Option<EventStatus> {
    [
        EventStatus::Proposed,
        EventStatus::Confirmed,
        EventStatus::Canceled,
        EventStatus::Done,
    ]
    .into_iter()
    .find(|status| status.as_str() == word)
}
