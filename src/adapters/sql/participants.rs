//! Rows of `participants`: who takes part now. Who no longer does has none.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{
    Common, Conn, SqlError,
    schema::{event_history, events, participants, users},
    words,
};
use crate::{
    domain::{
        event::{EventStatus, Participant, ReadMark, Role},
        id::{EventId, RoomId, UserId},
        time::Micros,
    },
    ports::Reading,
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

/// Forgets why `user` answered as they did, everywhere. What stands in a record stays there.
///
/// # Errors
/// The store failed.
pub async fn forget_reasons(conn: &mut Conn, user: UserId) -> Result<(), SqlError> {
    diesel::update(participants::table.filter(participants::user_id.eq(user.0)))
        .filter(participants::reason.is_not_null())
        .set(participants::reason.eq(None::<String>))
        .execute(conn)
        .await?;
    Ok(())
}

/// Moves somebody's read mark forward; one that is there already stays.
///
/// # Errors
/// The store failed.
pub async fn mark_read(
    conn: &mut Conn,
    event: EventId,
    user: UserId,
    mark: ReadMark,
) -> Result<(), SqlError> {
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

/// Up to where `user` has read each of `events` in which the user takes part.
///
/// # Errors
/// The store failed.
pub async fn readings(conn: &mut Conn, user: UserId, events: &[EventId]) -> Result<Vec<Reading>, SqlError> {
    let ids: Vec<i64> = events.iter().map(|event| event.0).collect();
    let rows = participants::table
        .inner_join(events::table)
        .filter(participants::user_id.eq(user.0))
        .filter(participants::event_id.eq_any(ids))
        .select((
            participants::event_id,
            events::room,
            participants::read_seq,
            participants::read_msg_no,
            participants::read_at,
        ))
        .load::<(i64, Uuid, i64, i64, Option<DateTime<Utc>>)>(conn)
        .await?;
    rows.into_iter()
        .map(|(event, room, seq, msg_no, at)| {
            Ok(Reading {
                event: EventId(event),
                room: RoomId(room),
                mark: ReadMark {
                    seq: words::unsigned(seq)?,
                    msg_no: words::unsigned(msg_no)?,
                    at: at.map(Micros::from),
                },
            })
        })
        .collect()
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

/// Somebody who takes part, as a page of them has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Who.
    pub participant: Participant,
    /// Display name.
    pub name: Option<String>,
    /// Since when.
    pub joined_at: Micros,
}

/// Those who take part in `event`, in the order in which they came, at most `limit`; with
/// `behind` only those behind who came then and has this number.
///
/// # Errors
/// The store failed.
pub async fn page_of(
    conn: &mut Conn,
    event: EventId,
    behind: Option<(Micros, UserId)>,
    limit: i64,
) -> Result<Vec<Listed>, SqlError> {
    let mut query = participants::table
        .inner_join(users::table)
        .filter(participants::event_id.eq(event.0))
        .select((ParticipantRow::as_select(), users::name, participants::joined_at))
        .into_boxed::<Common>();
    if let Some((joined_at, user)) = behind {
        let joined_at = joined_at.to_datetime();
        query = query.filter(
            participants::joined_at.gt(joined_at).or(participants::joined_at
                .eq(joined_at)
                .and(participants::user_id.gt(user.0))),
        );
    }
    query
        .order((participants::joined_at, participants::user_id))
        .limit(limit)
        .load::<(ParticipantRow, Option<String>, DateTime<Utc>)>(conn)
        .await?
        .into_iter()
        .map(|(row, name, joined_at)| {
            Ok(Listed {
                participant: row.try_into()?,
                name,
                joined_at: joined_at.into(),
            })
        })
        .collect()
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

/// The events that go on in which `user` takes part, by number, and as what; at most 1,000.
///
/// # Errors
/// The store failed.
pub async fn open_of(conn: &mut Conn, user: UserId) -> Result<Vec<(EventId, Role)>, SqlError> {
    let open = [EventStatus::Proposed.as_str(), EventStatus::Confirmed.as_str()];
    participants::table
        .inner_join(events::table)
        .filter(participants::user_id.eq(user.0))
        .filter(events::status.eq_any(open))
        .order(participants::event_id)
        .limit(1_000)
        .select((participants::event_id, participants::role))
        .load::<(i64, String)>(conn)
        .await?
        .into_iter()
        .map(|(event, role)| Ok((EventId(event), words::role(&role)?)))
        .collect()
}

/// The events in which `user` takes part or ever did, by number.
///
/// # Errors
/// The store failed.
pub async fn events_of(conn: &mut Conn, user: UserId) -> Result<Vec<EventId>, SqlError> {
    let mut events: Vec<i64> = participants::table
        .filter(participants::user_id.eq(user.0))
        .select(participants::event_id)
        .load(conn)
        .await?;
    let before: Vec<i64> = event_history::table
        .filter(event_history::subject.eq(user.0))
        .select(event_history::event_id)
        .distinct()
        .load(conn)
        .await?;
    events.extend(before);
    events.sort_unstable();
    events.dedup();
    Ok(events.into_iter().map(EventId).collect())
}
