//! A step of an event's life, stored: the one way in which an event changes.

use std::collections::HashMap;

use uuid::Uuid;

use super::{Changed, view};
use crate::{
    adapters::sql::{self, Conn, SqlError, history, participants},
    domain::{
        event::{
            Denied, Event, Participant,
            life::{Ask, Step, step},
        },
        fact::{Change, Fact},
        id::{EventId, UserId},
        time::Micros,
    },
};

/// What a step came to.
pub(in crate::service) struct Outcome {
    /// The event as it now stands.
    pub(in crate::service) event: Event,
    /// What happened, in order; nothing when everything was so already.
    pub(in crate::service) changes: Vec<(Option<UserId>, Change)>,
}

/// Takes one step of `event` within the caller's transaction, which must begin with it.
///
/// The event's row is written first, so that changes of one event wait for each other.
///
/// # Errors
/// Not allowed, or the store failed: the caller rolls back.
pub(in crate::service) async fn apply<E: From<Denied> + From<SqlError>>(
    conn: &mut Conn,
    event: EventId,
    actor: Option<UserId>,
    ask: Ask,
    now: Micros,
) -> Result<Outcome, E> {
    let before = sql::events::lock(conn, event).await?.ok_or(Denied::Unknown)?;
    let taking_part = participants::of_event(conn, event).await?.participants;
    let Step {
        event: mut after,
        participants: now_taking_part,
        changes,
    } = step(&before, &taking_part, actor, ask, now)?;
    if changes.is_empty() {
        return Ok(Outcome {
            event: before,
            changes,
        });
    }
    after.fact_no = before.fact_no + changes.len() as u64;
    after.updated_at = now;
    sql::events::save(conn, &after).await?;
    save_participants(conn, event, &taking_part, &now_taking_part, now).await?;
    record(conn, &after, now, &changes).await?;
    Ok(Outcome {
        event: after,
        changes,
    })
}

async fn save_participants(
    conn: &mut Conn,
    event: EventId,
    before: &[Participant],
    after: &[Participant],
    now: Micros,
) -> Result<(), SqlError> {
    let mut gone: HashMap<UserId, &Participant> = before.iter().map(|one| (one.user, one)).collect();
    for participant in after {
        match gone.remove(&participant.user) {
            None => participants::insert(conn, event, participant, now).await?,
            Some(known) if known != participant => {
                participants::set_answer(conn, event, participant).await?;
            }
            Some(_) => {}
        }
    }
    for user in gone.into_keys() {
        participants::delete(conn, event, user).await?;
    }
    Ok(())
}

/// Writes `changes` as the event's last facts; `event.fact_no` counts them already.
pub(super) async fn record(
    conn: &mut Conn,
    event: &Event,
    at: Micros,
    changes: &[(Option<UserId>, Change)],
) -> Result<(), SqlError> {
    let before = event.fact_no - changes.len() as u64;
    let facts: Vec<(Fact, Option<u64>)> = (before + 1..)
        .zip(changes)
        .map(|(no, (actor, change))| {
            let fact = Fact {
                id: Uuid::new_v4(),
                no,
                actor: *actor,
                at,
                change: change.clone(),
            };
            (fact, None)
        })
        .collect();
    history::insert(conn, event.id, &facts).await
}

/// What a changing method answers.
pub(in crate::service) async fn changed(conn: &mut Conn, event: &Event) -> Result<Changed, SqlError> {
    Ok(Changed {
        event: view(conn, event).await?,
        fact_no: event.fact_no,
    })
}
