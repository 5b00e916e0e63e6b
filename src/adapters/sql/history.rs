//! Rows of `event_history`: every fact of every event, and what of them the log has.

use chrono::{DateTime, Utc};
use diesel::{dsl::min, prelude::*};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use super::{Common, Conn, SqlError, schema::event_history, words};
use crate::{
    domain::{
        fact::{Change, Fact, Membership},
        id::{EventId, UserId},
    },
    ports::FactPlace,
};

/// Rows of one INSERT: 9 columns each, below SQLite's 32,766 values.
const ROWS_PER_INSERT: usize = 1_000;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = event_history, check_for_backend(Common), treat_none_as_default_value = false)]
struct FactRow {
    event_id: i64,
    fact_no: i64,
    id: Uuid,
    kind: String,
    actor: Option<i64>,
    subject: Option<i64>,
    at: DateTime<Utc>,
    payload: Value,
    seq: Option<i64>,
}

impl FactRow {
    fn of(event: EventId, fact: &Fact, seq: Option<u64>) -> Result<Self, SqlError> {
        let subject = match fact.change.membership(fact.actor) {
            Some(Membership::Enters(user) | Membership::Leaves(user)) => Some(user.0),
            Some(Membership::Are(_)) | None => None,
        };
        Ok(Self {
            event_id: event.0,
            fact_no: words::signed(fact.no),
            id: fact.id,
            kind: fact.change.name().to_owned(),
            actor: fact.actor.map(|user| user.0),
            subject,
            at: fact.at.to_datetime(),
            payload: serde_json::to_value(&fact.change).map_err(SqlError::corrupt)?,
            seq: seq.map(words::signed),
        })
    }
}

impl TryFrom<FactRow> for Fact {
    type Error = SqlError;

    fn try_from(row: FactRow) -> Result<Self, SqlError> {
        let change: Change = serde_json::from_value(row.payload).map_err(SqlError::corrupt)?;
        Ok(Self {
            id: row.id,
            no: words::unsigned(row.fact_no)?,
            actor: row.actor.map(UserId),
            at: row.at.into(),
            change,
        })
    }
}

/// Writes facts, each with its place in the log where that is known. A number that the
/// event already has is left as it is.
///
/// # Errors
/// The store failed, or a fact's id exists under another number.
pub async fn insert(conn: &mut Conn, event: EventId, facts: &[(Fact, Option<u64>)]) -> Result<(), SqlError> {
    for facts in facts.chunks(ROWS_PER_INSERT) {
        let rows = facts
            .iter()
            .map(|(fact, seq)| FactRow::of(event, fact, *seq))
            .collect::<Result<Vec<_>, _>>()?;
        diesel::insert_into(event_history::table)
            .values(rows)
            .on_conflict((event_history::event_id, event_history::fact_no))
            .do_nothing()
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// Facts with `no > after`, at most `limit`, in order.
///
/// # Errors
/// The store failed.
pub async fn after(conn: &mut Conn, event: EventId, after: u64, limit: usize) -> Result<Vec<Fact>, SqlError> {
    event_history::table
        .filter(event_history::event_id.eq(event.0))
        .filter(event_history::fact_no.gt(words::signed(after)))
        .order(event_history::fact_no)
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .select(FactRow::as_select())
        .load::<FactRow>(conn)
        .await?
        .into_iter()
        .map(Fact::try_from)
        .collect()
}

/// Facts from number `from` to number `to`, at most `limit`, each with its seq where that is
/// known; in order, or the newest first.
///
/// # Errors
/// The store failed.
pub async fn between(
    conn: &mut Conn,
    event: EventId,
    (from, to): (u64, u64),
    newest_first: bool,
    limit: usize,
) -> Result<Vec<(Fact, Option<u64>)>, SqlError> {
    let query = event_history::table
        .filter(event_history::event_id.eq(event.0))
        .filter(event_history::fact_no.between(words::signed(from), words::signed(to)))
        .select(FactRow::as_select())
        .into_boxed::<Common>();
    let query = if newest_first {
        query.order(event_history::fact_no.desc())
    } else {
        query.order(event_history::fact_no.asc())
    };
    query
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .load::<FactRow>(conn)
        .await?
        .into_iter()
        .map(|row| {
            let seq = row.seq.map(words::unsigned).transpose()?;
            Ok((row.try_into()?, seq))
        })
        .collect()
}

/// How many facts are written.
///
/// # Errors
/// The store failed.
pub async fn count(conn: &mut Conn, event: EventId) -> Result<u64, SqlError> {
    let count: i64 = event_history::table
        .filter(event_history::event_id.eq(event.0))
        .count()
        .get_result(conn)
        .await?;
    words::unsigned(count)
}

/// The facts that changed who takes part, in order, with their seqs where known.
///
/// # Errors
/// The store failed.
pub async fn memberships(
    conn: &mut Conn,
    event: EventId,
) -> Result<Vec<(u64, Membership, Option<u64>)>, SqlError> {
    let rows = event_history::table
        .filter(event_history::event_id.eq(event.0))
        .filter(
            event_history::subject
                .is_not_null()
                .or(event_history::kind.eq("restored")),
        )
        .order(event_history::fact_no)
        .select(FactRow::as_select())
        .load::<FactRow>(conn)
        .await?;
    let mut memberships = Vec::with_capacity(rows.len());
    for row in rows {
        let seq = row.seq.map(words::unsigned).transpose()?;
        let fact = Fact::try_from(row)?;
        if let Some(membership) = fact.change.membership(fact.actor) {
            memberships.push((fact.no, membership, seq));
        }
    }
    Ok(memberships)
}

/// The number of the fact by which the host put `user` out, if that was the last thing
/// before fact `before` that changed whether `user` takes part.
///
/// # Errors
/// The store failed.
pub async fn removal_before(
    conn: &mut Conn,
    event: EventId,
    user: UserId,
    before: u64,
) -> Result<Option<u64>, SqlError> {
    let last = event_history::table
        .filter(event_history::event_id.eq(event.0))
        .filter(event_history::subject.eq(user.0))
        .filter(event_history::fact_no.lt(words::signed(before)))
        .order(event_history::fact_no.desc())
        .select((event_history::fact_no, event_history::kind))
        .first::<(i64, String)>(conn)
        .await
        .optional()?;
    match last {
        Some((no, kind)) if kind == "participant_removed" => words::unsigned(no).map(Some),
        Some(_) | None => Ok(None),
    }
}

/// Numbers of the facts whose seq is not known, ascending.
///
/// # Errors
/// The store failed.
pub async fn unmarked_of(conn: &mut Conn, event: EventId) -> Result<Vec<u64>, SqlError> {
    event_history::table
        .filter(event_history::event_id.eq(event.0))
        .filter(event_history::seq.is_null())
        .order(event_history::fact_no)
        .select(event_history::fact_no)
        .load::<i64>(conn)
        .await?
        .into_iter()
        .map(words::unsigned)
        .collect()
}

/// Events with facts whose seq is not known, the one that waits longest first.
///
/// # Errors
/// The store failed.
pub async fn unmarked_events(conn: &mut Conn, limit: usize) -> Result<Vec<EventId>, SqlError> {
    Ok(event_history::table
        .filter(event_history::seq.is_null())
        .group_by(event_history::event_id)
        .order((min(event_history::at), event_history::event_id))
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .select(event_history::event_id)
        .load::<i64>(conn)
        .await?
        .into_iter()
        .map(EventId)
        .collect())
}

/// Writes down where a fact stands in the log.
///
/// # Errors
/// The store failed.
pub async fn mark(conn: &mut Conn, event: EventId, place: FactPlace) -> Result<(), SqlError> {
    diesel::update(event_history::table.find((event.0, words::signed(place.no))))
        .set(event_history::seq.eq(words::signed(place.seq)))
        .execute(conn)
        .await?;
    Ok(())
}

/// Whether a fact of the event let `user` in or out.
///
/// # Errors
/// The store failed.
pub async fn names(conn: &mut Conn, event: EventId, user: UserId) -> Result<bool, SqlError> {
    let found: Option<i64> = event_history::table
        .filter(event_history::event_id.eq(event.0))
        .filter(event_history::subject.eq(user.0))
        .select(event_history::fact_no)
        .first(conn)
        .await
        .optional()?;
    Ok(found.is_some())
}
