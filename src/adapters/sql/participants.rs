//! Rows of `participants`: who takes part now. Who no longer does has none.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{
    Common, Conn, SqlError,
    schema::{event_history, participants, users},
    words,
};
use crate::{
    domain::{
        event::{Participant, ReadMark, Role},
        id::{EventId, UserId},
        time::Micros,
    },
    ports::Person,
};

#[derive(Queryable, Selectable)]
#[diesel(table_name = participants, check_for_backend(Common))]
struct ParticipantRow {
    event_id: i64,
    user_id: i64,
    role: String,
    answer: String,
    answered_at: Option<DateTime<Utc>>,
    reason: Option<String>,
    read_seq: i64,
    read_msg_no: i64,
    read_at: Option<DateTime<Utc>>,
}

impl TryFrom<ParticipantRow> for Participant {
    type Error = SqlError;

    fn try_from(row: ParticipantRow) -> Result<Self, SqlError> {
        Ok(Self {
            user: UserId(row.user_id),
            role: words::role(&row.role)?,
            answer: words::answer(&row.answer)?,
            answered_at: row.answered_at.map(Micros::from),
            reason: row.reason,
            read: ReadMark {
                seq: words::unsigned(row.read_seq)?,
                msg_no: words::unsigned(row.read_msg_no)?,
                at: row.read_at.map(Micros::from),
            },
        })
    }
}

/// Lets somebody take part who does not yet.
///
/// # Errors
/// The store failed, there is no such event or user, or the user takes part already.
pub async fn insert(
    conn: &mut Conn,
    event: EventId,
    participant: &Participant,
    now: Micros,
) -> Result<(), SqlError> {
    diesel::insert_into(participants::table)
        .values((
            participants::event_id.eq(event.0),
            participants::user_id.eq(participant.user.0),
            participants::role.eq(words::role_text(participant.role)),
            participants::answer.eq(words::answer_text(participant.answer)),
            participants::answered_at.eq(participant.answered_at.map(Micros::to_datetime)),
            participants::joined_at.eq(now.to_datetime()),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// Writes down somebody's answer.
///
/// # Errors
/// The store failed.
pub async fn set_answer(conn: &mut Conn, event: EventId, participant: &Participant) -> Result<(), SqlError> {
    diesel::update(participants::table.find((event.0, participant.user.0)))
        .set((
            participants::answer.eq(words::answer_text(participant.answer)),
            participants::answered_at.eq(participant.answered_at.map(Micros::to_datetime)),
            participants::reason.eq(participant.reason.as_deref()),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// Moves somebody's read mark forward; one that is there already stays.
///
/// # Errors
/// The store failed.
pub async fn mark_read(conn: &mut Conn, event: EventId, user: UserId, mark: ReadMark) -> Result<(), SqlError> {
    diesel::update(participants::table.find((event.0, user.0)))
        .filter(participants::read_seq.lt(words::signed(mark.seq)))
        .set((
            participants::read_seq.eq(words::signed(mark.seq)),
            participants::read_msg_no.eq(words::signed(mark.msg_no)),
            participants::read_at.eq(mark.at.map(Micros::to_datetime)),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// Ends somebody's taking part. Whether there was something to end.
///
/// # Errors
/// The store failed.
pub async fn delete(conn: &mut Conn, event: EventId, user: UserId) -> Result<bool, SqlError> {
    let ended = diesel::delete(participants::table.find((event.0, user.0)))
        .execute(conn)
        .await?;
    Ok(ended > 0)
}

/// What `user` is to the event; `None` for who does not take part.
///
/// # Errors
/// The store failed.
pub async fn role_of(conn: &mut Conn, event: EventId, user: UserId) -> Result<Option<Role>, SqlError> {
    participants::table
        .find((event.0, user.0))
        .select(participants::role)
        .first::<String>(conn)
        .await
        .optional()?
        .map(|role| words::role(&role))
        .transpose()
}

/// How many take part, the host included.
///
/// # Errors
/// The store failed.
pub async fn count(conn: &mut Conn, event: EventId) -> Result<i64, SqlError> {
    Ok(participants::table
        .filter(participants::event_id.eq(event.0))
        .count()
        .get_result(conn)
        .await?)
}

/// Those who take part in one event, with the names of those who have one.
#[derive(Debug, Clone, Default)]
pub struct TakingPart {
    /// In the order in which they came.
    pub participants: Vec<Participant>,
    /// Display names.
    pub names: HashMap<UserId, String>,
}

/// Who takes part in each of `events`, in one query.
///
/// # Errors
/// The store failed.
pub async fn of_events(
    conn: &mut Conn,
    events: &[EventId],
) -> Result<HashMap<EventId, TakingPart>, SqlError> {
    let ids: Vec<i64> = events.iter().map(|event| event.0).collect();
    let rows = participants::table
        .inner_join(users::table)
        .filter(participants::event_id.eq_any(ids))
        .order((
            participants::event_id,
            participants::joined_at,
            participants::user_id,
        ))
        .select((ParticipantRow::as_select(), users::name))
        .load::<(ParticipantRow, Option<String>)>(conn)
        .await?;
    let mut by_event: HashMap<EventId, TakingPart> = HashMap::with_capacity(events.len());
    for (row, name) in rows {
        let those = by_event.entry(EventId(row.event_id)).or_default();
        if let Some(name) = name {
            those.names.insert(UserId(row.user_id), name);
        }
        those.participants.push(row.try_into()?);
    }
    Ok(by_event)
}

/// Who takes part in `event`.
///
/// # Errors
/// The store failed.
pub async fn of_event(conn: &mut Conn, event: EventId) -> Result<TakingPart, SqlError> {
    Ok(of_events(conn, &[event])
        .await?
        .remove(&event)
        .unwrap_or_default())
}

/// Everyone who takes part or ever did, and the actors of the event's facts, by number.
///
/// # Errors
/// The store failed.
pub async fn people_of(conn: &mut Conn, event: EventId) -> Result<Vec<Person>, SqlError> {
    let taking_part = participants::table
        .filter(participants::event_id.eq(event.0))
        .select(participants::user_id);
    let of_event = event_history::table.filter(event_history::event_id.eq(event.0));
    let subjects = of_event
        .filter(event_history::subject.is_not_null())
        .select(event_history::subject.assume_not_null());
    let actors = of_event
        .filter(event_history::actor.is_not_null())
        .select(event_history::actor.assume_not_null());
    let rows = users::table
        .filter(
            users::id
                .eq_any(taking_part)
                .or(users::id.eq_any(subjects))
                .or(users::id.eq_any(actors)),
        )
        .order(users::id)
        .select((users::id, users::name))
        .load::<(i64, Option<String>)>(conn)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(id, name)| Person {
            id: UserId(id),
            name: name.unwrap_or_default(),
        })
        .collect())
}

/// The display name of `user`; `None` without one or without such a user.
///
/// # Errors
/// The store failed.
pub async fn name_of(conn: &mut Conn, user: UserId) -> Result<Option<String>, SqlError> {
    Ok(users::table
        .find(user.0)
        .select(users::name)
        .first::<Option<String>>(conn)
        .await
        .optional()?
        .flatten())
}
