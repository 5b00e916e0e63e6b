//! What participants answer, and what that comes to.

use super::{Changed, Events, EventsError, apply, changed, checked_reason, expected};
use crate::{
    adapters::sql::{self, Conn, SqlError, participants},
    domain::{
        event::{Denied, life::Ask},
        id::{EventId, UserId},
        view::PersonView,
    },
};

impl Events {
    /// Says yes (`accept`) or no to the event, or changes that; `reason` in the actor's own
    /// words. The answer that the event's rule was waiting for confirms it.
    ///
    /// # Errors
    /// Not allowed, a `reason` longer than 1,000 characters, or the store failed.
    pub async fn answer(
        &self,
        actor: UserId,
        event: EventId,
        accept: bool,
        reason: Option<String>,
    ) -> Result<Changed, EventsError> {
        let reason = checked_reason(reason)?;
        self.change(actor, event, Ask::Answer { accept, reason }).await
    }

    /// The host confirms the event; everyone else confirms to take part, as version 1 has it.
    ///
    /// # Errors
    /// Not allowed, [`EventsError::Missing`] while the rule is not met, or the store failed.
    pub async fn confirm(&self, actor: UserId, event: EventId) -> Result<Changed, EventsError> {
        self.sql
            .change(event, async |conn| {
                let now = self.clock.now();
                let stored = sql::events::lock(conn, event).await?.ok_or(Denied::Unknown)?;
                expected::check::<EventsError>(conn, event, actor, &self.expected).await?;
                let ask = if stored.creator == actor {
                    Ask::Confirm
                } else {
                    let (accept, reason) = (true, None);
                    Ask::Answer { accept, reason }
                };
                match apply::<EventsError>(conn, event, Some(actor), ask, now).await {
                    Ok(outcome) => Ok(changed(conn, &outcome.event).await?),
                    Err(EventsError::Denied(Denied::Missing { missing, needed })) => {
                        let missing = named(conn, event, &missing).await?;
                        Err(EventsError::Missing { missing, needed })
                    }
                    Err(error) => Err(error),
                }
            })
            .await
    }

    /// The host says that the event took place.
    ///
    /// # Errors
    /// Not allowed, or the store failed.
    pub async fn finish(&self, actor: UserId, event: EventId) -> Result<Changed, EventsError> {
        self.change(actor, event, Ask::Finish).await
    }
}

/// `users`, who take part in `event`, with their names.
async fn named(conn: &mut Conn, event: EventId, users: &[UserId]) -> Result<Vec<PersonView>, SqlError> {
    let mut names = participants::of_event(conn, event).await?.names;
    let people = users.iter().map(|user| PersonView {
        id: *user,
        name: names.remove(user).unwrap_or_default(),
    });
    Ok(people.collect())
}
