//! Rows of `events`.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{
    Common, Conn, SqlError,
    schema::{events, participants, users},
    words,
};
use crate::domain::{
    event::{Event, EventStatus},
    id::{EventId, RoomId, UserId},
    time::Micros,
};

#[derive(Queryable, Selectable)]
#[diesel(table_name = events, check_for_backend(Common))]
struct EventRow {
    id: i64,
    room: Uuid,
    title: String,
    description: Option<String>,
    location: Option<String>,
    start_time: DateTime<Utc>,
    end_time: DateTime<Utc>,
    timezone: String,
    status: String,
    creator_id: i64,
    fact_no: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<EventRow> for Event {
    type Error = SqlError;

    fn try_from(row: EventRow) -> Result<Self, SqlError> {
        Ok(Self {
            id: EventId(row.id),
            room: RoomId(row.room),
            title: row.title,
            description: row.description,
            location: row.location,
            start_time: row.start_time.into(),
            end_time: row.end_time.into(),
            timezone: row.timezone,
            status: words::status(&row.status)?,
            creator: UserId(row.creator_id),
            fact_no: words::unsigned(row.fact_no)?,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        })
    }
}

/// An event before it has its number.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// The name of its room's log.
    pub room: RoomId,
    /// 1-200 characters.
    pub title: String,
    /// What it is about.
    pub description: Option<String>,
    /// Where.
    pub location: Option<String>,
    /// When it begins.
    pub start_time: Micros,
    /// When it ends; not before it begins.
    pub end_time: Micros,
    /// IANA name of the zone its times are meant in.
    pub timezone: String,
    /// Its host, an existing user.
    pub creator: UserId,
}

/// Inserts a proposed event that counts `facts` facts already; the caller writes them.
///
/// # Errors
/// The store failed, or there is no such creator.
pub async fn insert(conn: &mut Conn, new: &NewEvent, facts: u64, now: Micros) -> Result<Event, SqlError> {
    diesel::insert_into(events::table)
        .values((
            events::room.eq(new.room.0),
            events::title.eq(&new.title),
            events::description.eq(new.description.as_deref()),
            events::location.eq(new.location.as_deref()),
            events::start_time.eq(new.start_time.to_datetime()),
            events::end_time.eq(new.end_time.to_datetime()),
            events::timezone.eq(&new.timezone),
            events::status.eq(EventStatus::Proposed.as_str()),
            events::creator_id.eq(new.creator.0),
            events::fact_no.eq(words::signed(facts)),
            events::created_at.eq(now.to_datetime()),
            events::updated_at.eq(now.to_datetime()),
        ))
        .returning(EventRow::as_returning())
        .get_result::<EventRow>(conn)
        .await?
        .try_into()
}

/// Makes room for `facts` more facts; the event as it then stands, `None` if there is none.
///
/// Every transaction that changes an event begins with this: it makes changes of one
/// event wait for each other, and gives its facts their numbers in commit order. A
/// rollback gives the numbers back.
///
/// # Errors
/// The store failed.
pub async fn raise(
    conn: &mut Conn,
    event: EventId,
    facts: u64,
    now: Micros,
) -> Result<Option<Event>, SqlError> {
    diesel::update(events::table.find(event.0))
        .set((
            events::fact_no.eq(events::fact_no + words::signed(facts)),
            events::updated_at.eq(now.to_datetime()),
        ))
        .returning(EventRow::as_returning())
        .get_result::<EventRow>(conn)
        .await
        .optional()?
        .map(Event::try_from)
        .transpose()
}

/// [`raise`] up to the fact `to`, if the event has fewer than `to - 1`; else `None`.
///
/// # Errors
/// The store failed.
pub async fn raise_to(
    conn: &mut Conn,
    event: EventId,
    to: u64,
    now: Micros,
) -> Result<Option<Event>, SqlError> {
    let to = words::signed(to);
    diesel::update(events::table.find(event.0).filter(events::fact_no.lt(to - 1)))
        .set((events::fact_no.eq(to), events::updated_at.eq(now.to_datetime())))
        .returning(EventRow::as_returning())
        .get_result::<EventRow>(conn)
        .await
        .optional()?
        .map(Event::try_from)
        .transpose()
}

/// The event, if there is one.
///
/// # Errors
/// The store failed.
pub async fn find(conn: &mut Conn, event: EventId) -> Result<Option<Event>, SqlError> {
    events::table
        .find(event.0)
        .select(EventRow::as_select())
        .first::<EventRow>(conn)
        .await
        .optional()?
        .map(Event::try_from)
        .transpose()
}

/// Puts the event into `status`.
///
/// # Errors
/// The store failed.
pub async fn set_status(conn: &mut Conn, event: EventId, status: EventStatus) -> Result<(), SqlError> {
    diesel::update(events::table.find(event.0))
        .set(events::status.eq(status.as_str()))
        .execute(conn)
        .await?;
    Ok(())
}

/// Events in which `user` takes part now, those that begin last first, of equal ones the
/// newest first.
///
/// # Errors
/// The store failed.
pub async fn page_of(
    conn: &mut Conn,
    user: UserId,
    status: Option<EventStatus>,
    limit: i64,
    offset: i64,
) -> Result<Vec<Event>, SqlError> {
    let mut query = events::table
        .inner_join(participants::table)
        .filter(participants::user_id.eq(user.0))
        .select(EventRow::as_select())
        .into_boxed::<Common>();
    if let Some(status) = status {
        query = query.filter(events::status.eq(status.as_str()));
    }
    query
        .order((events::start_time.desc(), events::id.desc()))
        .limit(limit)
        .offset(offset)
        .load::<EventRow>(conn)
        .await?
        .into_iter()
        .map(Event::try_from)
        .collect()
}

/// IANA name of the zone that `user` lives in; `None` if there is no such user.
///
/// # Errors
/// The store failed.
pub async fn zone_of(conn: &mut Conn, user: UserId) -> Result<Option<String>, SqlError> {
    Ok(users::table
        .find(user.0)
        .select(users::timezone)
        .first(conn)
        .await
        .optional()?)
}

/// Numbers of the events behind `after`, ascending, at most `limit`.
///
/// # Errors
/// As the store answers.
pub async fn ids_after(conn: &mut Conn, after: EventId, limit: i64) -> Result<Vec<EventId>, SqlError> {
    let ids: Vec<i64> = events::table
        .filter(events::id.gt(after.0))
        .order(events::id)
        .limit(limit)
        .select(events::id)
        .load(conn)
        .await?;
    Ok(ids.into_iter().map(EventId).collect())
}
