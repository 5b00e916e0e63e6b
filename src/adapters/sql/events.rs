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
    event::{ConfirmRule, Course, Event, EventStatus, Rule},
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
    quorum: Option<i64>,
    confirm_by: Option<DateTime<Utc>>,
    on_deadline: String,
    change_limit: Option<i64>,
    confirmed_at: Option<DateTime<Utc>>,
    was_confirmed: bool,
    changes_used: i64,
    deadline_spent: bool,
    ended_at: Option<DateTime<Utc>>,
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
            rule: Rule {
                confirm: match row.quorum {
                    None => ConfirmRule::Everyone,
                    Some(quorum) => ConfirmRule::Quorum(words::small(quorum)?),
                },
                confirm_by: row.confirm_by.map(Micros::from),
                on_deadline: words::on_deadline(&row.on_deadline)?,
                change_limit: row.change_limit.map(words::small).transpose()?,
            },
            course: Course {
                confirmed_at: row.confirmed_at.map(Micros::from),
                was_confirmed: row.was_confirmed,
                changes_used: words::small(row.changes_used)?,
                deadline_spent: row.deadline_spent,
                ended_at: row.ended_at.map(Micros::from),
            },
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
    /// What confirms it, and by when.
    pub rule: Rule,
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
            events::quorum.eq(quorum(&new.rule)),
            events::confirm_by.eq(new.rule.confirm_by.map(Micros::to_datetime)),
            events::on_deadline.eq(words::on_deadline_text(new.rule.on_deadline)),
            events::change_limit.eq(new.rule.change_limit.map(i64::from)),
            // Of a proposed event that is all that can become due.
            events::due_at.eq(new.rule.confirm_by.map(Micros::to_datetime)),
            events::fact_no.eq(words::signed(facts)),
            events::created_at.eq(now.to_datetime()),
            events::updated_at.eq(now.to_datetime()),
        ))
        .returning(EventRow::as_returning())
        .get_result::<EventRow>(conn)
        .await?
        .try_into()
}

/// The event, which until the transaction ends nobody else can change; `None` if there is none.
///
/// Every transaction that changes an event begins with this: changes of one event wait for
/// each other, and its facts get their numbers in commit order.
///
/// # Errors
/// The store failed.
pub async fn lock(conn: &mut Conn, event: EventId) -> Result<Option<Event>, SqlError> {
    diesel::update(events::table.find(event.0))
        .set(events::fact_no.eq(events::fact_no))
        .returning(EventRow::as_returning())
        .get_result::<EventRow>(conn)
        .await
        .optional()?
        .map(Event::try_from)
        .transpose()
}

/// Takes the numbers up to the fact `to`, if the event has fewer than `to - 1`; else `None`.
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

/// Writes what a step changed of the event, its number of facts with it; its room stays.
///
/// # Errors
/// The store failed.
pub async fn save(conn: &mut Conn, event: &Event) -> Result<(), SqlError> {
    let (rule, course) = (&event.rule, &event.course);
    diesel::update(events::table.find(event.id.0))
        .set((
            (
                events::title.eq(&event.title),
                events::description.eq(event.description.as_deref()),
                events::location.eq(event.location.as_deref()),
                events::start_time.eq(event.start_time.to_datetime()),
                events::end_time.eq(event.end_time.to_datetime()),
                events::timezone.eq(&event.timezone),
                events::status.eq(event.status.as_str()),
                events::fact_no.eq(words::signed(event.fact_no)),
                events::updated_at.eq(event.updated_at.to_datetime()),
            ),
            (
                events::quorum.eq(quorum(rule)),
                events::confirm_by.eq(rule.confirm_by.map(Micros::to_datetime)),
                events::on_deadline.eq(words::on_deadline_text(rule.on_deadline)),
                events::change_limit.eq(rule.change_limit.map(i64::from)),
            ),
            (
                events::confirmed_at.eq(course.confirmed_at.map(Micros::to_datetime)),
                events::was_confirmed.eq(course.was_confirmed),
                events::changes_used.eq(i64::from(course.changes_used)),
                events::deadline_spent.eq(course.deadline_spent),
                events::ended_at.eq(course.ended_at.map(Micros::to_datetime)),
                events::due_at.eq(event.due_at().map(Micros::to_datetime)),
            ),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

fn quorum(rule: &Rule) -> Option<i64> {
    match rule.confirm {
        ConfirmRule::Everyone => None,
        ConfirmRule::Quorum(quorum) => Some(quorum.into()),
    }
}

/// An event to which something has to happen by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub event: EventId,
    /// When.
    pub due_at: Micros,
}

/// Events to which something has to happen by itself at or before `now`, the longest due
/// first, those behind `after`, at most `limit`.
///
/// # Errors
/// The store failed.
pub async fn due(conn: &mut Conn, now: Micros, after: Option<Due>, limit: i64) -> Result<Vec<Due>, SqlError> {
    let due_at = events::due_at.assume_not_null();
    let mut query = events::table
        .filter(events::due_at.is_not_null())
        .filter(due_at.le(now.to_datetime()))
        .select((events::id, due_at))
        .into_boxed::<Common>();
    if let Some(Due { event, due_at: at }) = after {
        let at = at.to_datetime();
        query = query.filter(due_at.gt(at).or(due_at.eq(at).and(events::id.gt(event.0))));
    }
    let rows: Vec<(i64, DateTime<Utc>)> = query
        .order((events::due_at, events::id))
        .limit(limit)
        .load(conn)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(id, due_at)| Due {
            event: EventId(id),
            due_at: due_at.into(),
        })
        .collect())
}

/// Which events are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those in one of these states; in any, if none is named.
    pub statuses: Vec<EventStatus>,
    /// Those that begin then or later.
    pub from: Option<Micros>,
    /// Those that begin before then.
    pub until: Option<Micros>,
}

/// Where a page of events begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Behind so many events.
    Offset(i64),
    /// Behind the event with this beginning and number, which need not exist any more.
    Behind(Micros, EventId),
}

/// Events in which `user` takes part now, those that begin last first, of equal ones the
/// newest first; at most `limit`.
///
/// # Errors
/// The store failed.
pub async fn page_of(
    conn: &mut Conn,
    user: UserId,
    filter: &Filter,
    start: Start,
    limit: i64,
) -> Result<Vec<Event>, SqlError> {
    let mut query = events::table
        .inner_join(participants::table)
        .filter(participants::user_id.eq(user.0))
        .select(EventRow::as_select())
        .into_boxed::<Common>();
    if !filter.statuses.is_empty() {
        let words: Vec<&str> = filter.statuses.iter().map(|status| status.as_str()).collect();
        query = query.filter(events::status.eq_any(words));
    }
    if let Some(from) = filter.from {
        query = query.filter(events::start_time.ge(from.to_datetime()));
    }
    if let Some(until) = filter.until {
        query = query.filter(events::start_time.lt(until.to_datetime()));
    }
    query = match start {
        Start::Offset(offset) => query.offset(offset),
        Start::Behind(start_time, id) => {
            let start_time = start_time.to_datetime();
            query.filter(
                events::start_time
                    .lt(start_time)
                    .or(events::start_time.eq(start_time).and(events::id.lt(id.0))),
            )
        }
    };
    query
        .order((events::start_time.desc(), events::id.desc()))
        .limit(limit)
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
