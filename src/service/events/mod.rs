//! Making, reading and changing events.
//!
//! A change is one transaction: the event's facts get their numbers first, then rights
//! are checked against the event as nobody else can change it any more, then rows change
//! and the facts are written. The room appends them to its log afterwards.

mod answer;
mod change;
mod due;
mod expected;
mod fields;
mod history;
mod new;
mod once;
mod pages;
#[cfg(test)]
pub(crate) mod tests;
mod update;

use std::collections::{BTreeSet, HashMap};

pub(super) use self::{
    change::{apply, changed},
    expected::check as check_expected,
};
pub use self::{
    due::Fallen,
    expected::{Expected, Stale},
    history::{FactView, HistoryPage, WhichFacts},
    new::CreateEvent,
    once::Creation,
    pages::{EventsPage, ParticipantsPage},
    update::UpdateEvent,
};
use super::{idempotency::KeyReused, problems::Problems};
use crate::{
    adapters::sql::{
        self, Conn, Sql, SqlError, events::Start, participants, participants::TakingPart, people,
    },
    domain::{
        event::{Action, Denied, Event, EventStatus, Participant, REASON_CHARS, life::Ask, may},
        fact::Change,
        id::{EventId, UserId},
        time::{Clock, Micros},
        view::{EventView, PersonView, event_view},
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
    /// The event is in another state than its changer has seen.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// The host confirms by hand what its rule does not confirm yet.
    #[error("{needed} acceptances are missing")]
    Missing {
        /// Who has not accepted, in the order in which they came.
        missing: Vec<PersonView>,
        /// How many acceptances the rule still needs.
        needed: u32,
    },
    /// The idempotency key was used for another request.
    #[error(transparent)]
    KeyReused(#[from] KeyReused),
    /// The host's account is gone.
    #[error("no such user")]
    NoUser,
    /// The store failed.
    #[error(transparent)]
    Sql(#[from] SqlError),
}

impl Coded for EventsError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Denied(error) => error.code(),
            Self::Invalid(error) => error.code(),
            Self::Stale(error) => error.code(),
            Self::KeyReused(error) => error.code(),
            Self::Missing { .. } => ErrorCode::EventState,
            Self::NoUser => ErrorCode::UserNotFound,
            Self::Sql(error) => error.code(),
        }
    }

    fn text_key(&self) -> &'static str {
        match self {
            Self::Denied(error) => error.text_key(),
            Self::Invalid(error) => error.text_key(),
            Self::Stale(error) => error.text_key(),
            Self::KeyReused(error) => error.text_key(),
            Self::Sql(error) => error.text_key(),
            Self::Missing { .. } => "event-missing",
            Self::NoUser => self.code().as_str(),
        }
    }

    fn details(&self) -> serde_json::Map<String, serde_json::Value> {
        match self {
            Self::Denied(error) => error.details(),
            Self::Invalid(error) => error.details(),
            Self::Stale(error) => error.details(),
            Self::KeyReused(error) => error.details(),
            Self::Sql(error) => error.details(),
            Self::Missing { missing, needed } => serde_json::Map::from_iter([
                ("missing".to_owned(), serde_json::json!(missing)),
                ("needed".to_owned(), (*needed).into()),
            ]),
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
    /// Only events in this state, or in one of these, with commas in between; a word that
    /// is no state finds nothing.
    pub status: Option<String>,
    /// Only events that begin at this moment or later, RFC 3339 with a zone.
    pub from: Option<String>,
    /// Only events that begin before this moment, RFC 3339 with a zone.
    pub until: Option<String>,
}

/// Makes, reads and changes events.
#[derive(Debug, Clone)]
pub struct Events {
    sql: Sql,
    clock: Clock,
    expected: Expected,
    participants: i64,
}

impl Events {
    /// Events in `sql`, dated by `clock`, of at most 1,000 participants.
    pub fn new(sql: Sql, clock: Clock) -> Self {
        Self {
            sql,
            clock,
            expected: Expected::any(),
            participants: 1_000,
        }
    }

    /// The same, of at most so many participants, the host included.
    #[must_use]
    pub fn of_at_most(self, participants: i64) -> Self {
        Self { participants, ..self }
    }

    /// The same, but changing an event only if it is as `expected`; otherwise every
    /// changing method fails with [`EventsError::Stale`].
    pub fn only_if(&self, expected: Expected) -> Self {
        Self {
            expected,
            ..self.clone()
        }
    }

    /// As what the changing methods expect an event.
    pub const fn expected(&self) -> &Expected {
        &self.expected
    }

    /// Makes a proposed event with `host` as its first participant, and with everyone whom the
    /// host invites: all of them, or nothing is made.
    ///
    /// # Errors
    /// [`EventsError::Invalid`] with all problems, [`EventsError::NoUser`], or the store failed.
    pub async fn create(&self, host: UserId, request: CreateEvent) -> Result<Changed, EventsError> {
        let valid = request.validate(self.participants, self.clock.now())?;
        self.sql
            .write(async |conn| self.create_in(conn, host, valid.clone(), self.clock.now()).await)
            .await
    }

    /// The same within the caller's transaction.
    async fn create_in(
        &self,
        conn: &mut Conn,
        host: UserId,
        mut valid: new::ValidEvent,
        now: Micros,
    ) -> Result<Changed, EventsError> {
        let zone = sql::events::zone_of(conn, host)
            .await?
            .ok_or(EventsError::NoUser)?;
        let mut invited = std::mem::take(&mut valid.invited);
        invited.remove(&host);
        let invited = known_to(conn, host, invited).await?;
        let new = valid.into_new(host, zone);
        let facts = 1 + invited.len() as u64;
        let event = sql::events::insert(conn, &new, facts, now).await?;
        participants::insert(conn, event.id, &Participant::host(host, now), now).await?;
        let created = Change::created(&event);
        let mut changes = vec![(Some(host), created)];
        for user in invited {
            participants::insert(conn, event.id, &Participant::invited(user), now).await?;
            changes.push((Some(host), Change::ParticipantAdded { user }));
        }
        change::record(conn, &event, now, &changes).await?;
        Ok(changed(conn, &event).await?)
    }

    /// The event, for who takes part in it.
    ///
    /// # Errors
    /// [`Denied::Unknown`] for everyone else, or the store failed.
    pub async fn read(&self, user: UserId, event: EventId) -> Result<EventView, EventsError> {
        self.sql
            .read(async |conn| {
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
    /// [`EventsError::Invalid`] with all problems, or the store failed.
    pub async fn list(&self, user: UserId, request: ListEvents) -> Result<Vec<EventView>, EventsError> {
        let page = request.page.unwrap_or(1);
        let mut problems = Problems::default();
        if !(1..=i64::from(i32::MAX)).contains(&page) {
            problems.note("/page", "a number from 1");
        }
        let (limit, filter) = request.checked(&mut problems);
        problems.or(())?;
        let Some(filter) = filter else {
            return Ok(Vec::new());
        };
        self.sql
            .read(async |conn| {
                let start = Start::Offset((page - 1) * limit);
                let events = sql::events::page_of(conn, user, &filter, start, limit).await?;
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
        self.sql
            .change(event, async |conn| {
                let now = self.clock.now();
                expected::check::<EventsError>(conn, event, actor, &self.expected).await?;
                let outcome = apply::<EventsError>(conn, event, Some(actor), ask.clone(), now).await?;
                Ok(changed(conn, &outcome.event).await?)
            })
            .await
    }
}

/// `invited` in ascending order, if `host` may put all of them into an event.
async fn known_to(
    conn: &mut Conn,
    host: UserId,
    invited: BTreeSet<UserId>,
) -> Result<Vec<UserId>, EventsError> {
    let invited = Vec::from_iter(invited);
    if invited.is_empty() {
        return Ok(invited);
    }
    let known = BTreeSet::from_iter(people::acquainted(conn, host, &invited).await?);
    let mut problems = Problems::default();
    if !invited.iter().all(|user| known.contains(user)) {
        problems.note(
            "/participant_ids",
            "only people with whom you have shared an appointment",
        );
    }
    Ok(problems.or(invited)?)
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
