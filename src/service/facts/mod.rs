//! Where rooms meet the relational truth about their events.

use std::collections::BTreeSet;

use async_trait::async_trait;
use uuid::Uuid;

use crate::{
    adapters::sql::{Sql, SqlError, events, history, participants, people, users},
    domain::{
        event::ReadMark,
        fact::{Change, Fact, Membership, Standing},
        id::{EventId, UserId},
        time::Micros,
    },
    ports::{FactPage, FactPlace, FactSource, Reading, RoomSnapshot, SourceError},
};

#[cfg(test)]
mod tests;

/// [`FactSource`] over the relational store.
#[derive(Debug, Clone)]
pub struct SqlFacts {
    sql: Sql,
}

impl SqlFacts {
    /// Facts in `sql`.
    pub fn new(sql: Sql) -> Self {
        Self { sql }
    }
}

impl From<SqlError> for SourceError {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::Unavailable(source) => Self::Unavailable(source),
            SqlError::Corrupt(source) => Self::Corrupt(source),
            SqlError::Other(source) => Self::Corrupt(Box::new(source)),
        }
    }
}

#[async_trait]
impl FactSource for SqlFacts {
    async fn load(&self, event: EventId) -> Result<RoomSnapshot, SourceError> {
        self.sql
            .read(async |conn| {
                Ok(RoomSnapshot {
                    event: events::find(conn, event).await?.ok_or(SourceError::NotFound)?,
                    participants: participants::of_event(conn, event).await?.participants,
                    people: people::people_of(conn, event).await?,
                    memberships: history::memberships(conn, event).await?,
                    unmarked: history::unmarked_of(conn, event).await?,
                })
            })
            .await
    }

    async fn facts(&self, event: EventId, after: u64, limit: usize) -> Result<FactPage, SourceError> {
        self.sql
            .read(async |conn| {
                Ok(FactPage {
                    event: events::find(conn, event).await?.ok_or(SourceError::NotFound)?,
                    participants: participants::of_event(conn, event).await?.participants,
                    facts: history::after(conn, event, after, limit).await?,
                    people: people::people_of(conn, event).await?,
                })
            })
            .await
    }

    async fn knows(&self, event: EventId, user: UserId) -> Result<bool, SourceError> {
        let mut conn = self.sql.get().await?;
        let takes_part = participants::role_of(&mut conn, event, user).await?.is_some();
        Ok(takes_part || history::names(&mut conn, event, user).await?)
    }

    async fn mark(&self, event: EventId, places: &[FactPlace]) -> Result<(), SourceError> {
        self.sql
            .write(async |conn| {
                for place in places {
                    history::mark(conn, event, *place).await?;
                }
                Ok(())
            })
            .await
    }

    async fn unmarked(&self, limit: usize) -> Result<Vec<EventId>, SourceError> {
        let mut conn = self.sql.get().await?;
        Ok(history::unmarked_events(&mut conn, limit).await?)
    }

    async fn adopt(&self, event: EventId, lost: &[(Fact, u64)], now: Micros) -> Result<(), SourceError> {
        let Some((newest, _)) = lost.last() else {
            return Ok(());
        };
        let restored_no = newest.no + 1;
        self.sql
            .write(async |conn| {
                let Some(event) = events::raise_to(conn, event, restored_no, now).await? else {
                    let exists = events::find(conn, event).await?.is_some();
                    return if exists {
                        Ok(())
                    } else {
                        Err(SourceError::NotFound)
                    };
                };
                // Whoever gets such a number next would read what its bearer could read.
                let named: BTreeSet<UserId> = lost.iter().flat_map(|(fact, _)| people_in(fact)).collect();
                users::bury(conn, &Vec::from_iter(named), now).await?;
                let standings = participants::of_event(conn, event.id).await?.participants;
                let restored = Fact {
                    id: Uuid::new_v4(),
                    no: restored_no,
                    actor: None,
                    at: now,
                    change: Change::Restored {
                        status: event.status,
                        title: event.title,
                        start_time: event.start_time,
                        end_time: event.end_time,
                        participants: standings
                            .iter()
                            .map(|participant| Standing {
                                user: participant.user,
                                role: participant.role,
                                answer: participant.answer,
                            })
                            .collect(),
                    },
                };
                // Numbers that the store has stay as they are: only lost ones are written.
                let mut facts: Vec<(Fact, Option<u64>)> = lost
                    .iter()
                    .map(|(fact, seq)| (fact.clone(), Some(*seq)))
                    .collect();
                facts.push((restored, None));
                history::insert(conn, event.id, &facts).await?;
                if history::count(conn, event.id).await? != restored_no {
                    let gap = "facts from the log do not continue the history";
                    return Err(SourceError::Corrupt(gap.into()));
                }
                Ok(())
            })
            .await
    }

    async fn mark_read(&self, event: EventId, marks: &[(UserId, ReadMark)]) -> Result<(), SourceError> {
        self.sql
            .write(async |conn| {
                for (user, mark) in marks {
                    participants::mark_read(conn, event, *user, *mark).await?;
                }
                Ok(())
            })
            .await
    }

    async fn readings(&self, user: UserId, events: &[EventId]) -> Result<Vec<Reading>, SourceError> {
        let mut conn = self.sql.get().await?;
        Ok(participants::readings(&mut conn, user, events).await?)
    }
}

/// Who did it, and whose taking part it changed.
fn people_in(fact: &Fact) -> Vec<UserId> {
    let mut people = match fact.change.membership(fact.actor) {
        Some(Membership::Enters(user) | Membership::Leaves(user)) => vec![user],
        Some(Membership::Are(users)) => users,
        None => Vec::new(),
    };
    people.extend(fact.actor);
    people
}
