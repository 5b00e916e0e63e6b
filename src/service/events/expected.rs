//! Which state of an event a change is meant for.

use super::view;
use crate::{
    adapters::sql::{self, Conn, SqlError, participants},
    domain::{
        event::{Action, Denied, may},
        id::{EventId, UserId},
        view::EventView,
    },
    error::{Coded, ErrorCode},
};

/// The states of an event that its changer may have seen, by the event's number of facts;
/// by default any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected(Option<Vec<u64>>);

impl Expected {
    /// Whatever state it is in.
    pub const fn any() -> Self {
        Self(None)
    }

    /// Only in a state with one of these numbers of facts; with none of them, never.
    pub const fn one_of(fact_nos: Vec<u64>) -> Self {
        Self(Some(fact_nos))
    }

    fn admits(&self, fact_no: u64) -> bool {
        self.0.as_ref().is_none_or(|these| these.contains(&fact_no))
    }
}

/// The event is in another state than its changer has seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the event has changed: it has {} facts", .event.fact_no)]
pub struct Stale {
    /// As it is now.
    pub event: Box<EventView>,
}

impl Coded for Stale {
    fn code(&self) -> ErrorCode {
        ErrorCode::PreconditionFailed
    }

    fn details(&self) -> serde_json::Map<String, serde_json::Value> {
        serde_json::Map::from_iter([("event".to_owned(), serde_json::json!(self.event))])
    }
}

/// Refuses a change of `event` by `actor` unless the event is as `expected`. Within the
/// changing transaction, which from here on is the only one that can change the event: of
/// two that expect the same state exactly one passes.
///
/// # Errors
/// [`Stale`], [`Denied::Unknown`] for who may not see the event, or the store failed.
pub(in crate::service) async fn check<E: From<Denied> + From<Stale> + From<SqlError>>(
    conn: &mut Conn,
    event: EventId,
    actor: UserId,
    expected: &Expected,
) -> Result<(), E> {
    if *expected == Expected::any() {
        return Ok(());
    }
    let found = sql::events::lock(conn, event).await?.ok_or(Denied::Unknown)?;
    may(
        participants::role_of(conn, event, actor).await?,
        found.status,
        Action::Read,
    )?;
    if expected.admits(found.fact_no) {
        return Ok(());
    }
    let event = Box::new(view(conn, &found).await?);
    Err(Stale { event }.into())
}

#[cfg(test)]
mod tests {
    use super::Expected;
    use crate::{
        adapters::sql::fixture::TestDb,
        domain::event::Denied,
        service::events::{
            Events, EventsError,
            tests::{dinner, ticking},
        },
    };

    #[tokio::test]
    async fn state_is_told_to_nobody_who_may_not_see_the_event() {
        let db = TestDb::open().await;
        let events = Events::new(db.sql.clone(), ticking());
        let (host, stranger) = (db.user("미나").await, db.user("준호").await);
        let event = events.create(host, dinner()).await.unwrap().event.id;
        let stale = events.only_if(Expected::one_of(vec![7]));
        let by_stranger = stale.cancel(stranger, event, None).await;
        assert!(matches!(by_stranger, Err(EventsError::Denied(Denied::Unknown))));
        let by_host = stale.cancel(host, event, None).await;
        assert!(matches!(by_host, Err(EventsError::Stale(stale)) if stale.event.fact_no == 1));
        let meant = events.only_if(Expected::one_of(vec![7, 1]));
        assert_eq!(meant.cancel(host, event, None).await.unwrap().fact_no, 2);
    }
}
